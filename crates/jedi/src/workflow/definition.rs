//! Workflows whose tasks are made already: what PanDA's own parser gives its engine.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_parser.py` (`parse_raw_request`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::workflow::{Plan, PlanLimits, PlannedStep, Start, WorkflowError};

/// Reads a definition: nodes with their parents and the parameters of their tasks.
///
/// # Errors
///
/// [`WorkflowError`] that names what is wrong.
pub fn read_definition(definition: &Value, limits: PlanLimits) -> Result<Plan, WorkflowError> {
    let nodes = definition.get("nodes").and_then(Value::as_array);
    let nodes = nodes.filter(|nodes| !nodes.is_empty()).ok_or_else(|| {
        WorkflowError::file("`nodes` is missing: it must be a list of at least one")
    })?;
    if nodes.len() > limits.steps_max {
        return Err(WorkflowError::TooManySteps {
            found: nodes.len(),
            allowed: limits.steps_max,
        });
    }
    let ordered = ordered(nodes)?;
    let places: BTreeMap<String, u32> = (0..)
        .zip(&ordered)
        .map(|(place, (id, _))| (id.clone(), place))
        .collect();
    let is_parent = |id: &String| {
        let mut all = ordered.iter();
        all.any(|(_, node)| parents_of(node).contains(id))
    };
    let mut steps = Vec::new();
    for (id, node) in &ordered {
        steps.push(read_node(node, id, &places, !is_parent(id))?);
    }
    let inputs = definition.get("root_inputs").and_then(Value::as_object);
    let inputs = inputs.into_iter().flatten();
    Ok(Plan {
        name: definition["workflow_name"].as_str().map(str::to_owned),
        inputs: inputs
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        steps,
        blocks: Vec::new(),
    })
}

/// An identifier as text: numbers and texts are taken.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parents_of(node: &Value) -> Vec<String> {
    let parents = node["parents"].as_array().into_iter().flatten();
    parents.filter_map(id_text).collect()
}

/// Puts nodes behind those that they need.
fn ordered(nodes: &[Value]) -> Result<Vec<(String, &Value)>, WorkflowError> {
    let mut left = Vec::new();
    for node in nodes {
        let id = node.get("id").and_then(id_text).ok_or_else(|| {
            WorkflowError::file("a node has no `id`: it must be a number or a text")
        })?;
        if left.iter().any(|(known, _)| *known == id) {
            return Err(WorkflowError::file(format!("two nodes have the id `{id}`")));
        }
        left.push((id, node));
    }
    for (id, node) in &left {
        let is_known = |parent: &String| left.iter().any(|(known, _)| known == parent);
        if let Some(parent) = parents_of(node).iter().find(|parent| !is_known(parent)) {
            let problem = format!("its parent `{parent}` is no node");
            return Err(WorkflowError::step(id, problem));
        }
    }
    let mut ordered: Vec<(String, &Value)> = Vec::new();
    while !left.is_empty() {
        let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, node)| {
            let placed = |parent: &String| ordered.iter().any(|(id, _)| id == parent);
            parents_of(node).iter().all(placed)
        });
        if ready.is_empty() {
            let names: Vec<String> = waiting.iter().map(|(id, _)| format!("`{id}`")).collect();
            return Err(WorkflowError::Cycle(format!(
                "{} wait for each other",
                names.join(", ")
            )));
        }
        ordered.extend(ready);
        left = waiting;
    }
    Ok(ordered)
}

fn read_node(
    node: &Value,
    id: &str,
    places: &BTreeMap<String, u32>,
    is_last: bool,
) -> Result<PlannedStep, WorkflowError> {
    let name = node["name"].as_str().unwrap_or(id);
    let wrong = |problem: &str| WorkflowError::step(name, problem);
    for key in ["condition", "scatter", "loop"] {
        let is_set = !matches!(node.get(key), None | Some(Value::Null | Value::Bool(false)));
        if is_set {
            return Err(wrong(&format!("`{key}` is not available in a definition")));
        }
    }
    if let Some(kind) = node["type"].as_str().filter(|kind| *kind != "prun") {
        let problem = format!("its type `{kind}` is not available here: only `prun` is");
        return Err(wrong(&problem));
    }
    let params = node["task_params"].as_object();
    let params = params.ok_or_else(|| wrong("`task_params` is missing: it must be an object"))?;
    let task_name = params.get("taskName").and_then(Value::as_str);
    let task_name = task_name.ok_or_else(|| wrong("`task_params` has no `taskName`"))?;
    let place = places.get(id).copied().unwrap_or(0);
    let number = node["member_id"]
        .as_u64()
        .and_then(|number| u32::try_from(number).ok());
    let inputs = node["inputs"].as_object().into_iter().flatten();
    let types = node["output_types"].as_array().into_iter().flatten();
    let mut parents: Vec<u32> = parents_of(node)
        .iter()
        .filter_map(|parent| places.get(parent).copied())
        .collect();
    parents.sort_unstable();
    parents.dedup();
    Ok(PlannedStep {
        name: name.to_owned(),
        number: number.unwrap_or(place),
        block: None,
        is_junction: false,
        parents,
        start: Start::WhenDone,
        condition: None,
        inputs: inputs
            .filter_map(|(_, input)| Some(input["source"].as_str()?.to_owned()))
            .collect(),
        is_output: is_last || node["is_tail"].as_bool().unwrap_or(false),
        task_name: task_name.to_owned(),
        output_types: types
            .filter_map(|kind| Some(kind.as_str()?.to_owned()))
            .collect(),
        params: params.clone(),
    })
}
