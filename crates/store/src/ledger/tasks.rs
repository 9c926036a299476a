//! Statements over tasks, their specifications, and the counters of numbers.

use std::sync::Arc;

use ailurus_model::{DatasetName, Seed, TaskId, TaskSpec, TaskStatus, Timestamp};
use ailurus_server_core::ledger::TaskRecord;

use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, Json, Sql, SqlError, Table, only, params, row,
    },
};

/// A task's row, without its specification.
pub(super) struct TaskRow {
    id: TaskId,
    pub(super) revision: u32,
    status: TaskStatus,
    n_jobs: u32,
    next_seed: Seed,
    created: Timestamp,
    state_changed: Timestamp,
}

impl TaskRow {
    pub(super) fn with_spec(self, spec: Arc<TaskSpec>) -> TaskRecord {
        TaskRecord {
            id: self.id,
            spec,
            revision: self.revision,
            status: self.status,
            n_jobs: self.n_jobs,
            next_seed: self.next_seed,
            created: self.created,
            state_changed: self.state_changed,
        }
    }
}

/// What changes of a task; new ones are written with all that they are.
static TASK: Table = Table {
    name: "task",
    columns: &[
        Int("id"),
        Text("status"),
        Int("n_jobs"),
        Int("next_seed"),
        Int("created"),
        Int("state_changed"),
        Int("revision"),
    ],
    key: 1,
};

static COUNTER: Table = Table {
    name: "counter",
    columns: &[Text("name"), Int("last")],
    key: 1,
};

pub(super) fn last_number(session: &Session, counter: &str) -> Result<u64, SqlError> {
    let row = session.read(&COUNTER, &row![counter])?;
    let row = row.ok_or(SqlError::NoRow)?;
    let mut columns = Columns::of(&row);
    columns.take::<String>()?;
    columns.take()
}

pub(super) fn next_number(session: &Session, counter: &str) -> Result<u64, SqlError> {
    let next = last_number(session, counter)? + 1;
    session.put(&COUNTER, row![counter, next])?;
    Ok(next)
}

pub(super) fn read(session: &Session, id: TaskId) -> Result<Option<TaskRow>, SqlError> {
    let row = session.read(&TASK, &row![id])?;
    row.map(|row| {
        let mut columns = Columns::of(&row);
        Ok(TaskRow {
            id: columns.take()?,
            status: columns.take()?,
            n_jobs: columns.take()?,
            next_seed: columns.take()?,
            created: columns.take()?,
            state_changed: columns.take()?,
            revision: columns.take()?,
        })
    })
    .transpose()
}

pub(super) fn read_spec(sql: &dyn Sql, id: TaskId) -> Result<TaskSpec, SqlError> {
    sql.one(
        "SELECT spec FROM task_spec WHERE task_id = ?1",
        params![id],
        |columns| columns.json(),
    )
}

pub(super) fn put(session: &Session, task: &TaskRecord) -> Result<(), SqlError> {
    match session.read(&TASK, &row![task.id])? {
        Some(_) => session.put(
            &TASK,
            row![
                task.id,
                task.status,
                task.n_jobs,
                task.next_seed,
                task.created,
                task.state_changed,
                task.revision,
            ],
        ),
        None => insert(session, task),
    }
}

fn insert(sql: &dyn Sql, task: &TaskRecord) -> Result<(), SqlError> {
    let spec = &*task.spec;
    sql.execute(
        "INSERT INTO task (id, user_name, name, chain, status, n_jobs, next_seed, created,
                           state_changed, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            task.id,
            spec.user,
            spec.name,
            spec.chain.as_ref().map_or("", |chain| chain.as_str()),
            task.status,
            task.n_jobs,
            task.next_seed,
            task.created,
            task.state_changed,
            task.revision,
        ],
    )?;
    sql.execute(
        "INSERT INTO task_spec (task_id, spec) VALUES (?1, ?2)",
        params![task.id, Json::of(spec)?],
    )?;
    for input in &spec.inputs {
        sql.execute(
            "INSERT INTO task_input (dataset, task_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![input.dataset, task.id],
        )?;
    }
    Ok(())
}

pub(super) fn live_named(
    sql: &dyn Sql,
    user: &str,
    name: &str,
) -> Result<Option<TaskId>, SqlError> {
    sql.first(
        "SELECT id FROM task
         WHERE user_name = ?1 AND name = ?2
           AND status NOT IN ('done', 'finished', 'failed', 'aborted')
         ORDER BY id LIMIT 1",
        params![user, name],
        only,
    )
}

pub(super) fn in_statuses(sql: &dyn Sql, statuses: &[TaskStatus]) -> Result<Vec<TaskId>, SqlError> {
    let mut ids = Vec::new();
    for status in statuses {
        ids.extend(sql.rows(
            "SELECT id FROM task WHERE status = ?1 ORDER BY id",
            params![status],
            only::<TaskId>,
        )?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub(super) fn live_readers_of(
    sql: &dyn Sql,
    dataset: &DatasetName,
) -> Result<Vec<TaskId>, SqlError> {
    sql.rows(
        "SELECT id FROM task_input JOIN task ON task.id = task_input.task_id
         WHERE dataset = ?1 AND status NOT IN ('done', 'finished', 'failed', 'aborted')
         ORDER BY id",
        params![dataset],
        only,
    )
}
