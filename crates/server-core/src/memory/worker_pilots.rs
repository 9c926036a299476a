//! What pilots say of themselves in their workers, in memory.

use ailurus_model::{HarvesterId, WorkerId};

use crate::{
    MemoryLedger,
    ledger::{LedgerError, PilotPhase, StaleFilter, WorkerPilotRecord, WorkerPilotRows},
};

impl WorkerPilotRows for MemoryLedger {
    fn worker_pilot(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<WorkerPilotRecord>, LedgerError> {
        Ok(self
            .worker_pilots
            .get(&(harvester.clone(), worker))
            .cloned())
    }

    fn put_worker_pilot(&mut self, pilot: &WorkerPilotRecord) -> Result<(), LedgerError> {
        let key = (pilot.harvester.clone(), pilot.worker);
        self.worker_pilots.insert(key, pilot.clone());
        Ok(())
    }

    fn stale_workers(
        &self,
        filter: &StaleFilter,
        limit: usize,
    ) -> Result<Vec<WorkerPilotRecord>, LedgerError> {
        let is_stale = |pilot: &&WorkerPilotRecord| {
            let key = (pilot.harvester.clone(), pilot.worker);
            let Some(worker) = self.workers.get(&key) else {
                return false;
            };
            let reported = self.worker_reports.get(&key);
            pilot.phase == PilotPhase::Finished
                && !worker.status.is_terminal()
                && pilot.changed < filter.said_before
                && pilot
                    .synced
                    .is_none_or(|time| time < filter.not_asked_since)
                && reported.is_some_and(|time| *time >= filter.reported_since)
                && worker
                    .submit_time
                    .is_some_and(|time| time >= filter.submitted_since)
        };
        let found = self.worker_pilots.values().filter(is_stale);
        Ok(found.take(limit).cloned().collect())
    }
}
