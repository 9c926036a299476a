//! Statements over datasets and their files.

use ailurus_model::DatasetName;
use ailurus_server_core::ledger::{DatasetRecord, FileRecord};

use crate::sql::{Columns, Sql, SqlError, params};

macro_rules! file_columns {
    () => {
        "id, dataset, part, lfn, scope, guid, size, checksum, surl, endpoint, producer,
         n_events"
    };
}

/// The columns of a file, in the order in which [`read_file`] takes them.
pub(crate) const FILE_COLUMNS: &str = file_columns!();

pub(super) fn read(sql: &dyn Sql, name: &DatasetName) -> Result<Option<DatasetRecord>, SqlError> {
    sql.first(
        "SELECT name, producer, n_parts FROM dataset WHERE name = ?1",
        params![name],
        |columns| {
            Ok(DatasetRecord {
                name: columns.take()?,
                producer: columns.take()?,
                n_parts: columns.take()?,
            })
        },
    )
}

pub(super) fn put(sql: &dyn Sql, dataset: &DatasetRecord) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO dataset (name, producer, n_parts) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE
         SET producer = excluded.producer, n_parts = excluded.n_parts",
        params![dataset.name, dataset.producer, dataset.n_parts],
    )
    .map(drop)
}

pub(super) fn insert_file(sql: &dyn Sql, file: &FileRecord) -> Result<(), SqlError> {
    sql.execute(
        concat!(
            "INSERT INTO file (",
            file_columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        ),
        params![
            file.id,
            file.dataset,
            file.part,
            file.lfn,
            file.scope,
            file.guid,
            file.size,
            file.checksum,
            file.surl,
            file.endpoint,
            file.producer,
            file.n_events,
        ],
    )
    .map(drop)
}

pub(super) fn file_of_part(
    sql: &dyn Sql,
    dataset: &DatasetName,
    part: u32,
) -> Result<Option<FileRecord>, SqlError> {
    sql.first(
        concat!(
            "SELECT ",
            file_columns!(),
            " FROM file WHERE dataset = ?1 AND part = ?2"
        ),
        params![dataset, part],
        read_file,
    )
}

/// Reads a file from a row of [`FILE_COLUMNS`].
pub(crate) fn read_file(columns: &mut Columns<'_>) -> Result<FileRecord, SqlError> {
    Ok(FileRecord {
        id: columns.take()?,
        dataset: columns.take()?,
        part: columns.take()?,
        lfn: columns.take()?,
        scope: columns.take()?,
        guid: columns.take()?,
        size: columns.take()?,
        checksum: columns.take()?,
        surl: columns.take()?,
        endpoint: columns.take()?,
        producer: columns.take()?,
        n_events: columns.take()?,
    })
}
