//! How many jobs there are of each kind, for statistics. All rows are looked at, so callers keep
//! the answer for a while.

use ailurus_model::{JobStatus, QueueName, SourceLabel, TaskId, Timestamp};
use ailurus_server_core::ledger::LedgerError;

use crate::{
    Reader,
    ledger::failed,
    sql::{SqlError, params},
};

/// Which jobs to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those that have not ended.
    Active,
    /// Those that have not ended, and those that ended at this time or later.
    ActiveAndEndedSince(Timestamp),
}

/// So many jobs are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCount {
    /// Their queue; none while they have none.
    pub queue: Option<QueueName>,
    /// The global share that they count for, empty if none.
    pub global_share: String,
    /// Their class of cores and memory.
    pub resource_type: String,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
    /// What they are.
    pub status: JobStatus,
    /// How many.
    pub jobs: u64,
}

/// So many jobs of a task are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskJobCount {
    /// The task.
    pub task_id: TaskId,
    /// Their queue; none while they have none.
    pub queue: Option<QueueName>,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
    /// What they are.
    pub status: JobStatus,
    /// How many.
    pub jobs: u64,
}

/// Which jobs, as a condition on a time: the end of no job is later than any time.
macro_rules! counted {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", count(*) FROM job
             WHERE status NOT IN ('finished', 'failed', 'cancelled', 'closed')
                 OR state_changed >= ?1
             GROUP BY ",
            $columns,
            " ORDER BY ",
            $columns
        )
    };
}

impl Counted {
    const fn since(self) -> Timestamp {
        match self {
            Self::Active => Timestamp::from_millis(i64::MAX),
            Self::ActiveAndEndedSince(time) => time,
        }
    }
}

impl Reader {
    /// Counts jobs by queue, share, class, label and status, in this order.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the rows are out of reach.
    pub fn job_counts(&self, which: Counted) -> Result<Vec<JobCount>, LedgerError> {
        self.read_job_counts(which)
            .map_err(failed(|| "count the jobs of all queues".to_owned()))
    }

    fn read_job_counts(&self, which: Counted) -> Result<Vec<JobCount>, SqlError> {
        self.ledger().sql().rows(
            counted!("queue, global_share, resource_type, source_label, status"),
            params![which.since()],
            |columns| {
                Ok(JobCount {
                    queue: columns.take()?,
                    global_share: columns.take()?,
                    resource_type: columns.take()?,
                    source_label: columns.take()?,
                    status: columns.take()?,
                    jobs: columns.take()?,
                })
            },
        )
    }

    /// Counts jobs by task, queue, label and status, in this order.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the rows are out of reach.
    pub fn task_job_counts(&self, which: Counted) -> Result<Vec<TaskJobCount>, LedgerError> {
        self.read_task_job_counts(which)
            .map_err(failed(|| "count the jobs of all tasks".to_owned()))
    }

    fn read_task_job_counts(&self, which: Counted) -> Result<Vec<TaskJobCount>, SqlError> {
        self.ledger().sql().rows(
            counted!("task_id, queue, source_label, status"),
            params![which.since()],
            |columns| {
                Ok(TaskJobCount {
                    task_id: columns.take()?,
                    queue: columns.take()?,
                    source_label: columns.take()?,
                    status: columns.take()?,
                    jobs: columns.take()?,
                })
            },
        )
    }
}
