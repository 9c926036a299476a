//! `ailurus-pilot once`: one job, its report, its exit code.

use std::{fs, io::Write, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::workbench::{Ended, Workbench, finish, run, start};

const COPY: &str = "#!/bin/sh\necho \"$@\" > out.dat\ncat in.dat >> out.dat\n";

fn given(bench: &Workbench, job: &str) -> Ended {
    let mut command = bench.command(&["once", "--job", "-"]);
    let mut child = start(command.stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("a pipe");
    // A pilot that refuses its options reads nothing.
    let _ = stdin.write_all(job.as_bytes());
    drop(stdin);
    finish(child)
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_plain_job_on_standard_input_takes_and_leaves_its_files_here() {
    let bench = Workbench::new(COPY);
    bench.write("here/in.dat", "data\n");
    let ended = given(
        &bench,
        r#"{"transformation": "run.sh", "parameters": ["-x", "a  b"], "inputs": ["in.dat"],
            "outputs": ["out.dat"], "log": "log.tgz"}"#,
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    assert_eq!(report["job_status"], "finished");
    assert_eq!(report["trans_exit_code"], 0);
    let files: Value = serde_json::from_str(report["job_output_report"].as_str().expect("text"))
        .expect("a report of outputs");
    assert_eq!(files["out.dat"]["fsize"], 13);
    assert_eq!(bench.read("here/out.dat"), "-x a  b\ndata\n");
    assert!(bench.path("here/log.tgz").is_file());
    assert!(
        ended.stderr.contains("pilot has finished"),
        "the log goes to stderr"
    );
    assert_eq!(bench.leftovers(), Vec::<String>::new());
}

#[test]
fn a_job_of_panda_in_a_file_is_run_in_each_of_its_forms() {
    let bench = Workbench::new("#!/bin/sh\necho x > out.dat\n");
    let job = bench.job(12);
    let mut legacy = job.clone();
    legacy["StatusCode"] = json!(0);
    let v1 = json!({"success": true, "message": "", "data": {"StatusCode": 0, "jobs": [legacy]}});
    for form in [job.clone(), legacy.clone(), v1, json!({"12": job})] {
        bench.write("here/job.json", &form.to_string());
        let ended = run(&mut bench.command(&["once", "--job", "job.json"]));
        assert_eq!(ended.code, Some(0), "{form}: {ended:?}");
        assert_eq!(report(&ended)["job_id"], 12, "{form}");
        fs::remove_file(bench.path("here/out.dat")).expect("an output");
    }
}

#[test]
fn a_job_that_fails_is_told_by_report_and_exit_code() {
    let bench = Workbench::new("#!/bin/sh\nexit 3\n");
    let ended = given(&bench, r#"{"transformation": "run.sh"}"#);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = report(&ended);
    assert_eq!(report["job_status"], "failed");
    assert_eq!(report["trans_exit_code"], 3);
}

#[test]
fn what_is_no_job_is_refused_with_a_reason_and_without_a_report() {
    let bench = Workbench::new("#!/bin/sh\n");
    for (job, reason) in [
        ("", "no job"),
        ("{\"transformation\": ", "not JSON"),
        ("<html>", "not an object"),
        ("{\"transformation\": \"x\", \"inptus\": []}", "inptus"),
        ("{\"1\": {}, \"2\": {}}", "2 jobs"),
        ("{\"StatusCode\": 20}", "0 jobs"),
    ] {
        let ended = given(&bench, job);
        assert_eq!(ended.code, Some(2), "{job}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{job}: {ended:?}");
        assert_eq!(ended.stdout, "", "{job}");
    }
    let ended = run(&mut bench.command(&["once", "--job", "nowhere.json"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("`nowhere.json`"), "{ended:?}");
}

#[test]
fn a_job_of_panda_that_makes_no_sense_is_reported_as_failed() {
    let bench = Workbench::new("#!/bin/sh\n");
    let ended = given(&bench, r#"{"PandaID": 12, "coreCount": "many"}"#);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = report(&ended);
    assert_eq!(
        (&report["job_id"], &report["job_status"]),
        (&json!(12), &json!("failed"))
    );
    let diag = report["pilot_error_diag"].as_str().expect("a text");
    assert!(diag.contains("coreCount"), "{diag}");
}

#[test]
fn an_input_that_is_not_here_fails_the_job_with_its_name() {
    let bench = Workbench::new(COPY);
    let ended = given(
        &bench,
        r#"{"transformation": "run.sh", "inputs": ["in.dat"]}"#,
    );
    assert!(
        ended.code.is_some_and(|code| code != 0 && code != 2),
        "{ended:?}"
    );
    let report = report(&ended);
    let diag = report["pilot_error_diag"].as_str().expect("a text");
    assert!(diag.contains("in.dat"), "{diag}");
}

#[test]
fn a_signal_ends_the_job_with_a_report() {
    let bench = Workbench::new("#!/bin/sh\n");
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    bench.write("here/job.json", r#"{"transformation": "run.sh"}"#);
    let child = start(&mut bench.command(&["once", "--job", "job.json"]));
    bench.wait_for("mark");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number")).expect("not zero");
    kill_process(pid, Signal::TERM).expect("it runs");
    let ended = finish(child);
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert_eq!(report(&ended)["job_status"], "failed");
}

#[test]
fn what_a_killed_pilot_left_here_is_left_alone() {
    let bench = Workbench::new("#!/bin/sh\n");
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/long.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    bench.write(
        "here/long.json",
        r#"{"transformation": "long.sh", "id": 5}"#,
    );
    bench.write(
        "here/short.json",
        r#"{"transformation": "run.sh", "id": 6}"#,
    );
    let scratch = bench.path("scratch").display().to_string();
    let words = |job| ["once", "--job", job, "-a", &scratch];
    let mut first = start(&mut bench.command(&words("long.json")));
    bench.wait_for("mark");
    first.kill().expect("it runs");
    finish(first);
    let left = bench.leftovers();
    let ended = run(&mut bench.command(&words("short.json")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(report(&ended)["job_id"], 6);
    assert_eq!(bench.leftovers(), left);
}
