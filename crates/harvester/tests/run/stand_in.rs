//! A PanDA server of a few calls, on a port of its own. It can be away, and can refuse.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
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

#[derive(Debug)]
pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    http: HttpStandIn,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let http = HttpStandIn::start(move |request| serve(request, &shared)).unwrap();
        Self { state, http }
    }

    pub(crate) fn url(&self) -> String {
        self.http.url()
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

/// Answers a request, unless the server is away.
fn serve(request: &Request, state: &Mutex<State>) -> Option<Answer> {
    let mut state = state.lock().unwrap();
    if state.is_away {
        return None;
    }
    let path = request.target().split('?').next().unwrap_or_default();
    let body = serde_json::from_slice(&request.body).unwrap_or_default();
    let answer = answer(&mut state, path, &body);
    *state.calls.entry(path.to_owned()).or_insert(0) += 1;
    Some(match answer {
        Some(value) => Answer::new(200, value.to_string()),
        None => Answer::new(404, ""),
    })
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
