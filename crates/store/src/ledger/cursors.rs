//! Statements over the cursors of those who read the history.

use ailurus_server_core::ledger::{Cursor, CursorRows, LedgerError};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Sql, SqlError, params},
};

impl CursorRows for DatabaseLedger {
    fn cursor(&self, name: &str) -> Result<Option<Cursor>, LedgerError> {
        read(self.sql(), name).map_err(failed(|| format!("read cursor `{name}`")))
    }

    fn put_cursor(&mut self, cursor: &Cursor) -> Result<(), LedgerError> {
        put(self.sql(), cursor).map_err(failed(|| format!("write cursor `{}`", cursor.name)))
    }
}

fn read(sql: &dyn Sql, name: &str) -> Result<Option<Cursor>, SqlError> {
    sql.first(
        "SELECT name, last_change, holder, held_until FROM history_cursor WHERE name = ?1",
        params![name],
        |columns| {
            Ok(Cursor {
                name: columns.take()?,
                last: columns.take()?,
                holder: columns.take()?,
                held_until: columns.take()?,
            })
        },
    )
}

fn put(sql: &dyn Sql, cursor: &Cursor) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO history_cursor (name, last_change, holder, held_until)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET last_change = ?2, holder = ?3, held_until = ?4",
        params![cursor.name, cursor.last, cursor.holder, cursor.held_until],
    )
    .map(drop)
}
