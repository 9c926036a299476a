//! Looks after every state that can last too long.
//!
//! Source: PanDA server, `pandaserver/jobdispatcher/Watcher.py` and
//! `pandaserver/daemons/scripts/copyArchive.py`.

mod overshoot;
pub mod rules;

use std::{collections::BTreeMap, time::Duration};

use ailurus_diagnosis::ErrorSource;
use ailurus_model::{
    Command, JobKind, JobStatus, PandaId, QueueName, TaskId, queue::QueueStatus,
    units::format_duration,
};

use self::rules::{heartbeat_patience, holding_patience};
use crate::{
    Context,
    attempt_end::ServerError,
    kill::{KillCode, Rights, TO_REASSIGN},
    ledger::{AttemptRecord, JobRecord, Lasting, Ledger, LedgerError, Waiting},
    operation::Operation,
    workers::note_worker_done,
};

/// Jobs of a task with pilots that are looked at to see whether it runs at a queue.
const RUNNING_LOOKED_AT: usize = 100;

/// What one call of [`watch`] did, in jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchReport {
    /// Attempts that failed because nothing was heard of a started job.
    pub lost_heartbeats: u64,
    /// Attempts that failed because the pilot never answered after it got the job.
    pub sent_without_reply: u64,
    /// Attempts that failed because the final report did not come.
    pub holding_too_long: u64,
    /// Attempts that failed because outputs did not arrive.
    pub transferring_too_long: u64,
    /// Jobs that were brokered anew because no pilot came for them.
    pub activated_too_long: u64,
    /// Jobs that run elsewhere because they did not get beyond `starting`.
    pub starting_too_long: u64,
    /// Jobs whose pilots are told to end them because they ran for too long.
    pub running_too_long: u64,
    /// Jobs without a task that were closed because no pilot came for them.
    pub waiting_too_long: u64,
    /// Jobs that were brokered anew because too many waited at their queue.
    pub overshooting: u64,
}

/// PanDA's `jobDispatcherErrorCode`s.
const LOST_HEARTBEAT: i64 = 100;
const RECOVERY_FAILED: i64 = 101;
const SENT_WITHOUT_REPLY: i64 = 102;
const HOLDING_TIMEOUT: i64 = 103;
const TRANSFERRING_TIMEOUT: i64 = 104;

/// Ends attempts of which nothing was heard for too long, and brokers jobs anew that wait too long
/// at one queue.
///
/// At most `limits.watch_batch` jobs of each kind a call: call it again while it reports so many.
/// Jobs of paused queues are left alone: what runs there goes on, also without heartbeats.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn watch(ctx: &Context<'_>, ledger: &mut impl Ledger) -> Result<WatchReport, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let limits = ctx.limits;
    let report = WatchReport {
        lost_heartbeats: op.fail_silent(&Rule {
            statuses: &[JobStatus::Starting, JobStatus::Running],
            code: LOST_HEARTBEAT,
            diag: "lost heartbeat",
            patience: Some(heartbeat_patience),
            ..Rule::after(shortest(
                limits.heartbeat_timeout,
                &limits.watch.heartbeat_timeouts,
            ))
        })?,
        sent_without_reply: op.fail_silent(&Rule {
            statuses: &[JobStatus::Sent],
            code: SENT_WITHOUT_REPLY,
            diag: "sent job was not answered by the pilot",
            ..Rule::after(limits.sent_timeout)
        })?,
        holding_too_long: op.fail_silent(&Rule {
            statuses: &[JobStatus::Holding],
            code: HOLDING_TIMEOUT,
            diag: "final report did not come",
            patience: Some(holding_patience),
            ..Rule::after(
                limits
                    .holding_timeout
                    .min(limits.production_holding_timeout),
            )
        })?,
        transferring_too_long: op.fail_silent(&Rule {
            statuses: &[JobStatus::Transferring],
            code: TRANSFERRING_TIMEOUT,
            diag: "outputs did not arrive",
            ..Rule::after(limits.transferring_timeout)
        })?,
        activated_too_long: op.broker_anew()? + op.move_users_jobs()? + op.move_urgent_jobs()?,
        starting_too_long: op.end_lasting(Lasting::Starting, limits.starting_timeout)?
            + op.move_urgent_starting()?,
        running_too_long: op.end_lasting(Lasting::Running, limits.running_timeout)?,
        waiting_too_long: op.expire_direct()?,
        overshooting: op.move_overshooting()?,
    };
    op.finish()?;
    Ok(report)
}

/// The shortest of a common time-out and those that differ.
fn shortest(common: Duration, others: &BTreeMap<String, Duration>) -> Duration {
    others.values().copied().fold(common, Duration::min)
}

/// Jobs in these statuses that were silent for so long fail with this error.
struct Rule<'a> {
    statuses: &'a [JobStatus],
    /// The shortest time after which one of them fails.
    timeout: Duration,
    /// The time after which this one fails, if it is not the same for all.
    patience: Option<fn(&Context<'_>, &JobRecord) -> Duration>,
    code: i64,
    diag: &'a str,
}

impl Rule<'_> {
    /// A rule that is the same for all jobs.
    const fn after(timeout: Duration) -> Self {
        Self {
            statuses: &[],
            timeout,
            patience: None,
            code: 0,
            diag: "",
        }
    }

    /// Returns how long a job may be silent.
    fn patience_with(&self, ctx: &Context<'_>, job: &JobRecord) -> Duration {
        self.patience
            .map_or(self.timeout, |patience| patience(ctx, job))
    }

    /// Returns the error of a job that was silent for too long. One whose pilot has told of a
    /// failure already was waited for to be recovered.
    fn error(&self, job: &JobRecord, attempt: &AttemptRecord, patience: Duration) -> ServerError {
        let told = [&attempt.pilot_error, &attempt.payload_error];
        let is_told = told.into_iter().flatten().any(|it| !it.diag.is_empty());
        let since = job.modified.to_panda_text();
        let (code, diag) = if is_told && job.status != JobStatus::Sent {
            let waited = format_duration(patience);
            (
                RECOVERY_FAILED,
                format!("job recovery failed for {waited} : {since}"),
            )
        } else {
            (self.code, format!("{} : {since}", self.diag))
        };
        ServerError::new(ErrorSource::Dispatcher, code, &diag)
    }
}

impl<L: Ledger> Operation<'_, L> {
    fn fail_silent(&mut self, rule: &Rule<'_>) -> Result<u64, LedgerError> {
        let mut failed = 0;
        for id in self.silent(rule)? {
            if failed >= self.watch_batch() {
                break;
            }
            let job = self.job(id)?;
            let patience = rule.patience_with(self.ctx, &job);
            if self.is_at_paused_queue(&job) || job.modified >= self.ctx.now.before(patience) {
                continue;
            }
            let mut attempt = self.attempt(&job)?;
            let error = rule.error(&job, &attempt, patience);
            if let Some((harvester, worker)) = &job.worker
                && let Some(worker) = self.ledger.worker(harvester, *worker)?
            {
                note_worker_done(&mut attempt, &worker);
            }
            self.fail_attempt(job, attempt, Some(error))?;
            failed += 1;
        }
        Ok(failed)
    }

    /// Lists silent jobs, with room for those that are left alone, which would else fill the list:
    /// those of paused queues, and those of which a rule is more patient.
    fn silent(&self, rule: &Rule<'_>) -> Result<Vec<PandaId>, LedgerError> {
        let mut limit = self.watch_batch();
        let is_paused = |queue: &QueueName| self.is_paused(queue);
        let is_heartbeat = rule.code == LOST_HEARTBEAT;
        let is_uneven = rule.patience.is_some()
            && !(is_heartbeat && self.ctx.limits.watch.heartbeat_timeouts.is_empty());
        if is_uneven || self.ctx.queues.keys().any(is_paused) {
            for (queue, counts) in self.ledger.queue_counts()? {
                if is_uneven || self.is_paused(&queue) {
                    limit += rule
                        .statuses
                        .iter()
                        .filter_map(|status| counts.get(status))
                        .sum::<u64>();
                }
            }
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let before = self.ctx.now.before(rule.timeout);
        let ids = self.ledger.unheard_since(rule.statuses, before, limit)?;
        self.ledger.expect_jobs(&ids)?;
        Ok(ids)
    }

    fn watch_batch(&self) -> u64 {
        u64::from(self.ctx.limits.watch_batch)
    }

    fn batch_limit(&self) -> usize {
        usize::try_from(self.ctx.limits.watch_batch).unwrap_or(usize::MAX)
    }

    fn is_at_paused_queue(&self, job: &JobRecord) -> bool {
        job.queue.as_ref().is_some_and(|name| self.is_paused(name))
    }

    fn is_paused(&self, queue: &QueueName) -> bool {
        let queue = self.ctx.queues.get(queue);
        queue.is_some_and(|queue| queue.status == QueueStatus::Paused)
    }

    /// Says whether a job's queue keeps its jobs, however long they wait.
    fn keeps_its_jobs(&self, job: &JobRecord) -> bool {
        let queue = job.queue.as_ref();
        queue.is_some_and(|name| self.queue_keeps_its_jobs(name))
    }

    fn queue_keeps_its_jobs(&self, name: &QueueName) -> bool {
        self.ctx.queue(name).is_some_and(|queue| {
            queue.status == QueueStatus::Paused || queue.options.terms.keeps_its_jobs
        })
    }

    /// Brokers production jobs anew that wait too long at one queue.
    fn broker_anew(&mut self) -> Result<u64, LedgerError> {
        let timeout = self.ctx.limits.activated_timeout;
        let rule = Rule {
            statuses: &[JobStatus::Activated],
            ..Rule::after(timeout)
        };
        let mut moved = 0;
        for id in self.silent(&rule)? {
            let job = self.job(id)?;
            if job.kind == JobKind::Direct || self.keeps_its_jobs(&job) {
                continue;
            }
            self.move_on(job, timeout)?;
            moved += 1;
        }
        Ok(moved)
    }

    /// Brokers users' jobs anew that wait too long at a queue where nothing of their task runs.
    fn move_users_jobs(&mut self) -> Result<u64, LedgerError> {
        let common = self.ctx.limits.user_activated_timeout;
        let by_group = &self.ctx.limits.watch.user_activated_timeouts;
        let before = self.ctx.now.before(shortest(common, by_group));
        let mut groups: BTreeMap<(TaskId, Option<QueueName>), bool> = BTreeMap::new();
        let mut moved = 0;
        let limit = match by_group.is_empty() {
            true => self.batch_limit(),
            // Room for those of groups that are more patient.
            false => self.batch_limit().saturating_add(self.all_activated()?),
        };
        for id in self.ledger.waiting_since(Waiting::Users, before, limit)? {
            let job = self.job(id)?;
            if job.kind == JobKind::Direct || self.keeps_its_jobs(&job) {
                continue;
            }
            let timeout = match by_group.is_empty() {
                true => common,
                false => {
                    let group = self.working_group(job.task_id)?;
                    by_group.get(&group).copied().unwrap_or(common)
                }
            };
            if job.modified >= self.ctx.now.before(timeout) {
                continue;
            }
            let key = (job.task_id, job.queue.clone());
            let goes_on = match groups.get(&key) {
                Some(goes_on) => *goes_on,
                None => self.task_runs_at(job.task_id, job.queue.as_ref())?,
            };
            groups.insert(key, goes_on);
            if !goes_on {
                self.move_on(job, timeout)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Counts the jobs that wait for pilots.
    fn all_activated(&self) -> Result<usize, LedgerError> {
        let counts = self.ledger.queue_counts()?;
        let activated = counts.values();
        let activated = activated.filter_map(|counts| counts.get(&JobStatus::Activated));
        Ok(usize::try_from(activated.sum::<u64>()).unwrap_or(usize::MAX))
    }

    /// Says whether pilots have jobs of a task at a queue.
    fn task_runs_at(&self, task: TaskId, queue: Option<&QueueName>) -> Result<bool, LedgerError> {
        let with_pilots = [JobStatus::Sent, JobStatus::Starting, JobStatus::Running];
        let ids = self.ledger.jobs_of_task(task, &with_pilots)?;
        for id in ids.into_iter().take(RUNNING_LOOKED_AT) {
            if self.job(id)?.queue.as_ref() == queue {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Brokers urgent jobs anew that wait at a queue which starts nothing.
    fn move_urgent_jobs(&mut self) -> Result<u64, LedgerError> {
        let timeout = self.ctx.limits.urgent_activated_timeout;
        let before = self.ctx.now.before(timeout);
        let mut moved = 0;
        let limit = self.batch_limit();
        for id in self.ledger.waiting_since(Waiting::Urgent, before, limit)? {
            let job = self.job(id)?;
            if job.kind == JobKind::Direct || self.keeps_its_jobs(&job) {
                continue;
            }
            if job.kind != JobKind::Merge && self.starts_nothing(&job)? {
                self.move_on(job, timeout)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Has urgent jobs run elsewhere that do not get beyond `starting` at a queue which starts
    /// nothing.
    fn move_urgent_starting(&mut self) -> Result<u64, LedgerError> {
        let timeout = self.ctx.limits.urgent_activated_timeout;
        let before = self.ctx.now.before(timeout);
        let mut moved = 0;
        let limit = self.batch_limit();
        let found = self
            .ledger
            .in_state_since(Lasting::UrgentStarting, before, limit)?;
        for id in found {
            let mut job = self.job(id)?;
            let stays = matches!(job.kind, JobKind::Direct | JobKind::Merge)
                || job.command == Some(Command::ToBeKilled)
                || self.keeps_its_jobs(&job);
            if !stays && self.starts_nothing(&job)? {
                let time = format_duration(timeout);
                job.reason = format!("starting for more than {time} at a queue that starts none");
                self.run_elsewhere(job)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Says whether no job was started for long at the queue of a job, or whether its status lets
    /// nobody start.
    fn starts_nothing(&self, job: &JobRecord) -> Result<bool, LedgerError> {
        let Some(name) = &job.queue else {
            return Ok(true);
        };
        let status = self.ctx.queue(name).map(|queue| queue.status);
        if matches!(status, Some(QueueStatus::Offline | QueueStatus::Test)) {
            return Ok(true);
        }
        let silent_since = self.ctx.now.before(self.ctx.limits.queue_inactive_timeout);
        let started = self.ledger.pulse(name)?.job_started;
        Ok(started.is_none_or(|started| started < silent_since))
    }

    /// Has an activated job brokered anew.
    fn move_on(&mut self, mut job: JobRecord, timeout: Duration) -> Result<(), LedgerError> {
        job.reason = format!("no pilot came for it within {}", format_duration(timeout));
        self.run_elsewhere(job)
    }

    /// Has jobs run elsewhere that are in a state for too long, although their pilots report. A
    /// pilot whose job runs is told to end it first.
    fn end_lasting(&mut self, state: Lasting, timeout: Duration) -> Result<u64, LedgerError> {
        let before = self.ctx.now.before(timeout);
        let limit = self.batch_limit();
        let mut ended = 0;
        let ids = self.ledger.in_state_since(state, before, limit)?;
        self.ledger.expect_jobs(&ids)?;
        for id in ids {
            let mut job = self.job(id)?;
            let stays = match state {
                Lasting::Running => self.is_at_paused_queue(&job),
                Lasting::Starting | Lasting::UrgentStarting => self.keeps_its_jobs(&job),
            };
            if job.command == Some(Command::ToBeKilled) || stays {
                continue;
            }
            job.reason = format!("{} for more than {}", job.status, format_duration(timeout));
            match state {
                Lasting::Starting | Lasting::UrgentStarting => self.run_elsewhere(job)?,
                Lasting::Running => {
                    job.command = Some(Command::ToBeKilled);
                    job.sub_status = TO_REASSIGN.to_owned();
                    self.ledger.put_job(&job)?;
                }
            }
            ended += 1;
        }
        Ok(ended)
    }

    /// Closes jobs without a task for which no pilot came: nobody brokers them anew.
    fn expire_direct(&mut self) -> Result<u64, LedgerError> {
        let before = self.ctx.now.before(self.ctx.limits.waiting_timeout);
        let limit = self.batch_limit();
        let mut expired = 0;
        for id in self.ledger.waiting_since(Waiting::Direct, before, limit)? {
            let job = self.job(id)?;
            let is_done = self.kill_by(job, KillCode::Expired, "", Rights::Common, None)?;
            expired += u64::from(is_done);
        }
        Ok(expired)
    }
}
