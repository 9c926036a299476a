//! What Harvester instances say about themselves: that they live, messages for people, measures of
//! their machines; and how many slots people want them to keep.

use ailurus_model::{HarvesterId, QueueName, Timestamp};

use crate::ledger::LedgerError;

/// A Harvester instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// Its name.
    pub id: HarvesterId,
    /// Who runs it: the distinguished name with which it came last, empty for nobody.
    pub owner: String,
    /// The machine from which it came last.
    pub host: String,
    /// When it began, as it says.
    pub started: Option<Timestamp>,
    /// Its version, empty if not told.
    pub version: String,
    /// The commit that it was built from, empty if not told.
    pub commit: String,
    /// When it was heard of last.
    pub heard: Timestamp,
}

/// A message of an instance for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogRecord {
    /// The instance.
    pub harvester: HarvesterId,
    /// Its number within the instance.
    pub id: u64,
    /// The part of the instance that speaks.
    pub module: String,
    /// What it speaks of.
    pub identifier: String,
    /// `INFO`, `WARNING`, `ERROR` and so on.
    pub level: String,
    /// The message, at most 500 characters.
    pub message: String,
    /// When it was said.
    pub created: Timestamp,
}

/// What an instance measured of a machine at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceMetricsRecord {
    /// The instance.
    pub harvester: HarvesterId,
    /// When it was measured.
    pub created: Timestamp,
    /// The machine.
    pub host: String,
    /// What was measured, as JSON text of at most 4000 characters.
    pub metrics: String,
}

/// How many slots a queue is to have, by the word of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSlotsRecord {
    /// The queue.
    pub queue: QueueName,
    /// The global share for which they are; empty for all.
    pub global_share: String,
    /// The class of jobs for which they are; empty for all.
    pub resource_type: String,
    /// How many.
    pub slots: u64,
    /// Until when; none for always.
    pub expires: Option<Timestamp>,
    /// When it was said.
    pub modified: Timestamp,
}

/// Keeps what Harvester instances say about themselves.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait HarvesterRows {
    /// Reads an instance.
    fn instance(&self, id: &HarvesterId) -> Result<Option<InstanceRecord>, LedgerError>;
    /// Writes an instance, new or changed.
    fn put_instance(&mut self, instance: &InstanceRecord) -> Result<(), LedgerError>;
    /// Lists all instances, by name.
    fn instances(&self) -> Result<Vec<InstanceRecord>, LedgerError>;

    /// Writes a message. The same number again changes it.
    fn put_dialog(&mut self, dialog: &DialogRecord) -> Result<(), LedgerError>;
    /// Lists the newest messages of an instance, newest first, `limit` at most.
    fn dialogs_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<DialogRecord>, LedgerError>;
    /// Writes a measure. The same time and machine again changes it.
    fn put_service_metrics(&mut self, metrics: &ServiceMetricsRecord) -> Result<(), LedgerError>;
    /// Lists the newest measures of an instance, newest first, `limit` at most.
    fn service_metrics_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<ServiceMetricsRecord>, LedgerError>;
    /// Forgets messages and measures from before. Returns how many.
    fn remove_harvester_notes_before(&mut self, before: Timestamp) -> Result<u64, LedgerError>;

    /// Writes how many slots a queue is to have for a share and a class.
    fn put_target_slots(&mut self, slots: &TargetSlotsRecord) -> Result<(), LedgerError>;
    /// Lists all wishes for slots that have not expired by `now`, by queue, share and class.
    fn target_slots(&self, now: Timestamp) -> Result<Vec<TargetSlotsRecord>, LedgerError>;
}
