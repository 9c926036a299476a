//! Statements over the workers that Harvesters report.

use ailurus_model::{HarvesterId, Timestamp, Worker, WorkerId};

use crate::sql::{Json, Sql, SqlError, params};

pub(super) fn read(
    sql: &dyn Sql,
    harvester: &HarvesterId,
    worker: WorkerId,
) -> Result<Option<Worker>, SqlError> {
    sql.first(
        "SELECT harvester_id, worker_id, batch_id, queue, status, resource_type, job_type,
                core_count, node, submit_time, start_time, end_time, exit_code, diag, panda_ids,
                detail
         FROM worker WHERE harvester_id = ?1 AND worker_id = ?2",
        params![harvester, worker],
        |columns| {
            Ok(Worker {
                harvester_id: columns.take()?,
                worker_id: columns.take()?,
                batch_id: columns.take()?,
                queue: columns.take()?,
                status: columns.take()?,
                resource_type: columns.take()?,
                job_type: columns.take()?,
                core_count: columns.take()?,
                node: columns.take()?,
                submit_time: columns.take()?,
                start_time: columns.take()?,
                end_time: columns.take()?,
                exit_code: columns.take()?,
                diag: columns.take()?,
                panda_ids: columns.json()?,
                detail: columns.optional_json()?.unwrap_or_default(),
            })
        },
    )
}

pub(super) fn put(sql: &dyn Sql, worker: &Worker, now: Timestamp) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO worker
             (harvester_id, worker_id, batch_id, queue, status, resource_type, job_type,
              core_count, node, submit_time, start_time, end_time, exit_code, diag, panda_ids,
              modified, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (harvester_id, worker_id) DO UPDATE SET
             batch_id = ?3, queue = ?4, status = ?5, resource_type = ?6, job_type = ?7,
             core_count = ?8, node = ?9, submit_time = ?10, start_time = ?11, end_time = ?12,
             exit_code = ?13, diag = ?14, panda_ids = ?15, modified = ?16, detail = ?17",
        params![
            worker.harvester_id,
            worker.worker_id,
            worker.batch_id,
            worker.queue,
            worker.status,
            worker.resource_type,
            worker.job_type,
            worker.core_count,
            worker.node,
            worker.submit_time,
            worker.start_time,
            worker.end_time,
            worker.exit_code,
            worker.diag,
            Json::of(&worker.panda_ids)?,
            now,
            Json::of(&worker.detail)?,
        ],
    )
    .map(drop)
}
