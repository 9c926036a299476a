//! Statements over tasks, their specifications, and the counters of numbers.

use std::sync::Arc;

use ailurus_model::{DatasetName, Seed, TaskId, TaskSpec, TaskStatus, Timestamp};
use ailurus_server_core::ledger::TaskRecord;
use rusqlite::{Connection, OptionalExtension, params};

use crate::row::{Columns, int, to_json};

/// A task's row, without its specification.
pub(super) struct TaskRow {
    id: TaskId,
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
            status: self.status,
            n_jobs: self.n_jobs,
            next_seed: self.next_seed,
            created: self.created,
            state_changed: self.state_changed,
        }
    }
}

pub(super) fn next_number(connection: &Connection, counter: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("UPDATE counter SET last = last + 1 WHERE name = ? RETURNING last")?
        .query_row([counter], |row| Columns::of(row).u64())
}

pub(super) fn read(connection: &Connection, id: TaskId) -> rusqlite::Result<Option<TaskRow>> {
    connection
        .prepare_cached(
            "SELECT status, n_jobs, next_seed, created, state_changed FROM task WHERE id = ?",
        )?
        .query_row([int(id.value())], |row| {
            let mut columns = Columns::of(row);
            Ok(TaskRow {
                id,
                status: columns.parsed()?,
                n_jobs: columns.take()?,
                next_seed: columns.u64().map(Seed::new)?,
                created: columns.time()?,
                state_changed: columns.time()?,
            })
        })
        .optional()
}

pub(super) fn read_spec(connection: &Connection, id: TaskId) -> rusqlite::Result<TaskSpec> {
    connection
        .prepare_cached("SELECT spec FROM task_spec WHERE task_id = ?")?
        .query_row([int(id.value())], |row| Columns::of(row).json())
}

pub(super) fn put(connection: &Connection, task: &TaskRecord) -> rusqlite::Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE task SET status = ?, n_jobs = ?, next_seed = ?, state_changed = ? WHERE id = ?",
        )?
        .execute(params![
            task.status.as_str(),
            task.n_jobs,
            int(task.next_seed.value()),
            task.state_changed.as_millis(),
            int(task.id.value()),
        ])?;
    if changed == 0 {
        insert(connection, task)?;
    }
    Ok(())
}

fn insert(connection: &Connection, task: &TaskRecord) -> rusqlite::Result<()> {
    let id = int(task.id.value());
    let spec = &*task.spec;
    connection
        .prepare_cached(
            "INSERT INTO task (id, user, name, chain, status, n_jobs, next_seed, created,
                               state_changed)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            spec.user,
            spec.name,
            spec.chain.as_ref().map_or("", |chain| chain.as_str()),
            task.status.as_str(),
            task.n_jobs,
            int(task.next_seed.value()),
            task.created.as_millis(),
            task.state_changed.as_millis(),
        ])?;
    connection
        .prepare_cached("INSERT INTO task_spec (task_id, spec) VALUES (?, ?)")?
        .execute(params![id, to_json(spec)?])?;
    let mut insert_input = connection
        .prepare_cached("INSERT OR IGNORE INTO task_input (dataset, task_id) VALUES (?, ?)")?;
    for input in &spec.inputs {
        insert_input.execute(params![input.dataset.as_str(), id])?;
    }
    Ok(())
}

pub(super) fn live_named(
    connection: &Connection,
    user: &str,
    name: &str,
) -> rusqlite::Result<Option<TaskId>> {
    connection
        .prepare_cached(
            "SELECT id FROM task
             WHERE user = ? AND name = ?
               AND status NOT IN ('done', 'finished', 'failed', 'aborted')
             ORDER BY id LIMIT 1",
        )?
        .query_row([user, name], |row| Columns::of(row).u64().map(TaskId::new))
        .optional()
}

pub(super) fn in_statuses(
    connection: &Connection,
    statuses: &[TaskStatus],
) -> rusqlite::Result<Vec<TaskId>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM task WHERE status = ? ORDER BY id")?;
    let mut ids = Vec::new();
    for status in statuses {
        let rows = statement.query_map([status.as_str()], |row| {
            Columns::of(row).u64().map(TaskId::new)
        })?;
        for id in rows {
            ids.push(id?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub(super) fn live_readers_of(
    connection: &Connection,
    dataset: &DatasetName,
) -> rusqlite::Result<Vec<TaskId>> {
    connection
        .prepare_cached(
            "SELECT id FROM task_input JOIN task ON task.id = task_input.task_id
             WHERE dataset = ? AND status NOT IN ('done', 'finished', 'failed', 'aborted')
             ORDER BY id",
        )?
        .query_map([dataset.as_str()], |row| {
            Columns::of(row).u64().map(TaskId::new)
        })?
        .collect()
}
