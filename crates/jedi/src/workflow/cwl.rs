//! Workflows in the Common Workflow Language, as far as `pchain` uses it: steps that run `prun`,
//! `junction` or other files and read inputs and each other's outputs, with `scatter`, `when` and
//! the hint `loop`.
//!
//! Source: PanDA server, `pandaserver/workflow/pcwl_utils.py` (`parse_workflow_file`); CWL v1.2.

use std::collections::BTreeMap;

use crate::workflow::{
    Document, Graph, GraphOutput, GraphStep, Handover, Numbering, Order, Repeats, Source,
    StepInput, Work, WorkflowError, WorkflowFile, condition::parse, prun::check_input,
};

/// What PanDA runs as steps besides `prun` and `junction`, and this server does not.
const OTHER_RUNS: [&str; 3] = ["phpo", "reana", "gitlab"];
/// The hint that a step is repeated.
const LOOP: &str = "loop";

/// Reads a workflow of CWL. `path` is where its file is, as seen from the folder that was sent.
///
/// # Errors
///
/// [`WorkflowError`] that names what is wrong.
pub fn read_cwl(path: &str, file: &Document) -> Result<WorkflowFile, WorkflowError> {
    let Document::Map(_) = file else {
        return Err(WorkflowError::file(format!(
            "it is {}, not a map",
            file.kind()
        )));
    };
    let class = file
        .get("class")
        .and_then(Document::to_text)
        .unwrap_or_default();
    if class != "Workflow" {
        return Err(WorkflowError::file(format!(
            "`class` is `{class}`: it must be `Workflow`"
        )));
    }
    let mut inputs = Vec::new();
    for (name, input) in named(file.get("inputs"), "inputs")? {
        let given = input.get("default").cloned().unwrap_or_default();
        inputs.push((name, given));
    }
    let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
    let steps = named(file.get("steps"), "steps")?
        .iter()
        .map(|(name, step)| read_step(path, name, step, &names))
        .collect::<Result<Vec<_>, _>>()?;
    if steps.is_empty() {
        return Err(WorkflowError::file("`steps` is missing: give at least one"));
    }
    let mut outputs = Vec::new();
    for (name, output) in named(file.get("outputs"), "outputs")? {
        let sources = match output.get("outputSource") {
            Some(source) => texts(source),
            None => texts(&output),
        };
        for (step, made) in sources
            .iter()
            .filter_map(|source| local(source).split_once('/'))
        {
            outputs.push(GraphOutput {
                name: name.clone(),
                made_by: (step.to_owned(), made.to_owned()),
                types: Vec::new(),
            });
        }
    }
    let main = Graph {
        name: None,
        inputs,
        outputs,
        steps,
        handover: Handover::FileByFile,
        order: Order::ByLevel,
        numbering: Numbering::Throughout,
    };
    Ok(WorkflowFile {
        main,
        blocks: BTreeMap::new(),
    })
}

/// Lists what stands in a map by name, or in a list by `id`. Maps are put in the order of their
/// keys, as CWL's own tools do.
fn named(found: Option<&Document>, what: &str) -> Result<Vec<(String, Document)>, WorkflowError> {
    match found {
        None | Some(Document::Null) => Ok(Vec::new()),
        Some(Document::Map(entries)) => {
            let mut entries = entries.clone();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            Ok(entries)
        }
        Some(Document::List(items)) => items
            .iter()
            .map(|item| {
                let id = item.get("id").and_then(Document::to_text);
                let id = id.ok_or_else(|| {
                    WorkflowError::file(format!("an entry of `{what}` has no `id`"))
                })?;
                Ok((local(&id).to_owned(), item.clone()))
            })
            .collect(),
        Some(other @ (Document::Flag(_) | Document::Number(_) | Document::Text(_))) => {
            Err(WorkflowError::file(format!(
                "`{what}` is {}: it must be a map or a list",
                other.kind()
            )))
        }
    }
}

/// The part of a reference behind the name of the file.
fn local(reference: &str) -> &str {
    reference.rsplit('#').next().unwrap_or(reference)
}

fn texts(value: &Document) -> Vec<String> {
    let items = value.items().iter();
    items.filter_map(Document::to_text).collect()
}

fn read_step(
    path: &str,
    name: &str,
    step: &Document,
    inputs: &[&str],
) -> Result<GraphStep, WorkflowError> {
    let wrong = |problem: String| WorkflowError::step(name, problem);
    let work = read_work(path, step).map_err(wrong)?;
    let method = step.get("scatterMethod").and_then(Document::to_text);
    if let Some(method) = method.filter(|method| method != "dotproduct") {
        return Err(wrong(format!(
            "`scatterMethod` is `{method}`: only `dotproduct` is available"
        )));
    }
    let mut read = GraphStep {
        name: name.to_owned(),
        scatter: step.get("scatter").map(texts).unwrap_or_default(),
        work,
        ..GraphStep::default()
    };
    if let Some(when) = step.get("when").and_then(Document::to_text) {
        read.condition = Some(parse(&when).map_err(wrong)?);
    }
    for (input, value) in named(step.get("in"), "in")? {
        let input = input.rsplit('/').next().unwrap_or(&input).to_owned();
        check_input(&read.work, &input).map_err(wrong)?;
        let made =
            read_input(&value, inputs).map_err(|problem| wrong(format!("`{input}` {problem}")))?;
        read.inputs.insert(input, made);
    }
    for item in &mut read.scatter {
        *item = local(item)
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        if !read.inputs.contains_key(item) {
            return Err(wrong(format!(
                "`scatter` names `{item}`, which is none of its inputs"
            )));
        }
    }
    Ok(read)
}

/// Reads what a step runs, and whether it is repeated.
fn read_work(path: &str, step: &Document) -> Result<Work, String> {
    let run = match step.get("run") {
        None => return Err("`run` is missing: it must be `prun`".to_owned()),
        Some(run) => run
            .to_text()
            .ok_or_else(|| format!("`run` is {}: it must be a text", run.kind()))?,
    };
    let base = run.rsplit(['/', '#']).next().unwrap_or(&run);
    let base = base.strip_suffix(".cwl").unwrap_or(base);
    let work = match base {
        "prun" => Work::Run,
        "junction" => Work::Junction,
        _ if OTHER_RUNS.contains(&base) => {
            return Err(format!(
                "it runs `{base}`, which is not available here: only `prun`, `junction` and other \
                 workflows are"
            ));
        }
        _ if run.ends_with(".cwl") => {
            let repeats = if has_loop(step) {
                Repeats::Loop
            } else {
                Repeats::Never
            };
            return Ok(Work::Workflow(beside(path, &run), repeats));
        }
        _ => {
            return Err(format!(
                "it runs `{run}`: only `prun`, `junction` and files that end with `.cwl` are \
                 available"
            ));
        }
    };
    if has_loop(step) {
        return Err(format!(
            "it runs `{base}` in a loop: only workflows in files of their own can be repeated"
        ));
    }
    Ok(work)
}

fn has_loop(step: &Document) -> bool {
    step.get("hints").is_some_and(|hints| {
        hints.get(LOOP).is_some() || texts(hints).iter().any(|hint| hint == LOOP)
    })
}

/// The path of a file that another one names, seen from where that one's path begins.
fn beside(path: &str, named: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(named.split('/')) {
        let is_up = part == ".." && parts.last().is_some_and(|last| *last != "..");
        match part {
            "" | "." => {}
            _ if is_up => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    // A leading slash is kept, so that it is refused as a place outside.
    let root = if named.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn read_input(value: &Document, inputs: &[&str]) -> Result<StepInput, String> {
    if value.get("valueFrom").is_some() {
        return Err("has `valueFrom`, which is not available here".to_owned());
    }
    let is_map = matches!(value, Document::Map(_));
    let source = if is_map {
        value.get("source")
    } else {
        Some(value)
    };
    let source = source.cloned().unwrap_or_default();
    let default = value.get("default").cloned().unwrap_or_default();
    let sources = texts(&source);
    let sources = sources.iter().map(|source| {
        let source = local(source);
        match source.split_once('/') {
            Some((step, made)) => Ok(Source::Step(step.to_owned(), made.to_owned())),
            None if inputs.contains(&source) => Ok(Source::Input(source.to_owned())),
            None => Err(format!(
                "comes from `{source}`, which is no input of the workflow"
            )),
        }
    });
    Ok(StepInput {
        default,
        sources: sources.collect::<Result<_, _>>()?,
        is_list: matches!(source, Document::List(_)),
    })
}
