//! Statements over datasets and their files.

use ailurus_model::{DatasetName, EndpointName};
use ailurus_server_core::ledger::{DatasetRecord, FileRecord};

use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, SqlError, Table, row,
    },
};

/// The columns of a file, in the order in which [`read_file`] takes them.
pub(crate) const FILE_COLUMNS: &str = "dataset, part, id, lfn, scope, guid, size, checksum, surl, endpoint, producer, n_events,\
     replicas";

static DATASET: Table = Table {
    name: "dataset",
    columns: &[Text("name"), Int("producer"), Int("n_parts")],
    key: 1,
};

/// Files by dataset and part, which are as good a key as their numbers.
static FILE: Table = Table {
    name: "file",
    columns: &[
        Text("dataset"),
        Int("part"),
        Int("id"),
        Text("lfn"),
        Text("scope"),
        Text("guid"),
        Int("size"),
        Text("checksum"),
        Text("surl"),
        Text("endpoint"),
        Int("producer"),
        Int("n_events"),
        Text("replicas"),
    ],
    key: 2,
};

pub(super) fn read(
    session: &Session,
    name: &DatasetName,
) -> Result<Option<DatasetRecord>, SqlError> {
    let row = session.read(&DATASET, &row![name])?;
    row.map(|row| {
        let mut columns = Columns::of(&row);
        Ok(DatasetRecord {
            name: columns.take()?,
            producer: columns.take()?,
            n_parts: columns.take()?,
        })
    })
    .transpose()
}

pub(super) fn put(session: &Session, dataset: &DatasetRecord) -> Result<(), SqlError> {
    session.put(
        &DATASET,
        row![dataset.name, dataset.producer, dataset.n_parts],
    )
}

pub(super) fn insert_file(session: &Session, file: &FileRecord) -> Result<(), SqlError> {
    session.insert(
        &FILE,
        row![
            file.dataset,
            file.part,
            file.id,
            file.lfn,
            file.scope,
            file.guid,
            file.size,
            file.checksum,
            file.surl,
            file.endpoint,
            file.producer,
            file.n_events,
            joined(&file.replicas),
        ],
    )
}

pub(super) fn file_of_part(
    session: &Session,
    dataset: &DatasetName,
    part: u32,
) -> Result<Option<FileRecord>, SqlError> {
    let row = session.read(&FILE, &row![dataset, part])?;
    row.map(|row| read_file(&mut Columns::of(&row))).transpose()
}

/// Reads a file from a row of [`FILE_COLUMNS`].
pub(crate) fn read_file(columns: &mut Columns<'_>) -> Result<FileRecord, SqlError> {
    Ok(FileRecord {
        dataset: columns.take()?,
        part: columns.take()?,
        id: columns.take()?,
        lfn: columns.take()?,
        scope: columns.take()?,
        guid: columns.take()?,
        size: columns.take()?,
        checksum: columns.take()?,
        surl: columns.take()?,
        endpoint: columns.take()?,
        producer: columns.take()?,
        n_events: columns.take()?,
        replicas: split(&columns.take::<String>()?),
    })
}

/// Writes names of endpoints as one text; none of them has a comma.
fn joined(replicas: &[EndpointName]) -> String {
    let names = replicas.iter().map(EndpointName::as_str);
    let names: Vec<&str> = names.filter(|name| !name.contains(',')).collect();
    names.join(",")
}

fn split(names: &str) -> Vec<EndpointName> {
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(EndpointName::new).collect()
}
