//! Statements over datasets and their files.

use ailurus_model::{ByteCount, DatasetName, FileId, PandaId, TaskId};
use ailurus_server_core::ledger::{DatasetRecord, FileRecord};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::row::{Columns, bytes, int};

macro_rules! file_columns {
    () => {
        "id, dataset, part, lfn, scope, guid, size, checksum, surl, endpoint, producer"
    };
}

/// The columns of a file, in the order in which [`read_file`] takes them.
pub(crate) const FILE_COLUMNS: &str = file_columns!();

pub(super) fn read(
    connection: &Connection,
    name: &DatasetName,
) -> rusqlite::Result<Option<DatasetRecord>> {
    connection
        .prepare_cached("SELECT name, producer, n_parts FROM dataset WHERE name = ?")?
        .query_row([name.as_str()], |row| {
            let mut columns = Columns::of(row);
            Ok(DatasetRecord {
                name: columns.parsed()?,
                producer: columns.optional_u64()?.map(TaskId::new),
                n_parts: columns.take()?,
            })
        })
        .optional()
}

pub(super) fn put(connection: &Connection, dataset: &DatasetRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO dataset (name, producer, n_parts) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE
             SET producer = excluded.producer, n_parts = excluded.n_parts",
        )?
        .execute(params![
            dataset.name.as_str(),
            dataset.producer.map(|task| int(task.value())),
            dataset.n_parts,
        ])?;
    Ok(())
}

pub(super) fn insert_file(connection: &Connection, file: &FileRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO file (",
            file_columns!(),
            ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ))?
        .execute(params![
            int(file.id.value()),
            file.dataset.as_str(),
            file.part,
            file.lfn.as_str(),
            file.scope.as_str(),
            file.guid.as_ref().map(|guid| guid.as_str()),
            file.size.map(bytes),
            file.checksum.as_ref().map(ToString::to_string),
            file.surl,
            file.endpoint.as_str(),
            file.producer.map(|job| int(job.value())),
        ])?;
    Ok(())
}

pub(super) fn file_of_part(
    connection: &Connection,
    dataset: &DatasetName,
    part: u32,
) -> rusqlite::Result<Option<FileRecord>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            file_columns!(),
            " FROM file WHERE dataset = ? AND part = ?"
        ))?
        .query_row(params![dataset.as_str(), part], read_file)
        .optional()
}

/// Reads a file from a row of [`FILE_COLUMNS`].
pub(crate) fn read_file(row: &Row<'_>) -> rusqlite::Result<FileRecord> {
    let mut columns = Columns::of(row);
    Ok(FileRecord {
        id: columns.u64().map(FileId::new)?,
        dataset: columns.parsed()?,
        part: columns.take()?,
        lfn: columns.parsed()?,
        scope: columns.parsed()?,
        guid: columns.optional_parsed()?,
        size: columns.optional_u64()?.map(ByteCount::from_bytes),
        checksum: columns.optional_parsed()?,
        surl: columns.take()?,
        endpoint: columns.parsed()?,
        producer: columns.optional_u64()?.map(PandaId::new),
    })
}
