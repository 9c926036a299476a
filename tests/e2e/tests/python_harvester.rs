//! HSF's Harvester against our server, unmodified: it learns what there is, starts our pilots, and
//! brings jobs to their ends by pull and by push.
//!
//! It is in no package registry. `AILURUS_PYTHON_HARVESTER` names the Python of a virtual environment
//! that has it (`pip install` of its source); without that, the test says so and does nothing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ailurus_e2e::World;
use ailurus_testkit::{
    Child, Connection,
    place::{self, Profile},
    wait::look_every,
};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// Names the Python that has Harvester.
const PYTHON: &str = "AILURUS_PYTHON_HARVESTER";
const CONFIGURATION: &str = include_str!("python_harvester/panda_harvester.cfg");
const LOGGING: &str = include_str!("python_harvester/panda_common.cfg");
const PLUGINS: &str = include_str!("python_harvester/workers.py");

/// Longest wait for something that goes through several of Harvester's threads.
const LIMIT: Duration = Duration::from_secs(240);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(300);

const HELLO: &str = "#!/bin/sh\necho \"hello\" > \"$1\"\nsleep \"$2\"\n";

/// A task whose jobs last so many seconds.
fn task(name: &str, queue: &str, jobs: u32, secs: u32) -> String {
    format!(
        r#"
scope = "test"
user = "tester"

[[task]]
name = "{name}"
transformation = "{{server}}/hello.sh"
parameters = "{{output.file}} {secs}"
events = {jobs}
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 1
queues = ["{queue}"]
[[task.output]]
name = "file"
dataset = "test.{name}"
lfn = "{name}_{{seed}}.txt"
"#
    )
}

/// A Harvester in a folder. It ends, with all its workers, with this value.
struct Harvester {
    home: PathBuf,
    child: Child,
}

impl Harvester {
    fn start(python: &Path, home: &Path, server: &str) -> anyhow::Result<Self> {
        let settings = home.join("etc/panda");
        fs::create_dir_all(&settings)?;
        fs::create_dir_all(home.join("log"))?;
        let fill = |text: &str| -> anyhow::Result<String> {
            Ok(text
                .replace("{home}", &home.display().to_string())
                .replace("{server}", server)
                .replace("{user}", &name_by("-un")?)
                .replace("{group}", &name_by("-gn")?))
        };
        fs::write(settings.join("panda_harvester.cfg"), fill(CONFIGURATION)?)?;
        fs::write(settings.join("panda_common.cfg"), fill(LOGGING)?)?;
        fs::write(
            settings.join("panda_queueconfig.json"),
            queues(home, server).to_string(),
        )?;
        fs::write(home.join("workers.py"), PLUGINS)?;
        let mut command = Command::new("unshare");
        command
            .args(["-pf", "--kill-child", "--mount-proc"])
            .arg(python)
            .args(["-m", "pandaharvester.harvesterbody.master", "--foreground"])
            .current_dir(home)
            .env("PANDA_HOME", home)
            .env("PANDA_LOCK_DIR", home)
            .env("HARVESTER_WATCHER_PASSPHRASE", "none")
            .env("TZ", "UTC")
            .env(
                "PYTHONPATH",
                env::join_paths([common_modules(python)?, home.to_owned()])?,
            );
        let child = Child::start("Harvester", &mut command, &home.join("harvester.out"))?;
        Ok(Self {
            home: home.to_owned(),
            child,
        })
    }

    /// Fails if it has ended by itself.
    fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.ended()? {
            let said = fs::read_to_string(self.home.join("harvester.out"))?;
            bail!("Harvester ended with {status}: {said}");
        }
        Ok(())
    }

    /// Lists the errors and warnings in its logs that come from what the server said.
    fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.home.join("log"))? {
            let path = entry?.path();
            // Its own database: tables that are not there yet, dialects of SQL.
            if path.ends_with("panda-db_proxy.log") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let is_complaint = |line: &&str| {
                ["ERROR", "WARNING", "CRITICAL"]
                    .iter()
                    .any(|level| line.contains(&format!(": {level} ")))
                    && !line.ends_with("No jobs in PanDA")
            };
            found.extend(text.lines().filter(is_complaint).map(str::to_owned));
        }
        Ok(found)
    }
}

/// Asks the system for the name of this user or group.
fn name_by(option: &str) -> anyhow::Result<String> {
    let output = Command::new("id").arg(option).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The modules of panda-common that Harvester wants without their package.
fn common_modules(python: &Path) -> anyhow::Result<PathBuf> {
    let lines = "import pandacommon; print(pandacommon.__path__[0])";
    let output = Command::new(python).args(["-c", lines]).output()?;
    let path = String::from_utf8(output.stdout)?;
    if path.trim().is_empty() {
        bail!("`{}` has no Harvester: install it there", python.display());
    }
    Ok(path.trim().into())
}

/// The configuration of both queues: pilots that ask the server, and pilots that get a file.
fn queues(home: &Path, server: &str) -> Value {
    let pilot = place::program("ailurus-pilot", Profile::Dev);
    let queue = |name: &str, map_type: &str, more: &[&str]| {
        let pilot = pilot.display().to_string();
        let queue_data = format!("{server}/cache/schedconfig/{name}.all.json");
        let (storages, scripts) = (
            format!("{server}/ddmendpoints.json"),
            format!("{server}/trf/user"),
        );
        let words = [
            &*pilot,
            "-q",
            name,
            "-j",
            "managed",
            "--pilot-user",
            "generic",
            "--url",
            server,
            "--queuedata-url",
            &queue_data,
            "--storagedata-url",
            &storages,
            "--baseurls",
            &scripts,
            "-b",
            "-t",
            "-a",
            "{point}",
            "--heartbeat",
            "2s",
            "--job-request-pause",
            "1s",
            "-x",
            "2",
        ];
        let command: Vec<&str> = words.iter().chain(more).copied().collect();
        let of = |kind: &str, class: &str| json!({"module": format!("pandaharvester.harvester{kind}"), "name": class});
        let mut messenger = of("messenger.shared_file_messenger", "SharedFileMessenger");
        messenger["accessPoint"] = format!("{}/points/${{workerID}}", home.display()).into();
        json!({
            "prodSourceLabel": "managed", "mapType": map_type, "nQueueLimitJob": 4,
            "nQueueLimitWorker": 2, "maxWorkers": 4, "messenger": messenger,
            "preparator": of("preparator.dummy_preparator", "DummyPreparator"),
            "stager": of("stager.dummy_stager", "DummyStager"),
            "workerMaker": of("workermaker.simple_worker_maker", "SimpleWorkerMaker"),
            "submitter": {"module": "workers", "name": "Submitter", "command": command},
            "monitor": {"module": "workers", "name": "Monitor"},
            "sweeper": {"module": "workers", "name": "Sweeper"},
        })
    };
    let files = [
        "-w",
        "generic_hpc",
        "--harvester-submit-mode",
        "PUSH",
        "--harvester-workdir",
        "{point}",
    ];
    json!({"PULL": queue("PULL", "NoJob", &[]), "PUSH": queue("PUSH", "OneToOne", &files)})
}

/// Returns the Python that has Harvester, if there is one.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn python() -> Option<PathBuf> {
    let python = env::var_os(PYTHON).map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: `{PYTHON}` names no Python with Harvester");
    }
    python
}

#[test]
fn harvester_brings_jobs_to_their_ends_by_pull_and_by_push() {
    let Some(python) = python() else { return };
    let mut world = World::with_queues(&[("hello.sh", HELLO)], &["PULL", "PUSH"]).unwrap();
    let server = world.deployment.url();
    let home = world.folder().join("harvester");
    let mut harvester = Harvester::start(&python, &home, &server).unwrap();
    for (name, queue) in [("pulled", "PULL"), ("pushed", "PUSH")] {
        world.submit(&task(name, queue, 2, 1)).unwrap();
    }
    look_every(LOOK, "the end of all tasks", LIMIT, || {
        harvester.check_alive()?;
        world.deployment.check_alive()?;
        let tasks = world.tasks()?;
        Ok(tasks
            .iter()
            .all(|task| task["status"] == "done")
            .then_some(()))
    })
    .unwrap();
    // A job that Harvester holds is killed by its own hands.
    world.submit(&task("endless", "PUSH", 1, 600)).unwrap();
    let job = world.wait_for_job("running").unwrap();
    let id = job["panda_id"].as_u64().unwrap().to_string();
    world
        .deployment
        .command_line(&["job", "kill", &id])
        .unwrap();
    look_every(LOOK, "the end of the killed job", LIMIT, || {
        harvester.check_alive()?;
        let job = world.job(id.parse()?)?;
        Ok((job["status"] == "cancelled").then_some(()))
    })
    .unwrap();
    let path = "/api/v1/harvester/get_worker_statistics";
    let told = get(&server, path).unwrap();
    assert!(told["data"]["PULL"]["python-1"].is_object(), "{told}");
    assert_eq!(harvester.complaints().unwrap(), Vec::<String>::new());
}

fn get(server: &str, path: &str) -> anyhow::Result<Value> {
    let address = server.strip_prefix("http://").context("it is plain")?;
    let headers = "Accept: application/json\r\n";
    let answer = Connection::open(address)?.send("GET", path, headers, b"")?;
    Ok(serde_json::from_slice(&answer.body)?)
}
