//! How far a reader of the history has come, and which of several servers reads on.

use ailurus_model::{ChangeId, Timestamp};

use crate::ledger::LedgerError;

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which reader: a name of the server's configuration.
    pub name: String,
    /// The last change that it is done with.
    pub last: ChangeId,
    /// The server that reads on, empty for none.
    pub holder: String,
    /// Until when nobody else may.
    pub held_until: Timestamp,
}

/// Keeps cursors.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait CursorRows {
    /// Reads a cursor.
    fn cursor(&self, name: &str) -> Result<Option<Cursor>, LedgerError>;
    /// Writes a cursor, new or changed.
    fn put_cursor(&mut self, cursor: &Cursor) -> Result<(), LedgerError>;
}
