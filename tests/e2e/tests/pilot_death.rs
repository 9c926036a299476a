//! Pilots that are killed at random moments, one after the other in the same place: nothing is lost,
//! nothing is done twice, nothing is left.
//!
//! `AILURUS_PILOT_DEATHS=200` sets how often a pilot is killed; by default less, to save time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ailurus_e2e::{LIMIT, World};
use ailurus_testkit::{
    place::{self, Profile},
    wait::wait_for,
};
use ailurus_transfer::{Direction, checksum::ChecksumKind, file_checksum};
use serde_json::Value;

/// The queues between which the server shares the jobs; their pilots work in one place.
const QUEUES: [&str; 2] = ["NORTH", "SOUTH"];
/// How often a pilot is killed if nobody says it.
const DEATHS: u64 = 50;
/// The longest life of a pilot that is killed, in milliseconds: two or three jobs.
const LIFE_MILLIS_MAX: u64 = 700;
/// Some of its time the job computes, some it has its output stored.
const PAYLOAD: &str = "#!/bin/sh\nsleep 0.05\nhead -c 3000000 /dev/urandom > \"$2\"\n";

const TASK: &str = r#"
scope = "test"
user = "tester"

[[task]]
name = "make"
transformation = "{server}/death.sh"
parameters = "{seed} {output.file}"
events = EVENTS
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 10
[[task.output]]
name = "file"
dataset = "test.made"
lfn = "made_{part}_{attempt}.dat"
"#;

/// Numbers that look random; the moments at which a kill arrives are random anyway.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, largest: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % (largest + 1)
    }
}

/// The place in which all pilots work.
struct Place<'a> {
    world: &'a World,
    log: std::path::PathBuf,
}

impl Place<'_> {
    fn start_pilot(&self, queue: &str) -> Child {
        let folder = self.world.deployment.folder();
        let url = self.world.deployment.url();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        Command::new(place::program("ailurus-pilot", Profile::Dev))
            .current_dir(folder.join("launch"))
            .args([
                "-q",
                queue,
                "-j",
                "managed",
                "--pilot-user",
                "generic",
                "-v",
                "1",
            ])
            .args(["--url", &url, "-b", "-t", "--job-request-pause", "1s"])
            .args([
                "--queuedata-url",
                &format!("{url}/cache/schedconfig/{{pandaqueue}}.all.json"),
            ])
            .args(["--storagedata-url", &format!("{url}/ddmendpoints.json")])
            .args(["--baseurls", &format!("{url}/trf/user")])
            .args(["--allow-same-user", "False"])
            .arg("-a")
            .arg(folder.join("work"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Lets a pilot live for so long, and kills it if it still does. Says whether it was killed.
    fn kill_after(&self, queue: &str, life: Duration) -> bool {
        let mut pilot = self.start_pilot(queue);
        let begin = Instant::now();
        while begin.elapsed() < life {
            if pilot.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        pilot.kill().unwrap();
        pilot.wait().unwrap();
        true
    }
}

fn deaths_wanted() -> u64 {
    let wanted = std::env::var("AILURUS_PILOT_DEATHS").ok();
    wanted.map_or(DEATHS, |text| text.parse().unwrap())
}

#[test]
fn nothing_is_lost_and_nothing_left_by_pilots_that_are_killed_at_random_moments() {
    let world = World::start_server_only(&[("death.sh", PAYLOAD)]).unwrap();
    let deaths = deaths_wanted();
    world
        .submit(&TASK.replace("EVENTS", &deaths.to_string()))
        .unwrap();
    for name in ["launch", "work"] {
        fs::create_dir(world.deployment.folder().join(name)).unwrap();
    }
    let place = Place {
        log: world.deployment.folder().join("pilots.log"),
        world: &world,
    };
    let mut dice = Dice(deaths);
    let mut killed = 0;
    while killed < deaths {
        let life = Duration::from_millis(dice.up_to(LIFE_MILLIS_MAX));
        let queue = QUEUES[usize::try_from(killed % 2).unwrap()];
        killed += u64::from(place.kill_after(queue, life));
    }
    let jobs = finish(&place);
    assert_eq!(jobs.len(), usize::try_from(deaths).unwrap());
    for job in &jobs {
        check_job(job);
    }
    check_outputs(&world, deaths);
    check_node(&world);
}

/// Lets pilots work until every job has ended, and returns the jobs.
fn finish(place: &Place<'_>) -> Vec<Value> {
    let world = place.world;
    wait_for("the end of all jobs", LIMIT, || {
        for queue in QUEUES {
            let mut pilot = place.start_pilot(queue);
            wait_for("the end of a pilot", LIMIT, || Ok(pilot.try_wait()?))?;
        }
        let tasks = world.tasks()?;
        Ok((tasks[0]["status"] == "done").then_some(()))
    })
    .unwrap_or_else(|error| {
        let log = fs::read_to_string(&place.log).unwrap_or_default();
        let tail = log.lines().rev().take(80).collect::<Vec<_>>();
        panic!(
            "{error:#}: {:#?}, log from its end: {tail:#?}",
            world.tasks()
        )
    });
    let jobs = world
        .deployment
        .command_line(&["job", "list", "--limit", "1000"])
        .unwrap();
    let ids = jobs.as_array().unwrap().iter();
    let ids = ids.map(|job| job["panda_id"].as_u64().unwrap());
    ids.map(|id| world.job(id).unwrap()).collect()
}

/// One attempt has finished the job; those before it have failed.
fn check_job(job: &Value) {
    assert_eq!(job["status"], "finished", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    let (last, before) = attempts.split_last().unwrap();
    assert_eq!(last["status"], "finished", "{job:#}");
    for attempt in before {
        assert_eq!(attempt["status"], "failed", "{job:#}");
    }
}

/// Each output is registered once, and lies in storage as registered.
fn check_outputs(world: &World, count: u64) {
    let dataset = world
        .deployment
        .command_line(&["dataset", "show", "test.made"])
        .unwrap();
    let files = dataset["files"].as_array().unwrap();
    assert_eq!(files.len(), usize::try_from(count).unwrap());
    for file in files {
        let path = file["surl"]
            .as_str()
            .unwrap()
            .strip_prefix("file://")
            .unwrap();
        let (size, checksum) =
            file_checksum(Path::new(path), ChecksumKind::Adler32, Direction::StageIn).unwrap();
        assert_eq!(file["size"], size.as_bytes(), "{file}");
        let registered = file["checksum"].as_str().unwrap();
        assert!(
            registered.ends_with(&checksum.to_string()[3..]),
            "{file} is {checksum}"
        );
    }
}

/// Nothing runs any more, and the place is as empty as before.
fn check_node(world: &World) {
    wait_for("the end of all payloads and guards", LIMIT, || {
        let is_theirs = |words: &[String]| {
            words
                .iter()
                .any(|word| word.contains("death.sh") || word.contains("ailurus-pilot"))
        };
        Ok(world.processes(is_theirs)?.is_empty().then_some(()))
    })
    .unwrap();
    let left: Vec<String> = fs::read_dir(world.deployment.folder().join("work"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|home| {
            fs::read_dir(home).unwrap().flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.ends_with(".journal") || name.starts_with("PanDA_Pilot-")
            })
        })
        .map(|home| home.display().to_string())
        .collect();
    assert_eq!(left, Vec::<String>::new(), "jobs are left in these places");
}
