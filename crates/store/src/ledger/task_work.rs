//! Statements over the jobs of tasks, piece by piece.

use ailurus_model::{JobStatus, PandaId, TaskId};
use ailurus_server_core::ledger::{InputNeed, LedgerError, TaskWorkRows, WorkDone};

use crate::{
    DatabaseLedger,
    ledger::{failed, needs},
    sql::{SqlError, only, params},
};

impl TaskWorkRows for DatabaseLedger {
    fn jobs_of_task_after(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        self.some_jobs_of_task(task, statuses, after, limit)
            .map_err(failed(|| format!("list some jobs of task {task}")))
    }

    fn work_of(&self, task: TaskId) -> Result<WorkDone, LedgerError> {
        self.add_up_work(task)
            .map_err(failed(|| format!("add up the work of task {task}")))
    }

    fn failed_attempts_of_live(&self, task: TaskId) -> Result<(u64, u64), LedgerError> {
        self.sql()
            .one(
                "SELECT count(*), CAST(coalesce(sum(attempt_nr - 1), 0) AS BIGINT) FROM job
                 WHERE task_id = ?1
                     AND status NOT IN ('finished', 'failed', 'cancelled', 'closed')",
                params![task],
                |columns| Ok((columns.take()?, columns.take()?)),
            )
            .map_err(failed(|| {
                format!("count the failed attempts of task {task}")
            }))
    }

    fn tasks_with_open_inputs(&self) -> Result<Vec<TaskId>, LedgerError> {
        // How far a task has come is one text: reading and parsing that of each would cost more.
        self.sql()
            .rows(
                r#"SELECT task_id FROM task_progress
                 JOIN task ON task.id = task_progress.task_id
                 WHERE task.status NOT IN ('done', 'finished', 'failed', 'aborted', 'broken')
                     AND progress LIKE '%"catalogue":{"Open":%' ORDER BY task_id"#,
                params![],
                only,
            )
            .map_err(failed(|| "list tasks that read open datasets".to_owned()))
    }

    fn put_need(&mut self, need: &InputNeed) -> Result<(), LedgerError> {
        needs::put(self.session(), &self.readers, need)
            .map_err(failed(|| format!("note what job {} reads", need.panda_id)))
    }
}

impl DatabaseLedger {
    fn some_jobs_of_task(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<PandaId>, SqlError> {
        let mut ids: Vec<PandaId> = Vec::new();
        for status in statuses {
            ids.extend(self.sql().rows(
                "SELECT panda_id FROM (
                     SELECT panda_id FROM job
                     WHERE task_id = ?1 AND status = ?2 AND panda_id > ?3
                     UNION ALL
                     SELECT panda_id FROM archived_job
                     WHERE task_id = ?1 AND status = ?2 AND panda_id > ?3
                 ) AS some_job ORDER BY panda_id LIMIT ?4",
                params![task, status, after, limit],
                only::<PandaId>,
            )?);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit);
        Ok(ids)
    }

    fn add_up_work(&self, task: TaskId) -> Result<WorkDone, SqlError> {
        let mut work = WorkDone::default();
        for (jobs, attempts) in [("job", "attempt"), ("archived_job", "archived_attempt")] {
            let rows: Vec<(JobStatus, u64, u32)> = self.sql().rows(
                &format!(
                    "SELECT status, count(*), max(max_attempts) FROM {jobs}
                     WHERE task_id = ?1 AND kind <> 'build' GROUP BY status"
                ),
                params![task],
                |columns| Ok((columns.take()?, columns.take()?, columns.take()?)),
            )?;
            for (status, n, attempts_max) in rows {
                work.attempts_max = work.attempts_max.max(attempts_max);
                work.jobs_finished += n * u64::from(status == JobStatus::Finished);
                work.jobs_failed += n * u64::from(status == JobStatus::Failed);
            }
            let rows: Vec<(JobStatus, i64, i64)> = self.sql().rows(
                &format!(
                    "SELECT tried.status,
                         CAST(sum((tried.ended - tried.started) * made.cores) AS BIGINT),
                         CAST(coalesce(sum(tried.cpu_secs), 0) AS BIGINT)
                     FROM {attempts} AS tried JOIN {jobs} AS made
                         ON made.panda_id = tried.panda_id
                     WHERE tried.task_id = ?1 AND made.kind <> 'build'
                         AND tried.status IN ('finished', 'failed')
                         AND tried.started IS NOT NULL AND tried.ended IS NOT NULL
                     GROUP BY tried.status"
                ),
                params![task],
                |columns| Ok((columns.take()?, columns.take()?, columns.take()?)),
            )?;
            for (status, core_ms, cpu_s) in rows {
                let core_ms = u64::try_from(core_ms).unwrap_or(0);
                if status == JobStatus::Finished {
                    work.finished_core_ms += core_ms;
                    work.finished_cpu_s += u64::try_from(cpu_s).unwrap_or(0);
                } else {
                    work.failed_core_ms += core_ms;
                }
            }
        }
        Ok(work)
    }
}
