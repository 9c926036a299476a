//! Commands of the server to Harvester instances, from the moment they are given until they have
//! been carried out.
//!
//! ```text
//! new ──taken──► retrieved ──acknowledged, where that is asked for──► acknowledged
//! ```

use ailurus_model::{HarvesterId, Timestamp};

use crate::ledger::LedgerError;

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandStatus {
    /// The instance has not asked for it yet.
    New,
    /// The instance has it.
    Retrieved,
    /// The instance says that it is carried out.
    Acknowledged,
}

impl CommandStatus {
    /// All statuses, in order.
    pub const ALL: [Self; 3] = [Self::New, Self::Retrieved, Self::Acknowledged];

    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Retrieved => "retrieved",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// Whether the server wants to hear that a command is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// It does.
    Wanted,
    /// It does not.
    NotWanted,
}

/// One command to one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Its number. It only rises, so that the smallest is the oldest.
    pub id: u64,
    /// The instance.
    pub harvester: HarvesterId,
    /// What to do, for example `KILL_WORKERS` or `SET_N_WORKERS_JOBTYPE:<queue>`.
    pub command: String,
    /// Its parameters as JSON text; empty for none.
    pub params: String,
    /// Whether the server wants to hear of it.
    pub acknowledgement: Acknowledgement,
    /// How far it is.
    pub status: CommandStatus,
    /// When it was given.
    pub created: Timestamp,
    /// When its status changed last.
    pub status_changed: Timestamp,
}

/// Keeps the commands to Harvester instances.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait CommandRows {
    /// Takes a new number for a command, larger than all before.
    fn new_command_id(&mut self) -> Result<u64, LedgerError>;
    /// Reads a command.
    fn command(&self, id: u64) -> Result<Option<CommandRecord>, LedgerError>;
    /// Writes a command, new or changed.
    fn put_command(&mut self, command: &CommandRecord) -> Result<(), LedgerError>;
    /// Forgets a command.
    fn remove_command(&mut self, id: u64) -> Result<(), LedgerError>;
    /// Lists the commands that an instance has not taken yet, oldest first, `limit` at most.
    fn new_commands(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<CommandRecord>, LedgerError>;
    /// Lists an instance's commands of this text, whatever their status, oldest first.
    fn commands_named(
        &self,
        harvester: &HarvesterId,
        command: &str,
    ) -> Result<Vec<CommandRecord>, LedgerError>;
    /// Forgets commands whose status has not changed since `before`. Returns how many.
    fn remove_commands_before(&mut self, before: Timestamp) -> Result<u64, LedgerError>;
}
