//! A worker: one batch submission by a Harvester instance, in which a pilot runs.

use serde::{Deserialize, Serialize};

use crate::{
    BatchId, HarvesterId, NodeName, PandaId, QueueName, Timestamp, WorkerId, WorkerStatus,
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
}
