//! The server's [`Ledger`] in an `SQLite` file.
//!
//! Each table has a module with its statements; this file puts them behind the trait and says in
//! each error what was being done. Transactions are the business of [`crate::Writer`]: outside of
//! one, every statement is its own.

mod attempts;
mod datasets;
mod jobs;
mod needs;
mod tasks;
mod worker_rows;

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc};

use ailurus_model::{
    AttemptNr, DatasetName, FileId, FileStatus, HarvesterId, JobStatus, PandaId, QueueName,
    SourceLabel, TaskId, TaskSpec, TaskStatus, Timestamp, Worker, WorkerId,
};
use ailurus_server_core::ledger::{
    AttemptRecord, ClaimFilter, DatasetRecord, FileRecord, InputNeed, JobCounts, JobRecord, Ledger,
    LedgerError, TaskRecord,
};
use rusqlite::Connection;

use crate::schema::{self, OpenError};

pub(crate) use attempts::{ATTEMPT_COLUMNS, read_attempt};
pub(crate) use datasets::{FILE_COLUMNS, read_file};
pub(crate) use jobs::{JOB_COLUMNS, read_job};

/// Task specifications that are kept in memory; the oldest tasks are forgotten first.
const SPECS_KEPT: usize = 1024;

/// The rows of one server in one `SQLite` file.
#[derive(Debug)]
pub struct SqliteLedger {
    connection: Connection,
    /// Specifications never change, so they are read and decoded once.
    specs: RefCell<BTreeMap<TaskId, Arc<TaskSpec>>>,
}

impl SqliteLedger {
    /// Opens the file for reading and writing, makes it if it is not there, and migrates it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the file cannot be used, was written by a newer program, or holds
    /// something else.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        schema::open(path, schema::SERVER).map(Self::over)
    }

    /// Opens a file that is in use by a writer, for reading only: every write fails.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the file cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        schema::open_read_only(path).map(Self::over)
    }

    const fn over(connection: Connection) -> Self {
        Self {
            connection,
            specs: RefCell::new(BTreeMap::new()),
        }
    }

    /// The connection, for the statements of this crate.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs a statement that has neither parameters nor rows.
    pub(crate) fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Forgets what was cached, because rows may have been taken back.
    pub(crate) fn forget(&self) {
        self.specs.borrow_mut().clear();
    }

    /// Leaves a transaction that failed, if there still is one.
    pub(crate) fn give_up(&self) {
        self.forget();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be taken back");
        }
    }

    fn spec(&self, id: TaskId) -> rusqlite::Result<Arc<TaskSpec>> {
        if let Some(spec) = self.specs.borrow().get(&id) {
            return Ok(Arc::clone(spec));
        }
        let spec = Arc::new(tasks::read_spec(&self.connection, id)?);
        self.keep_spec(id, &spec);
        Ok(spec)
    }

    fn keep_spec(&self, id: TaskId, spec: &Arc<TaskSpec>) {
        let mut specs = self.specs.borrow_mut();
        specs.insert(id, Arc::clone(spec));
        if specs.len() > SPECS_KEPT {
            specs.pop_first();
        }
    }

    fn read_task(&self, id: TaskId) -> rusqlite::Result<Option<TaskRecord>> {
        match tasks::read(&self.connection, id)? {
            Some(row) => Ok(Some(row.with_spec(self.spec(id)?))),
            None => Ok(None),
        }
    }

    fn number(&self, counter: &'static str) -> Result<u64, LedgerError> {
        tasks::next_number(&self.connection, counter)
            .map_err(failed(|| format!("take a new {counter} number")))
    }
}

/// Says what was being done when a statement failed.
pub(crate) fn failed(
    action: impl FnOnce() -> String,
) -> impl FnOnce(rusqlite::Error) -> LedgerError {
    move |source| LedgerError {
        action: action(),
        source: Box::new(source),
    }
}

impl Ledger for SqliteLedger {
    fn new_task_id(&mut self) -> Result<TaskId, LedgerError> {
        self.number("task").map(TaskId::new)
    }

    fn new_panda_id(&mut self) -> Result<PandaId, LedgerError> {
        self.number("job").map(PandaId::new)
    }

    fn new_file_id(&mut self) -> Result<FileId, LedgerError> {
        self.number("file").map(FileId::new)
    }

    fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, LedgerError> {
        self.read_task(id)
            .map_err(failed(|| format!("read task {id}")))
    }

    fn put_task(&mut self, task: &TaskRecord) -> Result<(), LedgerError> {
        tasks::put(&self.connection, task).map_err(failed(|| format!("write task {}", task.id)))?;
        self.keep_spec(task.id, &task.spec);
        Ok(())
    }

    fn live_task_named(&self, user: &str, name: &str) -> Result<Option<TaskId>, LedgerError> {
        tasks::live_named(&self.connection, user, name)
            .map_err(failed(|| format!("find task `{name}` of `{user}`")))
    }

    fn tasks_in(&self, statuses: &[TaskStatus]) -> Result<Vec<TaskId>, LedgerError> {
        tasks::in_statuses(&self.connection, statuses)
            .map_err(failed(|| "list tasks by status".to_owned()))
    }

    fn live_readers_of(&self, dataset: &DatasetName) -> Result<Vec<TaskId>, LedgerError> {
        tasks::live_readers_of(&self.connection, dataset)
            .map_err(failed(|| format!("list the readers of `{dataset}`")))
    }

    fn dataset(&self, name: &DatasetName) -> Result<Option<DatasetRecord>, LedgerError> {
        datasets::read(&self.connection, name).map_err(failed(|| format!("read dataset `{name}`")))
    }

    fn put_dataset(&mut self, dataset: &DatasetRecord) -> Result<(), LedgerError> {
        datasets::put(&self.connection, dataset)
            .map_err(failed(|| format!("write dataset `{}`", dataset.name)))
    }

    fn insert_file(&mut self, file: &FileRecord) -> Result<(), LedgerError> {
        datasets::insert_file(&self.connection, file)
            .map_err(failed(|| format!("register file `{}`", file.lfn)))
    }

    fn file_of_part(
        &self,
        dataset: &DatasetName,
        part: u32,
    ) -> Result<Option<FileRecord>, LedgerError> {
        datasets::file_of_part(&self.connection, dataset, part)
            .map_err(failed(|| format!("read part {part} of `{dataset}`")))
    }

    fn insert_job(&mut self, job: &JobRecord, needs: &[InputNeed]) -> Result<(), LedgerError> {
        jobs::insert(&self.connection, job)
            .and_then(|()| needs::insert(&self.connection, needs))
            .map_err(failed(|| format!("write the new job {}", job.panda_id)))
    }

    fn job(&self, id: PandaId) -> Result<Option<JobRecord>, LedgerError> {
        jobs::read(&self.connection, id).map_err(failed(|| format!("read job {id}")))
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        jobs::put(&self.connection, job).map_err(failed(|| format!("write job {}", job.panda_id)))
    }

    fn jobs_of_task(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::of_task(&self.connection, task, statuses)
            .map_err(failed(|| format!("list the jobs of task {task}")))
    }

    fn task_counts(&self, task: TaskId) -> Result<JobCounts, LedgerError> {
        jobs::task_counts(&self.connection, task)
            .map_err(failed(|| format!("count the jobs of task {task}")))
    }

    fn queue_counts(&self) -> Result<BTreeMap<QueueName, JobCounts>, LedgerError> {
        jobs::queue_counts(&self.connection)
            .map_err(failed(|| "count the jobs of all queues".to_owned()))
    }

    fn claimable(
        &self,
        filter: &ClaimFilter<'_>,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let is_of_user = |task: TaskId| match filter.user {
            Some(user) => self.spec(task).map(|spec| spec.user == user),
            None => Ok(true),
        };
        jobs::claimable(&self.connection, filter, limit, is_of_user)
            .map_err(failed(|| format!("find jobs for queue `{}`", filter.queue)))
    }

    fn activated_at(
        &self,
        queue: &QueueName,
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<(PandaId, SourceLabel)>, LedgerError> {
        jobs::activated_at(&self.connection, queue, after, limit)
            .map_err(failed(|| format!("list the jobs that wait at `{queue}`")))
    }

    fn unheard_since(
        &self,
        statuses: &[JobStatus],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::unheard_since(&self.connection, statuses, before, limit)
            .map_err(failed(|| format!("list jobs unheard of since {before}")))
    }

    fn jobs_of_worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::of_worker(&self.connection, harvester, worker).map_err(failed(|| {
            format!("list the jobs of worker {worker} of `{harvester}`")
        }))
    }

    fn needs_of(&self, job: PandaId) -> Result<Vec<InputNeed>, LedgerError> {
        needs::of_job(&self.connection, job)
            .map_err(failed(|| format!("list what job {job} reads")))
    }

    fn has_expected_needs(&self, job: PandaId) -> Result<bool, LedgerError> {
        needs::has_expected(&self.connection, job).map_err(failed(|| {
            format!("see whether job {job} waits for an input")
        }))
    }

    fn waiting_for(&self, dataset: &DatasetName, part: u32) -> Result<Vec<PandaId>, LedgerError> {
        needs::waiting_for(&self.connection, dataset, part).map_err(failed(|| {
            format!("list who waits for part {part} of `{dataset}`")
        }))
    }

    fn settle_needs(
        &mut self,
        dataset: &DatasetName,
        part: u32,
        status: FileStatus,
    ) -> Result<(), LedgerError> {
        needs::settle(&self.connection, dataset, part, status).map_err(failed(|| {
            format!("settle part {part} of `{dataset}` as {status}")
        }))
    }

    fn attempt(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
    ) -> Result<Option<AttemptRecord>, LedgerError> {
        attempts::read(&self.connection, job, attempt_nr)
            .map_err(failed(|| format!("read attempt {attempt_nr} of job {job}")))
    }

    fn put_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), LedgerError> {
        attempts::put(&self.connection, attempt).map_err(failed(|| {
            format!(
                "write attempt {} of job {}",
                attempt.attempt_nr, attempt.panda_id
            )
        }))
    }

    fn worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<Worker>, LedgerError> {
        worker_rows::read(&self.connection, harvester, worker)
            .map_err(failed(|| format!("read worker {worker} of `{harvester}`")))
    }

    fn put_worker(&mut self, worker: &Worker, now: Timestamp) -> Result<(), LedgerError> {
        worker_rows::put(&self.connection, worker, now).map_err(failed(|| {
            format!(
                "write worker {} of `{}`",
                worker.worker_id, worker.harvester_id
            )
        }))
    }
}
