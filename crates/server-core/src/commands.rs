//! Commands to Harvester instances: giving them, handing them out, hearing that they are done.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/worker_module.py`,
//! `commandToHarvester`, `getCommands`, `ackCommands`, `sweepPQ`.

use std::time::Duration;

use ailurus_model::{HarvesterId, QueueName};

use crate::{
    Context,
    ledger::{Acknowledgement, CommandRecord, CommandStatus, Ledger, LedgerError},
};

/// How long a command is kept after its status has changed last.
const COMMAND_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The command to end workers.
const KILL_WORKERS: &str = "KILL_WORKERS";

/// Which older commands a new one takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// Those of the same text: only the newest counts, as for `SET_N_WORKERS_JOBTYPE:<queue>`.
    SameText,
    /// Those of the same text and parameters: each is an order of its own, as for `KILL_WORKERS`.
    SameOrder,
}

/// A command that is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand<'a> {
    /// To whom.
    pub harvester: &'a HarvesterId,
    /// What to do.
    pub command: &'a str,
    /// Its parameters as JSON text; empty for none.
    pub params: String,
    /// Whether the server wants to hear that it is done.
    pub acknowledgement: Acknowledgement,
    /// Which older ones it takes the place of.
    pub replaces: Replaces,
}

/// Gives a command to an instance, in place of older ones that it makes pointless. Returns its
/// number.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn give_command(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    new: NewCommand<'_>,
) -> Result<u64, LedgerError> {
    for old in ledger.commands_named(new.harvester, new.command)? {
        let is_replaced = match new.replaces {
            Replaces::SameText => true,
            Replaces::SameOrder => old.params == new.params,
        };
        if is_replaced {
            ledger.remove_command(old.id)?;
        }
    }
    let id = ledger.new_command_id()?;
    ledger.put_command(&CommandRecord {
        id,
        harvester: new.harvester.clone(),
        command: new.command.to_owned(),
        params: new.params,
        acknowledgement: new.acknowledgement,
        status: CommandStatus::New,
        created: ctx.now,
        status_changed: ctx.now,
    })?;
    Ok(id)
}

/// Hands an instance its oldest new commands, `limit` at most. They are not handed out again.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn acquire_commands(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    harvester: &HarvesterId,
    limit: usize,
) -> Result<Vec<CommandRecord>, LedgerError> {
    let mut commands = ledger.new_commands(harvester, limit)?;
    for command in &mut commands {
        command.status = CommandStatus::Retrieved;
        command.status_changed = ctx.now;
        ledger.put_command(command)?;
    }
    Ok(commands)
}

/// Takes the word that commands are done. Numbers that are not known are passed over. Returns how
/// many were.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn acknowledge_commands(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    ids: &[u64],
) -> Result<u64, LedgerError> {
    let mut count = 0;
    for id in ids {
        let Some(mut command) = ledger.command(*id)? else {
            continue;
        };
        command.status = CommandStatus::Acknowledged;
        command.status_changed = ctx.now;
        ledger.put_command(&command)?;
        count += 1;
    }
    Ok(count)
}

/// Why no sweep was ordered.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The rows are out of reach.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no such queue.
    #[error("queue `{queue}` is not known")]
    UnknownQueue {
        /// The queue.
        queue: QueueName,
    },
    /// Nobody starts workers at the queue.
    #[error("no Harvester instance is known to serve queue `{queue}`")]
    NoHarvester {
        /// The queue.
        queue: QueueName,
    },
}

/// Orders every instance that serves a queue to end its workers there. The parameters are JSON text
/// that names queue, statuses, computing elements and submission hosts. Returns how many instances.
///
/// That is the one that the queue's data name, and everyone who has reported numbers of workers
/// there.
///
/// # Errors
///
/// [`SweepError`].
pub fn sweep_queue(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    queue: &QueueName,
    params: &str,
) -> Result<usize, SweepError> {
    let Some(data) = ctx.queue(queue) else {
        return Err(SweepError::UnknownQueue {
            queue: queue.clone(),
        });
    };
    let named = data.options.terms.harvester.as_str();
    let since = ctx.now.before(COMMAND_KEPT);
    let mut harvesters: Vec<HarvesterId> = ledger
        .worker_statistics_since(since)?
        .into_iter()
        .filter(|it| it.queue == *queue)
        .map(|it| it.harvester)
        .chain((!named.is_empty()).then(|| HarvesterId::new(named)))
        .collect();
    harvesters.sort_unstable();
    harvesters.dedup();
    if harvesters.is_empty() {
        return Err(SweepError::NoHarvester {
            queue: queue.clone(),
        });
    }
    for harvester in &harvesters {
        give_command(
            ctx,
            ledger,
            NewCommand {
                harvester,
                command: KILL_WORKERS,
                params: params.to_owned(),
                acknowledgement: Acknowledgement::NotWanted,
                replaces: Replaces::SameOrder,
            },
        )?;
    }
    Ok(harvesters.len())
}

/// Forgets commands about which nothing has happened for long. Returns how many.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn expire_commands(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
) -> Result<u64, LedgerError> {
    ledger.remove_commands_before(ctx.now.before(COMMAND_KEPT))
}
