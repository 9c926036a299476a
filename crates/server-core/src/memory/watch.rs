//! Jobs that have been in one state for long, in memory.

use ailurus_model::{JobStatus, PandaId, QueueName, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{JobRecord, Lasting, LedgerError, Waiting, WatchRows},
};

impl WatchRows for MemoryLedger {
    fn in_state_since(
        &self,
        state: Lasting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let found = self.jobs.values().filter(|job| state.fits(job, before));
        Ok(longest(found, |job| job.state_changed, limit))
    }

    fn waiting_since(
        &self,
        which: Waiting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let since = |job: &JobRecord| match which {
            Waiting::Users | Waiting::Urgent => job.modified,
            Waiting::Direct => job.created,
        };
        let found = self.jobs.values().filter(|job| which.fits(job, before));
        Ok(longest(found, since, limit))
    }

    fn waiting_at(
        &self,
        queue: &QueueName,
        share: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let is_meant = |job: &&JobRecord| {
            job.status == JobStatus::Activated
                && job.queue.as_ref() == Some(queue)
                && job.global_share == share
                && job.state_changed < before
        };
        let found = self.jobs.values().filter(is_meant);
        Ok(longest(found, |_| Timestamp::default(), limit))
    }
}

/// The numbers of those that come first by a time, then by their number.
fn longest<'a>(
    jobs: impl Iterator<Item = &'a JobRecord>,
    since: impl Fn(&JobRecord) -> Timestamp,
    limit: usize,
) -> Vec<PandaId> {
    let mut found: Vec<_> = jobs.map(|job| (since(job), job.panda_id)).collect();
    found.sort_unstable();
    found.into_iter().take(limit).map(|(_, id)| id).collect()
}
