//! What a workflow is, by its steps.

use std::collections::BTreeSet;

use ailurus_model::{StepStatus, WorkflowStatus};

use super::loops::{LoopState, loops_of};
use crate::{
    ledger::{Ledger, WorkflowRecord, WorkflowStepRecord},
    operation::Operation,
};

impl<L: Ledger> Operation<'_, L> {
    /// Says what a workflow is, by its steps.
    pub(super) fn conclude(&self, workflow: &mut WorkflowRecord, steps: &[WorkflowStepRecord]) {
        let now = self.ctx.now;
        let limits = &self.ctx.limits.workflows;
        let old = workflow.status;
        let loops = loops_of(workflow, steps, limits.rounds_max);
        let goes_on = loops.iter().any(|(_, state)| *state == LoopState::Repeats);
        if !goes_on && steps.iter().all(|step| step.status.is_final()) {
            let overrun = loops.iter().find(|(_, state)| *state == LoopState::Overrun);
            let lost = match overrun {
                Some((block, _)) => Some(overrun_of(workflow, *block)),
                None => lost_of(steps),
            };
            workflow.status = match lost {
                Some(_) => WorkflowStatus::Failed,
                None => WorkflowStatus::Done,
            };
            workflow.details.reason = lost.unwrap_or_default();
            workflow.due = None;
        } else {
            let is_ready = steps.iter().any(|step| step.status == StepStatus::Ready);
            if old != WorkflowStatus::Suspended {
                workflow.status = WorkflowStatus::Running;
                workflow.details.reason.clear();
            }
            workflow.due = Some(if is_ready {
                now
            } else {
                now.after(limits.recheck_interval)
            });
        }
        if old != workflow.status {
            workflow.details.ended = workflow.status.is_final().then_some(now);
            workflow.modified = now;
        }
    }
}

/// Says why a workflow fails whose loop does not end.
fn overrun_of(workflow: &WorkflowRecord, block: u32) -> String {
    let blocks = &workflow.details.blocks;
    let at = usize::try_from(block).ok();
    let name = at.and_then(|at| blocks.planned.get(at));
    format!(
        "step `{}`: its loop would go on after {} rounds, which are the most",
        name.map_or("", |planned| &planned.name),
        blocks.rounds(Some(block)).rsplit('_').next().unwrap_or("")
    )
}

/// Says why a workflow fails, if it does.
fn lost_of(steps: &[WorkflowStepRecord]) -> Option<String> {
    let mended = mended_places(steps);
    let mut lost = steps.iter().filter(|step| {
        matches!(step.status, StepStatus::Failed | StepStatus::Cancelled)
            && !mended.contains(&step.place)
    });
    lost.next().map(|step| {
        let why = if step.reason.is_empty() {
            step.status.as_str()
        } else {
            &step.reason
        };
        format!("step `{}`: {why}", step.plan.name)
    })
}

/// The places of steps whose failure is what other steps wait for.
pub(super) fn mended_places(steps: &[WorkflowStepRecord]) -> BTreeSet<u32> {
    let conditions = steps.iter().filter_map(|step| step.plan.condition.as_ref());
    let leaves = conditions.flat_map(|condition| condition.failing());
    leaves.flatten().copied().collect()
}
