//! Files in the server's cache, in memory.

use ailurus_model::{ByteCount, TaskId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{CacheFileRecord, CacheFileRows, LedgerError},
};

impl CacheFileRows for MemoryLedger {
    fn cache_file(&self, name: &str) -> Result<Option<CacheFileRecord>, LedgerError> {
        Ok(self.cache_files.get(name).cloned())
    }

    fn put_cache_file(&mut self, file: &CacheFileRecord) -> Result<(), LedgerError> {
        self.cache_files.insert(file.name.clone(), file.clone());
        Ok(())
    }

    fn remove_cache_file(&mut self, name: &str) -> Result<(), LedgerError> {
        self.cache_files.remove(name);
        self.cache_uses.retain(|(used, _)| used != name);
        Ok(())
    }

    fn same_cache_file(
        &self,
        user: &str,
        size: ByteCount,
        checksum: &str,
        since: Timestamp,
    ) -> Result<Option<CacheFileRecord>, LedgerError> {
        let files = self.cache_files.values();
        Ok(files
            .filter(|file| file.user == user && file.size == size && file.checksum == checksum)
            .filter(|file| file.created > since)
            .max_by_key(|file| file.created)
            .cloned())
    }

    fn note_cache_use(&mut self, name: &str, task: TaskId) -> Result<(), LedgerError> {
        self.cache_uses.insert((name.to_owned(), task));
        Ok(())
    }

    fn cache_users(&self, name: &str, limit: usize) -> Result<Vec<TaskId>, LedgerError> {
        let uses = self.cache_uses.iter().filter(|(used, _)| used == name);
        Ok(uses.map(|(_, task)| *task).take(limit).collect())
    }
}
