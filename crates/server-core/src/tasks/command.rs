//! What people want of tasks: end them, try them again, hold them, send them elsewhere.
//!
//! When a command is taken and what it answers is told by `ailurus_jedi`. A command changes the
//! task at once; what it means for many jobs is done by the steps that follow.
//!
//! Source: PanDA server, `pandajedi/jediorder/TaskCommando.py`.

mod again;
mod person;
pub(crate) mod retry_limits;

use std::time::Duration;

use ailurus_jedi::{
    TaskParams,
    command::{
        CallerRole, CommandRefusal, ReassignMode, ReassignTarget, RetryQualifiers, TaskCommand,
        incremental,
    },
};
use ailurus_model::{Caller, JobStatus, TaskId, TaskStatus};
use serde_json::{Map, Value};

use crate::{
    Context,
    ledger::{ChoreKind, Ledger, LedgerError, ScoutPhase, ShareReach, TaskOrder},
    operation::Operation,
    tasks::record::PandaTask,
};

/// Attempts that jobs of a running task get more when somebody wants it tried again.
const MORE_ATTEMPTS: u32 = 5;
/// How late a task may be looked at again at most, seconds: a year.
const LOOK_AGAIN_MAX_S: u64 = 365 * 24 * 3600;

/// A command with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandRequest {
    /// End it and all its jobs.
    Kill,
    /// End it with what it has.
    Finish(FinishMode),
    /// Try what failed again, perhaps with new parameters.
    Retry(RetryQualifiers, Map<String, Value>),
    /// Read its input again, perhaps with new parameters.
    Incexec(RetryQualifiers, Map<String, Value>),
    /// Go elsewhere.
    Reassign(ReassignTarget, ReassignMode),
    /// Hold it.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Make all jobs without waiting for the first few.
    Avalanche,
    /// Go on without waiting for inputs.
    Release,
    /// Make it live again although it has ended.
    Reactivate(AttemptCount),
    /// Give jobs that have not ended more attempts.
    IncreaseAttempts(u32),
    /// Change the priority of its jobs.
    Priority(i64),
    /// Change parameters of a task that lives.
    Change(Map<String, Value>),
    /// Count its next jobs, and some of those that are there, for another global share.
    Share(String, ShareReach),
    /// Look at it again after so many hours, at once if they are not positive.
    LookAgain(i64),
}

/// Whether a task that is made to live again has one attempt more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptCount {
    /// Yes.
    Raised,
    /// No.
    Kept,
}

/// How a task is ended with what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishMode {
    /// Jobs that run are ended, too.
    Now,
    /// Jobs that run go on.
    Soft,
}

/// PanDA's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReply {
    /// 0 taken, 1 wrong, 2 no such task, 3 not allowed, 4 wrong status, 5 tried again at once.
    pub code: i64,
    /// What happened, in PanDA's words.
    pub message: String,
}

impl CommandReply {
    fn refused(refusal: &CommandRefusal) -> Self {
        Self {
            code: refusal.code(),
            message: refusal.to_string(),
        }
    }

    fn done(message: String) -> Self {
        Self { code: 0, message }
    }
}

impl CommandRequest {
    /// PanDA's word, for those that it has one for.
    const fn word(&self) -> Option<TaskCommand> {
        match self {
            Self::Kill => Some(TaskCommand::Kill),
            Self::Finish(_) => Some(TaskCommand::Finish),
            Self::Retry(..) => Some(TaskCommand::Retry),
            Self::Incexec(..) => Some(TaskCommand::Incexec),
            Self::Reassign(..) => Some(TaskCommand::Reassign),
            Self::Pause => Some(TaskCommand::Pause),
            Self::Resume => Some(TaskCommand::Resume),
            Self::Avalanche => Some(TaskCommand::Avalanche),
            Self::Release => Some(TaskCommand::Release),
            Self::Reactivate(_)
            | Self::IncreaseAttempts(_)
            | Self::Priority(_)
            | Self::Change(_)
            | Self::Share(..)
            | Self::LookAgain(_) => None,
        }
    }
}

/// Follows a command of a person, and answers with PanDA's codes.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn command_task(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: TaskId,
    request: CommandRequest,
    caller: &Caller,
) -> Result<CommandReply, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let reply = op.command_task(id, request, caller)?;
    op.finish()?;
    Ok(reply)
}

/// Ends or retries a task of PanDA for a person at the server itself, if its status allows that,
/// and returns how many jobs this is about.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub(crate) fn command_by_name(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: TaskId,
    request: CommandRequest,
    who: &str,
) -> Result<u64, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let Some(mut task) = op.load_task(id)? else {
        return Ok(0);
    };
    let role = CallerRole::Production;
    let label = task.record.spec.source_label.as_str().to_owned();
    let is_taken = request
        .word()
        .is_none_or(|word| word.check(task.status(), role, &label).is_ok());
    if !is_taken {
        return Ok(0);
    }
    let statuses: Vec<JobStatus> = JobStatus::ALL
        .iter()
        .copied()
        .filter(|status| match request {
            CommandRequest::Retry(..) => status.is_terminal() && *status != JobStatus::Finished,
            CommandRequest::Kill
            | CommandRequest::Finish(_)
            | CommandRequest::Incexec(..)
            | CommandRequest::Reassign(..)
            | CommandRequest::Pause
            | CommandRequest::Resume
            | CommandRequest::Avalanche
            | CommandRequest::Release
            | CommandRequest::Reactivate(_)
            | CommandRequest::IncreaseAttempts(_)
            | CommandRequest::Priority(_)
            | CommandRequest::Change(_)
            | CommandRequest::Share(..)
            | CommandRequest::LookAgain(_) => !status.is_terminal(),
        })
        .collect();
    let counts = op.ledger.task_counts(id)?;
    let n = statuses.iter().filter_map(|status| counts.get(status));
    let n = n.sum();
    // Only changes of parameters are refused, and there are none.
    drop(op.follow(&mut task, request, who)?);
    op.save_task(&mut task)?;
    op.finish()?;
    Ok(n)
}

/// Makes a retry with new parameters the command that reads them.
fn with_parameters(request: CommandRequest) -> CommandRequest {
    if let CommandRequest::Retry(words, changes) = &request
        && !changes.is_empty()
    {
        return CommandRequest::Incexec(*words, changes.clone());
    }
    request
}

/// Returns what of new parameters a retry may change.
fn changeable(changes: Map<String, Value>) -> Map<String, Value> {
    let new = TaskParams::from_value(Value::Object(changes));
    new.map(|new| incremental::changes(&new))
        .unwrap_or_default()
}

impl<L: Ledger> Operation<'_, L> {
    /// Retries the failed jobs of a task that has not ended. New parameters hold for jobs that are
    /// made from here on.
    fn retry_under_way(
        &mut self,
        task: &mut PandaTask,
        request: CommandRequest,
        who: &str,
    ) -> Result<CommandReply, LedgerError> {
        if let CommandRequest::Retry(_, changes) = request
            && let Err(message) = self.revise(task, &changeable(changes))?
        {
            return Ok(CommandReply { code: 1, message });
        }
        let message = self.retry_active(task, who)?;
        Ok(CommandReply { code: 5, message })
    }

    /// Follows a command. The answer is what people are told besides that it is taken, or why it is
    /// refused.
    fn follow(
        &mut self,
        task: &mut PandaTask,
        request: CommandRequest,
        who: &str,
    ) -> Result<Result<Option<String>, String>, LedgerError> {
        let order = |command: &str, comment: &str| TaskOrder {
            command: command.to_owned(),
            comment: comment.to_owned(),
            who: who.to_owned(),
            after: 0,
        };
        let now = self.ctx.now;
        match request {
            CommandRequest::Kill => {
                task.progress.order = Some(order("kill", ""));
                let why = format!("killed by {who}");
                self.stop_task(task, TaskStatus::Aborting, &why)?;
            }
            CommandRequest::Finish(mode) => {
                let comment = match mode {
                    FinishMode::Now => "",
                    FinishMode::Soft => "soft",
                };
                task.progress.order = Some(order("finish", comment));
                let why = format!("finished by {who}");
                self.stop_task(task, TaskStatus::Finishing, &why)?;
            }
            CommandRequest::Retry(words, _) => {
                let order = order("retry", &words.to_comment());
                return self.retry_from(task, order).map(Ok);
            }
            CommandRequest::Incexec(words, changes) => {
                let order = order("incexec", &words.to_comment());
                return self.read_again(task, changes, order);
            }
            CommandRequest::Reassign(target, mode) => {
                if let Err(error) = self.send_elsewhere(task, &target, mode, who)? {
                    return Ok(Err(error));
                }
            }
            CommandRequest::Pause => self.pause(task, who)?,
            CommandRequest::Resume => {
                let to = task.progress.resume_to.unwrap_or(TaskStatus::Running);
                self.move_task(task, to, "")?;
                task.progress.due = Some(now);
            }
            CommandRequest::Avalanche => {
                task.progress.scouts = ScoutPhase::Over;
                self.move_task(task, TaskStatus::Running, "")?;
                task.progress.due = Some(now);
            }
            CommandRequest::Release => task.progress.due = Some(now),
            CommandRequest::Reactivate(count) => {
                self.reactivate(task, order("retry", "sole transcend"), count)?;
            }
            CommandRequest::IncreaseAttempts(more) => {
                self.begin_chore(task, ChoreKind::Attempts(more), who)?;
            }
            CommandRequest::Priority(priority) => {
                task.progress.priority = priority;
                self.begin_chore(task, ChoreKind::Priority(priority), who)?;
            }
            CommandRequest::Share(share, reach) => {
                if let Err(error) = self.count_for_share(task, &share, reach, who)? {
                    return Ok(Err(error));
                }
            }
            CommandRequest::LookAgain(hours) => self.look_again(task, hours),
            CommandRequest::Change(changes) => {
                if let Err(error) = self.revise(task, &changes)? {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(None))
    }

    /// Reads a task's input again, perhaps with other parameters.
    fn read_again(
        &mut self,
        task: &mut PandaTask,
        changes: Map<String, Value>,
        order: TaskOrder,
    ) -> Result<Result<Option<String>, String>, LedgerError> {
        if let Err(error) = self.revise(task, &changeable(changes))? {
            return Ok(Err(error));
        }
        self.retry_from(task, order).map(Ok)
    }

    fn reactivate(
        &mut self,
        task: &mut PandaTask,
        order: TaskOrder,
        count: AttemptCount,
    ) -> Result<(), LedgerError> {
        self.retry_from(task, order)?;
        if count == AttemptCount::Kept {
            task.progress.attempt_nr = task.progress.attempt_nr.saturating_sub(1);
        }
        Ok(())
    }

    fn pause(&mut self, task: &mut PandaTask, who: &str) -> Result<(), LedgerError> {
        let before = task.progress.resume_to.unwrap_or(task.status());
        self.move_task(task, TaskStatus::Paused, &format!("paused by {who}"))?;
        task.progress.resume_to = Some(before);
        task.progress.due = None;
        Ok(())
    }

    /// Counts a task's next jobs, and some of those that are there, for another global share.
    fn count_for_share(
        &mut self,
        task: &mut PandaTask,
        share: &str,
        reach: ShareReach,
        who: &str,
    ) -> Result<Result<(), String>, LedgerError> {
        if self.ctx.scheduling.shares.leaf_named(share).is_none() {
            return Ok(Err(format!("share `{share}` does not exist")));
        }
        let changes = Map::from_iter([("gshare".to_owned(), Value::from(share))]);
        if let Err(error) = self.revise(task, &changes)? {
            return Ok(Err(error));
        }
        self.begin_chore(task, ChoreKind::Share(share.to_owned(), reach), who)?;
        Ok(Ok(()))
    }

    /// Has a task looked at again after some hours, unless it has ended.
    fn look_again(&self, task: &mut PandaTask, hours: i64) {
        if task.status().is_terminal() {
            return;
        }
        let seconds = u64::try_from(hours).unwrap_or(0).saturating_mul(3600);
        let wait = Duration::from_secs(seconds.min(LOOK_AGAIN_MAX_S));
        task.progress.due = Some(self.ctx.now.after(wait));
    }

    /// Gives failed jobs of a running task further attempts, and all others more of them.
    fn retry_active(&mut self, task: &mut PandaTask, who: &str) -> Result<String, LedgerError> {
        self.begin_chore(task, ChoreKind::Retry, who)?;
        self.begin_chore(task, ChoreKind::Attempts(MORE_ATTEMPTS), who)?;
        Ok("retry has been triggered for failed jobs while the task is still active".to_owned())
    }

    /// Sends a task elsewhere: its next jobs, and as many of those that are there as is wanted.
    fn send_elsewhere(
        &mut self,
        task: &mut PandaTask,
        target: &ReassignTarget,
        mode: ReassignMode,
        who: &str,
    ) -> Result<Result<(), String>, LedgerError> {
        let (key, name) = match target {
            ReassignTarget::Site(name) => ("site", name),
            ReassignTarget::Cloud(name) => ("cloud", name),
            ReassignTarget::Nucleus(name) => ("nucleus", name),
        };
        let change = Value::from(name.clone());
        let changes = Map::from_iter([(key.to_owned(), change)]);
        if let Err(error) = self.revise(task, &changes)? {
            return Ok(Err(error));
        }
        self.begin_chore(task, ChoreKind::Move(mode), who)?;
        task.progress.due = Some(self.ctx.now);
        Ok(Ok(()))
    }
}
