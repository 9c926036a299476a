//! The rows that the server's decisions read and write, and the port to whatever keeps them.
//!
//! Every operation of this crate works on a [`Ledger`] within one transaction: the adapter begins
//! it, calls the operation, commits, and only then answers the peer. An operation that fails
//! leaves nothing behind. [`crate::memory::MemoryLedger`] is the ledger of tests and of the
//! simulator; the `store` crate keeps one in a database.

mod archive;
mod brokerage;
mod cache_files;
mod claims;
mod commands;
mod cursor;
mod events;
mod harvesters;
mod history;
mod job_texts;
mod nodes;
mod panda_tasks;
mod secrets;
mod task_work;
mod watch;
mod worker_pilots;
mod worker_statistics;
mod workflows;

use std::{collections::BTreeMap, sync::Arc};

use ailurus_model::{
    AttemptNr, ByteCount, Checksum, Command, DatasetName, EndpointName, FileId, FileStatus, Guid,
    HarvesterId, JobKind, JobStatus, JobTags, Lfn, NodeName, PandaId, QueueName, Scope, Seed,
    SourceLabel, TaskId, TaskSpec, TaskStatus, Timestamp, Worker, WorkerId, update::ReportedError,
};

pub use self::archive::{ArchiveRows, EndedJob, EndedPlace, EndedTask};
pub use self::brokerage::{BrokerageRows, LoadRow, MixtureRecord, QueuePulse, TaskPlace};
pub use self::cache_files::{CacheFileRecord, CacheFileRows};
pub use self::claims::{ClaimFilter, ClaimOrder, Probes};
pub use self::commands::{Acknowledgement, CommandRecord, CommandRows, CommandStatus};
pub use self::cursor::{Cursor, CursorRows};
pub use self::events::{EventCounts, EventKey, EventRangeRecord, EventRows};
pub use self::harvesters::{
    DialogRecord, HarvesterRows, InstanceRecord, ServiceMetricsRecord, TargetSlotsRecord,
};
pub use self::history::{Changed, HistoryRow, HistoryRows, StatusChange};
pub use self::job_texts::{JobText, JobTextRows};
pub use self::nodes::{GpuRecord, NodeRecord, NodeRows};
pub use self::panda_tasks::{
    CatalogueView, Generation, InputCounts, InputProgress, InputState, KindCounts, PandaTaskRecord,
    PandaTaskRows, PartList, ScoutPhase, TaskOrder, TaskProgress,
};
pub use self::secrets::SecretRows;
pub use self::task_work::{Chore, ChoreKind, LibraryBuild, ShareReach, TaskWorkRows, WorkDone};
pub use self::worker_pilots::{PilotPhase, StaleFilter, WorkerPilotRecord, WorkerPilotRows};
pub use self::worker_statistics::{WorkerCounts, WorkerStatisticsRecord, WorkerStatisticsRows};

pub use self::watch::{Lasting, URGENT_PRIORITY, Waiting, WatchRows};
pub use self::workflows::{
    Submitter, WorkflowDetails, WorkflowRecord, WorkflowRows, WorkflowStepRecord,
};

/// The rows could not be read or written: the transaction is to be given up.
#[derive(Debug, thiserror::Error)]
#[error("the server's ledger failed while it was to {action}")]
pub struct LedgerError {
    /// What was being done, for example `read job 17`.
    pub action: String,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Rows that should agree do not.
#[derive(Debug, thiserror::Error)]
#[error("the rows contradict each other: {0}")]
struct Contradiction(String);

impl LedgerError {
    /// Rows that should agree do not: no answer is better than a wrong one.
    pub(crate) fn contradiction(detail: String) -> Self {
        Self {
            action: "read rows that belong together".to_owned(),
            source: Box::new(Contradiction(detail)),
        }
    }
}

/// A task and what has become of it. Counts of its jobs are derived from the jobs' rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// Its number.
    pub id: TaskId,
    /// What was submitted. It changes only with the revision.
    pub spec: Arc<TaskSpec>,
    /// Which version of PanDA's task parameters it follows, from 1; 0 if it has none.
    pub revision: u32,
    /// What it is.
    pub status: TaskStatus,
    /// How many jobs it was cut into.
    pub n_jobs: u32,
    /// The seed that the next attempt of one of its jobs gets. It only rises.
    pub next_seed: Seed,
    /// When it was submitted.
    pub created: Timestamp,
    /// When its status changed last.
    pub state_changed: Timestamp,
}

/// A dataset: a name under which files are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRecord {
    /// Its name.
    pub name: DatasetName,
    /// The task that writes it; none for a dataset whose files were listed.
    pub producer: Option<TaskId>,
    /// How many parts it has: files that exist or are expected, numbered from 0.
    pub n_parts: u32,
}

/// One job through all of its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its number.
    pub panda_id: PandaId,
    /// Its task.
    pub task_id: TaskId,
    /// Which part of the task it is, from 0. Its outputs are that part of their datasets.
    pub part: u32,
    /// What it is for.
    pub kind: JobKind,
    /// The number in the names of its outputs (PanDA's `${SN}`), from 1; each attempt has another.
    /// Zero in tasks whose names are made otherwise.
    pub serial: u32,
    /// What it is.
    pub status: JobStatus,
    /// The current attempt, 1 before the first dispatch.
    pub attempt_nr: AttemptNr,
    /// How many attempts it may have.
    pub max_attempts: u32,
    /// First event, for jobs made from events.
    pub first_event: u64,
    /// Events to make, zero for jobs made from files.
    pub n_events: u64,
    /// The queue that brokerage chose, none before.
    pub queue: Option<QueueName>,
    /// Larger runs earlier.
    pub priority: i64,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
    /// PanDA's class of its cores and memory.
    pub resource_type: String,
    /// Cores.
    pub cores: u32,
    /// Memory for the whole job; zero means not stated.
    pub memory: ByteCount,
    /// Scratch space; zero means not stated.
    pub disk: ByteCount,
    /// Wall time in seconds; zero means not stated.
    pub walltime_secs: u64,
    /// What the server wants of the pilot that has it.
    pub command: Option<Command>,
    /// When it was made.
    pub created: Timestamp,
    /// When the pilot was last heard of, or the row changed last.
    pub modified: Timestamp,
    /// When its status changed last.
    pub state_changed: Timestamp,
    /// The worker in which its current attempt runs, if a Harvester started it.
    pub worker: Option<(HarvesterId, WorkerId)>,
    /// Why it ended without success, or why it waits; empty otherwise.
    pub reason: String,
    /// Further detail of the status (`jobSubStatus`), empty if none.
    pub sub_status: String,
    /// What is special about it (`specialHandling`).
    pub tags: JobTags,
    /// The leaf of the tree of global shares that it counts for, empty if it has none yet.
    pub global_share: String,
    /// The job that it replaces (`parentID`), if it does.
    pub parent: Option<PandaId>,
    /// PanDA's number of why the server ended it (`taskBufferErrorCode`), zero if it did not; the
    /// text is `reason`.
    pub server_code: u32,
    /// Jobs of one priority are given out by rising turn. It is the job's own number, unless it
    /// reads a sample in common with others: then that of the first of them. Set with the queue.
    pub turn: PandaId,
}

impl JobRecord {
    /// A job of which nothing is known but what it belongs to.
    #[must_use]
    pub fn new(panda_id: PandaId, task_id: TaskId, kind: JobKind, now: Timestamp) -> Self {
        Self {
            panda_id,
            task_id,
            part: 0,
            kind,
            serial: 0,
            status: JobStatus::Pending,
            attempt_nr: AttemptNr::new(1),
            max_attempts: 1,
            first_event: 0,
            n_events: 0,
            queue: None,
            priority: 0,
            source_label: SourceLabel::default(),
            resource_type: String::new(),
            cores: 1,
            memory: ByteCount::ZERO,
            disk: ByteCount::ZERO,
            walltime_secs: 0,
            command: None,
            created: now,
            modified: now,
            state_changed: now,
            worker: None,
            reason: String::new(),
            sub_status: String::new(),
            tags: JobTags::default(),
            global_share: String::new(),
            parent: None,
            server_code: 0,
            turn: panda_id,
        }
    }
}

/// One attempt of a job, from its dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The job.
    pub panda_id: PandaId,
    /// Which attempt.
    pub attempt_nr: AttemptNr,
    /// The seed that was handed out with it; no other attempt of the task has it.
    pub seed: Seed,
    /// The queue from which it was taken.
    pub queue: QueueName,
    /// The node on which it runs.
    pub node: NodeName,
    /// The name under which the pilot reports.
    pub pilot_id: String,
    /// What it is or how it ended: `sent`, `starting`, `running`, `holding`, `finished`, `failed`,
    /// `cancelled`.
    pub status: JobStatus,
    /// When it was given to the pilot.
    pub sent: Timestamp,
    /// When the payload was first reported as running.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Exit code of the payload.
    pub payload_exit_code: Option<i64>,
    /// The pilot's error.
    pub pilot_error: Option<ReportedError>,
    /// The payload's own error.
    pub payload_error: Option<ReportedError>,
    /// The server's error: lost heartbeat, worker gone and so on.
    pub server_error: Option<ReportedError>,
    /// The entry of the error catalogue that explains the failure, empty if none does.
    pub diagnosis: String,
    /// CPU seconds, if reported.
    pub cpu_secs: Option<u64>,
    /// Largest resident memory, if reported.
    pub rss_max: Option<ByteCount>,
    /// Whole seconds of the phases as PanDA writes them, empty if not reported.
    pub timing: String,
    /// Where the log archive lies, empty if nowhere.
    pub log_surl: String,
    /// Extract of the pilot's log, at most 1024 characters.
    pub pilot_log: String,
    /// What else the pilot said: a JSON object by the names of PanDA's columns, empty if nothing.
    pub report: String,
}

/// One file of a dataset that exists: its storage, size and checksum are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Its number.
    pub id: FileId,
    /// The dataset that it belongs to.
    pub dataset: DatasetName,
    /// Which part of the dataset it is, from 0.
    pub part: u32,
    /// Logical name.
    pub lfn: Lfn,
    /// Its scope.
    pub scope: Scope,
    /// Its globally unique id, if known.
    pub guid: Option<Guid>,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksum, if known.
    pub checksum: Option<Checksum>,
    /// Its full URL, empty if only the endpoint is known.
    pub surl: String,
    /// The endpoint that holds it.
    pub endpoint: EndpointName,
    /// Further endpoints that hold it, as far as a catalogue told when the file was listed.
    pub replicas: Vec<EndpointName>,
    /// The job that wrote it, none if it was listed.
    pub producer: Option<PandaId>,
    /// How many events it has, if known.
    pub n_events: Option<u64>,
}

/// One part of a dataset that a job reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputNeed {
    /// The job.
    pub panda_id: PandaId,
    /// Which input of the task, from 0.
    pub input: u32,
    /// The dataset.
    pub dataset: DatasetName,
    /// The part of the dataset.
    pub part: u32,
    /// [`FileStatus::Expected`] while it is waited for, [`FileStatus::Ready`] when it is there,
    /// [`FileStatus::Failed`] when it cannot come any more.
    pub status: FileStatus,
}

/// How many jobs of a queue are in which status.
pub type JobCounts = BTreeMap<JobStatus, u64>;

/// Keeps the rows of one server.
///
/// All lists come in a fixed order, which each method names, so that the same rows always give
/// the same decisions.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait Ledger:
    ArchiveRows
    + BrokerageRows
    + WatchRows
    + CacheFileRows
    + CommandRows
    + CursorRows
    + EventRows
    + HarvesterRows
    + HistoryRows
    + JobTextRows
    + NodeRows
    + PandaTaskRows
    + SecretRows
    + TaskWorkRows
    + WorkerPilotRows
    + WorkerStatisticsRows
    + WorkflowRows
{
    /// Takes a new task number, larger than all before.
    fn new_task_id(&mut self) -> Result<TaskId, LedgerError>;
    /// Takes a new job number, larger than all before.
    fn new_panda_id(&mut self) -> Result<PandaId, LedgerError>;
    /// Takes a new file number, larger than all before.
    fn new_file_id(&mut self) -> Result<FileId, LedgerError>;

    /// Reads a task.
    fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, LedgerError>;
    /// Writes a task, new or changed.
    fn put_task(&mut self, task: &TaskRecord) -> Result<(), LedgerError>;
    /// Finds the user's task of this name that has not ended.
    fn live_task_named(&self, user: &str, name: &str) -> Result<Option<TaskId>, LedgerError>;
    /// Lists tasks of one of these statuses, by rising number.
    fn tasks_in(&self, statuses: &[TaskStatus]) -> Result<Vec<TaskId>, LedgerError>;
    /// Lists the tasks that read a dataset and have not ended, by rising number.
    fn live_readers_of(&self, dataset: &DatasetName) -> Result<Vec<TaskId>, LedgerError>;

    /// Reads a dataset.
    fn dataset(&self, name: &DatasetName) -> Result<Option<DatasetRecord>, LedgerError>;
    /// Writes a dataset, new or changed.
    fn put_dataset(&mut self, dataset: &DatasetRecord) -> Result<(), LedgerError>;
    /// Registers a file. The pair of dataset and part is unique among files.
    fn insert_file(&mut self, file: &FileRecord) -> Result<(), LedgerError>;
    /// Reads the file that is this part of a dataset.
    fn file_of_part(
        &self,
        dataset: &DatasetName,
        part: u32,
    ) -> Result<Option<FileRecord>, LedgerError>;

    /// Writes a new job with the inputs it needs.
    fn insert_job(&mut self, job: &JobRecord, needs: &[InputNeed]) -> Result<(), LedgerError>;
    /// Reads a job.
    fn job(&self, id: PandaId) -> Result<Option<JobRecord>, LedgerError>;
    /// Writes a changed job.
    fn put_job(&mut self, job: &JobRecord) -> Result<(), LedgerError>;
    /// Lists the jobs of a task that are in one of these statuses, by rising number.
    fn jobs_of_task(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Counts the jobs of a task by status. Asked at each job's end, so it must not take longer
    /// the more jobs there are.
    fn task_counts(&self, task: TaskId) -> Result<JobCounts, LedgerError>;
    /// Counts the jobs that have not ended by queue and status.
    fn queue_counts(&self) -> Result<BTreeMap<QueueName, JobCounts>, LedgerError>;
    /// Lists activated jobs that fit, in the order that is asked for, `limit` at most.
    fn claimable(
        &self,
        filter: &ClaimFilter<'_>,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Lists activated jobs that wait at a queue and have a larger number than `after`, with their
    /// labels, by rising number, `limit` at most.
    fn activated_at(
        &self,
        queue: &QueueName,
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<(PandaId, SourceLabel)>, LedgerError>;
    /// Lists jobs of one of these statuses that have not changed since `before`, longest first,
    /// then by rising number, `limit` at most.
    fn unheard_since(
        &self,
        statuses: &[JobStatus],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Lists the jobs that a worker has and that have not ended, by rising number.
    fn jobs_of_worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Vec<PandaId>, LedgerError>;

    /// Is told which jobs an operation will read, and what they read, so that a ledger far away
    /// can read all of it at once. Changes nothing.
    fn expect_jobs(&self, _ids: &[PandaId]) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Lists what a job reads, by input, then part.
    fn needs_of(&self, job: PandaId) -> Result<Vec<InputNeed>, LedgerError>;
    /// Says whether a job waits for an input, that is, has a need that is
    /// [`FileStatus::Expected`]. Asked at each registered file, so an adapter should answer
    /// without reading all needs.
    fn has_expected_needs(&self, job: PandaId) -> Result<bool, LedgerError> {
        let needs = self.needs_of(job)?;
        Ok(needs.iter().any(|need| need.status == FileStatus::Expected))
    }
    /// Lists the jobs with an [`FileStatus::Expected`] need of this part of a dataset, whatever
    /// their own status, by rising number.
    fn waiting_for(&self, dataset: &DatasetName, part: u32) -> Result<Vec<PandaId>, LedgerError>;
    /// Sets the status of every need of this part of a dataset.
    fn settle_needs(
        &mut self,
        dataset: &DatasetName,
        part: u32,
        status: FileStatus,
    ) -> Result<(), LedgerError>;

    /// Reads an attempt.
    fn attempt(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
    ) -> Result<Option<AttemptRecord>, LedgerError>;
    /// Writes an attempt, new or changed.
    fn put_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), LedgerError>;

    /// Reads a worker.
    fn worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<Worker>, LedgerError>;
    /// Writes a worker, new or changed.
    fn put_worker(&mut self, worker: &Worker, now: Timestamp) -> Result<(), LedgerError>;
}
