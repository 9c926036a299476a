//! The real `ailurus` against a stand-in server.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

mod stand_in;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use stand_in::StandIn;

const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const NO_SERVER: i32 = 3;

fn run(server: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ailurus"))
        .args(arguments)
        .env("AILURUS_SERVER", server)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must succeed and say nothing besides its data.
fn shown(server: &StandIn, arguments: &[&str]) -> String {
    let output = run(&server.url(), arguments);
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn task() -> Value {
    json!({"id": 3, "name": "simulation", "chain": "spd", "user": "alice", "status": "running",
        "priority": 100, "jobs": {"finished": 5, "running": 2}, "jobs_total": 7,
        "failed_attempts": 1, "created": "2026-01-31 10:00:00",
        "state_changed": "2026-01-31 10:05:00", "inputs": ["spd.gen"], "outputs": ["spd.sim"]})
}

fn job(log_surl: &str) -> Value {
    json!({"panda_id": 12, "task_id": 3, "task_name": "simulation", "part": 4,
        "status": "finished", "attempt_nr": 2, "max_attempts": 3, "queue": "PNPI", "reason": "",
        "created": "2026-01-31 10:00:00", "state_changed": "2026-01-31 10:05:00",
        "attempts": [{"attempt_nr": 1, "status": "failed", "queue": "JINR", "node": "wn1",
            "seed": 7, "sent": "2026-01-31 10:01:00", "started": "", "ended": "",
            "payload_exit_code": 65, "cpu_secs": 12, "rss_max": 1_073_741_824_u64,
            "diagnosis": {"code": 1305, "entry": "root-file-truncated", "blame": "storage",
                "cause": "The input file is cut off.", "remedy": "Read another replica.",
                "text": "Error in <TFile::Init>:\n\u{1b}[31mtruncated"},
            "log_surl": log_surl, "pilot_log": "the pilot's last words"}]})
}

fn queue() -> Value {
    json!({"name": "JINR", "site": "JINR", "status": "online", "cores": 4,
        "memory": 2_147_483_648_u64, "jobs": {"activated": 3}, "workers": {"running": 2},
        "output_endpoint": "JINR_EOS"})
}

const TASK_FILE: &str = "scope = \"spd\"\n[[task]]\nname = \"a\"\ntransformation = \"a.py\"\n\
    events = 10\nevents_per_job = 5\n";

#[test]
fn a_task_file_is_submitted_whole_for_the_user_named() {
    let server = StandIn::start();
    server.answer(
        "POST /ailurus/v1/tasks",
        json!({"tasks": [{"id": 9, "name": "a", "jobs": 2}]}),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain.toml");
    fs::write(&file, TASK_FILE).unwrap();
    let text = shown(
        &server,
        &["task", "submit", file.to_str().unwrap(), "--user", "alice"],
    );
    assert!(
        text.starts_with("task 9 `a` submitted with 2 jobs\n"),
        "{text}"
    );
    let sent = &server.bodies()[0];
    assert_eq!(sent["tasks"][0]["user"], "alice");
    assert_eq!(sent["tasks"][0]["split"]["Events"]["per_job"], 5);
}

#[test]
fn a_map_of_task_parameters_is_submitted_as_it_is() {
    let server = StandIn::start();
    server.answer(
        "POST /ailurus/v1/panda-tasks",
        json!({"tasks": [{"id": 9, "name": "a", "jobs": 0}]}),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("task.json");
    let params = json!({"taskName": "a", "nFilesPerJob": 2});
    fs::write(&file, params.to_string()).unwrap();
    let text = shown(&server, &["task", "submit", file.to_str().unwrap()]);
    assert_eq!(
        text,
        "task 9 `a` submitted; `ailurus task show 9` shows the progress\n"
    );
    assert_eq!(server.bodies(), [params]);
    fs::write(&file, "{\n  \"taskName\": a\n}").unwrap();
    let output = run(&server.url(), &["task", "submit", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(REFUSED));
    let place = format!("error[bad-task-parameters]: {}:2: ", file.display());
    assert!(stderr(&output).starts_with(&place), "{}", stderr(&output));
    assert_eq!(server.bodies().len(), 1);
}

#[test]
fn a_mistake_in_a_task_file_is_told_with_its_place_and_nothing_is_sent() {
    let server = StandIn::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain.toml");
    fs::write(&file, TASK_FILE.replace("events = 10", "evnets = 10")).unwrap();
    let output = run(&server.url(), &["task", "submit", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(REFUSED));
    let text = stderr(&output);
    assert!(
        text.contains("chain.toml:5: task[0] \"a\": evnets: unknown key"),
        "{text}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_refusal_by_the_server_names_the_file() {
    let server = StandIn::start();
    let refusal = json!({"code": "unknown-queue", "message": "queue `X` is not known",
        "help": "name another"});
    server.refuse("POST /ailurus/v1/tasks", refusal);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain.toml");
    fs::write(&file, TASK_FILE).unwrap();
    let output = run(&server.url(), &["task", "submit", file.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(text.starts_with("error[unknown-queue]: "), "{text}");
    assert!(
        text.contains("chain.toml: queue `X` is not known"),
        "{text}"
    );
}

#[test]
fn a_task_file_that_is_no_text_is_refused_with_the_line() {
    let server = StandIn::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain.toml");
    fs::write(&file, b"scope = \"spd\"\nuser = \"\xe4\"\n").unwrap();
    let output = run(&server.url(), &["task", "submit", file.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(text.starts_with("error[not-utf-8]: "), "{text}");
    assert!(text.contains("chain.toml:2: "), "{text}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_list_that_was_cut_off_says_so() {
    let server = StandIn::start();
    server.answer(
        "GET /ailurus/v1/jobs?limit=1&failed_attempts=false",
        json!([job("")]),
    );
    let output = run(&server.url(), &["job", "list", "--limit", "1"]);
    assert!(stderr(&output).starts_with("note: only the newest jobs"));
    for wrong in [["--limit", "0"], ["--status", "done"]] {
        let output = run(&server.url(), &[&["job", "list"], &wrong[..]].concat());
        assert_eq!(output.status.code(), Some(USAGE));
    }
}

#[test]
fn tasks_are_a_table_with_aligned_columns_and_utc() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/tasks?chain=spd", json!([task(), task()]));
    let text = shown(&server, &["task", "list", "--chain", "spd"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("submitted (UTC)"), "{text}");
    assert_eq!(lines[0].find("name"), lines[1].find("simulation"), "{text}");
}

#[test]
fn with_json_an_answer_is_printed_as_the_server_gave_it() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/tasks/3", task());
    let text = shown(&server, &["--json", "task", "show", "3"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), task());
}

#[test]
fn a_failed_attempt_reads_like_one_sentence() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/jobs/12", job(""));
    let text = shown(&server, &["job", "show", "12"]);
    let sentence = "\nattempt 1 failed on JINR: The input file is cut off. Read another replica.\n";
    assert!(text.contains(sentence), "{text}");
    assert!(
        text.contains("Error in <TFile::Init>:  [31mtruncated\n"),
        "{text}"
    );
    assert!(
        text.contains("1 GiB") && text.contains("2026-01-31 10:01:00 UTC"),
        "{text}"
    );
}

#[test]
fn filters_of_a_job_list_reach_the_server() {
    let server = StandIn::start();
    server.answer_all(json!([job("")]));
    shown(
        &server,
        &[
            "job", "list", "--task", "3", "--status", "failed", "--limit", "5",
        ],
    );
    let request = &server.requests()[0];
    for part in [
        "GET /ailurus/v1/jobs?",
        "task=3",
        "status=failed",
        "limit=5",
    ] {
        assert!(request.contains(part), "{request}");
    }
}

#[test]
fn a_log_is_read_out_of_its_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.tgz");
    let file = fs::File::create(&path).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        file,
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    tar.append_data(&mut header, "job/payload.stderr", &b"hello\n"[..])
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let server = StandIn::start();
    server.answer(
        "GET /ailurus/v1/jobs/12",
        job(&format!("file://{}", path.display())),
    );
    let text = shown(&server, &["job", "log", "12", "--file", "payload.stderr"]);
    assert_eq!(text, "hello\n");
}

#[test]
fn an_archive_out_of_reach_leaves_the_extract_and_its_place() {
    let server = StandIn::start();
    server.answer(
        "GET /ailurus/v1/jobs/12",
        job("root://eos.example.org//log.tgz"),
    );
    let output = run(&server.url(), &["job", "log", "12", "--attempt", "1"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"the pilot's last words\n");
    assert!(
        stderr(&output).contains("root://eos.example.org//log.tgz"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn kills_and_retries_say_what_they_did() {
    let server = StandIn::start();
    server.answer_all(json!({"jobs": 2, "message": "2 jobs are being killed"}));
    for (noun, verb, path) in [
        ("task", "kill", "POST /ailurus/v1/tasks/3/kill"),
        ("task", "retry", "POST /ailurus/v1/tasks/3/retry"),
        ("task", "pause", "POST /ailurus/v1/tasks/3/pause"),
        ("task", "resume", "POST /ailurus/v1/tasks/3/resume"),
        ("task", "finish", "POST /ailurus/v1/tasks/3/finish"),
        ("job", "kill", "POST /ailurus/v1/jobs/3/kill"),
    ] {
        assert_eq!(
            shown(&server, &[noun, verb, "3"]),
            "2 jobs are being killed\n"
        );
        assert_eq!(server.requests().last().unwrap(), path);
    }
}

#[test]
fn queues_are_shown_with_units() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/queues", json!([queue()]));
    server.answer("GET /ailurus/v1/queues/JINR", queue());
    assert!(shown(&server, &["queue", "list"]).contains("2 GiB"));
    assert!(shown(&server, &["queue", "show", "JINR"]).contains("2 running"));
}

#[test]
fn a_refusal_is_told_in_the_servers_words_with_its_help() {
    let server = StandIn::start();
    server.refuse(
        "GET /ailurus/v1/tasks/77",
        json!({"code": "unknown-task", "message": "there is no task `77`",
            "help": "`ailurus task list` lists them"}),
    );
    let output = run(&server.url(), &["task", "show", "77"]);
    assert_eq!(output.status.code(), Some(REFUSED));
    assert_eq!(output.stdout, b"");
    assert_eq!(
        stderr(&output),
        "error[unknown-task]: there is no task `77`\nhelp: `ailurus task list` lists them\n"
    );
}

#[test]
fn without_a_server_the_error_asks_whether_it_runs() {
    let url = StandIn::nobody();
    let output = run(&url, &["task", "list"]);
    assert_eq!(output.status.code(), Some(NO_SERVER));
    let text = stderr(&output);
    assert!(
        text.contains(&format!("is the server running at `{url}`?")),
        "{text}"
    );
}

#[test]
fn an_answer_of_something_else_is_not_taken_for_ours() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/tasks", json!("welcome"));
    let output = run(&server.url(), &["task", "list"]);
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(
        stderr(&output).contains("--server URL"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_option_goes_before_the_environment() {
    let server = StandIn::start();
    server.answer("GET /ailurus/v1/tasks", json!([]));
    let output = run(
        &StandIn::nobody(),
        &["task", "list", "--server", &server.url()],
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_has_its_own_code() {
    let output = run("http://127.0.0.1:1", &["task", "show", "abc"]);
    assert_eq!(output.status.code(), Some(USAGE));
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let server = StandIn::start();
    let many: Vec<Value> = (0..5000).map(|_| task()).collect();
    server.answer("GET /ailurus/v1/tasks", json!(many));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ailurus"))
        .args(["task", "list", "--server", &server.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
}
