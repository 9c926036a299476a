//! Limits and CPUs. What needs control groups is skipped where the node gives the pilot none.

#![expect(clippy::print_stdout, reason = "what a test says that is skipped")]

use ailurus_process::{Confined, Confinement, Enforcement, PayloadEnd, PayloadExit, start};

use crate::fixture::{Fixture, wait};

tests![
    a_payload_runs_on_its_cpus,
    a_cpu_that_is_not_there_changes_nothing,
    memory_above_the_limit_ends_the_payload_and_is_told,
    memory_below_the_limit_is_no_reason,
    processes_above_the_limit_cannot_be_started,
    control_groups_are_gone_in_the_end,
    nothing_asked_is_nothing_told,
    the_kernel_takes_a_payload_before_its_pilot,
];

/// Holds a hundred megabytes.
const HOG: &str = "dd if=/dev/zero of=/dev/null bs=100000000 count=1";

fn run(fixture: &Fixture, script: &str, confinement: Confinement) -> (Confined, PayloadExit) {
    let mut command = fixture.command(script);
    command.confinement = confinement;
    let payload = start(command).expect("the payload starts");
    (payload.confined(), wait(payload))
}

fn memory(bytes: u64) -> Confinement {
    Confinement {
        memory_max_bytes: Some(bytes),
        ..Confinement::default()
    }
}

/// Says whether a control group holds it, and why the test is skipped otherwise.
fn is_held(what: &str, by: Enforcement) -> bool {
    let is_held = matches!(by, Enforcement::Cgroup1 | Enforcement::Cgroup2);
    match std::env::var("AILURUS_CONTROL_GROUPS").as_deref() {
        Ok("2") => assert_eq!(by, Enforcement::Cgroup2, "{what}"),
        Ok(_) | Err(_) if !is_held => {
            println!("skipped: no control group can limit the {what} here");
        }
        Ok(_) | Err(_) => {}
    }
    is_held
}

fn a_payload_runs_on_its_cpus() {
    let usable = rustix::thread::sched_getaffinity(None).expect("known");
    let last = (0..rustix::thread::CpuSet::MAX_CPU)
        .rfind(|cpu| usable.is_set(*cpu))
        .expect("one at least");
    let fixture = Fixture::new();
    let confinement = Confinement {
        cpus: vec![u32::try_from(last).expect("small")],
        ..Confinement::default()
    };
    // Not the last command, which some shells become, so that `setsid` would go its own way.
    let script = "setsid sh -c 'grep Cpus_allowed_list /proc/self/status' > cpus; exit 0";
    let (confined, _) = run(&fixture, script, confinement);
    assert_eq!(confined.cpus, Enforcement::Process);
    assert_eq!(
        fixture.read("cpus"),
        format!("Cpus_allowed_list:\t{last}\n")
    );
}

fn a_cpu_that_is_not_there_changes_nothing() {
    let confinement = Confinement {
        cpus: vec![60_000],
        ..Confinement::default()
    };
    let (confined, exit) = run(&Fixture::new(), "exit 0", confinement);
    assert_eq!(confined.cpus, Enforcement::Nothing);
    assert_eq!(exit.end, PayloadEnd::Exited(0));
}

fn memory_above_the_limit_ends_the_payload_and_is_told() {
    let (confined, exit) = run(&Fixture::new(), HOG, memory(40 << 20));
    if is_held("memory", confined.memory) {
        assert!(exit.n_memory_kills > 0, "{exit:?}");
        assert!(
            matches!(exit.end, PayloadEnd::Exited(137) | PayloadEnd::Signalled(9)),
            "{exit:?}"
        );
    }
}

fn memory_below_the_limit_is_no_reason() {
    let (_, exit) = run(&Fixture::new(), HOG, memory(1 << 30));
    assert_eq!((exit.end, exit.n_memory_kills), (PayloadEnd::Exited(0), 0));
    // What somebody else does to it is no lack of memory.
    let (_, exit) = run(&Fixture::new(), "kill -9 $$", memory(1 << 30));
    assert_eq!(
        (exit.end, exit.n_memory_kills),
        (PayloadEnd::Signalled(9), 0)
    );
}

fn processes_above_the_limit_cannot_be_started() {
    let confinement = Confinement {
        tasks_max: Some(10),
        ..Confinement::default()
    };
    let script = "i=0; while [ $i -lt 30 ]; do sleep 600 & i=$((i+1)); done";
    let (confined, exit) = run(&Fixture::new(), script, confinement);
    if is_held("processes", confined.tasks) {
        assert_ne!(exit.end, PayloadEnd::Exited(0));
        assert!(exit.n_leftovers <= 10, "{exit:?}");
    }
}

fn control_groups_are_gone_in_the_end() {
    let fixture = Fixture::new();
    let mut command = fixture.command("cat /proc/self/cgroup > groups; exit 0");
    command.confinement = memory(1 << 30);
    let payload = start(command).expect("starts");
    let guard = payload.guard_pid();
    let confined = payload.confined();
    wait(payload);
    if is_held("memory", confined.memory) {
        let name = format!("ailurus-payload-{guard}-1");
        let groups = fixture.read("groups");
        let path = groups
            .lines()
            .find(|it| it.ends_with(&name))
            .and_then(|it| it.rsplit(':').next())
            .expect("its own group");
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"] {
            let dir = format!("{root}{path}");
            assert!(!std::path::Path::new(&dir).exists(), "{dir}");
        }
    }
}

fn nothing_asked_is_nothing_told() {
    let (confined, exit) = run(&Fixture::new(), "exit 0", Confinement::default());
    let expected = Confined {
        descendants: confined.descendants,
        ..Confined::default()
    };
    assert_eq!(confined, expected);
    assert_eq!(exit.n_memory_kills, 0);
}

fn the_kernel_takes_a_payload_before_its_pilot() {
    let fixture = Fixture::new();
    fixture.run("cat /proc/self/oom_score_adj > score");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("there");
    let number = |text: &str| text.trim().parse::<i32>().expect("a number");
    let expected = (number(&own) + 200).min(1000);
    assert_eq!(number(&fixture.read("score")), expected);
}
