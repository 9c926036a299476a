//! A server that answers what a test told it, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

#[derive(Debug, Default)]
struct State {
    /// HTTP status and body by request line such as `GET /path`.
    answers: BTreeMap<String, (u16, Value)>,
    /// The answer to everything else, if there is one.
    other: Option<Value>,
    requests: Vec<String>,
    bodies: Vec<Value>,
}

/// The server. Its threads end with the test's process.
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
                serve(&stream, &shared);
            }
        });
        Self { state, port }
    }

    /// Returns an address at which nothing listens.
    pub(crate) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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
        self.state().requests.clone()
    }

    /// Returns the bodies of the requests so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state().bodies.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Answers one request and closes the connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let Some((request, body)) = read_request(&mut reader) else {
        return;
    };
    let mut state = state.lock().unwrap();
    let known = state.answers.get(&request).cloned();
    let other = state.other.clone().map(|body| (200, body));
    let (status, answer) = known.or(other).unwrap_or((500, json!("no such answer")));
    state.requests.push(request);
    state.bodies.push(body);
    let text = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    let mut writer = stream;
    // A client that has gone fails its own test.
    drop(writer.write_all(format!("{head}{text}").as_bytes()));
}

/// Reads one request: its method and target, and its body as JSON.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Value)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let (request, _) = first.rsplit_once(' ')?;
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
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some((request.to_owned(), body))
}
