//! Statements over the workers that Harvesters report.

use ailurus_model::{HarvesterId, Timestamp, Worker, WorkerId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::row::{Columns, int, to_json};

pub(super) fn read(
    connection: &Connection,
    harvester: &HarvesterId,
    worker: WorkerId,
) -> rusqlite::Result<Option<Worker>> {
    connection
        .prepare_cached(
            "SELECT harvester_id, worker_id, batch_id, queue, status, resource_type, job_type,
                    core_count, node, submit_time, start_time, end_time, exit_code, diag, panda_ids
             FROM worker WHERE harvester_id = ? AND worker_id = ?",
        )?
        .query_row(params![harvester.as_str(), int(worker.value())], |row| {
            let mut columns = Columns::of(row);
            Ok(Worker {
                harvester_id: columns.parsed()?,
                worker_id: columns.u64().map(WorkerId::new)?,
                batch_id: columns.parsed()?,
                queue: columns.parsed()?,
                status: columns.parsed()?,
                resource_type: columns.take()?,
                job_type: columns.take()?,
                core_count: columns.take()?,
                node: columns.parsed()?,
                submit_time: columns.optional_time()?,
                start_time: columns.optional_time()?,
                end_time: columns.optional_time()?,
                exit_code: columns.take()?,
                diag: columns.take()?,
                panda_ids: columns.json()?,
            })
        })
        .optional()
}

pub(super) fn put(
    connection: &Connection,
    worker: &Worker,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO worker
                 (harvester_id, worker_id, batch_id, queue, status, resource_type, job_type,
                  core_count, node, submit_time, start_time, end_time, exit_code, diag, panda_ids,
                  modified)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            worker.harvester_id.as_str(),
            int(worker.worker_id.value()),
            worker.batch_id.as_str(),
            worker.queue.as_str(),
            worker.status.as_str(),
            worker.resource_type,
            worker.job_type,
            worker.core_count,
            worker.node.as_str(),
            worker.submit_time.map(|time| time.as_millis()),
            worker.start_time.map(|time| time.as_millis()),
            worker.end_time.map(|time| time.as_millis()),
            worker.exit_code,
            worker.diag,
            to_json(&worker.panda_ids)?,
            now.as_millis(),
        ])?;
    Ok(())
}
