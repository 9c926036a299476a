//! The production chain through all programs, and what may die in the middle of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use ailurus_e2e::{LIMIT, World};
use ailurus_testkit::{place, python, wait::wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const MAKE: &str = "#!/bin/sh\nsleep 0.2\necho \"seed $1\" > \"$2\"\n";
const COPY: &str = "#!/bin/sh\ncat \"$1\" > \"$2\"\n";
const MERGE: &str = "#!/bin/sh\n\
    out=$1\n\
    for f in $(echo \"$2\" | tr , ' '); do cat \"$f\"; done > \"$out\"\n";

/// Eight files are made, copied one by one, and merged.
const CHAIN: &str = r#"
scope = "test"
user = "tester"
chain = "letters"

[[task]]
name = "make"
transformation = "{server}/make.sh"
parameters = "{seed} {output.file}"
events = 8
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 3
[[task.output]]
name = "file"
dataset = "test.made"
lfn = "made_{seed}.txt"

[[task]]
name = "copy"
transformation = "{server}/copy.sh"
parameters = "{input.file} {output.file}"
files_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 3
[[task.input]]
name = "file"
dataset = "test.made"
[[task.output]]
name = "file"
dataset = "test.copied"
lfn = "copied_{part}_{attempt}.txt"

[[task]]
name = "merge"
transformation = "{server}/merge.sh"
parameters = "{output.file} {input.file}"
all_files = true
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 3
[[task.input]]
name = "file"
dataset = "test.copied"
[[task.output]]
name = "file"
dataset = "test.merged"
lfn = "merged_{attempt}.txt"
"#;

/// One job whose first attempt hangs, with a child that left its session.
const SLOW_TASK: &str = r#"
scope = "test"
user = "tester"

[[task]]
name = "slow"
transformation = "{server}/slow.sh"
parameters = "{seed} {output.file} {attempt}"
events = 1
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 2
[[task.output]]
name = "file"
dataset = "test.slow"
lfn = "slow_{seed}.txt"
"#;
const SLOW: &str = "#!/bin/sh\n\
    [ \"$3\" = 1 ] && { setsid sleep 300 & sleep 300; }\n\
    echo \"seed $1\" > \"$2\"\n";

fn world() -> World {
    World::start(&[("make.sh", MAKE), ("copy.sh", COPY), ("merge.sh", MERGE)]).unwrap()
}

fn all_done(tasks: &[Value]) -> bool {
    tasks
        .iter()
        .all(|task| task["status"] == "done" && task["jobs"]["finished"] == task["jobs_total"])
}

/// Returns the lines of the merged file, sorted.
fn merged_lines(world: &World) -> Vec<String> {
    let dataset = world
        .deployment
        .command_line(&["dataset", "show", "test.merged"])
        .unwrap();
    let surl = dataset
        .pointer("/files/0/surl")
        .and_then(Value::as_str)
        .unwrap();
    let text = std::fs::read_to_string(surl.strip_prefix("file://").unwrap()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_chain_survives_the_death_of_its_server() {
    let mut world = world();
    world.submit(CHAIN).unwrap();
    world.wait_for_job("finished").unwrap();
    world.deployment.kill_server().unwrap();
    world.deployment.restart_server().unwrap();
    let tasks = world.wait_for_tasks().unwrap();
    assert!(all_done(&tasks), "{tasks:#?}");
    let lines = merged_lines(&world);
    assert_eq!(lines.len(), 8, "every part is there once: {lines:?}");
    let mut unique = lines.clone();
    unique.dedup();
    assert_eq!(unique, lines, "no seed was handed out twice");
}

#[test]
fn a_chain_survives_the_death_of_its_harvester() {
    let mut world = world();
    world.submit(CHAIN).unwrap();
    world.wait_for_job("finished").unwrap();
    world.deployment.kill_harvester().unwrap();
    world.deployment.start_harvester().unwrap();
    let tasks = world.wait_for_tasks().unwrap();
    assert!(all_done(&tasks), "{tasks:#?}");
    assert_eq!(merged_lines(&world).len(), 8);
}

#[test]
fn a_job_of_a_killed_pilot_is_tried_again_and_nothing_outlives_the_pilot() {
    let mut world = World::start(&[("slow.sh", SLOW)]).unwrap();
    world.submit(SLOW_TASK).unwrap();
    let job = world.wait_for_job("running").unwrap();
    let queue = job["queue"].as_str().unwrap().to_owned();
    let is_pilot = |words: &[String]| {
        words
            .first()
            .is_some_and(|word| word.ends_with("/ailurus-pilot"))
            && words.contains(&queue)
    };
    let pilots = world.processes(is_pilot).unwrap();
    assert!(!pilots.is_empty());
    for pilot in pilots {
        kill_process(Pid::from_raw(pilot).unwrap(), Signal::KILL).unwrap();
    }
    wait_for("the end of the payload", LIMIT, || {
        let is_sleeper = |words: &[String]| words.first().is_some_and(|word| word == "sleep");
        Ok(world.processes(is_sleeper)?.is_empty().then_some(()))
    })
    .unwrap();
    let tasks = world.wait_for_tasks().unwrap();
    assert!(all_done(&tasks), "{tasks:#?}");
    let job = world.job(job["panda_id"].as_u64().unwrap()).unwrap();
    assert_eq!(job["attempt_nr"], 2);
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["status"], "failed");
    assert_ne!(
        attempts[0]["seed"], attempts[1]["seed"],
        "a seed is handed out once"
    );
}

#[test]
fn the_payloads_of_the_example_pass_their_own_tests() {
    let python = python::prepare().unwrap();
    let status = Command::new(python.join("bin/python"))
        .arg("test_chain.py")
        .current_dir(place::production().join("payloads"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .unwrap();
    assert!(status.success());
}
