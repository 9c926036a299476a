//! Statements over the parts of datasets that jobs read.

use ailurus_model::{DatasetName, FileStatus, PandaId};
use ailurus_server_core::ledger::InputNeed;

use crate::sql::{Sql, SqlError, only, params};

pub(super) fn insert(sql: &dyn Sql, needs: &[InputNeed]) -> Result<(), SqlError> {
    for need in needs {
        sql.execute(
            "INSERT INTO need (panda_id, input, part, dataset, status)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                need.panda_id,
                need.input,
                need.part,
                need.dataset,
                need.status
            ],
        )?;
    }
    Ok(())
}

pub(super) fn of_job(sql: &dyn Sql, job: PandaId) -> Result<Vec<InputNeed>, SqlError> {
    sql.rows(
        "SELECT input, part, dataset, status FROM need WHERE panda_id = ?1 ORDER BY input, part",
        params![job],
        |columns| {
            Ok(InputNeed {
                panda_id: job,
                input: columns.take()?,
                part: columns.take()?,
                dataset: columns.take()?,
                status: columns.take()?,
            })
        },
    )
}

pub(super) fn has_expected(sql: &dyn Sql, job: PandaId) -> Result<bool, SqlError> {
    let found = sql.first(
        "SELECT panda_id FROM need WHERE panda_id = ?1 AND status = 'defined' LIMIT 1",
        params![job],
        only::<PandaId>,
    )?;
    Ok(found.is_some())
}

pub(super) fn waiting_for(
    sql: &dyn Sql,
    dataset: &DatasetName,
    part: u32,
) -> Result<Vec<PandaId>, SqlError> {
    sql.rows(
        "SELECT DISTINCT panda_id FROM need
         WHERE dataset = ?1 AND part = ?2 AND status = ?3 ORDER BY panda_id",
        params![dataset, part, FileStatus::Expected],
        only,
    )
}

pub(super) fn settle(
    sql: &dyn Sql,
    dataset: &DatasetName,
    part: u32,
    status: FileStatus,
) -> Result<(), SqlError> {
    sql.execute(
        "UPDATE need SET status = ?1 WHERE dataset = ?2 AND part = ?3",
        params![status, dataset, part],
    )
    .map(drop)
}
