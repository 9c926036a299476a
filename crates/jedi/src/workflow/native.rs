//! Workflows in PanDA's own language of YAML files.
//!
//! A step of the type `workflow` stands for another workflow: written in place, named among the
//! `workflow_blocks` of the file, or in a file of its own.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_native_utils.py` (`parse_workflow_data`)
//! and `workflow_parser.py`.

use std::collections::BTreeMap;

use crate::workflow::{
    Document, Graph, GraphOutput, GraphStep, Handover, Numbering, Order, Repeats, Source,
    StepInput, Work, WorkflowError, WorkflowFile, prun::check_input,
};

/// Keys of a step besides those that become inputs.
const TYPE: &str = "type";
/// The type of a step that stands for another workflow.
const WORKFLOW: &str = "workflow";
/// Keys of such a step.
const WORKFLOW_KEYS: [&str; 7] = [
    TYPE,
    "inputs",
    "outputs",
    "steps",
    "workflow_ref",
    "scatter_inputs",
    "scatter_mode",
];
/// How lists are gone over together.
const ZIP: &str = "zip";
/// Workflows that are written within each other, at most.
const INLINE_DEPTH_MAX: usize = 16;

/// Reads a workflow in PanDA's own language. `path` is where its file is, as seen from the folder
/// that was sent.
///
/// # Errors
///
/// [`WorkflowError`] that names what is wrong.
pub fn read_native(path: &str, file: &Document) -> Result<WorkflowFile, WorkflowError> {
    let named = file
        .get("workflow_blocks")
        .map_or(&[][..], Document::entries);
    let mut reader = Reader {
        path,
        named: named.iter().map(|(name, _)| name.as_str()).collect(),
        blocks: BTreeMap::new(),
    };
    for (name, block) in named {
        let graph = reader.read(block, name, 0)?;
        reader.blocks.insert(block_name(path, name), graph);
    }
    let main = reader.read(file, "", 0)?;
    Ok(WorkflowFile {
        main,
        blocks: reader.blocks,
    })
}

/// The name of a workflow that is written within a file.
fn block_name(path: &str, within: &str) -> String {
    format!("{path}#{within}")
}

struct Reader<'a> {
    path: &'a str,
    named: Vec<&'a str>,
    blocks: BTreeMap<String, Graph>,
}

impl Reader<'_> {
    fn read(
        &mut self,
        file: &Document,
        within: &str,
        depth: usize,
    ) -> Result<Graph, WorkflowError> {
        if depth > INLINE_DEPTH_MAX {
            return Err(WorkflowError::file(format!(
                "more than {INLINE_DEPTH_MAX} workflows stand within each other"
            )));
        }
        let Document::Map(_) = file else {
            return Err(WorkflowError::file(format!(
                "it is {}, not a map",
                file.kind()
            )));
        };
        let inputs = file.get("inputs").map_or(&[][..], Document::entries);
        let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        let steps = file.get("steps").map_or(&[][..], Document::entries);
        if steps.is_empty() {
            return Err(WorkflowError::file("`steps` is missing: give at least one"));
        }
        let mut read = Vec::new();
        for (name, step) in steps {
            let kind = step.get(TYPE).and_then(Document::to_text);
            read.push(if kind.as_deref() == Some(WORKFLOW) {
                let inner = format!("{within}/{name}");
                self.read_workflow(name, step, &inner, depth)?
            } else {
                read_step(name, step, &names)?
            });
        }
        let options = file.get("options");
        let is_partial = options
            .and_then(|options| options.get("allow_partial_inputs"))
            .is_some_and(Document::is_yes);
        Ok(Graph {
            name: file.get("name").and_then(Document::to_text),
            inputs: inputs.to_vec(),
            outputs: read_outputs(file),
            steps: read,
            handover: if is_partial {
                Handover::FileByFile
            } else {
                Handover::WhenDone
            },
            order: Order::DepthFirst,
            numbering: Numbering::Nested,
        })
    }

    /// Reads a step that stands for another workflow.
    fn read_workflow(
        &mut self,
        name: &str,
        step: &Document,
        inner: &str,
        depth: usize,
    ) -> Result<GraphStep, WorkflowError> {
        let wrong = |problem: String| WorkflowError::step(name, problem);
        let mut entries = step.entries().iter();
        if let Some((key, _)) = entries.find(|(key, _)| !WORKFLOW_KEYS.contains(&key.as_str())) {
            return Err(wrong(format!(
                "`{key}` is not known for a workflow: there are `{}`",
                WORKFLOW_KEYS.join("`, `")
            )));
        }
        let reference = step.get("workflow_ref").and_then(Document::to_text);
        let of = match (reference, step.get("steps")) {
            (Some(_), Some(_)) => {
                return Err(wrong(
                    "it has `steps` and `workflow_ref`: give one of them".to_owned(),
                ));
            }
            (Some(block), None) if self.named.contains(&block.as_str()) => {
                block_name(self.path, &block)
            }
            (Some(file), None) => file,
            (None, Some(_)) => {
                let graph = self.read(step, inner, depth + 1)?;
                let block = block_name(self.path, inner);
                self.blocks.insert(block.clone(), graph);
                block
            }
            (None, None) => {
                return Err(wrong(
                    "it has neither `steps` nor `workflow_ref`: give one of them".to_owned(),
                ));
            }
        };
        let mut read = GraphStep {
            name: name.to_owned(),
            work: Work::Workflow(of, Repeats::Never),
            ..GraphStep::default()
        };
        for (input, value) in step.get("inputs").map_or(&[][..], Document::entries) {
            read.inputs.insert(input.clone(), given_to(value));
        }
        let mode = step.get("scatter_mode").and_then(Document::to_text);
        if let Some(mode) = mode.filter(|mode| mode != ZIP) {
            return Err(wrong(format!(
                "`scatter_mode` is `{mode}`: only `{ZIP}` is available"
            )));
        }
        for (input, list) in step
            .get("scatter_inputs")
            .map_or(&[][..], Document::entries)
        {
            let list = list.to_text().ok_or_else(|| {
                wrong(format!(
                    "`scatter_inputs` has {} for `{input}`: it must name an input of the workflow",
                    list.kind()
                ))
            })?;
            let from = StepInput {
                sources: vec![Source::Input(list)],
                ..StepInput::default()
            };
            read.inputs.insert(input.clone(), from);
            read.scatter.push(input.clone());
        }
        Ok(read)
    }
}

fn read_outputs(file: &Document) -> Vec<GraphOutput> {
    let outputs = file.get("outputs").map_or(&[][..], Document::entries);
    let outputs = outputs.iter().filter_map(|(name, output)| {
        let from = output.get("from")?.to_text()?;
        let (step, made) = from.split_once('/').unwrap_or((&from, ""));
        let types = output.get("output_types").map_or(&[][..], Document::items);
        Some(GraphOutput {
            name: name.clone(),
            made_by: (step.to_owned(), made.to_owned()),
            types: types.iter().filter_map(Document::to_text).collect(),
        })
    });
    outputs.collect()
}

/// What an input of a workflow within another is given: datasets as elsewhere, or a value.
fn given_to(value: &Document) -> StepInput {
    let items = value.items().iter();
    let sources: Option<Vec<Source>> = items
        .map(|item| match item {
            Document::Text(text) => Some(source_of(text)),
            Document::Null
            | Document::Flag(_)
            | Document::Number(_)
            | Document::List(_)
            | Document::Map(_) => None,
        })
        .collect();
    match sources {
        Some(sources) => StepInput {
            default: Document::Null,
            sources,
            is_list: matches!(value, Document::List(_)),
        },
        None => StepInput {
            default: value.clone(),
            ..StepInput::default()
        },
    }
}

fn source_of(text: &str) -> Source {
    reference(text).unwrap_or_else(|| Source::Dataset(text.to_owned()))
}

/// The input or the step to which a text refers, if it does.
fn reference(text: &str) -> Option<Source> {
    if let Some(name) = input_name(text) {
        return Some(Source::Input(name.to_owned()));
    }
    // A container's name ends with a slash; one in the middle leads to a step's output.
    let (step, made) = text.trim_end_matches('/').split_once('/')?;
    Some(Source::Step(step.to_owned(), made.to_owned()))
}

fn input_name(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}')
}

fn read_step(name: &str, step: &Document, inputs: &[&str]) -> Result<GraphStep, WorkflowError> {
    let wrong = |problem: String| WorkflowError::step(name, problem);
    let Document::Map(entries) = step else {
        return Err(wrong(format!("it is {}, not a map", step.kind())));
    };
    let kind = step.get(TYPE).and_then(Document::to_text);
    if let Some(kind) = kind.filter(|kind| kind != "prun") {
        return Err(wrong(format!(
            "its type `{kind}` is not available here: only `prun` and `{WORKFLOW}` are"
        )));
    }
    let mut read = GraphStep {
        name: name.to_owned(),
        ..GraphStep::default()
    };
    for (key, value) in entries.iter().filter(|(key, _)| key != TYPE) {
        let input = format!("opt_{key}");
        if check_input(&read.work, &input).is_err() {
            return Err(wrong(format!(
                "`{key}` is not known: there are `type`, `inDS`, `inDsType`, `secondaryDSs`, \
                 `secondaryDsTypes`, `args`, `exec`, `containerImage` and `useAthenaPackages`"
            )));
        }
        let made = match key.as_str() {
            "inDS" | "secondaryDSs" => read_sources(value, inputs).map_err(wrong)?,
            _ => StepInput {
                default: value.clone(),
                ..StepInput::default()
            },
        };
        read.inputs.insert(input, made);
    }
    Ok(read)
}

fn read_sources(value: &Document, inputs: &[&str]) -> Result<StepInput, String> {
    if matches!(value, Document::Map(_)) {
        return Err("datasets are a text or a list of texts".to_owned());
    }
    let sources = value.items().iter().map(|item| {
        let text = item.to_text().unwrap_or_default();
        read_source(&text, inputs)
    });
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    Ok(StepInput {
        default: Document::Null,
        sources: sources.into_iter().flatten().collect(),
        is_list: matches!(value, Document::List(_)),
    })
}

fn read_source(text: &str, inputs: &[&str]) -> Result<Option<Source>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(name) = input_name(text).filter(|name| !inputs.contains(name)) {
        return Err(format!("it reads `{text}`, but there is no input `{name}`"));
    }
    Ok(Some(source_of(text)))
}
