//! Commands to Harvester instances, in memory.

use ailurus_model::{HarvesterId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{CommandRecord, CommandRows, CommandStatus, LedgerError},
    memory::as_count,
};

impl CommandRows for MemoryLedger {
    fn new_command_id(&mut self) -> Result<u64, LedgerError> {
        self.last_command += 1;
        Ok(self.last_command)
    }

    fn command(&self, id: u64) -> Result<Option<CommandRecord>, LedgerError> {
        Ok(self.commands.get(&id).cloned())
    }

    fn put_command(&mut self, command: &CommandRecord) -> Result<(), LedgerError> {
        self.commands.insert(command.id, command.clone());
        Ok(())
    }

    fn remove_command(&mut self, id: u64) -> Result<(), LedgerError> {
        self.commands.remove(&id);
        Ok(())
    }

    fn new_commands(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<CommandRecord>, LedgerError> {
        let is_new =
            |it: &&CommandRecord| it.harvester == *harvester && it.status == CommandStatus::New;
        let found = self.commands.values().filter(is_new);
        Ok(found.take(limit).cloned().collect())
    }

    fn commands_named(
        &self,
        harvester: &HarvesterId,
        command: &str,
    ) -> Result<Vec<CommandRecord>, LedgerError> {
        let is_it = |it: &&CommandRecord| it.harvester == *harvester && it.command == command;
        Ok(self.commands.values().filter(is_it).cloned().collect())
    }

    fn remove_commands_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        let count = self.commands.len();
        self.commands.retain(|_, it| it.status_changed >= before);
        Ok(as_count(count - self.commands.len()))
    }
}
