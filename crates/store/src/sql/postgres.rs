//! The driver for `PostgreSQL`.
//!
//! One transaction writes at a time, whatever the number of servers: [`Sql::begin`] waits for a
//! lock that ends with the transaction. The database itself ends the session of a program that
//! holds it and has stopped moving, so that the others go on after [`IDLE_LIMIT`].
//!
//! The way to the database costs more than most statements. So changes of rows are all sent before
//! the first answer is waited for.

mod link;

use std::{borrow::Cow, cell::RefCell, collections::HashMap, error::Error, ops::ControlFlow};

use bytes::BytesMut;
use tokio_postgres::{
    Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

pub(crate) use self::link::{Link, LinkError};
use super::{
    Change, Column, Columns, Key, OnRow, Row, RowGroup, Sql, SqlError, Table, Value,
    table::{has, list},
};

/// How long a transaction may stand still before the database ends its session, as SQL has it.
const IDLE_LIMIT: &str = "5s";
/// How long a statement waits for a lock. More than [`IDLE_LIMIT`], so that who waits for a
/// program that stands still gets its turn.
const LOCK_LIMIT: &str = "15s";
/// How long one statement may run, its wait for locks included.
const STATEMENT_LIMIT: &str = "60s";
/// The lock of the transaction that writes: the letters `AiSv`.
pub(crate) const WRITER_LOCK: i64 = 0x4169_5376;
/// Prepared statements that one connection keeps.
const STATEMENTS_KEPT: usize = 512;

/// A connection to a `PostgreSQL` server.
pub(crate) struct Postgres {
    link: Link,
    statements: RefCell<HashMap<String, Statement>>,
    /// A transaction is open, as far as we know.
    in_transaction: RefCell<bool>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    /// Works over a connection, and sets its limits.
    pub(crate) fn over(link: Link) -> Result<Self, SqlError> {
        let limits = format!(
            "SET statement_timeout = '{STATEMENT_LIMIT}'; SET lock_timeout = '{LOCK_LIMIT}';
             SET idle_in_transaction_session_timeout = '{IDLE_LIMIT}';
             SET default_transaction_isolation = 'read committed'; SET jit = off;
             SET plan_cache_mode = 'force_generic_plan'; SET enable_seqscan = off;
             SET client_min_messages = 'warning'"
        );
        link.wait(link.client().batch_execute(&limits))?;
        Ok(Self {
            link,
            statements: RefCell::default(),
            in_transaction: RefCell::new(false),
        })
    }

    fn prepare(&self, sql: &str) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let text = numbered(sql);
        let statement = self.link.wait(self.link.client().prepare(&text))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS_KEPT {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn run(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.link.wait(self.link.client().batch_execute(sql))?)
    }
}

/// All values of one column of many rows.
#[derive(Debug)]
enum Values<'a> {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
}

impl<'a> Values<'a> {
    fn of(column: Column, values: impl Iterator<Item = &'a Value<'static>>) -> Self {
        match column {
            Column::Int(_) => Self::Ints(
                values
                    .map(|value| match value {
                        Value::Int(number) => Some(*number),
                        Value::Null | Value::Real(_) | Value::Text(_) => None,
                    })
                    .collect(),
            ),
            Column::Text(_) => Self::Texts(
                values
                    .map(|value| match value {
                        Value::Text(text) => Some(text.as_ref()),
                        Value::Null | Value::Int(_) | Value::Real(_) => None,
                    })
                    .collect(),
            ),
        }
    }

    fn as_param(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Ints(values) => values,
            Self::Texts(values) => values,
        }
    }
}

/// The values that a change needs, one array a column.
fn columns_of<'a>(group: &'a RowGroup<'_>) -> Vec<Values<'a>> {
    let values = |nr: usize| group.rows.iter().map(move |row| &row[nr]);
    let needed = group.table.needed(group.change).into_iter();
    needed
        .map(|nr| Values::of(group.table.columns[nr], values(nr)))
        .collect()
}

/// Returns `unnest(…) AS u (…)` over these columns: one array a column.
fn unnested(table: &Table, columns: &[usize]) -> String {
    let arrays = columns
        .iter()
        .zip(1..)
        .map(|(column, nr)| array(table.columns[*column], nr));
    let names = columns.iter().map(|column| table.columns[*column].name());
    format!(
        "unnest({}) AS u ({})",
        list(arrays, ", "),
        list(names, ", ")
    )
}

/// Returns the statement that does a change to many rows.
fn text_of(table: &Table, change: Change) -> String {
    let name = table.name;
    let rows = unnested(table, &table.needed(change));
    let key = same(table, table.key);
    match change {
        Change::Insert | Change::Put => {
            let columns = table.column_list();
            let mut text = format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {rows}");
            if change == Change::Put {
                text.push_str(&table.on_conflict());
            }
            text
        }
        Change::Update(mask) => {
            let changed = (table.key..table.columns.len())
                .filter(|column| has(mask, *column))
                .map(|column| format!("{0} = u.{0}", table.columns[column].name()));
            format!(
                "UPDATE {name} AS t SET {} FROM {rows} WHERE {key}",
                list(changed, ", ")
            )
        }
        Change::Delete => format!("DELETE FROM {name} AS t USING {rows} WHERE {key}"),
    }
}

/// Returns the condition that a row `t` has one of the keys `u`, of which the first parameter has
/// the first columns. That is said twice: whatever the planner believes about the size of a table,
/// it never reads more of it than rows with that first column. A plan made while a table was empty
/// would otherwise read all of it later, each time.
fn same(table: &Table, n: usize) -> String {
    let key = table.columns[..n].iter();
    let same = list(
        key.map(|column| format!("t.{0} = u.{0}", column.name())),
        " AND ",
    );
    let first = table.columns[0];
    format!("{same} AND t.{} = ANY({})", first.name(), array(first, 1))
}

/// Returns the parameter with all values of a column.
fn array(column: Column, nr: usize) -> String {
    match column {
        Column::Int(_) => format!("?{nr}::bigint[]"),
        Column::Text(_) => format!("?{nr}::text[]"),
    }
}

/// Writes the parameters as `PostgreSQL` does: `$1` for `?1`.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

/// Says what a database says: its own error says only "db error".
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
struct Said {
    message: String,
    code: String,
    #[source]
    source: tokio_postgres::Error,
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(source: tokio_postgres::Error) -> Self {
        let source: Box<dyn Error + Send + Sync> = match source.as_db_error() {
            Some(said) => Box::new(Said {
                message: said.message().to_owned(),
                code: said.code().code().to_owned(),
                source,
            }),
            None => Box::new(source),
        };
        Self::Failed { source }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => match *ty {
                Type::INT8 => number.to_sql(ty, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a column of numbers holds no ids"
                )]
                Type::FLOAT8 => (*number as f64).to_sql(ty, out),
                _ => Err(format!("a whole number is no {ty}").into()),
            },
            Self::Real(number) => match *ty {
                Type::FLOAT8 => number.to_sql(ty, out),
                _ => Err(format!("a number is no {ty}").into()),
            },
            Self::Text(text) => match *ty {
                Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN => text.to_sql(ty, out),
                _ => Err(format!("a text is no {ty}").into()),
            },
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Row for tokio_postgres::Row {
    fn get(&self, column: usize) -> Result<Value<'_>, SqlError> {
        let Some(described) = self.columns().get(column) else {
            return Err(SqlError::NoRow);
        };
        let int = |number: Option<i64>| number.map_or(Value::Null, Value::Int);
        Ok(match *described.type_() {
            Type::INT8 => int(self.try_get(column)?),
            Type::INT4 => int(self.try_get::<_, Option<i32>>(column)?.map(i64::from)),
            Type::BOOL => int(self.try_get::<_, Option<bool>>(column)?.map(i64::from)),
            Type::FLOAT8 => self
                .try_get::<_, Option<f64>>(column)?
                .map_or(Value::Null, Value::Real),
            _ => self
                .try_get::<_, Option<&str>>(column)?
                .map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text))),
        })
    }
}

fn as_params<'a>(values: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) { value })
        .collect()
}

impl Sql for Postgres {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, SqlError> {
        if params.is_empty() {
            // Savepoints cannot be prepared.
            return self.run(sql).map(|()| 0);
        }
        let statement = self.prepare(sql)?;
        let params = as_params(params);
        let client = self.link.client();
        Ok(self.link.wait(client.execute(&statement, &params))?)
    }

    fn query(&self, sql: &str, params: &[Value<'_>], on_row: OnRow<'_>) -> Result<(), SqlError> {
        let statement = self.prepare(sql)?;
        let params = as_params(params);
        let rows = self
            .link
            .wait(self.link.client().query(&statement, &params))?;
        for row in &rows {
            if on_row(&mut Columns::of(row))? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), SqlError> {
        self.in_transaction.replace(true);
        self.run(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({WRITER_LOCK})"
        ))
    }

    fn commit(&self) -> Result<(), SqlError> {
        // COMMIT takes a transaction back in which a statement failed, and calls that a success.
        // Before it, any statement fails there.
        self.run("SELECT 1; COMMIT")?;
        self.in_transaction.replace(false);
        Ok(())
    }

    fn roll_back(&self) {
        if self.in_transaction.replace(false)
            && !self.is_lost()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be taken back");
        }
    }

    fn is_lost(&self) -> bool {
        self.link.client().is_closed()
    }

    fn change(&self, groups: &[RowGroup<'_>]) -> Result<(), SqlError> {
        let mut ready = Vec::with_capacity(groups.len());
        for group in groups {
            let statement = self.prepare(&text_of(group.table, group.change))?;
            ready.push((group, statement, columns_of(group)));
        }
        let params: Vec<Vec<&(dyn ToSql + Sync)>> = ready
            .iter()
            .map(|(_, _, columns)| columns.iter().map(Values::as_param).collect())
            .collect();
        let client = self.link.client();
        let sent = ready.iter().zip(&params);
        let sent = sent.map(|((_, statement, _), params)| client.execute(statement, params));
        let answers = self.link.wait_for_all(sent);
        for ((group, _, _), changed) in ready.iter().zip(answers) {
            let changed = changed?;
            let is_short = usize::try_from(changed).is_ok_and(|changed| changed < group.rows.len());
            if is_short && matches!(group.change, Change::Update(_)) {
                return Err(SqlError::NoRow);
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
        let key: Vec<usize> = (0..n).collect();
        let columns = table
            .columns
            .iter()
            .map(|column| format!("t.{}", column.name()));
        let text = format!(
            "SELECT {} FROM {} AS t JOIN {} ON {}",
            list(columns, ", "),
            table.name,
            unnested(table, &key),
            same(table, n)
        );
        let statement = self.prepare(&text)?;
        let columns: Vec<Values<'_>> = key
            .into_iter()
            .map(|nr| Values::of(table.columns[nr], keys.iter().map(move |key| &key[nr])))
            .collect();
        let params: Vec<_> = columns.iter().map(Values::as_param).collect();
        let rows = self
            .link
            .wait(self.link.client().query(&statement, &params))?;
        for row in &rows {
            if on_row(&mut Columns::of(row))? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
