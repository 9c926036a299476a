//! Numbers and columns: from the model's types to `SQLite`'s and back.

use std::{error::Error, str::FromStr};

use ailurus_model::{ByteCount, Timestamp};
use rusqlite::{Row, types::FromSql, types::Type};

/// Turns a number into `SQLite`'s signed one.
///
/// What does not fit becomes the largest that does: no counter gets there, and a size there
/// means "more than anything" either way.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Turns a size into `SQLite`'s signed number of bytes.
pub(crate) fn bytes(value: ByteCount) -> i64 {
    int(value.as_bytes())
}

/// Reads the columns of one row from left to right, in the order of the query.
pub(crate) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    /// Begins with the first column.
    pub(crate) const fn of(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    /// Takes the next column as it is.
    pub(crate) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    /// Takes a number that is never below zero.
    pub(crate) fn u64(&mut self) -> rusqlite::Result<u64> {
        Ok(u64::try_from(self.take::<i64>()?).unwrap_or(0))
    }

    /// Takes a number that is never below zero, or nothing.
    pub(crate) fn optional_u64(&mut self) -> rusqlite::Result<Option<u64>> {
        Ok(self
            .take::<Option<i64>>()?
            .map(|value| u64::try_from(value).unwrap_or(0)))
    }

    /// Takes a time.
    pub(crate) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.take().map(Timestamp::from_millis)
    }

    /// Takes a time, or nothing.
    pub(crate) fn optional_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    /// Takes a size.
    pub(crate) fn size(&mut self) -> rusqlite::Result<ByteCount> {
        self.u64().map(ByteCount::from_bytes)
    }

    /// Takes a text and reads it as `T`.
    pub(crate) fn parsed<T>(&mut self) -> rusqlite::Result<T>
    where
        T: FromStr,
        T::Err: Error + Send + Sync + 'static,
    {
        let index = self.next;
        self.next += 1;
        read_text(index, self.row.get_ref(index)?.as_str()?)
    }

    /// Takes a text and reads it as `T`, or nothing.
    pub(crate) fn optional_parsed<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr,
        T::Err: Error + Send + Sync + 'static,
    {
        let index = self.next;
        self.next += 1;
        let text = self.row.get_ref(index)?.as_str_or_null()?;
        text.map(|text| read_text(index, text)).transpose()
    }

    /// Takes a text and reads it as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        serde_json::from_str(self.row.get_ref(index)?.as_str()?)
            .map_err(|error| conversion(index, Box::new(error)))
    }

    /// Takes a text and reads it as JSON, or nothing.
    pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(
        &mut self,
    ) -> rusqlite::Result<Option<T>> {
        let index = self.next;
        self.next += 1;
        let text = self.row.get_ref(index)?.as_str_or_null()?;
        text.map(|text| {
            serde_json::from_str(text).map_err(|error| conversion(index, Box::new(error)))
        })
        .transpose()
    }
}

fn read_text<T>(index: usize, text: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    text.parse()
        .map_err(|error| conversion(index, Box::new(error)))
}

fn conversion(index: usize, error: Box<dyn Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error)
}

/// Writes a value as JSON text for one column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
