//! Jobs that have been in one state for long, in memory.

use ailurus_model::{PandaId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{Lasting, LedgerError, Waiting, WatchRows},
};

impl WatchRows for MemoryLedger {
    fn in_state_since(
        &self,
        state: Lasting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let mut found: Vec<_> = self
            .jobs
            .values()
            .filter(|job| job.status == state.status() && job.state_changed < before)
            .map(|job| (job.state_changed, job.panda_id))
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    fn waiting_since(
        &self,
        which: Waiting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let mut found: Vec<_> = self
            .jobs
            .values()
            .filter(|job| which.fits(job, before))
            .map(|job| match which {
                Waiting::Users | Waiting::Urgent => (job.modified, job.panda_id),
                Waiting::Direct => (job.created, job.panda_id),
            })
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().take(limit).map(|(_, id)| id).collect())
    }
}
