//! The server's [`Ledger`] in a database.
//!
//! Each table has a module with its statements; this file puts them behind the trait and says in
//! each error what was being done. Transactions are the business of [`crate::Writer`]: outside of
//! one, every statement is its own.
//!
//! To add a table: write `migrations/NNNN-<topic>.sql` with the next free number in neutral DDL
//! (`INTEGER` of 64 bits, `REAL`, `TEXT`; tables end with `) STRICT;` or, with a primary key of
//! several columns, `) STRICT, WITHOUT ROWID;`, which `PostgreSQL` does not get to see), name it in
//! `SERVER` of `schema.rs`, and write `ledger/<topic>.rs` with `impl TopicRows for DatabaseLedger`,
//! whose methods run statements on `self.sql()`: see [`crate::sql`] for what they look like, and
//! `worker_rows.rs` for a short one. Bump nothing else: old files migrate when they are opened.

mod archive;
mod attempts;
mod brokerage;
mod cache_files;
mod claims;
mod commands;
mod cursors;
mod datasets;
mod events;
mod harvesters;
mod history;
mod job_texts;
mod jobs;
mod needs;
mod nodes;
mod panda_tasks;
pub(crate) mod pulse;
mod secrets;
mod task_work;
mod tasks;
mod watch;
mod worker_pilots;
mod worker_rows;
mod worker_statistics;
mod workflows;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use ailurus_model::{
    AttemptNr, DatasetName, FileId, FileStatus, HarvesterId, JobStatus, PandaId, QueueName,
    SourceLabel, TaskId, TaskSpec, TaskStatus, Timestamp, Worker, WorkerId,
};
use ailurus_server_core::ledger::{
    AttemptRecord, ClaimFilter, DatasetRecord, FileRecord, InputNeed, JobCounts, JobRecord, Ledger,
    LedgerError, PandaTaskRecord, TaskRecord,
};

use self::claims::Claims;
use crate::{
    database::Database,
    schema::OpenError,
    session::Session,
    sql::{Sql, SqlError},
};

pub(crate) use attempts::{ATTEMPT_COLUMNS, read_attempt};
pub(crate) use datasets::{FILE_COLUMNS, read_file};
pub(crate) use jobs::{JOB_COLUMNS, read_job};

/// Task specifications that are kept in memory; the oldest tasks are forgotten first.
const SPECS_KEPT: usize = 1024;

/// What an operation will read, so that it can be read for many operations at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Nothing that is known before.
    Nothing,
    /// These jobs and their current attempts.
    Jobs(Vec<PandaId>),
    /// These jobs, their current attempts and what they read: they may end.
    EndingJobs(Vec<PandaId>),
    /// Activated jobs of a queue.
    Claim,
}

/// The rows of one server in one database.
#[derive(Debug)]
pub struct DatabaseLedger {
    /// Where to connect to anew; none for readers, which are thrown away.
    database: Option<Database>,
    session: Session,
    /// The specification of a revision never changes, so they are read and decoded once.
    specs: RefCell<BTreeMap<TaskId, (u32, Arc<TaskSpec>)>>,
    /// So do revisions of PanDA's tasks.
    panda_tasks: RefCell<BTreeMap<(TaskId, u32), Arc<PandaTaskRecord>>>,
    /// Tasks that the operation under way has written.
    written_tasks: RefCell<Vec<TaskId>>,
    claims: Claims,
    readers: needs::Readers,
}

impl DatabaseLedger {
    /// Opens a database for reading and writing, and migrates it. A file is made if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be used, was written by a newer program, or holds something
    /// else.
    pub fn open(database: impl Into<Database>) -> Result<Self, OpenError> {
        let database = database.into();
        Ok(Self::over(database.connect()?, Some(database)))
    }

    /// Opens a database that is in use by a writer, for reading only: every write fails.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be read.
    pub fn open_read_only(database: impl Into<Database>) -> Result<Self, OpenError> {
        let database = database.into();
        Ok(Self::over(database.connect_read_only()?, None))
    }

    fn over(sql: Box<dyn Sql>, database: Option<Database>) -> Self {
        Self {
            database,
            session: Session::over(sql),
            specs: RefCell::default(),
            panda_tasks: RefCell::default(),
            written_tasks: RefCell::default(),
            claims: Claims::default(),
            readers: needs::Readers::default(),
        }
    }

    /// Says whether the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    /// Makes a connection that was lost anew.
    pub(crate) fn reconnect(&mut self) -> Result<(), OpenError> {
        self.give_up();
        if let Some(database) = &self.database {
            self.session.replace(database.connect()?);
        }
        Ok(())
    }

    /// The database, for statements as text. They see what the batch has changed.
    pub(crate) fn sql(&self) -> &dyn Sql {
        &self.session
    }

    /// The unit of work, for rows by key.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Begins a batch of operations, and reads what they say they will need.
    pub(crate) fn begin_batch(&self, hints: &[&Hint]) -> Result<(), SqlError> {
        self.readers.forget();
        self.session.begin_batch()?;
        let claims = hints.iter().filter(|hint| ***hint == Hint::Claim).count();
        self.claims.expect(claims);
        let mut jobs: Vec<PandaId> = Vec::new();
        let mut ending: Vec<PandaId> = Vec::new();
        for hint in hints {
            match hint {
                Hint::Jobs(ids) => jobs.extend(ids),
                Hint::EndingJobs(ids) => {
                    jobs.extend(ids);
                    ending.extend(ids);
                }
                Hint::Claim | Hint::Nothing => {}
            }
        }
        for ids in [&mut jobs, &mut ending] {
            ids.sort_unstable();
            ids.dedup();
        }
        jobs::prefetch(&self.session, &jobs)?;
        needs::prefetch(&self.session, &ending)
    }

    /// Does something as one operation in one transaction, and makes it durable. It is for those
    /// who are alone with the ledger; a [`crate::Writer`] lets many operations share a commit.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the database cannot keep it. Then nothing of it is kept.
    pub fn transact<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Result<T, LedgerError> {
        let kept = self.begin_batch(&[]).and_then(|()| {
            self.begin_operation();
            let done = work(self);
            self.session.keep_operation()?;
            self.session.commit()?;
            Ok(done)
        });
        if kept.is_err() {
            self.give_up();
        }
        kept.map_err(failed(|| "do several things as one".to_owned()))
    }

    /// Begins an operation of the batch.
    pub(crate) fn begin_operation(&self) {
        self.written_tasks.borrow_mut().clear();
        self.session.begin_operation();
    }

    /// Takes back what the operation under way has changed.
    pub(crate) fn take_back_operation(&self) -> Result<(), SqlError> {
        self.forget_written_tasks();
        self.readers.forget();
        self.session.take_back_operation()
    }

    /// Leaves a batch that failed, if there still is one.
    pub(crate) fn give_up(&self) {
        self.specs.borrow_mut().clear();
        self.panda_tasks.borrow_mut().clear();
        self.readers.forget();
        self.session.give_up();
    }

    fn forget_written_tasks(&self) {
        let mut specs = self.specs.borrow_mut();
        let mut panda_tasks = self.panda_tasks.borrow_mut();
        for id in self.written_tasks.take() {
            specs.remove(&id);
            panda_tasks.retain(|(of, _), _| *of != id);
        }
    }

    fn spec(&self, id: TaskId, revision: u32) -> Result<Arc<TaskSpec>, SqlError> {
        if let Some((of, spec)) = self.specs.borrow().get(&id)
            && *of == revision
        {
            return Ok(Arc::clone(spec));
        }
        let spec = Arc::new(tasks::read_spec(self.sql(), id)?);
        self.keep_spec(id, revision, &spec);
        Ok(spec)
    }

    /// Says whose a task is, which is the same in all revisions.
    /// Says whether a task is there and is as wanted.
    fn is_task(&self, id: TaskId, is_it: impl Fn(&TaskSpec) -> bool) -> Result<bool, SqlError> {
        if let Some((_, spec)) = self.specs.borrow().get(&id) {
            return Ok(is_it(spec));
        }
        Ok(self.read_task(id)?.is_some_and(|task| is_it(&task.spec)))
    }

    fn keep_spec(&self, id: TaskId, revision: u32, spec: &Arc<TaskSpec>) {
        let mut specs = self.specs.borrow_mut();
        specs.insert(id, (revision, Arc::clone(spec)));
        if specs.len() > SPECS_KEPT {
            specs.pop_first();
        }
    }

    fn read_task(&self, id: TaskId) -> Result<Option<TaskRecord>, SqlError> {
        match tasks::read(&self.session, id)? {
            Some(row) => {
                let spec = self.spec(id, row.revision)?;
                Ok(Some(row.with_spec(spec)))
            }
            None => Ok(None),
        }
    }

    fn number(&self, counter: &'static str) -> Result<u64, LedgerError> {
        tasks::next_number(&self.session, counter)
            .map_err(failed(|| format!("take a new {counter} number")))
    }
}

/// Says what was being done when a statement failed.
pub(crate) fn failed(action: impl FnOnce() -> String) -> impl FnOnce(SqlError) -> LedgerError {
    move |source| LedgerError {
        action: action(),
        source: Box::new(source),
    }
}

impl Ledger for DatabaseLedger {
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
        tasks::put(&self.session, task).map_err(failed(|| format!("write task {}", task.id)))?;
        self.written_tasks.borrow_mut().push(task.id);
        self.keep_spec(task.id, task.revision, &task.spec);
        Ok(())
    }

    fn live_task_named(&self, user: &str, name: &str) -> Result<Option<TaskId>, LedgerError> {
        tasks::live_named(self.sql(), user, name)
            .map_err(failed(|| format!("find task `{name}` of `{user}`")))
    }

    fn tasks_in(&self, statuses: &[TaskStatus]) -> Result<Vec<TaskId>, LedgerError> {
        tasks::in_statuses(self.sql(), statuses)
            .map_err(failed(|| "list tasks by status".to_owned()))
    }

    fn live_readers_of(&self, dataset: &DatasetName) -> Result<Vec<TaskId>, LedgerError> {
        tasks::live_readers_of(self.sql(), dataset)
            .map_err(failed(|| format!("list the readers of `{dataset}`")))
    }

    fn dataset(&self, name: &DatasetName) -> Result<Option<DatasetRecord>, LedgerError> {
        datasets::read(&self.session, name).map_err(failed(|| format!("read dataset `{name}`")))
    }

    fn put_dataset(&mut self, dataset: &DatasetRecord) -> Result<(), LedgerError> {
        datasets::put(&self.session, dataset)
            .map_err(failed(|| format!("write dataset `{}`", dataset.name)))
    }

    fn insert_file(&mut self, file: &FileRecord) -> Result<(), LedgerError> {
        datasets::insert_file(&self.session, file)
            .map_err(failed(|| format!("register file `{}`", file.lfn)))
    }

    fn file_of_part(
        &self,
        dataset: &DatasetName,
        part: u32,
    ) -> Result<Option<FileRecord>, LedgerError> {
        datasets::file_of_part(&self.session, dataset, part)
            .map_err(failed(|| format!("read part {part} of `{dataset}`")))
    }

    fn insert_job(&mut self, job: &JobRecord, needs: &[InputNeed]) -> Result<(), LedgerError> {
        jobs::insert(&self.session, job)
            .and_then(|()| needs::insert(&self.session, &self.readers, needs))
            .map_err(failed(|| format!("write the new job {}", job.panda_id)))
    }

    fn job(&self, id: PandaId) -> Result<Option<JobRecord>, LedgerError> {
        jobs::read(&self.session, id).map_err(failed(|| format!("read job {id}")))
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        jobs::put(&self.session, job).map_err(failed(|| format!("write job {}", job.panda_id)))
    }

    fn jobs_of_task(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::of_task(self.sql(), task, statuses)
            .map_err(failed(|| format!("list the jobs of task {task}")))
    }

    fn task_counts(&self, task: TaskId) -> Result<JobCounts, LedgerError> {
        jobs::task_counts(&self.session, task)
            .map_err(failed(|| format!("count the jobs of task {task}")))
    }

    fn queue_counts(&self) -> Result<BTreeMap<QueueName, JobCounts>, LedgerError> {
        jobs::queue_counts(self.sql()).map_err(failed(|| "count the jobs of all queues".to_owned()))
    }

    fn claimable(
        &self,
        filter: &ClaimFilter<'_>,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let of_task = |task: TaskId, label: &SourceLabel| {
            if !filter.depends_on_task() {
                return Ok(true);
            }
            self.is_task(task, |spec| filter.admits_task(label, spec))
        };
        claims::claimable(&self.session, &self.claims, filter, limit, of_task)
            .map_err(failed(|| format!("find jobs for queue `{}`", filter.queue)))
    }

    fn activated_at(
        &self,
        queue: &QueueName,
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<(PandaId, SourceLabel)>, LedgerError> {
        jobs::activated_at(self.sql(), queue, after, limit)
            .map_err(failed(|| format!("list the jobs that wait at `{queue}`")))
    }

    fn unheard_since(
        &self,
        statuses: &[JobStatus],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::unheard_since(&self.session, statuses, before, limit)
            .map_err(failed(|| format!("list jobs unheard of since {before}")))
    }

    fn jobs_of_worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Vec<PandaId>, LedgerError> {
        jobs::of_worker(self.sql(), harvester, worker).map_err(failed(|| {
            format!("list the jobs of worker {worker} of `{harvester}`")
        }))
    }

    fn expect_jobs(&self, ids: &[PandaId]) -> Result<(), LedgerError> {
        jobs::prefetch(&self.session, ids)
            .and_then(|()| needs::prefetch(&self.session, ids))
            .map_err(failed(|| format!("read {} jobs", ids.len())))
    }

    fn needs_of(&self, job: PandaId) -> Result<Vec<InputNeed>, LedgerError> {
        needs::of_job(&self.session, job).map_err(failed(|| format!("list what job {job} reads")))
    }

    fn has_expected_needs(&self, job: PandaId) -> Result<bool, LedgerError> {
        needs::has_expected(&self.session, job).map_err(failed(|| {
            format!("see whether job {job} waits for an input")
        }))
    }

    fn waiting_for(&self, dataset: &DatasetName, part: u32) -> Result<Vec<PandaId>, LedgerError> {
        needs::waiting_for(&self.session, &self.readers, dataset, part).map_err(failed(|| {
            format!("list who waits for part {part} of `{dataset}`")
        }))
    }

    fn settle_needs(
        &mut self,
        dataset: &DatasetName,
        part: u32,
        status: FileStatus,
    ) -> Result<(), LedgerError> {
        needs::settle(&self.session, &self.readers, dataset, part, status).map_err(failed(|| {
            format!("settle part {part} of `{dataset}` as {status}")
        }))
    }

    fn attempt(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
    ) -> Result<Option<AttemptRecord>, LedgerError> {
        attempts::read(&self.session, job, attempt_nr)
            .map_err(failed(|| format!("read attempt {attempt_nr} of job {job}")))
    }

    fn put_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), LedgerError> {
        attempts::put(&self.session, attempt).map_err(failed(|| {
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
        worker_rows::read(&self.session, harvester, worker)
            .map_err(failed(|| format!("read worker {worker} of `{harvester}`")))
    }

    fn put_worker(&mut self, worker: &Worker, now: Timestamp) -> Result<(), LedgerError> {
        worker_rows::put(&self.session, worker, now).map_err(failed(|| {
            format!(
                "write worker {} of `{}`",
                worker.worker_id, worker.harvester_id
            )
        }))
    }
}
