//! A server that answers what a test told it, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard},
};

use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
};
use serde_json::{Value, json};

#[derive(Debug, Default)]
struct State {
    /// HTTP status and body by request line such as `GET /path`.
    answers: BTreeMap<String, (u16, Value)>,
    /// The answer to everything else, if there is one.
    other: Option<Value>,
}

pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    http: HttpStandIn,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let http = HttpStandIn::start(move |request| Some(answer(request, &shared))).unwrap();
        Self { state, http }
    }

    /// Returns an address at which nothing listens.
    pub(crate) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        self.http.url()
    }

    pub(crate) fn answer(&self, request: &str, body: Value) {
        self.state().answers.insert(request.to_owned(), (200, body));
    }

    pub(crate) fn answer_all(&self, body: Value) {
        self.state().other = Some(body);
    }

    pub(crate) fn refuse(&self, request: &str, body: Value) {
        self.state().answers.insert(request.to_owned(), (404, body));
    }

    /// Returns the requests so far, such as `GET /path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.http.requests();
        let asked = requests.iter().map(Request::method_and_target);
        asked.map(str::to_owned).collect()
    }

    /// Returns the bodies of the requests so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        let requests = self.http.requests();
        let bodies = requests.iter().map(|request| &request.body);
        bodies
            .map(|body| serde_json::from_slice(body).unwrap_or_default())
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn answer(request: &Request, state: &Mutex<State>) -> Answer {
    let state = state.lock().unwrap();
    let known = state.answers.get(request.method_and_target()).cloned();
    let other = state.other.clone().map(|body| (200, body));
    let (status, body) = known.or(other).unwrap_or((500, json!("no such answer")));
    Answer::new(status, body.to_string())
}
