//! How many workers each Harvester instance has at each queue, as it counts them itself.

use std::collections::BTreeMap;

use ailurus_model::{HarvesterId, QueueName, Timestamp};

use crate::ledger::LedgerError;

/// Numbers of workers by job type, resource type and status.
pub type WorkerCounts = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

/// How many workers an instance has at a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatisticsRecord {
    /// The instance.
    pub harvester: HarvesterId,
    /// The queue.
    pub queue: QueueName,
    /// The numbers.
    pub counts: WorkerCounts,
    /// When they were reported.
    pub reported: Timestamp,
}

/// Keeps the numbers of workers.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait WorkerStatisticsRows {
    /// Writes the numbers of one instance at one queue in place of those from before.
    fn put_worker_statistics(
        &mut self,
        statistics: &WorkerStatisticsRecord,
    ) -> Result<(), LedgerError>;
    /// Lists the numbers that were reported at `since` or later, by queue, then instance.
    fn worker_statistics_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<WorkerStatisticsRecord>, LedgerError>;
    /// Forgets numbers that were reported before. Returns how many rows.
    fn remove_worker_statistics_before(&mut self, before: Timestamp) -> Result<u64, LedgerError>;
}
