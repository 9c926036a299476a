//! A PanDA server of a few lines: gives one job, notes what it is told.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
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
    pub(crate) calls: Vec<Call>,
}

pub(crate) type SharedState = Arc<Mutex<Shared>>;

/// Starts the server on a free port of loopback; it lives as long as the test's process.
pub(crate) fn start(shared: SharedState) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            thread::spawn(move || serve(stream, &shared));
        }
    });
    format!("http://{address}")
}

/// Serves one connection until the peer closes it.
fn serve(stream: TcpStream, shared: &SharedState) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut writer = stream;
    while let Some(request) = Request::read(&mut reader) {
        let (status, body) = answer(&request, shared);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = writer
            .write_all(head.as_bytes())
            .and_then(|()| writer.write_all(&body));
        if sent.is_err() {
            return;
        }
    }
}

struct Request {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |text| text.parse().expect("a number"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            path,
            headers,
            body,
        })
    }
}

fn answer(request: &Request, shared: &SharedState) -> (u16, Vec<u8>) {
    let mut shared = shared.lock().expect("no test panics with it");
    let content_type = request.headers.get("content-type").map(String::as_str);
    let fields = match decode_request(content_type, &request.body) {
        Ok(fields) if !request.body.is_empty() => serde_json::to_value(fields).expect("JSON"),
        Ok(_) | Err(_) => Value::Null,
    };
    shared.calls.push(Call {
        path: request.path.clone(),
        fields,
        has_token: request.headers.contains_key("authorization"),
    });
    if let Some(content) = shared.files.get(&request.path) {
        return (200, content.clone());
    }
    match (request.path.as_str(), shared.speaks) {
        ("/api/v1/pilot/acquire_jobs", Speaks::V1) => v1_job(shared.job.take()),
        ("/api/v1/pilot/update_job", Speaks::V1) => (
            200,
            text(
                &json!({"success": true, "message": "", "data": {"StatusCode": 0, "command": null}}),
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
