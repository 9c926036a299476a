//! What brokerage and dispatch must know of queues: how busy they are, when they last did
//! something, how a task's jobs fared there, and where common samples are read.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, JobStatus, PandaId, QueueName, TaskId, Timestamp};

use crate::ledger::LedgerError;

/// How many jobs of a kind a queue has that have not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRow {
    /// The queue.
    pub queue: QueueName,
    /// The leaf of global shares.
    pub share: String,
    /// PanDA's class of cores and memory.
    pub resource_type: String,
    /// The status.
    pub status: JobStatus,
    /// Jobs.
    pub jobs: u64,
    /// Their cores together.
    pub cores: u64,
}

/// When something last happened at a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueuePulse {
    /// A pilot asked for jobs.
    pub pilot_seen: Option<Timestamp>,
    /// A job was given to a pilot.
    pub job_started: Option<Timestamp>,
}

/// How the jobs of a task fared at a queue. Each count only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskPlace {
    /// Times that a job was sent there.
    pub jobs: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Jobs that finished.
    pub finished: u64,
    /// Jobs that were taken back.
    pub closed: u64,
}

impl TaskPlace {
    /// Adds counts.
    pub(crate) const fn add(&mut self, more: &Self) {
        self.jobs = self.jobs.saturating_add(more.jobs);
        self.failed = self.failed.saturating_add(more.failed);
        self.finished = self.finished.saturating_add(more.finished);
        self.closed = self.closed.saturating_add(more.closed);
    }
}

/// A sample that many jobs read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MixtureRecord {
    /// The first job that was sent somewhere: all others have its turn.
    pub turn: PandaId,
    /// Jobs that were sent to each queue.
    pub jobs: BTreeMap<QueueName, u64>,
}

/// Keeps what brokerage must know of queues.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait BrokerageRows {
    /// Counts the jobs that have a queue and have not ended. Asked often, so it must not take
    /// longer the more jobs there are.
    fn loads(&self) -> Result<Vec<LoadRow>, LedgerError>;
    /// Lists the leaves of global shares that have activated jobs at a queue, by name.
    fn waiting_shares(&self, queue: &QueueName) -> Result<Vec<String>, LedgerError>;
    /// Counts the activated jobs of a share at a queue by resource class, by falling priority: a
    /// class comes once for each priority.
    fn waiting_classes(
        &self,
        queue: &QueueName,
        share: &str,
    ) -> Result<Vec<(String, u64)>, LedgerError>;
    /// Sums up memory and cores of the jobs that run at a queue.
    fn running_memory(&self, queue: &QueueName) -> Result<(ByteCount, u64), LedgerError>;
    /// Says when something last happened, by queue.
    fn pulses(&self) -> Result<BTreeMap<QueueName, QueuePulse>, LedgerError>;
    /// Says when something last happened at a queue.
    fn pulse(&self, queue: &QueueName) -> Result<QueuePulse, LedgerError>;
    /// Writes when something happened at a queue.
    fn put_pulse(&mut self, queue: &QueueName, pulse: QueuePulse) -> Result<(), LedgerError>;
    /// Says how the jobs of a task fared, by queue.
    fn task_places(&self, task: TaskId) -> Result<BTreeMap<QueueName, TaskPlace>, LedgerError>;
    /// Adds to how the jobs of a task fared at a queue.
    fn add_task_place(
        &mut self,
        task: TaskId,
        queue: &QueueName,
        more: &TaskPlace,
    ) -> Result<(), LedgerError>;
    /// Says where a sample is read, none if no job was sent anywhere for it.
    fn mixture(&self, sample: &str) -> Result<Option<MixtureRecord>, LedgerError>;
    /// Adds jobs that read a sample to a queue; the first one gives the mixture its turn.
    fn add_mixture(
        &mut self,
        sample: &str,
        first: PandaId,
        queue: &QueueName,
        jobs: u64,
    ) -> Result<(), LedgerError>;
    /// Lists leaves of global shares by need, as they were written last.
    fn share_order(&self) -> Result<Vec<String>, LedgerError>;
    /// Writes the order of the leaves.
    fn put_share_order(&mut self, leaves: &[String]) -> Result<(), LedgerError>;
}
