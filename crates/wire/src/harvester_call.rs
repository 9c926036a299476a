//! Harvester's calls about itself: heartbeat, worker statistics, commands, worker numbers. All of
//! them are v1.
//!
//! Workers are the business of [`crate::worker_text`]. Calls without data of their own are
//! answered with [`Answer::done`].
//!
//! Source: Harvester, `pandaharvester/harvestercommunicator/panda_communicator.py`; PanDA server,
//! `pandaserver/api/v1/harvester_api.py`.

use std::collections::BTreeMap;

use ailurus_model::{HarvesterId, QueueName, Timestamp, WorkerId};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerError},
    fields::{FieldError, Fields, harvester_time, time_of, whole_of},
    table::{Dialect, Reader, Writer, field_table},
    v1::{Envelope, RequestError},
};

/// The path of the heartbeat (POST).
pub const HEARTBEAT_PATH: &str = "/api/v1/harvester/heartbeat";
/// The path of the worker statistics (POST).
pub const STATISTICS_PATH: &str = "/api/v1/harvester/report_worker_statistics";
/// The path of the commands (POST).
pub const COMMANDS_PATH: &str = "/api/v1/harvester/acquire_commands";
/// The path of the acknowledgement of commands (POST).
pub const ACKNOWLEDGE_PATH: &str = "/api/v1/harvester/acknowledge_commands";
/// The path of the largest worker number (GET).
pub const WORKER_ID_PATH: &str = "/api/v1/harvester/get_current_worker_id";

/// The most commands that are given or acknowledged at a time.
pub const COMMANDS_MAX: usize = 10_000;

/// A sign of life of a Harvester instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heartbeat {
    /// The instance.
    pub harvester_id: HarvesterId,
    /// When it began; told once.
    pub start_time: Option<Timestamp>,
    /// Its version, empty if not told.
    pub version: String,
    /// The commit that it was built from, empty if not told.
    pub commit: String,
}

field_table!(HEARTBEAT_FIELDS {
    HEARTBEAT_ID = text("", "harvester_id").required();
    HEARTBEAT_DATA = map("", "data");
});

/// Writes a heartbeat.
#[must_use]
pub fn encode_heartbeat(heartbeat: &Heartbeat) -> Fields {
    let mut data = Fields::new();
    if let Some(time) = heartbeat.start_time {
        data.put("startTime", harvester_time(time));
    }
    for (name, text) in [
        ("sw_version", &heartbeat.version),
        ("commit_stamp", &heartbeat.commit),
    ] {
        if !text.is_empty() {
            data.put(name, text.as_str());
        }
    }
    let mut out = Writer::new(Dialect::V1);
    out.put(&HEARTBEAT_ID, heartbeat.harvester_id.as_str());
    out.put(&HEARTBEAT_DATA, data.into_value());
    out.finish()
}

/// Reads a heartbeat. Data that Ailurus does not keep are passed over.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1.
pub fn decode_heartbeat(fields: &Fields) -> Result<Heartbeat, RequestError> {
    let message = Reader::of_request(Dialect::V1, HEARTBEAT_FIELDS, fields)?;
    let data = message.value(&HEARTBEAT_DATA).cloned().unwrap_or_default();
    let data = Fields::from_value(data).unwrap_or_default();
    Ok(Heartbeat {
        harvester_id: HarvesterId::new(message.text(&HEARTBEAT_ID)),
        start_time: data.get("startTime").and_then(time_of),
        version: data.text("sw_version"),
        commit: data.text("commit_stamp"),
    })
}

/// Numbers of workers by job type, resource type and status.
pub type WorkerCounts = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

/// How many workers an instance has at a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerStatistics {
    /// The instance.
    pub harvester_id: HarvesterId,
    /// The queue.
    pub queue: QueueName,
    /// The numbers.
    pub counts: WorkerCounts,
}

field_table!(STATISTICS_FIELDS {
    STATISTICS_ID = text("", "harvester_id").required();
    STATISTICS_QUEUE = text("", "panda_queue").required();
    STATISTICS_COUNTS = text("", "statistics").required();
});

/// Writes worker statistics.
#[must_use]
pub fn encode_statistics(statistics: &WorkerStatistics) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&STATISTICS_ID, statistics.harvester_id.as_str());
    out.put(&STATISTICS_QUEUE, statistics.queue.as_str());
    out.put(&STATISTICS_COUNTS, json!(statistics.counts).to_string());
    out.finish()
}

/// Reads worker statistics.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1 or the numbers are none.
pub fn decode_statistics(fields: &Fields) -> Result<WorkerStatistics, RequestError> {
    let message = Reader::of_request(Dialect::V1, STATISTICS_FIELDS, fields)?;
    let allowed = "JSON text of numbers by job type, resource type and status";
    let bad = |_| message.error(&STATISTICS_COUNTS, allowed);
    Ok(WorkerStatistics {
        harvester_id: HarvesterId::new(message.text(&STATISTICS_ID)),
        queue: QueueName::new(message.text(&STATISTICS_QUEUE)),
        counts: serde_json::from_str(&message.text(&STATISTICS_COUNTS)).map_err(bad)?,
    })
}

/// A command of the server to a Harvester instance.
#[derive(Debug, Clone, PartialEq)]
pub struct HarvesterCommand {
    /// Its number, by which it is acknowledged.
    pub id: u64,
    /// What to do, for example `KILL_WORKERS` or `SET_N_WORKERS_JOBTYPE:<queue>`.
    pub command: String,
    /// Its parameters as the command defines them.
    pub params: Value,
    /// Whether the server wants to hear that it is done.
    pub wants_acknowledgement: bool,
    /// When it was given.
    pub created: Option<Timestamp>,
}

/// How many commands an instance asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandsRequest {
    /// The instance.
    pub harvester_id: HarvesterId,
    /// How many at most.
    pub n_commands: usize,
}

field_table!(COMMANDS_FIELDS {
    COMMANDS_ID = text("", "harvester_id").required();
    N_COMMANDS = int("", "n_commands").required();
    _COMMANDS_TIMEOUT = int("", "timeout");
});

/// Writes a request for commands.
#[must_use]
pub fn encode_commands_request(request: &CommandsRequest) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&COMMANDS_ID, request.harvester_id.as_str());
    out.whole(&N_COMMANDS, request.n_commands);
    out.finish()
}

/// Reads a request for commands.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1.
pub fn decode_commands_request(fields: &Fields) -> Result<CommandsRequest, RequestError> {
    let message = Reader::of_request(Dialect::V1, COMMANDS_FIELDS, fields)?;
    let n_commands: usize = message.must_be_whole(&N_COMMANDS)?;
    Ok(CommandsRequest {
        harvester_id: HarvesterId::new(message.text(&COMMANDS_ID)),
        n_commands: n_commands.min(COMMANDS_MAX),
    })
}

/// Writes a time as the server does here: `2026-01-31T23:59:59`.
fn iso_text(time: Timestamp) -> String {
    time.to_panda_text().replace(' ', "T")
}

/// Writes commands, oldest first.
#[must_use]
pub fn encode_commands(commands: &[HarvesterCommand]) -> Answer {
    let list = commands.iter().map(|command| {
        json!({
            "command_id": command.id,
            "command": command.command,
            "params": command.params,
            "ack_requested": u8::from(command.wants_acknowledgement),
            "creation_date": command.created.map(iso_text),
        })
    });
    Answer::V1(Envelope::success(list.collect::<Value>()))
}

/// Reads commands, oldest first.
///
/// # Errors
///
/// [`AnswerError`] if the server refused, or a command has no number or no text.
pub fn decode_commands(bytes: &[u8]) -> Result<Vec<HarvesterCommand>, AnswerError> {
    let data = Answer::parse(Dialect::V1, bytes)?.into_data()?;
    let bad = || FieldError::new("data", Some(&data), "a list of commands");
    let items = data.as_array().ok_or_else(bad)?;
    items
        .iter()
        .map(|item| {
            let fields = Fields::from_value(item.clone()).map_err(|_| bad())?;
            Ok(HarvesterCommand {
                id: fields.whole("command_id")?.ok_or_else(bad)?,
                command: fields.text("command"),
                params: fields.get("params").cloned().unwrap_or_default(),
                wants_acknowledgement: fields.flag("ack_requested").unwrap_or(false),
                created: fields.get("creation_date").and_then(time_of),
            })
        })
        .collect()
}

field_table!(ACKNOWLEDGE_FIELDS {
    COMMAND_IDS = list("", "command_ids").required();
    _ACKNOWLEDGE_TIMEOUT = int("", "timeout");
});

/// Writes the acknowledgement of commands.
#[must_use]
pub fn encode_acknowledgement(ids: &[u64]) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&COMMAND_IDS, ids.to_vec());
    out.finish()
}

/// Reads the acknowledgement of commands.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1.
pub fn decode_acknowledgement(fields: &Fields) -> Result<Vec<u64>, RequestError> {
    let message = Reader::of_request(Dialect::V1, ACKNOWLEDGE_FIELDS, fields)?;
    message
        .list(&COMMAND_IDS, COMMANDS_MAX)?
        .iter()
        .map(|item| {
            let id = whole_of(item).and_then(|id| u64::try_from(id).ok());
            id.ok_or_else(|| message.error(&COMMAND_IDS, "numbers of commands").into())
        })
        .collect()
}

field_table!(WORKER_ID_FIELDS {
    WORKER_ID_OWNER = text("", "harvester_id").required();
});

/// Writes the question for the largest worker number of an instance, which belongs into a query.
#[must_use]
pub fn encode_worker_id_request(harvester_id: &HarvesterId) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&WORKER_ID_OWNER, harvester_id.as_str());
    out.finish()
}

/// Reads the question for the largest worker number.
///
/// # Errors
///
/// [`RequestError`] if the instance is missing.
pub fn decode_worker_id_request(fields: &Fields) -> Result<HarvesterId, RequestError> {
    let message = Reader::of_query(Dialect::V1, WORKER_ID_FIELDS, fields)?;
    Ok(HarvesterId::new(message.text(&WORKER_ID_OWNER)))
}

/// Writes the largest worker number; zero if the instance has none yet.
#[must_use]
pub fn encode_worker_id(id: WorkerId) -> Answer {
    Answer::V1(Envelope::success(id.value()))
}

/// Reads the largest worker number.
///
/// # Errors
///
/// [`AnswerError`] if the server refused or the number is none.
pub fn decode_worker_id(bytes: &[u8]) -> Result<WorkerId, AnswerError> {
    let data = Answer::parse(Dialect::V1, bytes)?.into_data()?;
    let number = whole_of(&data).and_then(|number| u64::try_from(number).ok());
    let number =
        number.ok_or_else(|| FieldError::new("data", Some(&data), "the number of a worker"))?;
    Ok(WorkerId::new(number))
}
