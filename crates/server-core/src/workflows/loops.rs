//! Loops of workflows: what their junctions say, when they have another round, and what steps
//! outside see of those within.
//!
//! Source: iDDS, `workflow/lib/idds/workflowv2/workflow.py` and
//! `atlas/lib/idds/atlas/workflowv2/atlaslocalpandawork.py`.

use ailurus_jedi::workflow::{Outcome, PlannedStep};
use ailurus_model::{JobStatus, StepStatus, TaskId};
use serde_json::{Map, Value};

use super::{conclude::mended_places, turn::outcome_of};
use crate::{
    ledger::{JobText, Ledger, LedgerError, WorkflowRecord, WorkflowStepRecord},
    operation::Operation,
};

/// Where the job report of a junction has what its job wrote to `results.json`.
const RESULTS: &str = "junction_results";

/// How a loop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopState {
    /// Its round has not ended.
    Running,
    /// Its next round begins.
    Repeats,
    /// It has ended.
    Over,
    /// It would go on, but has had as many rounds as it may.
    Overrun,
}

/// Says how a loop stands; none if this block is no loop.
fn state_of(
    workflow: &WorkflowRecord,
    steps: &[WorkflowStepRecord],
    block: u32,
    rounds_max: u32,
) -> Option<LoopState> {
    let blocks = &workflow.details.blocks;
    let at = usize::try_from(block).ok()?;
    let (planned, state) = (blocks.planned.get(at)?, blocks.states.get(at)?);
    let junction = step_at(steps, planned.junction?)?;
    let within: Vec<&WorkflowStepRecord> = planned
        .steps
        .iter()
        .filter_map(|place| step_at(steps, *place))
        .collect();
    if within.iter().any(|step| !step.status.is_final()) {
        return Some(LoopState::Running);
    }
    let mended = mended_places(steps);
    let is_lost = |step: &&WorkflowStepRecord| {
        matches!(step.status, StepStatus::Failed | StepStatus::Cancelled)
            && !mended.contains(&step.place)
    };
    let goes_on = state.goes_on
        && junction.status == StepStatus::Done
        && !workflow.details.is_finishing
        && !within.iter().any(is_lost);
    Some(match goes_on {
        false => LoopState::Over,
        true if state.round >= rounds_max => LoopState::Overrun,
        true => LoopState::Repeats,
    })
}

fn step_at(steps: &[WorkflowStepRecord], place: u32) -> Option<&WorkflowStepRecord> {
    steps.get(usize::try_from(place).ok()?)
}

/// Lists the loops of a workflow and how they stand, the inner ones first.
pub(super) fn loops_of(
    workflow: &WorkflowRecord,
    steps: &[WorkflowStepRecord],
    rounds_max: u32,
) -> Vec<(u32, LoopState)> {
    let blocks = (0..).take(workflow.details.blocks.planned.len());
    let mut loops: Vec<(u32, LoopState)> = blocks
        .filter_map(|block| Some((block, state_of(workflow, steps, block, rounds_max)?)))
        .collect();
    loops.reverse();
    loops
}

/// What has become of the step at a place, as another step sees it: a loop that this one is not in
/// is open until its last round has ended.
pub(super) fn outcome_for(
    reader: &PlannedStep,
    place: u32,
    workflow: &WorkflowRecord,
    before: &[WorkflowStepRecord],
    rounds_max: u32,
) -> Outcome {
    let Some(step) = step_at(before, place) else {
        return Outcome::Failed;
    };
    let blocks = &workflow.details.blocks;
    let around: Vec<u32> = blocks.around(reader.block).collect();
    let others = blocks.around(step.plan.block);
    for block in others.filter(|block| !around.contains(block)) {
        match state_of(workflow, before, block, rounds_max) {
            Some(LoopState::Running | LoopState::Repeats) => return Outcome::Open,
            Some(LoopState::Overrun) => return Outcome::Failed,
            Some(LoopState::Over) | None => {}
        }
    }
    outcome_of(step.status)
}

impl<L: Ledger> Operation<'_, L> {
    /// Begins the next round of each loop that goes on, and says whether there was one.
    pub(super) fn turn_loops(
        &mut self,
        workflow: &mut WorkflowRecord,
        steps: &mut [WorkflowStepRecord],
    ) -> Result<bool, LedgerError> {
        let rounds_max = self.ctx.limits.workflows.rounds_max;
        let mut has_begun = false;
        for (block, _) in loops_of(workflow, steps, rounds_max) {
            // An inner loop that has begun anew keeps the outer one running.
            if state_of(workflow, steps, block, rounds_max) != Some(LoopState::Repeats) {
                continue;
            }
            let blocks = &mut workflow.details.blocks;
            blocks.next_round(block);
            let planned = usize::try_from(block)
                .ok()
                .and_then(|at| blocks.planned.get(at));
            let places = planned.map_or(&[][..], |planned| &planned.steps);
            for place in places {
                let step = usize::try_from(*place)
                    .ok()
                    .and_then(|at| steps.get_mut(at));
                let Some(step) = step else {
                    continue;
                };
                (step.status, step.task) = (StepStatus::Registered, None);
                step.reason.clear();
                self.ledger.put_workflow_step(step)?;
            }
            has_begun = true;
        }
        Ok(has_begun)
    }

    /// Takes what a junction that has succeeded says.
    pub(super) fn take_results(
        &self,
        workflow: &mut WorkflowRecord,
        step: &WorkflowStepRecord,
    ) -> Result<(), LedgerError> {
        let (Some(block), Some(task)) = (step.plan.block, step.task) else {
            return Ok(());
        };
        let results = self.results_of(task)?;
        let blocks = &mut workflow.details.blocks;
        blocks.take_results(block, step.place, &results);
        Ok(())
    }

    /// Puts together what the jobs of a junction reported; later jobs have the last word.
    fn results_of(&self, task: TaskId) -> Result<Map<String, Value>, LedgerError> {
        let mut results = Map::new();
        for id in self.ledger.jobs_of_task(task, &[JobStatus::Finished])? {
            let Some(job) = self.ledger.job(id)? else {
                continue;
            };
            let text = self
                .ledger
                .job_text(id, job.attempt_nr, JobText::Metadata)?;
            let report = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let found = report.as_ref().and_then(|report| report.get(RESULTS));
            if let Some(Value::Object(found)) = found {
                results.extend(found.clone());
            }
        }
        Ok(results)
    }
}
