//! The archive: tables like those of jobs, attempts, needs and texts, with the same columns.
//!
//! A job's rows are moved as they are, in both directions. What reads a job looks into the archive
//! if it is not among the others; what changes one takes it back out first.
//!
//! A task says by `task.jobs_dropped` whether its jobs were dropped from the archive.

use ailurus_model::{ChangeId, DatasetName, FileStatus, PandaId, TaskId, Timestamp};
use ailurus_server_core::ledger::{ArchiveRows, EndedJob, EndedPlace, EndedTask, LedgerError};

use super::{attempts::ATTEMPT, job_texts::JOB_TEXT, jobs::JOB, needs::NEED};
use crate::{
    DatabaseLedger,
    ledger::failed,
    session::Session,
    sql::{OwnedRow, Sql, SqlError, Table, only, params, row},
};

/// Archived jobs.
pub(super) static ARCHIVED_JOB: Table = Table {
    name: "archived_job",
    columns: JOB.columns,
    key: JOB.key,
};
/// Their attempts.
pub(super) static ARCHIVED_ATTEMPT: Table = Table {
    name: "archived_attempt",
    columns: ATTEMPT.columns,
    key: ATTEMPT.key,
};
/// What they read.
pub(super) static ARCHIVED_NEED: Table = Table {
    name: "archived_need",
    columns: NEED.columns,
    key: NEED.key,
};
/// Their long texts.
static ARCHIVED_JOB_TEXT: Table = Table {
    name: "archived_job_text",
    columns: JOB_TEXT.columns,
    key: JOB_TEXT.key,
};

/// Each table with the one of the archive. All keys begin with the job.
static PAIRS: [(&Table, &Table); 4] = [
    (&JOB, &ARCHIVED_JOB),
    (&ATTEMPT, &ARCHIVED_ATTEMPT),
    (&NEED, &ARCHIVED_NEED),
    (&JOB_TEXT, &ARCHIVED_JOB_TEXT),
];

/// What `task.jobs_dropped` says: nothing was dropped, some jobs were, all were.
const KEPT: i64 = 0;
const SOME_DROPPED: i64 = 1;
const ALL_DROPPED: i64 = 2;

/// Tables with rows of archived jobs, the jobs themselves last: the others are found by them.
const OF_ARCHIVED_JOBS: [&str; 7] = [
    "archived_job_text",
    "archived_need",
    "archived_attempt",
    "event_range",
    "event_archive",
    "event_member",
    "archived_job",
];

/// Moves the rows of a job from one table to another.
fn shift(
    session: &Session,
    from: &'static Table,
    to: &'static Table,
    job: PandaId,
) -> Result<(), SqlError> {
    for row in session.read_all(from, &row![job])? {
        session.delete(from, from.key_of(&row))?;
        session.put(to, row)?;
    }
    Ok(())
}

fn archive(session: &Session, jobs: &[PandaId]) -> Result<(), SqlError> {
    for (from, to) in PAIRS {
        let ids = jobs.iter().map(|id| row![id].to_vec());
        session.prefetch_all(from, 1, ids.collect())?;
        jobs.iter()
            .try_for_each(|id| shift(session, from, to, *id))?;
    }
    Ok(())
}

/// Takes a job out of the archive, if it is there.
pub(super) fn bring_back(session: &Session, job: PandaId) -> Result<(), SqlError> {
    if read_archived(session, job)?.is_none() {
        return Ok(());
    }
    PAIRS
        .into_iter()
        .try_for_each(|(to, from)| shift(session, from, to, job))
}

/// Reads the row of a job, archived or not.
pub(super) fn read_any(session: &Session, job: PandaId) -> Result<Option<OwnedRow>, SqlError> {
    match session.read(&JOB, &row![job])? {
        Some(row) => Ok(Some(row)),
        None => read_archived(session, job),
    }
}

fn read_archived(session: &Session, job: PandaId) -> Result<Option<OwnedRow>, SqlError> {
    session.read(&ARCHIVED_JOB, &row![job])
}

/// Says whether the archive can have rows of a job: whether the job is not among the others.
pub(super) fn may_have(session: &Session, job: PandaId) -> Result<bool, SqlError> {
    Ok(session.read(&JOB, &row![job])?.is_none())
}

/// Takes archived jobs back out for which a part of a dataset is not as it was any more.
pub(super) fn bring_back_readers(
    session: &Session,
    dataset: &DatasetName,
    part: u32,
    status: FileStatus,
) -> Result<(), SqlError> {
    let sql: &dyn Sql = session;
    let jobs: Vec<PandaId> = sql.rows(
        "SELECT DISTINCT panda_id FROM archived_need
         WHERE dataset = ?1 AND part = ?2 AND status <> ?3 ORDER BY panda_id",
        params![dataset, part, status],
        only,
    )?;
    jobs.into_iter()
        .try_for_each(|job| bring_back(session, job))
}

/// Removes archived jobs of a task with all that belongs to them, and notes that.
fn drop_some(session: &Session, task: TaskId, limit: usize) -> Result<u64, SqlError> {
    let sql: &dyn Sql = session;
    let mut dropped = 0;
    for table in OF_ARCHIVED_JOBS {
        dropped = sql.execute(
            &format!(
                "DELETE FROM {table} WHERE panda_id IN (
                     SELECT panda_id FROM archived_job WHERE task_id = ?1
                     ORDER BY status, panda_id LIMIT ?2
                 )"
            ),
            params![task, limit],
        )?;
    }
    let is_over = usize::try_from(dropped).is_ok_and(|dropped| dropped < limit);
    let mark = if is_over { ALL_DROPPED } else { SOME_DROPPED };
    sql.execute(
        "UPDATE task SET jobs_dropped = ?2 WHERE id = ?1",
        params![task, mark],
    )?;
    Ok(dropped)
}

impl ArchiveRows for DatabaseLedger {
    fn ended_before(
        &self,
        before: Timestamp,
        after: EndedPlace,
        limit: usize,
    ) -> Result<Vec<EndedJob>, LedgerError> {
        self.sql()
            .rows(
                "SELECT state_changed, panda_id, task_id FROM job
                 WHERE status IN ('finished', 'failed', 'cancelled', 'closed')
                   AND state_changed < ?1 AND (state_changed, panda_id) > (?2, ?3)
                 ORDER BY state_changed, panda_id LIMIT ?4",
                params![before, after.ended, after.panda_id, limit],
                |columns| {
                    Ok(EndedJob {
                        place: EndedPlace {
                            ended: columns.take()?,
                            panda_id: columns.take()?,
                        },
                        task_id: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list jobs that ended before {before}")))
    }

    fn archive_jobs(&mut self, jobs: &[PandaId]) -> Result<(), LedgerError> {
        archive(self.session(), jobs).map_err(failed(|| format!("archive {} jobs", jobs.len())))
    }

    fn is_archived(&self, job: PandaId) -> Result<bool, LedgerError> {
        read_archived(self.session(), job)
            .map(|row| row.is_some())
            .map_err(failed(|| format!("look for job {job} in the archive")))
    }

    fn tasks_to_drop(
        &self,
        before: Timestamp,
        after: EndedTask,
        limit: usize,
    ) -> Result<Vec<EndedTask>, LedgerError> {
        self.sql()
            .rows(
                "SELECT state_changed, id FROM task
                 WHERE status IN ('done', 'finished', 'failed', 'aborted', 'broken')
                   AND jobs_dropped < 2
                   AND state_changed < ?1 AND (state_changed, id) > (?2, ?3)
                 ORDER BY state_changed, id LIMIT ?4",
                params![before, after.ended, after.id, limit],
                |columns| {
                    Ok(EndedTask {
                        ended: columns.take()?,
                        id: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list tasks that ended before {before}")))
    }

    fn has_jobs_at_work(&self, task: TaskId) -> Result<bool, LedgerError> {
        self.sql()
            .first(
                "SELECT panda_id FROM job WHERE task_id = ?1 LIMIT 1",
                params![task],
                only::<PandaId>,
            )
            .map(|job| job.is_some())
            .map_err(failed(|| format!("look for a job of task {task}")))
    }

    fn drop_jobs(&mut self, task: TaskId, limit: usize) -> Result<u64, LedgerError> {
        drop_some(self.session(), task, limit)
            .map_err(failed(|| format!("drop archived jobs of task {task}")))
    }

    fn are_jobs_dropped(&self, task: TaskId) -> Result<bool, LedgerError> {
        self.sql()
            .first(
                "SELECT jobs_dropped FROM task WHERE id = ?1",
                params![task],
                only::<i64>,
            )
            .map(|mark| mark.unwrap_or(KEPT) != KEPT)
            .map_err(failed(|| format!("see what is kept of task {task}")))
    }

    fn least_cursor(&self) -> Result<Option<ChangeId>, LedgerError> {
        self.sql()
            .first(
                "SELECT last_change FROM history_cursor ORDER BY last_change LIMIT 1",
                params![],
                only,
            )
            .map_err(failed(|| {
                "find the last cursor over the history".to_owned()
            }))
    }

    fn forget_changes(
        &mut self,
        before: Timestamp,
        up_to: ChangeId,
        limit: usize,
    ) -> Result<u64, LedgerError> {
        self.sql()
            .execute(
                "DELETE FROM history WHERE id IN (
                     SELECT id FROM (
                         SELECT id, time FROM history WHERE id <= ?2 ORDER BY id LIMIT ?3
                     ) AS oldest WHERE time < ?1
                 )",
                params![before, up_to, limit],
            )
            .map_err(failed(|| format!("forget changes from before {before}")))
    }
}
