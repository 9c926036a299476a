//! Payloads behind their guard, with real processes.
//!
//! This program is at once the tests, the guard (so it has a `main` of its own) and, when asked, a
//! pilot that gets killed. It speaks the few words of the standard harness that test runners use.

#![expect(
    clippy::print_stdout,
    reason = "what a test harness and a played pilot say"
)]

use std::{
    env,
    fs::{self},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use ailurus_process::{PayloadEnd, PayloadEnded, RunningPayload, Signal, StartError, guard, start};
use rustix::process::{Pid, kill_process, kill_process_group};

use fixture::{DAEMON_SCRIPT, Fixture, PLAY_PILOT, Pilot, is_alive, play_pilot, wait};

/// Lists tests by name.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

mod confined;
mod fixture;
mod hostile;
mod shared;

tests![
    exit_codes_come_back,
    a_signal_that_ends_the_payload_comes_back,
    signals_reach_the_whole_group,
    a_daemon_does_not_outlive_its_payload,
    kill_ends_also_what_left_the_group,
    a_killed_pilot_leaves_no_survivor,
    a_killed_process_group_of_the_pilot_leaves_no_survivor,
    a_killed_guard_leaves_no_survivor,
    dropping_a_payload_ends_it,
    strangers_are_left_alone,
    payloads_side_by_side_do_not_touch_each_other,
    only_the_given_environment_is_there,
    no_other_file_descriptor_is_passed_on,
    polite_signals_are_not_ignored_in_the_payload,
    output_goes_to_the_files_however_large,
    core_files_are_forbidden_by_default,
    cpu_time_of_all_descendants_is_counted,
    a_missing_program_is_named,
    a_file_without_execute_bit_is_named,
    a_missing_interpreter_is_named,
    a_missing_work_directory_is_named,
    a_zero_byte_is_refused,
];

fn all_tests() -> impl Iterator<Item = &'static (&'static str, fn())> {
    let of_modules = [hostile::TESTS, shared::TESTS, confined::TESTS];
    TESTS.iter().chain(of_modules.into_iter().flatten())
}

fn main() -> ExitCode {
    guard::run_if_asked();
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|it| it == PLAY_PILOT) {
        play_pilot(Path::new(&args[1]));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|it| it == "--list") {
        if !args.iter().any(|it| it == "--ignored") {
            all_tests().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let is_exact = args.iter().any(|it| it == "--exact");
    let filters: Vec<&String> = args.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let matches = |it: &&String| name == *it || (!is_exact && name.contains(it.as_str()));
        filters.is_empty() || filters.iter().any(matches)
    };
    for (name, test) in all_tests() {
        if is_wanted(name) {
            println!("test {name}");
            test();
        }
    }
    ExitCode::SUCCESS
}

fn exit_codes_come_back() {
    for code in [0, 1, 134, 255] {
        let exit = Fixture::new().run(&format!("exit {code}"));
        assert_eq!(exit.end, PayloadEnd::Exited(code));
        assert_eq!((exit.n_leftovers, exit.n_unkillable), (0, 0));
    }
}

fn a_signal_that_ends_the_payload_comes_back() {
    assert_eq!(
        Fixture::new().run("kill -SEGV $$").end,
        PayloadEnd::Signalled(11)
    );
    assert_eq!(
        Fixture::new().run("kill -KILL $$").end,
        PayloadEnd::Signalled(9)
    );
}

fn signals_reach_the_whole_group() {
    let fixture = Fixture::new();
    let payload = fixture.start(
        "trap 'wait; exit 3' TERM
         (trap 'echo child > child; exit' TERM; echo > ready; while :; do sleep 0.01; done) &
         wait",
    );
    fixture.wait_for("ready");
    payload.control().signal(Signal::Term).expect("runs");
    assert_eq!(wait(payload).end, PayloadEnd::Exited(3));
    assert_eq!(fixture.read("child"), "child\n");
}

fn a_daemon_does_not_outlive_its_payload() {
    let fixture = Fixture::new();
    let exit = fixture.run(
        "setsid sh -c 'echo $$ > daemon; exec sleep 600' > /dev/null 2>&1 &
         while [ ! -s daemon ]; do :; done; exit 4",
    );
    assert_eq!(exit.end, PayloadEnd::Exited(4));
    assert_eq!(exit.n_leftovers, 1);
    assert!(!is_alive(&fixture.read("daemon")));
}

fn kill_ends_also_what_left_the_group() {
    let fixture = Fixture::new();
    let payload = fixture.start(DAEMON_SCRIPT);
    fixture.wait_for("ready");
    let control = payload.control();
    control.kill().expect("runs");
    assert_eq!(wait(payload).end, PayloadEnd::Signalled(9));
    assert!(!is_alive(&fixture.read("daemon")));
    assert_eq!(control.signal(Signal::Term), Err(PayloadEnded));
}

fn a_killed_pilot_leaves_no_survivor() {
    let fixture = Fixture::new();
    let mut pilot = Pilot::start(&fixture);
    pilot.child.kill().expect("own child");
    pilot.child.wait().expect("own child");
    fixture.assert_all_gone();
}

fn a_killed_process_group_of_the_pilot_leaves_no_survivor() {
    let fixture = Fixture::new();
    let mut pilot = Pilot::start(&fixture);
    kill_process_group(Pid::from_child(&pilot.child), rustix::process::Signal::KILL)
        .expect("own child");
    pilot.child.wait().expect("own child");
    fixture.assert_all_gone();
}

fn a_killed_guard_leaves_no_survivor() {
    let fixture = Fixture::new();
    let payload = fixture.start(DAEMON_SCRIPT);
    fixture.wait_for("ready");
    let neighbour = Fixture::new();
    let other =
        neighbour.start("read -r x < go 2>/dev/null; while [ ! -e go ]; do sleep 0.01; done");
    let guard = i32::try_from(payload.guard_pid()).expect("pids are positive");
    let guard = Pid::from_raw(guard).expect("not zero");
    kill_process(guard, rustix::process::Signal::KILL).expect("own child");
    let exit = wait(payload);
    assert_eq!(exit.end, PayloadEnd::GuardLost);
    assert_eq!(exit.n_unkillable, 0);
    fixture.assert_all_gone();
    neighbour.write("go", "");
    assert_eq!(wait(other).end, PayloadEnd::Exited(0));
}

fn dropping_a_payload_ends_it() {
    let fixture = Fixture::new();
    let payload = fixture.start(DAEMON_SCRIPT);
    fixture.wait_for("ready");
    drop(payload);
    assert!(!is_alive(&fixture.read("ready")));
    assert!(!is_alive(&fixture.read("daemon")));
}

fn strangers_are_left_alone() {
    let mut stranger = Command::new("setsid")
        .args(["sleep", "600"])
        .spawn()
        .expect("there is a sleep");
    let fixture = Fixture::new();
    let exit = fixture.run("setsid sleep 600 & exit 0");
    assert_eq!(exit.end, PayloadEnd::Exited(0));
    assert!(stranger.try_wait().expect("own child").is_none());
    stranger.kill().expect("own child");
    stranger.wait().expect("own child");
}

fn payloads_side_by_side_do_not_touch_each_other() {
    let fixtures: Vec<Fixture> = (0..4).map(|_| Fixture::new()).collect();
    let payloads: Vec<RunningPayload> = fixtures
        .iter()
        .map(|it| it.start("while [ ! -e go ]; do sleep 0.01; done; exit 9"))
        .collect();
    for (fixture, payload) in fixtures.iter().zip(payloads) {
        fixture.write("go", "");
        assert_eq!(wait(payload).end, PayloadEnd::Exited(9));
    }
}

fn only_the_given_environment_is_there() {
    let fixture = Fixture::new();
    let mut command = fixture.command("unused");
    command.argv = vec!["env".into()];
    command.env.insert("LD_PRELOAD".into(), "".into());
    command.env.insert("EMPTY".into(), "".into());
    let expected: Vec<String> = command
        .env
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect();
    wait(start(command).expect("starts"));
    let stdout = fixture.read("stdout");
    let mut seen: Vec<&str> = stdout.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

fn no_other_file_descriptor_is_passed_on() {
    let fixture = Fixture::new();
    fixture.run("ls -l /proc/$$/fd > fds");
    let listing = fixture.read("fds");
    assert!(listing.contains("0 -> /dev/null"), "{listing}");
    assert!(!listing.contains("socket:"), "{listing}");
    assert!(!listing.contains("pipe:"), "{listing}");
}

fn polite_signals_are_not_ignored_in_the_payload() {
    let fixture = Fixture::new();
    let mut command = fixture.command("unused");
    // Without a shell, which sets some for itself.
    command.argv = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]
        .map(Into::into)
        .to_vec();
    wait(start(command).expect("starts"));
    let polite = [1, 2, 3, 10, 12, 13, 15, 24].map(|it: u64| 1 << (it - 1));
    let polite: u64 = polite.iter().sum();
    for line in fixture.read("stdout").lines() {
        let (_, mask) = line.split_once('\t').expect("name and mask");
        let mask = u64::from_str_radix(mask, 16).expect("hexadecimal");
        assert_eq!(mask & polite, 0, "{line}");
    }
}

fn output_goes_to_the_files_however_large() {
    const BYTES: usize = 64 << 20;
    let fixture = Fixture::new();
    let exit = fixture.run(&format!("head -c {BYTES} /dev/zero; echo oops >&2"));
    assert_eq!(exit.end, PayloadEnd::Exited(0));
    let size = fs::metadata(fixture.path("stdout")).expect("there").len();
    assert_eq!(usize::try_from(size), Ok(BYTES));
    assert_eq!(fixture.read("stderr"), "oops\n");
}

fn core_files_are_forbidden_by_default() {
    let fixture = Fixture::new();
    fixture.run("ulimit -c > limit");
    assert_eq!(fixture.read("limit"), "0\n");
}

fn cpu_time_of_all_descendants_is_counted() {
    let fixture = Fixture::new();
    // The daemon is no child of the payload when it ends: only the guard can wait for it.
    let exit = fixture.run(
        "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo > done) &
         while [ ! -e done ]; do sleep 0.01; done",
    );
    assert!(exit.cpu_user > Duration::from_millis(10), "{exit:?}");
}

fn a_missing_program_is_named() {
    let error = Fixture::new().start_error(&["no-such-program"]);
    assert!(
        matches!(&error, StartError::NotFound { program, .. } if program == "no-such-program"),
        "{error}"
    );
    let error = Fixture::new().start_error(&["./no-such-program"]);
    assert!(matches!(error, StartError::NotFound { .. }), "{error}");
}

fn a_file_without_execute_bit_is_named() {
    let fixture = Fixture::new();
    fixture.write("plain.sh", "#!/bin/sh\n");
    let error = fixture.start_error(&["./plain.sh"]);
    assert!(
        matches!(&error, StartError::NotExecutable { path } if path.ends_with("plain.sh")),
        "{error}"
    );
}

fn a_missing_interpreter_is_named() {
    let fixture = Fixture::new();
    fixture.write("run.py", "#!/no/such/python -u\n");
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(fixture.path("run.py"), permissions).expect("own file");
    let error = fixture.start_error(&["./run.py"]);
    assert!(
        matches!(&error, StartError::NoInterpreter { interpreter, .. } if interpreter == "/no/such/python"),
        "{error}"
    );
}

fn a_missing_work_directory_is_named() {
    let fixture = Fixture::new();
    let mut command = fixture.command("true");
    command.cwd = fixture.path("gone");
    let error = start(command).expect_err("no directory");
    assert!(
        matches!(error, StartError::NoWorkDirectory { .. }),
        "{error}"
    );
}

fn a_zero_byte_is_refused() {
    let error = Fixture::new().start_error(&["echo", "a\0b"]);
    assert!(matches!(error, StartError::BadCommand { .. }), "{error}");
}
