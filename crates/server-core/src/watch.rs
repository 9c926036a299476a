//! Looks after every state that can last too long.
//!
//! Source: PanDA server, `pandaserver/jobdispatcher/Watcher.py` and
//! `pandaserver/daemons/scripts/copyArchive.py`.

use std::time::Duration;

use ailurus_diagnosis::ErrorSource;
use ailurus_model::{JobStatus, PandaId, QueueName, queue::QueueStatus};

use crate::{
    Context,
    attempt_end::ServerError,
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
};

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
}

/// PanDA's `jobDispatcherErrorCode`s.
const LOST_HEARTBEAT: i64 = 100;
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
            timeout: limits.heartbeat_timeout,
            code: LOST_HEARTBEAT,
            diag: "lost heartbeat",
        })?,
        sent_without_reply: op.fail_silent(&Rule {
            statuses: &[JobStatus::Sent],
            timeout: limits.sent_timeout,
            code: SENT_WITHOUT_REPLY,
            diag: "sent job was not answered by the pilot",
        })?,
        holding_too_long: op.fail_silent(&Rule {
            statuses: &[JobStatus::Holding],
            timeout: limits.holding_timeout,
            code: HOLDING_TIMEOUT,
            diag: "final report did not come",
        })?,
        transferring_too_long: op.fail_silent(&Rule {
            statuses: &[JobStatus::Transferring],
            timeout: limits.transferring_timeout,
            code: TRANSFERRING_TIMEOUT,
            diag: "outputs did not arrive",
        })?,
        activated_too_long: op.broker_anew()?,
    };
    op.finish()?;
    Ok(report)
}

/// Jobs in these statuses that were silent for so long fail with this error.
struct Rule<'a> {
    statuses: &'a [JobStatus],
    timeout: Duration,
    code: i64,
    diag: &'a str,
}

impl<L: Ledger> Operation<'_, L> {
    fn fail_silent(&mut self, rule: &Rule<'_>) -> Result<u64, LedgerError> {
        let mut failed = 0;
        for id in self.silent(rule.statuses, rule.timeout)? {
            if failed >= u64::from(self.ctx.limits.watch_batch) {
                break;
            }
            let job = self.job(id)?;
            if job
                .queue
                .as_ref()
                .is_some_and(|queue| self.is_paused(queue))
            {
                continue;
            }
            let diag = format!("{} : {}", rule.diag, job.modified.to_panda_text());
            let error = ServerError::new(ErrorSource::Dispatcher, rule.code, &diag);
            self.fail_by_server(job, error)?;
            failed += 1;
        }
        Ok(failed)
    }

    /// Lists silent jobs, with room for those of paused queues, which would else fill the list.
    fn silent(
        &self,
        statuses: &[JobStatus],
        timeout: Duration,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let mut limit = u64::from(self.ctx.limits.watch_batch);
        if self
            .ctx
            .queues
            .values()
            .any(|queue| queue.status == QueueStatus::Paused)
        {
            for (queue, counts) in self.ledger.queue_counts()? {
                if self.is_paused(&queue) {
                    limit += statuses
                        .iter()
                        .filter_map(|status| counts.get(status))
                        .sum::<u64>();
                }
            }
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let before = self.ctx.now.before(timeout);
        self.ledger.unheard_since(statuses, before, limit)
    }

    fn is_paused(&self, queue: &QueueName) -> bool {
        let queue = self.ctx.queues.get(queue);
        queue.is_some_and(|queue| queue.status == QueueStatus::Paused)
    }

    fn broker_anew(&mut self) -> Result<u64, LedgerError> {
        let timeout = self.ctx.limits.activated_timeout;
        let mut moved = 0;
        for id in self.silent(&[JobStatus::Activated], timeout)? {
            let mut job: JobRecord = self.job(id)?;
            if job
                .queue
                .as_ref()
                .is_some_and(|queue| self.is_paused(queue))
            {
                continue;
            }
            self.take_back(&mut job)?;
            self.place(&mut job)?;
            moved += 1;
        }
        Ok(moved)
    }
}
