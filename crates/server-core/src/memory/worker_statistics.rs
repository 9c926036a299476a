//! Numbers of workers by instance and queue, in memory.

use ailurus_model::Timestamp;

use crate::{
    MemoryLedger,
    ledger::{LedgerError, WorkerStatisticsRecord, WorkerStatisticsRows},
    memory::as_count,
};

impl WorkerStatisticsRows for MemoryLedger {
    fn put_worker_statistics(
        &mut self,
        statistics: &WorkerStatisticsRecord,
    ) -> Result<(), LedgerError> {
        let key = (statistics.queue.clone(), statistics.harvester.clone());
        self.worker_statistics.insert(key, statistics.clone());
        Ok(())
    }

    fn worker_statistics_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<WorkerStatisticsRecord>, LedgerError> {
        let all = self.worker_statistics.values();
        Ok(all.filter(|it| it.reported >= since).cloned().collect())
    }

    fn remove_worker_statistics_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        let count = self.worker_statistics.len();
        self.worker_statistics.retain(|_, it| it.reported >= before);
        Ok(as_count(count - self.worker_statistics.len()))
    }
}
