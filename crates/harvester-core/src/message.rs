//! What goes into the core and what comes out of it: data only.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{
    BatchId, HarvesterId, Queue, QueueName, Timestamp, Worker, WorkerId, WorkerStatus,
};

use crate::{
    plan::{JobCounts, Limits, Standing},
    pressure::PauseRange,
    worker::{Observation, Revision},
};

/// Times and bounds of one Harvester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of this instance.
    pub harvester_id: HarvesterId,
    /// How long the batch system must have answered "not known" before that is believed.
    /// Batch systems list a new worker with a delay. Default 60 s.
    pub lost_after: Duration,
    /// Pauses of submission after a refusal. Default 10 s to 10 min.
    pub pause: PauseRange,
    /// A worker that ends sooner, and during whose life no job of its queue was seen with a
    /// pilot, had no work. Default 30 s.
    pub fast_end: Duration,
    /// How long the server's job counts are believed. Default 10 min.
    pub jobs_valid_for: Duration,
    /// After which time an unchanged worker is reported again. Default 30 min, as Harvester.
    pub report_refresh: Duration,
    /// After which time unchanged worker statistics are reported again. Default 5 min, as
    /// Harvester.
    pub statistics_interval: Duration,
    /// Workers in one report. Default 100, as Harvester.
    pub workers_per_report: usize,
}

impl Config {
    /// The defaults, for an instance of this name.
    #[must_use]
    pub const fn new(harvester_id: HarvesterId) -> Self {
        Self {
            harvester_id,
            lost_after: Duration::from_secs(60),
            pause: PauseRange {
                min: Duration::from_secs(10),
                max: Duration::from_secs(600),
            },
            fast_end: Duration::from_secs(30),
            jobs_valid_for: Duration::from_secs(600),
            report_refresh: Duration::from_secs(1800),
            statistics_interval: Duration::from_secs(300),
            workers_per_report: 100,
        }
    }
}

/// One queue that this Harvester serves, as its admin set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue.
    pub name: QueueName,
    /// Limits of the admin; the queue's data may tighten them.
    pub limits: Limits,
    /// Production or analysis, `ANY` for both.
    pub job_type: String,
    /// PanDA's resource class of its workers, `ANY` for all.
    pub resource_type: String,
}

/// What the batch system said to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionAnswer {
    /// It took the worker.
    Accepted(BatchId),
    /// It certainly did not take the worker.
    Refused {
        /// Why.
        reason: String,
    },
    /// It may have taken the worker.
    Unknown {
        /// What went wrong.
        reason: String,
    },
}

/// Something that happened outside the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// It is time to look at every queue.
    CycleDue,
    /// It is time to tell the server what is new.
    ReportDue,
    /// The data of a queue were read.
    QueueRead(Box<Queue>),
    /// The server counted the jobs. A queue that is not there has none.
    JobsCounted(BTreeMap<QueueName, JobCounts>),
    /// A worker's row is safe.
    Recorded(WorkerId),
    /// A worker's row could not be written.
    RecordFailed {
        /// The worker.
        worker_id: WorkerId,
        /// Why.
        reason: String,
    },
    /// The batch system answered to a submission, or did not.
    SubmissionAnswered {
        /// The worker.
        worker_id: WorkerId,
        /// The answer.
        answer: SubmissionAnswer,
    },
    /// The batch system answered to a query.
    Observed {
        /// The queue.
        queue: QueueName,
        /// When it was asked.
        asked: Timestamp,
        /// What it said about each worker, or why it could not be asked.
        answer: Result<BTreeMap<WorkerId, Observation>, String>,
    },
    /// The server took these versions of these workers.
    WorkersAcknowledged(Vec<(WorkerId, Revision)>),
    /// Nothing new is to be submitted; workers go on.
    Stop,
    /// Nothing new is to be submitted, and all workers are to end.
    CancelAll,
}

/// A worker as a batch system knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerKey {
    /// The worker, which is also in the batch job's name.
    pub worker_id: WorkerId,
    /// The batch system's id, empty if it never answered.
    pub batch_id: BatchId,
}

/// Workers of one queue by status, for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatistics {
    /// The queue.
    pub queue: QueueName,
    /// Production or analysis.
    pub job_type: String,
    /// PanDA's resource class.
    pub resource_type: String,
    /// Workers that have not ended, by status; statuses without workers are left out.
    pub workers: BTreeMap<WorkerStatus, u32>,
}

/// Something that is to be done now, in the given order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the row of a new worker durably, and answer [`Input::Recorded`] or
    /// [`Input::RecordFailed`].
    Record(Worker),
    /// Ask the batch system to take a worker, and answer [`Input::SubmissionAnswered`].
    Submit(Worker),
    /// Write the changed row of a worker.
    Save(Worker),
    /// The server has heard of the worker's end: its row is history.
    Retire(WorkerId),
    /// Ask about all of these at once, and answer [`Input::Observed`].
    Query {
        /// The queue.
        queue: QueueName,
        /// Its workers that have not ended.
        workers: Vec<WorkerKey>,
    },
    /// Tell the batch system to end these. It is repeated in each cycle until they have.
    Cancel {
        /// The queue.
        queue: QueueName,
        /// The workers.
        workers: Vec<WorkerKey>,
    },
    /// Tell the server about these, and answer [`Input::WorkersAcknowledged`] if it took them.
    ReportWorkers(Vec<(Revision, Worker)>),
    /// Tell the server how many workers a queue has.
    ReportStatistics(QueueStatistics),
    /// Show operators why a queue gets as many workers as it gets. It comes on change only.
    Show {
        /// The queue.
        queue: QueueName,
        /// Its standing.
        standing: Standing,
    },
}
