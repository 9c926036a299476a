//! The archive, in memory: a mark on jobs.

use ailurus_model::{ChangeId, PandaId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{ArchiveRows, EndedJob, EndedPlace, LedgerError},
    memory::as_count,
};

impl MemoryLedger {
    /// Says whether rows of the history are no more.
    pub(crate) fn has_forgotten_changes(&self) -> bool {
        self.history.len() < usize::try_from(self.last_change).unwrap_or(usize::MAX)
    }
}

impl ArchiveRows for MemoryLedger {
    fn ended_before(
        &self,
        before: Timestamp,
        after: EndedPlace,
        limit: usize,
    ) -> Result<Vec<EndedJob>, LedgerError> {
        let mut found: Vec<EndedJob> = self
            .jobs
            .values()
            .filter(|job| job.status.is_terminal() && job.state_changed < before)
            .filter(|job| !self.archived.contains(&job.panda_id))
            .map(|job| EndedJob {
                place: EndedPlace {
                    ended: job.state_changed,
                    panda_id: job.panda_id,
                },
                task_id: job.task_id,
            })
            .filter(|job| job.place > after)
            .collect();
        found.sort_unstable_by_key(|job| job.place);
        found.truncate(limit);
        Ok(found)
    }

    fn archive_jobs(&mut self, jobs: &[PandaId]) -> Result<(), LedgerError> {
        let known = jobs.iter().filter(|id| self.jobs.contains_key(id));
        self.archived.extend(known);
        Ok(())
    }

    fn is_archived(&self, job: PandaId) -> Result<bool, LedgerError> {
        Ok(self.archived.contains(&job))
    }

    fn least_cursor(&self) -> Result<Option<ChangeId>, LedgerError> {
        Ok(self.cursors.values().map(|cursor| cursor.last).min())
    }

    fn forget_changes(
        &mut self,
        before: Timestamp,
        up_to: ChangeId,
        limit: usize,
    ) -> Result<u64, LedgerError> {
        let old: Vec<u64> = self
            .history
            .range(..=up_to.value())
            .take(limit)
            .filter(|(_, change)| change.time < before)
            .map(|(id, _)| *id)
            .collect();
        for id in &old {
            self.history.remove(id);
        }
        Ok(as_count(old.len()))
    }
}
