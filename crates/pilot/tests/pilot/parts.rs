//! Containers, steps, hooks and streams, with the real pilot.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use crate::stage::Stage;

/// A profile whose container program is bubblewrap, with the node's own system as every image.
const PROFILE: &str = r#"
name = "parts"
description = "For tests."
[payload]
container = "bwrap"
[payload.environment]
SEEN_BY_ALL = "{panda_id}"
[[payload.commands]]
transformation = "*"
command = ["./{script}", "{arguments}"]
[containers.bwrap]
programs = ["bwrap"]
arguments = ["--ro-bind", "{image}", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind", "{directory}", "/tmp", "--chdir", "/tmp", "{options}"]
"#;

fn profile(stage: &Stage, change: impl Fn(&str) -> String) {
    let text = change(PROFILE);
    fs::write(stage.path("outside").join("parts.toml"), text).expect("space");
}

fn run(stage: &Stage) -> crate::stage::PilotRun {
    let place = stage.path("outside").display().to_string();
    stage.run_as(&["--pilot-user", "parts", "--profile-path", &place])
}

fn step(command: &str, args: &str) -> Value {
    json!({"command": command, "args": args})
}

/// Puts a program where the job's steps can name it.
fn program(stage: &Stage, name: &str, text: &str) -> String {
    let path = stage.path("outside").join(name);
    fs::write(&path, text).expect("space");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path.display().to_string()
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn has_bubblewrap() -> bool {
    let tried = std::process::Command::new("bwrap")
        .args(["--ro-bind", "/", "/", "true"])
        .status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: bubblewrap makes no containers here");
    }
    works
}

#[test]
fn a_job_with_an_image_runs_in_its_container() {
    if !has_bubblewrap() {
        return;
    }
    let script = "#!/bin/sh\npwd > out.dat\necho \"$SEEN_BY_ALL $1\" >> out.dat\n\
        touch /usr/of-the-image 2> /dev/null && exit 9\nexit 0\n";
    let mut stage = Stage::new("run.sh", script).with_output("out.dat");
    stage.job["container_name"] = json!("/");
    stage.job["jobPars"] = json!("'a; b'");
    profile(&stage, str::to_owned);
    let run = run(&stage);
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    let stored = fs::read_to_string(stage.stored("out.dat")).expect("stored");
    assert_eq!(stored, "/tmp\n1001 a; b\n");
}

#[test]
fn a_missing_image_and_a_missing_container_program_have_their_codes() {
    for (image, programs, code) in [
        ("/no/such/image.sif", "\"true\"", 1360),
        ("/", "\"apptainer-that-is-not-there\"", 1306),
    ] {
        let mut stage = Stage::new("run.sh", "#!/bin/sh\n");
        stage.job["container_name"] = json!(image);
        profile(&stage, |text| {
            text.replace("\"bwrap\"]\narg", &format!("{programs}]\narg"))
        });
        let run = run(&stage);
        assert_eq!(
            run.last_update()["pilot_error_code"],
            code,
            "{}",
            run.output
        );
    }
}

#[test]
fn steps_run_before_beside_and_after_the_payload() {
    let script = "#!/bin/sh\ncat before > out.dat\nwhile ! test -e beside; do sleep 0.01; done\n";
    let mut stage = Stage::new("run.sh", script).with_output("out.dat");
    let before = program(&stage, "before.sh", "#!/bin/sh\necho \"$1\" > before\n");
    let beside = program(
        &stage,
        "beside.sh",
        "#!/bin/sh\ntouch beside\nexec sleep 600\n",
    );
    let after = program(&stage, "after.sh", "#!/bin/sh\necho after >> out.dat\n");
    stage.job["preprocess"] = step(&before, "'it was; before'");
    stage.job["coprocess"] = step(&beside, "");
    stage.job["postprocess"] = step(&after, "");
    profile(&stage, str::to_owned);
    let run = run(&stage);
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    let stored = fs::read_to_string(stage.stored("out.dat")).expect("stored");
    assert_eq!(stored, "it was; before\nafter\n");
}

#[test]
fn each_step_that_fails_has_its_code() {
    for (step_name, code) in [("preprocess", 1356), ("postprocess", 1357)] {
        let mut stage = Stage::new("run.sh", "#!/bin/sh\n");
        let bad = program(
            &stage,
            "bad.sh",
            "#!/bin/sh\necho no more luck >&2\nexit 7\n",
        );
        stage.job[step_name] = step(&bad, "");
        profile(&stage, str::to_owned);
        let run = run(&stage);
        let last = run.last_update();
        assert_eq!(last["pilot_error_code"], code, "{}", run.output);
        let diag = last["pilot_error_diag"].as_str().expect("text");
        assert!(diag.contains("exit code 7: no more luck"), "{diag}");
    }
}

#[test]
fn a_failed_line_of_the_set_up_is_no_failure_of_the_payload() {
    let stage = Stage::new("run.sh", "#!/bin/sh\nexit 3\n");
    let setup = "container = \"bwrap\"\nsetup = [\"export A=1\", \"source /no/such/setup.sh\"]\n";
    profile(&stage, |text| {
        text.replace("container = \"bwrap\"\n", setup)
    });
    let last = run(&stage).last_update();
    assert_eq!(last["pilot_error_code"], 1110);
    let diag = last["pilot_error_diag"].as_str().expect("text");
    assert!(diag.contains("line 2 of the set-up"), "{diag}");
}

#[test]
fn a_hook_changes_the_command_and_another_one_judges_its_end() {
    let script = "#!/bin/sh\necho \"$1 $FROM_HOOK\" > out.dat\n";
    let stage = Stage::new("run.sh", script).with_output("out.dat");
    let command = program(
        &stage,
        "command.sh",
        "#!/bin/sh\necho '{\"command\": [\"./run.sh\", \"changed\"], \"environment\": {\"FROM_HOOK\": \"too\"}}'\n",
    );
    let judge = program(&stage, "judge.sh", "#!/bin/sh\necho '{\"n_events\": 12}'\n");
    let hooks = format!(
        "\n[hooks.payload-command]\ncommand = [\"{command}\"]\n[hooks.after-payload]\ncommand = [\"{judge}\"]\n"
    );
    profile(&stage, |text| format!("{text}{hooks}"));
    let run = run(&stage);
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    assert_eq!(last["n_events"], 12);
    let stored = fs::read_to_string(stage.stored("out.dat")).expect("stored");
    assert_eq!(stored, "changed too\n");
}

#[test]
fn outputs_that_a_pattern_names_are_stored_each() {
    let script = "#!/bin/sh\necho 1 > DST_1.root\necho 2 > DST_2.root\necho 3 > other.root\n";
    let stage = Stage::new("run.sh", script).with_output("regex|DST_.*.root");
    profile(&stage, |text| {
        format!("{text}\n[outputs]\npattern_prefix = \"regex|\"\n")
    });
    let run = run(&stage);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    let is_stored = |name: &str| stage.stored(name).exists();
    assert!(is_stored("DST_1.root") && is_stored("DST_2.root") && !is_stored("other.root"));
}

#[test]
fn the_output_is_streamed_where_the_command_line_says() {
    let stage = Stage::new("run.sh", "#!/bin/sh\necho hello\necho world\n");
    profile(&stage, str::to_owned);
    let place = stage.path("outside").display().to_string();
    let log = stage.path("outside").join("stream.json");
    let server = format!("logserver=file;file://{}", log.display());
    let run = stage.run_as(&[
        "--pilot-user",
        "parts",
        "--profile-path",
        &place,
        "--use-realtime-logging",
        "--realtime-logging-server",
        &server,
    ]);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    let text = fs::read_to_string(&log).expect("streamed");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(
        (&lines[0]["message"], &lines[0]["PandaJobID"]),
        (&json!("hello"), &json!("1001"))
    );
}

#[test]
fn a_debug_command_shows_the_output_of_a_running_payload() {
    let script = "#!/bin/sh\necho hello\nwhile ! test -e \"$1\"; do sleep 0.01; done\n";
    let mut stage = Stage::new("run.sh", script);
    let go = stage.path("outside").join("go");
    stage.job["jobPars"] = json!(go.display().to_string());
    stage.answer_updates("debug,tail -20 payload.stdou?");
    let pilot = stage.start();
    let shows = |fields: &Value| {
        let stdout = fields["stdout"].as_str().unwrap_or_default();
        stdout.starts_with("payload.stdout\n") && stdout.ends_with("hello\n")
    };
    stage.wait_until(|| stage.has_heard(shows));
    fs::write(&go, "").expect("space");
    let run = pilot.finish();
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
}

#[test]
fn secrets_of_a_user_reach_the_payload_and_nobody_else() {
    let script = "#!/bin/sh\ngrep -q s3cret panda_secrets.json || exit 3\n\
        test \"$(stat -c %a panda_secrets.json)\" = 600 || exit 4\n";
    let mut stage = Stage::new("run.sh", script);
    stage.job["secrets"] = json!("{\"key\": \"s3cret\"}");
    let run = stage.run();
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    assert!(!run.output.contains("s3cret"), "{}", run.output);
}
