//! What the end-to-end tests share: a deployment with shell payloads, and questions to it.
//!
//! The programs must have been built (`cargo build`); `cargo xtask test` does so.

pub mod lone_pilot;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use ailurus_testkit::{Deployment, QueueSettings, Settings, place::Profile, wait::wait_for};
use anyhow::Context as _;
use serde_json::Value;

/// Longest wait for anything in these tests. Generous: it is only reached when something is wrong.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A task file with one job, whose payload `one.sh` writes one file.
pub const ONE_JOB: &str = r#"
scope = "test"
user = "tester"

[[task]]
name = "one"
transformation = "{server}/one.sh"
parameters = "{output.file}"
events = 1
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 1
[[task.output]]
name = "file"
dataset = "test.one"
lfn = "one_{seed}.txt"
"#;

/// A deployment in a temporary folder, with payload scripts of its own.
#[derive(Debug)]
pub struct World {
    /// The running programs.
    pub deployment: Deployment,
    // Dropped last: the programs write into it.
    folder: tempfile::TempDir,
}

impl World {
    /// Starts a server, a Harvester and two queues with one slot each.
    ///
    /// `scripts` are the payloads that the server offers, by name.
    ///
    /// # Errors
    ///
    /// A program does not start.
    pub fn start(scripts: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut world = Self::start_server_only(scripts)?;
        world.deployment.start_harvester()?;
        Ok(world)
    }

    /// As [`World::start`], without a Harvester: the test starts its pilots itself.
    ///
    /// # Errors
    ///
    /// As [`World::start`].
    pub fn start_server_only(scripts: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::with_queues(scripts, &["NORTH", "SOUTH"])
    }

    /// As [`World::start_server_only`], with these queues.
    ///
    /// # Errors
    ///
    /// As [`World::start`].
    pub fn with_queues(scripts: &[(&str, &str)], queues: &[&str]) -> anyhow::Result<Self> {
        let queues = queues.iter().map(|name| QueueSettings::new(name, name, 1));
        Self::with_storage(scripts, |_| queues.collect())
    }

    /// As [`World::start_server_only`], with queues whose storage is at places below the folder
    /// that the function is given.
    ///
    /// # Errors
    ///
    /// As [`World::start`].
    pub fn with_storage(
        scripts: &[(&str, &str)],
        queues: impl FnOnce(&Path) -> Vec<QueueSettings>,
    ) -> anyhow::Result<Self> {
        Self::with_timeout("20s", scripts, queues)
    }

    /// As [`World::with_storage`], with a server that waits long for words of a pilot: those of
    /// others report seldom.
    ///
    /// # Errors
    ///
    /// As [`World::start`].
    pub fn patient(
        scripts: &[(&str, &str)],
        queues: impl FnOnce(&Path) -> Vec<QueueSettings>,
    ) -> anyhow::Result<Self> {
        Self::with_timeout("10m", scripts, queues)
    }

    fn with_timeout(
        heartbeat_timeout: &str,
        scripts: &[(&str, &str)],
        queues: impl FnOnce(&Path) -> Vec<QueueSettings>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let transforms = folder.path().join("transforms");
        fs::create_dir(&transforms)?;
        for (name, text) in scripts {
            fs::write(transforms.join(name), text)?;
        }
        let path = folder.path().join("deployment");
        let deployment = Deployment::start_server_only(Settings {
            queues: queues(&path),
            folder: path,
            profile: Profile::Dev,
            transforms,
            programs_first: None,
            heartbeat_timeout: heartbeat_timeout.to_owned(),
            heartbeat_interval: "2s".to_owned(),
        })?;
        Ok(Self { deployment, folder })
    }

    /// Returns the folder in which everything of this world lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a task file; `{server}` in it becomes the address of the payload scripts.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn task_file(&self, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("tasks.toml");
        let scripts = format!("{}/trf/user", self.deployment.url());
        fs::write(&path, text.replace("{server}", &scripts))?;
        Ok(path)
    }

    /// Writes and submits a task file.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub fn submit(&self, text: &str) -> anyhow::Result<Value> {
        let path = self.task_file(text)?;
        self.deployment
            .command_line(&["task", "submit", path_text(&path)?])
    }

    /// Returns all tasks.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn tasks(&self) -> anyhow::Result<Vec<Value>> {
        let tasks = self.deployment.command_line(&["task", "list"])?;
        Ok(tasks.as_array().cloned().unwrap_or_default())
    }

    /// Waits until every task has ended and returns them.
    ///
    /// # Errors
    ///
    /// They do not end in time, or a program is gone.
    pub fn wait_for_tasks(&mut self) -> anyhow::Result<Vec<Value>> {
        let deployment = &mut self.deployment;
        wait_for("the end of all tasks", LIMIT, || {
            deployment.check_alive()?;
            let tasks = deployment.command_line(&["task", "list"])?;
            let tasks = tasks.as_array().cloned().unwrap_or_default();
            let have_ended = tasks.iter().all(|task| {
                matches!(
                    task["status"].as_str(),
                    Some("done" | "finished" | "failed" | "aborted")
                )
            });
            Ok(have_ended.then_some(tasks))
        })
    }

    /// Waits until some job is in this status, and returns it with its attempts.
    ///
    /// # Errors
    ///
    /// None gets there in time.
    pub fn wait_for_job(&self, status: &str) -> anyhow::Result<Value> {
        wait_for(&format!("a job that is {status}"), LIMIT, || {
            let jobs = self
                .deployment
                .command_line(&["job", "list", "--status", status])?;
            let Some(job) = jobs.as_array().and_then(|jobs| jobs.first()) else {
                return Ok(None);
            };
            self.job(job["panda_id"].as_u64().context("a job has a number")?)
                .map(Some)
        })
    }

    /// Returns a job with its attempts.
    ///
    /// # Errors
    ///
    /// There is no such job.
    pub fn job(&self, panda_id: u64) -> anyhow::Result<Value> {
        self.deployment
            .command_line(&["job", "show", &panda_id.to_string()])
    }

    /// Returns the ids of this deployment's processes whose command line is `matching`: those that
    /// name its server or run below its folder.
    ///
    /// # Errors
    ///
    /// The system's list of processes cannot be read.
    pub fn processes(&self, matching: impl Fn(&[String]) -> bool) -> anyhow::Result<Vec<i32>> {
        let url = self.deployment.url();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            let is_below = fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|folder| folder.starts_with(self.folder.path()));
            let is_ours = is_below || words.iter().any(|word| word.starts_with(&url));
            if is_ours && matching(&words) {
                found.push(id);
            }
        }
        Ok(found)
    }
}

/// Does the same with all cases, some at a time: most of them wait most of the time.
///
/// # Panics
///
/// One of them panics; the others are still tried.
pub fn with_each<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    const AT_A_TIME: usize = 8;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

/// Returns a path as text for a command line.
///
/// # Errors
///
/// The path is no valid text.
pub fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .context("the temporary folder has a plain path")
}

/// Returns the command lines of all processes of this machine, word by word.
///
/// # Errors
///
/// The system's list of processes cannot be read.
pub fn all_command_lines() -> anyhow::Result<Vec<Vec<String>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let line = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if !line.is_empty() {
            let words = line.split(|byte| *byte == 0);
            found.push(
                words
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect(),
            );
        }
    }
    Ok(found)
}
