//! Workflows in PanDA's own language of YAML files.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_native_utils.py` (`parse_workflow_data`).

use crate::workflow::{
    Document, Graph, GraphStep, Handover, Order, Source, StepInput, WorkflowError,
    prun::is_step_input,
};

/// Keys of a step besides those that become inputs.
const TYPE: &str = "type";

/// Reads a workflow in PanDA's own language.
///
/// # Errors
///
/// [`WorkflowError`] that names what is wrong.
pub fn read_native(file: &Document) -> Result<Graph, WorkflowError> {
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
    let steps = steps
        .iter()
        .map(|(name, step)| read_step(name, step, &names))
        .collect::<Result<Vec<_>, _>>()?;
    let outputs = file.get("outputs").map_or(&[][..], Document::entries);
    let options = file.get("options");
    let is_partial = options
        .and_then(|options| options.get("allow_partial_inputs"))
        .is_some_and(Document::is_yes);
    Ok(Graph {
        name: file.get("name").and_then(Document::to_text),
        inputs: inputs.to_vec(),
        outputs: outputs
            .iter()
            .filter_map(|(_, output)| output.get("from")?.to_text())
            .filter_map(|from| Some(from.split('/').next()?.to_owned()))
            .collect(),
        steps,
        handover: if is_partial {
            Handover::FileByFile
        } else {
            Handover::WhenDone
        },
        order: Order::DepthFirst,
    })
}

fn read_step(name: &str, step: &Document, inputs: &[&str]) -> Result<GraphStep, WorkflowError> {
    let wrong = |problem: String| WorkflowError::step(name, problem);
    let Document::Map(entries) = step else {
        return Err(wrong(format!("it is {}, not a map", step.kind())));
    };
    let kind = step.get(TYPE).and_then(Document::to_text);
    if let Some(kind) = kind.filter(|kind| kind != "prun") {
        return Err(wrong(format!(
            "its type `{kind}` is not available here: only `prun` is"
        )));
    }
    let mut read = GraphStep {
        name: name.to_owned(),
        ..GraphStep::default()
    };
    for (key, value) in entries.iter().filter(|(key, _)| key != TYPE) {
        let input = format!("opt_{key}");
        if !is_step_input(&input) {
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
    if let Some(name) = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
    {
        if !inputs.contains(&name) {
            return Err(format!("it reads `{text}`, but there is no input `{name}`"));
        }
        return Ok(Some(Source::Input(name.to_owned())));
    }
    // A container's name ends with a slash; one in the middle leads to a step's output.
    match text.trim_end_matches('/').split_once('/') {
        Some((step, _)) => Ok(Some(Source::Step(step.to_owned()))),
        None => Ok(Some(Source::Dataset(text.to_owned()))),
    }
}
