//! Tables whose rows are read by key and written many at a time, and the statements for that.

use std::fmt::Write as _;

use super::Value;

/// A row with all columns of its table, in their order.
pub(crate) type OwnedRow = Vec<Value<'static>>;
/// The first columns of a row: its key, or a part of it.
pub(crate) type Key = Vec<Value<'static>>;

/// A column and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Whole numbers.
    Int(&'static str),
    /// Texts.
    Text(&'static str),
}

impl Column {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Int(name) | Self::Text(name) => name,
        }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its columns, at most 64, those of the primary key first.
    pub(crate) columns: &'static [Column],
    /// How many columns the primary key has.
    pub(crate) key: usize,
}

/// What is done with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// They are new.
    Insert,
    /// They are new or not.
    Put,
    /// They are there, and these columns change: one bit a column.
    Update(u64),
    /// They go; only their keys matter.
    Delete,
}

/// Rows of a table with which the same is done.
#[derive(Debug)]
pub(crate) struct RowGroup<'r> {
    /// The table.
    pub(crate) table: &'static Table,
    /// What is done.
    pub(crate) change: Change,
    /// The rows, each with all of its columns.
    pub(crate) rows: Vec<&'r OwnedRow>,
}

impl Table {
    /// Returns the names of all columns, with commas.
    pub(crate) fn column_list(&self) -> String {
        list(self.columns.iter().map(|column| column.name()), ", ")
    }

    /// Returns the key of a row.
    pub(crate) fn key_of<'r>(&self, row: &'r [Value<'static>]) -> &'r [Value<'static>] {
        &row[..self.key]
    }

    /// Returns the columns whose values a change needs, in the order of its parameters.
    pub(crate) fn needed(&self, change: Change) -> Vec<usize> {
        let all = 0..self.columns.len();
        match change {
            Change::Insert | Change::Put => all.collect(),
            Change::Update(mask) => all
                .filter(|column| *column < self.key || has(mask, *column))
                .collect(),
            Change::Delete => (0..self.key).collect(),
        }
    }

    /// Returns the part of a statement that puts a row in the place of one with the same key.
    pub(crate) fn on_conflict(&self) -> String {
        let (key, rest) = self.columns.split_at(self.key);
        let key = list(key.iter().map(|column| column.name()), ", ");
        let sets = list(
            rest.iter()
                .map(|column| format!("{0} = excluded.{0}", column.name())),
            ", ",
        );
        match sets.is_empty() {
            true => format!(" ON CONFLICT ({key}) DO NOTHING"),
            false => format!(" ON CONFLICT ({key}) DO UPDATE SET {sets}"),
        }
    }

    /// Returns the condition for the first `n` columns, and the rows' order.
    pub(crate) fn select_by_prefix(&self, n: usize) -> String {
        let mut text = format!("SELECT {} FROM {}", self.column_list(), self.name);
        for (nr, column) in self.columns[..n].iter().enumerate() {
            let word = if nr == 0 { "WHERE" } else { "AND" };
            write!(text, " {word} {} = ?{}", column.name(), nr + 1).expect("texts grow");
        }
        let order = self.columns[..self.key].iter().map(|column| column.name());
        write!(text, " ORDER BY {}", list(order, ", ")).expect("texts grow");
        text
    }
}

/// Says whether a column is in a set of columns.
pub(crate) const fn has(mask: u64, column: usize) -> bool {
    mask & (1 << column) != 0
}

/// Joins texts.
pub(crate) fn list(items: impl Iterator<Item = impl AsRef<str>>, between: &str) -> String {
    let items: Vec<_> = items.collect();
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    items.join(between)
}
