//! Odd places, odd payloads, and strangers who kill: what the pilot makes of them.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::stage::Stage;

#[test]
fn a_token_that_is_named_from_the_launch_directory_is_found() {
    let stage = Stage::without_job();
    fs::write(stage.path("outside").join("token"), "top-secret").expect("space");
    let run = stage.run_with(&[
        ("PANDA_AUTH_TOKEN", "token"),
        ("PANDA_AUTH_ORIGIN", "spd.pilot"),
    ]);
    assert!(
        run.has_token_at("/api/v1/pilot/acquire_jobs"),
        "{}",
        run.output
    );
}

#[test]
fn a_base_directory_that_is_missing_is_made() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 0\n");
    fs::remove_dir(stage.path("work")).expect("empty");
    let run = stage.run();
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    assert_eq!(run.last_update()["job_status"], "finished");
}

#[test]
fn a_payload_that_puts_a_pipe_in_place_of_its_output_is_reported() {
    let script = "#!/bin/sh\nrm payload.stderr\nmkfifo payload.stderr\nexit 3\n";
    let run = Stage::new("run.sh", script).run();
    let last = run.last_update();
    assert_eq!(last["job_status"], "failed");
    assert_eq!(last["trans_exit_code"], 3);
}

#[test]
fn a_guard_that_somebody_kills_is_said_to_be_the_cause() {
    let script = "#!/bin/sh\n\
        while ! grep -q 'starting -> running' pilotlog.txt; do sleep 0.01; done\n\
        kill -9 $PPID\nsleep 100\n";
    let run = Stage::new("run.sh", script).run();
    let last = run.last_update();
    assert_eq!(last["job_status"], "failed");
    let text = last["pilot_error_diag"].as_str().expect("a text");
    assert!(text.contains("the process that watches it"), "{text}");
}

#[test]
fn each_signal_that_batch_systems_send_ends_the_job_with_a_report() {
    let signals = [
        (Signal::INT, 130),
        (Signal::XCPU, 152),
        (Signal::USR1, 138),
        (Signal::USR2, 137),
        (Signal::HUP, 137),
    ];
    for (signal, exit_code) in signals {
        let stage = Stage::new("run.sh", "#!/bin/sh\necho on > ../../on\nsleep 100\n");
        let mut pilot = stage.start();
        stage.wait_for_file("on");
        pilot.send(signal);
        let run = pilot.finish();
        assert_eq!(run.exit_code, Some(exit_code), "{}", run.output);
        assert_eq!(run.last_update()["job_status"], "failed");
    }
}

#[test]
fn an_output_that_is_a_link_to_elsewhere_is_not_stored() {
    let stage =
        Stage::new("run.sh", "#!/bin/sh\nln -s /etc/passwd out.dat\n").with_output("out.dat");
    let last = stage.run().last_update();
    assert_eq!(last["job_status"], "failed");
    let text = last["pilot_error_diag"].as_str().expect("a text");
    assert!(text.contains("`out.dat` is a link"), "{text}");
}

#[test]
fn a_payload_that_removes_its_own_directory_is_reported_all_the_same() {
    let run = Stage::new("run.sh", "#!/bin/sh\nrm -rf \"$PWD\"\nexit 3\n").run();
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["trans_exit_code"]),
        (&json!("failed"), &json!(3)),
        "{}",
        run.output
    );
    assert_eq!(last["pilot_error_code"], 1305);
}

#[test]
fn a_full_disk_has_its_code_and_the_final_update_leaves() {
    let script = "#!/bin/sh\ncat /dev/zero > big\nexit 3\n";
    let Some(run) = Stage::new("run.sh", script).run_on_small_disk(16) else {
        return println!("skipped: this machine lets nobody mount a file system");
    };
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["pilot_error_code"]),
        (&json!("failed"), &json!(1098)),
        "{}",
        run.output
    );
}

#[test]
fn an_output_that_fills_the_disk_makes_room_for_the_log() {
    let script = "#!/bin/sh\ncat /dev/zero > out.dat\nexit 3\n";
    let stage = Stage::new("run.sh", script).with_output("out.dat");
    let Some(run) = stage.run_on_small_disk(16) else {
        return println!("skipped: this machine lets nobody mount a file system");
    };
    let last = run.last_update();
    let report = last["job_output_report"].as_str().expect("a report");
    assert!(report.contains("log.tgz"), "{}", run.output);
    assert_eq!(last["pilot_error_code"], 1098);
}
