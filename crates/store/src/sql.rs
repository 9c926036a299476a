//! The port to a database: one SQL text for all of them, with neutral values going in and out.
//!
//! A statement is written once, in the part of SQL that `SQLite` and `PostgreSQL` share, with the
//! parameters `?1`, `?2` and so on. A driver runs it through [`Sql`]; the methods of `dyn Sql` make
//! that short:
//!
//! ```ignore
//! sql.execute("UPDATE task SET status = ?1 WHERE id = ?2", params![status, id])?;
//! let id: Option<TaskId> = sql.first("SELECT id FROM task WHERE name = ?1", params![name], only)?;
//! let ids: Vec<TaskId> = sql.rows("SELECT id FROM task ORDER BY id", params![], only)?;
//! ```
//!
//! What differs between databases and is therefore not used: `rowid`, `INSERT OR …` (write
//! `ON CONFLICT`), triggers, `INDEXED BY`, booleans and dates (write numbers), `sum` without
//! `CAST(… AS BIGINT)`, a parameter that is compared with NULL before it is with a column, and
//! columns named `user`.
//!
//! A type that is no value yet becomes one in `sql/value.rs`, mostly by one word in a list there.

mod columns;
pub(crate) mod postgres;
pub(crate) mod sqlite;
pub(crate) mod table;
mod value;

use std::{error::Error, fmt::Debug, ops::ControlFlow};

pub(crate) use columns::{Columns, Row, only};
pub(crate) use table::{Change, Column, Key, OwnedRow, RowGroup, Table};
pub(crate) use value::{FromValue, Json, ToValue, Value};

/// The parameters of a statement: any number of values that are [`ToValue`].
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::ToValue::to_value(&$value)),*][..]
    };
}
pub(crate) use params;

/// A row or a key as an array: values that borrow nothing.
macro_rules! row {
    ($($value:expr),* $(,)?) => {
        [$($crate::sql::ToValue::to_value(&$value).into_owned()),*]
    };
}
pub(crate) use row;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// The database refused the statement, or could not run it.
    #[error("the database says: {source}")]
    Failed {
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row holds what this program cannot read.
    #[error("column {column} of an answer cannot be read")]
    Unreadable {
        /// Which column, from 0.
        column: usize,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A value cannot be written as JSON.
    #[error("a value cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// There is no connection to the database.
    #[error("the database is out of reach: {reason}")]
    Lost {
        /// Why it could not be reached when it was tried last.
        reason: String,
    },
    /// A row that must be there is not.
    #[error("there is no such row")]
    NoRow,
}

/// What is done with one row of an answer: go on, or stop reading.
pub(crate) type OnRow<'a> =
    &'a mut dyn FnMut(&mut Columns<'_>) -> Result<ControlFlow<()>, SqlError>;

/// A connection to a database. One thread uses it at a time.
pub(crate) trait Sql: Debug + Send {
    /// Runs a statement without an answer, and returns how many rows it changed.
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, SqlError>;
    /// Runs a statement and gives its rows to `on_row`, in order.
    fn query(&self, sql: &str, params: &[Value<'_>], on_row: OnRow<'_>) -> Result<(), SqlError>;
    /// Begins a transaction that writes.
    fn begin(&self) -> Result<(), SqlError>;
    /// Makes the transaction durable.
    fn commit(&self) -> Result<(), SqlError>;
    /// Takes the transaction back, if there is one. What fails here is logged.
    fn roll_back(&self);
    /// Says whether the connection is gone, so that a new one is needed.
    fn is_lost(&self) -> bool;
    /// Changes rows, group after group.
    fn change(&self, groups: &[RowGroup<'_>]) -> Result<(), SqlError>;
    /// Reads the rows whose first `n` columns are one of these, in any order.
    fn read_keys(
        &self,
        table: &'static Table,
        n: usize,
        keys: &[&Key],
        on_row: OnRow<'_>,
    ) -> Result<(), SqlError>;
}

impl dyn Sql + '_ {
    /// Runs a query and reads all of its rows.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut rows = Vec::new();
        self.query(sql, params, &mut |columns| {
            rows.push(read(columns)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// Runs a query and reads its first row, if it has one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let mut found = None;
        self.query(sql, params, &mut |columns| {
            found = Some(read(columns)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Runs a query that always has a row, and reads it.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        read: impl FnMut(&mut Columns<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.first(sql, params, read)?.ok_or(SqlError::NoRow)
    }
}
