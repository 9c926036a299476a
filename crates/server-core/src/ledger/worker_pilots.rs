//! What pilots say of themselves in their workers, which may be other than what the batch system
//! says of these.

use ailurus_model::{HarvesterId, Timestamp, WorkerId};

use crate::ledger::LedgerError;

/// What a pilot says about itself, apart from its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PilotPhase {
    /// It began to work in its worker.
    Started,
    /// It ended.
    Finished,
}

impl PilotPhase {
    /// Both phases, in order.
    pub const ALL: [Self; 2] = [Self::Started, Self::Finished];

    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Finished => "finished",
        }
    }
}

/// What the pilot in a worker said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPilotRecord {
    /// The instance that started the worker.
    pub harvester: HarvesterId,
    /// The worker.
    pub worker: WorkerId,
    /// What the pilot said.
    pub phase: PilotPhase,
    /// When it said that it began.
    pub started: Option<Timestamp>,
    /// When it said that it ended.
    pub ended: Option<Timestamp>,
    /// When it said the last of these.
    pub changed: Timestamp,
    /// When the instance was last told that this does not agree with what it says.
    pub synced: Option<Timestamp>,
}

/// Which workers are to end because their pilots have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleFilter {
    /// The pilot said before this time that it ended.
    pub said_before: Timestamp,
    /// The instance was not asked since this time.
    pub not_asked_since: Timestamp,
    /// The worker was reported at or after this time.
    pub reported_since: Timestamp,
    /// The worker was submitted at or after this time.
    pub submitted_since: Timestamp,
}

/// Keeps what pilots say of themselves.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait WorkerPilotRows {
    /// Reads what the pilot in a worker said.
    fn worker_pilot(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<WorkerPilotRecord>, LedgerError>;
    /// Writes what the pilot in a worker said.
    fn put_worker_pilot(&mut self, pilot: &WorkerPilotRecord) -> Result<(), LedgerError>;
    /// Lists workers that have not ended by the word of their instances, although their pilots
    /// have. By instance, then number, `limit` at most.
    fn stale_workers(
        &self,
        filter: &StaleFilter,
        limit: usize,
    ) -> Result<Vec<WorkerPilotRecord>, LedgerError>;
}
