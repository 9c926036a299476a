//! What becomes of each transfer: the message by which Rucio learns popularity and failures.
//!
//! Source: Pilot 3, `pilot/util/tracereport.py`, `TraceReport`, and its users in
//! `pilot/api/data.py`; the server's rules: Rucio, `lib/rucio/core/trace.py`.

use ailurus_model::{
    ByteCount, DatasetName, EndpointName, Guid, Lfn, PandaId, Scope, TaskId, Timestamp,
};
use md5::{Digest, Md5};
use serde_json::{Map, Value};

/// Where traces are posted below the address of a server that takes them.
pub const PATH: &str = "/traces/";

/// One transfer of one file: one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferTrace {
    /// What was done: `get_sm` or `put_sm`, with `_a` for analysis (`eventType`).
    pub event: String,
    /// The pilot's version and that of its Rucio client, as `<one>+<other>`.
    pub version: String,
    /// The scheme of the URL.
    pub protocol: String,
    /// How it went: `DONE`, `COPY_ERROR` and others of Pilot 3's words (`clientState`).
    pub state: String,
    /// What was wrong, empty for `OK`.
    pub reason: String,
    /// The node's endpoint or site (`RUCIO_LOCAL_SITE_ID`, else the endpoint).
    pub local_site: String,
    /// The storage.
    pub remote_site: EndpointName,
    /// When its steps began and ended.
    pub times: TraceTimes,
    /// The file's dataset.
    pub dataset: DatasetName,
    /// The file's scope.
    pub scope: Scope,
    /// The file's name.
    pub file: Lfn,
    /// The file's size, if known.
    pub size: Option<ByteCount>,
    /// The file's globally unique id, if it has one.
    pub guid: Option<Guid>,
    /// From or to where it went, empty if that was not decided.
    pub url: String,
    /// The job's user (`prodUserID`).
    pub user: String,
    /// The job.
    pub panda_id: PandaId,
    /// The job's task.
    pub task_id: TaskId,
    /// What all transfers of one job have in common (`uuid`), 32 hexadecimal digits.
    pub request_id: String,
    /// The node's full name.
    pub host: String,
    /// The node's address.
    pub ip: String,
    /// The queue (`PILOT_SITENAME`).
    pub queue: String,
}

/// When the steps of a transfer began; none for steps that were not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceTimes {
    /// The whole (`timeStart`).
    pub start: Option<Timestamp>,
    /// Asking the catalogue (`catStart`).
    pub catalogue: Option<Timestamp>,
    /// Getting ready (`relativeStart`).
    pub relative: Option<Timestamp>,
    /// Moving bytes (`transferStart`).
    pub transfer: Option<Timestamp>,
    /// Comparing checksums (`validateStart`).
    pub validate: Option<Timestamp>,
    /// The end (`timeEnd`).
    pub end: Option<Timestamp>,
}

fn md5_hex(text: &str) -> String {
    let digest = Md5::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 with their fraction.
fn seconds(time: Option<Timestamp>) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of our centuries fit exactly"
    )]
    let seconds = |time: Timestamp| time.as_millis() as f64 / 1000.0;
    time.map(seconds).into()
}

/// Writes a trace; none if it lacks what the server needs: the event, both sites.
#[must_use]
pub fn encode(trace: &TransferTrace) -> Option<Value> {
    if trace.event.is_empty() || trace.local_site.is_empty() || trace.remote_site.is_empty() {
        return None;
    }
    let reason = match trace.reason.as_str() {
        "" => "OK".to_owned(),
        reason => reason.replace('\\', ""),
    };
    let some_text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let guid = trace
        .guid
        .as_ref()
        .map(|guid| guid.as_str().replace('-', ""));
    let times = &trace.times;
    let members = [
        ("eventType", trace.event.as_str().into()),
        ("eventVersion", trace.version.as_str().into()),
        ("protocol", some_text(&trace.protocol).into()),
        ("clientState", trace.state.as_str().into()),
        ("stateReason", reason.into()),
        ("localSite", trace.local_site.as_str().into()),
        ("remoteSite", trace.remote_site.as_str().into()),
        ("timeStart", seconds(times.start)),
        ("catStart", seconds(times.catalogue)),
        ("relativeStart", seconds(times.relative)),
        ("transferStart", seconds(times.transfer)),
        ("validateStart", seconds(times.validate)),
        ("timeEnd", seconds(times.end)),
        ("dataset", trace.dataset.as_str().into()),
        ("scope", trace.scope.as_str().into()),
        ("filename", trace.file.as_str().into()),
        ("filesize", trace.size.map(ByteCount::as_bytes).into()),
        ("guid", guid.into()),
        ("url", some_text(&trace.url).into()),
        ("version", Value::Null),
        ("duid", Value::Null),
        ("usr", md5_hex(&trace.user).into()),
        ("usrdn", trace.user.as_str().into()),
        ("appid", trace.panda_id.to_string().into()),
        ("taskid", trace.task_id.to_string().into()),
        ("hostname", trace.host.as_str().into()),
        ("ip", trace.ip.as_str().into()),
        ("suspicious", "0".into()),
        ("uuid", trace.request_id.as_str().into()),
        ("pq", trace.queue.as_str().into()),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    Some(Value::Object(Map::from_iter(members)))
}
