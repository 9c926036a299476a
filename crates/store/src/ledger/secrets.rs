//! Statements over the secrets of people. No message ever has a value in it.

use std::collections::BTreeMap;

use ailurus_server_core::ledger::{LedgerError, SecretRows};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Sql, SqlError, params},
};

impl SecretRows for DatabaseLedger {
    fn secrets(&self, owner: &str) -> Result<BTreeMap<String, String>, LedgerError> {
        read(self.sql(), owner).map_err(failed(|| format!("read the secrets of `{owner}`")))
    }

    fn put_secret(&mut self, owner: &str, name: &str, value: &str) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO user_secret (owner, name, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (owner, name) DO UPDATE SET value = ?3",
                params![owner, name, value],
            )
            .map(drop)
            .map_err(failed(|| format!("write secret `{name}` of `{owner}`")))
    }

    fn remove_secret(&mut self, owner: &str, name: &str) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "DELETE FROM user_secret WHERE owner = ?1 AND name = ?2",
                params![owner, name],
            )
            .map(drop)
            .map_err(failed(|| format!("forget secret `{name}` of `{owner}`")))
    }

    fn remove_secrets(&mut self, owner: &str) -> Result<(), LedgerError> {
        self.sql()
            .execute("DELETE FROM user_secret WHERE owner = ?1", params![owner])
            .map(drop)
            .map_err(failed(|| format!("forget the secrets of `{owner}`")))
    }
}

fn read(sql: &dyn Sql, owner: &str) -> Result<BTreeMap<String, String>, SqlError> {
    let rows = sql.rows(
        "SELECT name, value FROM user_secret WHERE owner = ?1 ORDER BY name",
        params![owner],
        |columns| Ok((columns.take()?, columns.take()?)),
    )?;
    Ok(rows.into_iter().collect())
}
