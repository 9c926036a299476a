//! `ailurus-pilot function`: one job a POST.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, ChildStderr},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::workbench::{LIMIT, Workbench, finish, start, wait_until};

struct Service {
    child: Option<Child>,
    address: String,
    _log: BufReader<ChildStderr>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Service {
    fn start(bench: &Workbench) -> Self {
        let mut command = bench.command(&["function", "--listen", "127.0.0.1:0"]);
        let mut child = start(&mut command);
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a first line");
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .expect("an address")
            .to_owned();
        Self {
            child: Some(child),
            address,
            _log: log,
        }
    }

    fn send(&self, text: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        stream.write_all(text).expect("it reads");
        stream
    }

    fn ask(&self, text: &[u8]) -> Reply {
        reply(self.send(text))
    }

    fn post(&self, headers: &str, body: &str) -> Reply {
        self.ask(&post(headers, body))
    }

    fn signal(&self) {
        let pid = self.child.as_ref().expect("it runs").id();
        let pid = Pid::from_raw(i32::try_from(pid).expect("a number")).expect("not zero");
        kill_process(pid, Signal::TERM).expect("it runs");
    }

    fn end(mut self) -> Option<i32> {
        self.signal();
        finish(self.child.take().expect("it runs")).code
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST /run HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n");
    format!("{head}{body}").into_bytes()
}

fn reply(mut stream: TcpStream) -> Reply {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("`{text}`"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: `{text}`"))
}

const TRUE: &str = r#"{"transformation": "/bin/true", "id": 12}"#;

#[test]
fn a_job_is_answered_in_the_mode_in_which_it_came() {
    let bench = Workbench::new("#!/bin/sh\n");
    let service = Service::start(&bench);
    let binary = service.post(
        "ce-specversion: 1.0\r\nce-id: e1\r\nce-source: /x\r\nce-type: job\r\n\
         content-type: application/json\r\n",
        TRUE,
    );
    assert_eq!(binary.status, 200, "{}", binary.body);
    assert!(
        binary.head.contains("ce-type: ailurus.job.finished"),
        "{}",
        binary.head
    );
    assert!(binary.head.contains("ce-id: e1.result"), "{}", binary.head);
    assert_eq!(json_of(&binary.body)["job_status"], "finished");
    let event = json!({
        "specversion": "1.0", "id": "e2", "source": "/x", "type": "job",
        "data": {"transformation": "/bin/false", "id": 13},
    });
    let kind = "content-type: application/cloudevents+json\r\n";
    let structured = service.post(kind, &event.to_string());
    assert_eq!(structured.status, 200, "{}", structured.body);
    let answer = json_of(&structured.body);
    assert_eq!(answer["type"], "ailurus.job.failed");
    assert_eq!(
        (&answer["subject"], &answer["data"]["job_id"]),
        (&json!("13"), &json!(13))
    );
    let plain = service.post("content-type: application/json\r\n", TRUE);
    assert_eq!(
        (plain.status, &json_of(&plain.body)["job_id"]),
        (200, &json!(12))
    );
    assert_eq!(service.end(), Some(0));
}

#[test]
fn an_event_that_is_delivered_again_gets_the_report_of_its_first_run() {
    let bench = Workbench::new("#!/bin/sh\n");
    let runs = bench.path("runs").display().to_string();
    bench.write("here/run.sh", &format!("#!/bin/sh\necho run >> {runs}\n"));
    let service = Service::start(&bench);
    let headers = |id: &str| {
        format!("ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /x\r\nce-type: job\r\n")
    };
    let job = r#"{"transformation": "run.sh"}"#;
    let first = service.post(&headers("e1"), job);
    let again = service.post(&headers("e1"), job);
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(bench.read("runs"), "run\n");
    assert_eq!(service.post(&headers("e2"), job).status, 200);
    assert_eq!(bench.read("runs"), "run\nrun\n");
}

#[test]
fn a_body_in_chunks_and_one_that_waits_for_a_word_are_taken() {
    let bench = Workbench::new("#!/bin/sh\n");
    let service = Service::start(&bench);
    let (first, second) = TRUE.split_at(10);
    let chunked = format!(
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert_eq!(service.ask(chunked.as_bytes()).status, 200);
    let head = format!(
        "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        TRUE.len()
    );
    let mut stream = service.send(head.as_bytes());
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("a word");
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    stream.write_all(TRUE.as_bytes()).expect("it reads");
    assert_eq!(reply(stream).status, 200);
}

#[test]
fn bad_requests_get_clear_answers_and_the_service_lives_on() {
    let bench = Workbench::new("#!/bin/sh\n");
    let service = Service::start(&bench);
    let structured = "content-type: application/cloudevents+json\r\n";
    let batch = "content-type: application/cloudevents-batch+json\r\n";
    for (text, status, word) in [
        (post("", "{\"inptus\": 1}"), 400, "inptus"),
        (post("", ""), 400, "no job"),
        (post(structured, "{}"), 400, "specversion"),
        (post(batch, "[]"), 415, "one by one"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 405, "POST"),
        (b"POST /healthz HTTP/1.1\r\n\r\n".to_vec(), 405, "GET"),
        (b"nonsense\r\n\r\n".to_vec(), 400, "HTTP"),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 9999999999\r\n\r\n".to_vec(),
            413,
            "longer",
        ),
        (
            b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(),
            400,
            "length",
        ),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n".to_vec(),
            400,
            "chunk",
        ),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n".to_vec(),
            400,
            "not clear",
        ),
    ] {
        let shown = String::from_utf8_lossy(&text).into_owned();
        let answer = service.ask(&text);
        assert_eq!(answer.status, status, "{shown}: {}", answer.body);
        let error = json_of(&answer.body)["error"].to_string();
        assert!(error.contains(word), "{shown}: {error}");
    }
    let half = service.send(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n{");
    half.shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(reply(half).status, 400);
    let health = service.ask(b"GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(
        (health.status, &json_of(&health.body)["status"]),
        (200, &json!("ok"))
    );
}

#[test]
fn while_a_job_runs_others_are_sent_away_and_a_signal_still_brings_its_report() {
    let bench = Workbench::new("#!/bin/sh\n");
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    let service = Service::start(&bench);
    let long = service.send(&post("", r#"{"transformation": "run.sh"}"#));
    bench.wait_for("mark");
    let busy = service.post("", TRUE);
    assert_eq!(busy.status, 429, "{}", busy.body);
    assert!(busy.head.contains("retry-after: "), "{}", busy.head);
    let health = service.ask(b"GET /_/health HTTP/1.1\r\n\r\n");
    assert_eq!(json_of(&health.body)["busy"], true);
    service.signal();
    let last = reply(long);
    assert_eq!(last.status, 200, "{}", last.body);
    assert_eq!(json_of(&last.body)["job_status"], "failed");
    let mut service = service;
    assert_eq!(finish(service.child.take().expect("it ran")).code, Some(0));
}

#[test]
fn a_service_that_is_killed_leaves_no_payload() {
    let bench = Workbench::new("#!/bin/sh\n");
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho $$ > {mark}\nsleep 100\n"),
    );
    let mut service = Service::start(&bench);
    let _long = service.send(&post("", r#"{"transformation": "run.sh"}"#));
    bench.wait_for("mark");
    let pid = bench.read("mark").trim().to_owned();
    service
        .child
        .as_mut()
        .expect("it runs")
        .kill()
        .expect("it runs");
    let stat = format!("/proc/{pid}/stat");
    wait_until("the payload's end", || {
        // A zombie that nobody reaps in a container has ended as well.
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}
