//! What `pchain` sends: where its files are and what they are written in, made into a plan.

use std::collections::BTreeMap;

use ailurus_jedi::workflow::{
    Document, Graph, Plan, PlanLimits, PlanRequest, WorkflowError, plan, read_cwl, read_native,
};
use ailurus_server_core::cache_file_name;
use serde_json::{Map, Value};

use crate::{
    cache_folder::{CacheFolder, Shelf},
    sandbox::{SandboxError, read_texts},
};

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
    /// The workflow cannot be carried out.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
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
    let graph = read_graph(cache, request)?;
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

fn read_graph(cache: &CacheFolder, request: &Value) -> Result<Graph, RequestProblem> {
    let language = needed(request, "language")?;
    let spec = needed(request, "workflowSpecFile")?;
    match language {
        "yaml" => {
            let files = read_files(cache, request, &[spec])?;
            Ok(read_native(&document(&files, spec)?)?)
        }
        "cwl" => {
            let inputs = needed(request, "workflowInputFile")?;
            let files = read_files(cache, request, &[spec, inputs])?;
            Ok(read_cwl(
                &document(&files, spec)?,
                &document(&files, inputs)?,
            )?)
        }
        other => Err(RequestProblem::Field {
            name: "language",
            problem: format!("`{other}`: only `cwl` and `yaml` are available here"),
        }),
    }
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
