//! The rows of workflows and of their steps. What the steps' tasks are is in the tasks' rows.

use std::{collections::BTreeSet, sync::Arc};

use ailurus_jedi::workflow::{Blocks, PlannedStep};
use ailurus_model::{
    Caller, Proof, Rights, StepStatus, TaskId, Timestamp, WorkflowId, WorkflowStatus,
};
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerError;

/// Who submitted a workflow, as far as their tasks depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Submitter {
    /// Compact name.
    pub name: String,
    /// Distinguished name.
    pub dn: String,
    /// Whether they had the rights of production.
    pub is_production: bool,
    /// Their working groups.
    pub working_groups: BTreeSet<String>,
}

impl From<&Caller> for Submitter {
    fn from(caller: &Caller) -> Self {
        Self {
            name: caller.name.clone(),
            dn: caller.dn.clone(),
            is_production: caller.rights.production,
            working_groups: caller.rights.working_groups.clone(),
        }
    }
}

impl Submitter {
    /// Returns the caller for whom tasks are submitted.
    #[must_use]
    pub fn to_caller(&self) -> Caller {
        Caller {
            // What they may do was proved when they submitted the workflow.
            proof: Proof::Token,
            dn: self.dn.clone(),
            name: self.name.clone(),
            fqans: Vec::new(),
            rights: Rights {
                production: self.is_production,
                pilot: false,
                working_groups: self.working_groups.clone(),
            },
        }
    }
}

/// What seldom changes of a workflow, and what people are told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkflowDetails {
    /// Who submitted it.
    pub submitter: Submitter,
    /// The label of its tasks (`prodSourceLabel`).
    pub label: String,
    /// Where the submitter reached the server; empty if not known.
    pub origin: String,
    /// Datasets that it reads, by the names of its inputs.
    pub inputs: Vec<(String, String)>,
    /// Workflows within it whose steps share variables or are repeated, and how far they have come.
    #[serde(default, skip_serializing_if = "Blocks::is_empty")]
    pub blocks: Blocks,
    /// Whether a person wants it to end with what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_finishing: bool,
    /// Why it is what it is, for people; empty where the status says it all.
    pub reason: String,
    /// When its first task was submitted.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRecord {
    /// Its number.
    pub id: WorkflowId,
    /// Its name, empty if it has none.
    pub name: String,
    /// Compact name of the person whose it is.
    pub user: String,
    /// What it is.
    pub status: WorkflowStatus,
    /// When it is to be looked at, none if something must happen first.
    pub due: Option<Timestamp>,
    /// When it was submitted.
    pub created: Timestamp,
    /// When it changed last.
    pub modified: Timestamp,
    /// The rest.
    pub details: WorkflowDetails,
}

/// A step of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowStepRecord {
    /// Its workflow.
    pub workflow: WorkflowId,
    /// Its place among the steps, from 0.
    pub place: u32,
    /// What it is.
    pub status: StepStatus,
    /// Its task, once that was submitted; in a loop, that of this round.
    pub task: Option<TaskId>,
    /// Why it is what it is, for people; empty where the status says it all.
    pub reason: String,
    /// What it does. It never changes.
    pub plan: Arc<PlannedStep>,
}

/// Keeps the rows of workflows.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait WorkflowRows {
    /// Takes a new workflow number, larger than all before.
    fn new_workflow_id(&mut self) -> Result<WorkflowId, LedgerError>;
    /// Reads a workflow.
    fn workflow(&self, id: WorkflowId) -> Result<Option<WorkflowRecord>, LedgerError>;
    /// Writes a workflow, new or changed.
    fn put_workflow(&mut self, workflow: &WorkflowRecord) -> Result<(), LedgerError>;
    /// Lists workflows that are to be looked at, longest due first, `limit` at most.
    fn workflows_due(&self, now: Timestamp, limit: usize) -> Result<Vec<WorkflowId>, LedgerError>;
    /// Lists the steps of a workflow, by place.
    fn workflow_steps(&self, id: WorkflowId) -> Result<Vec<WorkflowStepRecord>, LedgerError>;
    /// Writes a step, new or changed.
    fn put_workflow_step(&mut self, step: &WorkflowStepRecord) -> Result<(), LedgerError>;
    /// Lists the workflows that have a task as a step, by rising number.
    fn workflows_of_task(&self, task: TaskId) -> Result<Vec<WorkflowId>, LedgerError>;
    /// Lists workflows that nobody is to look at and that have not changed since `before`, longest
    /// first, `limit` at most.
    fn workflows_unchanged_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<WorkflowId>, LedgerError>;
    /// Removes a workflow with its steps. Their tasks stay.
    fn remove_workflow(&mut self, id: WorkflowId) -> Result<(), LedgerError>;
}
