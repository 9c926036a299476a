//! A worker: one batch submission by a Harvester instance, in which a pilot runs.

use serde::{Deserialize, Serialize};

use crate::{
    BatchId, HarvesterId, NodeName, PandaId, QueueName, Timestamp, WorkerId, WorkerStatus,
    update::ReportedError,
};

/// One worker, as Harvester reports it to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// The Harvester instance.
    pub harvester_id: HarvesterId,
    /// Its number within that instance.
    pub worker_id: WorkerId,
    /// The batch system's id, empty until it answered.
    pub batch_id: BatchId,
    /// The queue that it serves.
    pub queue: QueueName,
    /// What it is.
    pub status: WorkerStatus,
    /// PanDA's resource class, `ANY` if it takes all.
    pub resource_type: String,
    /// Production or analysis, `ANY` if it takes both.
    pub job_type: String,
    /// Cores of its slot.
    pub core_count: u32,
    /// The worker node, empty until known.
    pub node: NodeName,
    /// When it was submitted.
    pub submit_time: Option<Timestamp>,
    /// When it began to run.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Exit code in the batch system's words, if it ended.
    pub exit_code: Option<i64>,
    /// What the batch system or the submission said, at most 500 characters.
    pub diag: String,
    /// Jobs that it had, where Harvester knows them.
    pub panda_ids: Vec<PandaId>,
    /// What else is known.
    #[serde(default)]
    pub detail: WorkerDetail,
}

/// What is known of a worker beside what decisions rest on. Texts are empty, and numbers none,
/// where they are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerDetail {
    /// What its end means for the jobs in it.
    pub sync: WorkerSync,
    /// The computing element to which it was submitted, at most 128 characters.
    pub computing_element: String,
    /// The host from which it was submitted.
    pub submission_host: String,
    /// The host of the Harvester instance.
    pub harvester_host: String,
    /// The batch system's own word for what it is, at most 80 characters.
    pub native_status: String,
    /// Why it failed: a code of Harvester's, and words for it.
    pub error: Option<ReportedError>,
    /// How many jobs it has.
    pub n_jobs: Option<u32>,
    /// Memory of its slot in MB.
    pub memory_mb: Option<u64>,
    /// Where its standard output can be read.
    pub stdout_url: String,
    /// Where its standard error can be read.
    pub stderr_url: String,
    /// Where the batch system's log can be read.
    pub batch_log_url: String,
    /// Where its description for the batch system can be read.
    pub jdl_url: String,
}

/// What the end of a worker means for the jobs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerSync {
    /// Nothing: what looks like its end may be none. Its jobs end by their own silence.
    #[default]
    Loose,
    /// That they have ended: whoever reports it is sure (`syncLevel` 1).
    EndsJobs,
}

impl WorkerDetail {
    /// Of a worker whose end is known for sure, and else nothing.
    #[must_use]
    pub fn of_sure_end() -> Self {
        Self {
            sync: WorkerSync::EndsJobs,
            ..Self::default()
        }
    }
}
