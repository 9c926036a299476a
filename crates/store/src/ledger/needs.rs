//! Rows of the parts of datasets that jobs read.

use std::{cell::RefCell, collections::BTreeMap};

use ailurus_model::{DatasetName, FileStatus, PandaId};
use ailurus_server_core::ledger::InputNeed;

use super::archive::{self, ARCHIVED_NEED};
use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, OwnedRow, Sql, SqlError, Table, only, params, row,
    },
};

/// Parts of datasets that jobs read.
pub(super) static NEED: Table = Table {
    name: "need",
    columns: &[
        Int("panda_id"),
        Int("input"),
        Int("part"),
        Text("dataset"),
        Text("status"),
    ],
    key: 3,
};

/// Which datasets are read by any job, as far as a batch has asked.
#[derive(Debug, Default)]
pub(super) struct Readers {
    by_dataset: RefCell<BTreeMap<DatasetName, bool>>,
}

impl Readers {
    /// Forgets what was known.
    pub(super) fn forget(&self) {
        self.by_dataset.borrow_mut().clear();
    }

    /// Says whether any job reads the dataset. Most outputs are read by nobody yet.
    fn has_any(&self, session: &Session, dataset: &DatasetName) -> Result<bool, SqlError> {
        if let Some(known) = self.by_dataset.borrow().get(dataset) {
            return Ok(*known);
        }
        let sql: &dyn Sql = session;
        let found = sql.first(
            "SELECT panda_id FROM (SELECT panda_id FROM need WHERE dataset = ?1
                 UNION ALL SELECT panda_id FROM archived_need WHERE dataset = ?1) AS reader LIMIT 1",
            params![dataset],
            only::<PandaId>,
        )?;
        if session.is_batch() {
            let mut known = self.by_dataset.borrow_mut();
            known.insert(dataset.clone(), found.is_some());
        }
        Ok(found.is_some())
    }
}

pub(super) fn insert(
    session: &Session,
    readers: &Readers,
    needs: &[InputNeed],
) -> Result<(), SqlError> {
    for need in needs {
        readers.by_dataset.borrow_mut().remove(&need.dataset);
        session.insert(&NEED, row_of(need))?;
    }
    Ok(())
}

/// Writes what a job reads, in place of what it read as the same part of the same input.
pub(super) fn put(session: &Session, readers: &Readers, need: &InputNeed) -> Result<(), SqlError> {
    readers.by_dataset.borrow_mut().remove(&need.dataset);
    session.read_all(&NEED, &row![need.panda_id])?;
    session.put(&NEED, row_of(need))
}

fn row_of(need: &InputNeed) -> OwnedRow {
    row![
        need.panda_id,
        need.input,
        need.part,
        need.dataset,
        need.status
    ]
    .to_vec()
}

fn read_need(columns: &mut Columns<'_>) -> Result<InputNeed, SqlError> {
    Ok(InputNeed {
        panda_id: columns.take()?,
        input: columns.take()?,
        part: columns.take()?,
        dataset: columns.take()?,
        status: columns.take()?,
    })
}

pub(super) fn of_job(session: &Session, job: PandaId) -> Result<Vec<InputNeed>, SqlError> {
    let mut rows = session.read_all(&NEED, &row![job])?;
    if rows.is_empty() && archive::may_have(session, job)? {
        rows = session.read_all(&ARCHIVED_NEED, &row![job])?;
    }
    rows.iter()
        .map(|row| read_need(&mut Columns::of(row)))
        .collect()
}

/// Reads at once what many jobs need.
pub(super) fn prefetch(session: &Session, jobs: &[PandaId]) -> Result<(), SqlError> {
    let keys = jobs.iter().map(|job| row![job].to_vec());
    session.prefetch_all(&NEED, 1, keys.collect())
}

/// As [`prefetch`], for rows of jobs: they begin with their numbers.
pub(super) fn prefetch_of(session: &Session, jobs: &[OwnedRow]) -> Result<(), SqlError> {
    let keys = jobs.iter().map(|row| vec![row[0].clone()]);
    session.prefetch_all(&NEED, 1, keys.collect())
}

pub(super) fn has_expected(session: &Session, job: PandaId) -> Result<bool, SqlError> {
    let sql: &dyn Sql = session;
    let found = sql.first(
        "SELECT panda_id FROM need WHERE panda_id = ?1 AND status = 'defined' LIMIT 1",
        params![job],
        only::<PandaId>,
    )?;
    Ok(found.is_some())
}

pub(super) fn waiting_for(
    session: &Session,
    readers: &Readers,
    dataset: &DatasetName,
    part: u32,
) -> Result<Vec<PandaId>, SqlError> {
    if !readers.has_any(session, dataset)? {
        return Ok(Vec::new());
    }
    let sql: &dyn Sql = session;
    sql.rows(
        "SELECT DISTINCT panda_id FROM need
         WHERE dataset = ?1 AND part = ?2 AND status = ?3 ORDER BY panda_id",
        params![dataset, part, FileStatus::Expected],
        only,
    )
}

pub(super) fn settle(
    session: &Session,
    readers: &Readers,
    dataset: &DatasetName,
    part: u32,
    status: FileStatus,
) -> Result<(), SqlError> {
    if !readers.has_any(session, dataset)? {
        return Ok(());
    }
    archive::bring_back_readers(session, dataset, part, status)?;
    let sql: &dyn Sql = session;
    let needs = sql.rows(
        "SELECT panda_id, input, part, dataset, status FROM need
         WHERE dataset = ?1 AND part = ?2 AND status <> ?3",
        params![dataset, part, status],
        read_need,
    )?;
    for mut need in needs {
        session.learn(&NEED, row_of(&need));
        need.status = status;
        session.put(&NEED, row_of(&need))?;
    }
    Ok(())
}
