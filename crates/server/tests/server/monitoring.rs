//! What operators' programs see: metrics, health, logs.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{QUEUE, Server};

#[test]
fn metrics_count_jobs_and_answers_in_words_that_prometheus_reads() {
    let server = Server::start();
    server.submit("counted", 3);
    server.get("/server/panda/isAlive");
    server.get("/no/such/path");
    let page = server.get("/metrics");
    assert_eq!(page.status, 200);
    let activated = format!("ailurus_server_jobs{{queue=\"{QUEUE}\",status=\"activated\"}} 3");
    for part in [
        activated.as_str(),
        "ailurus_server_requests_total{",
        "status=\"403\"} 1",
        "ailurus_server_request_duration_seconds_bucket",
        "# EOF",
    ] {
        assert!(page.text.contains(part), "no {part}:\n{}", page.text);
    }
    // Prometheus' own reader, where there is one.
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let Ok(mut promtool) = promtool.stderr(Stdio::piped()).spawn() else {
        return;
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(page.text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("error while linting"), "{said}");
}

#[test]
fn a_server_says_that_it_is_alive_and_ready() {
    let server = Server::start();
    assert_eq!(server.get("/health").text, "alive\n");
    let ready = server.get("/ready");
    assert_eq!(
        (ready.status, ready.json()["ready"].clone()),
        (200, Value::Bool(true))
    );
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let mut server = Server::start_with("log_format = \"json\"");
    server.submit("logged", 1);
    server.terminate();
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let submitted = lines
        .iter()
        .find(|line| line["fields"]["message"] == "task submitted");
    let submitted = submitted.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(submitted["fields"]["name"], "logged");
    assert!(submitted["timestamp"].is_string() && submitted["level"] == "INFO");
}
