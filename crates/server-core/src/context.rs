//! What every operation is told besides the rows: the time, the queues, the knowledge, the limits.

use std::{collections::BTreeMap, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{Queue, QueueName, Timestamp};

use crate::{Scheduling, tasks::TaskLimits, watch::rules::WatchRules, workflows::WorkflowLimits};

/// What an operation is told besides the rows.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of the call.
    pub now: Timestamp,
    /// Every queue by name.
    pub queues: &'a BTreeMap<QueueName, Queue>,
    /// What is known about errors.
    pub catalogue: &'a Catalogue,
    /// Limits and time-outs.
    pub limits: &'a Limits,
    /// Where jobs go and in which order.
    pub scheduling: &'a Scheduling,
}

impl<'a> Context<'a> {
    /// Finds a queue by its name, else by the name under which pilots ask for its jobs.
    pub(crate) fn queue(&self, name: &QueueName) -> Option<&'a Queue> {
        self.queues
            .get(name)
            .or_else(|| self.queues.values().find(|queue| queue.resource == *name))
    }
}

/// Limits and time-outs of the server. The defaults are PanDA's where PanDA has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long a job that a pilot has may be silent. Default 2 h.
    pub heartbeat_timeout: Duration,
    /// How long a pilot may take from getting a job to its first update. Default 30 min.
    pub sent_timeout: Duration,
    /// How long a pilot may hold a final report back. Default 3 h.
    pub holding_timeout: Duration,
    /// How long outputs may be on their way. Default 2 h.
    pub transferring_timeout: Duration,
    /// How long a job may wait at one queue before it is brokered anew. Default 2 d.
    pub activated_timeout: Duration,
    /// How long a pilot may hold a final report of an ordinary production job back. Default 2 d.
    pub production_holding_timeout: Duration,
    /// How long a user's job may wait at one queue where nothing of its task runs before it is
    /// brokered anew. Default 12 h.
    pub user_activated_timeout: Duration,
    /// How long a production job of priority 800 or more may wait at a queue that starts nothing.
    /// Default 4 h.
    pub urgent_activated_timeout: Duration,
    /// After how long without a start a queue counts as one that starts nothing. Default 2 h.
    pub queue_inactive_timeout: Duration,
    /// How long a job without a task may wait for a pilot before it is closed. Default 7 d.
    pub waiting_timeout: Duration,
    /// How long a job may be starting, however often its pilot reports. Default 2 d.
    pub starting_timeout: Duration,
    /// How long a job may be running, however often its pilot reports. Default 21 d.
    pub running_timeout: Duration,
    /// What watchdogs do beyond one time-out for all.
    pub watch: WatchRules,
    /// How long a worker that has ended keeps that status, whatever is reported. Default 3 h.
    pub worker_final_sticky: Duration,
    /// Tasks of one submission. Default 1000.
    pub tasks_per_submission_max: u32,
    /// Jobs of one submission without a task; more are passed over. Default 5000.
    pub jobs_per_submission_max: u32,
    /// Jobs of one task. Default 100 000.
    pub jobs_per_task_max: u32,
    /// Files of one listed dataset. Default 100 000.
    pub files_per_dataset_max: u32,
    /// Inputs, and outputs, that a task may name. Default 50.
    pub files_per_task_max: u32,
    /// Attempts that a task may ask for. Default 10.
    pub attempts_max: u32,
    /// Cores that a job may ask for. Default 1024.
    pub cores_max: u32,
    /// Length of a task's parameters in bytes. Default 64 KiB.
    pub parameters_bytes_max: u32,
    /// Ranges of events of one job; there are larger ones where there would be more. Default
    /// 100 000.
    pub event_ranges_per_job_max: u32,
    /// Those of PanDA's tasks.
    pub tasks: TaskLimits,
    /// Those of workflows.
    pub workflows: WorkflowLimits,
    /// Jobs that one request gets at most. Default 500.
    pub jobs_per_request_max: u32,
    /// Jobs that one call of [`crate::watch()`] handles for each of its conditions. Default 500.
    pub watch_batch: u32,
    /// Jobs that one call of [`crate::broker()`] handles. Default 1000.
    pub broker_batch: u32,
    /// How long a file that a user sent stays without being of use. Default 7 d.
    pub cache_keep: Duration,
    /// How long a file that a user sent is offered instead of the same one again. Default 3 d.
    pub cache_reuse: Duration,
}

impl Default for Limits {
    /// Source: PanDA server, `pandaserver/jobdispatcher/Watcher.py` and
    /// `pandaserver/daemons/scripts/copyArchive.py`; Harvester's `maxJobs`.
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            heartbeat_timeout: Duration::from_secs(2 * HOUR),
            sent_timeout: Duration::from_secs(30 * MINUTE),
            holding_timeout: Duration::from_secs(3 * HOUR),
            transferring_timeout: Duration::from_secs(2 * HOUR),
            activated_timeout: Duration::from_secs(48 * HOUR),
            production_holding_timeout: Duration::from_secs(48 * HOUR),
            user_activated_timeout: Duration::from_secs(12 * HOUR),
            urgent_activated_timeout: Duration::from_secs(4 * HOUR),
            queue_inactive_timeout: Duration::from_secs(2 * HOUR),
            waiting_timeout: Duration::from_secs(7 * 24 * HOUR),
            starting_timeout: Duration::from_secs(48 * HOUR),
            running_timeout: Duration::from_secs(21 * 24 * HOUR),
            watch: WatchRules::default(),
            worker_final_sticky: Duration::from_secs(3 * HOUR),
            tasks_per_submission_max: 1000,
            jobs_per_submission_max: 5000,
            jobs_per_task_max: 100_000,
            files_per_dataset_max: 100_000,
            files_per_task_max: 50,
            attempts_max: 10,
            cores_max: 1024,
            parameters_bytes_max: 64 * 1024,
            event_ranges_per_job_max: 100_000,
            tasks: TaskLimits::default(),
            workflows: WorkflowLimits::default(),
            jobs_per_request_max: 500,
            watch_batch: 500,
            broker_batch: 1000,
            cache_keep: Duration::from_secs(7 * 24 * HOUR),
            cache_reuse: Duration::from_secs(3 * 24 * HOUR),
        }
    }
}
