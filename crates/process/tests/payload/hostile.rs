//! Payloads that do what they should not.

use std::{
    fs::{self, File},
    io::Read,
    process::Command,
};

use ailurus_process::{Confinement, PayloadEnd, Signal, start};
use rustix::{
    io::FdFlags,
    pipe::{PipeFlags, pipe_with},
};

use crate::fixture::{Fixture, is_alive, processes_in, wait, wait_until};

tests![
    a_fork_bomb_is_ended_while_it_grows,
    a_bomb_of_sessions_is_ended_while_it_grows,
    what_ignores_every_polite_signal_is_killed,
    what_forks_twice_does_not_get_away,
    what_stops_itself_is_killed,
    a_payload_may_delete_its_own_directory,
    a_file_may_grow_up_to_its_limit,
    a_pipe_of_the_pilot_is_held_by_nobody,
    a_crash_leaves_a_core_limit_as_asked,
    a_script_without_first_line_is_run_by_the_shell,
    an_empty_binary_is_no_script,
];

/// Doubles seven times, so that it ends by itself at some 250 processes.
const BOMB: &str = "bomb() {
        if [ $1 -gt 0 ]; then bomb $(($1 - 1)) & bomb $(($1 - 1)) & fi
        echo x >> grown
        exec sleep 600
    }
    trap '' TERM
    bomb 7";

fn grown(fixture: &Fixture) -> usize {
    fs::read(fixture.path("grown")).map_or(0, |bytes| bytes.len() / 2)
}

fn a_fork_bomb_is_ended_while_it_grows() {
    let fixture = Fixture::new();
    let payload = fixture.start(BOMB);
    wait_until("the bomb grows", || grown(&fixture) > 40);
    payload.control().signal(Signal::Term).expect("runs");
    payload.control().kill().expect("runs");
    let exit = wait(payload);
    assert_eq!(exit.end, PayloadEnd::Signalled(9));
    assert_eq!(exit.n_unkillable, 0);
    assert!(processes_in(fixture.dir.path()).is_empty());
}

/// Every process is in a group and session of its own, and its parents have ended.
fn a_bomb_of_sessions_is_ended_while_it_grows() {
    let fixture = Fixture::new();
    fixture.write(
        "bomb.sh",
        "if [ $1 -gt 0 ]; then
            setsid sh bomb.sh $(($1 - 1)) & setsid sh bomb.sh $(($1 - 1)) &
            echo x >> grown; exit
        fi
        echo x >> grown
        exec sleep 600",
    );
    let payload = fixture.start("sh bomb.sh 6; exec sleep 600");
    wait_until("the bomb grows", || grown(&fixture) > 30);
    payload.control().kill().expect("runs");
    assert_eq!(wait(payload).n_unkillable, 0);
    assert!(processes_in(fixture.dir.path()).is_empty());
}

fn what_ignores_every_polite_signal_is_killed() {
    let fixture = Fixture::new();
    let payload = fixture.start(
        "trap '' HUP INT QUIT TERM USR1 USR2 XCPU; echo > ready
         while :; do sleep 0.01; echo x >> alive; done",
    );
    fixture.wait_for("ready");
    let polite = Signal::ALL
        .into_iter()
        .filter(|it| !matches!(it, Signal::Kill | Signal::Stop | Signal::Abrt));
    polite.for_each(|signal| payload.control().signal(signal).expect("runs"));
    let length = || fs::metadata(fixture.path("alive")).map_or(0, |it| it.len());
    let before = length();
    wait_until("it goes on", || length() > before + 4);
    payload.control().kill().expect("runs");
    assert_eq!(wait(payload).end, PayloadEnd::Signalled(9));
}

fn what_forks_twice_does_not_get_away() {
    let fixture = Fixture::new();
    let exit = fixture.run(
        "( ( setsid sh -c 'echo $$ > daemon; trap \"\" TERM HUP; exec sleep 600' & ) & )
         while [ ! -s daemon ]; do :; done",
    );
    assert_eq!(exit.end, PayloadEnd::Exited(0));
    assert_eq!(exit.n_leftovers, 1);
    assert!(!is_alive(&fixture.read("daemon")));
}

fn what_stops_itself_is_killed() {
    let fixture = Fixture::new();
    let payload = fixture.start("echo > ready; kill -STOP $$");
    fixture.wait_for("ready");
    payload.control().signal(Signal::Term).expect("runs");
    payload.control().kill().expect("runs");
    assert!(matches!(wait(payload).end, PayloadEnd::Signalled(9 | 15)));
}

fn a_payload_may_delete_its_own_directory() {
    let fixture = Fixture::new();
    let exit = fixture.run("rm -rf \"$PWD\"; setsid sleep 600 & exit 3");
    assert_eq!(exit.end, PayloadEnd::Exited(3));
    assert!(!fixture.dir.path().exists());
}

fn a_file_may_grow_up_to_its_limit() {
    const LIMIT_BYTES: u64 = 64 << 10;
    let fixture = Fixture::new();
    let mut command = fixture.command("exec head -c 1000000 /dev/zero");
    command.confinement = Confinement {
        file_max_bytes: Some(LIMIT_BYTES),
        ..Confinement::default()
    };
    let exit = wait(start(command).expect("starts"));
    assert_eq!(exit.end, PayloadEnd::Signalled(25), "SIGXFSZ");
    let size = fs::metadata(fixture.path("stdout")).expect("there").len();
    assert_eq!(size, LIMIT_BYTES);
}

/// A batch system that waits for the end of its pipe would wait for a payload that holds it.
fn a_pipe_of_the_pilot_is_held_by_nobody() {
    let (reader, writer) = pipe_with(PipeFlags::empty()).expect("room");
    rustix::io::fcntl_setfd(&writer, FdFlags::empty()).expect("open");
    let fixture = Fixture::new();
    let payload = fixture.start("echo > ready; exec sleep 600");
    fixture.wait_for("ready");
    drop(writer);
    let mut rest = Vec::new();
    File::from(reader).read_to_end(&mut rest).expect("a pipe");
    drop(payload);
}

fn a_crash_leaves_a_core_limit_as_asked() {
    let fixture = Fixture::new();
    let mut command = fixture.command("ulimit -c > limit");
    command.core_dumps = ailurus_process::CoreDumps::UpTo(1 << 20);
    wait(start(command).expect("starts"));
    let hard = Command::new("sh").args(["-c", "ulimit -Hc"]).output();
    let hard = String::from_utf8(hard.expect("there is a shell").stdout).expect("a number");
    // In blocks of 512 bytes.
    let expected = hard.trim().parse::<u64>().map_or(2048, |it| it.min(2048));
    assert_eq!(fixture.read("limit").trim(), expected.to_string());
}

fn a_script_without_first_line_is_run_by_the_shell() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    fixture.write("plain", "exit $1\n");
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(fixture.path("plain"), permissions).expect("own file");
    let mut command = fixture.command("unused");
    command.argv = ["./plain", "7"].map(Into::into).to_vec();
    let exit = wait(start(command).expect("starts"));
    assert_eq!(exit.end, PayloadEnd::Exited(7));
}

fn an_empty_binary_is_no_script() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    fixture.write("binary", "\x7fELF of another machine");
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(fixture.path("binary"), permissions).expect("own file");
    let error = fixture.start_error(&["./binary"]);
    assert!(
        matches!(&error, ailurus_process::StartError::NotAProgram { .. }),
        "{error}"
    );
}
