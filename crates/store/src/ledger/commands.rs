//! Statements over the commands to Harvester instances.

use ailurus_model::{HarvesterId, Timestamp};
use ailurus_server_core::ledger::{
    Acknowledgement, CommandRecord, CommandRows, CommandStatus, LedgerError,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, SqlError, params},
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, harvester_id, command, params, ack_wanted, status, created, status_changed
             FROM harvester_command ",
            $rest
        )
    };
}

fn read(columns: &mut Columns<'_>) -> Result<CommandRecord, SqlError> {
    Ok(CommandRecord {
        id: columns.take()?,
        harvester: columns.take()?,
        command: columns.take()?,
        params: columns.take()?,
        acknowledgement: if columns.take()? {
            Acknowledgement::Wanted
        } else {
            Acknowledgement::NotWanted
        },
        status: {
            let word: String = columns.take()?;
            let mut known = CommandStatus::ALL.into_iter();
            // A word of a newer program is nothing that is still to be given out.
            known
                .find(|status| status.as_str() == word)
                .unwrap_or(CommandStatus::Acknowledged)
        },
        created: columns.take()?,
        status_changed: columns.take()?,
    })
}

impl CommandRows for DatabaseLedger {
    fn new_command_id(&mut self) -> Result<u64, LedgerError> {
        self.number("command")
    }

    fn command(&self, id: u64) -> Result<Option<CommandRecord>, LedgerError> {
        self.sql()
            .first(select!("WHERE id = ?1"), params![id], read)
            .map_err(failed(|| format!("read command {id}")))
    }

    fn put_command(&mut self, command: &CommandRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO harvester_command
                     (id, harvester_id, command, params, ack_wanted, status, created,
                      status_changed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (id) DO UPDATE SET params = ?4, status = ?6, status_changed = ?8",
                params![
                    command.id,
                    command.harvester,
                    command.command,
                    command.params,
                    command.acknowledgement == Acknowledgement::Wanted,
                    command.status.as_str(),
                    command.created,
                    command.status_changed,
                ],
            )
            .map(drop)
            .map_err(failed(|| format!("write command {}", command.id)))
    }

    fn remove_command(&mut self, id: u64) -> Result<(), LedgerError> {
        self.sql()
            .execute("DELETE FROM harvester_command WHERE id = ?1", params![id])
            .map(drop)
            .map_err(failed(|| format!("forget command {id}")))
    }

    fn new_commands(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<CommandRecord>, LedgerError> {
        let statement = select!("WHERE harvester_id = ?1 AND status = 'new' ORDER BY id LIMIT ?2");
        self.sql()
            .rows(statement, params![harvester, limit], read)
            .map_err(failed(|| format!("list new commands to `{harvester}`")))
    }

    fn commands_named(
        &self,
        harvester: &HarvesterId,
        command: &str,
    ) -> Result<Vec<CommandRecord>, LedgerError> {
        let statement = select!("WHERE harvester_id = ?1 AND command = ?2 ORDER BY id");
        self.sql()
            .rows(statement, params![harvester, command], read)
            .map_err(failed(|| {
                format!("list commands `{command}` to `{harvester}`")
            }))
    }

    fn remove_commands_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        self.sql()
            .execute(
                "DELETE FROM harvester_command WHERE status_changed < ?1",
                params![before],
            )
            .map_err(failed(|| "forget old commands".to_owned()))
    }
}
