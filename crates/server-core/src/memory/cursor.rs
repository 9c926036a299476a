//! Cursors of [`MemoryLedger`].

use crate::{
    ledger::{Cursor, CursorRows, LedgerError},
    memory::MemoryLedger,
};

impl CursorRows for MemoryLedger {
    fn cursor(&self, name: &str) -> Result<Option<Cursor>, LedgerError> {
        Ok(self.cursors.get(name).cloned())
    }

    fn put_cursor(&mut self, cursor: &Cursor) -> Result<(), LedgerError> {
        self.cursors.insert(cursor.name.clone(), cursor.clone());
        Ok(())
    }
}
