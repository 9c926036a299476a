//! A PanDA server of a few lines: gives one job, notes what it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
};
use ailurus_wire::body::decode_request;
use serde_json::{Value, json};

/// Which dialects the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    V1,
    Legacy,
}

/// One request that the server got.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) fields: Value,
    pub(crate) has_token: bool,
}

/// What the server gives and has heard.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) speaks: Speaks,
    /// The job, until it is given.
    pub(crate) job: Option<Value>,
    /// Content by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// How often a path is answered by 503 before it is served.
    pub(crate) busy: BTreeMap<String, u32>,
    /// The command in the answers to updates.
    pub(crate) command: Option<String>,
    pub(crate) calls: Vec<Call>,
}

pub(crate) type SharedState = Arc<Mutex<Shared>>;

/// Starts the server; it ends with what is returned.
pub(crate) fn start(shared: SharedState) -> HttpStandIn {
    let answer = move |request: &Request| {
        let (status, body) = answer(request, &shared);
        Some(Answer::new(status, body))
    };
    HttpStandIn::start(answer).expect("a free port")
}

fn answer(request: &Request, shared: &SharedState) -> (u16, Vec<u8>) {
    let mut shared = shared.lock().expect("no test panics with it");
    let fields = match decode_request(request.header("content-type"), &request.body) {
        Ok(fields) if !request.body.is_empty() => serde_json::to_value(fields).expect("JSON"),
        Ok(_) | Err(_) => Value::Null,
    };
    shared.calls.push(Call {
        path: request.target().to_owned(),
        fields,
        has_token: request.header("authorization").is_some(),
    });
    if let Some(left) = shared.busy.get_mut(request.target())
        && *left > 0
    {
        *left -= 1;
        return (503, b"busy".to_vec());
    }
    if let Some(content) = shared.files.get(request.target()) {
        return (200, content.clone());
    }
    match (request.target(), shared.speaks) {
        ("/api/v1/pilot/acquire_jobs", Speaks::V1) => v1_job(shared.job.take()),
        ("/api/v1/pilot/update_job", Speaks::V1) => (
            200,
            text(
                &json!({"success": true, "message": "", "data": {"StatusCode": 0, "command": shared.command}}),
            ),
        ),
        ("/api/v1/pilot/update_worker_status", Speaks::V1) => (
            200,
            text(&json!({"success": true, "message": "", "data": null})),
        ),
        ("/server/panda/getJob", Speaks::Legacy) => legacy_job(shared.job.take()),
        ("/server/panda/updateJob", Speaks::Legacy) => (200, b"StatusCode=0&command=NULL".to_vec()),
        _ => (404, b"no such call".to_vec()),
    }
}

fn v1_job(job: Option<Value>) -> (u16, Vec<u8>) {
    let answer = match job {
        Some(job) => {
            json!({"success": true, "message": "", "data": {"StatusCode": 0, "jobs": [job]}})
        }
        None => json!({"success": false, "message": "No jobs in PanDA", "data": null}),
    };
    (200, text(&answer))
}

fn legacy_job(job: Option<Value>) -> (u16, Vec<u8>) {
    (
        200,
        job.map_or_else(|| b"StatusCode=20".to_vec(), |job| legacy_text(&job)),
    )
}

/// Writes a job as old servers do: a form with text for everything.
pub(crate) fn legacy_text(job: &Value) -> Vec<u8> {
    let fields = job.as_object().expect("a job is an object").iter();
    let fields = fields.map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", escaped(&text))
    });
    fields.collect::<Vec<_>>().join("&").into_bytes()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
