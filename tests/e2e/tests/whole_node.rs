//! One pilot with several slots: payloads side by side, within the cores of the node.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use ailurus_e2e::{LIMIT, World};
use ailurus_testkit::{
    Child,
    place::{Profile, program},
    wait::wait_for,
};

/// Tells in a common file that it begins and ends; waits until as many run as are wanted, or long
/// enough to see that there will not be so many.
const PAYLOAD: &str = "#!/bin/sh\n\
    echo \"+ $(grep Cpus_allowed_list /proc/self/status | tr -d '[:space:]' | cut -d: -f2)\" >> \"$1\"\n\
    n=0\n\
    while [ $n -lt 40 ] && [ \"$(grep -c + \"$1\")\" -lt \"$2\" ]; do sleep 0.05; n=$((n + 1)); done\n\
    echo - >> \"$1\"\n";

fn task(record: &Path, n_jobs: u32, at_once: u32) -> String {
    format!(
        "scope = \"test\"\nuser = \"tester\"\n\
         [[task]]\nname = \"side-by-side\"\ntransformation = \"{{server}}/payload.sh\"\n\
         parameters = \"{} {at_once}\"\nevents = {n_jobs}\nevents_per_job = 1\n\
         cores = 1\nmemory = \"100 MiB\"\ndisk = \"100 MiB\"\nwalltime = \"10m\"\n\
         max_attempts = 1\nqueues = [\"NORTH\"]\n",
        record.display()
    )
}

fn pilot(world: &World, name: &str, options: &[&str]) -> Child {
    let place = world.deployment.folder().join(name);
    fs::create_dir_all(&place).unwrap();
    let url = world.deployment.url();
    let mut command = Command::new(program("ailurus-pilot", Profile::Dev));
    command
        .current_dir(&place)
        .args(["-q", "NORTH", "-j", "managed", "--pilot-user", "generic"])
        .args(["-b", "-t", "-v", "1", "--job-request-pause", "1s"])
        .args(["--url", &url, "--baseurls", &format!("{url}/trf/user")])
        .args([
            "--queuedata-url",
            &format!("{url}/cache/schedconfig/{{pandaqueue}}.all.json"),
        ])
        .args(["--storagedata-url", &format!("{url}/ddmendpoints.json")])
        .arg("-a")
        .arg(&place)
        .args(options);
    Child::start(name, &mut command, &place.join("pilot.out")).unwrap()
}

/// Returns how many payloads ran at once at most, and how many ran in all.
fn count(record: &Path) -> (usize, usize) {
    let text = fs::read_to_string(record).unwrap();
    let (mut now, mut most, mut all) = (0, 0, 0);
    for line in text.lines() {
        if line.starts_with('+') {
            now += 1;
            all += 1;
            most = most.max(now);
        } else {
            now -= 1;
        }
    }
    (most, all)
}

fn run(n_jobs: u32, at_once: u32, options: &[&str]) -> (usize, usize) {
    let mut world = World::start_server_only(&[("payload.sh", PAYLOAD)]).unwrap();
    let record = world.deployment.folder().join("record");
    world.submit(&task(&record, n_jobs, at_once)).unwrap();
    world.wait_for_job("activated").unwrap();
    let mut pilot = pilot(&world, "pilot", options);
    let tasks = world.wait_for_tasks().unwrap();
    assert_eq!(tasks[0]["jobs"]["finished"], n_jobs, "{tasks:#?}");
    let ended = wait_for("the pilot's end", LIMIT, || pilot.ended()).unwrap();
    assert!(ended.success(), "{ended}");
    count(&record)
}

#[test]
fn payloads_run_side_by_side_in_as_many_slots_as_are_given() {
    let options = ["--slots", "3", "--slots-cores", "3"];
    assert_eq!(run(7, 3, &options), (3, 7));
}

#[test]
fn there_are_never_more_payloads_than_cores() {
    let options = ["--slots", "4", "--slots-cores", "2"];
    assert_eq!(run(6, 2, &options), (2, 6));
}

#[test]
fn a_pilot_without_slots_runs_one_job_after_the_other() {
    let (most, _) = run(1, 1, &[]);
    assert_eq!(most, 1);
}
