//! What people want of workflows: end them, hold them, or try again what failed.
//!
//! Source: PanDA server, `pandaserver/api/v1/idds_api.py` (`execute_idds_workflow_command`); iDDS,
//! `client/lib/idds/client/clientmanager.py` (until 2022) and
//! `atlas/lib/idds/atlas/workflowv2/atlaspandawork.py`.

use ailurus_jedi::command::RetryQualifiers;
use ailurus_model::{Caller, StepStatus, TaskStatus, WorkflowId, WorkflowStatus};
use serde_json::Map;

use crate::{
    Context,
    ledger::{Ledger, LedgerError, WorkflowRecord, WorkflowStepRecord},
    operation::Operation,
    tasks::{CommandRequest, FinishMode},
};

/// What people may do to a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowCommand {
    /// End it and its tasks.
    Kill,
    /// End it with what its tasks have; no step begins any more.
    Finish,
    /// Hold it: its tasks are paused, and no step begins.
    Suspend,
    /// Go on after it was held.
    Resume,
    /// Try again what failed, and go on.
    Retry,
}

impl WorkflowCommand {
    /// Says when the command is followed, if it is not for a workflow of this status.
    const fn refused_for(self, status: WorkflowStatus) -> Option<&'static str> {
        let is_suspended = matches!(status, WorkflowStatus::Suspended);
        match self {
            Self::Kill if status.is_final() => Some("only what has not ended can be killed"),
            Self::Finish if status.is_final() => Some("only what has not ended can be finished"),
            Self::Suspend if status.is_final() || is_suspended => {
                Some("only what has not ended and is not suspended can be suspended")
            }
            Self::Resume if !is_suspended => Some("only what is suspended can be resumed"),
            Self::Retry if matches!(status, WorkflowStatus::Done) => {
                Some("only what has failed or was killed can be tried again")
            }
            Self::Retry if is_suspended => Some("resume it first"),
            Self::Kill | Self::Finish | Self::Suspend | Self::Resume | Self::Retry => None,
        }
    }

    /// What was done, for people.
    const fn verb(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Finish => "finished",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Retry => "tried again",
        }
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowRefusal {
    /// There is no such workflow.
    #[error("request {0} is not found")]
    NotFound(WorkflowId),
    /// It is somebody else's.
    #[error("request {id} is not owned by {caller}")]
    NotAllowed {
        /// The workflow.
        id: WorkflowId,
        /// Who called.
        caller: String,
    },
    /// What it is does not allow that.
    #[error("workflow {id} is {status}: {allowed}")]
    WrongStatus {
        /// The workflow.
        id: WorkflowId,
        /// What it is.
        status: WorkflowStatus,
        /// When the command would be followed.
        allowed: &'static str,
    },
}

/// Follows a command of a person, and says what was done; the inner error is for them.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn steer_workflow(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: WorkflowId,
    command: WorkflowCommand,
    caller: &Caller,
) -> Result<Result<String, WorkflowRefusal>, LedgerError> {
    let Some(mut workflow) = ledger.workflow(id)? else {
        return Ok(Err(WorkflowRefusal::NotFound(id)));
    };
    if !caller.may_steer(&workflow.user, "") {
        let caller = caller.name.clone();
        return Ok(Err(WorkflowRefusal::NotAllowed { id, caller }));
    }
    let status = workflow.status;
    let allowed = command.refused_for(status);
    if let Some(allowed) = allowed {
        return Ok(Err(WorkflowRefusal::WrongStatus {
            id,
            status,
            allowed,
        }));
    }
    let mut op = Operation::new(ctx, ledger);
    let mut n_tasks = 0_u32;
    for mut step in op.ledger.workflow_steps(id)? {
        let is_done = match command {
            WorkflowCommand::Kill => op.kill_step(&mut step, caller)?,
            WorkflowCommand::Retry => op.retry_step(&mut step, caller)?,
            WorkflowCommand::Finish => {
                op.command_step(&step, CommandRequest::Finish(FinishMode::Now), caller)?
            }
            WorkflowCommand::Suspend => op.command_step(&step, CommandRequest::Pause, caller)?,
            WorkflowCommand::Resume => op.resume_step(&step, caller)?,
        };
        n_tasks += u32::from(is_done);
        op.ledger.put_workflow_step(&step)?;
    }
    set_status(ctx, &mut workflow, command, caller);
    op.ledger.put_workflow(&workflow)?;
    op.finish()?;
    let verb = command.verb();
    Ok(Ok(format!(
        "workflow {id} is {verb} with {n_tasks} of its tasks"
    )))
}

fn set_status(
    ctx: &Context<'_>,
    workflow: &mut WorkflowRecord,
    command: WorkflowCommand,
    caller: &Caller,
) {
    workflow.modified = ctx.now;
    match command {
        WorkflowCommand::Kill => {
            workflow.status = WorkflowStatus::Cancelled;
            workflow.details.reason = format!("killed by {}", caller.name);
            workflow.details.ended = Some(ctx.now);
            workflow.due = None;
        }
        WorkflowCommand::Suspend => {
            workflow.status = WorkflowStatus::Suspended;
            workflow.details.reason = format!("suspended by {}", caller.name);
            workflow.due = Some(ctx.now);
        }
        WorkflowCommand::Finish | WorkflowCommand::Resume => {
            workflow.status = WorkflowStatus::Running;
            workflow.details.is_finishing |= command == WorkflowCommand::Finish;
            workflow.details.reason.clear();
            workflow.due = Some(ctx.now);
        }
        WorkflowCommand::Retry => {
            workflow.status = WorkflowStatus::Running;
            workflow.details.is_finishing = false;
            workflow.details.reason.clear();
            workflow.details.ended = None;
            workflow.due = Some(ctx.now);
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Ends a step, and says whether a task was ended for it.
    fn kill_step(
        &mut self,
        step: &mut WorkflowStepRecord,
        caller: &Caller,
    ) -> Result<bool, LedgerError> {
        if step.status.is_final() {
            return Ok(false);
        }
        step.status = StepStatus::Cancelled;
        step.reason = format!("killed by {}", caller.name);
        let Some(task) = step.task else {
            return Ok(false);
        };
        let reply = self.command_task(task, CommandRequest::Kill, caller)?;
        Ok(reply.code == 0)
    }

    /// Gives the task of a step a command, and says whether it follows it.
    fn command_step(
        &mut self,
        step: &WorkflowStepRecord,
        request: CommandRequest,
        caller: &Caller,
    ) -> Result<bool, LedgerError> {
        let Some(task) = step.task.filter(|_| !step.status.is_final()) else {
            return Ok(false);
        };
        let reply = self.command_task(task, request, caller)?;
        Ok(reply.code == 0)
    }

    /// Has the task of a step go on if it is paused.
    fn resume_step(
        &mut self,
        step: &WorkflowStepRecord,
        caller: &Caller,
    ) -> Result<bool, LedgerError> {
        match step.task {
            Some(task) if self.task(task)?.status == TaskStatus::Paused => {
                self.command_step(step, CommandRequest::Resume, caller)
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Has a step tried again that has not succeeded, and says whether its task lives again.
    fn retry_step(
        &mut self,
        step: &mut WorkflowStepRecord,
        caller: &Caller,
    ) -> Result<bool, LedgerError> {
        let is_lost = matches!(
            step.status,
            StepStatus::Failed | StepStatus::Closed | StepStatus::Cancelled
        );
        if !is_lost {
            return Ok(false);
        }
        step.status = StepStatus::Registered;
        step.reason.clear();
        let Some(id) = step.task else {
            return Ok(false);
        };
        let words = RetryQualifiers::default();
        let status = self.task(id)?.status;
        if matches!(status, TaskStatus::Broken | TaskStatus::ToBroken) {
            // It never was a task that could run: the step gets another one.
            step.task = None;
            return Ok(false);
        }
        let was_killed = matches!(
            status,
            TaskStatus::Aborted | TaskStatus::Aborting | TaskStatus::ToAbort
        );
        let request = if was_killed {
            CommandRequest::Incexec(words, Map::new())
        } else {
            CommandRequest::Retry(words, Map::new())
        };
        let reply = self.command_task(id, request, caller)?;
        if matches!(reply.code, 0 | 5) {
            return Ok(true);
        }
        step.status = StepStatus::Failed;
        step.reason = format!("its task cannot be tried again: {}", reply.message);
        Ok(false)
    }
}
