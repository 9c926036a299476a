//! Secrets of people in [`MemoryLedger`].

use std::collections::BTreeMap;

use crate::{
    ledger::{LedgerError, SecretRows},
    memory::MemoryLedger,
};

impl SecretRows for MemoryLedger {
    fn secrets(&self, owner: &str) -> Result<BTreeMap<String, String>, LedgerError> {
        Ok(self.secrets.get(owner).cloned().unwrap_or_default())
    }

    fn put_secret(&mut self, owner: &str, name: &str, value: &str) -> Result<(), LedgerError> {
        let of_owner = self.secrets.entry(owner.to_owned()).or_default();
        of_owner.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn remove_secret(&mut self, owner: &str, name: &str) -> Result<(), LedgerError> {
        if let Some(of_owner) = self.secrets.get_mut(owner) {
            of_owner.remove(name);
            if of_owner.is_empty() {
                self.secrets.remove(owner);
            }
        }
        Ok(())
    }

    fn remove_secrets(&mut self, owner: &str) -> Result<(), LedgerError> {
        self.secrets.remove(owner);
        Ok(())
    }
}
