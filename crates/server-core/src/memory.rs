//! The ledger of tests and of the simulator: all rows in ordered maps.
//!
//! It has no transactions: after a failed operation it is to be thrown away, or a clone taken
//! before is to be used. Every operation of this crate checks before it writes, so a *refused*
//! operation leaves it as it was.

mod archive;
mod brokerage;
mod cache_files;
mod commands;
mod cursor;
mod events;
mod harvesters;
mod history;
mod job_texts;
mod nodes;
mod panda_tasks;
mod secrets;
mod task_work;
mod watch;
mod worker_pilots;
mod worker_statistics;
mod workflows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ailurus_model::{
    AttemptNr, DatasetName, FileId, FileStatus, HarvesterId, JobStatus, PandaId, QueueName,
    SourceLabel, TaskId, TaskStatus, Timestamp, Worker, WorkerId,
};

use crate::ledger::{
    AttemptRecord, CacheFileRecord, ClaimFilter, ClaimOrder, CommandRecord, Cursor, DatasetRecord,
    DialogRecord, FileRecord, GpuRecord, InputNeed, InstanceRecord, JobCounts, JobRecord, JobText,
    Ledger, LedgerError, NodeRecord, PandaTaskRecord, ServiceMetricsRecord, StatusChange,
    TargetSlotsRecord, TaskProgress, TaskRecord, WorkerPilotRecord, WorkerStatisticsRecord,
};

/// All rows of one server, in memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryLedger {
    last_task: TaskId,
    last_job: PandaId,
    last_file: FileId,
    tasks: BTreeMap<TaskId, TaskRecord>,
    datasets: BTreeMap<DatasetName, DatasetRecord>,
    files: BTreeMap<(DatasetName, u32), FileRecord>,
    jobs: BTreeMap<PandaId, JobRecord>,
    needs: BTreeMap<PandaId, Vec<InputNeed>>,
    attempts: BTreeMap<(PandaId, AttemptNr), AttemptRecord>,
    workers: BTreeMap<(HarvesterId, WorkerId), Worker>,
    /// Which of the jobs are in the archive.
    archived: BTreeSet<PandaId>,
    /// What was dropped from the archive, by task.
    dropped: BTreeMap<TaskId, archive::Dropped>,
    last_change: u64,
    /// By rising number, from 1.
    history: BTreeMap<u64, StatusChange>,
    brokerage: brokerage::BrokerageTables,
    cache_files: BTreeMap<String, CacheFileRecord>,
    last_command: u64,
    commands: BTreeMap<u64, CommandRecord>,
    instances: BTreeMap<HarvesterId, InstanceRecord>,
    dialogs: BTreeMap<(HarvesterId, u64), DialogRecord>,
    service_metrics: BTreeMap<(HarvesterId, Timestamp, String), ServiceMetricsRecord>,
    target_slots: BTreeMap<(QueueName, String, String), TargetSlotsRecord>,
    nodes: Vec<NodeRecord>,
    gpus: Vec<GpuRecord>,
    worker_pilots: BTreeMap<(HarvesterId, WorkerId), WorkerPilotRecord>,
    /// When each worker was written last.
    worker_reports: BTreeMap<(HarvesterId, WorkerId), Timestamp>,
    worker_statistics: BTreeMap<(QueueName, HarvesterId), WorkerStatisticsRecord>,
    cache_uses: BTreeSet<(String, TaskId)>,
    job_texts: BTreeMap<(PandaId, AttemptNr, JobText), String>,
    cursors: BTreeMap<String, Cursor>,
    events: events::EventTables,
    workflows: workflows::WorkflowTables,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
    panda_tasks: BTreeMap<(TaskId, u32), Arc<PandaTaskRecord>>,
    progress: BTreeMap<TaskId, TaskProgress>,
    containers: BTreeMap<DatasetName, BTreeSet<DatasetName>>,
    /// Index: jobs by status.
    by_status: BTreeMap<JobStatus, BTreeSet<PandaId>>,
    /// Index: jobs by task and status.
    by_task: BTreeMap<(TaskId, JobStatus), BTreeSet<PandaId>>,
    /// Index: which jobs need a part of a dataset.
    by_part: BTreeMap<(DatasetName, u32), BTreeSet<PandaId>>,
}

impl MemoryLedger {
    /// Makes a ledger without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists all tasks, by rising number.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values()
    }

    /// Lists all datasets, by name.
    pub fn datasets(&self) -> impl Iterator<Item = &DatasetRecord> {
        self.datasets.values()
    }

    /// Lists all files, by dataset, then part.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values()
    }

    /// Lists all jobs, by rising number.
    pub fn jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.jobs.values()
    }

    /// Lists all attempts, by job, then number.
    pub fn attempts(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.attempts.values()
    }

    /// Lists all workers, by Harvester instance, then number.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    fn index(&mut self, job: &JobRecord) {
        let JobRecord {
            panda_id,
            task_id,
            status,
            ..
        } = *job;
        self.by_status.entry(status).or_default().insert(panda_id);
        let of_task = self.by_task.entry((task_id, status)).or_default();
        of_task.insert(panda_id);
    }

    fn unindex(&mut self, job: PandaId, task: TaskId, status: JobStatus) {
        if let Some(ids) = self.by_status.get_mut(&status) {
            ids.remove(&job);
        }
        if let Some(ids) = self.by_task.get_mut(&(task, status)) {
            ids.remove(&job);
        }
    }

    /// Lists the jobs of one of these statuses, by rising number.
    fn jobs_in<'a>(&'a self, statuses: &'a [JobStatus]) -> impl Iterator<Item = &'a JobRecord> {
        let ids: BTreeSet<PandaId> = statuses
            .iter()
            .filter_map(|status| self.by_status.get(status))
            .flatten()
            .copied()
            .collect();
        ids.into_iter().filter_map(|id| self.jobs.get(&id))
    }

    fn fits(&self, job: &JobRecord, filter: &ClaimFilter<'_>) -> bool {
        let is_within = |need: u64, limit: u64| limit == 0 || need <= limit;
        job.queue.as_ref() == Some(filter.queue)
            && filter.admits(job)
            && is_within(job.memory.as_bytes(), filter.memory.as_bytes())
            && is_within(job.disk.as_bytes(), filter.disk.as_bytes())
            && filter
                .remaining_secs
                .is_none_or(|secs| job.walltime_secs <= secs)
            && filter
                .resource_type
                .is_none_or(|wanted| job.resource_type == wanted)
            && filter.task_id.is_none_or(|wanted| job.task_id == wanted)
            && (!filter.depends_on_task() || {
                let task = self.tasks.get(&job.task_id);
                task.is_some_and(|task| filter.admits_task(&job.source_label, &task.spec))
            })
    }
}

impl Ledger for MemoryLedger {
    fn new_task_id(&mut self) -> Result<TaskId, LedgerError> {
        self.last_task = self.last_task.next();
        Ok(self.last_task)
    }

    fn new_panda_id(&mut self) -> Result<PandaId, LedgerError> {
        self.last_job = self.last_job.next();
        Ok(self.last_job)
    }

    fn new_file_id(&mut self) -> Result<FileId, LedgerError> {
        self.last_file = self.last_file.next();
        Ok(self.last_file)
    }

    fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, LedgerError> {
        Ok(self.tasks.get(&id).cloned())
    }

    fn put_task(&mut self, task: &TaskRecord) -> Result<(), LedgerError> {
        self.tasks.insert(task.id, task.clone());
        Ok(())
    }

    fn live_task_named(&self, user: &str, name: &str) -> Result<Option<TaskId>, LedgerError> {
        let is_it = |task: &&TaskRecord| {
            task.spec.user == user && task.spec.name == name && !task.status.is_terminal()
        };
        Ok(self.tasks.values().find(is_it).map(|task| task.id))
    }

    fn tasks_in(&self, statuses: &[TaskStatus]) -> Result<Vec<TaskId>, LedgerError> {
        let tasks = self.tasks.values();
        Ok(tasks
            .filter(|task| statuses.contains(&task.status))
            .map(|task| task.id)
            .collect())
    }

    fn live_readers_of(&self, dataset: &DatasetName) -> Result<Vec<TaskId>, LedgerError> {
        let reads = |task: &&TaskRecord| {
            let mut inputs = task.spec.inputs.iter();
            !task.status.is_terminal() && inputs.any(|input| input.dataset == *dataset)
        };
        Ok(self
            .tasks
            .values()
            .filter(reads)
            .map(|task| task.id)
            .collect())
    }

    fn dataset(&self, name: &DatasetName) -> Result<Option<DatasetRecord>, LedgerError> {
        Ok(self.datasets.get(name).cloned())
    }

    fn put_dataset(&mut self, dataset: &DatasetRecord) -> Result<(), LedgerError> {
        self.datasets.insert(dataset.name.clone(), dataset.clone());
        Ok(())
    }

    fn insert_file(&mut self, file: &FileRecord) -> Result<(), LedgerError> {
        let key = (file.dataset.clone(), file.part);
        if let Some(there) = self.files.get(&key) {
            return Err(LedgerError::contradiction(format!(
                "part {} of dataset `{}` is `{}` already and cannot become `{}`",
                file.part, file.dataset, there.lfn, file.lfn
            )));
        }
        self.files.insert(key, file.clone());
        Ok(())
    }

    fn file_of_part(
        &self,
        dataset: &DatasetName,
        part: u32,
    ) -> Result<Option<FileRecord>, LedgerError> {
        Ok(self.files.get(&(dataset.clone(), part)).cloned())
    }

    fn insert_job(&mut self, job: &JobRecord, needs: &[InputNeed]) -> Result<(), LedgerError> {
        if self.jobs.contains_key(&job.panda_id) {
            return Err(LedgerError::contradiction(format!(
                "job {} is there already",
                job.panda_id
            )));
        }
        self.index(job);
        self.jobs.insert(job.panda_id, job.clone());
        for need in needs {
            let part = (need.dataset.clone(), need.part);
            self.by_part.entry(part).or_default().insert(need.panda_id);
        }
        let mut needs = needs.to_vec();
        needs.sort_by_key(|need| (need.input, need.part));
        self.needs.insert(job.panda_id, needs);
        Ok(())
    }

    fn job(&self, id: PandaId) -> Result<Option<JobRecord>, LedgerError> {
        Ok(self.jobs.get(&id).cloned())
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        let Some(old) = self.jobs.get(&job.panda_id) else {
            return Err(LedgerError::contradiction(format!(
                "job {} is to be changed, but is not there",
                job.panda_id
            )));
        };
        let (task, status) = (old.task_id, old.status);
        self.unindex(job.panda_id, task, status);
        self.index(job);
        self.archived.remove(&job.panda_id);
        self.jobs.insert(job.panda_id, job.clone());
        Ok(())
    }

    fn jobs_of_task(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
    ) -> Result<Vec<PandaId>, LedgerError> {
        let ids: BTreeSet<PandaId> = statuses
            .iter()
            .filter_map(|status| self.by_task.get(&(task, *status)))
            .flatten()
            .copied()
            .collect();
        Ok(ids.into_iter().collect())
    }

    fn task_counts(&self, task: TaskId) -> Result<JobCounts, LedgerError> {
        let dropped = self.dropped.get(&task);
        let count = |status: &JobStatus| {
            let kept = self.by_task.get(&(task, *status)).map_or(0, BTreeSet::len);
            let n = as_count(kept) + dropped.map_or(0, |dropped| dropped.count(*status));
            (n > 0).then_some((*status, n))
        };
        Ok(JobStatus::ALL.iter().filter_map(count).collect())
    }

    fn queue_counts(&self) -> Result<BTreeMap<QueueName, JobCounts>, LedgerError> {
        let live: Vec<JobStatus> = JobStatus::ALL
            .iter()
            .copied()
            .filter(|status| !status.is_terminal())
            .collect();
        let mut counts: BTreeMap<QueueName, JobCounts> = BTreeMap::new();
        for job in self.jobs_in(&live) {
            if let Some(queue) = &job.queue {
                let of_queue = counts.entry(queue.clone()).or_default();
                *of_queue.entry(job.status).or_default() += 1;
            }
        }
        Ok(counts)
    }

    fn claimable(
        &self,
        filter: &ClaimFilter<'_>,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let mut fitting: Vec<&JobRecord> = self
            .jobs_in(&[JobStatus::Activated])
            .filter(|job| self.fits(job, filter))
            .collect();
        match filter.order {
            ClaimOrder::ByNeed { share } => {
                fitting.retain(|job| job.global_share == share);
                fitting
                    .sort_by_key(|job| (std::cmp::Reverse(job.priority), job.turn, job.panda_id));
            }
            ClaimOrder::Oldest => fitting.sort_by_key(|job| job.panda_id),
        }
        Ok(first_ids(&fitting, limit))
    }

    fn activated_at(
        &self,
        queue: &QueueName,
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<(PandaId, SourceLabel)>, LedgerError> {
        Ok(self
            .jobs_in(&[JobStatus::Activated])
            .filter(|job| job.queue.as_ref() == Some(queue) && job.panda_id > after)
            .map(|job| (job.panda_id, job.source_label.clone()))
            .take(limit)
            .collect())
    }

    fn unheard_since(
        &self,
        statuses: &[JobStatus],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let mut silent: Vec<&JobRecord> = self
            .jobs_in(statuses)
            .filter(|job| job.modified < before)
            .collect();
        silent.sort_by_key(|job| (job.modified, job.panda_id));
        Ok(first_ids(&silent, limit))
    }

    fn jobs_of_worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let has_it = |job: &&JobRecord| {
            let of = job.worker.as_ref();
            of.is_some_and(|(of_harvester, id)| of_harvester == harvester && *id == worker)
        };
        let live: Vec<JobStatus> = JobStatus::ALL
            .iter()
            .copied()
            .filter(|status| !status.is_terminal())
            .collect();
        Ok(self
            .jobs_in(&live)
            .filter(has_it)
            .map(|job| job.panda_id)
            .collect())
    }

    fn needs_of(&self, job: PandaId) -> Result<Vec<InputNeed>, LedgerError> {
        Ok(self.needs.get(&job).cloned().unwrap_or_default())
    }

    fn has_expected_needs(&self, job: PandaId) -> Result<bool, LedgerError> {
        let mut needs = self.needs.get(&job).into_iter().flatten();
        Ok(needs.any(|need| need.status == FileStatus::Expected))
    }

    fn waiting_for(&self, dataset: &DatasetName, part: u32) -> Result<Vec<PandaId>, LedgerError> {
        let is_it = |need: &InputNeed| {
            need.status == FileStatus::Expected && need.part == part && need.dataset == *dataset
        };
        let readers = self.by_part.get(&(dataset.clone(), part));
        Ok(readers
            .into_iter()
            .flatten()
            .filter(|job| self.needs[*job].iter().any(is_it))
            .copied()
            .collect())
    }

    fn settle_needs(
        &mut self,
        dataset: &DatasetName,
        part: u32,
        status: FileStatus,
    ) -> Result<(), LedgerError> {
        let readers = self.by_part.get(&(dataset.clone(), part));
        for job in readers.into_iter().flatten() {
            for need in self.needs.get_mut(job).into_iter().flatten() {
                if need.part == part && need.dataset == *dataset {
                    if need.status != status {
                        self.archived.remove(job);
                    }
                    need.status = status;
                }
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
    ) -> Result<Option<AttemptRecord>, LedgerError> {
        Ok(self.attempts.get(&(job, attempt_nr)).cloned())
    }

    fn put_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), LedgerError> {
        let key = (attempt.panda_id, attempt.attempt_nr);
        self.archived.remove(&attempt.panda_id);
        self.attempts.insert(key, attempt.clone());
        Ok(())
    }

    fn worker(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<Worker>, LedgerError> {
        Ok(self.workers.get(&(harvester.clone(), worker)).cloned())
    }

    fn put_worker(&mut self, worker: &Worker, now: Timestamp) -> Result<(), LedgerError> {
        let key = (worker.harvester_id.clone(), worker.worker_id);
        self.worker_reports.insert(key.clone(), now);
        self.workers.insert(key, worker.clone());
        Ok(())
    }
}

fn first_ids(jobs: &[&JobRecord], limit: usize) -> Vec<PandaId> {
    jobs.iter().take(limit).map(|job| job.panda_id).collect()
}

pub(crate) fn as_count(n: usize) -> u64 {
    u64::try_from(n).expect("a length fits into 64 bits")
}
