//! The driver for `SQLite`.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::ControlFlow,
    sync::Arc,
};

use rusqlite::{
    CachedStatement, Connection,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    Change, Columns, Key, OnRow, Row, RowGroup, Sql, SqlError, Table, Value,
    table::{has, list},
};

/// A connection to an `SQLite` file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: Connection,
    /// A transaction was begun and not ended by us. `SQLite` ends one by itself after some errors.
    is_begun: Cell<bool>,
    /// Texts of statements by table and what they do.
    texts: RefCell<HashMap<(&'static str, Change), Arc<str>>>,
}

impl Sqlite {
    /// Works over a connection that is set up.
    pub(crate) fn over(connection: Connection) -> Self {
        Self {
            connection,
            is_begun: Cell::new(false),
            texts: RefCell::default(),
        }
    }

    /// Returns the text of a change.
    fn text(&self, table: &'static Table, change: Change) -> Arc<str> {
        let mut texts = self.texts.borrow_mut();
        let text = texts
            .entry((table.name, change))
            .or_insert_with(|| text_of(table, change).into());
        Arc::clone(text)
    }

    /// Fails if the transaction is gone: what came now would be outside of any.
    fn check_begun(&self) -> Result<(), SqlError> {
        if self.is_begun.get() && self.connection.is_autocommit() {
            return Err(SqlError::Lost {
                reason: "it gave the transaction up".to_owned(),
            });
        }
        Ok(())
    }

    fn prepare(&self, sql: &str, params: &[Value<'_>]) -> Result<CachedStatement<'_>, SqlError> {
        self.check_begun()?;
        let mut statement = self.connection.prepare_cached(sql)?;
        for (index, value) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        Ok(statement)
    }
}

/// Returns the statement that does a change to one row.
fn text_of(table: &Table, change: Change) -> String {
    let name = table.name;
    let numbered = |column: usize| format!("{} = ?{}", table.columns[column].name(), column + 1);
    let key = list((0..table.key).map(numbered), " AND ");
    match change {
        Change::Insert | Change::Put => {
            let values = list((1..=table.columns.len()).map(|nr| format!("?{nr}")), ", ");
            let mut text = format!(
                "INSERT INTO {name} ({}) VALUES ({values})",
                table.column_list()
            );
            if change == Change::Put {
                text.push_str(&table.on_conflict());
            }
            text
        }
        Change::Update(mask) => {
            let changed = (table.key..table.columns.len()).filter(|column| has(mask, *column));
            format!(
                "UPDATE {name} SET {} WHERE {key}",
                list(changed.map(numbered), ", ")
            )
        }
        Change::Delete => format!("DELETE FROM {name} WHERE {key}"),
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
        self.execute("BEGIN IMMEDIATE", &[])?;
        self.is_begun.set(true);
        Ok(())
    }

    fn commit(&self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[])?;
        self.is_begun.set(false);
        Ok(())
    }

    fn roll_back(&self) {
        self.is_begun.set(false);
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be taken back");
        }
    }

    fn is_lost(&self) -> bool {
        false
    }

    fn change(&self, groups: &[RowGroup<'_>]) -> Result<(), SqlError> {
        self.check_begun()?;
        for RowGroup {
            table,
            change,
            rows,
        } in groups
        {
            let mut statement = self.connection.prepare_cached(&self.text(table, *change))?;
            let needed = table.needed(*change);
            for row in rows {
                for column in &needed {
                    statement.raw_bind_parameter(column + 1, &row[*column])?;
                }
                if statement.raw_execute()? == 0 && matches!(change, Change::Update(_)) {
                    return Err(SqlError::NoRow);
                }
            }
        }
        Ok(())
    }

    fn read_keys(
        &self,
        table: &'static Table,
        n: usize,
        keys: &[&Key],
        on_row: OnRow<'_>,
    ) -> Result<(), SqlError> {
        let text = table.select_by_prefix(n);
        for key in keys {
            self.query(&text, key, on_row)?;
        }
        Ok(())
    }
}
