//! A PanDA server of a few calls, on a port of its own. It can be away, and can refuse.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

#[derive(Debug, Default)]
struct State {
    activated: u32,
    running: u32,
    is_away: bool,
    is_refusing: bool,
    last_worker_id: u64,
    workers: BTreeMap<u64, Value>,
    statistics: Value,
    calls: BTreeMap<String, usize>,
}

/// The server. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { state, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set_jobs(&self, activated: u32, running: u32) {
        let mut state = self.state();
        (state.activated, state.running) = (activated, running);
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    pub(crate) fn set_refusing(&self, is_refusing: bool) {
        self.state().is_refusing = is_refusing;
    }

    pub(crate) fn set_last_worker_id(&self, id: u64) {
        self.state().last_worker_id = id;
    }

    pub(crate) fn forget_workers(&self) {
        self.state().workers.clear();
    }

    /// Returns a worker as reported last, null if it never was.
    pub(crate) fn worker(&self, number: u64) -> Value {
        self.state()
            .workers
            .get(&number)
            .cloned()
            .unwrap_or_default()
    }

    /// Returns the queue's worker statistics as reported last.
    pub(crate) fn statistics(&self) -> Value {
        self.state().statistics.clone()
    }

    /// Returns how often a path was asked for.
    pub(crate) fn calls(&self, path: &str) -> usize {
        self.state().calls.get(path).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Answers requests until the client closes the connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some((target, body)) = read_request(&mut reader) {
        let answer = {
            let mut state = state.lock().unwrap();
            if state.is_away {
                return;
            }
            let path = target.split('?').next().unwrap_or_default().to_owned();
            let answer = answer(&mut state, &path, &body);
            *state.calls.entry(path).or_insert(0) += 1;
            answer
        };
        let (status, text) = match answer {
            Some(value) => ("200 OK", value.to_string()),
            None => ("404 Not Found", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        let mut writer = stream;
        if writer
            .write_all(format!("{head}{text}").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// Reads one request: its target and its body as JSON.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Value)> {
    let mut first = String::new();
    reader
        .read_line(&mut first)
        .ok()
        .filter(|count| *count > 0)?;
    let target = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, serde_json::from_slice(&body).unwrap_or_default()))
}

fn answer(state: &mut State, path: &str, body: &Value) -> Option<Value> {
    let success = |data: Value| Some(json!({"success": true, "message": "", "data": data}));
    match path {
        "/api/v1/statistics/active_job_stats_by_site" => success(json!({"JINR": {
            "activated": state.activated, "running": state.running, "assigned": 0}})),
        "/cache/schedconfig/JINR.all.json" => Some(json!({
            "nickname": "JINR", "panda_resource": "JINR", "state": "ACTIVE", "status": "online",
            "atlas_site": "JINR", "type": "unified", "resource_type": "grid", "corecount": 1,
            "maxrss": 2000, "maxwdir": 1000, "maxtime": 3600, "timefloor": 0, "catchall": "",
            "params": {}, "copytools": {}, "acopytools": {}, "astorages": {}})),
        "/api/v1/harvester/heartbeat" => success(Value::Null),
        "/api/v1/harvester/get_current_worker_id" => success(json!(state.last_worker_id)),
        "/api/v1/harvester/update_workers" => {
            let workers = body["workers"].as_array().cloned().unwrap_or_default();
            let is_taken = !state.is_refusing;
            if is_taken {
                for worker in &workers {
                    let number = worker["workerID"].as_u64().unwrap();
                    state.workers.insert(number, worker.clone());
                }
            }
            success(workers.iter().map(|_| is_taken).collect())
        }
        "/api/v1/harvester/report_worker_statistics" => {
            let text = body["statistics"].as_str().unwrap_or_default();
            state.statistics = serde_json::from_str(text).unwrap_or_default();
            success(Value::Null)
        }
        _ => None,
    }
}
