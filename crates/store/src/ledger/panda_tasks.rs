//! Statements over the rows of PanDA's tasks.

use std::sync::Arc;

use ailurus_model::{DatasetName, TaskId, TaskSpec, TaskStatus, Timestamp};
use ailurus_server_core::ledger::{
    FileRecord, InputCounts, KindCounts, LedgerError, PandaTaskRecord, PandaTaskRows, TaskProgress,
};

use crate::{
    DatabaseLedger,
    ledger::{failed, read_file},
    sql::{Columns, Json, SqlError, only, params},
};

impl PandaTaskRows for DatabaseLedger {
    fn panda_task(
        &self,
        id: TaskId,
        revision: u32,
    ) -> Result<Option<Arc<PandaTaskRecord>>, LedgerError> {
        self.cached_panda_task(id, revision)
            .map_err(failed(|| format!("read revision {revision} of task {id}")))
    }

    fn put_panda_task(
        &mut self,
        task: &PandaTaskRecord,
        spec: &Arc<TaskSpec>,
    ) -> Result<(), LedgerError> {
        self.insert_panda_task(task, spec)
            .map_err(failed(|| format!("write a revision of task {}", task.id)))
    }

    fn task_progress(&self, id: TaskId) -> Result<Option<TaskProgress>, LedgerError> {
        self.sql()
            .first(
                "SELECT parent, due, modified, progress FROM task_progress WHERE task_id = ?1",
                params![id],
                |columns| read_progress(id, columns),
            )
            .map_err(failed(|| format!("read how far task {id} has come")))
    }

    fn put_task_progress(&mut self, progress: &TaskProgress) -> Result<(), LedgerError> {
        self.write_progress(progress).map_err(failed(|| {
            format!("note how far task {} has come", progress.id)
        }))
    }

    fn tasks_due(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, LedgerError> {
        self.sql()
            .rows(
                "SELECT task_id FROM task_progress WHERE due IS NOT NULL AND due <= ?1
                 ORDER BY due, task_id LIMIT ?2",
                params![now, limit],
                only,
            )
            .map_err(failed(|| "list tasks with a step that is due".to_owned()))
    }

    fn tasks_after(&self, parent: TaskId) -> Result<Vec<TaskId>, LedgerError> {
        self.sql()
            .rows(
                "SELECT task_id FROM task_progress WHERE parent = ?1 ORDER BY task_id",
                params![parent],
                only,
            )
            .map_err(failed(|| format!("list the tasks after task {parent}")))
    }

    fn newest_task_named(
        &self,
        user: Option<&str>,
        name: &str,
    ) -> Result<Option<TaskId>, LedgerError> {
        let found = match user {
            Some(user) => self.sql().first(
                "SELECT id FROM task WHERE user_name = ?1 AND name = ?2 AND revision > 0
                 ORDER BY id DESC LIMIT 1",
                params![user, name],
                only,
            ),
            None => self.sql().first(
                "SELECT id FROM task WHERE name = ?1 AND revision > 0 ORDER BY id DESC LIMIT 1",
                params![name],
                only,
            ),
        };
        found.map_err(failed(|| format!("find a task named `{name}`")))
    }

    fn tasks_of_user(
        &self,
        user: &str,
        statuses: &[TaskStatus],
    ) -> Result<Vec<TaskId>, LedgerError> {
        let mut ids = Vec::new();
        for status in statuses {
            let some: Vec<TaskId> = self
                .sql()
                .rows(
                    "SELECT id FROM task WHERE user_name = ?1 AND status = ?2 ORDER BY id",
                    params![user, status],
                    only,
                )
                .map_err(failed(|| format!("list the tasks of `{user}`")))?;
            ids.extend(some);
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn tasks_changed_since(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskId>, LedgerError> {
        self.sql()
            .rows(
                "SELECT task_id FROM task_progress WHERE modified >= ?1
                 ORDER BY modified DESC, task_id DESC LIMIT ?2",
                params![since, limit],
                only,
            )
            .map_err(failed(|| format!("list tasks that changed since {since}")))
    }

    fn add_to_container(
        &mut self,
        container: &DatasetName,
        dataset: &DatasetName,
    ) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO container (name, dataset) VALUES (?1, ?2)
                 ON CONFLICT (name, dataset) DO NOTHING",
                params![container, dataset],
            )
            .map(drop)
            .map_err(failed(|| format!("add `{dataset}` to `{container}`")))
    }

    fn datasets_of(&self, container: &DatasetName) -> Result<Vec<DatasetName>, LedgerError> {
        self.sql()
            .rows(
                "SELECT container.dataset FROM container
                 LEFT JOIN dataset ON dataset.name = container.dataset
                 WHERE container.name = ?1
                 ORDER BY coalesce(dataset.producer, 0), container.dataset",
                params![container],
                only,
            )
            .map_err(failed(|| format!("list the datasets of `{container}`")))
    }

    fn files_from(
        &self,
        dataset: &DatasetName,
        first: u32,
        limit: usize,
    ) -> Result<Vec<FileRecord>, LedgerError> {
        self.sql()
            .rows(
                &format!(
                    "SELECT {} FROM file WHERE dataset = ?1 AND part >= ?2 ORDER BY part LIMIT ?3",
                    super::FILE_COLUMNS
                ),
                params![dataset, first, limit],
                read_file,
            )
            .map_err(failed(|| format!("list the files of `{dataset}`")))
    }

    fn input_counts(&self, task: TaskId) -> Result<InputCounts, LedgerError> {
        let rows = self.sql().rows(
            "SELECT input, status, count(*) FROM (
                 SELECT need.input AS input, job.status AS status FROM job
                 JOIN need ON need.panda_id = job.panda_id
                 WHERE job.task_id = ?1 AND job.kind IN ('run', 'scout')
                 UNION ALL
                 SELECT need.input AS input, job.status AS status FROM archived_job AS job
                 JOIN archived_need AS need ON need.panda_id = job.panda_id
                 WHERE job.task_id = ?1 AND job.kind IN ('run', 'scout')
             ) AS read GROUP BY input, status",
            params![task],
            |columns| Ok(((columns.take()?, columns.take()?), columns.take()?)),
        );
        rows.map(|rows| rows.into_iter().collect())
            .map_err(failed(|| format!("count the inputs of task {task}")))
    }

    fn kind_counts(&self, task: TaskId) -> Result<KindCounts, LedgerError> {
        let rows = self.sql().rows(
            "SELECT kind, status, count(*) FROM (
                 SELECT kind, status FROM job WHERE task_id = ?1
                 UNION ALL
                 SELECT kind, status FROM archived_job WHERE task_id = ?1
             ) AS made GROUP BY kind, status",
            params![task],
            |columns| Ok(((columns.take()?, columns.take()?), columns.take()?)),
        );
        rows.map(|rows| rows.into_iter().collect())
            .map_err(failed(|| format!("count the jobs of task {task}")))
    }
}

fn read_progress(id: TaskId, columns: &mut Columns<'_>) -> Result<TaskProgress, SqlError> {
    let parent = columns.take()?;
    let due = columns.take()?;
    let modified = columns.take()?;
    let progress: TaskProgress = columns.json()?;
    Ok(TaskProgress {
        id,
        parent,
        due,
        modified,
        ..progress
    })
}

impl DatabaseLedger {
    fn cached_panda_task(
        &self,
        id: TaskId,
        revision: u32,
    ) -> Result<Option<Arc<PandaTaskRecord>>, SqlError> {
        if let Some(task) = self.panda_tasks.borrow().get(&(id, revision)) {
            return Ok(Some(Arc::clone(task)));
        }
        let found = self.sql().first(
            "SELECT params, refined FROM panda_task WHERE task_id = ?1 AND revision = ?2",
            params![id, revision],
            |columns| {
                Ok(PandaTaskRecord {
                    id,
                    revision,
                    params: columns.json()?,
                    refined: columns.optional_json()?,
                })
            },
        )?;
        Ok(found.map(|task| {
            let task = Arc::new(task);
            self.keep_panda_task(&task);
            task
        }))
    }

    fn keep_panda_task(&self, task: &Arc<PandaTaskRecord>) {
        let mut tasks = self.panda_tasks.borrow_mut();
        tasks.insert((task.id, task.revision), Arc::clone(task));
        if tasks.len() > super::SPECS_KEPT {
            tasks.pop_first();
        }
    }

    fn insert_panda_task(
        &self,
        task: &PandaTaskRecord,
        spec: &Arc<TaskSpec>,
    ) -> Result<(), SqlError> {
        self.sql().execute(
            "INSERT INTO panda_task (task_id, revision, params, refined) VALUES (?1, ?2, ?3, ?4)",
            params![
                task.id,
                task.revision,
                Json::of(&task.params)?,
                task.refined.as_ref().map(Json::of).transpose()?
            ],
        )?;
        self.sql().execute(
            "UPDATE task SET revision = ?2 WHERE id = ?1",
            params![task.id, task.revision],
        )?;
        self.sql().execute(
            "UPDATE task_spec SET spec = ?2 WHERE task_id = ?1",
            params![task.id, Json::of(&**spec)?],
        )?;
        self.written_tasks.borrow_mut().push(task.id);
        self.keep_spec(task.id, task.revision, spec);
        self.keep_panda_task(&Arc::new(task.clone()));
        Ok(())
    }

    fn write_progress(&self, progress: &TaskProgress) -> Result<(), SqlError> {
        self.sql()
            .execute(
                "INSERT INTO task_progress (task_id, parent, due, modified, progress)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (task_id) DO UPDATE
                 SET parent = excluded.parent, due = excluded.due, modified = excluded.modified,
                     progress = excluded.progress",
                params![
                    progress.id,
                    progress.parent,
                    progress.due,
                    progress.modified,
                    Json::of(progress)?
                ],
            )
            .map(drop)
    }
}
