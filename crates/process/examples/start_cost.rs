//! Measures what a payload behind a guard costs, against a bare child process.
//!
//! `cargo run --release -p ailurus-process --example start_cost [RUNS]`. Prints one JSON object a
//! figure. Each payload and each child is `/bin/true`, started and waited for one after another.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Command, Stdio},
    time::Instant,
};

use ailurus_process::{Confinement, CoreDumps, Guard, PayloadCommand, guard, start};

const PROGRAM: &str = "/bin/true";
/// Of `/proc`, the same on every Linux.
const MICROS_PER_TICK: f64 = 1e4;
/// Rounds whose fastest counts: other work on the machine only ever makes them slower.
const ROUNDS: usize = 5;

fn main() {
    guard::run_if_asked();
    let runs = std::env::args().nth(1).and_then(|it| it.parse().ok());
    let runs: u32 = runs.unwrap_or(1000);
    let mut fastest = [Cost::MOST; 4];
    for _ in 0..ROUNDS {
        let took = [
            Cost::of(runs, bare_runs),
            Cost::of(runs, shared_runs),
            Cost::of(runs / 5 + 1, own_runs),
            Cost::of(runs / 5 + 1, limited_runs),
        ];
        for (fastest, took) in fastest.iter_mut().zip(took) {
            fastest.wall = fastest.wall.min(took.wall);
            fastest.cpu = fastest.cpu.min(took.cpu);
        }
    }
    let [bare, shared, own, limited] = fastest;
    let costs = [
        ("bare", bare),
        ("shared_guard", shared),
        ("own_guard", own),
        ("memory_limit", limited),
    ];
    for (name, cost) in costs {
        show(&format!("{name}_us"), cost.wall, "us");
        show(&format!("{name}_cpu_us"), cost.cpu, "us");
    }
    show("shared_guard_ratio", shared.wall / bare.wall, "");
    show("shared_guard_cpu_ratio", shared.cpu / bare.cpu, "");
}

fn show(name: &str, value: f64, unit: &str) {
    println!(r#"{{"figure": "process.{name}", "value": {value:.2}, "unit": "{unit}"}}"#);
}

/// Time for one run, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    /// User and system time of this process and all that it has waited for.
    cpu: f64,
}

impl Cost {
    const MOST: Self = Self {
        wall: f64::INFINITY,
        cpu: f64::INFINITY,
    };

    fn of(runs: u32, run: impl Fn(u32)) -> Self {
        let (begin, cpu) = (Instant::now(), cpu_ticks());
        run(runs);
        Self {
            wall: begin.elapsed().as_secs_f64() * 1e6 / f64::from(runs),
            cpu: (cpu_ticks() - cpu) * MICROS_PER_TICK / f64::from(runs),
        }
    }
}

fn cpu_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("there");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_ascii_whitespace().skip(11).take(4);
    ticks.map(|it| it.parse::<f64>().expect("a number")).sum()
}

fn bare_runs(runs: u32) {
    (0..runs).for_each(|_| bare());
}

fn shared_runs(runs: u32) {
    let guard = Guard::start().expect("room for a process");
    (0..runs).for_each(|_| behind(&guard, Confinement::default()));
}

/// As above, with a limit that only a control group can hold.
fn limited_runs(runs: u32) {
    let guard = Guard::start().expect("room for a process");
    let limit = Confinement {
        memory_max_bytes: Some(1 << 30),
        ..Confinement::default()
    };
    (0..runs).for_each(|_| behind(&guard, limit.clone()));
}

fn own_runs(runs: u32) {
    (0..runs).for_each(|_| own_guard());
}

/// What the standard library does with `posix_spawn`.
fn bare() {
    let mut child = Command::new(PROGRAM)
        .stdin(Stdio::null())
        .spawn()
        .expect("it is there");
    child.wait().expect("own child");
}

fn behind(guard: &Guard, confinement: Confinement) {
    let command = PayloadCommand {
        confinement,
        ..command()
    };
    let payload = guard.start_payload(command).expect("it starts");
    let _ = payload.wait();
}

fn own_guard() {
    let _ = start(command()).expect("it starts").wait();
}

fn command() -> PayloadCommand {
    let null = || {
        File::options()
            .write(true)
            .open("/dev/null")
            .expect("there")
    };
    PayloadCommand {
        argv: vec![PROGRAM.into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        cwd: "/".into(),
        stdout: null(),
        stderr: null(),
        core_dumps: CoreDumps::Forbidden,
        confinement: Confinement::default(),
    }
}
