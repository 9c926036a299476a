//! Payloads that do what they should not, under the real pilot.
//!
//! Each job gets its last word with the right code, nothing that the payload started is left, and
//! the pilot leaves as it should. What needs a small or a read-only disk gets one in a mount
//! namespace, for which the test starts itself again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what a test says that is skipped")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ailurus_e2e::{
    LIMIT,
    lone_pilot::{Ended, Stage},
};
use ailurus_testkit::{panda::Update, wait::wait_for};
use serde_json::json;

const PANDA_ID: u64 = 1001;
const NO_FAULTS: Vec<String> = Vec::new();
/// Set in a test that runs in a mount namespace of its own.
const IN_NAMESPACE: &str = "AILURUS_TEST_NAMESPACE";
/// SIGTERM's number, as Linux counts.
const SIGTERM: rustix::process::Signal = rustix::process::Signal::TERM;

/// Limits that make a test short; TOML, below `[limits]`.
const SHORT: &str = r#"
sample = "100ms"
disk_check = "100ms"
kill_grace = "300ms"
free_space_before = "1 MiB"
free_space_during = "1 MiB"
"#;

/// The profile to which they are added. Compiled in: the emulated machine has no checkout.
const GENERIC: &str = include_str!("../../../profiles/generic.toml");

/// A stage whose pilot has these limits besides the short ones.
fn stage(limits: &str) -> Stage {
    let stage = Stage::new().unwrap();
    let profiles = stage.path("store/profiles");
    fs::create_dir(&profiles).unwrap();
    let profile = GENERIC.replace("name = \"generic\"", "name = \"hostile\"");
    let profile = format!("{profile}\n[limits]\n{SHORT}{limits}");
    fs::write(profiles.join("hostile.toml"), profile).unwrap();
    let profiles = profiles.display().to_string();
    stage.with_options(&["--profile-path", &profiles, "--pilot-user", "hostile"])
}

/// Runs one job with this script.
fn run(stage: &Stage, script: &str) -> (Ended, Update) {
    stage
        .panda
        .offer(stage.job(PANDA_ID, &format!("#!/bin/sh\n{script}\n")));
    let ended = stage.run_soundly().unwrap();
    check(stage, ended)
}

fn check(stage: &Stage, ended: Ended) -> (Ended, Update) {
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    let left = processes_below(&stage.path("work"));
    assert!(left.is_empty(), "left: {left:?}\n{}", ended.log);
    let end = stage.end_of(PANDA_ID).unwrap();
    (ended, end)
}

fn assert_code(ended: &Ended, end: &Update, code: i64) {
    let said = (end.pilot_error_code(), end.pilot_error_diag());
    assert_eq!(said.0, code, "{said:?}\n{}", ended.log);
    assert_eq!(end.status, "failed");
}

/// Returns the processes that work below a directory, or that have lost theirs there.
fn processes_below(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|it| {
            fs::read_link(it.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
                && fs::read_to_string(it.path().join("stat")).is_ok_and(|it| !it.contains(") Z "))
        })
        .map(|it| fs::read_to_string(it.path().join("cmdline")).unwrap_or_default())
        .collect()
}

/// Runs this test again in a mount namespace; false if it runs there.
///
/// Where there can be none, a message says so.
fn is_left_to_namespace(test: &str) -> bool {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return false;
    }
    let namespace = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]);
        unshare
    };
    let probe = namespace().arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: this machine gives no mount namespace");
        return true;
    }
    let status = namespace()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "see above");
    true
}

fn mount(arguments: &[&str], place: &Path) {
    let status = Command::new("mount").args(arguments).arg(place).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

#[test]
fn a_fork_bomb_is_ended_with_its_pilot() {
    let stage = stage("");
    // Doubles eight times and then holds still, so that it is no danger to the machine.
    let script = "bomb() {
            if [ $1 -gt 0 ]; then bomb $(($1 - 1)) & bomb $(($1 - 1)) & fi
            trap '' TERM; exec sleep 600
        }
        bomb 8";
    stage
        .panda
        .offer(stage.job(PANDA_ID, &format!("#!/bin/sh\n{script}\n")));
    let pilot = stage.start().unwrap();
    let place = stage.path("work");
    wait_for("the bomb", LIMIT, || {
        Ok((processes_below(&place).len() > 100).then_some(()))
    })
    .unwrap();
    pilot.signal(SIGTERM).unwrap();
    let ended = pilot.end().unwrap();
    stage.check(&ended).unwrap();
    let (ended, end) = check(&stage, ended);
    assert_code(&ended, &end, 1201);
}

#[test]
fn what_a_fork_bomb_leaves_is_ended_before_the_job_is() {
    let stage = stage("");
    let script = "i=0; while [ $i -lt 300 ]; do
            setsid sh -c 'trap \"\" TERM HUP; sleep 600; sleep 600' & i=$((i+1))
        done; exit 3";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1305);
    assert_eq!(end.whole("trans_exit_code", "transExitCode"), Some(3));
}

#[test]
fn a_payload_that_ignores_sigterm_is_killed_after_its_grace() {
    let stage = stage("looping = \"1s\"\nlooping_check = \"200ms\"\n");
    let script = "trap '' TERM INT HUP QUIT XCPU USR1; while :; do sleep 0.2; done";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1150);
}

#[test]
fn a_payload_that_forks_twice_and_ends_leaves_nothing() {
    let stage = stage("");
    let script = "( ( setsid sh -c 'trap \"\" TERM HUP; echo $$ > daemon; sleep 600' & ) & )
        while [ ! -s daemon ]; do sleep 0.01; done";
    let (ended, end) = run(&stage, script);
    assert_eq!(end.status, "finished", "{}", ended.log);
    assert!(ended.log.contains("left and killed"), "{}", ended.log);
}

#[test]
fn output_without_end_is_stopped_at_its_limit() {
    let stage = stage("stdout = \"2 MiB\"\n");
    let script = "while :; do head -c 100000 /dev/zero; sleep 0.005; done";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1106);
}

#[test]
fn a_file_without_end_is_stopped_by_the_kernel() {
    let stage = stage("file = \"3 MiB\"\n");
    let (ended, end) = run(&stage, "exec head -c 1000000000 /dev/zero > huge");
    assert_code(&ended, &end, 1124);
}

#[test]
fn a_directory_without_end_is_stopped_at_its_limit() {
    let stage = stage("");
    stage.set_queue(&[
        ("maxwdir", json!(5)),
        ("params", json!({"pilot_maxwdir_grace": 0})),
    ]);
    let script = "i=0; while :; do head -c 100000 /dev/zero > f$i; i=$((i+1)); sleep 0.005; done";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1104);
}

#[test]
fn memory_without_end_is_stopped_by_the_kernel_and_told_as_such() {
    let stage = stage("");
    stage.set_queue(&[
        ("maxrss", json!(60)),
        ("params", json!({"pilot_rss_grace": 0})),
    ]);
    // So large a step at once that no sample sees it coming.
    let script = "dd if=/dev/zero of=/dev/null bs=300000000 count=1 || exit 5";
    let (ended, end) = run(&stage, script);
    let must_hold = std::env::var_os("AILURUS_CONTROL_GROUPS").is_some();
    if end.status == "finished" && !must_hold {
        println!("skipped: no control group can limit memory here");
        return;
    }
    assert_code(&ended, &end, 1235);
}

#[test]
fn a_payload_that_deletes_its_directory_gets_its_last_word() {
    let stage = stage("");
    let (ended, end) = run(&stage, "rm -rf \"$PWD\"; exit 0");
    // There is no log to send; with outputs, these would be missed first.
    assert_code(&ended, &end, 1320);
    let (ended, end) = run(&stage, "rm -rf \"$PWD\"; exit 4");
    assert_code(&ended, &end, 1305);
}

#[test]
fn a_payload_that_fills_its_disk_is_told_so() {
    if is_left_to_namespace("a_payload_that_fills_its_disk_is_told_so") {
        return;
    }
    let stage = stage("");
    mount(
        &["-t", "tmpfs", "-o", "size=16m", "none"],
        &stage.path("work"),
    );
    let script = "head -c 100000000 /dev/zero > big || exit 1";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1098);
}

#[test]
fn a_read_only_work_directory_ends_the_pilot_before_it_asks() {
    if is_left_to_namespace("a_read_only_work_directory_ends_the_pilot_before_it_asks") {
        return;
    }
    let stage = stage("");
    mount(&["-t", "tmpfs", "-o", "ro", "none"], &stage.path("work"));
    stage.panda.offer(stage.job(PANDA_ID, "#!/bin/sh\n"));
    let ended = stage.run_soundly().unwrap();
    assert_eq!(ended.code(), 66, "{}", ended.log);
    assert_eq!(stage.panda.jobs_left(), 1);
}

#[test]
fn a_directory_that_became_read_only_fails_the_job() {
    let stage = stage("");
    // The superuser may write in it all the same, so that a file stands where one is expected.
    let script = "rm -f payload.stdout; mkdir payload.stdout; chmod 500 .; exit 6";
    let (ended, end) = run(&stage, script);
    assert_code(&ended, &end, 1305);
    assert_eq!(end.whole("trans_exit_code", "transExitCode"), Some(6));
}
