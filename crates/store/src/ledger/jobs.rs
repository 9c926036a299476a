//! Statements over jobs and their counts.

use std::collections::BTreeMap;

use ailurus_model::{
    HarvesterId, JobStatus, PandaId, QueueName, SourceLabel, TaskId, Timestamp, WorkerId,
};
use ailurus_server_core::ledger::{JobCounts, JobRecord};

use super::{archive, brokerage, pulse};
use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, FromValue, Json, OwnedRow, Sql, SqlError, Table, ToValue, Value, only, params,
        row,
    },
};

macro_rules! columns {
    () => {
        "panda_id, task_id, part, status, attempt_nr, max_attempts, first_event, n_events, queue,
         priority, source_label, resource_type, cores, memory, disk, walltime_secs, command,
         created, modified, state_changed, harvester_id, worker_id, reason,
         sub_status, tags, global_share, parent, kind, serial, server_code,
         turn"
    };
}

/// Jobs that have not changed for long, and may have been heard of, that one search looks at.
const LOOKED_AT: usize = 2000;

/// The condition of the partial indices over jobs that have not ended: a query must repeat it
/// word for word to use one.
macro_rules! not_ended {
    () => {
        "status NOT IN ('finished', 'failed', 'cancelled', 'closed')"
    };
}

/// The columns of a job, in the order in which [`read_job`] takes them.
pub(crate) const JOB_COLUMNS: &str = columns!();

/// Reads a job from a row of [`JOB_COLUMNS`].
pub(crate) fn read_job(columns: &mut Columns<'_>) -> Result<JobRecord, SqlError> {
    Ok(JobRecord {
        panda_id: columns.take()?,
        task_id: columns.take()?,
        part: columns.take()?,
        status: columns.take()?,
        attempt_nr: columns.take()?,
        max_attempts: columns.take()?,
        first_event: columns.take()?,
        n_events: columns.take()?,
        queue: columns.take()?,
        priority: columns.take()?,
        source_label: columns.take()?,
        resource_type: columns.take()?,
        cores: columns.take()?,
        memory: columns.take()?,
        disk: columns.take()?,
        walltime_secs: columns.take()?,
        command: columns.optional_json()?,
        created: columns.take()?,
        modified: columns.take()?,
        state_changed: columns.take()?,
        worker: {
            let harvester: Option<HarvesterId> = columns.take()?;
            harvester.zip(columns.take::<Option<WorkerId>>()?)
        },
        reason: columns.take()?,
        sub_status: columns.take()?,
        tags: columns.take()?,
        global_share: columns.take()?,
        parent: columns.take()?,
        kind: columns.take()?,
        serial: columns.take()?,
        server_code: columns.take()?,
        turn: columns.take()?,
    })
}

/// Jobs.
pub(super) static JOB: Table = Table {
    name: "job",
    columns: &[
        Int("panda_id"),
        Int("task_id"),
        Int("part"),
        Text("status"),
        Int("attempt_nr"),
        Int("max_attempts"),
        Int("first_event"),
        Int("n_events"),
        Text("queue"),
        Int("priority"),
        Text("source_label"),
        Text("resource_type"),
        Int("cores"),
        Int("memory"),
        Int("disk"),
        Int("walltime_secs"),
        Text("command"),
        Int("created"),
        Int("modified"),
        Int("state_changed"),
        Text("harvester_id"),
        Int("worker_id"),
        Text("reason"),
        Text("sub_status"),
        Text("tags"),
        Text("global_share"),
        Int("parent"),
        Text("kind"),
        Int("serial"),
        Int("server_code"),
        Int("turn"),
    ],
    key: 1,
};
/// Where in a row the task, the status and the time of the last change stand.
const TASK: usize = 1;
const STATUS: usize = 3;
const MODIFIED: usize = 18;

/// How many jobs of a task are in which status.
static COUNT: Table = Table {
    name: "task_job_count",
    columns: &[Int("task_id"), Text("status"), Int("n")],
    key: 2,
};

pub(super) fn read(session: &Session, id: PandaId) -> Result<Option<JobRecord>, SqlError> {
    let row = archive::read_any(session, id)?;
    row.map(|row| {
        let mut job = read_job(&mut Columns::of(&row))?;
        pulse::refresh_job(session, &mut job)?;
        Ok(job)
    })
    .transpose()
}

/// Reads jobs at once, with what is known of their current attempts.
pub(super) fn prefetch(session: &Session, ids: &[PandaId]) -> Result<(), SqlError> {
    session.prefetch(&JOB, ids.iter().map(|id| row![id].to_vec()).collect())?;
    let mut out = Vec::new();
    for id in ids {
        if let Some(Some(row)) = session.kept(&JOB, &row![id]) {
            let job = read_job(&mut Columns::of(&row))?;
            match pulse::is_out(job.status) {
                true => out.push((job.panda_id, job.attempt_nr)),
                false => pulse::expect_none(session, job.panda_id),
            }
        }
    }
    pulse::prefetch(session, out.iter().map(|(job, _)| *job))?;
    super::attempts::prefetch(session, out.into_iter())
}

/// Returns the task of a job, if it is there.
pub(super) fn task_of(session: &Session, id: PandaId) -> Result<Option<TaskId>, SqlError> {
    let row = session.read(&JOB, &row![id])?;
    row.map(|row| column(&row, TASK)).transpose()
}

/// Returns the number of a job from its row.
pub(super) fn id_of(row: &OwnedRow) -> Result<PandaId, SqlError> {
    column(row, 0)
}

fn column<T: FromValue>(row: &OwnedRow, column: usize) -> Result<T, SqlError> {
    T::from_value(row[column].as_borrowed())
        .map_err(|source| SqlError::Unreadable { column, source })
}

/// Says whether a row is of a job that waits for a pilot, without reading all of it.
pub(super) fn is_activated(row: &OwnedRow) -> bool {
    matches!(&row[STATUS], Value::Text(status) if status == JobStatus::Activated.as_str())
}

pub(super) fn insert(session: &Session, job: &JobRecord) -> Result<(), SqlError> {
    session.insert(&JOB, row_of(job)?)?;
    brokerage::count_load(session, None, Some(job))?;
    count(session, job.task_id, job.status, 1)
}

/// Writes a changed job. When it was heard of is written beside it.
pub(super) fn put(session: &Session, job: &JobRecord) -> Result<(), SqlError> {
    let key = row![job.panda_id];
    if session.read(&JOB, &key)?.is_none() {
        archive::bring_back(session, job.panda_id)?;
    }
    let stored = session.read(&JOB, &key)?.ok_or(SqlError::NoRow)?;
    let mut row = row_of(job)?;
    let modified = std::mem::replace(&mut row[MODIFIED], stored[MODIFIED].clone());
    let is_out = pulse::is_out(job.status);
    if row == stored && is_out {
        return pulse::put_heard(session, job.panda_id, job.modified);
    }
    row[MODIFIED] = modified;
    if !is_out {
        pulse::forget_job(session, job.panda_id)?;
    }
    session.put(&JOB, row)?;
    let old = read_job(&mut Columns::of(&stored))?;
    brokerage::count_load(session, Some(&old), Some(job))?;
    let old = old.status;
    if old != job.status {
        count(session, job.task_id, old, -1)?;
        count(session, job.task_id, job.status, 1)?;
    }
    Ok(())
}

/// Keeps the counts of a task's jobs equal to the rows they count.
fn count(session: &Session, task: TaskId, status: JobStatus, change: i64) -> Result<(), SqlError> {
    session.read_all(&COUNT, &row![task])?;
    let stored = session.read(&COUNT, &row![task, status])?;
    let n: i64 = stored.map_or(Ok(0), |row| column(&row, 2))?;
    session.put(&COUNT, row![task, status, n + change])
}

fn row_of(job: &JobRecord) -> Result<OwnedRow, SqlError> {
    let harvester = job.worker.as_ref().map(|(harvester, _)| harvester);
    let worker = job.worker.as_ref().map(|(_, worker)| worker);
    Ok(row![
        job.panda_id,
        job.task_id,
        job.part,
        job.status,
        job.attempt_nr,
        job.max_attempts,
        job.first_event,
        job.n_events,
        job.queue,
        job.priority,
        job.source_label,
        job.resource_type,
        job.cores,
        job.memory,
        job.disk,
        job.walltime_secs,
        job.command.as_ref().map(Json::of).transpose()?,
        job.created,
        job.modified,
        job.state_changed,
        harvester,
        worker,
        job.reason,
        job.sub_status,
        job.tags,
        job.global_share,
        job.parent,
        job.kind,
        job.serial,
        job.server_code,
        job.turn,
    ]
    .to_vec())
}

pub(super) fn of_task(
    sql: &dyn Sql,
    task: TaskId,
    statuses: &[JobStatus],
) -> Result<Vec<PandaId>, SqlError> {
    let mut ids = Vec::new();
    for status in statuses {
        ids.extend(sql.rows(
            "SELECT panda_id FROM job WHERE task_id = ?1 AND status = ?2
             UNION ALL
             SELECT panda_id FROM archived_job WHERE task_id = ?1 AND status = ?2
             ORDER BY panda_id",
            params![task, status],
            only::<PandaId>,
        )?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub(super) fn task_counts(session: &Session, task: TaskId) -> Result<JobCounts, SqlError> {
    let mut counts = JobCounts::new();
    for row in session.read_all(&COUNT, &row![task])? {
        let n: u64 = column(&row, 2)?;
        if n > 0 {
            counts.insert(column(&row, 1)?, n);
        }
    }
    Ok(counts)
}

pub(super) fn queue_counts(sql: &dyn Sql) -> Result<BTreeMap<QueueName, JobCounts>, SqlError> {
    let rows = sql.rows(
        "SELECT queue, status, CAST(sum(jobs) AS BIGINT) FROM queue_load
         WHERE jobs > 0 GROUP BY queue, status",
        params![],
        |columns| Ok((columns.take()?, columns.take()?, columns.take()?)),
    )?;
    let mut counts: BTreeMap<QueueName, JobCounts> = BTreeMap::new();
    for (queue, status, n) in rows {
        counts.entry(queue).or_default().insert(status, n);
    }
    Ok(counts)
}

pub(super) fn activated_at(
    sql: &dyn Sql,
    queue: &QueueName,
    after: PandaId,
    limit: usize,
) -> Result<Vec<(PandaId, SourceLabel)>, SqlError> {
    sql.rows(
        concat!(
            "SELECT panda_id, source_label FROM job
             WHERE queue = ?1 AND status = 'activated' AND panda_id > ?2 AND ",
            not_ended!(),
            " ORDER BY panda_id LIMIT ?3"
        ),
        params![queue, after, limit],
        |columns| Ok((columns.take()?, columns.take()?)),
    )
}

/// Lists silent jobs. The rows of jobs do not say when they were heard of last, so this looks
/// there, and notes it where a job was heard of, so that it is not looked at again soon.
pub(super) fn unheard_since(
    session: &Session,
    statuses: &[JobStatus],
    before: Timestamp,
    limit: usize,
) -> Result<Vec<PandaId>, SqlError> {
    let sql: &dyn Sql = session;
    let mut found: Vec<(Timestamp, PandaId)> = Vec::new();
    for status in statuses {
        let page = match pulse::is_out(*status) {
            true => limit.max(LOOKED_AT),
            false => limit,
        };
        let rows: Vec<(Timestamp, PandaId)> = sql.rows(
            concat!(
                "SELECT modified, panda_id FROM job WHERE status = ?1 AND ",
                not_ended!(),
                " AND modified < ?2 ORDER BY modified, panda_id LIMIT ?3"
            ),
            params![status, before, page],
            |columns| Ok((columns.take()?, columns.take()?)),
        )?;
        if !pulse::is_out(*status) {
            found.extend(rows);
            continue;
        }
        pulse::prefetch(session, rows.iter().map(|(_, id)| *id))?;
        for (modified, id) in rows {
            let last = pulse::heard(session, id)?.map_or(modified, |heard| heard.max(modified));
            if last < before {
                found.push((last, id));
            } else if session.is_batch() {
                note_heard(session, id, last)?;
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// Notes in the row of a job when it was heard of.
fn note_heard(session: &Session, id: PandaId, heard: Timestamp) -> Result<(), SqlError> {
    let Some(mut row) = session.read(&JOB, &row![id])? else {
        return Ok(());
    };
    row[MODIFIED] = heard.to_value().into_owned();
    session.put(&JOB, row)
}

pub(super) fn of_worker(
    sql: &dyn Sql,
    harvester: &HarvesterId,
    worker: WorkerId,
) -> Result<Vec<PandaId>, SqlError> {
    sql.rows(
        concat!(
            "SELECT panda_id FROM job WHERE harvester_id = ?1 AND worker_id = ?2 AND ",
            not_ended!(),
            " AND worker_id IS NOT NULL ORDER BY panda_id"
        ),
        params![harvester, worker],
        only,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_columns_that_are_read() {
        let words = JOB_COLUMNS.split_whitespace();
        assert_eq!(JOB.column_list(), words.collect::<Vec<_>>().join(" "));
        let named = [TASK, STATUS, MODIFIED].map(|column| JOB.columns[column].name());
        assert_eq!(named, ["task_id", "status", "modified"]);
    }
}
