//! Short external commands: what they say, how they end, and the limits they break.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use ailurus_process::{CommandEnd, RunError, ShortCommand, StartError, run_command};

const LIMIT: Duration = Duration::from_secs(20);
const OUTPUT_MAX_BYTES: usize = 1 << 20;

fn shell(script: &str) -> ShortCommand {
    ShortCommand {
        argv: ["sh", "-c", script].map(Into::into).to_vec(),
        env: BTreeMap::new(),
        cwd: None,
        stdin: Vec::new(),
        timeout: LIMIT,
        output_max_bytes: OUTPUT_MAX_BYTES,
    }
}

#[test]
fn output_and_exit_code_come_back() {
    let output = shell("echo out; echo err >&2; exit 7").run().expect("runs");
    assert_eq!(output.stdout_text(), "out\n");
    assert_eq!(output.stderr_text(), "err\n");
    assert_eq!(output.end, CommandEnd::Exited(7));
    assert!(!output.is_success());
}

#[test]
fn a_signal_is_told_from_an_exit_code() {
    let output = shell("kill -SEGV $$").run().expect("runs");
    assert_eq!(output.end, CommandEnd::Signalled(11));
}

#[test]
fn standard_input_is_delivered_whole_however_large() {
    let mut command = shell("cat");
    command.stdin = vec![b'x'; 700_000];
    let output = command.run().expect("runs");
    assert_eq!(output.stdout.len(), 700_000);
}

#[test]
fn a_command_that_does_not_read_its_input_still_succeeds() {
    let mut command = shell("exit 0");
    command.stdin = vec![b'x'; 700_000];
    assert!(command.run().expect("runs").is_success());
}

#[test]
fn a_command_that_hangs_is_killed_with_its_group_at_the_limit() {
    let dir = tempfile::tempdir().expect("space");
    let mut command = shell("sleep 600 & echo $! > child; wait");
    command.cwd = Some(dir.path().to_owned());
    command.timeout = Duration::from_millis(300);
    let begin = Instant::now();
    let error = command.run().expect_err("hangs");
    assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
    assert!(begin.elapsed() < LIMIT / 2);
    let child = fs::read_to_string(dir.path().join("child")).expect("written");
    wait_until_gone(child.trim());
}

#[test]
fn a_child_left_behind_does_not_hold_the_answer_back() {
    let begin = Instant::now();
    let output = shell("setsid sleep 5 & echo done").run().expect("runs");
    assert_eq!(output.stdout_text(), "done\n");
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn endless_output_is_cut_off_by_an_error() {
    let error = shell("yes").run().expect_err("endless");
    let RunError::TooMuchOutput { limit_bytes, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(limit_bytes, OUTPUT_MAX_BYTES);
}

#[test]
fn output_up_to_the_limit_is_complete() {
    let script = format!("head -c {OUTPUT_MAX_BYTES} /dev/zero");
    let output = shell(&script).run().expect("fits");
    assert_eq!(output.stdout.len(), OUTPUT_MAX_BYTES);
}

#[test]
fn a_missing_program_is_named_with_the_path_that_was_searched() {
    let error = run_command(&["no-such-program"], LIMIT, OUTPUT_MAX_BYTES).expect_err("missing");
    let RunError::Start(StartError::NotFound { program, searched }) = error else {
        panic!("{error}");
    };
    assert_eq!(program, "no-such-program");
    assert!(searched.contains("PATH"), "{searched}");
}

#[test]
fn a_script_with_a_windows_line_end_shows_its_interpreter() {
    let dir = tempfile::tempdir().expect("space");
    let script = dir.path().join("run.sh");
    fs::write(&script, "#!/bin/sh\r\ntrue\n").expect("space");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("own file");
    let error = run_command(&[&script], LIMIT, OUTPUT_MAX_BYTES).expect_err("no interpreter");
    let RunError::Start(StartError::NoInterpreter { interpreter, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(interpreter, r"/bin/sh\r");
}

#[test]
fn an_empty_command_is_refused() {
    let error = run_command::<&str>(&[], LIMIT, OUTPUT_MAX_BYTES).expect_err("empty");
    assert!(matches!(error, RunError::Start(StartError::EmptyCommand)));
}

fn wait_until_gone(pid: &str) {
    let begin = Instant::now();
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| !it.contains(") Z ")) {
        assert!(begin.elapsed() < LIMIT, "process {pid} is still there");
        std::thread::yield_now();
    }
}
