//! `ailurus-pilot function`: runs one job for each HTTP POST, and answers with its report.
//!
//! Each job is run by a process of its own, `ailurus-pilot once`, so that jobs share nothing. One
//! job runs at a time; who comes meanwhile is sent away with `Retry-After`. A signal ends the job
//! that runs, and with it the service. What one connection says is the business of [`http`], what
//! a posted event means that of `ailurus_wire::cloud_event`.

mod guests;
mod http;
mod run;

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ailurus_process::spawn_named;
use ailurus_wire::cloud_event::{self, EventAttributes, EventError, EventMode};
use clap::Parser;
use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{USAGE_ERROR, complain, log};
use guests::Guests;
use http::{Answer, HttpError, Request};
use run::{Runner, RunnerError};

/// The word that asks for it.
pub(crate) const COMMAND: &str = "function";
/// Paths that say whether the service lives: Kubernetes', `OpenFaaS`'s.
const HEALTH_PATHS: [&str; 4] = ["/healthz", "/health", "/_/health", "/_/ready"];
/// Most connections at once. Only one of them runs a job.
const CONNECTIONS_MAX: usize = 16;
/// Reports that are kept for events that come again.
const REPORTS_KEPT: usize = 16;
/// Stack of a connection's thread, in bytes. Only what is used of it becomes memory.
const STACK_BYTES: usize = 1 << 20;
/// When to come again while a job runs.
const RETRY_AFTER_SECS: u64 = 10;
/// Time for connections to end once the service is to end and its job has ended.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
POST a job as JSON to any path: as a CloudEvent in binary or structured mode, or just so. The forms
are those of `ailurus-pilot once --help`. The answer is a CloudEvent, `ailurus.job.finished` or
`ailurus.job.failed`, whose data is the final report. While a job runs, others get 429 and
Retry-After. An event that is delivered again gets the report of its first run. GET /healthz says
whether the service lives. SIGTERM ends it, after the report of the job that runs.

Options behind `--` are handed to `ailurus-pilot once`, for example `-- --pilot-user spd`.

There is no access control: listen on loopback, or behind a gateway of the platform.";

/// Takes jobs over HTTP, one at a time.
#[derive(Debug, Parser)]
#[command(
    name = "ailurus-pilot function",
    bin_name = "ailurus-pilot function",
    version,
    max_term_width = 100
)]
#[command(after_help = AFTER_HELP)]
struct FunctionArgs {
    /// Where to listen; port 0 for a free one, which is written to standard error
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Options for each job
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

/// The service cannot begin or go on.
#[derive(Debug, thiserror::Error)]
enum FunctionError {
    /// The address cannot be used.
    #[error("cannot listen on `{address}`")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The node refuses something else.
    #[error("the node gives no {what}")]
    Node {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What all connections share.
#[derive(Debug)]
struct Service {
    runner: Runner,
    is_ending: AtomicBool,
    guests: Arc<Guests>,
    /// The latest reports: platforms deliver an event again whose answer they missed.
    reports: Mutex<VecDeque<(EventKey, Value)>>,
}

/// Runs the command, and returns the process's exit code.
pub(crate) fn main() -> ExitCode {
    let args = FunctionArgs::parse_from(std::env::args_os().skip(1));
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("no-service", &error);
            ExitCode::from(USAGE_ERROR)
        }
    }
}

fn serve(args: FunctionArgs) -> Result<(), FunctionError> {
    let listening = |source| FunctionError::Listen {
        address: args.listen,
        source,
    };
    let node = |what| move |source| FunctionError::Node { what, source };
    let listener = TcpListener::bind(args.listen).map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let service = Arc::new(Service {
        runner: Runner::new(args.options).map_err(node("path of this program"))?,
        is_ending: AtomicBool::new(false),
        guests: Arc::default(),
        reports: Mutex::default(),
    });
    end_on_signals(service.clone(), address).map_err(node("signals"))?;
    say(&format!("listening on {address}"));
    for connection in listener.incoming() {
        if service.is_ending.load(Ordering::SeqCst) {
            break;
        }
        match connection {
            Ok(stream) => accept(&service, stream),
            Err(error) => say(&format!("a connection is lost: {error}")),
        }
    }
    drain(&service);
    Ok(())
}

/// On a signal ends the job that runs, and wakes the loop that accepts connections.
fn end_on_signals(service: Arc<Service>, address: SocketAddr) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let wait = move || {
        for signal in signals.forever() {
            say(&format!("signal {signal}: the service ends"));
            service.is_ending.store(true, Ordering::SeqCst);
            service.runner.stop();
            // Only to wake the loop; if it does not listen any more, it is awake.
            drop(TcpStream::connect(address));
        }
    };
    spawn_named("signals", STACK_BYTES, wait).map(drop)
}

/// Waits until all connections have their answers.
fn drain(service: &Service) {
    service.runner.wait();
    service.guests.wait_until_gone(DRAIN_PATIENCE);
}

fn accept(service: &Arc<Service>, stream: TcpStream) {
    let own = service.clone();
    let guest = service.guests.enter();
    let talk = move |mut stream: TcpStream| {
        let answer = if guest.n_before < CONNECTIONS_MAX {
            match http::read_request(&mut stream) {
                Ok(request) => own.answer(&request),
                Err(HttpError::Closed) => None,
                Err(error) => Some(refusal(error.status(), &log::chain(&error))),
            }
        } else {
            Some(busy(503, "too many connections"))
        };
        if let Some(answer) = answer
            && let Err(error) = http::write_answer(&mut stream, &answer)
        {
            say(&format!("an answer is lost: {error}"));
        }
        drop(guest);
    };
    if let Err(error) = spawn_named("request", STACK_BYTES, move || talk(stream)) {
        say(&format!("no room for a connection: {error}"));
    }
}

impl Service {
    fn answer(&self, request: &Request) -> Option<Answer> {
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.method.as_str(), HEALTH_PATHS.contains(&path)) {
            ("GET" | "HEAD", true) => Some(self.health()),
            ("POST", false) => Some(self.run(request)),
            (_, true) => Some(refusal(405, "only GET is possible here")),
            (_, false) => Some(refusal(405, "POST a job, or GET /healthz")),
        }
    }

    fn health(&self) -> Answer {
        let is_ending = self.is_ending.load(Ordering::SeqCst);
        let status = if is_ending { "ending" } else { "ok" };
        let body = json!({"status": status, "busy": self.runner.is_busy()});
        Answer::json(if is_ending { 503 } else { 200 }, &body)
    }

    fn run(&self, request: &Request) -> Answer {
        let posted = match cloud_event::decode(|name| request.header(name), &request.body) {
            Ok(posted) => posted,
            Err(error) => {
                let status = match error {
                    EventError::Batch => 415,
                    EventError::Body(_) | EventError::Attribute(_) => 400,
                };
                return refusal(status, &log::chain(&error));
            }
        };
        if self.is_ending.load(Ordering::SeqCst) {
            return busy(503, "the service ends");
        }
        let key = posted.event.as_ref().map(|(_, event)| event_key(event));
        if let Some(report) = key.as_ref().and_then(|key| self.remembered(key)) {
            return result(posted.event, &report);
        }
        match self.runner.run(&posted.data) {
            Ok(report) => {
                self.remember(key, &report);
                result(posted.event, &report)
            }
            Err(RunnerError::Busy) => busy(429, "a job runs: one at a time"),
            Err(RunnerError::BadJob(why)) => refusal(400, &why),
            Err(error @ RunnerError::NoReport { .. }) => refusal(500, &log::chain(&error)),
            Err(error @ RunnerError::Node(_)) => busy(503, &log::chain(&error)),
        }
    }

    /// Returns the report of an event that was delivered before.
    fn remembered(&self, key: &EventKey) -> Option<Value> {
        let reports = self.lock_reports();
        let found = reports.iter().find(|(known, _)| known == key);
        found.map(|(_, report)| report.clone())
    }

    fn remember(&self, key: Option<EventKey>, report: &Value) {
        let Some(key) = key else {
            return;
        };
        let mut reports = self.lock_reports();
        reports.truncate(REPORTS_KEPT - 1);
        reports.push_front((key, report.clone()));
    }

    fn lock_reports(&self) -> MutexGuard<'_, VecDeque<(EventKey, Value)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells an event from all others: its source and its id.
type EventKey = (String, String);

fn event_key(event: &EventAttributes) -> EventKey {
    (event.source.clone(), event.id.clone())
}

/// Makes the answer to a job that was run.
fn result(event: Option<(EventMode, EventAttributes)>, report: &Value) -> Answer {
    let id = report["job_id"].to_string();
    let status = report["job_status"].as_str().unwrap_or("failed");
    let (mode, cause) = match event {
        Some((mode, event)) => (mode, event.id),
        None => (EventMode::Binary, format!("{id}.{}", report["attempt_nr"])),
    };
    let answer = EventAttributes {
        id: format!("{cause}.result"),
        source: format!(
            "/ailurus-pilot/{}",
            report["node"].as_str().unwrap_or("node")
        ),
        kind: format!("ailurus.job.{status}"),
        subject: Some(id),
    };
    let (headers, body) = cloud_event::encode(mode, &answer, report);
    Answer {
        status: 200,
        headers,
        body,
    }
}

/// An answer to what cannot be done.
fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({ "error": why }))
}

/// An answer to what can be done later.
fn busy(status: u16, why: &str) -> Answer {
    let mut answer = refusal(status, why);
    let seconds = RETRY_AFTER_SECS.to_string();
    answer.headers.push(("retry-after".to_owned(), seconds));
    answer
}

/// Says on standard error what the service does.
#[expect(
    clippy::print_stderr,
    reason = "platforms collect standard error as the log"
)]
fn say(text: &str) {
    eprintln!("ailurus-pilot function: {text}");
}
