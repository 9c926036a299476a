//! The real pilot against a stand-in server on loopback: what it does, and what it tells.

mod data_check;
mod data_move;
mod data_plan;
mod monitoring;
mod parts;
mod recovery;
mod rucio;
mod stage;
mod stand_in;
mod surroundings;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stage::{PilotRun, Stage};
use stand_in::Speaks;

const COPY_SCRIPT: &str = "#!/bin/sh\nset -e\ntest \"$PANDAID\" = 1001\ncat in.dat > out.dat\n\
    echo '{\"exitCode\": 0, \"exitMsg\": \"OK\", \
    \"resource\": {\"transform\": {\"processedEvents\": 7}}}' > jobReport.json\n";

/// Exit code of a pilot that got SIGTERM.
const SIGTERM_EXIT: i32 = 143;

fn final_report(update: &Value) -> Value {
    let text = update["job_output_report"]
        .as_str()
        .expect("a report of outputs");
    serde_json::from_str(text).expect("a report is JSON")
}

#[test]
fn a_job_with_input_and_output_succeeds_and_leaves_nothing() {
    let stage = Stage::new("run.sh", COPY_SCRIPT)
        .with_input("in.dat", b"0123456789")
        .with_output("out.dat");
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    assert_eq!(run.statuses().first().map(String::as_str), Some("starting"));
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished");
    assert_eq!(
        (&last["trans_exit_code"], &last["n_events"]),
        (&json!(0), &json!(7))
    );
    let report = final_report(&last);
    let output = &report["out.dat"];
    assert_eq!(
        (&output["fsize"], &output["adler32"]),
        (&json!(10), &json!("0aff020e"))
    );
    let surl = output["surl"].as_str().expect("a place");
    let stored = surl.strip_prefix("file://").expect("mounted storage");
    assert_eq!(fs::read(stored).expect("stored"), b"0123456789");
    let log = report["log.tgz"]["surl"].as_str().expect("a log");
    assert!(
        fs::metadata(log.trim_start_matches("file://"))
            .expect("stored")
            .len()
            > 0
    );
    assert_eq!(stage.leftovers(), Vec::<String>::new());
}

#[test]
fn the_times_of_a_job_are_written_in_order() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n");
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    let line: Value = serde_json::from_str(&stage.read("timing.json")).expect("one line of JSON");
    let marks = [
        "request_sent_ms",
        "payload_start_ms",
        "payload_end_ms",
        "final_update_sent_ms",
    ];
    let times: Vec<f64> = marks
        .map(|mark| line[mark].as_f64().expect("a time"))
        .to_vec();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(line["panda_id"], 1001);
}

#[test]
fn a_server_with_the_legacy_dialect_only_is_understood() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n").speaking(Speaks::Legacy);
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    let calls = run.calls_to("/server/panda/updateJob");
    assert_eq!(calls.last().expect("updates")["state"], "finished");
    assert_eq!(run.calls_to("/api/v1/pilot/acquire_jobs").len(), 1);
    assert!(run.calls_to("/api/v1/pilot/update_job").is_empty());
}

#[test]
fn a_truncated_root_file_is_recognised_in_the_payloads_output() {
    let line = "Error in <TFile::Init>: file in.root is truncated at 1000 bytes: should be 2000, \
        trying to recover";
    let script = format!("#!/bin/sh\necho begin\necho '{line}' >&2\nexit 65\n");
    let run = Stage::new("run.sh", &script).with_output("out.dat").run();
    assert_eq!(
        run.exit_code,
        Some(0),
        "a failed payload is no failure of the pilot"
    );
    let last = run.last_update();
    assert_eq!(last["job_status"], "failed");
    assert_eq!(last["pilot_error_code"], 1305);
    assert_eq!(
        (&last["trans_exit_code"], &last["exe_error_code"]),
        (&json!(65), &json!(65))
    );
    assert_eq!(last["exe_error_diag"], line);
    assert!(
        final_report(&last)["log.tgz"].is_object(),
        "the log is stored all the same"
    );
    assert!(final_report(&last)["out.dat"].is_null());
}

#[test]
fn a_payload_that_runs_for_a_while_is_measured() {
    let script =
        "#!/bin/sh\nend=$(($(date +%s) + 2))\nwhile [ $(date +%s) -lt $end ]; do :; done\n";
    let last = Stage::new("run.sh", script).run().last_update();
    assert!(
        last["max_rss"].as_u64().is_some_and(|kib| kib > 100),
        "{last}"
    );
    assert!(last["cpu_consumption_time"].is_u64(), "{last}");
}

#[test]
fn the_log_archive_has_output_and_pilot_log_but_no_data() {
    let stage = Stage::new("run.sh", COPY_SCRIPT)
        .with_input("in.dat", b"0123456789")
        .with_output("out.dat");
    let report = final_report(&stage.run().last_update());
    let archive = report["log.tgz"]["surl"]
        .as_str()
        .expect("stored")
        .to_owned();
    let listed = std::process::Command::new("tar")
        .args(["tzf", archive.trim_start_matches("file://")])
        .output()
        .expect("tar is there");
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in [
        "payload.stdout",
        "payload.stderr",
        "pilotlog.txt",
        "jobReport.json",
        "run.sh",
    ] {
        let entry = format!("tarball_PandaJob_1001_Q/{name}");
        assert!(names.lines().any(|line| line == entry), "{name} in {names}");
    }
    assert!(
        !names.contains("in.dat") && !names.contains("out.dat"),
        "{names}"
    );
}

#[test]
fn a_job_definition_in_place_is_taken_before_the_server_is_asked() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n");
    let file = stage.put_job_in_place();
    let run = stage.run();
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    assert!(run.calls_to("/api/v1/pilot/acquire_jobs").is_empty());
    assert!(!file.exists());
}

#[test]
fn sigterm_ends_the_payload_and_is_reported() {
    let stage = Stage::new(
        "run.sh",
        "#!/bin/sh\nsleep 300 &\necho $! > ../../child\nwait\n",
    );
    let mut pilot = stage.start();
    stage.wait_for_file("child");
    let begin = Instant::now();
    pilot.signal();
    let run = pilot.finish();
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!(run.exit_code, Some(SIGTERM_EXIT), "{}", run.output);
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["pilot_error_code"]),
        (&json!("failed"), &json!(1201))
    );
    assert!(final_report(&last)["log.tgz"].is_object());
    let child = stage.read("child");
    assert!(
        !std::path::Path::new(&format!("/proc/{}", child.trim())).exists(),
        "P1"
    );
}

#[test]
fn a_script_that_is_not_there_fails_the_job() {
    let mut stage = Stage::new("run.sh", "");
    stage.job["transformation"] = json!(format!("{}/trf/other.sh", stage.url()));
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    assert_eq!(run.last_update()["pilot_error_code"], 1149);
}

#[test]
fn a_script_whose_server_is_busy_for_a_while_costs_no_job() {
    let run = Stage::new("run.sh", "#!/bin/sh\nexit 0\n")
        .busy("/trf/run.sh", 1)
        .run();
    let status = run.last_update()["job_status"].clone();
    assert_eq!(status, "finished", "{}", run.output);
    assert_eq!(run.calls_to("/trf/run.sh").len(), 2);
}

#[test]
fn a_script_from_elsewhere_is_not_fetched() {
    let mut stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n");
    stage.job["transformation"] = json!("http://example.org/run.sh");
    let run = stage.run();
    assert_eq!(run.last_update()["pilot_error_code"], 1149);
}

#[test]
fn an_input_with_another_checksum_fails_the_job_and_not_the_pilot() {
    let mut stage = Stage::new("run.sh", COPY_SCRIPT).with_input("in.dat", b"0123456789");
    stage.job["checksum"] = json!("ad:00000001");
    let run = stage.run();
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["pilot_error_code"]),
        (&json!("failed"), &json!(1171))
    );
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
}

#[test]
fn a_missing_input_has_its_own_code() {
    let stage = Stage::new("run.sh", COPY_SCRIPT).with_input("in.dat", b"0123456789");
    stage.remove_inputs();
    let run = stage.run();
    assert_eq!(run.last_update()["pilot_error_code"], 1331);
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
}

#[test]
fn an_output_that_is_missing_or_empty_fails_the_job() {
    for (script, code) in [("exit 0", 1165), (": > out.dat", 1191)] {
        let script = format!("#!/bin/sh\n{script}\n");
        let run = Stage::new("run.sh", &script).with_output("out.dat").run();
        assert_eq!(run.last_update()["pilot_error_code"], code, "{script}");
    }
}

#[test]
fn a_job_that_cannot_be_understood_is_reported_as_failed() {
    let mut stage = Stage::new("run.sh", "").with_input("in.dat", b"x");
    stage.job["outFiles"] = json!("a,b,c");
    stage.job["realDatasets"] = json!("ds");
    stage.job["scopeOut"] = json!("");
    let run = stage.run();
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["job_id"]),
        (&json!("failed"), &json!(1001))
    );
    assert_ne!(last["pilot_error_code"], 0);
}

#[test]
fn parameters_reach_the_payload_as_words_and_no_shell_runs_them() {
    let script = "#!/bin/sh\nfor word in \"$@\"; do echo \"<$word>\"; done > out.dat\n";
    let mut stage = Stage::new("run.sh", script).with_output("out.dat");
    stage.job["jobPars"] = json!("a 'b c' $HOME; touch ../../pwned");
    let run = stage.run();
    let report = final_report(&run.last_update());
    let surl = report["out.dat"]["surl"]
        .as_str()
        .expect("stored")
        .to_owned();
    let words = fs::read_to_string(surl.trim_start_matches("file://")).expect("stored");
    assert_eq!(words, "<a>\n<b c>\n<$HOME;>\n<touch>\n<../../pwned>\n");
    assert!(!stage.path("pwned").exists());
}

#[test]
fn tokens_do_not_reach_the_payload_nor_strangers() {
    let script = "#!/bin/sh\nenv > out.dat\n";
    let stage = Stage::new("run.sh", script).with_output("out.dat");
    fs::write(stage.path("token"), "top-secret").expect("space");
    let token = stage.path("token").display().to_string();
    let run = stage.run_with(&[
        ("PANDA_AUTH_TOKEN", &token),
        ("PANDA_AUTH_ORIGIN", "spd.pilot"),
    ]);
    let report = final_report(&run.last_update());
    let surl = report["out.dat"]["surl"]
        .as_str()
        .expect("stored")
        .to_owned();
    let seen = fs::read_to_string(surl.trim_start_matches("file://")).expect("stored");
    assert!(seen.contains("PanDA_TaskID=77"));
    assert!(!seen.contains("PANDA_AUTH"), "{seen}");
    assert!(!run.output.contains("top-secret"));
    assert!(run.has_token_at("/api/v1/pilot/update_job"));
    assert!(!run.has_token_at("/trf/run.sh"));
}

#[test]
fn harvester_hears_when_its_worker_starts_and_ends() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n");
    let run = stage.run_with(&[("HARVESTER_ID", "h1"), ("HARVESTER_WORKER_ID", "42")]);
    let calls = run.calls_to("/api/v1/pilot/update_worker_status");
    let phases: Vec<_> = calls.iter().map(|call| call["status"].clone()).collect();
    assert_eq!(phases, ["started", "finished"]);
}

#[test]
fn without_a_job_the_pilot_leaves_with_zero() {
    let stage = Stage::without_job();
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    assert_eq!(run.calls_to("/api/v1/pilot/acquire_jobs").len(), 1);
    assert!(
        run.last_line()
            .ends_with("(exit code=0, shell exit code=0)"),
        "{}",
        run.output
    );
}

#[test]
fn the_log_has_the_lines_of_pilot_3() {
    let run: PilotRun = Stage::without_job().run();
    let line = run.output.lines().next().expect("a line");
    let parts: Vec<&str> = line.splitn(3, " | ").collect();
    assert_eq!(
        (parts[0].len(), parts[1]),
        ("2026-01-31 23:59:59,123".len(), "INFO    ")
    );
}
