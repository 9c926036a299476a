//! Workflows and their steps, in memory.

use std::collections::BTreeMap;

use ailurus_model::{TaskId, Timestamp, WorkflowId};

use crate::{
    MemoryLedger,
    ledger::{LedgerError, WorkflowRecord, WorkflowRows, WorkflowStepRecord},
};

/// The tables.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct WorkflowTables {
    last: WorkflowId,
    workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    steps: BTreeMap<(WorkflowId, u32), WorkflowStepRecord>,
}

impl MemoryLedger {
    /// Lists all workflows, by rising number.
    pub fn workflows(&self) -> impl Iterator<Item = &WorkflowRecord> {
        self.workflows.workflows.values()
    }

    /// Lists all steps of workflows, by workflow and place.
    pub fn all_workflow_steps(&self) -> impl Iterator<Item = &WorkflowStepRecord> {
        self.workflows.steps.values()
    }
}

impl WorkflowRows for MemoryLedger {
    fn new_workflow_id(&mut self) -> Result<WorkflowId, LedgerError> {
        self.workflows.last = self.workflows.last.next();
        Ok(self.workflows.last)
    }

    fn workflow(&self, id: WorkflowId) -> Result<Option<WorkflowRecord>, LedgerError> {
        Ok(self.workflows.workflows.get(&id).cloned())
    }

    fn put_workflow(&mut self, workflow: &WorkflowRecord) -> Result<(), LedgerError> {
        let workflows = &mut self.workflows.workflows;
        workflows.insert(workflow.id, workflow.clone());
        Ok(())
    }

    fn workflows_due(&self, now: Timestamp, limit: usize) -> Result<Vec<WorkflowId>, LedgerError> {
        let all = self.workflows.workflows.values();
        let due = all.filter_map(|workflow| Some((workflow.due?, workflow.id)));
        let mut due: Vec<_> = due.filter(|(due, _)| *due <= now).collect();
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, id)| id).take(limit).collect())
    }

    fn workflow_steps(&self, id: WorkflowId) -> Result<Vec<WorkflowStepRecord>, LedgerError> {
        let steps = self.workflows.steps.range((id, 0)..=(id, u32::MAX));
        Ok(steps.map(|(_, step)| step.clone()).collect())
    }

    fn put_workflow_step(&mut self, step: &WorkflowStepRecord) -> Result<(), LedgerError> {
        let key = (step.workflow, step.place);
        self.workflows.steps.insert(key, step.clone());
        Ok(())
    }

    fn workflows_of_task(&self, task: TaskId) -> Result<Vec<WorkflowId>, LedgerError> {
        let steps = self.workflows.steps.values();
        let mut ids: Vec<WorkflowId> = steps
            .filter(|step| step.task == Some(task))
            .map(|step| step.workflow)
            .collect();
        ids.dedup();
        Ok(ids)
    }

    fn workflows_unchanged_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<WorkflowId>, LedgerError> {
        let all = self.workflows.workflows.values();
        let idle = all.filter(|workflow| workflow.due.is_none() && workflow.modified < before);
        let mut idle: Vec<_> = idle
            .map(|workflow| (workflow.modified, workflow.id))
            .collect();
        idle.sort_unstable();
        Ok(idle.into_iter().map(|(_, id)| id).take(limit).collect())
    }

    fn remove_workflow(&mut self, id: WorkflowId) -> Result<(), LedgerError> {
        self.workflows.workflows.remove(&id);
        self.workflows
            .steps
            .retain(|(workflow, _), _| *workflow != id);
        Ok(())
    }
}
