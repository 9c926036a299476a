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
/// Rounds whose fastest counts: other work on the machine only ever makes them slower.
const ROUNDS: usize = 5;

fn main() {
    guard::run_if_asked();
    let runs = std::env::args().nth(1).and_then(|it| it.parse().ok());
    let runs: u32 = runs.unwrap_or(1000);
    let shared = Guard::start().expect("room for a process");
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let took = [
            micros_each(runs, bare),
            micros_each(runs, || behind(&shared)),
            micros_each(runs.min(200), own_guard),
        ];
        for (fastest, took) in fastest.iter_mut().zip(took) {
            *fastest = fastest.min(took);
        }
    }
    let [bare, shared, own] = fastest;
    println!(r#"{{"figure": "process.bare_us", "value": {bare:.1}, "unit": "us"}}"#);
    println!(r#"{{"figure": "process.shared_guard_us", "value": {shared:.1}, "unit": "us"}}"#);
    println!(r#"{{"figure": "process.own_guard_us", "value": {own:.1}, "unit": "us"}}"#);
    let ratio = shared / bare;
    println!(
        r#"{{"figure": "process.shared_guard_ratio", "value": {ratio:.2}, "unit": "", "goal": 1.3}}"#
    );
}

fn micros_each(runs: u32, mut run: impl FnMut()) -> f64 {
    let begin = Instant::now();
    (0..runs).for_each(|_| run());
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
}

/// What the standard library does with `posix_spawn`.
fn bare() {
    let mut child = Command::new(PROGRAM)
        .stdin(Stdio::null())
        .spawn()
        .expect("it is there");
    child.wait().expect("own child");
}

fn behind(guard: &Guard) {
    let payload = guard.start_payload(command()).expect("it starts");
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
