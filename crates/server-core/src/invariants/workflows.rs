//! What must hold for the rows of workflows.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_jedi::workflow::Start;
use ailurus_model::{StepStatus, TaskId, TaskStatus, WorkflowId};

use super::holds;
use crate::{
    ledger::{Ledger, WorkflowRecord, WorkflowStepRecord},
    memory::MemoryLedger,
};

type Steps<'a> = BTreeMap<(WorkflowId, u32), &'a WorkflowStepRecord>;

fn steps_of(ledger: &MemoryLedger) -> Steps<'_> {
    let steps = ledger.all_workflow_steps();
    steps
        .map(|step| ((step.workflow, step.place), step))
        .collect()
}

fn workflows_of(ledger: &MemoryLedger) -> BTreeMap<WorkflowId, &WorkflowRecord> {
    let workflows = ledger.workflows();
    workflows.map(|workflow| (workflow.id, workflow)).collect()
}

/// G3: a workflow that has ended has no step that has not.
pub fn ended_workflows_are_over(ledger: &MemoryLedger) -> Result<(), String> {
    let workflows = workflows_of(ledger);
    ledger.all_workflow_steps().try_for_each(|step| {
        let Some(workflow) = workflows.get(&step.workflow) else {
            return Err(format!("workflow {} has steps and no row", step.workflow));
        };
        let is_over = !workflow.status.is_final() || step.status.is_final();
        holds(is_over, || {
            format!(
                "workflow {} is {} and its step {} is {}",
                workflow.id, workflow.status, step.place, step.status
            )
        })
    })
}

/// G1: no two steps of a workflow have the same task.
pub fn steps_have_tasks_of_their_own(ledger: &MemoryLedger) -> Result<(), String> {
    let mut seen: BTreeSet<(WorkflowId, TaskId)> = BTreeSet::new();
    ledger.all_workflow_steps().try_for_each(|step| {
        let Some(task) = step.task else {
            return Ok(());
        };
        holds(seen.insert((step.workflow, task)), || {
            format!("two steps of workflow {} have task {task}", step.workflow)
        })
    })
}

/// G1: a step gets one task, another one only in the next round of its loop or if the first was no
/// task that could run.
pub fn steps_get_one_task(before: &MemoryLedger, after: &MemoryLedger) -> Result<(), String> {
    let (then, now) = (steps_of(before), steps_of(after));
    let (old, new) = (workflows_of(before), workflows_of(after));
    then.iter().try_for_each(|(key, step)| {
        let (Some(task), Some(later)) = (step.task, now.get(key)) else {
            return Ok(());
        };
        if later.task == Some(task) {
            return Ok(());
        }
        let rounds = |all: &BTreeMap<WorkflowId, &WorkflowRecord>| {
            let workflow = all.get(&step.workflow)?;
            Some(workflow.details.blocks.rounds(step.plan.block))
        };
        let has_next_round = rounds(&old) != rounds(&new);
        let status = after.task(task).ok().flatten().map(|task| task.status);
        let was_none = matches!(status, Some(TaskStatus::Broken | TaskStatus::ToBroken));
        holds(later.task.is_none() && (has_next_round || was_none), || {
            format!(
                "step {} of workflow {} had task {task} and has {:?}",
                step.place, step.workflow, later.task
            )
        })
    })
}

/// G2: a step begins when what it reads is there: its parents have succeeded, or the one that it
/// reads file by file has a task.
pub fn steps_begin_with_their_inputs(
    before: &MemoryLedger,
    after: &MemoryLedger,
) -> Result<(), String> {
    let (then, now) = (steps_of(before), steps_of(after));
    now.iter().try_for_each(|(key, step)| {
        let had_task = then.get(key).is_some_and(|step| step.task.is_some());
        if had_task || step.task.is_none() {
            return Ok(());
        }
        let asked: Vec<u32> = match &step.plan.condition {
            Some(condition) => condition.leaves().into_iter().flatten().copied().collect(),
            None => Vec::new(),
        };
        let mut parents = step.plan.parents.iter();
        let missing = parents.find(|place| {
            let parent = now.get(&(step.workflow, **place));
            let is_there = parent.is_some_and(|parent| match step.plan.start {
                Start::WhenDone => parent.status == StepStatus::Done,
                Start::WithParent => parent.task.is_some(),
            });
            !is_there && !asked.contains(place)
        });
        match missing {
            Some(place) => Err(format!(
                "step {} of workflow {} began before step {place}",
                step.place, step.workflow
            )),
            None => Ok(()),
        }
    })
}
