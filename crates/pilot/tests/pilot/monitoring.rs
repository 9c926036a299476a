//! What the pilot measures of a payload, what it tells and writes down of that.

use std::fs;

use serde_json::json;

use crate::stage::Stage;

/// A profile that looks at files often.
const ATTENTIVE: &str = r#"
name = "generic"
description = "The usual, looked at often."

[[payload.commands]]
transformation = "*"
command = ["./{script}", "{arguments}"]

[limits]
sample = "50ms"
disk_check = "50ms"
"#;

/// Waits until the pilot has written down a sample, and copies what it wrote.
const MEASURED: &str = "#!/bin/sh
n=0
until [ -s memory_monitor_summary.json ] || [ $n -ge 600 ]; do sleep 0.1; n=$((n+1)); done
cp memory_monitor_output.txt out.dat
";

#[test]
fn what_a_payload_uses_is_told_and_written_down() {
    let mut stage = Stage::new("run.sh", MEASURED).with_output("out.dat");
    stage.job["coreCount"] = json!(4);
    let features = stage.path("features");
    fs::create_dir(&features).expect("space");
    fs::write(features.join("hs06"), "160\n").expect("space");
    fs::write(features.join("total_cpu"), "16\n").expect("space");
    let features = features.display().to_string();
    let run = stage.run_with(&[("MACHINEFEATURES", &features)]);
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    let metrics = last["job_metrics"].as_str().expect("metrics");
    assert!(metrics.contains("hs06=40.00"), "{metrics}");
    assert!(last["max_pss"].as_u64().is_some_and(|kib| kib > 0));
    let table = fs::read_to_string(stage.stored("out.dat")).expect("stored");
    let (header, rows) = table.split_once('\n').expect("a header");
    assert!(header.starts_with("Time\tnprocs\t"), "{header}");
    let n_columns = header.split('\t').count();
    assert!(rows.lines().count() >= 1, "{table}");
    assert!(rows.lines().all(|row| row.split('\t').count() == n_columns));
    assert!(
        run.output.contains("the payload uses memory"),
        "{}",
        run.output
    );
}

#[test]
fn a_kill_file_ends_the_payload_and_the_job_finishes() {
    let script = "#!/bin/sh\necho done > out.dat\ntouch ../pilot_kill_payload\nexec sleep 1000\n";
    let stage = Stage::new("run.sh", script).with_output("out.dat");
    fs::write(stage.path("generic.toml"), ATTENTIVE).expect("space");
    let profiles = stage.path("").display().to_string();
    let run = stage.start_as(&["--profile-path", &profiles]).finish();
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    assert_eq!(last["trans_exit_code"], json!(0));
    assert_eq!(
        fs::read(stage.stored("out.dat")).expect("stored"),
        b"done\n"
    );
}

#[test]
fn a_machine_that_is_shut_down_soon_ends_the_payload_before() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexec sleep 1000\n");
    fs::write(stage.path("generic.toml"), ATTENTIVE).expect("space");
    let features = stage.path("features");
    fs::create_dir(&features).expect("space");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let soon = (now.as_secs() + 300).to_string();
    fs::write(features.join("shutdowntime"), soon).expect("space");
    let profiles = stage.path("").display().to_string();
    let features = features.display().to_string();
    let environment = [("MACHINEFEATURES", features.as_str())];
    let run = stage
        .start_where(&environment, &["--profile-path", &profiles])
        .finish();
    let last = run.last_update();
    assert_eq!(last["job_status"], "failed", "{}", run.output);
    assert_eq!(last["pilot_error_code"], json!(1213));
}
