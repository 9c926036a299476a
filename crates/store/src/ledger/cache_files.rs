//! Statements over the files in the server's cache, and the tasks that need them.

use ailurus_model::{ByteCount, TaskId, Timestamp};
use ailurus_server_core::ledger::{CacheFileRecord, CacheFileRows, LedgerError};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, SqlError, only, params},
};

fn read(columns: &mut Columns<'_>) -> Result<CacheFileRecord, SqlError> {
    Ok(CacheFileRecord {
        name: columns.take()?,
        user: columns.take()?,
        size: columns.take()?,
        checksum: columns.take()?,
        created: columns.take()?,
        used: columns.take()?,
    })
}

impl CacheFileRows for DatabaseLedger {
    fn cache_file(&self, name: &str) -> Result<Option<CacheFileRecord>, LedgerError> {
        self.sql()
            .first(
                "SELECT name, sender, size, checksum, created, used FROM cache_file WHERE name = ?1",
                params![name],
                read,
            )
            .map_err(failed(|| format!("read the file `{name}` of the cache")))
    }

    fn put_cache_file(&mut self, file: &CacheFileRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO cache_file (name, sender, size, checksum, created, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (name) DO UPDATE SET
                     sender = ?2, size = ?3, checksum = ?4, created = ?5, used = ?6",
                params![
                    file.name,
                    file.user,
                    file.size,
                    file.checksum,
                    file.created,
                    file.used
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("note the file `{}` of the cache", file.name)
            }))
    }

    fn remove_cache_file(&mut self, name: &str) -> Result<(), LedgerError> {
        let failed = || failed(|| format!("forget the file `{name}` of the cache"));
        let sql = self.sql();
        sql.execute("DELETE FROM cache_file WHERE name = ?1", params![name])
            .map_err(failed())?;
        sql.execute("DELETE FROM cache_use WHERE name = ?1", params![name])
            .map(drop)
            .map_err(failed())
    }

    fn same_cache_file(
        &self,
        user: &str,
        size: ByteCount,
        checksum: &str,
        since: Timestamp,
    ) -> Result<Option<CacheFileRecord>, LedgerError> {
        self.sql()
            .first(
                "SELECT name, sender, size, checksum, created, used FROM cache_file
                 WHERE sender = ?1 AND size = ?2 AND checksum = ?3 AND created > ?4
                 ORDER BY created DESC, name LIMIT 1",
                params![user, size, checksum, since],
                read,
            )
            .map_err(failed(|| format!("find a file that `{user}` sent before")))
    }

    fn note_cache_use(&mut self, name: &str, task: TaskId) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO cache_use (name, task_id) VALUES (?1, ?2)
                 ON CONFLICT (name, task_id) DO NOTHING",
                params![name, task],
            )
            .map(drop)
            .map_err(failed(|| format!("note that task {task} needs `{name}`")))
    }

    fn cache_users(&self, name: &str, limit: usize) -> Result<Vec<TaskId>, LedgerError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.sql()
            .rows(
                "SELECT task_id FROM cache_use WHERE name = ?1 ORDER BY task_id LIMIT ?2",
                params![name, limit],
                only,
            )
            .map_err(failed(|| format!("list the tasks that need `{name}`")))
    }
}
