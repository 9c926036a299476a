//! What can happen outside the core.

use std::{collections::BTreeMap, fmt, time::Duration};

use ailurus_model::{
    AttemptNr, ByteCount, EndpointName, Job, JobUpdate, PandaId, Queue, StorageEndpoint,
    UpdateAnswer,
};
use serde::{Deserialize, Serialize};

use crate::{
    Problem,
    data::{CatalogueFile, StoredFile, TransfersSeen},
    monitoring::Sample,
    recovery::{PayloadExit, Symptom, journal::Journal},
    resource::NodeFacts,
};

/// Counts the jobs of one pilot. What carries an old ticket belongs to a job that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JobTicket(u32);

impl JobTicket {
    /// Returns the ticket after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for JobTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the journals that a pilot found.
pub type JournalId = u32;

/// Counts the tries to send updates of one job. An answer to an old number is ignored.
pub type UpdateNr = u32;

/// The queue and the storages, as the site's information system describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The queue.
    pub queue: Queue,
    /// Storage endpoints by name.
    pub storages: BTreeMap<EndpointName, StorageEndpoint>,
}

/// What dead pilots left.
#[derive(Debug, Clone, Default)]
pub struct FoundJournals {
    /// Jobs that can be continued.
    pub jobs: Vec<(JournalId, Journal)>,
    /// Final updates that no server has taken.
    pub updates: Vec<(JournalId, Box<JobUpdate>)>,
    /// How many were left where they are, because they cannot be understood or are not ours.
    pub n_left: u32,
}

/// Something that happened outside the core.
#[derive(Debug, Clone)]
pub enum Input {
    /// The shell is ready. Comes first, once.
    Started,
    /// What dead pilots left was looked for, and is locked for this pilot.
    JournalsFound(FoundJournals),
    /// Queue and storage data were looked for.
    SiteLoaded(Result<Box<Site>, Problem>),
    /// The node was measured.
    NodeMeasured(NodeFacts),
    /// The server answered a request with these jobs.
    JobsOffered(Offer),
    /// A request brought no answer that says anything of jobs.
    AcquireFailed(AcquireFailure),
    /// The worker's status was reported, or could not be.
    WorkerReported,
    /// The grid proxy was looked at: how long it lives still, if the pilot has one.
    ProxyLooked(Option<Duration>),
    /// Somebody sent the pilot this signal.
    StopRequested(i32),
    /// Something about a job.
    Job(JobTicket, JobInput),
}

/// The server's answer to a job request. Empty, it says that there is no job for this pilot.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Jobs for this pilot.
    pub jobs: Vec<Job>,
    /// Jobs whose definition cannot be understood.
    pub refused: Vec<RefusedJob>,
}

/// A job that the pilot has and cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedJob {
    /// The job's number.
    pub panda_id: PandaId,
    /// Its attempt, if that was readable.
    pub attempt_nr: Option<AttemptNr>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Something that happened about one job.
#[derive(Debug, Clone)]
pub enum JobInput {
    /// Its directory is made, or cannot be.
    WorkDirReady(Result<(), Problem>),
    /// The catalogue said where the inputs are, or did not answer.
    ReplicasFound(Result<Vec<CatalogueFile>, Problem>),
    /// Tries to move files have shown something.
    TransfersSeen(Box<TransfersSeen>),
    /// Its inputs are there and verified, or one is not.
    StageInEnded(Result<(), Problem>),
    /// Its script is there, or cannot be had.
    ScriptReady(Result<(), Problem>),
    /// The payload runs, or could not be started.
    PayloadStarted(Result<(), Problem>),
    /// The payload and all of its processes are gone.
    PayloadEnded(Box<PayloadEnd>),
    /// What the server asked to see.
    Looked(Box<DebugAnswer>),
    /// A sample was taken.
    Sampled(Box<Sample>),
    /// Each output is stored, or not, in the order of the plan.
    StageOutEnded(Vec<Result<StoredFile, Problem>>),
    /// The log archive is packed and stored, or not.
    LogSaved(Result<StoredFile, Problem>),
    /// The server answered an update, or did not.
    UpdateAnswered {
        /// Which try.
        nr: UpdateNr,
        /// The answer.
        result: Result<UpdateAnswer, UpdateFailure>,
    },
    /// What the job left on the node is removed.
    CleanedUp,
}

/// What a look at a payload showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DebugAnswer {
    /// What is shown to the server.
    pub text: String,
    /// Whether a core file was made that had been asked for.
    pub has_core_file: bool,
}

/// How a payload ended and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PayloadEnd {
    /// How it ended.
    pub exit: PayloadExit,
    /// CPU time of the payload and all of its children, if known.
    pub cpu: Option<Duration>,
    /// Known errors in its output, the most telling first. Looked for only after a failure.
    pub symptoms: Vec<Symptom>,
    /// The last line of standard error that says something, empty if there is none.
    pub last_words: String,
    /// What is free where it worked, if known: on a full disk a payload often cannot even write why
    /// it fails.
    pub free_space: Option<ByteCount>,
    /// The text of `jobReport.json`, if the payload wrote one.
    pub job_report: Option<String>,
    /// The text of `payload_error_report.json`, if the payload wrote one.
    pub error_report: Option<String>,
    /// What failed around it: its set-up, its container, or a hook that judged it.
    pub problem: Option<Problem>,
    /// Events that a hook counted.
    pub n_events: Option<u64>,
    /// Names of the files in the job's directory, if the plan asked for them.
    pub files: Vec<String>,
}

/// Why a request for jobs brought no offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcquireFailure {
    /// The server could not be asked, or its answer was no answer: the same may work later.
    NoAnswer(String),
    /// The server gives this pilot no jobs, because of who it is.
    NotAllowed(String),
}

/// Why an update got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateFailure {
    /// The server was not reached, was busy, or broke: the same may work later.
    Unreachable(String),
    /// The server understood and refused: the same will hardly work later.
    Refused(String),
}

impl fmt::Display for UpdateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) => write!(f, "the server was not reached: {text}"),
            Self::Refused(text) => write!(f, "the server refused: {text}"),
        }
    }
}
