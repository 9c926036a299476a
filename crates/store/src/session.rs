//! The unit of work: what a batch of operations reads and writes, between them and the database.
//!
//! Rows of the tables in [`crate::tables`] are read once a batch and kept; what is written is kept
//! as well, and goes to the database many rows at a time. Statements as text see all of it: before
//! one runs, what was kept of the tables that it names is written.
//!
//! An operation can be taken back alone. As long as nothing of it went to the database, that is
//! done here, by a journal; else by a savepoint, which is made only then.

mod sheet;

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
};

use self::sheet::Sheets;
use crate::sql::{Columns, Key, OnRow, OwnedRow, RowGroup, Sql, SqlError, Table, Value};

/// Rows that may be kept before they are written, so that an operation on very many rows needs
/// no more memory.
const ROWS_KEPT: usize = 20_000;

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No transaction: each statement is its own, and nothing is kept.
    Alone,
    /// A batch, between two operations.
    Between,
    /// An operation of a batch of which nothing has gone to the database.
    Inside,
    /// An operation of a batch, behind a savepoint.
    BehindSavepoint,
}

/// A connection with its unit of work.
#[derive(Debug)]
pub(crate) struct Session {
    sql: Box<dyn Sql>,
    sheets: RefCell<Sheets>,
    phase: Cell<Phase>,
    /// Rises when kept rows are dropped, so that what was derived from them is dropped as well.
    drops: Cell<u64>,
}

impl Session {
    /// Works over a connection.
    pub(crate) fn over(sql: Box<dyn Sql>) -> Self {
        Self {
            sql,
            sheets: RefCell::default(),
            phase: Cell::new(Phase::Alone),
            drops: Cell::new(0),
        }
    }

    /// Goes on with another connection after one was lost.
    pub(crate) fn replace(&mut self, sql: Box<dyn Sql>) {
        self.give_up();
        self.sql = sql;
    }

    /// Says whether rows are kept between statements.
    pub(crate) fn is_batch(&self) -> bool {
        self.phase.get() != Phase::Alone
    }

    /// How often kept rows were dropped.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.get()
    }

    /// Begins a batch.
    pub(crate) fn begin_batch(&self) -> Result<(), SqlError> {
        self.drop_rows();
        self.sql.begin()?;
        self.phase.set(Phase::Between);
        Ok(())
    }

    /// Begins an operation of the batch.
    pub(crate) fn begin_operation(&self) {
        self.sheets.borrow_mut().forget_journal();
        self.phase.set(Phase::Inside);
    }

    /// Writes what the operation has changed so far, so that it fails now if it cannot be kept.
    pub(crate) fn check_operation(&self) -> Result<(), SqlError> {
        self.write_down(&|_| true)
    }

    /// Keeps what the operation has changed.
    pub(crate) fn keep_operation(&self) -> Result<(), SqlError> {
        if self.phase.replace(Phase::Between) == Phase::BehindSavepoint {
            self.sql.execute("RELEASE SAVEPOINT operation", &[])?;
        }
        Ok(())
    }

    /// Takes back what the operation has changed.
    pub(crate) fn take_back_operation(&self) -> Result<(), SqlError> {
        if self.phase.replace(Phase::Between) == Phase::BehindSavepoint {
            // Fails if the error was one by which the database gave the whole transaction up.
            self.sql.execute("ROLLBACK TO SAVEPOINT operation", &[])?;
            self.sql.execute("RELEASE SAVEPOINT operation", &[])?;
            // What was kept before the savepoint was written before it.
            self.drop_rows();
        } else {
            self.sheets.borrow_mut().undo();
        }
        Ok(())
    }

    /// Writes everything and makes it durable.
    pub(crate) fn commit(&self) -> Result<(), SqlError> {
        self.write_down(&|_| true)?;
        self.sql.commit()?;
        self.phase.set(Phase::Alone);
        self.drop_rows();
        Ok(())
    }

    /// Leaves a batch that failed, if there still is one.
    pub(crate) fn give_up(&self) {
        self.phase.set(Phase::Alone);
        self.drop_rows();
        self.sql.roll_back();
    }

    fn drop_rows(&self) {
        self.drops.set(self.drops.get() + 1);
        *self.sheets.borrow_mut() = Sheets::default();
    }

    /// Reads the row with this key.
    pub(crate) fn read(
        &self,
        table: &'static Table,
        key: &[Value<'static>],
    ) -> Result<Option<OwnedRow>, SqlError> {
        if let Some(row) = self.sheets.borrow().get(table, key) {
            return Ok(row.cloned());
        }
        let mut found = None;
        let mut take = |columns: &mut Columns<'_>| {
            found = Some(columns.values(table.columns.len())?);
            Ok(ControlFlow::Break(()))
        };
        self.sql
            .read_keys(table, table.key, &[&key.to_vec()], &mut take)?;
        if self.is_batch() {
            self.sheets
                .borrow_mut()
                .learn(table, key.to_vec(), found.clone());
        }
        Ok(found)
    }

    /// Reads the rows with these keys at once, so that [`Session::read`] finds them.
    pub(crate) fn prefetch(
        &self,
        table: &'static Table,
        mut keys: Vec<Key>,
    ) -> Result<(), SqlError> {
        let mut sheets = self.sheets.borrow_mut();
        keys.retain(|key| sheets.get(table, key).is_none());
        if keys.is_empty() || !self.is_batch() {
            return Ok(());
        }
        let asked: Vec<&Key> = keys.iter().collect();
        self.sql
            .read_keys(table, table.key, &asked, &mut |columns| {
                let row = columns.values(table.columns.len())?;
                sheets.learn(table, table.key_of(&row).to_vec(), Some(row));
                Ok(ControlFlow::Continue(()))
            })?;
        for key in keys {
            sheets.learn(table, key, None);
        }
        Ok(())
    }

    /// Reads all rows whose keys begin with one of these at once, so that [`Session::read_all`]
    /// finds them.
    pub(crate) fn prefetch_all(
        &self,
        table: &'static Table,
        n: usize,
        mut prefixes: Vec<Key>,
    ) -> Result<(), SqlError> {
        let mut sheets = self.sheets.borrow_mut();
        prefixes.retain(|prefix| !sheets.has_all(table, prefix));
        if prefixes.is_empty() || !self.is_batch() {
            return Ok(());
        }
        let asked: Vec<&Key> = prefixes.iter().collect();
        self.sql.read_keys(table, n, &asked, &mut |columns| {
            let row = columns.values(table.columns.len())?;
            sheets.learn(table, table.key_of(&row).to_vec(), Some(row));
            Ok(ControlFlow::Continue(()))
        })?;
        for prefix in prefixes {
            sheets.learn_all(table, &prefix, Vec::new());
        }
        Ok(())
    }

    /// Runs a query that sees the database as it is, without what is kept.
    pub(crate) fn peek(
        &self,
        sql: &str,
        params: &[Value<'_>],
        on_row: OnRow<'_>,
    ) -> Result<(), SqlError> {
        self.sql.query(sql, params, on_row)
    }

    /// Notes rows that a statement has read anyway.
    pub(crate) fn learn(&self, table: &'static Table, row: impl Into<OwnedRow>) {
        let row = row.into();
        if self.is_batch() {
            let key = table.key_of(&row).to_vec();
            self.sheets.borrow_mut().learn(table, key, Some(row));
        }
    }

    /// Notes that there is no row with this key, unless more is known.
    pub(crate) fn learn_absent(&self, table: &'static Table, key: Key) {
        if self.is_batch() {
            self.sheets.borrow_mut().learn(table, key, None);
        }
    }

    /// Reads all rows whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn read_all(
        &self,
        table: &'static Table,
        prefix: &[Value<'static>],
    ) -> Result<Vec<OwnedRow>, SqlError> {
        if !self.sheets.borrow().has_all(table, prefix) {
            let text = table.select_by_prefix(prefix.len());
            let rows = self
                .sql
                .rows(&text, prefix, |columns| columns.values(table.columns.len()))?;
            if !self.is_batch() {
                return Ok(rows);
            }
            self.sheets.borrow_mut().learn_all(table, prefix, rows);
        }
        Ok(self.sheets.borrow().all(table, prefix))
    }

    /// Goes through the rows that are kept of a table.
    pub(crate) fn for_each_kept(&self, table: &'static Table, mut see: impl FnMut(&OwnedRow)) {
        self.sheets.borrow().for_each(table, &mut see);
    }

    /// Says what is kept about a key: nothing, that there is no such row, or the row.
    pub(crate) fn kept(
        &self,
        table: &'static Table,
        key: &[Value<'static>],
    ) -> Option<Option<OwnedRow>> {
        let sheets = self.sheets.borrow();
        sheets.get(table, key).map(|row| row.cloned())
    }

    /// Writes a row that is new.
    pub(crate) fn insert(
        &self,
        table: &'static Table,
        row: impl Into<OwnedRow>,
    ) -> Result<(), SqlError> {
        let row = row.into();
        self.sheets.borrow_mut().insert(table, row)?;
        self.after_change()
    }

    /// Writes a row, new or changed.
    pub(crate) fn put(
        &self,
        table: &'static Table,
        row: impl Into<OwnedRow>,
    ) -> Result<(), SqlError> {
        let row = row.into();
        let key = table.key_of(&row).to_vec();
        if !self.is_batch() {
            let stored = self.read(table, &key)?;
            self.sheets.borrow_mut().learn(table, key.clone(), stored);
        }
        self.sheets.borrow_mut().set(table, key, Some(row));
        self.after_change()
    }

    /// Removes the row with this key, if there is one.
    pub(crate) fn delete(
        &self,
        table: &'static Table,
        key: &[Value<'static>],
    ) -> Result<(), SqlError> {
        self.sheets.borrow_mut().set(table, key.to_vec(), None);
        self.after_change()
    }

    fn after_change(&self) -> Result<(), SqlError> {
        let n_kept = self.sheets.borrow().n_changed();
        match self.phase.get() {
            Phase::Alone => {
                let written = self.write_sheets(&|_| true);
                self.drop_rows();
                written
            }
            Phase::Between | Phase::Inside | Phase::BehindSavepoint if n_kept < ROWS_KEPT => Ok(()),
            Phase::Between | Phase::Inside | Phase::BehindSavepoint => {
                self.write_down(&|_| true)?;
                self.drop_rows();
                Ok(())
            }
        }
    }

    /// Writes what is kept of some tables. What the operation under way has changed goes behind a
    /// savepoint, what those before it have changed goes before.
    fn write_down(&self, is_meant: &dyn Fn(&str) -> bool) -> Result<(), SqlError> {
        if !self.sheets.borrow().is_changed(is_meant) {
            return Ok(());
        }
        if self.phase.get() == Phase::Inside && self.sheets.borrow().has_journal() {
            self.make_savepoint()?;
        }
        self.write_sheets(is_meant)
    }

    /// Makes a savepoint, if the operation has none.
    pub(crate) fn make_savepoint(&self) -> Result<(), SqlError> {
        if self.phase.get() != Phase::Inside {
            return Ok(());
        }
        let own = self.sheets.borrow_mut().undo();
        self.write_sheets(&|_| true)?;
        self.sql.execute("SAVEPOINT operation", &[])?;
        self.phase.set(Phase::BehindSavepoint);
        self.sheets.borrow_mut().redo(own);
        Ok(())
    }

    fn write_sheets(&self, is_meant: &dyn Fn(&str) -> bool) -> Result<(), SqlError> {
        self.sheets.borrow_mut().write(is_meant, &*self.sql)
    }
}

/// Statements as text, which see what is kept.
impl Sql for Session {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, SqlError> {
        self.make_savepoint()?;
        let names = |table: &str| names_table(sql, table);
        self.write_down(&names)?;
        let changed = self.sql.execute(sql, params)?;
        if self.sheets.borrow_mut().drop_tables(&names) {
            self.drops.set(self.drops.get() + 1);
        }
        Ok(changed)
    }

    fn query(&self, sql: &str, params: &[Value<'_>], on_row: OnRow<'_>) -> Result<(), SqlError> {
        // Some queries change rows, to have them returned.
        if !sql.trim_start().starts_with("SELECT") {
            self.make_savepoint()?;
        }
        self.write_down(&|table| names_table(sql, table))?;
        self.sql.query(sql, params, on_row)
    }

    fn begin(&self) -> Result<(), SqlError> {
        self.begin_batch()
    }

    fn commit(&self) -> Result<(), SqlError> {
        Self::commit(self)
    }

    fn roll_back(&self) {
        self.give_up();
    }

    fn is_lost(&self) -> bool {
        self.sql.is_lost()
    }

    fn change(&self, groups: &[RowGroup<'_>]) -> Result<(), SqlError> {
        self.make_savepoint()?;
        self.sql.change(groups)
    }

    fn read_keys(
        &self,
        table: &'static Table,
        n: usize,
        keys: &[&Key],
        on_row: OnRow<'_>,
    ) -> Result<(), SqlError> {
        self.write_down(&|name| name == table.name)?;
        self.sql.read_keys(table, n, keys, on_row)
    }
}

/// Says whether a statement names a table: as a word, so that `job` is not found in `job_count`.
fn names_table(sql: &str, table: &str) -> bool {
    let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    sql.match_indices(table).any(|(start, found)| {
        let bytes = sql.as_bytes();
        let before = start.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(start + found.len());
        !before.is_some_and(|byte| is_of_word(*byte))
            && !after.is_some_and(|byte| is_of_word(*byte))
    })
}
