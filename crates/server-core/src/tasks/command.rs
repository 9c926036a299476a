//! What people want of tasks: end them, try them again, hold them, send them elsewhere.
//!
//! When a command is taken and what it answers is told by `ailurus_jedi`. A command changes the
//! task at once; what it means for many jobs is done by the steps that follow.
//!
//! Source: PanDA server, `pandajedi/jediorder/TaskCommando.py`.

use std::sync::Arc;

use ailurus_jedi::{
    TaskParams,
    command::{
        CallerRole, CommandRefusal, ReassignMode, ReassignTarget, RetryQualifiers, TaskCommand,
        incremental,
    },
    refine,
};
use ailurus_model::{Caller, JobStatus, PandaId, TaskId, TaskStatus};
use serde_json::{Map, Value};

use crate::{
    Context,
    kill::{KillCode, Rights, who},
    ledger::{Generation, InputState, Ledger, LedgerError, PandaTaskRecord, ScoutPhase, TaskOrder},
    operation::Operation,
    tasks::{
        merges::is_only_unmerged,
        record::{PandaTask, spec_of},
        submit::scouts_of,
    },
};

/// Attempts that jobs of a running task get more when somebody wants it tried again.
const MORE_ATTEMPTS: u32 = 5;

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
    Reactivate,
    /// Give jobs that have not ended more attempts.
    IncreaseAttempts(u32),
    /// Change the priority of its jobs.
    Priority(i64),
    /// Change parameters of a task that lives.
    Change(Map<String, Value>),
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
            Self::Reactivate | Self::IncreaseAttempts(_) | Self::Priority(_) | Self::Change(_) => {
                None
            }
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
    let Some(mut task) = op.load_task(id)? else {
        return Ok(CommandReply::refused(&CommandRefusal::NotFound(id)));
    };
    let group = op.working_group(id)?;
    if !caller.may_steer(&task.record.spec.user, &group) {
        return Ok(CommandReply::refused(&CommandRefusal::NotAllowed));
    }
    let role = if caller.rights.production {
        CallerRole::Production
    } else {
        CallerRole::Owner
    };
    let label = task.record.spec.source_label.as_str().to_owned();
    let retry = TaskCommand::Retry.check(task.status(), role, &label);
    let is_retry_under_way = matches!(request, CommandRequest::Retry(..))
        && matches!(retry, Err(CommandRefusal::IsActive(_)));
    if is_retry_under_way {
        let reply = op.retry_under_way(&mut task, request, &who(caller))?;
        op.save_task(&mut task)?;
        op.finish()?;
        return Ok(reply);
    }
    // New parameters make a retry another command, with other statuses.
    let request = with_parameters(request);
    if let Some(word) = request.word()
        && let Err(refusal) = word.check(task.status(), role, &label)
    {
        return Ok(CommandReply::refused(&refusal));
    }
    let message = match request.word() {
        Some(word) => word.accepted(id),
        None => "succeeded".to_owned(),
    };
    if let Err(message) = op.follow(&mut task, request, &who(caller))? {
        return Ok(CommandReply { code: 1, message });
    }
    op.save_task(&mut task)?;
    op.finish()?;
    Ok(CommandReply::done(message))
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
            | CommandRequest::Reactivate
            | CommandRequest::IncreaseAttempts(_)
            | CommandRequest::Priority(_)
            | CommandRequest::Change(_) => !status.is_terminal(),
        })
        .collect();
    let n = op.ledger.jobs_of_task(id, &statuses)?.len();
    // Only changes of parameters are refused, and there are none.
    drop(op.follow(&mut task, request, who)?);
    op.save_task(&mut task)?;
    op.finish()?;
    Ok(u64::try_from(n).unwrap_or(u64::MAX))
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

    fn follow(
        &mut self,
        task: &mut PandaTask,
        request: CommandRequest,
        who: &str,
    ) -> Result<Result<(), String>, LedgerError> {
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
                self.retry_from(task, order)?;
            }
            CommandRequest::Incexec(words, changes) => {
                if let Err(error) = self.revise(task, &changeable(changes))? {
                    return Ok(Err(error));
                }
                let order = order("incexec", &words.to_comment());
                self.retry_from(task, order)?;
            }
            CommandRequest::Reassign(target, mode) => {
                if let Err(error) = self.send_elsewhere(task, &target, mode, who)? {
                    return Ok(Err(error));
                }
            }
            CommandRequest::Pause => {
                let before = task.progress.resume_to.unwrap_or(task.status());
                self.move_task(task, TaskStatus::Paused, &format!("paused by {who}"))?;
                task.progress.resume_to = Some(before);
                task.progress.due = None;
            }
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
            CommandRequest::Reactivate => self.retry_from(task, order("retry", "sole"))?,
            CommandRequest::IncreaseAttempts(more) => self.give_attempts(task, more)?,
            CommandRequest::Priority(priority) => self.set_priority(task, priority)?,
            CommandRequest::Change(changes) => {
                if let Err(error) = self.revise(task, &changes)? {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Tries a task that has ended again; its jobs follow step by step.
    fn retry_from(&mut self, task: &mut PandaTask, order: TaskOrder) -> Result<(), LedgerError> {
        let words = RetryQualifiers::of_comment(&order.comment);
        let reads_again = order.command == "incexec";
        let status = if reads_again {
            TaskStatus::ToIncexec
        } else {
            TaskStatus::ToRetry
        };
        let why = format!("{} by {}", order.command, order.who);
        self.move_task(task, status, &why)?;
        task.progress.attempt_nr = task.progress.attempt_nr.saturating_add(1);
        task.progress.ended = None;
        if !words.keeps_priority {
            task.progress.priority = task.record.spec.priority;
        }
        if task.progress.generation == Generation::Stopped {
            task.progress.generation = Generation::Open;
        }
        if task.progress.scouts == ScoutPhase::Made {
            task.progress.scouts = ScoutPhase::Over;
        }
        if reads_again {
            task.progress.generation = Generation::Open;
            for input in &mut task.progress.inputs {
                if input.state == InputState::Closed {
                    input.state = InputState::Open;
                }
            }
        }
        task.progress.order = Some(order);
        task.progress.due = Some(self.ctx.now);
        Ok(())
    }

    /// Starts a task that has ended anew, because it was submitted once more.
    pub(super) fn start_anew(
        &mut self,
        id: TaskId,
        order: &TaskOrder,
    ) -> Result<Result<(), String>, LedgerError> {
        let Some(mut task) = self.load_task(id)? else {
            return Ok(Ok(()));
        };
        let changes: Map<String, Value> = serde_json::from_str(&order.comment).unwrap_or_default();
        if let Err(error) = self.revise(&mut task, &changes)? {
            return Ok(Err(error));
        }
        let order = TaskOrder {
            comment: String::new(),
            ..order.clone()
        };
        self.retry_from(&mut task, order)?;
        self.save_task(&mut task)?;
        Ok(Ok(()))
    }

    /// Puts changes into a task's parameters and reads them; the inner error says what is wrong.
    pub(super) fn revise(
        &mut self,
        task: &mut PandaTask,
        changes: &Map<String, Value>,
    ) -> Result<Result<(), String>, LedgerError> {
        if changes.is_empty() {
            return Ok(Ok(()));
        }
        let mut params = task.definition.params.clone();
        incremental::apply(&mut params, changes);
        let settings = self.refine_settings(&task.record.spec.user, &params, &task.progress.origin);
        let refined = match refine(&params, &settings) {
            Ok(refined) => refined,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if task.progress.scouts == ScoutPhase::None && task.record.n_jobs == 0 {
            task.progress.scouts = scouts_of(&refined);
        }
        let spec = Arc::new(spec_of(task.id(), &refined));
        let definition = PandaTaskRecord {
            id: task.id(),
            revision: task.record.revision.saturating_add(1),
            params,
            refined: Some(refined),
        };
        self.put_revision(task, definition, spec)?;
        Ok(Ok(()))
    }

    /// Writes a new revision of a task and goes on with it.
    pub(super) fn put_revision(
        &mut self,
        task: &mut PandaTask,
        definition: PandaTaskRecord,
        spec: Arc<ailurus_model::TaskSpec>,
    ) -> Result<(), LedgerError> {
        self.ledger.put_panda_task(&definition, &spec)?;
        task.progress.priority = spec.priority;
        task.record.revision = definition.revision;
        task.record.spec = spec;
        task.definition = Arc::new(definition);
        self.panda_tasks
            .insert(task.id(), Some(Arc::clone(&task.definition)));
        self.forget_spec(task.id());
        Ok(())
    }

    /// Does a piece of what a person wants of a task's jobs, and returns how many it changed.
    pub(super) fn go_on_with_order(
        &mut self,
        task: &mut PandaTask,
        most: u32,
    ) -> Result<u32, LedgerError> {
        let Some(mut order) = task.progress.order.clone() else {
            self.move_task(task, TaskStatus::Ready, "")?;
            task.progress.due = Some(self.ctx.now);
            return Ok(0);
        };
        // Serial numbers are taken from the row while jobs come back to life.
        self.save_task(task)?;
        let ended = [JobStatus::Failed, JobStatus::Cancelled, JobStatus::Closed];
        let ids = self.ledger.jobs_of_task(task.id(), &ended)?;
        let mut changed = 0;
        let done_to = order.after;
        for id in ids.into_iter().filter(|id| id.value() > done_to) {
            if changed >= most {
                break;
            }
            order.after = id.value();
            changed += 1;
            self.revive_one(id, &order.who)?;
        }
        self.reload_progress(task)?;
        if changed > 0 {
            task.progress.order = Some(order);
            task.progress.due = Some(self.ctx.now);
            return Ok(changed);
        }
        let words = RetryQualifiers::of_comment(&order.comment);
        if !words.is_alone {
            self.retry_children(task, &order)?;
        }
        task.progress.order = None;
        let next = if order.command == "incexec" {
            TaskStatus::Rerefine
        } else if task.record.n_jobs == 0 {
            TaskStatus::Registered
        } else {
            TaskStatus::Running
        };
        self.move_task(task, next, "")?;
        if next == TaskStatus::Rerefine {
            self.move_task(task, TaskStatus::Defined, "")?;
        }
        task.progress.due = Some(self.ctx.now);
        Ok(0)
    }

    /// Reads the progress of a task again, after others have changed it.
    fn reload_progress(&self, task: &mut PandaTask) -> Result<(), LedgerError> {
        if let Some(progress) = self.ledger.task_progress(task.id())? {
            task.progress = progress;
        }
        if let Some(record) = self.ledger.task(task.id())? {
            task.record = record;
        }
        Ok(())
    }

    fn retry_children(&mut self, task: &PandaTask, order: &TaskOrder) -> Result<(), LedgerError> {
        for child in self.ledger.tasks_after(task.id())? {
            let Some(mut after) = self.load_task(child)? else {
                continue;
            };
            let takes = TaskCommand::Retry.is_accepted_in(after.status())
                || (after.status() == TaskStatus::Broken && after.record.n_jobs == 0);
            if takes && after.definition.refined.is_some() {
                let order = TaskOrder {
                    after: 0,
                    ..order.clone()
                };
                self.retry_from(&mut after, order)?;
                self.save_task(&mut after)?;
            }
        }
        Ok(())
    }

    /// Gives failed jobs of a running task further attempts, and all others more of them.
    fn retry_active(&mut self, task: &mut PandaTask, who: &str) -> Result<String, LedgerError> {
        self.save_task(task)?;
        for id in self.ledger.jobs_of_task(task.id(), &[JobStatus::Failed])? {
            self.revive_one(id, who)?;
        }
        self.reload_progress(task)?;
        self.give_attempts(task, MORE_ATTEMPTS)?;
        Ok("retry has been triggered for failed jobs while the task is still active".to_owned())
    }

    /// Tries a job again, or only its merge if it has done its own work.
    fn revive_one(&mut self, id: PandaId, who: &str) -> Result<(), LedgerError> {
        let mut job = self.job(id)?;
        let why = format!("tried again by `{who}`");
        if is_only_unmerged(&job) || self.merge_again(&mut job, &why)? {
            return Ok(());
        }
        self.revive(job, who)
    }

    fn live_jobs(&self, task: &PandaTask) -> Result<Vec<PandaId>, LedgerError> {
        let live: Vec<JobStatus> = JobStatus::ALL
            .iter()
            .copied()
            .filter(|status| !status.is_terminal())
            .collect();
        self.ledger.jobs_of_task(task.id(), &live)
    }

    fn give_attempts(&mut self, task: &PandaTask, more: u32) -> Result<(), LedgerError> {
        for id in self.live_jobs(task)? {
            let mut job = self.job(id)?;
            job.max_attempts = job.max_attempts.saturating_add(more);
            self.ledger.put_job(&job)?;
        }
        Ok(())
    }

    fn set_priority(&mut self, task: &mut PandaTask, priority: i64) -> Result<(), LedgerError> {
        task.progress.priority = priority;
        for id in self.live_jobs(task)? {
            let mut job = self.job(id)?;
            job.priority = priority;
            self.ledger.put_job(&job)?;
        }
        Ok(())
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
        for id in self.live_jobs(task)? {
            let job = self.job(id)?;
            let is_moved = match mode {
                ReassignMode::EndAll => true,
                ReassignMode::EndWaiting => !job.status.is_with_pilot(),
                ReassignMode::EndNone => false,
            };
            if is_moved && job.status != JobStatus::Pending {
                self.kill_by(job, KillCode::Reassigned, who, Rights::Common, None)?;
            }
        }
        task.progress.due = Some(self.ctx.now);
        Ok(Ok(()))
    }
}
