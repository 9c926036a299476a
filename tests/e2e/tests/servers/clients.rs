//! Clients that take jobs through their lives as pilots do, and remember what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ailurus_testkit::Connection;
use serde_json::{Map, Value, json};

use crate::house::QUEUE;

/// How long one call is tried again.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Pause after a call without an answer; pilots make longer ones.
const PAUSE: Duration = Duration::from_millis(20);

/// What the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Jobs whose final update was acknowledged, each with its attempt.
    pub(crate) finished: BTreeMap<u64, u64>,
    /// Attempts that were given to a client, each once.
    pub(crate) given: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Shared {
    addresses: Mutex<Vec<String>>,
    ended: Mutex<Ended>,
    progress: AtomicU64,
    is_over: AtomicBool,
}

/// Clients at work.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts them.
    pub(crate) fn start(addresses: Vec<String>, n_clients: usize) -> Self {
        let shared = Arc::new(Shared {
            addresses: Mutex::new(addresses),
            ended: Mutex::default(),
            progress: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let threads = (0..n_clients)
            .map(|nr| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || Client::new(shared, nr).run())
            })
            .collect();
        Self { shared, threads }
    }

    /// Tells them where the servers are now.
    pub(crate) fn tell(&self, addresses: Vec<String>) {
        *self.shared.addresses.lock().unwrap() = addresses;
    }

    /// Waits until so many more jobs have finished, or all have.
    pub(crate) fn wait_for_progress(&self, n_jobs: u64) {
        let before = self.shared.progress.load(Ordering::Relaxed);
        let deadline = Instant::now() + CALL_LIMIT;
        while self.shared.progress.load(Ordering::Relaxed) < before + n_jobs {
            if self.threads.iter().all(JoinHandle::is_finished) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no job has finished for a long time"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no job is left, and returns what they were told.
    pub(crate) fn finish(self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() > deadline {
                self.shared.is_over.store(true, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_millis(10));
        }
        for thread in self.threads {
            thread.join().expect("a client panicked");
        }
        let shared = Arc::into_inner(self.shared).expect("no client is left");
        assert!(
            !shared.is_over.into_inner(),
            "jobs were left when time was up"
        );
        shared.ended.into_inner().unwrap()
    }
}

struct Client {
    shared: Arc<Shared>,
    nr: usize,
    connection: Option<Connection>,
    n_calls: usize,
}

impl Client {
    fn new(shared: Arc<Shared>, nr: usize) -> Self {
        Self {
            shared,
            nr,
            connection: None,
            n_calls: 0,
        }
    }

    /// Takes jobs until there are none: an empty answer counts only if it comes often, as a job whose
    /// answer was lost comes back after a while.
    fn run(mut self) {
        let mut n_empty = 0;
        while n_empty < 40 && !self.shared.is_over.load(Ordering::Relaxed) {
            let answer = self.call(
                "/api/v1/pilot/acquire_jobs",
                &json!({"site_name": QUEUE, "prod_source_label": "managed", "memory": 4000,
                    "disk_space": 20000, "node": format!("node{}", self.nr),
                    "computing_element": QUEUE}),
            );
            let Some(job) = answer["data"]["jobs"].get(0).cloned() else {
                n_empty += 1;
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            n_empty = 0;
            self.live(&job);
        }
    }

    fn live(&mut self, job: &Value) {
        let (id, attempt) = (
            job["PandaID"].as_u64().unwrap(),
            job["attemptNr"].as_u64().unwrap(),
        );
        {
            let mut ended = self.shared.ended.lock().unwrap();
            assert!(
                ended.given.insert((id, attempt)),
                "attempt {attempt} of {id} was given twice"
            );
        }
        for state in ["starting", "running"] {
            self.update(job, state, json!({}));
        }
        let told = self.update(job, "finished", final_fields(job));
        // A final update whose answer was lost is sent again, and is done already by then.
        let is_done = told.is_null() || told == "NULL" || told == "alreadydone";
        if is_done {
            let mut ended = self.shared.ended.lock().unwrap();
            let before = ended.finished.insert(id, attempt);
            assert!(before.is_none(), "job {id} was finished twice");
            drop(ended);
            self.shared.progress.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reports, and returns the command.
    fn update(&mut self, job: &Value, state: &str, more: Value) -> Value {
        let mut body = json!({"job_id": job["PandaID"], "job_status": state, "site_name": QUEUE,
            "attempt_nr": job["attemptNr"], "node": format!("node{}", self.nr)});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let answer = self.call("/api/v1/pilot/update_job", &body);
        assert_eq!(answer["success"], true, "{answer}");
        assert_eq!(answer["data"]["StatusCode"], 0, "{answer}");
        answer["data"]["command"].clone()
    }

    /// Calls until there is an answer.
    fn call(&mut self, path: &str, body: &Value) -> Value {
        let deadline = Instant::now() + CALL_LIMIT;
        loop {
            let error = match self.call_once(path, body) {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            self.connection = None;
            assert!(Instant::now() < deadline, "{path}: {error:#}");
            thread::sleep(PAUSE);
        }
    }

    fn call_once(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        if self.connection.is_none() {
            let addresses = self.shared.addresses.lock().unwrap().clone();
            self.n_calls += 1;
            let address = &addresses[(self.nr + self.n_calls) % addresses.len()];
            self.connection = Some(Connection::open(address)?);
        }
        self.connection
            .as_mut()
            .expect("it was just made")
            .post(path, body)
    }
}

fn final_fields(job: &Value) -> Value {
    let mut report = Map::new();
    for lfn in job["outFiles"].as_str().unwrap().split(',') {
        let entry = json!({"guid": "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF", "fsize": 1000,
            "adler32": "0a0b0c0d", "surl": format!("file:///x/{lfn}"), "endpoint": "DISK"});
        report.insert(lfn.to_owned(), entry);
    }
    json!({"job_output_report": Value::Object(report).to_string(), "trans_exit_code": 0,
        "pilot_error_code": 0})
}
