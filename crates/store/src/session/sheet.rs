//! The rows that a unit of work keeps: as the database has them, and as they are to be.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::sql::{Change, Key, OwnedRow, RowGroup, Sql, SqlError, Table, Value};

/// What the database has under a key.
#[derive(Debug)]
enum Stored {
    /// Nobody has looked.
    Unknown,
    /// No row.
    Absent,
    /// This row.
    Row(OwnedRow),
}

/// One key.
#[derive(Debug)]
struct Entry {
    stored: Stored,
    /// The row as it is to be; none if there is to be none.
    now: Option<OwnedRow>,
}

/// The rows of one table.
#[derive(Debug)]
struct Sheet {
    table: &'static Table,
    entries: BTreeMap<Key, Entry>,
    /// Keys whose rows may differ from what is stored.
    changed: BTreeSet<Key>,
    /// Beginnings of keys of which all rows are here.
    complete: BTreeSet<Key>,
}

/// A row before an operation changed it.
#[derive(Debug)]
pub(super) struct Before {
    table: &'static str,
    key: Key,
    /// None if nothing was known about it.
    row: Option<Option<OwnedRow>>,
}

/// The rows of all tables, and how to take the last operation back.
#[derive(Debug, Default)]
pub(super) struct Sheets {
    by_table: BTreeMap<&'static str, Sheet>,
    journal: Vec<Before>,
}

/// A row is there already.
#[derive(Debug, thiserror::Error)]
#[error("table `{table}` has a row with the key {key:?} already")]
struct Twice {
    table: &'static str,
    key: Key,
}

impl Sheet {
    fn new(table: &'static Table) -> Self {
        Self {
            table,
            entries: BTreeMap::new(),
            changed: BTreeSet::new(),
            complete: BTreeSet::new(),
        }
    }

    fn is_complete(&self, key: &[Value<'static>]) -> bool {
        !self.complete.is_empty() && (0..=key.len()).any(|n| self.complete.contains(&key[..n]))
    }

    /// Changes a row, or forgets it, and returns what was known about it.
    fn set(&mut self, key: &Key, row: Option<Option<OwnedRow>>) -> Option<Option<OwnedRow>> {
        let Some(row) = row else {
            self.changed.remove(key);
            return self.entries.remove(key).map(|entry| entry.now);
        };
        self.changed.insert(key.clone());
        if let Some(entry) = self.entries.get_mut(key) {
            return Some(std::mem::replace(&mut entry.now, row));
        }
        let stored = match self.is_complete(key) {
            true => Stored::Absent,
            false => Stored::Unknown,
        };
        self.entries.insert(key.clone(), Entry { stored, now: row });
        None
    }

    /// Returns what has changed.
    fn changes(&self) -> Vec<RowGroup<'_>> {
        let mut rows: Vec<(Change, &OwnedRow)> = Vec::new();
        for key in &self.changed {
            let Some(entry) = self.entries.get(key) else {
                continue;
            };
            match (&entry.stored, &entry.now) {
                (Stored::Absent, Some(row)) => rows.push((Change::Insert, row)),
                (Stored::Unknown, Some(row)) => rows.push((Change::Put, row)),
                (Stored::Row(old), Some(row)) => match differences(old, row) {
                    0 => {}
                    mask => rows.push((Change::Update(mask), row)),
                },
                (Stored::Row(_) | Stored::Unknown, None) => rows.push((Change::Delete, key)),
                (Stored::Absent, None) => {}
            }
        }
        // Stable, so rows of one change stay in the order of their keys.
        rows.sort_by_key(|(change, _)| order(*change));
        rows.chunk_by(|(one, _), (two, _)| one == two)
            .map(|group| RowGroup {
                table: self.table,
                change: group[0].0,
                rows: group.iter().map(|(_, row)| *row).collect(),
            })
            .collect()
    }

    /// Notes that the database has what has changed.
    fn settle(&mut self) {
        for key in std::mem::take(&mut self.changed) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.stored = match &entry.now {
                    Some(row) => Stored::Row(row.clone()),
                    None => Stored::Absent,
                };
            }
        }
    }
}

/// Returns the columns in which two rows differ.
fn differences(old: &OwnedRow, new: &OwnedRow) -> u64 {
    old.iter()
        .zip(new)
        .enumerate()
        .filter(|(_, (old, new))| old.cmp(new) != Ordering::Equal)
        .fold(0, |mask, (column, _)| mask | 1 << column)
}

/// Rows go before others come, so that unique columns stay unique.
const fn order(change: Change) -> (u8, u64) {
    match change {
        Change::Delete => (0, 0),
        Change::Update(mask) => (1, mask),
        Change::Insert => (2, 0),
        Change::Put => (3, 0),
    }
}

impl Sheets {
    fn sheet(&mut self, table: &'static Table) -> &mut Sheet {
        self.by_table
            .entry(table.name)
            .or_insert_with(|| Sheet::new(table))
    }

    /// Returns what is known about a key: nothing, that there is no row, or the row.
    pub(super) fn get(
        &self,
        table: &'static Table,
        key: &[Value<'static>],
    ) -> Option<Option<&OwnedRow>> {
        let sheet = self.by_table.get(table.name)?;
        match sheet.entries.get(key) {
            Some(entry) => Some(entry.now.as_ref()),
            None => sheet.is_complete(key).then_some(None),
        }
    }

    /// Says whether all rows whose keys begin so are here.
    pub(super) fn has_all(&self, table: &'static Table, prefix: &[Value<'static>]) -> bool {
        let sheet = self.by_table.get(table.name);
        sheet.is_some_and(|sheet| sheet.is_complete(prefix))
    }

    /// Returns the rows whose keys begin so.
    pub(super) fn all(&self, table: &'static Table, prefix: &[Value<'static>]) -> Vec<OwnedRow> {
        let Some(sheet) = self.by_table.get(table.name) else {
            return Vec::new();
        };
        sheet
            .entries
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(_, entry)| entry.now.clone())
            .collect()
    }

    /// Shows all rows that are kept of a table.
    pub(super) fn for_each(&self, table: &'static Table, see: &mut dyn FnMut(&OwnedRow)) {
        let sheet = self.by_table.get(table.name).into_iter();
        let entries = sheet.flat_map(|sheet| sheet.entries.values());
        entries.filter_map(|entry| entry.now.as_ref()).for_each(see);
    }

    /// Notes what the database has under a key, unless it is known.
    pub(super) fn learn(&mut self, table: &'static Table, key: Key, row: Option<OwnedRow>) {
        self.sheet(table)
            .entries
            .entry(key)
            .or_insert_with(|| Entry {
                stored: row.clone().map_or(Stored::Absent, Stored::Row),
                now: row,
            });
    }

    /// Notes all that the database has under keys that begin so.
    pub(super) fn learn_all(
        &mut self,
        table: &'static Table,
        prefix: &[Value<'static>],
        rows: Vec<OwnedRow>,
    ) {
        for row in rows {
            self.learn(table, table.key_of(&row).to_vec(), Some(row));
        }
        self.sheet(table).complete.insert(prefix.to_vec());
    }

    /// Adds a row that is new.
    pub(super) fn insert(&mut self, table: &'static Table, row: OwnedRow) -> Result<(), SqlError> {
        let key = table.key_of(&row).to_vec();
        match self.get(table, &key) {
            Some(Some(_)) => {
                let table = table.name;
                return Err(SqlError::Failed {
                    source: Box::new(Twice { table, key }),
                });
            }
            Some(None) => {}
            // If it is there after all, the database will say so.
            None => self.learn(table, key.clone(), None),
        }
        self.set(table, key, Some(row));
        Ok(())
    }

    /// Changes a row, and notes what it was.
    pub(super) fn set(&mut self, table: &'static Table, key: Key, row: Option<OwnedRow>) {
        let before = self.sheet(table).set(&key, Some(row));
        self.journal.push(Before {
            table: table.name,
            key,
            row: before,
        });
    }

    /// Forgets how to take back what was done so far.
    pub(super) fn forget_journal(&mut self) {
        self.journal.clear();
    }

    /// Says whether there is something to take back.
    pub(super) fn has_journal(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Takes back what was done since the journal began, and returns how to do it again.
    pub(super) fn undo(&mut self) -> Vec<Before> {
        let mut journal = std::mem::take(&mut self.journal);
        journal.reverse();
        self.replay(&mut journal);
        journal.reverse();
        journal
    }

    /// Does again what was taken back.
    pub(super) fn redo(&mut self, mut journal: Vec<Before>) {
        self.replay(&mut journal);
        self.journal = journal;
    }

    fn replay(&mut self, journal: &mut [Before]) {
        for before in journal {
            if let Some(sheet) = self.by_table.get_mut(before.table) {
                before.row = sheet.set(&before.key, before.row.take());
            }
        }
    }

    /// How many rows may differ from what is stored.
    pub(super) fn n_changed(&self) -> usize {
        self.by_table
            .values()
            .map(|sheet| sheet.changed.len())
            .sum()
    }

    /// Says whether a row of some tables may differ from what is stored.
    pub(super) fn is_changed(&self, is_meant: &dyn Fn(&str) -> bool) -> bool {
        self.by_table
            .values()
            .any(|sheet| !sheet.changed.is_empty() && is_meant(sheet.table.name))
    }

    /// Writes what has changed in some tables.
    pub(super) fn write(
        &mut self,
        is_meant: &dyn Fn(&str) -> bool,
        sql: &dyn Sql,
    ) -> Result<(), SqlError> {
        let is_meant = |sheet: &Sheet| is_meant(sheet.table.name);
        let sheets = self.by_table.values().filter(|sheet| is_meant(sheet));
        let groups: Vec<RowGroup<'_>> = sheets.flat_map(Sheet::changes).collect();
        if groups.is_empty() {
            return Ok(());
        }
        sql.change(&groups)?;
        for sheet in self.by_table.values_mut() {
            if is_meant(sheet) {
                sheet.settle();
            }
        }
        Ok(())
    }

    /// Forgets the rows of some tables, and says whether there were any.
    pub(super) fn drop_tables(&mut self, is_meant: &dyn Fn(&str) -> bool) -> bool {
        let before = self.by_table.len();
        self.by_table.retain(|name, _| !is_meant(name));
        before != self.by_table.len()
    }
}
