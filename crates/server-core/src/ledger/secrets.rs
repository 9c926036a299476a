//! What people want their payloads to know and nobody else.

use std::collections::BTreeMap;

use crate::ledger::LedgerError;

/// Keeps the secrets of people.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait SecretRows {
    /// Reads all secrets of somebody, by name.
    fn secrets(&self, owner: &str) -> Result<BTreeMap<String, String>, LedgerError>;
    /// Writes a secret, new or changed.
    fn put_secret(&mut self, owner: &str, name: &str, value: &str) -> Result<(), LedgerError>;
    /// Forgets a secret; one that is not there is no error.
    fn remove_secret(&mut self, owner: &str, name: &str) -> Result<(), LedgerError>;
    /// Forgets all secrets of somebody.
    fn remove_secrets(&mut self, owner: &str) -> Result<(), LedgerError>;
}
