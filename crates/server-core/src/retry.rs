//! Tries the failed jobs of a task again because a person says so.
//!
//! This is the one way in which a job that has ended comes back to life: with attempts that it did
//! not have before, or, where it was closed for want of input, to wait for that input again.

use std::collections::VecDeque;

use ailurus_jedi::command::RetryQualifiers;
use ailurus_model::{DatasetName, FileStatus, JobKind, JobStatus, JobUpdate, TaskId, TaskStatus};

use crate::{
    ActionError, Context,
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    tasks::{CommandRequest, command::command_by_name},
    text::{DIAG_CHARS_MAX, clipped},
};

/// That a failed attempt is to be followed by another one at the same queue, whatever the
/// catalogue of errors says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryWish {
    /// Nobody wishes so.
    None,
    /// The pilot asks for it by a negative error code, or PanDA's server gives one more chance.
    SameQueue,
}

/// Errors after which PanDA's server gives a user's job one more chance: the pilot was killed.
const KILLED_PILOT_CODES: [i64; 3] = [1200, 1201, 1213];

/// Returns what the last update of a failed attempt asks for.
///
/// Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `retryJob`.
pub(crate) fn wish_of(job: &JobRecord, processing_type: &str, update: &JobUpdate) -> RetryWish {
    let Some(error) = &update.pilot_error else {
        return RetryWish::None;
    };
    let is_excluded = (processing_type.starts_with("gangarobot")
        && processing_type != "gangarobot-rctest")
        || processing_type.starts_with("hammercloud");
    let label = job.source_label.as_str();
    let is_users = matches!(label, "user" | "panda");
    let is_pilot_test = matches!(label, "ptest" | "rc_test" | "rc_test2" | "rc_alrb");
    let by_pilot = error.code < 0 && (is_users || is_pilot_test);
    let by_server =
        is_users && KILLED_PILOT_CODES.contains(&error.code) && job.attempt_nr.value() < 2;
    if (by_pilot || by_server) && !is_excluded {
        RetryWish::SameQueue
    } else {
        RetryWish::None
    }
}

/// Gives the failed jobs of a task as many further attempts as the task asked for, and returns how
/// many jobs that were. Jobs down the chain that were closed for want of their outputs wait again.
///
/// # Errors
///
/// [`ActionError::UnknownTask`]; [`ActionError::TaskAborted`] if a person has ended the task;
/// [`ActionError::JobsDropped`] if its jobs are no longer kept;
/// [`ActionError::Ledger`] if the rows are out of reach.
pub fn retry_task(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: TaskId,
    who: &str,
) -> Result<u64, ActionError> {
    let Some(task) = ledger.task(id)? else {
        return Err(ActionError::UnknownTask { id });
    };
    if ledger.are_jobs_dropped(id)? {
        return Err(ActionError::JobsDropped { id });
    }
    if task.revision > 0 {
        let words = RetryQualifiers::default();
        let request = CommandRequest::Retry(words, serde_json::Map::new());
        return Ok(command_by_name(ctx, ledger, id, request, who)?);
    }
    if is_aborted(task.status) {
        return Err(ActionError::TaskAborted {
            id,
            status: task.status,
        });
    }
    let mut op = Operation::new(ctx, ledger);
    let failed = op.ledger.jobs_of_task(id, &[JobStatus::Failed])?;
    let mut retried = 0;
    for job in failed {
        let job = op.job(job)?;
        op.try_again(job, who)?;
        retried += 1;
    }
    op.finish()?;
    Ok(retried)
}

const fn is_aborted(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Aborting | TaskStatus::Aborted)
}

impl<L: Ledger> Operation<'_, L> {
    /// Gives a job that has ended further attempts.
    pub(crate) fn revive(&mut self, job: JobRecord, who: &str) -> Result<(), LedgerError> {
        self.try_again(job, who)
    }

    fn try_again(&mut self, mut job: JobRecord, who: &str) -> Result<(), LedgerError> {
        // Its leader gets others.
        if job.kind == JobKind::Consumer {
            return Ok(());
        }
        let spec = self.spec(job.task_id)?;
        job.max_attempts = job
            .attempt_nr
            .value()
            .saturating_add(spec.max_attempts.max(1));
        job.attempt_nr = job.attempt_nr.next();
        job.priority = spec.priority;
        job.worker = None;
        self.renumber(&mut job)?;
        self.before_merge_again(&job)?;
        let why = clipped(&format!("tried again by `{who}`"), DIAG_CHARS_MAX);
        self.set_status(&mut job, JobStatus::Defined, &why)?;
        self.touched.insert(job.task_id);
        self.reopen_ranges(&job)?;
        if self.ledger.has_expected_needs(job.panda_id)? {
            self.wait_again(&mut job, who)?;
        } else {
            self.place(&mut job)?;
        }
        self.recruit_again(&job)?;
        let parts = self.parts_of(&job)?;
        self.expect_again(parts.into(), who)
    }

    /// Expects parts again that were lost, and all that was closed down the chain for want of them.
    fn expect_again(
        &mut self,
        mut parts: VecDeque<(DatasetName, u32)>,
        who: &str,
    ) -> Result<(), LedgerError> {
        while let Some((dataset, part)) = parts.pop_front() {
            self.ledger
                .settle_needs(&dataset, part, FileStatus::Expected)?;
            for id in self.ledger.waiting_for(&dataset, part)? {
                let mut job = self.job(id)?;
                let task = self.task(job.task_id)?;
                if job.status != JobStatus::Closed || is_aborted(task.status) {
                    continue;
                }
                self.wait_again(&mut job, who)?;
                self.touched.insert(job.task_id);
                parts.extend(self.parts_of(&job)?);
            }
        }
        Ok(())
    }

    fn wait_again(&mut self, job: &mut JobRecord, who: &str) -> Result<(), LedgerError> {
        job.queue = None;
        job.reason = clipped(
            &format!("its input is tried again by `{who}`"),
            DIAG_CHARS_MAX,
        );
        let why = job.reason.clone();
        self.set_status(job, JobStatus::Pending, &why)?;
        self.ledger.put_job(job)
    }
}
