//! Statements over the parts of datasets that jobs read.

use ailurus_model::{DatasetName, FileStatus, PandaId};
use ailurus_server_core::ledger::InputNeed;
use rusqlite::{Connection, params};

use crate::row::{Columns, int};

pub(super) fn insert(connection: &Connection, needs: &[InputNeed]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO need (panda_id, input, part, dataset, status) VALUES (?, ?, ?, ?, ?)",
    )?;
    for need in needs {
        statement.execute(params![
            int(need.panda_id.value()),
            need.input,
            need.part,
            need.dataset.as_str(),
            need.status.as_str(),
        ])?;
    }
    Ok(())
}

pub(super) fn of_job(connection: &Connection, job: PandaId) -> rusqlite::Result<Vec<InputNeed>> {
    connection
        .prepare_cached(
            "SELECT input, part, dataset, status FROM need WHERE panda_id = ?
             ORDER BY input, part",
        )?
        .query_map([int(job.value())], |row| {
            let mut columns = Columns::of(row);
            Ok(InputNeed {
                panda_id: job,
                input: columns.take()?,
                part: columns.take()?,
                dataset: columns.parsed()?,
                status: columns.parsed()?,
            })
        })?
        .collect()
}

pub(super) fn has_expected(connection: &Connection, job: PandaId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM need WHERE panda_id = ? AND status = 'defined')",
        )?
        .query_row([int(job.value())], |row| row.get(0))
}

pub(super) fn waiting_for(
    connection: &Connection,
    dataset: &DatasetName,
    part: u32,
) -> rusqlite::Result<Vec<PandaId>> {
    connection
        .prepare_cached(
            "SELECT DISTINCT panda_id FROM need
             WHERE dataset = ? AND part = ? AND status = ? ORDER BY panda_id",
        )?
        .query_map(
            params![dataset.as_str(), part, FileStatus::Expected.as_str()],
            |row| Columns::of(row).u64().map(PandaId::new),
        )?
        .collect()
}

pub(super) fn settle(
    connection: &Connection,
    dataset: &DatasetName,
    part: u32,
    status: FileStatus,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE need SET status = ? WHERE dataset = ? AND part = ?")?
        .execute(params![status.as_str(), dataset.as_str(), part])?;
    Ok(())
}
