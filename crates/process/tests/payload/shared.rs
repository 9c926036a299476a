//! Many payloads behind one guard.

use ailurus_process::{Guard, PayloadEnd, RunningPayload};
use rustix::process::{Pid, kill_process};

use crate::fixture::{Fixture, is_alive, processes_in, wait, wait_until};

tests![
    one_guard_serves_many_payloads_side_by_side,
    leftovers_of_one_payload_are_ended_and_those_of_its_neighbour_stay,
    a_dropped_payload_ends_and_its_neighbour_goes_on,
    a_killed_guard_is_replaced,
    a_guard_ends_with_its_last_handle,
    a_large_environment_arrives_whole,
    an_end_is_seen_without_waiting,
    payloads_one_after_another_leave_nothing_in_the_guard,
];

fn start(guard: &Guard, fixture: &Fixture, script: &str) -> RunningPayload {
    let command = fixture.command(script);
    guard.start_payload(command).expect("the payload starts")
}

fn one_guard_serves_many_payloads_side_by_side() {
    let guard = Guard::start().expect("room");
    let fixtures: Vec<Fixture> = (0..40).map(|_| Fixture::new()).collect();
    let payloads: Vec<RunningPayload> = fixtures
        .iter()
        .enumerate()
        .map(|(nr, it)| {
            let script = format!("while [ ! -e go ]; do sleep 0.02; done; exit {nr}");
            start(&guard, it, &script)
        })
        .collect();
    for (code, (fixture, payload)) in (0..).zip(fixtures.iter().zip(payloads)) {
        assert_eq!(payload.guard_pid(), guard.pid());
        fixture.write("go", "");
        assert_eq!(wait(payload).end, PayloadEnd::Exited(code));
    }
}

fn leftovers_of_one_payload_are_ended_and_those_of_its_neighbour_stay() {
    const DAEMON: &str = "( ( setsid sh -c 'echo $$ > daemon; exec sleep 600' & ) & )
        while [ ! -s daemon ]; do sleep 0.01; done; echo > ready
        while [ ! -e go ]; do sleep 0.01; done";
    let guard = Guard::start().expect("room");
    let fixtures = [Fixture::new(), Fixture::new()];
    let [first, second] = [0, 1].map(|nr: usize| start(&guard, &fixtures[nr], DAEMON));
    fixtures.iter().for_each(|it| it.wait_for("ready"));
    fixtures[0].write("go", "");
    let exit = wait(first);
    assert_eq!((exit.end, exit.n_leftovers), (PayloadEnd::Exited(0), 1));
    assert!(!is_alive(&fixtures[0].read("daemon")));
    assert!(is_alive(&fixtures[1].read("daemon")));
    fixtures[1].write("go", "");
    assert_eq!(wait(second).n_leftovers, 1);
    assert!(!is_alive(&fixtures[1].read("daemon")));
}

fn a_dropped_payload_ends_and_its_neighbour_goes_on() {
    let guard = Guard::start().expect("room");
    let (dropped, neighbour) = (Fixture::new(), Fixture::new());
    let first = start(&guard, &dropped, crate::fixture::DAEMON_SCRIPT);
    let second = start(&guard, &neighbour, "while [ ! -e go ]; do sleep 0.01; done");
    dropped.wait_for("ready");
    drop(first);
    assert!(processes_in(dropped.dir.path()).is_empty());
    neighbour.write("go", "");
    assert_eq!(wait(second).end, PayloadEnd::Exited(0));
}

fn a_killed_guard_is_replaced() {
    let guard = Guard::start().expect("room");
    let fixture = Fixture::new();
    let payload = start(&guard, &fixture, crate::fixture::DAEMON_SCRIPT);
    fixture.wait_for("ready");
    let pid = guard.pid();
    let number = i32::try_from(pid).expect("positive");
    kill_process(
        Pid::from_raw(number).expect("not zero"),
        rustix::process::Signal::KILL,
    )
    .expect("own child");
    assert_eq!(wait(payload).end, PayloadEnd::GuardLost);
    fixture.assert_all_gone();
    let next = Fixture::new();
    assert_eq!(
        wait(start(&guard, &next, "exit 5")).end,
        PayloadEnd::Exited(5)
    );
    assert_ne!(guard.pid(), pid);
}

fn a_guard_ends_with_its_last_handle() {
    let guard = Guard::start().expect("room");
    let clone = guard.clone();
    let pid = guard.pid().to_string();
    let fixture = Fixture::new();
    let payload = start(&clone, &fixture, "exit 0");
    drop(guard);
    assert_eq!(wait(payload).end, PayloadEnd::Exited(0));
    assert!(is_alive(&pid));
    drop(clone);
    assert!(!is_alive(&pid));
}

fn a_large_environment_arrives_whole() {
    let guard = Guard::start().expect("room");
    let fixture = Fixture::new();
    let mut command = fixture.command("echo ${#A} ${#B} > lengths");
    // Below the kernel's limit for one text, and together more than a socket holds.
    let text = "x".repeat(100_000);
    for name in ["A", "B", "C", "D", "E", "F", "G", "H"] {
        command.env.insert(name.into(), text.clone().into());
    }
    let payload = guard.start_payload(command).expect("starts");
    assert_eq!(wait(payload).end, PayloadEnd::Exited(0));
    assert_eq!(fixture.read("lengths"), "100000 100000\n");
}

fn an_end_is_seen_without_waiting() {
    let guard = Guard::start().expect("room");
    let fixture = Fixture::new();
    let payload = start(&guard, &fixture, "while [ ! -e go ]; do sleep 0.01; done");
    assert!(!payload.has_ended());
    fixture.write("go", "");
    wait_until("it has ended", || payload.has_ended());
    assert_eq!(payload.wait().end, PayloadEnd::Exited(0));
}

fn payloads_one_after_another_leave_nothing_in_the_guard() {
    let guard = Guard::start().expect("room");
    let fixture = Fixture::new();
    let n_files = || {
        let dir = format!("/proc/{}/fd", guard.pid());
        std::fs::read_dir(dir).expect("own child").count()
    };
    let mut before = None;
    for _ in 0..100 {
        assert_eq!(
            wait(start(&guard, &fixture, "exit 0")).end,
            PayloadEnd::Exited(0)
        );
        // The report comes before the socket is closed.
        let first = *before.get_or_insert_with(n_files);
        wait_until("no file is left open", || n_files() <= first);
    }
}
