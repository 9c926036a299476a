//! Lists for people, read beside the writer: each reader sees the last committed state.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ailurus_model::{
    DatasetName, HarvesterId, JobStatus, PandaId, QueueName, TaskId, WorkerId, WorkerStatus,
};
use ailurus_server_core::ledger::{
    AttemptRecord, FileRecord, JobCounts, JobRecord, Ledger, LedgerError, TaskRecord,
};
use rusqlite::params;

use crate::{
    ledger::{ATTEMPT_COLUMNS, FILE_COLUMNS, JOB_COLUMNS, read_attempt, read_file, read_job},
    ledger::{SqliteLedger, failed},
    row::{Columns, int},
    schema::OpenError,
};

/// Connections that are kept open for the next question.
const CONNECTIONS_KEPT: usize = 8;

/// A question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database could not be opened for reading.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The rows could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Connections for reading, each used by one thread at a time.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// Reads from a file that a [`SqliteLedger`] has opened before.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Asks something, on a connection that was kept or is opened for it. It blocks while the
    /// database is read.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the rows are out of reach.
    pub fn read<T>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, LedgerError>,
    ) -> Result<T, ReadError> {
        let kept = self.lock().pop();
        let reader = match kept {
            Some(reader) => reader,
            None => Reader {
                ledger: SqliteLedger::open_read_only(&self.path)?,
            },
        };
        let answer = question(&reader);
        let mut idle = self.lock();
        if idle.len() < CONNECTIONS_KEPT {
            idle.push(reader);
        }
        Ok(answer?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        // The list is whole whatever happened to a thread that held it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task with what lists show of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// The task.
    pub task: TaskRecord,
    /// Its jobs by status.
    pub jobs: JobCounts,
    /// Attempts that ended without success, also where the job then finished.
    pub failed_attempts: u64,
}

/// A job with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// The job.
    pub job: JobRecord,
    /// The name of its task.
    pub task_name: String,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Jobs of this task, all if none.
    pub task: Option<TaskId>,
    /// Jobs in this status, all if none.
    pub status: Option<JobStatus>,
    /// Jobs with any past, or only those with failures in it.
    pub past: JobPast,
}

/// What must have happened to the jobs of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobPast {
    /// Anything.
    #[default]
    Any,
    /// At least one attempt failed, also where the job then finished.
    FailedAttempt,
}

/// Workers that have not ended, by status.
pub type WorkerCounts = BTreeMap<WorkerStatus, u64>;

/// One connection for reading.
#[derive(Debug)]
pub struct Reader {
    ledger: SqliteLedger,
}

#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
impl Reader {
    /// The rows as the operations of `server-core` see them. Every write fails.
    #[must_use]
    pub const fn ledger(&self) -> &SqliteLedger {
        &self.ledger
    }

    /// Lists tasks by rising number: those of a chain, or the `limit` newest of all.
    pub fn list_tasks(
        &self,
        chain: Option<&str>,
        limit: usize,
    ) -> Result<Vec<TaskRow>, LedgerError> {
        let ids = self
            .task_ids(chain, limit)
            .map_err(failed(|| "list the tasks".to_owned()))?;
        ids.into_iter()
            .filter_map(|id| self.show_task(id).transpose())
            .collect()
    }

    fn task_ids(&self, chain: Option<&str>, limit: usize) -> rusqlite::Result<Vec<TaskId>> {
        let sql = match chain {
            Some(_) => {
                "SELECT id FROM task WHERE chain = ?1 AND chain <> '' ORDER BY id DESC LIMIT ?2"
            }
            None => "SELECT id FROM task WHERE ?1 IS NULL ORDER BY id DESC LIMIT ?2",
        };
        let mut ids: Vec<TaskId> = self
            .ledger
            .connection()
            .prepare_cached(sql)?
            .query_map(params![chain, as_limit(limit)], |row| {
                Columns::of(row).u64().map(TaskId::new)
            })?
            .collect::<rusqlite::Result<_>>()?;
        ids.reverse();
        Ok(ids)
    }

    /// Shows one task.
    pub fn show_task(&self, id: TaskId) -> Result<Option<TaskRow>, LedgerError> {
        let Some(task) = self.ledger.task(id)? else {
            return Ok(None);
        };
        Ok(Some(TaskRow {
            task,
            jobs: self.ledger.task_counts(id)?,
            failed_attempts: self.failed_attempts(id)?,
        }))
    }

    /// Counts the attempts of a task's jobs that ended without success.
    pub fn failed_attempts(&self, task: TaskId) -> Result<u64, LedgerError> {
        self.ledger
            .connection()
            .prepare_cached(
                "SELECT count(*) FROM attempt
                 WHERE task_id = ? AND status IN ('failed', 'cancelled', 'closed')",
            )
            .and_then(|mut statement| {
                statement.query_row([int(task.value())], |row| Columns::of(row).u64())
            })
            .map_err(failed(|| {
                format!("count the failed attempts of task {task}")
            }))
    }

    /// Lists the `limit` newest jobs that fit, the newest last, with those of their attempts that
    /// failed.
    pub fn list_jobs(&self, filter: JobFilter, limit: usize) -> Result<Vec<JobRow>, LedgerError> {
        let jobs = self
            .job_records(filter, limit)
            .map_err(failed(|| "list the jobs".to_owned()))?;
        jobs.into_iter()
            .map(|job| {
                let mut row = self.with_attempts(job)?;
                row.attempts
                    .retain(|attempt| attempt.status == JobStatus::Failed);
                Ok(row)
            })
            .collect()
    }

    fn job_records(&self, filter: JobFilter, limit: usize) -> rusqlite::Result<Vec<JobRecord>> {
        // One text for each set of conditions, so that each uses its own index.
        let conditions = match (filter.task, filter.status) {
            (Some(_), Some(_)) => "task_id = ?1 AND status = ?2",
            (Some(_), None) => "task_id = ?1 AND ?2 IS NULL",
            (None, Some(_)) => "?1 IS NULL AND status = ?2",
            (None, None) => "?1 IS NULL AND ?2 IS NULL",
        };
        let past = match filter.past {
            JobPast::Any => "",
            // The condition of the index of unsuccessful attempts, so that it can be used.
            JobPast::FailedAttempt => {
                "AND panda_id IN (SELECT panda_id FROM attempt
                 WHERE status IN ('failed', 'cancelled', 'closed') AND status = 'failed')"
            }
        };
        let sql = format!(
            "SELECT {JOB_COLUMNS} FROM job WHERE {conditions} {past}
             ORDER BY panda_id DESC LIMIT ?3"
        );
        let mut jobs: Vec<JobRecord> = self
            .ledger
            .connection()
            .prepare_cached(&sql)?
            .query_map(
                params![
                    filter.task.map(|task| int(task.value())),
                    filter.status.map(JobStatus::as_str),
                    as_limit(limit),
                ],
                read_job,
            )?
            .collect::<rusqlite::Result<_>>()?;
        jobs.reverse();
        Ok(jobs)
    }

    /// Shows one job with all of its attempts.
    pub fn show_job(&self, id: PandaId) -> Result<Option<JobRow>, LedgerError> {
        match self.ledger.job(id)? {
            Some(job) => self.with_attempts(job).map(Some),
            None => Ok(None),
        }
    }

    fn with_attempts(&self, job: JobRecord) -> Result<JobRow, LedgerError> {
        let attempts = self.attempts(job.panda_id).map_err(failed(|| {
            format!("list the attempts of job {}", job.panda_id)
        }))?;
        let task = self.ledger.task(job.task_id)?;
        Ok(JobRow {
            task_name: task.map_or_else(String::new, |task| task.spec.name.clone()),
            job,
            attempts,
        })
    }

    fn attempts(&self, job: PandaId) -> rusqlite::Result<Vec<AttemptRecord>> {
        self.ledger
            .connection()
            .prepare_cached(&format!(
                "SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE panda_id = ? ORDER BY attempt_nr"
            ))?
            .query_map([int(job.value())], read_attempt)?
            .collect()
    }

    /// Counts the jobs that have not ended by queue and status.
    pub fn queue_counts(&self) -> Result<BTreeMap<QueueName, JobCounts>, LedgerError> {
        self.ledger.queue_counts()
    }

    /// Counts the workers that have not ended by queue and status.
    pub fn worker_counts(&self) -> Result<BTreeMap<QueueName, WorkerCounts>, LedgerError> {
        self.read_worker_counts()
            .map_err(failed(|| "count the workers of all queues".to_owned()))
    }

    fn read_worker_counts(&self) -> rusqlite::Result<BTreeMap<QueueName, WorkerCounts>> {
        let mut statement = self.ledger.connection().prepare_cached(
            "SELECT queue, status, count(*) FROM worker
             WHERE status NOT IN ('finished', 'failed', 'cancelled', 'missed')
             GROUP BY queue, status",
        )?;
        let mut rows = statement.query([])?;
        let mut counts: BTreeMap<QueueName, WorkerCounts> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let queue = columns.parsed()?;
            let status = columns.parsed()?;
            counts
                .entry(queue)
                .or_default()
                .insert(status, columns.u64()?);
        }
        Ok(counts)
    }

    /// Returns the largest number of a Harvester's workers, zero if it has none.
    pub fn last_worker_id(&self, harvester: &HarvesterId) -> Result<WorkerId, LedgerError> {
        self.ledger
            .connection()
            .prepare_cached("SELECT coalesce(max(worker_id), 0) FROM worker WHERE harvester_id = ?")
            .and_then(|mut statement| {
                statement.query_row([harvester.as_str()], |row| {
                    Columns::of(row).u64().map(WorkerId::new)
                })
            })
            .map_err(failed(|| format!("find the last worker of `{harvester}`")))
    }

    /// Lists the files of a dataset that exist, by part, `limit` at most.
    pub fn dataset_files(
        &self,
        dataset: &DatasetName,
        limit: usize,
    ) -> Result<Vec<FileRecord>, LedgerError> {
        self.file_records(dataset, limit)
            .map_err(failed(|| format!("list the files of `{dataset}`")))
    }

    fn file_records(
        &self,
        dataset: &DatasetName,
        limit: usize,
    ) -> rusqlite::Result<Vec<FileRecord>> {
        self.ledger
            .connection()
            .prepare_cached(&format!(
                "SELECT {FILE_COLUMNS} FROM file WHERE dataset = ? ORDER BY part LIMIT ?"
            ))?
            .query_map(params![dataset.as_str(), as_limit(limit)], read_file)?
            .collect()
    }
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
