//! Makes the plan of a workflow: its steps in order, with their tasks. The steps of workflows within
//! it stand in their place.
//!
//! Source: PanDA server, `pandaserver/workflow/pcwl_utils.py` (`resolve_nodes`) and
//! `workflow_native_utils.py` (`Node`, `resolve_nodes`).

mod datasets;
mod planner;
mod scatter;
mod scope;
mod tasks;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::planner::Planner;
use crate::workflow::{Condition, Graph, PlannedBlock, WorkflowError};

/// The template of `prun` for steps without Athena.
const TEMPLATE: &str = "container";

/// How large a workflow may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Steps, with all copies of scattered ones.
    pub steps_max: usize,
}

/// What a plan follows from besides the workflow.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// What the names of all tasks begin with.
    pub out_ds: &'a str,
    /// The number of the first step: 1 in PanDA's own engine, 0 in that of `pchain`.
    pub first_number: u32,
    /// Templates of task parameters, by kind.
    pub templates: &'a Map<String, Value>,
    /// The platform of steps without a container, if any.
    pub base_platform: Option<&'a str>,
    /// Workflows that steps may run, by the names under which steps know them.
    pub workflows: &'a BTreeMap<String, Graph>,
    /// How large it may be.
    pub limits: PlanLimits,
}

/// When a step's task is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// When all steps that it reads from have succeeded.
    WhenDone,
    /// When the task of the one step that it reads from is there, as a task after that.
    WithParent,
}

/// A step with its task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// Its number in the names of its datasets.
    pub number: u32,
    /// The block in which it stands, by its place among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// Whether its results set variables of that block.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_junction: bool,
    /// The steps that it reads from, by their places in the plan.
    pub parents: Vec<u32>,
    /// When its task is submitted.
    pub start: Start,
    /// When it runs at all, by places in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition<Vec<u32>>>,
    /// The names of what it reads, as the workflow knows them.
    pub inputs: Vec<String>,
    /// Whether what it makes is an output of the whole.
    pub is_output: bool,
    /// The name of its task, with holders of what is not known yet.
    pub task_name: String,
    /// What its output datasets have behind that.
    pub output_types: Vec<String>,
    /// The parameters of its task, with such holders.
    pub params: Map<String, Value>,
}

/// A workflow as it will be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Datasets that it reads, by the names of its inputs.
    pub inputs: Vec<(String, String)>,
    /// Its steps; each comes after those that it reads from.
    pub steps: Vec<PlannedStep>,
    /// Workflows within it whose steps share variables or are repeated; each comes after the one
    /// in which it stands.
    pub blocks: Vec<PlannedBlock>,
}

/// Makes the plan of a workflow.
///
/// # Errors
///
/// [`WorkflowError`] that names the step and what is wrong with it.
pub fn plan(graph: &Graph, request: &PlanRequest<'_>) -> Result<Plan, WorkflowError> {
    if request.out_ds.is_empty() {
        return Err(WorkflowError::file(
            "`outDS` is missing: give a name for the outputs",
        ));
    }
    let template = request.templates.get(TEMPLATE).and_then(Value::as_object);
    let template = template.ok_or_else(|| {
        WorkflowError::file("`taskParams` has no template `container`: submit with `pchain`")
    })?;
    Planner::new(request, template).plan(graph)
}

fn too_many(found: usize, request: &PlanRequest<'_>) -> WorkflowError {
    WorkflowError::TooManySteps {
        found,
        allowed: request.limits.steps_max,
    }
}
