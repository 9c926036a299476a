//! A workflow's turn: what its steps are follows from their tasks, and those that may begin get one.

use ailurus_jedi::workflow::{Outcome, PlannedStep, Start};
use ailurus_model::{StepStatus, TaskId, TaskStatus, WorkflowId, WorkflowStatus};
use serde_json::Value;

use crate::{
    Context,
    cache_files::note_archives_used,
    ledger::{Ledger, LedgerError, TaskRecord, WorkflowRecord, WorkflowStepRecord},
    operation::Operation,
    tasks::{Backlog, TaskRequest},
    workflows::loops::outcome_for,
};

/// What one round of turns did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkflowReport {
    /// Workflows that had their turn.
    pub workflows: u64,
    /// Tasks that were submitted.
    pub tasks: u64,
    /// Whether more is due at once.
    pub backlog: Backlog,
}

/// What becomes of a step that has no task.
enum Decision {
    /// It waits, for this.
    Wait(String),
    /// It will never run, for this.
    Close(String),
    /// It gets a task, after this one if any.
    Begin(Option<TaskId>),
}

/// Gives the workflows their turn that have been due longest. Call it again while it reports a
/// backlog.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn step_workflows(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
) -> Result<WorkflowReport, LedgerError> {
    let limits = &ctx.limits.workflows;
    let most = usize::try_from(limits.workflows_per_round).unwrap_or(usize::MAX);
    let mut report = WorkflowReport::default();
    let mut left = limits.submissions_per_turn.max(1);
    let mut op = Operation::new(ctx, ledger);
    for id in op.ledger.workflows_due(ctx.now, most)? {
        let submitted = op.turn_workflow(id, left)?;
        report.workflows += 1;
        report.tasks += u64::from(submitted);
        left = left.saturating_sub(submitted);
        if left == 0 {
            break;
        }
    }
    if !op.ledger.workflows_due(ctx.now, 1)?.is_empty() {
        report.backlog = Backlog::More;
    }
    op.finish()?;
    Ok(report)
}

impl<L: Ledger> Operation<'_, L> {
    /// Has the workflows of a task looked at, because it has another status.
    pub(crate) fn wake_workflows(&mut self, task: TaskId) -> Result<(), LedgerError> {
        for id in self.ledger.workflows_of_task(task)? {
            let Some(mut workflow) = self.ledger.workflow(id)? else {
                continue;
            };
            if workflow.status != WorkflowStatus::Cancelled
                && workflow.due.is_none_or(|due| due > self.ctx.now)
            {
                workflow.due = Some(self.ctx.now);
                self.ledger.put_workflow(&workflow)?;
            }
        }
        Ok(())
    }

    /// Gives a workflow its turn, and returns how many tasks it submitted.
    fn turn_workflow(&mut self, id: WorkflowId, most: u32) -> Result<u32, LedgerError> {
        let Some(mut workflow) = self.ledger.workflow(id)? else {
            return Ok(0);
        };
        if workflow.status == WorkflowStatus::Cancelled {
            workflow.due = None;
            self.ledger.put_workflow(&workflow)?;
            return Ok(0);
        }
        let mut steps = self.ledger.workflow_steps(id)?;
        let is_suspended = workflow.status == WorkflowStatus::Suspended;
        let mut submitted = 0;
        for place in 0..steps.len() {
            let (before, after) = steps.split_at_mut(place);
            let Some(step) = after.first_mut() else {
                break;
            };
            let old = step.clone();
            submitted += self.turn_step(&workflow, before, step, most - submitted)?;
            if *step != old {
                self.ledger.put_workflow_step(step)?;
            }
            let is_new = old.status != StepStatus::Done;
            if step.plan.is_junction && is_new && step.status == StepStatus::Done {
                let step = step.clone();
                self.take_results(&mut workflow, &step)?;
            }
        }
        let begins_again = !is_suspended && self.turn_loops(&mut workflow, &mut steps)?;
        if submitted > 0 && workflow.details.started.is_none() {
            workflow.details.started = Some(self.ctx.now);
        }
        self.conclude(&mut workflow, &steps);
        if begins_again {
            workflow.due = Some(self.ctx.now);
        }
        self.ledger.put_workflow(&workflow)?;
        Ok(submitted)
    }

    /// Brings one step up to date, and returns how many tasks it submitted: one or none.
    fn turn_step(
        &mut self,
        workflow: &WorkflowRecord,
        before: &[WorkflowStepRecord],
        step: &mut WorkflowStepRecord,
        most: u32,
    ) -> Result<u32, LedgerError> {
        if let Some(task) = step.task {
            self.follow_task(step, task)?;
            return Ok(0);
        }
        // Its task was refused: a person has to say how it goes on.
        if step.status == StepStatus::Failed {
            return Ok(0);
        }
        if workflow.details.is_finishing {
            (step.status, step.reason) = (StepStatus::Closed, "the workflow is finished".into());
            return Ok(0);
        }
        match self.decide(workflow, &step.plan, before) {
            Decision::Wait(why) => {
                (step.status, step.reason) = (StepStatus::Pending, why);
                self.keep_archives(&step.plan)?;
                Ok(0)
            }
            Decision::Close(why) => {
                (step.status, step.reason) = (StepStatus::Closed, why);
                Ok(0)
            }
            Decision::Begin(_) if workflow.status == WorkflowStatus::Suspended => {
                let why = "waits until the workflow is resumed".to_owned();
                (step.status, step.reason) = (StepStatus::Pending, why);
                self.keep_archives(&step.plan)?;
                Ok(0)
            }
            Decision::Begin(_) if most == 0 => {
                (step.status, step.reason) = (StepStatus::Ready, String::new());
                Ok(0)
            }
            Decision::Begin(parent) => {
                self.begin_step(workflow, step, parent)?;
                Ok(1)
            }
        }
    }

    fn begin_step(
        &mut self,
        workflow: &WorkflowRecord,
        step: &mut WorkflowStepRecord,
        parent: Option<TaskId>,
    ) -> Result<(), LedgerError> {
        let params = workflow.details.blocks.filled_params(&step.plan.params);
        let request = TaskRequest {
            params: Value::Object(params),
            parent,
            origin: workflow.details.origin.clone(),
        };
        let caller = workflow.details.submitter.to_caller();
        let reply = self.submit_task(request, &caller)?;
        match (reply.code, reply.task) {
            (0 | 3, Some(task)) => {
                step.task = Some(task);
                self.follow_task(step, task)?;
            }
            _ => {
                step.status = StepStatus::Failed;
                step.reason = format!("its task was refused: {}", reply.message);
            }
        }
        Ok(())
    }

    /// Has a step be what its task is.
    fn follow_task(&self, step: &mut WorkflowStepRecord, id: TaskId) -> Result<(), LedgerError> {
        let task = self.task(id)?;
        step.status = status_by(&task);
        step.reason.clear();
        if step.status == StepStatus::Failed {
            step.reason = format!("task {id} is {}", task.status);
            if let Some(progress) = self.ledger.task_progress(id)?
                && !progress.message.is_empty()
            {
                step.reason.push_str(&format!(": {}", progress.message));
            }
        }
        Ok(())
    }

    /// Keeps the sandbox of a step that waits.
    fn keep_archives(&mut self, step: &PlannedStep) -> Result<(), LedgerError> {
        let text = Value::Object(step.params.clone()).to_string();
        note_archives_used(self.ledger, &text, self.ctx.now)
    }

    /// Decides about a step without a task by the steps before it.
    fn decide(
        &self,
        workflow: &WorkflowRecord,
        step: &PlannedStep,
        before: &[WorkflowStepRecord],
    ) -> Decision {
        let rounds_max = self.ctx.limits.workflows.rounds_max;
        decide(step, before, &|place| {
            outcome_for(step, place, workflow, before, rounds_max)
        })
    }
}

/// Says what a step is whose task has this status.
fn status_by(task: &TaskRecord) -> StepStatus {
    use TaskStatus as T;
    match task.status {
        T::Done | T::Finished => StepStatus::Done,
        T::Failed
        | T::Exhausted
        | T::Aborting
        | T::ToAbort
        | T::Aborted
        | T::ToBroken
        | T::Broken => StepStatus::Failed,
        T::Scouting
        | T::Scouted
        | T::Running
        | T::Throttled
        | T::Paused
        | T::Merging
        | T::Prepared
        | T::Finishing
        | T::Passed
        | T::ToRetry
        | T::ToIncexec
        | T::Rerefine
        | T::ToReassign
        | T::Reassigning => StepStatus::Running,
        T::Pending if task.n_jobs > 0 => StepStatus::Running,
        T::Waiting
        | T::Registered
        | T::Defined
        | T::Staging
        | T::Assigning
        | T::Pending
        | T::ToPreprocess
        | T::Preprocessing
        | T::Ready => StepStatus::Starting,
    }
}

pub(super) fn outcome_of(status: StepStatus) -> Outcome {
    match status {
        StepStatus::Done => Outcome::Done,
        StepStatus::Failed | StepStatus::Closed | StepStatus::Cancelled => Outcome::Failed,
        StepStatus::Registered
        | StepStatus::Pending
        | StepStatus::Ready
        | StepStatus::Starting
        | StepStatus::Running => Outcome::Open,
    }
}

/// Decides about a step without a task by the steps before it, and what it sees of them.
fn decide(
    step: &PlannedStep,
    before: &[WorkflowStepRecord],
    outcome: &impl Fn(u32) -> Outcome,
) -> Decision {
    let mut asked: Vec<u32> = Vec::new();
    if let Some(condition) = &step.condition {
        asked = condition.leaves().into_iter().flatten().copied().collect();
        match condition.holds(outcome) {
            Some(true) => {}
            Some(false) => return Decision::Close("its condition does not hold".to_owned()),
            None => return Decision::Wait("waits for what its condition names".to_owned()),
        }
    }
    let read = step.parents.iter().filter(|place| !asked.contains(place));
    let parents: Vec<(&WorkflowStepRecord, Outcome)> = read
        .filter_map(|place| {
            let at = usize::try_from(*place).ok()?;
            Some((before.get(at)?, outcome(*place)))
        })
        .collect();
    let name = |step: &WorkflowStepRecord| format!("`{}`", step.plan.name);
    let mut lost = parents.iter().filter(|(_, seen)| *seen == Outcome::Failed);
    if let Some((lost, _)) = lost.next() {
        let what = if lost.status == StepStatus::Done {
            "whose loop does not end".to_owned()
        } else {
            format!("which is {}", lost.status)
        };
        return Decision::Close(format!("it reads from step {}, {what}", name(lost)));
    }
    if step.start == Start::WithParent
        && let [(parent, _)] = parents.as_slice()
        && let Some(task) = parent.task
    {
        return Decision::Begin(Some(task));
    }
    let waits_for: Vec<String> = parents
        .iter()
        .filter(|(_, seen)| *seen != Outcome::Done)
        .map(|(step, _)| name(step))
        .collect();
    if waits_for.is_empty() {
        Decision::Begin(None)
    } else {
        Decision::Wait(format!("waits for {}", waits_for.join(", ")))
    }
}
