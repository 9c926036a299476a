//! What a person does to jobs and tasks that are under way: kill them.

use ailurus_model::{Caller, JobStatus, PandaId, TaskId, TaskStatus};

use crate::{
    Context,
    ledger::{Ledger, LedgerError},
    operation::Operation,
    tasks::{CommandRequest, command::command_by_name},
};

/// A kill or retry was refused.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No such job.
    #[error("job {id} is not known")]
    UnknownJob {
        /// The job.
        id: PandaId,
    },
    /// No such task.
    #[error("task {id} is not known")]
    UnknownTask {
        /// The task.
        id: TaskId,
    },
    /// A person ended the task: it is not tried again.
    #[error("task {id} is {status} and is not tried again")]
    TaskAborted {
        /// The task.
        id: TaskId,
        /// What it is.
        status: TaskStatus,
    },
    /// Its jobs are no longer kept: there is nothing to try again.
    #[error("the jobs of task {id} were dropped from the archive, so it is not tried again")]
    JobsDropped {
        /// The task.
        id: TaskId,
    },
    /// It belongs to somebody else.
    #[error("task {id} belongs to `{owner}`")]
    NotYours {
        /// The task.
        id: TaskId,
        /// Whose it is.
        owner: String,
    },
    /// The rows are out of reach.
    #[error("the rows of jobs and tasks cannot be changed")]
    Ledger(#[from] LedgerError),
}

impl ActionError {
    /// Returns a word that programs can rely on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownJob { .. } => "unknown-job",
            Self::UnknownTask { .. } => "unknown-task",
            Self::TaskAborted { .. } => "task-aborted",
            Self::JobsDropped { .. } => "jobs-dropped",
            Self::NotYours { .. } => "not-allowed",
            Self::Ledger(_) => "ledger-failed",
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::UnknownJob { .. } => "list the jobs of the task to see their numbers",
            Self::UnknownTask { .. } => "list the tasks to see their numbers",
            Self::TaskAborted { .. } | Self::JobsDropped { .. } => {
                "submit the task anew, with new output datasets"
            }
            Self::NotYours { .. } => "ask its owner, or somebody with the production role",
            Self::Ledger(_) => "try again later; the server's log tells more",
        }
    }
}

/// Says whether a caller may steer a task; of one that is not there, others say so.
///
/// # Errors
///
/// [`ActionError::NotYours`], or [`ActionError::Ledger`] if the rows are out of reach.
pub fn check_task_owner(
    ledger: &impl Ledger,
    id: TaskId,
    caller: &Caller,
) -> Result<(), ActionError> {
    let Some(task) = ledger.task(id)? else {
        return Ok(());
    };
    let owner = &task.spec.user;
    if caller.may_steer(owner, "") {
        return Ok(());
    }
    let owner = owner.clone();
    Err(ActionError::NotYours { id, owner })
}

/// As [`check_task_owner`], of a job's task.
///
/// # Errors
///
/// As [`check_task_owner`].
pub fn check_job_owner(
    ledger: &impl Ledger,
    id: PandaId,
    caller: &Caller,
) -> Result<(), ActionError> {
    match ledger.job(id)? {
        Some(job) => check_task_owner(ledger, job.task_id, caller),
        None => Ok(()),
    }
}

/// Kills a job and returns how many jobs this touched: none if it has ended or is being killed.
/// A job that no pilot has is cancelled at once. A pilot that has it is told with its next update,
/// and the job is cancelled when the pilot reports or is given up.
///
/// # Errors
///
/// [`ActionError::UnknownJob`], or [`ActionError::Ledger`] if the rows are out of reach.
pub fn kill_job(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: PandaId,
    who: &str,
) -> Result<u64, ActionError> {
    let Some(job) = ledger.job(id)? else {
        return Err(ActionError::UnknownJob { id });
    };
    let mut op = Operation::new(ctx, ledger);
    let is_touched = op.kill(job, who)?;
    op.finish()?;
    Ok(u64::from(is_touched))
}

/// Kills all jobs of a task that have not ended, and returns how many this touched.
///
/// # Errors
///
/// [`ActionError::UnknownTask`], or [`ActionError::Ledger`] if the rows are out of reach.
pub fn kill_task(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: TaskId,
    who: &str,
) -> Result<u64, ActionError> {
    let Some(mut task) = ledger.task(id)? else {
        return Err(ActionError::UnknownTask { id });
    };
    if task.status.is_terminal() {
        return Ok(0);
    }
    if task.revision > 0 {
        let request = CommandRequest::Kill;
        return Ok(command_by_name(ctx, ledger, id, request, who)?);
    }
    let mut op = Operation::new(ctx, ledger);
    if task.status != TaskStatus::Aborting {
        let why = format!("killed by `{who}`");
        op.set_task_status(&mut task, TaskStatus::Aborting, &why)?;
        op.ledger.put_task(&task)?;
    }
    op.touched.insert(id);
    let mut touched = 0;
    let live: Vec<JobStatus> = JobStatus::ALL
        .iter()
        .copied()
        .filter(|status| !status.is_terminal())
        .collect();
    for job in op.ledger.jobs_of_task(id, &live)? {
        let job = op.job(job)?;
        touched += u64::from(op.kill(job, who)?);
    }
    op.finish()?;
    Ok(touched)
}
