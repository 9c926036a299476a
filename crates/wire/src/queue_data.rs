//! Queue data (CRIC's schedconfig JSON) and [`Queue`].
//!
//! CRIC has hundreds of keys a queue: those that Ailurus acts on are read, all others are passed
//! over in silence. What is written is enough for Pilot 3 too.
//!
//! Source: Pilot 3, `pilot/info/queuedata.py`, `QueueData`; PanDA server, files
//! `/cache/schedconfig/<queue>.all.json`.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{
    Blame, ByteCount, EndpointName, ErrorCode, Queue, QueueName, Retry,
    queue::{Activity, QueueStatus},
};
use serde_json::{Map, Value, json};

use crate::{
    body::{self, BodyError},
    fields::{FieldError, Fields, is_missing, text_of},
    python_literal, queue_options,
};

/// Grace on the memory limit where the queue says nothing, in percent.
const MEMORY_GRACE_PERCENT: u32 = 100;
/// Grace on the work directory limit where the queue says nothing, in percent.
const DISK_GRACE_PERCENT: u32 = 20;
/// Unit of `timefloor`, in seconds.
const TIME_FLOOR_UNIT_SECS: u64 = 60;

/// Queue data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueDataError {
    /// They cannot be read at all.
    #[error("queue data cannot be read")]
    Body(#[from] BodyError),
    /// The information system answered with an error instead of data.
    #[error("information system answered `{message}` instead of queue data")]
    Refused {
        /// Its words.
        message: String,
    },
    /// They are about other queues.
    #[error("queue data have no queue `{name}`: check its name and that it exists in CRIC")]
    NoSuchQueue {
        /// The queue that was looked for.
        name: QueueName,
    },
    /// A value makes no sense.
    #[error("data of queue `{name}` make no sense")]
    Field {
        /// The queue, as far as known.
        name: String,
        /// What is wrong.
        #[source]
        source: FieldError,
    },
}

impl QueueDataError {
    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Body(_) | Self::Refused { .. } | Self::NoSuchQueue { .. } => ErrorCode::QueueData,
            Self::Field { .. } => ErrorCode::QueueDataNotOk,
        }
    }

    /// Says whether asking again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Body(_) | Self::Refused { .. } => Retry::Later,
            Self::NoSuchQueue { .. } | Self::Field { .. } => Retry::Never,
        }
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Body(_) => Blame::Network,
            Self::Refused { .. } => Blame::Server,
            Self::NoSuchQueue { .. } | Self::Field { .. } => Blame::Site,
        }
    }
}

/// All queues of one file: those that can be used, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct QueueSet {
    /// Queues by name.
    pub queues: BTreeMap<QueueName, Queue>,
    /// One error for each queue that cannot be used.
    pub broken: Vec<QueueDataError>,
}

/// Reads the data of one queue: its object alone, or a map of queues that has it.
///
/// # Errors
///
/// [`QueueDataError`].
pub fn decode(bytes: &[u8], name: &QueueName) -> Result<Queue, QueueDataError> {
    let mut members = match members_of(bytes)? {
        Content::One(fields) => return decode_fields(&fields),
        Content::Many(members) => members,
    };
    let value = members
        .remove(name.as_str())
        .ok_or_else(|| QueueDataError::NoSuchQueue { name: name.clone() })?;
    decode_member(name.as_str(), value)
}

/// Reads the data of one queue from several sources, of which the last counts most. Values that say
/// nothing leave those of the sources before. `copy_tools` takes the place of `acopytools`, as
/// JSON or as Python writes it.
///
/// Source: Pilot 3, `pilot/info/extinfo.py`, `ExtInfoProvider`, and `pilot/info/infoservice.py`.
///
/// # Errors
///
/// [`QueueDataError`] if a source cannot be read, none has the queue, or the whole makes no sense.
pub fn decode_layers(
    layers: &[Vec<u8>],
    name: &QueueName,
    copy_tools: Option<&str>,
) -> Result<Queue, QueueDataError> {
    let mut merged: Option<Fields> = None;
    for bytes in layers {
        let fields = match members_of(bytes)? {
            Content::One(fields) => fields,
            Content::Many(mut members) => match members.remove(name.as_str()) {
                Some(value) => object_member(name.as_str(), value)?,
                None => continue,
            },
        };
        let merged = merged.get_or_insert_default();
        for (key, value) in fields.iter().filter(|(_, value)| !is_missing(value)) {
            merged.put(key, value.clone());
        }
    }
    let mut merged = merged.ok_or_else(|| QueueDataError::NoSuchQueue { name: name.clone() })?;
    if let Some(text) = copy_tools {
        merged.put("acopytools", text);
    }
    decode_fields(&merged)
}

/// Reads the data of all queues of a file: one object, or a map of queues.
///
/// # Errors
///
/// [`QueueDataError`] if the file as a whole cannot be read.
pub fn decode_all(bytes: &[u8]) -> Result<QueueSet, QueueDataError> {
    let decoded: Vec<_> = match members_of(bytes)? {
        Content::One(fields) => vec![decode_fields(&fields)],
        Content::Many(members) => members
            .into_iter()
            .map(|(name, value)| decode_member(&name, value))
            .collect(),
    };
    let mut set = QueueSet::default();
    for result in decoded {
        match result {
            Ok(queue) => {
                set.queues.insert(queue.name.clone(), queue);
            }
            Err(error) => set.broken.push(error),
        }
    }
    Ok(set)
}

enum Content {
    One(Fields),
    Many(Map<String, Value>),
}

fn members_of(bytes: &[u8]) -> Result<Content, QueueDataError> {
    let value = body::decode_value(bytes)?;
    let Value::Object(members) = value else {
        return Err(BodyError::NotAnObject.into());
    };
    if let Some(error) = members.get("error").filter(|error| !is_missing(error)) {
        return Err(QueueDataError::Refused {
            message: text_of(error).into_owned(),
        });
    }
    let is_map = !members.is_empty() && members.values().all(Value::is_object);
    if is_map {
        return Ok(Content::Many(members));
    }
    Fields::from_value(Value::Object(members))
        .map(Content::One)
        .map_err(|_| BodyError::NotAnObject.into())
}

fn decode_member(name: &str, value: Value) -> Result<Queue, QueueDataError> {
    decode_fields(&object_member(name, value)?)
}

fn object_member(name: &str, value: Value) -> Result<Fields, QueueDataError> {
    Fields::from_value(value).map_err(|value| QueueDataError::Field {
        name: name.to_owned(),
        source: FieldError::new(name, Some(&value), "an object"),
    })
}

fn decode_fields(fields: &Fields) -> Result<Queue, QueueDataError> {
    queue_of(fields).map_err(|source| QueueDataError::Field {
        name: fields.text("nickname"),
        source,
    })
}

fn queue_of(fields: &Fields) -> Result<Queue, FieldError> {
    let name = fields.text("nickname");
    if name.is_empty() {
        return Err(FieldError::of_text(
            "nickname",
            "nothing",
            "the queue's name",
        ));
    }
    let first_text = |names: &[&str]| {
        names
            .iter()
            .map(|name| fields.text(name))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let params = object_of(fields, "params")?;
    let percent = |key: &str, default: u32| params.whole_if_any(key).unwrap_or(default);
    Ok(Queue {
        resource: QueueName::new(first_text(&["panda_resource", "nickname"])),
        name: QueueName::new(name),
        site: first_text(&["atlas_site", "gstat"]),
        kind: first_text(&["type"]),
        state: fields.text("state"),
        status: status_of(fields)?,
        resource_type: fields.text("resource_type"),
        core_count: fields
            .whole_if_any("corecount")
            .filter(|cores| *cores > 0)
            .unwrap_or(1),
        memory: ByteCount::from_mib(whole_or_zero(fields, "maxrss")),
        disk: ByteCount::from_mib(whole_or_zero(fields, "maxwdir")),
        max_time: Duration::from_secs(whole_or_zero(fields, "maxtime")),
        time_floor: Duration::from_secs(
            whole_or_zero(fields, "timefloor").saturating_mul(TIME_FLOOR_UNIT_SECS),
        ),
        max_input_size: Some(whole_or_zero(fields, "maxinputsize"))
            .filter(|mib| *mib > 0)
            .map(ByteCount::from_mib),
        platform: fields.text("cmtconfig"),
        environ: fields.text("environ"),
        catchall: fields.text("catchall"),
        copy_tools: copy_tools(fields)?,
        storages: lists_of(fields, "astorages", |name| EndpointName::new(name))?,
        has_cvmfs: fields.flag("is_cvmfs").unwrap_or(true),
        walltime_grace_percent: percent("pilot_walltime_grace", 0),
        memory_grace_percent: percent("pilot_rss_grace", MEMORY_GRACE_PERCENT),
        disk_grace_percent: percent("pilot_maxwdir_grace", DISK_GRACE_PERCENT),
        job_walltime_is_limit: params.flag("job_maxwalltime").unwrap_or(false),
        worker_queue_limit: params.whole_if_any("nQueueLimitWorker"),
        worker_limit: params.whole_if_any("maxWorkers"),
        options: queue_options::decode(fields, &params, &fields.text("catchall"))?,
    })
}

/// A number that PanDA does not insist on: what is missing, negative or no number is zero.
fn whole_or_zero(fields: &Fields, name: &str) -> u64 {
    fields.whole_if_any(name).unwrap_or(0)
}

fn status_of(fields: &Fields) -> Result<QueueStatus, FieldError> {
    match fields.text("status").to_ascii_lowercase().as_str() {
        // A queue in standby runs what its dynamic slots allow: for brokerage it is online.
        "" | "online" | "standby" => Ok(QueueStatus::Online),
        "brokeroff" => Ok(QueueStatus::Brokeroff),
        "test" => Ok(QueueStatus::Test),
        "paused" => Ok(QueueStatus::Paused),
        "offline" => Ok(QueueStatus::Offline),
        _ => Err(FieldError::new(
            "status",
            fields.get("status"),
            "online, standby, brokeroff, test, paused or offline",
        )),
    }
}

/// The copy tools by activity; a queue that only lists its tools has them for every activity.
///
/// Source: Pilot 3, `pilot/api/data.py`, `set_acopytools`.
fn copy_tools(fields: &Fields) -> Result<BTreeMap<Activity, Vec<String>>, FieldError> {
    let by_activity = lists_of(fields, "acopytools", str::to_owned)?;
    let listed = object_of(fields, "copytools")?;
    let listed: Vec<String> = listed.iter().map(|(tool, _)| tool.to_owned()).collect();
    if by_activity.is_empty() && !listed.is_empty() {
        return Ok(BTreeMap::from([("default".to_owned(), listed)]));
    }
    Ok(by_activity)
}

/// An object, also as JSON text or as Python writes it; a missing one is empty.
pub(crate) fn object_of(fields: &Fields, name: &str) -> Result<Fields, FieldError> {
    let Some(value) = fields.get(name) else {
        return Ok(Fields::new());
    };
    let bad = || FieldError::new(name, Some(value), "a JSON object");
    let object = match value.as_str() {
        Some(text) => python_literal::parse(text).ok_or_else(bad)?,
        None => value.clone(),
    };
    Fields::from_value(object).map_err(|_| bad())
}

/// An object of lists of names, `{activity: [name, …]}`; a single name is a list of one.
fn lists_of<T>(
    fields: &Fields,
    name: &str,
    make: impl Fn(&str) -> T,
) -> Result<BTreeMap<Activity, Vec<T>>, FieldError> {
    let object = object_of(fields, name)?;
    let mut lists = BTreeMap::new();
    for (activity, value) in object.iter() {
        let bad = || {
            FieldError::new(
                &format!("{name}.{activity}"),
                Some(value),
                "a list of names",
            )
        };
        let names = match value {
            Value::Null => Vec::new(),
            Value::String(text) => vec![make(text)],
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(&make).ok_or_else(bad))
                .collect::<Result<_, _>>()?,
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(bad()),
        };
        lists.insert(activity.to_owned(), names);
    }
    Ok(lists)
}

/// Writes the object of one queue, as pilots, Harvester and our own programs read it.
#[must_use]
pub fn encode(queue: &Queue) -> Value {
    let mut params = Map::new();
    params.insert(
        "pilot_walltime_grace".into(),
        queue.walltime_grace_percent.into(),
    );
    params.insert("pilot_rss_grace".into(), queue.memory_grace_percent.into());
    params.insert(
        "pilot_maxwdir_grace".into(),
        queue.disk_grace_percent.into(),
    );
    params.insert("job_maxwalltime".into(), queue.job_walltime_is_limit.into());
    for (key, limit) in [
        ("nQueueLimitWorker", queue.worker_queue_limit),
        ("maxWorkers", queue.worker_limit),
    ] {
        if let Some(limit) = limit {
            params.insert(key.into(), limit.into());
        }
    }
    let mut members = Map::new();
    queue_options::encode(&mut members, &mut params, queue);
    let object = json!({
        "nickname": queue.name,
        "siteid": queue.name,
        "panda_resource": queue.resource,
        "atlas_site": queue.site,
        "gstat": queue.site,
        "type": queue.kind,
        "state": queue.state,
        "status": queue.status.as_str(),
        "resource_type": queue.resource_type,
        "corecount": if queue.options.terms.takes_any_cores { 0 } else { queue.core_count },
        "maxrss": queue.memory.as_mib(),
        "maxwdir": queue.disk.as_mib(),
        "maxtime": queue.max_time.as_secs(),
        "timefloor": queue.time_floor.as_secs().div_ceil(TIME_FLOOR_UNIT_SECS),
        "maxinputsize": queue.max_input_size.map_or(json!(-1), |size| json!(size.as_mib())),
        "cmtconfig": queue.platform,
        "environ": queue.environ,
        "catchall": queue.catchall,
        "acopytools": queue.copy_tools,
        "astorages": queue.storages,
        "is_cvmfs": queue.has_cvmfs,
        "params": params,
    });
    if let Value::Object(object) = object {
        members.extend(object);
    }
    Value::Object(members)
}

/// Writes a map of queues by name, as CRIC does.
#[must_use]
pub fn encode_all<'a>(queues: impl IntoIterator<Item = &'a Queue>) -> Value {
    let members = queues
        .into_iter()
        .map(|queue| (queue.name.to_string(), encode(queue)))
        .collect();
    Value::Object(members)
}
