//! Workflows in the Common Workflow Language, as far as `pchain` uses it: steps of `prun` that read
//! inputs and each other's outputs, with `scatter` and `when`.
//!
//! Source: PanDA server, `pandaserver/workflow/pcwl_utils.py` (`parse_workflow_file`); CWL v1.2.

use crate::workflow::{
    Document, Graph, GraphStep, Handover, Order, Source, StepInput, WorkflowError,
    condition::parse, prun::is_step_input,
};

/// What PanDA runs as steps besides `prun`, and this server does not.
const OTHER_RUNS: [&str; 4] = ["phpo", "junction", "reana", "gitlab"];

/// Reads a workflow of CWL with the values of its inputs.
///
/// # Errors
///
/// [`WorkflowError`] that names what is wrong.
pub fn read_cwl(file: &Document, values: &Document) -> Result<Graph, WorkflowError> {
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
    if !matches!(values, Document::Map(_) | Document::Null) {
        let problem = format!("the file of inputs is {}, not a map", values.kind());
        return Err(WorkflowError::file(problem));
    }
    let mut inputs = Vec::new();
    for (name, input) in named(file.get("inputs"), "inputs")? {
        let given = values.get(&name).or_else(|| input.get("default"));
        inputs.push((name, given.cloned().unwrap_or_default()));
    }
    let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
    let steps = named(file.get("steps"), "steps")?
        .iter()
        .map(|(name, step)| read_step(name, step, &names))
        .collect::<Result<Vec<_>, _>>()?;
    if steps.is_empty() {
        return Err(WorkflowError::file("`steps` is missing: give at least one"));
    }
    let mut outputs = Vec::new();
    for (_, output) in named(file.get("outputs"), "outputs")? {
        let sources = match output.get("outputSource") {
            Some(source) => texts(source),
            None => texts(&output),
        };
        let steps = sources
            .iter()
            .filter_map(|source| local(source).split_once('/'));
        outputs.extend(steps.map(|(step, _)| step.to_owned()));
    }
    Ok(Graph {
        name: None,
        inputs,
        outputs,
        steps,
        handover: Handover::FileByFile,
        order: Order::ByLevel,
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

fn read_step(name: &str, step: &Document, inputs: &[&str]) -> Result<GraphStep, WorkflowError> {
    let wrong = |problem: String| WorkflowError::step(name, problem);
    let run = step
        .get("run")
        .and_then(Document::to_text)
        .unwrap_or_default();
    check_run(&run).map_err(wrong)?;
    let has_loop = step.get("hints").is_some_and(|hints| {
        hints.get("loop").is_some() || texts(hints).iter().any(|h| h == "loop")
    });
    if has_loop {
        return Err(wrong(
            "loops are not available here: write the steps out".to_owned(),
        ));
    }
    let method = step.get("scatterMethod").and_then(Document::to_text);
    if let Some(method) = method.filter(|method| method != "dotproduct") {
        return Err(wrong(format!(
            "`scatterMethod` is `{method}`: only `dotproduct` is available"
        )));
    }
    let mut read = GraphStep {
        name: name.to_owned(),
        scatter: step.get("scatter").map(texts).unwrap_or_default(),
        ..GraphStep::default()
    };
    if let Some(when) = step.get("when").and_then(Document::to_text) {
        read.condition = Some(parse(&when).map_err(wrong)?);
    }
    for (input, value) in named(step.get("in"), "in")? {
        let input = input.rsplit('/').next().unwrap_or(&input).to_owned();
        if !is_step_input(&input) {
            return Err(wrong(format!(
                "unknown input parameter `{input}` for prun: there are `opt_inDS`, \
                 `opt_inDsType`, `opt_secondaryDSs`, `opt_secondaryDsTypes`, `opt_args`, \
                 `opt_exec`, `opt_containerImage` and `opt_useAthenaPackages`"
            )));
        }
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

fn check_run(run: &str) -> Result<(), String> {
    let base = run.rsplit(['/', '#']).next().unwrap_or(run);
    let base = base.strip_suffix(".cwl").unwrap_or(base);
    if base == "prun" {
        Ok(())
    } else if base.is_empty() {
        Err("`run` is missing: it must be `prun`".to_owned())
    } else if OTHER_RUNS.contains(&base) {
        Err(format!(
            "it runs `{base}`, which is not available here: only `prun` is"
        ))
    } else if run.ends_with(".cwl") {
        Err(format!(
            "it runs another workflow, `{run}`, which is not available here: put its steps into \
             this one"
        ))
    } else {
        Err(format!("it runs `{run}`: only `prun` is available"))
    }
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
            Some((step, _)) => Ok(Source::Step(step.to_owned())),
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
