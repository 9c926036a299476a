//! What people say to the pilot of one job: show your output, run this command.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_standalone_module.py`,
//! `setDebugMode` and `send_command_to_job`.

use ailurus_model::{Caller, Command, JobStatus, PandaId, job_tags};

use crate::{
    Context,
    ledger::{Ledger, LedgerError},
    operation::Operation,
};

/// The longest command that a pilot is given, in characters.
const COMMAND_CHARS_MAX: usize = 250;

/// Whether a pilot is to send its payload's output with each heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugMode {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What became of a wish for debug mode; its text is PanDA's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DebugFate {
    /// It is as wished from now on.
    #[error("Succeeded")]
    Changed,
    /// It was as wished before.
    #[error("Already set accordingly")]
    Unchanged,
    /// It stays as it is: PanDA's text of why.
    #[error("{0}")]
    Refused(String),
}

/// Sets or ends the debug mode of a job, at the word of its owner or of a pilot, which queues ask to
/// have it set.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn set_debug_mode(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: PandaId,
    caller: &Caller,
    mode: DebugMode,
) -> Result<DebugFate, LedgerError> {
    use JobStatus::{Activated, Assigned, Defined, Running, Sent, Starting};
    const CHANGEABLE: [JobStatus; 6] = [Defined, Activated, Running, Sent, Starting, Assigned];
    let mut op = Operation::new(ctx, ledger);
    let job = op.ledger.job(id)?;
    let Some(mut job) = job.filter(|job| !job.status.is_terminal()) else {
        let reason = format!("PandaID={id} not found in active DB");
        return Ok(DebugFate::Refused(reason));
    };
    if !CHANGEABLE.contains(&job.status) {
        let words: Vec<String> = CHANGEABLE.iter().map(|one| format!("'{one}'")).collect();
        return Ok(DebugFate::Refused(format!(
            "Cannot set debugMode since the job status is {} which is not in one of [{}]",
            job.status,
            words.join(", ")
        )));
    }
    let owner = op.spec(job.task_id)?.user.clone();
    let group = op.working_group_of(&job)?;
    if !caller.rights.pilot && !caller.may_steer(&owner, &group) {
        let reason = "Permission denied. Not the owner or production manager".to_owned();
        return Ok(DebugFate::Refused(reason));
    }
    let is_on = job.tags.has(job_tags::DEBUG);
    if is_on == (mode == DebugMode::On) {
        return Ok(DebugFate::Unchanged);
    }
    match mode {
        DebugMode::On => job.tags.insert(job_tags::DEBUG),
        DebugMode::Off => job.tags.remove(job_tags::DEBUG),
    }
    op.ledger.put_job(&job)?;
    Ok(DebugFate::Changed)
}

/// What became of a command for a pilot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandFate {
    /// The pilot gets it with its next heartbeat. The text is PanDA's.
    Taken(&'static str),
    /// It does not: PanDA's text of why.
    Refused(String),
}

/// Leaves a command for the pilot that has a job, or will have it, in place of the one before.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn set_command(
    ledger: &mut impl Ledger,
    id: PandaId,
    text: &str,
) -> Result<CommandFate, LedgerError> {
    if text.chars().count() > COMMAND_CHARS_MAX {
        let text = format!("command string too long. must be less than {COMMAND_CHARS_MAX} chars");
        return Ok(CommandFate::Refused(text));
    }
    let job = ledger.job(id)?.filter(|job| !job.status.is_terminal());
    let Some(mut job) = job else {
        return Ok(CommandFate::Refused(format!(
            "no active job with PandaID={id}"
        )));
    };
    if job.command == Some(Command::ToBeKilled) {
        return Ok(CommandFate::Refused("job is being killed".to_owned()));
    }
    job.command = match text {
        "" => None,
        "tobekilled" => Some(Command::ToBeKilled),
        "softkill" => Some(Command::SoftKill),
        other => Some(Command::Other(other.to_owned())),
    };
    ledger.put_job(&job)?;
    Ok(CommandFate::Taken("command received"))
}
