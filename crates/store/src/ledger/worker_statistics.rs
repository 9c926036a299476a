//! Statements over the numbers of workers by instance and queue.

use ailurus_model::Timestamp;
use ailurus_server_core::ledger::{LedgerError, WorkerStatisticsRecord, WorkerStatisticsRows};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Json, SqlError, params},
};

impl DatabaseLedger {
    fn write_statistics(&self, statistics: &WorkerStatisticsRecord) -> Result<(), SqlError> {
        self.sql()
            .execute(
                "INSERT INTO worker_statistics (queue, harvester_id, counts, reported)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (queue, harvester_id) DO UPDATE SET counts = ?3, reported = ?4",
                params![
                    statistics.queue,
                    statistics.harvester,
                    Json::of(&statistics.counts)?,
                    statistics.reported,
                ],
            )
            .map(drop)
    }
}

impl WorkerStatisticsRows for DatabaseLedger {
    fn put_worker_statistics(
        &mut self,
        statistics: &WorkerStatisticsRecord,
    ) -> Result<(), LedgerError> {
        self.write_statistics(statistics).map_err(failed(|| {
            let WorkerStatisticsRecord {
                queue, harvester, ..
            } = statistics;
            format!("write the numbers of workers of `{harvester}` at `{queue}`")
        }))
    }

    fn worker_statistics_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<WorkerStatisticsRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT queue, harvester_id, counts, reported FROM worker_statistics
                 WHERE reported >= ?1 ORDER BY queue, harvester_id",
                params![since],
                |columns| {
                    Ok(WorkerStatisticsRecord {
                        queue: columns.take()?,
                        harvester: columns.take()?,
                        counts: columns.json()?,
                        reported: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| "list numbers of workers".to_owned()))
    }

    fn remove_worker_statistics_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        self.sql()
            .execute(
                "DELETE FROM worker_statistics WHERE reported < ?1",
                params![before],
            )
            .map_err(failed(|| "forget old numbers of workers".to_owned()))
    }
}
