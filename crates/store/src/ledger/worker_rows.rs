//! Rows of the workers that Harvesters report.

use ailurus_model::{HarvesterId, Timestamp, Worker, WorkerId};

use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, Json, SqlError, Table, row,
    },
};

static WORKER: Table = Table {
    name: "worker",
    columns: &[
        Text("harvester_id"),
        Int("worker_id"),
        Text("batch_id"),
        Text("queue"),
        Text("status"),
        Text("resource_type"),
        Text("job_type"),
        Int("core_count"),
        Text("node"),
        Int("submit_time"),
        Int("start_time"),
        Int("end_time"),
        Int("exit_code"),
        Text("diag"),
        Text("panda_ids"),
        Int("modified"),
        Text("detail"),
    ],
    key: 2,
};

pub(super) fn read(
    session: &Session,
    harvester: &HarvesterId,
    worker: WorkerId,
) -> Result<Option<Worker>, SqlError> {
    let row = session.read(&WORKER, &row![harvester, worker])?;
    row.map(|row| {
        let mut columns = Columns::of(&row);
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
            detail: {
                columns.take::<Timestamp>()?;
                columns.optional_json()?.unwrap_or_default()
            },
        })
    })
    .transpose()
}

pub(super) fn put(session: &Session, worker: &Worker, now: Timestamp) -> Result<(), SqlError> {
    session.put(
        &WORKER,
        row![
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
}
