//! The release tarball, started by the steps of PanDA's pilot wrapper (`wrapper/wrapper.sh`): job
//! done, exit code translated, and what happens on the signals of batch system and supervisor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use ailurus_e2e::{LIMIT, ONE_JOB, World};
use ailurus_testkit::{
    Child,
    place::{self, Profile},
    wait::wait_for,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

/// Tells its environment, and waits for the test's permission to end. Asked to end, it saves.
const PAYLOAD: &str = "#!/bin/sh\n\
    trap 'sleep 0.3; echo saved > \"$GATE.saved\"; exit 1' TERM\n\
    env > \"$1\"\n\
    while [ ! -e \"$GATE\" ]; do sleep 0.05; done\n";

/// A wrapper on a node of its own.
struct Wrapper {
    world: World,
    child: Child,
    folder: PathBuf,
}

/// What a wrapper is started with.
struct Start<'a> {
    world: World,
    queue: Value,
    variables: &'a [(&'a str, &'a str)],
    tarball: &'a str,
}

impl Start<'_> {
    fn with_job() -> Self {
        let world = World::with_queues(&[("one.sh", PAYLOAD)], &["NORTH"]).unwrap();
        world.submit(ONE_JOB).unwrap();
        world.wait_for_job("activated").unwrap();
        Self::in_world(world)
    }

    fn in_world(world: World) -> Self {
        let data = world.deployment.folder().join("queues.json");
        let mut queues: Value = serde_json::from_slice(&fs::read(data).unwrap()).unwrap();
        let mut queue = queues["NORTH"].take();
        queue["environ"] = json!("SITE_SCRATCH=/scratch SITE_MODE=test");
        Self {
            world,
            queue,
            variables: &[],
            tarball: "pilot3.tar.gz",
        }
    }

    fn go(self) -> Wrapper {
        let folder = self.world.folder().join("node");
        fs::create_dir_all(folder.join("wn")).unwrap();
        pack(&folder);
        let token = folder.join("token");
        fs::write(&token, "secret").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let queue = serde_json::to_vec_pretty(&self.queue).unwrap();
        fs::write(folder.join("queuedata.json"), queue).unwrap();
        let url = self.world.deployment.url();
        let queue_data = format!("file://{}/queuedata.json", folder.display());
        let mut command = Command::new("bash");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrapper/wrapper.sh"))
            .args(["-q", "NORTH", "-j", "managed", "-t", "-r", "r", "-s", "s"])
            .args(["--piloturl"])
            .arg(format!("file://{}/{}", folder.display(), self.tarball))
            .args([
                "--pilot-user",
                "spd",
                "-w",
                "generic",
                "-b",
                "-v",
                "1",
                "-d",
            ])
            .args(["--url", &url, "--queuedata-url", &queue_data])
            .args(["--storagedata-url", &format!("{url}/ddmendpoints.json")])
            .args(["--baseurls", &format!("{url}/trf/user")])
            .args(["--heartbeat", "1s", "--use-https=False"])
            .env("OSG_WN_TMP", folder.join("wn"))
            .env("PANDA_URL", &url)
            .env("PANDA_AUTH_TOKEN", token)
            .env("PANDA_AUTH_ORIGIN", "spd.production")
            .env("HARVESTER_ID", "harvester")
            .env("HARVESTER_WORKER_ID", "7")
            .env("APFFID", "factory-1")
            .env("GATE", folder.join("gate"))
            .envs(self.variables.iter().copied())
            .current_dir(&folder)
            .process_group(0);
        let child = Child::start("the wrapper", &mut command, &folder.join("out")).unwrap();
        Wrapper {
            world: self.world,
            child,
            folder,
        }
    }
}

/// Makes the release tarball in this folder, with the pilot of this build.
fn pack(folder: &Path) {
    let output = Command::new(place::program("xtask", Profile::Dev))
        .args(["package", "--tarball-only", "--pilot"])
        .arg(place::program("ailurus-pilot", Profile::Dev))
        .arg("--out")
        .arg(folder)
        .output()
        .expect("`xtask` is built: `cargo build -p xtask`");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Wrapper {
    fn output(&self) -> String {
        fs::read_to_string(self.folder.join("out")).unwrap_or_default()
    }

    /// Waits for the wrapper's end and returns its exit code.
    fn exit_code(&mut self) -> Option<i32> {
        let status = wait_for("the wrapper's end", LIMIT, || self.child.ended());
        status
            .unwrap_or_else(|error| panic!("{error}\n{}", self.output()))
            .code()
    }

    /// Waits until the payload runs and returns the pilot's launch directory.
    fn running(&self) -> PathBuf {
        self.world
            .wait_for_job("running")
            .unwrap_or_else(|error| panic!("{error}\n{}", self.output()));
        self.work_dirs().remove(0)
    }

    fn work_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("wn")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The pilots by their process ids: neither Python nor guards.
    fn pilots(&self) -> Vec<i32> {
        let is_pilot = |words: &[String]| {
            words[0].contains("pilot3/bin/ailurus-pilot") && words.iter().any(|word| word == "-q")
        };
        self.world.processes(is_pilot).unwrap()
    }

    /// The only job, which has failed with this code; its log is stored, and nothing is left over.
    fn assert_ended_by_signal(&self, code: i64) {
        let job = self.world.wait_for_job("failed").unwrap();
        let diagnosis = job.pointer("/attempts/0/diagnosis").unwrap();
        assert_eq!(diagnosis["code"].as_i64(), Some(code), "{job:#}");
        self.assert_nothing_left();
    }

    fn assert_nothing_left(&self) {
        let left = wait_for("the end of all processes", LIMIT, || {
            let server = |words: &[String]| words[0].contains("ailurus-server");
            let left = self.world.processes(|words| !server(words))?;
            Ok(left.is_empty().then_some(()))
        });
        left.unwrap();
        assert!(self.work_dirs().is_empty(), "{:?}", self.work_dirs());
    }
}

/// Finds a stored file by the end of its name.
fn stored(folder: &Path, end: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            stored(&path, end)
        } else {
            path.to_str()
                .is_some_and(|name| name.ends_with(end))
                .then_some(path)
        }
    })
}

#[test]
fn a_job_is_done_by_the_tarball_as_the_wrapper_starts_it() {
    let mut wrapper = Start::with_job().go();
    let work_dir = wrapper.running();
    for name in [
        "pilotlog.txt",
        "pilot_heartbeat.json",
        "pilot3/pandaIDs.out",
    ] {
        let what = format!("`{name}` in the launch directory");
        wait_for(&what, LIMIT, || {
            Ok(work_dir.join(name).exists().then_some(()))
        })
        .unwrap();
    }
    let [pilot] = wrapper.pilots()[..] else {
        panic!("one pilot, and no Python before it: {:?}", wrapper.pilots());
    };
    // A batch system that suspends and resumes a slot does this.
    kill_process(Pid::from_raw(pilot).unwrap(), Signal::CONT).unwrap();
    File::create(wrapper.folder.join("gate")).unwrap();
    assert_eq!(wrapper.exit_code(), Some(0), "{}", wrapper.output());

    let job = wrapper.world.wait_for_job("finished").unwrap();
    let output = wrapper.output();
    assert!(
        output.contains(&format!("pandaids: {}\n", job["panda_id"])),
        "{output}"
    );
    assert!(output.contains("pilot version: ailurus-"), "{output}");
    assert!(
        output.contains("worker status: {\"StatusCode\":0}"),
        "{output}"
    );
    let storage = wrapper.world.deployment.folder().join("storage/NORTH_DISK");
    let text = fs::read_to_string(stored(&storage, ".txt").unwrap()).unwrap();
    for expected in [
        "SITE_SCRATCH=/scratch",
        "SITE_MODE=test",
        "APFFID=factory-1",
    ] {
        assert!(
            text.contains(expected),
            "`{expected}` is missing in: {text}"
        );
    }
    assert!(!text.contains("PANDA_AUTH_TOKEN="), "{text}");
    wrapper.assert_nothing_left();
}

#[test]
fn a_batch_system_that_ends_the_slot_gets_exit_code_1_and_the_payload_its_grace() {
    let mut wrapper = Start::with_job().go();
    wrapper.running();
    // To all of the group, and the wrapper passes it on: the pilot gets it twice.
    let group = i32::try_from(wrapper.child.id())
        .ok()
        .and_then(Pid::from_raw);
    kill_process_group(group.unwrap(), Signal::TERM).unwrap();
    assert_eq!(wrapper.exit_code(), Some(1), "{}", wrapper.output());
    let output = wrapper.output();
    assert!(
        output.contains("exit code=1201, shell exit code=143"),
        "{output}"
    );
    assert!(wrapper.folder.join("gate.saved").exists(), "{output}");
    let storage = wrapper.world.deployment.folder().join("storage/NORTH_DISK");
    assert!(
        stored(&storage, ".tgz").is_some(),
        "no log is stored: {output}"
    );
    wrapper.assert_ended_by_signal(1201);
}

#[test]
fn a_pilot_that_seems_stuck_is_ended_by_the_supervisor_and_tells_the_server() {
    let mut start = Start::with_job();
    start.variables = &[("SUPERVISOR_PERIOD", "0.2"), ("SUPERVISOR_PATIENCE", "60")];
    let mut wrapper = start.go();
    let log = wrapper.running().join("pilotlog.txt");
    wait_for("the supervisor", LIMIT, || {
        grow_old(&log);
        Ok(wrapper.output().contains("SIGINT").then_some(()))
    })
    .unwrap();
    assert_eq!(wrapper.exit_code(), Some(2), "{}", wrapper.output());
    assert!(
        wrapper.output().contains("shell exit code=130"),
        "{}",
        wrapper.output()
    );
    wrapper.assert_ended_by_signal(1208);
}

#[test]
fn a_pilot_that_is_stuck_is_killed_by_the_supervisor_and_its_payload_with_it() {
    let mut start = Start::with_job();
    start.variables = &[("SUPERVISOR_PERIOD", "0.2"), ("SUPERVISOR_PATIENCE", "0.5")];
    let mut wrapper = start.go();
    let log = wrapper.running().join("pilotlog.txt");
    for pilot in wrapper.pilots() {
        kill_process(Pid::from_raw(pilot).unwrap(), Signal::STOP).unwrap();
    }
    grow_old(&log);
    assert_eq!(wrapper.exit_code(), Some(2), "{}", wrapper.output());
    assert!(wrapper.output().contains("SIGKILL"), "{}", wrapper.output());
    wrapper.assert_nothing_left();
}

/// Makes a file look as if nobody had written it for two hours.
fn grow_old(path: &Path) {
    let before = SystemTime::now() - Duration::from_secs(7200);
    // The pilot may just have ended, and the wrapper removed it.
    if let Ok(file) = File::options().append(true).open(path) {
        file.set_modified(before).unwrap();
    }
}

#[test]
fn exit_codes_without_a_job_are_what_the_wrapper_expects() {
    let world = || World::with_queues(&[], &["NORTH"]).unwrap();
    let mut idle = Start::in_world(world()).go();
    assert_eq!(idle.exit_code(), Some(0), "{}", idle.output());
    assert!(idle.output().contains("no payload"), "{}", idle.output());

    let mut start = Start::in_world(world());
    start.queue["status"] = json!("offline");
    let mut offline = start.go();
    assert_eq!(offline.exit_code(), Some(83), "{}", offline.output());

    let mut start = Start::in_world(world());
    start.tarball = "absent.tar.gz";
    let mut absent = start.go();
    assert_eq!(absent.exit_code(), Some(64), "{}", absent.output());
}
