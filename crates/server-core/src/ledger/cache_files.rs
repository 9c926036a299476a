//! The files that users sent for their jobs, and which tasks need them. The files themselves are in
//! the server's cache folder.

use ailurus_model::{ByteCount, TaskId, Timestamp};

use crate::ledger::LedgerError;

/// A file in the server's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFileRecord {
    /// Its name, unique.
    pub name: String,
    /// Who sent it; empty where nobody has to say.
    pub user: String,
    /// Its size.
    pub size: ByteCount,
    /// The CRC-32 of its content before compression, as a decimal number; empty if it is not known.
    pub checksum: String,
    /// When it came.
    pub created: Timestamp,
    /// When it was last sent, touched or found to be of use again.
    pub used: Timestamp,
}

/// Keeps what is known of the files in the cache.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait CacheFileRows {
    /// Reads what is known of a file.
    fn cache_file(&self, name: &str) -> Result<Option<CacheFileRecord>, LedgerError>;
    /// Writes what is known of a file, new or changed.
    fn put_cache_file(&mut self, file: &CacheFileRecord) -> Result<(), LedgerError>;
    /// Forgets a file.
    fn remove_cache_file(&mut self, name: &str) -> Result<(), LedgerError>;
    /// Finds the newest file of a user with this size and checksum that came after `since`.
    fn same_cache_file(
        &self,
        user: &str,
        size: ByteCount,
        checksum: &str,
        since: Timestamp,
    ) -> Result<Option<CacheFileRecord>, LedgerError>;
    /// Notes that a task needs a file. Noting it again changes nothing.
    fn note_cache_use(&mut self, name: &str, task: TaskId) -> Result<(), LedgerError>;
    /// Lists the tasks that need a file, by rising number, `limit` at most.
    fn cache_users(&self, name: &str, limit: usize) -> Result<Vec<TaskId>, LedgerError>;
}
