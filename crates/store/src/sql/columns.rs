//! Reads the columns of one row from left to right, in the order of the query.

use std::error::Error;

use super::{FromValue, OwnedRow, SqlError, Value};

/// One row of an answer, as a driver has it.
pub(crate) trait Row {
    /// Returns the value of a column, from 0.
    fn get(&self, column: usize) -> Result<Value<'_>, SqlError>;
}

impl Row for OwnedRow {
    fn get(&self, column: usize) -> Result<Value<'_>, SqlError> {
        let value = self.as_slice().get(column);
        value.map(Value::as_borrowed).ok_or(SqlError::NoRow)
    }
}

/// Where in a row the reader is.
pub(crate) struct Columns<'r> {
    row: &'r dyn Row,
    next: usize,
}

impl<'r> Columns<'r> {
    /// Begins with the first column.
    pub(crate) const fn of(row: &'r dyn Row) -> Self {
        Self { row, next: 0 }
    }

    /// Takes the next column.
    pub(crate) fn take<T: FromValue>(&mut self) -> Result<T, SqlError> {
        self.read(T::from_value)
    }

    /// Takes the next column and reads its text as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, SqlError> {
        self.optional_json()?.ok_or(SqlError::NoRow)
    }

    /// Takes the next column and reads its text as JSON, if there is one.
    pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(
        &mut self,
    ) -> Result<Option<T>, SqlError> {
        self.read(|value| match value {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(serde_json::from_str(&text)?)),
            Value::Int(_) | Value::Real(_) => Err(value.is_not("JSON")),
        })
    }

    /// Takes all of the next `n` columns as they are.
    pub(crate) fn values(&mut self, n: usize) -> Result<OwnedRow, SqlError> {
        (0..n)
            .map(|_| self.read(|value| Ok(value.into_owned())))
            .collect()
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(Value<'r>) -> Result<T, Box<dyn Error + Send + Sync>>,
    ) -> Result<T, SqlError> {
        let column = self.next;
        self.next += 1;
        read(self.row.get(column)?).map_err(|source| SqlError::Unreadable { column, source })
    }
}

/// Reads a row that has one column.
pub(crate) fn only<T: FromValue>(columns: &mut Columns<'_>) -> Result<T, SqlError> {
    columns.take()
}
