//! Lists for people, read beside the writer: each reader sees the last committed state.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use ailurus_model::{
    DatasetName, HarvesterId, JobStatus, PandaId, QueueName, TaskId, WorkerId, WorkerStatus,
};
use ailurus_server_core::ledger::{
    AttemptRecord, FileRecord, HistoryRow, HistoryRows, JobCounts, JobRecord, Ledger, LedgerError,
    TaskRecord,
};

use crate::{
    database::Database,
    ledger::pulse,
    ledger::{ATTEMPT_COLUMNS, FILE_COLUMNS, JOB_COLUMNS, read_attempt, read_file, read_job},
    ledger::{DatabaseLedger, failed},
    schema::OpenError,
    sql::{SqlError, ToValue, only, params},
};

/// Connections that are kept open for the next question, unless told otherwise.
const CONNECTIONS_KEPT: usize = 8;
/// Changes of one job's status that are shown at most.
const CHANGES_SHOWN: usize = 1000;

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

/// Connections for reading, each used by one thread at a time. There are as many as threads ask at
/// the same time: who lets them ask bounds that.
#[derive(Debug)]
pub struct Readers {
    database: Database,
    /// Connections that are kept open at most.
    kept: usize,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// Reads from a database that a [`DatabaseLedger`] has opened before.
    #[must_use]
    pub fn new(database: impl Into<Database>) -> Self {
        Self {
            database: database.into(),
            kept: CONNECTIONS_KEPT,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Keeps so many connections open for the next question.
    #[must_use]
    pub const fn keeping(mut self, connections: usize) -> Self {
        self.kept = connections;
        self
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
        self.with_reader(|reader| question(reader))
    }

    /// As [`Readers::read`], for operations of `server-core` that only look. Every write of theirs
    /// fails.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the rows are out of reach, or something is written.
    pub fn look<T>(
        &self,
        operation: impl FnOnce(&mut DatabaseLedger) -> Result<T, LedgerError>,
    ) -> Result<T, ReadError> {
        self.with_reader(|reader| operation(&mut reader.ledger))
    }

    fn with_reader<T>(
        &self,
        question: impl FnOnce(&mut Reader) -> Result<T, LedgerError>,
    ) -> Result<T, ReadError> {
        let kept = self.lock().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => Reader {
                ledger: DatabaseLedger::open_read_only(self.database.clone())?,
            },
        };
        let answer = question(&mut reader);
        let mut idle = self.lock();
        // One that was lost is of no use, and neither are those that lost it at the same time.
        if reader.ledger.is_lost() {
            idle.clear();
        } else if idle.len() < self.kept {
            idle.push(reader);
        }
        Ok(answer?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        // The list is whole whatever happened to a thread that held it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Readers {
    /// Closes the connections on a thread of their own, because closing one blocks, which the
    /// threads of an async runtime must not.
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.lock());
        let closing = std::thread::spawn(move || drop(idle));
        // What fails here was of no use any more.
        drop(closing.join());
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
    /// The changes of its status, oldest first; empty in lists.
    pub history: Vec<HistoryRow>,
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
    ledger: DatabaseLedger,
}

#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
impl Reader {
    /// The rows as the operations of `server-core` see them. Every write fails.
    #[must_use]
    pub const fn ledger(&self) -> &DatabaseLedger {
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

    fn task_ids(&self, chain: Option<&str>, limit: usize) -> Result<Vec<TaskId>, SqlError> {
        let sql = self.ledger.sql();
        let mut ids: Vec<TaskId> = match chain {
            Some(chain) => sql.rows(
                "SELECT id FROM task WHERE chain = ?1 AND chain <> '' ORDER BY id DESC LIMIT ?2",
                params![chain, limit],
                only,
            )?,
            None => sql.rows(
                "SELECT id FROM task ORDER BY id DESC LIMIT ?1",
                params![limit],
                only,
            )?,
        };
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
            .sql()
            .one(
                "SELECT (SELECT count(*) FROM attempt
                     WHERE task_id = ?1 AND status IN ('failed', 'cancelled', 'closed'))
                 + (SELECT count(*) FROM archived_attempt
                     WHERE task_id = ?1 AND status IN ('failed', 'cancelled', 'closed'))",
                params![task],
                only,
            )
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

    fn job_records(&self, filter: JobFilter, limit: usize) -> Result<Vec<JobRecord>, SqlError> {
        // One text for each set of conditions, so that each uses its own index.
        let (conditions, mut values) = match (&filter.task, &filter.status) {
            (Some(task), Some(status)) => (
                "task_id = ?2 AND status = ?3",
                vec![task.to_value(), status.to_value()],
            ),
            (Some(task), None) => ("task_id = ?2", vec![task.to_value()]),
            (None, Some(status)) => ("status = ?2", vec![status.to_value()]),
            (None, None) => ("panda_id > 0", Vec::new()),
        };
        values.insert(0, limit.to_value());
        let arm = |jobs, attempts| {
            let past = match filter.past {
                JobPast::Any => String::new(),
                // The condition of the index of unsuccessful attempts, so that it can be used.
                JobPast::FailedAttempt => format!(
                    "AND panda_id IN (SELECT panda_id FROM {attempts}
                     WHERE status IN ('failed', 'cancelled', 'closed') AND status = 'failed')"
                ),
            };
            format!("SELECT {JOB_COLUMNS} FROM {jobs} WHERE {conditions} {past}")
        };
        let (jobs, archived) = (
            arm("job", "attempt"),
            arm("archived_job", "archived_attempt"),
        );
        let text = format!("{jobs} UNION ALL {archived} ORDER BY panda_id DESC LIMIT ?1");
        let mut jobs = self.ledger.sql().rows(&text, &values, read_job)?;
        jobs.reverse();
        Ok(jobs)
    }

    /// Shows one job with all of its attempts.
    pub fn show_job(&self, id: PandaId) -> Result<Option<JobRow>, LedgerError> {
        match self.ledger.job(id)? {
            Some(job) => {
                let mut row = self.with_attempts(job)?;
                row.history = self.ledger.changes_of_job(id, CHANGES_SHOWN)?;
                Ok(Some(row))
            }
            None => Ok(None),
        }
    }

    fn with_attempts(&self, mut job: JobRecord) -> Result<JobRow, LedgerError> {
        let attempts = self.attempts(&mut job).map_err(failed(|| {
            format!("list the attempts of job {}", job.panda_id)
        }))?;
        let task = self.ledger.task(job.task_id)?;
        Ok(JobRow {
            task_name: task.map_or_else(String::new, |task| task.spec.name.clone()),
            job,
            attempts,
            history: Vec::new(),
        })
    }

    /// Reads the attempts of a job, and completes both with what was heard of it.
    fn attempts(&self, job: &mut JobRecord) -> Result<Vec<AttemptRecord>, SqlError> {
        let session = self.ledger.session();
        pulse::refresh_job(session, job)?;
        let mut attempts = self.ledger.sql().rows(
            &format!(
                "SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE panda_id = ?1
                 UNION ALL
                 SELECT {ATTEMPT_COLUMNS} FROM archived_attempt WHERE panda_id = ?1
                 ORDER BY attempt_nr"
            ),
            params![job.panda_id],
            read_attempt,
        )?;
        for attempt in &mut attempts {
            pulse::refresh_attempt(session, attempt)?;
        }
        Ok(attempts)
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

    fn read_worker_counts(&self) -> Result<BTreeMap<QueueName, WorkerCounts>, SqlError> {
        let rows = self.ledger.sql().rows(
            "SELECT queue, status, count(*) FROM worker
             WHERE status NOT IN ('finished', 'failed', 'cancelled', 'missed')
             GROUP BY queue, status",
            params![],
            |columns| Ok((columns.take()?, columns.take()?, columns.take()?)),
        )?;
        let mut counts: BTreeMap<QueueName, WorkerCounts> = BTreeMap::new();
        for (queue, status, n) in rows {
            counts.entry(queue).or_default().insert(status, n);
        }
        Ok(counts)
    }

    /// Returns the largest number of a Harvester's workers, zero if it has none.
    pub fn last_worker_id(&self, harvester: &HarvesterId) -> Result<WorkerId, LedgerError> {
        self.ledger
            .sql()
            .one(
                "SELECT coalesce(max(worker_id), 0) FROM worker WHERE harvester_id = ?1",
                params![harvester],
                only,
            )
            .map_err(failed(|| format!("find the last worker of `{harvester}`")))
    }

    /// Lists the files of a dataset that exist, by part, `limit` at most.
    pub fn dataset_files(
        &self,
        dataset: &DatasetName,
        limit: usize,
    ) -> Result<Vec<FileRecord>, LedgerError> {
        self.ledger
            .sql()
            .rows(
                &format!(
                    "SELECT {FILE_COLUMNS} FROM file WHERE dataset = ?1 ORDER BY part LIMIT ?2"
                ),
                params![dataset, limit],
                read_file,
            )
            .map_err(failed(|| format!("list the files of `{dataset}`")))
    }
}
