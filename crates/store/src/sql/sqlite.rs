//! The driver for `SQLite`.

use std::{borrow::Cow, ops::ControlFlow};

use rusqlite::{
    CachedStatement, Connection,
    types::{ToSqlOutput, ValueRef},
};

use super::{Columns, OnRow, Row, Sql, SqlError, Value};

/// A connection to an `SQLite` file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Works over a connection that is set up.
    pub(crate) const fn over(connection: Connection) -> Self {
        Self { connection }
    }

    fn prepare(&self, sql: &str, params: &[Value<'_>]) -> rusqlite::Result<CachedStatement<'_>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for (index, value) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        Ok(statement)
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Failed {
            source: Box::new(source),
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn get(&self, column: usize) -> Result<Value<'_>, SqlError> {
        Ok(match self.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|error| SqlError::Unreadable {
                    column,
                    source: Box::new(error),
                })?;
                Value::Text(Cow::Borrowed(text))
            }
            ValueRef::Blob(bytes) => Value::Text(String::from_utf8_lossy(bytes)),
        })
    }
}

impl Sql for Sqlite {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, SqlError> {
        let changed = self.prepare(sql, params)?.raw_execute()?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn query(&self, sql: &str, params: &[Value<'_>], on_row: OnRow<'_>) -> Result<(), SqlError> {
        let mut statement = self.prepare(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if on_row(&mut Columns::of(row))? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), SqlError> {
        self.execute("BEGIN IMMEDIATE", &[]).map(drop)
    }

    fn commit(&self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[]).map(drop)
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be taken back");
        }
    }
}
