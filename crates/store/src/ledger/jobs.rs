//! Statements over jobs and their counts.

use std::collections::BTreeMap;

use ailurus_model::{
    AttemptNr, HarvesterId, JobStatus, PandaId, QueueName, SourceLabel, TaskId, Timestamp, WorkerId,
};
use ailurus_server_core::ledger::{ClaimFilter, JobCounts, JobRecord};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::row::{Columns, bytes, int, to_json};

macro_rules! columns {
    () => {
        "panda_id, task_id, part, status, attempt_nr, max_attempts, first_event, n_events, queue,
         priority, source_label, resource_type, cores, memory, disk, walltime_secs, command,
         created, modified, state_changed, harvester_id, worker_id, reason"
    };
}

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
pub(crate) fn read_job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    let mut columns = Columns::of(row);
    Ok(JobRecord {
        panda_id: columns.u64().map(PandaId::new)?,
        task_id: columns.u64().map(TaskId::new)?,
        part: columns.take()?,
        status: columns.parsed()?,
        attempt_nr: columns.take().map(AttemptNr::new)?,
        max_attempts: columns.take()?,
        first_event: columns.u64()?,
        n_events: columns.u64()?,
        queue: columns.optional_parsed()?,
        priority: columns.take()?,
        source_label: columns.take::<String>().map(SourceLabel::new)?,
        resource_type: columns.take()?,
        cores: columns.take()?,
        memory: columns.size()?,
        disk: columns.size()?,
        walltime_secs: columns.u64()?,
        command: columns.optional_json()?,
        created: columns.time()?,
        modified: columns.time()?,
        state_changed: columns.time()?,
        worker: {
            let harvester: Option<HarvesterId> = columns.optional_parsed()?;
            harvester.zip(columns.optional_u64()?.map(WorkerId::new))
        },
        reason: columns.take()?,
    })
}

pub(super) fn read(connection: &Connection, id: PandaId) -> rusqlite::Result<Option<JobRecord>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM job WHERE panda_id = ?"
        ))?
        .query_row([int(id.value())], read_job)
        .optional()
}

pub(super) fn insert(connection: &Connection, job: &JobRecord) -> rusqlite::Result<()> {
    const SQL: &str = concat!(
        "INSERT INTO job (",
        columns!(),
        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    write(connection, SQL, job).map(drop)
}

pub(super) fn put(connection: &Connection, job: &JobRecord) -> rusqlite::Result<()> {
    const SQL: &str = "UPDATE job SET
             task_id = ?2, part = ?3, status = ?4, attempt_nr = ?5, max_attempts = ?6,
             first_event = ?7, n_events = ?8, queue = ?9, priority = ?10, source_label = ?11,
             resource_type = ?12, cores = ?13, memory = ?14, disk = ?15, walltime_secs = ?16,
             command = ?17, created = ?18, modified = ?19, state_changed = ?20,
             harvester_id = ?21, worker_id = ?22, reason = ?23
         WHERE panda_id = ?1";
    match write(connection, SQL, job)? {
        0 => Err(rusqlite::Error::QueryReturnedNoRows),
        _ => Ok(()),
    }
}

/// Runs a statement whose parameters are the job's columns in their order.
fn write(connection: &Connection, sql: &str, job: &JobRecord) -> rusqlite::Result<usize> {
    let (harvester, worker) = job
        .worker
        .as_ref()
        .map_or((None, None), |(harvester, worker)| {
            (Some(harvester.as_str()), Some(int(worker.value())))
        });
    connection.prepare_cached(sql)?.execute(params![
        int(job.panda_id.value()),
        int(job.task_id.value()),
        job.part,
        job.status.as_str(),
        job.attempt_nr.value(),
        job.max_attempts,
        int(job.first_event),
        int(job.n_events),
        job.queue.as_ref().map(|queue| queue.as_str()),
        job.priority,
        job.source_label.as_str(),
        job.resource_type,
        job.cores,
        bytes(job.memory),
        bytes(job.disk),
        int(job.walltime_secs),
        job.command.as_ref().map(to_json).transpose()?,
        job.created.as_millis(),
        job.modified.as_millis(),
        job.state_changed.as_millis(),
        harvester,
        worker,
        job.reason,
    ])
}

pub(super) fn of_task(
    connection: &Connection,
    task: TaskId,
    statuses: &[JobStatus],
) -> rusqlite::Result<Vec<PandaId>> {
    let mut statement = connection.prepare_cached(
        "SELECT panda_id FROM job WHERE task_id = ? AND status = ? ORDER BY panda_id",
    )?;
    let mut ids = Vec::new();
    for status in statuses {
        let rows = statement.query_map(params![int(task.value()), status.as_str()], job_id)?;
        for id in rows {
            ids.push(id?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub(super) fn task_counts(connection: &Connection, task: TaskId) -> rusqlite::Result<JobCounts> {
    connection
        .prepare_cached("SELECT status, n FROM task_job_count WHERE task_id = ? AND n > 0")?
        .query_map([int(task.value())], |row| {
            let mut columns = Columns::of(row);
            Ok((columns.parsed()?, columns.u64()?))
        })?
        .collect()
}

pub(super) fn queue_counts(
    connection: &Connection,
) -> rusqlite::Result<BTreeMap<QueueName, JobCounts>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT queue, status, count(*) FROM job WHERE ",
        not_ended!(),
        " AND queue IS NOT NULL GROUP BY queue, status"
    ))?;
    let mut rows = statement.query([])?;
    let mut counts: BTreeMap<QueueName, JobCounts> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let queue: QueueName = columns.parsed()?;
        let status: JobStatus = columns.parsed()?;
        counts
            .entry(queue)
            .or_default()
            .insert(status, columns.u64()?);
    }
    Ok(counts)
}

/// Walks the queue's activated jobs in their order and keeps those that fit, until there are
/// `limit` of them.
pub(super) fn claimable(
    connection: &Connection,
    filter: &ClaimFilter<'_>,
    limit: usize,
    is_of_user: impl Fn(TaskId) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Vec<PandaId>> {
    let mut statement = connection.prepare_cached(
        "SELECT panda_id, task_id, source_label FROM job
         WHERE status = 'activated' AND queue = ?1
           AND memory <= ?2 AND disk <= ?3 AND walltime_secs <= ?4
           AND (?5 IS NULL OR resource_type = ?5) AND (?6 IS NULL OR task_id = ?6)
         ORDER BY priority DESC, panda_id",
    )?;
    let or_no_limit = |value: i64| if value == 0 { i64::MAX } else { value };
    let mut rows = statement.query(params![
        filter.queue.as_str(),
        or_no_limit(bytes(filter.memory)),
        or_no_limit(bytes(filter.disk)),
        filter.remaining_secs.map_or(i64::MAX, int),
        filter.resource_type,
        filter.task_id.map(|task| int(task.value())),
    ])?;
    let mut ids = Vec::new();
    while ids.len() < limit {
        let Some(row) = rows.next()? else { break };
        let mut columns = Columns::of(row);
        let id = columns.u64().map(PandaId::new)?;
        let task = columns.u64().map(TaskId::new)?;
        let label = columns.take::<String>().map(SourceLabel::new)?;
        if filter.source_label.accepts(&label) && is_of_user(task)? {
            ids.push(id);
        }
    }
    Ok(ids)
}

pub(super) fn activated_at(
    connection: &Connection,
    queue: &QueueName,
    after: PandaId,
    limit: usize,
) -> rusqlite::Result<Vec<(PandaId, SourceLabel)>> {
    connection
        .prepare_cached(concat!(
            "SELECT panda_id, source_label FROM job INDEXED BY job_by_queue
             WHERE queue = ? AND status = 'activated' AND panda_id > ? AND ",
            not_ended!(),
            " ORDER BY panda_id LIMIT ?"
        ))?
        .query_map(
            params![
                queue.as_str(),
                int(after.value()),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |row| {
                let mut columns = Columns::of(row);
                let id = columns.u64().map(PandaId::new)?;
                let label = columns.take::<String>().map(SourceLabel::new)?;
                Ok((id, label))
            },
        )?
        .collect()
}

pub(super) fn unheard_since(
    connection: &Connection,
    statuses: &[JobStatus],
    before: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<PandaId>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT modified, panda_id FROM job
         WHERE status = ? AND ",
        not_ended!(),
        " AND modified < ? ORDER BY modified, panda_id LIMIT ?"
    ))?;
    let mut found: Vec<(Timestamp, PandaId)> = Vec::new();
    for status in statuses {
        let rows = statement.query_map(
            params![
                status.as_str(),
                before.as_millis(),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |row| {
                let mut columns = Columns::of(row);
                Ok((columns.time()?, columns.u64().map(PandaId::new)?))
            },
        )?;
        for row in rows {
            found.push(row?);
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

pub(super) fn of_worker(
    connection: &Connection,
    harvester: &HarvesterId,
    worker: WorkerId,
) -> rusqlite::Result<Vec<PandaId>> {
    connection
        .prepare_cached(concat!(
            "SELECT panda_id FROM job WHERE harvester_id = ? AND worker_id = ? AND ",
            not_ended!(),
            " AND worker_id IS NOT NULL ORDER BY panda_id"
        ))?
        .query_map(params![harvester.as_str(), int(worker.value())], job_id)?
        .collect()
}

fn job_id(row: &Row<'_>) -> rusqlite::Result<PandaId> {
    Columns::of(row).u64().map(PandaId::new)
}
