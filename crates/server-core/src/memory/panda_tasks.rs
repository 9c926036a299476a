//! The rows of PanDA's tasks, in memory.

use std::{collections::BTreeSet, sync::Arc};

use ailurus_model::{DatasetName, JobKind, TaskId, TaskSpec, TaskStatus, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{
        FileRecord, InputCounts, KindCounts, LedgerError, PandaTaskRecord, PandaTaskRows,
        TaskProgress,
    },
};

impl MemoryLedger {
    /// Lists how far PanDA's tasks have come, by rising number.
    pub fn progresses(&self) -> impl Iterator<Item = &TaskProgress> {
        self.progress.values()
    }
}

impl PandaTaskRows for MemoryLedger {
    fn panda_task(
        &self,
        id: TaskId,
        revision: u32,
    ) -> Result<Option<Arc<PandaTaskRecord>>, LedgerError> {
        Ok(self.panda_tasks.get(&(id, revision)).cloned())
    }

    fn put_panda_task(
        &mut self,
        task: &PandaTaskRecord,
        spec: &Arc<TaskSpec>,
    ) -> Result<(), LedgerError> {
        let key = (task.id, task.revision);
        self.panda_tasks.insert(key, Arc::new(task.clone()));
        if let Some(record) = self.tasks.get_mut(&task.id) {
            record.spec = Arc::clone(spec);
            record.revision = task.revision;
        }
        Ok(())
    }

    fn task_progress(&self, id: TaskId) -> Result<Option<TaskProgress>, LedgerError> {
        Ok(self.progress.get(&id).cloned())
    }

    fn put_task_progress(&mut self, progress: &TaskProgress) -> Result<(), LedgerError> {
        self.progress.insert(progress.id, progress.clone());
        Ok(())
    }

    fn tasks_due(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, LedgerError> {
        let due: BTreeSet<(Timestamp, TaskId)> = self
            .progress
            .values()
            .filter_map(|progress| Some((progress.due?, progress.id)))
            .filter(|(due, _)| *due <= now)
            .collect();
        Ok(due.into_iter().map(|(_, id)| id).take(limit).collect())
    }

    fn tasks_after(&self, parent: TaskId) -> Result<Vec<TaskId>, LedgerError> {
        let progress = self.progress.values();
        Ok(progress
            .filter(|progress| progress.parent == Some(parent))
            .map(|progress| progress.id)
            .collect())
    }

    fn newest_task_named(
        &self,
        user: Option<&str>,
        name: &str,
    ) -> Result<Option<TaskId>, LedgerError> {
        let newest = self.tasks.values().rev().find(|task| {
            task.revision > 0
                && task.spec.name == name
                && user.is_none_or(|user| task.spec.user == user)
        });
        Ok(newest.map(|task| task.id))
    }

    fn tasks_of_user(
        &self,
        user: &str,
        statuses: &[TaskStatus],
    ) -> Result<Vec<TaskId>, LedgerError> {
        let tasks = self.tasks.values();
        Ok(tasks
            .filter(|task| task.spec.user == user && statuses.contains(&task.status))
            .map(|task| task.id)
            .collect())
    }

    fn tasks_changed_since(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskId>, LedgerError> {
        let changed: BTreeSet<(Timestamp, TaskId)> = self
            .progress
            .values()
            .filter(|progress| progress.modified >= since)
            .map(|progress| (progress.modified, progress.id))
            .collect();
        Ok(changed
            .into_iter()
            .rev()
            .map(|(_, id)| id)
            .take(limit)
            .collect())
    }

    fn add_to_container(
        &mut self,
        container: &DatasetName,
        dataset: &DatasetName,
    ) -> Result<(), LedgerError> {
        let datasets = self.containers.entry(container.clone()).or_default();
        datasets.insert(dataset.clone());
        Ok(())
    }

    fn datasets_of(&self, container: &DatasetName) -> Result<Vec<DatasetName>, LedgerError> {
        let datasets = self.containers.get(container).into_iter().flatten();
        let mut datasets: Vec<DatasetName> = datasets.cloned().collect();
        datasets.sort_by_key(|name| {
            let dataset = self.datasets.get(name);
            (dataset.and_then(|dataset| dataset.producer), name.clone())
        });
        Ok(datasets)
    }

    fn files_from(
        &self,
        dataset: &DatasetName,
        first: u32,
        limit: usize,
    ) -> Result<Vec<FileRecord>, LedgerError> {
        let range = (dataset.clone(), first)..=(dataset.clone(), u32::MAX);
        let files = self.files.range(range);
        Ok(files.map(|(_, file)| file.clone()).take(limit).collect())
    }

    fn input_counts(&self, task: TaskId) -> Result<InputCounts, LedgerError> {
        let mut counts = InputCounts::new();
        let jobs = self
            .jobs
            .values()
            .filter(|job| job.task_id == task && matches!(job.kind, JobKind::Run | JobKind::Scout));
        for job in jobs {
            for need in self.needs.get(&job.panda_id).into_iter().flatten() {
                *counts.entry((need.input, job.status)).or_default() += 1;
            }
        }
        Ok(counts)
    }

    fn kind_counts(&self, task: TaskId) -> Result<KindCounts, LedgerError> {
        let mut counts = KindCounts::new();
        for job in self.jobs.values().filter(|job| job.task_id == task) {
            *counts.entry((job.kind, job.status)).or_default() += 1;
        }
        Ok(counts)
    }
}
