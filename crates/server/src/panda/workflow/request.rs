//! What `pchain` sends: where its files are and what they are written in, made into a plan.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_jedi::workflow::{
    Document, Graph, Plan, PlanLimits, PlanRequest, WorkflowError, WorkflowFile, plan, read_cwl,
    read_native,
};
use ailurus_server_core::cache_file_name;
use serde_json::{Map, Value};

use crate::{
    cache_folder::{CacheFolder, Shelf},
    sandbox::{SandboxError, read_texts},
};

/// Files of workflows that one request may need.
const FILES_MAX: usize = 50;

/// Why a request cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestProblem {
    /// A field is missing or wrong.
    #[error("`{name}` is {problem}")]
    Field {
        /// The field.
        name: &'static str,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// The sandbox was not uploaded here.
    #[error("sandbox `{0}` is not here: upload it to this server (`PANDACACHE_URL`)")]
    NoSandbox(String),
    /// The sandbox cannot be read.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file cannot be understood.
    #[error("`{file}` is no YAML: {problem}")]
    Yaml {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// It needs too many files.
    #[error("the workflow needs more than {FILES_MAX} files of further workflows")]
    TooManyFiles,
    /// The workflow cannot be carried out.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
    /// A workflow that it needs cannot be read.
    #[error("`{file}`: {problem}")]
    Within {
        /// Its file.
        file: String,
        /// What is wrong.
        problem: WorkflowError,
    },
}

/// Which of PanDA's engines would carry the request out: they number steps differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// PanDA's own.
    Native,
    /// iDDS, to which `pchain` sends CWL.
    Idds,
}

impl Engine {
    const fn first_number(self) -> u32 {
        match self {
            Self::Native => 1,
            Self::Idds => 0,
        }
    }
}

/// A request with its plan.
#[derive(Debug)]
pub(super) struct Planned {
    /// The steps with their tasks.
    pub(super) plan: Plan,
    /// The name that the request gives the workflow.
    pub(super) name: Option<String>,
}

/// Reads the files of a request and makes its plan. It blocks on files.
pub(super) fn plan_request(
    cache: &CacheFolder,
    request: &Value,
    engine: Engine,
    limits: PlanLimits,
) -> Result<Planned, RequestProblem> {
    let (graph, workflows) = read_graphs(cache, request)?;
    let templates = match request.get("taskParams") {
        Some(Value::Object(templates)) => templates.clone(),
        Some(_) | None => Map::new(),
    };
    let plan = plan(
        &graph,
        &PlanRequest {
            out_ds: field(request, "outDS").unwrap_or_default(),
            first_number: engine.first_number(),
            templates: &templates,
            base_platform: field(request, "base_platform"),
            workflows: &workflows,
            limits,
        },
    )?;
    let name = field(request, "workflow_name").map(str::to_owned);
    Ok(Planned { plan, name })
}

/// A text that is given and not empty.
fn field<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    let text = request.get(name)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

fn needed<'a>(request: &'a Value, name: &'static str) -> Result<&'a str, RequestProblem> {
    field(request, name).ok_or_else(|| RequestProblem::Field {
        name,
        problem: "missing: submit with `pchain`".to_owned(),
    })
}

/// In which of its languages a workflow is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Cwl,
    Native,
}

impl Language {
    fn read(self, path: &str, file: &Document) -> Result<WorkflowFile, WorkflowError> {
        match self {
            Self::Cwl => read_cwl(path, file),
            Self::Native => read_native(path, file),
        }
    }
}

/// Reads the workflow of a request, and those that its steps stand for.
fn read_graphs(
    cache: &CacheFolder,
    request: &Value,
) -> Result<(Graph, BTreeMap<String, Graph>), RequestProblem> {
    let named = needed(request, "language")?;
    let spec = needed(request, "workflowSpecFile")?;
    let language = match named {
        "yaml" => Language::Native,
        "cwl" => Language::Cwl,
        "snakemake" => {
            return Err(RequestProblem::Field {
                name: "language",
                problem: "`snakemake`, whose files are programs that only Snakemake itself can \
                          run: only `cwl` and `yaml` are available here"
                    .to_owned(),
            });
        }
        other => {
            return Err(RequestProblem::Field {
                name: "language",
                problem: format!("`{other}`: only `cwl` and `yaml` are available here"),
            });
        }
    };
    let values = match language {
        Language::Native => None,
        Language::Cwl => Some(needed(request, "workflowInputFile")?),
    };
    let names: Vec<&str> = std::iter::once(spec).chain(values).collect();
    let files = read_files(cache, request, &names)?;
    let mut read = language.read(spec, &document(&files, spec)?)?;
    if let Some(values) = values {
        read.main.give(&document(&files, values)?)?;
    }
    let workflows = read_others(cache, request, language, &read)?;
    Ok((read.main, workflows))
}

/// Reads the workflows that a file's steps stand for, and those that theirs do.
fn read_others(
    cache: &CacheFolder,
    request: &Value,
    language: Language,
    first: &WorkflowFile,
) -> Result<BTreeMap<String, Graph>, RequestProblem> {
    let mut workflows = first.blocks.clone();
    let mut wanted: BTreeSet<String> = first.needs().into_iter().map(str::to_owned).collect();
    let mut n_files = 0;
    while !wanted.is_empty() {
        n_files += wanted.len();
        if n_files > FILES_MAX {
            return Err(RequestProblem::TooManyFiles);
        }
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let files = read_files(cache, request, &names)?;
        let mut next = BTreeSet::new();
        for name in names {
            let read = language.read(name, &document(&files, name)?);
            let read = read.map_err(|problem| RequestProblem::Within {
                file: name.to_owned(),
                problem,
            })?;
            next.extend(read.needs().into_iter().map(str::to_owned));
            workflows.extend(read.blocks);
            workflows.insert(name.to_owned(), read.main);
        }
        wanted = next
            .into_iter()
            .filter(|name| !workflows.contains_key(name))
            .collect();
    }
    Ok(workflows)
}

fn read_files(
    cache: &CacheFolder,
    request: &Value,
    names: &[&str],
) -> Result<BTreeMap<String, String>, RequestProblem> {
    let sandbox = needed(request, "sandbox")?;
    let no_sandbox = || RequestProblem::NoSandbox(sandbox.to_owned());
    let name = cache_file_name(sandbox).map_err(|_| no_sandbox())?;
    let (file, _) = cache.open(Shelf::Files, name).map_err(|_| no_sandbox())?;
    Ok(read_texts(file, names)?)
}

fn document(files: &BTreeMap<String, String>, name: &str) -> Result<Document, RequestProblem> {
    let text = files.get(name).map_or("", String::as_str);
    serde_saphyr::from_str(text).map_err(|error| RequestProblem::Yaml {
        file: name.to_owned(),
        // Its further lines show a piece of the file.
        problem: error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, RequestProblem> {
        document(
            &BTreeMap::from([("wf.yaml".to_owned(), text.to_owned())]),
            "wf.yaml",
        )
    }

    #[test]
    fn yaml_keeps_its_order_and_folded_texts() {
        let file =
            read("z: 1\na:\n  args: >-\n    --outputs x\n    --nJobs 2\nb: [\"{x}\", yes, ~]\n");
        let file = file.expect("YAML");
        let keys: Vec<&str> = file.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "b"]);
        let args = file
            .get("a")
            .and_then(|a| a.get("args"))
            .and_then(Document::to_text);
        assert_eq!(args.as_deref(), Some("--outputs x --nJobs 2"));
    }

    #[test]
    fn broken_and_exploding_yaml_is_told_in_one_line() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (before, name) in [
            ('a', 'b'),
            ('b', 'c'),
            ('c', 'd'),
            ('d', 'e'),
            ('e', 'f'),
            ('f', 'g'),
            ('g', 'h'),
        ] {
            let refs = vec![format!("*{before}"); 10].join(", ");
            bomb.push_str(&format!("{name}: &{name} [{refs}]\n"));
        }
        let deep = "[".repeat(100_000);
        for text in ["a: [1", "a: 1\na: 2\n", "a: b: c", &bomb, &deep] {
            let error = read(text).expect_err("no YAML").to_string();
            assert!(error.starts_with("`wf.yaml` is no YAML: "), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.len() < 1000, "{error}");
        }
    }
}
