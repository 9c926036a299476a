//! Statements over jobs and their counts.

use std::collections::BTreeMap;

use ailurus_model::{
    ByteCount, HarvesterId, JobStatus, PandaId, QueueName, SourceLabel, TaskId, Timestamp, WorkerId,
};
use ailurus_server_core::ledger::{ClaimFilter, ClaimOrder, JobCounts, JobRecord};

use crate::{
    ledger::brokerage::{Counted, count_load},
    sql::{Columns, Json, Sql, SqlError, only, params},
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

/// Activated jobs that are read at least when a pilot asks, whatever it asks for.
const PAGE_MIN: usize = 8;

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

pub(super) fn read(sql: &dyn Sql, id: PandaId) -> Result<Option<JobRecord>, SqlError> {
    sql.first(
        concat!("SELECT ", columns!(), " FROM job WHERE panda_id = ?1"),
        params![id],
        read_job,
    )
}

pub(super) fn insert(sql: &dyn Sql, job: &JobRecord) -> Result<(), SqlError> {
    const SQL: &str = concat!(
        "INSERT INTO job (",
        columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                   ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)"
    );
    write(sql, SQL, job)?;
    count_load(sql, None, Counted::of(job).as_ref())?;
    count(sql, job.task_id, job.status, 1)
}

pub(super) fn put(sql: &dyn Sql, job: &JobRecord) -> Result<(), SqlError> {
    const SQL: &str = "UPDATE job SET
             task_id = ?2, part = ?3, status = ?4, attempt_nr = ?5, max_attempts = ?6,
             first_event = ?7, n_events = ?8, queue = ?9, priority = ?10, source_label = ?11,
             resource_type = ?12, cores = ?13, memory = ?14, disk = ?15, walltime_secs = ?16,
             command = ?17, created = ?18, modified = ?19, state_changed = ?20,
             harvester_id = ?21, worker_id = ?22, reason = ?23,
             sub_status = ?24, tags = ?25, global_share = ?26, parent = ?27,
             kind = ?28, serial = ?29, server_code = ?30, turn = ?31
         WHERE panda_id = ?1";
    let (old, counted) = sql.one(
        "SELECT queue, global_share, resource_type, status, cores FROM job WHERE panda_id = ?1",
        params![job.panda_id],
        Counted::read,
    )?;
    write(sql, SQL, job)?;
    count_load(sql, counted.as_ref(), Counted::of(job).as_ref())?;
    if old != job.status {
        count(sql, job.task_id, old, -1)?;
        count(sql, job.task_id, job.status, 1)?;
    }
    Ok(())
}

/// Keeps the counts of a task's jobs equal to the rows they count.
fn count(sql: &dyn Sql, task: TaskId, status: JobStatus, change: i64) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO task_job_count (task_id, status, n) VALUES (?1, ?2, ?3)
         ON CONFLICT (task_id, status) DO UPDATE SET n = task_job_count.n + excluded.n",
        params![task, status, change],
    )
    .map(drop)
}

/// Runs a statement whose parameters are the job's columns in their order.
fn write(sql: &dyn Sql, statement: &str, job: &JobRecord) -> Result<u64, SqlError> {
    let harvester = job.worker.as_ref().map(|(harvester, _)| harvester);
    let worker = job.worker.as_ref().map(|(_, worker)| worker);
    sql.execute(
        statement,
        params![
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
        ],
    )
}

pub(super) fn of_task(
    sql: &dyn Sql,
    task: TaskId,
    statuses: &[JobStatus],
) -> Result<Vec<PandaId>, SqlError> {
    let mut ids = Vec::new();
    for status in statuses {
        ids.extend(sql.rows(
            "SELECT panda_id FROM job WHERE task_id = ?1 AND status = ?2 ORDER BY panda_id",
            params![task, status],
            only::<PandaId>,
        )?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub(super) fn task_counts(sql: &dyn Sql, task: TaskId) -> Result<JobCounts, SqlError> {
    let counts = sql.rows(
        "SELECT status, n FROM task_job_count WHERE task_id = ?1 AND n > 0",
        params![task],
        |columns| Ok((columns.take()?, columns.take()?)),
    )?;
    Ok(counts.into_iter().collect())
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

/// A name that no share has.
const NO_SHARE: &str = "\u{1}";

/// The statement over activated jobs that fit, of some shares and in some order.
macro_rules! claim {
    ($shares:literal, $order:literal) => {
        concat!(
            "SELECT panda_id, task_id, source_label FROM job
             WHERE status = 'activated' AND queue = ?1 AND global_share ",
            $shares,
            " AND memory <= ?2 AND disk <= ?3 AND walltime_secs <= ?4
               AND (?5 IS NULL OR resource_type = ?5) AND (?6 IS NULL OR task_id = ?6)
             ORDER BY ",
            $order,
            " LIMIT ?7"
        )
    };
}

/// Lists the queue's activated jobs that fit, in their order, until there are `limit` of them.
///
/// What the index cannot tell, label and user, is looked at row by row. So more than `limit` are
/// read where some do not fit, each time four times as many.
pub(super) fn claimable(
    sql: &dyn Sql,
    filter: &ClaimFilter<'_>,
    limit: usize,
    is_of_user: impl Fn(TaskId) -> Result<bool, SqlError>,
) -> Result<Vec<PandaId>, SqlError> {
    let or_no_limit = |size: ByteCount| match size {
        ByteCount::ZERO => ByteCount::from_bytes(u64::MAX),
        size => size,
    };
    let (statement, share) = match filter.order {
        ClaimOrder::ByNeed { share } => (claim!("= ?8", "priority DESC, turn, panda_id"), share),
        // The condition is always true: both statements have the same parameters.
        ClaimOrder::Oldest => (claim!("<> ?8", "panda_id"), NO_SHARE),
    };
    let mut page = limit.max(PAGE_MIN);
    loop {
        let rows: Vec<(PandaId, TaskId, SourceLabel)> = sql.rows(
            statement,
            params![
                filter.queue,
                or_no_limit(filter.memory),
                or_no_limit(filter.disk),
                filter.remaining_secs.unwrap_or(u64::MAX),
                filter.resource_type,
                filter.task_id,
                page,
                share,
            ],
            |columns| Ok((columns.take()?, columns.take()?, columns.take()?)),
        )?;
        let was_last = rows.len() < page;
        let mut ids = Vec::new();
        for (id, task, label) in rows {
            if ids.len() < limit && filter.source_label.accepts(&label) && is_of_user(task)? {
                ids.push(id);
            }
        }
        if was_last || ids.len() >= limit {
            return Ok(ids);
        }
        page = page.saturating_mul(4);
    }
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

pub(super) fn unheard_since(
    sql: &dyn Sql,
    statuses: &[JobStatus],
    before: Timestamp,
    limit: usize,
) -> Result<Vec<PandaId>, SqlError> {
    let mut found: Vec<(Timestamp, PandaId)> = Vec::new();
    for status in statuses {
        found.extend(sql.rows(
            concat!(
                "SELECT modified, panda_id FROM job WHERE status = ?1 AND ",
                not_ended!(),
                " AND modified < ?2 ORDER BY modified, panda_id LIMIT ?3"
            ),
            params![status, before, limit],
            |columns| Ok((columns.take()?, columns.take()?)),
        )?);
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, id)| id).collect())
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
