//! A server with one queue for our pilot and one for the Python pilot, and a user with `prun`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ailurus_e2e::World;
use ailurus_testkit::{
    QueueSettings,
    deployment::{Protocol, SiteStorage},
    panda_clients::{NICKNAME, PythonPilot, Transport, User, VO},
    place::{self, Profile},
    wait::look_every,
};
use anyhow::{Context as _, bail};

/// The one place from which the Python pilot takes scripts over plain HTTP: it is in its code.
pub(crate) const PYTHON_PILOT_SCRIPTS: &str = "http://pandaserver-doma.cern.ch:25080";
/// The queue of our pilot.
pub(crate) const QUEUE: &str = "NORTH";
/// The queue of the Python pilot, whose copy tools are other ones.
pub(crate) const PYTHON_QUEUE: &str = "PYTHON";
/// Its storage.
pub(crate) const PYTHON_ENDPOINT: &str = "PYTHON_DISK";

/// The script of [`Site::submit_own`].
pub(crate) const OWN_SCRIPT: &str = "own.sh";
/// A task of our own whose script comes from where the Python pilot fetches scripts. Each of the two
/// queues gets one of its jobs.
const OWN_TASK: &str = r#"
scope = "test"
user = "tester"

[[task]]
name = "own"
transformation = "{scripts}/trf/user/own.sh"
parameters = "{seed} {output.file}"
events = 2
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 1
[[task.output]]
name = "file"
dataset = "test.own"
lfn = "own_{seed}.txt"
"#;

/// The label of jobs of `prun`.
pub(crate) const LABEL: &str = "user";
/// What a task is whose jobs wait for pilots.
const UNDER_WAY: [&str; 2] = ["running", "scouting"];

/// Longest wait for one job of the Python pilot, which needs about a minute.
const PYTHON_LIMIT: Duration = Duration::from_secs(300);
/// Longest wait for a task.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks at a task.
pub(crate) const LOOK: Duration = Duration::from_millis(300);

/// How a pilot ended.
#[derive(Debug)]
pub(crate) struct PilotEnd {
    /// Its exit code; none if a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// Its log.
    pub(crate) log: String,
}

/// A server, its queues and a user.
pub(crate) struct Site {
    pub(crate) user: User,
    pub(crate) world: World,
    /// By which the tools know the user; the names of their tasks have it.
    pub(crate) nickname: &'static str,
    /// How pilots reach the server.
    pilots: Transport,
}

impl Site {
    /// Starts the server; no pilot runs yet.
    pub(crate) fn start(scripts: &[(&str, &str)]) -> anyhow::Result<Self> {
        let world = World::patient(scripts, |folder| {
            let storage = python_storage(folder);
            let python = QueueSettings {
                storage: Some(SiteStorage {
                    tools: vec!["mv".to_owned()],
                    protocols: vec![Protocol {
                        endpoint: "file://localhost".to_owned(),
                        path: format!("{}/", storage.display()),
                        flavour: "POSIX".to_owned(),
                    }],
                    environment: Vec::new(),
                }),
                catchall: "mv_final_destination".to_owned(),
                ..QueueSettings::new(PYTHON_QUEUE, PYTHON_QUEUE, 1).with_one_job_a_pilot()
            };
            vec![QueueSettings::new(QUEUE, QUEUE, 1), python]
        })?;
        let transport = Transport::plain(&world.deployment.url());
        let user = User::new(&world.folder().join("home"), transport)?;
        let pilots = Transport::plain(&world.deployment.url());
        Ok(Self {
            user,
            world,
            nickname: NICKNAME,
            pilots,
        })
    }

    /// As [`Site::start`], with payload scripts where the Python pilot takes them.
    pub(crate) fn start_for_python(scripts: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut site = Self::start(scripts)?;
        site.configure(&format!(
            "[tasks]\nscripts_url = \"{PYTHON_PILOT_SCRIPTS}\"\n"
        ))?;
        Ok(site)
    }

    /// Submits a task of our own, without `prun`: [`OWN_SCRIPT`] with a seed and a file's name.
    pub(crate) fn submit_own(&self) -> anyhow::Result<()> {
        let task = OWN_TASK.replace("{scripts}", PYTHON_PILOT_SCRIPTS);
        self.world.submit(&task).map(drop)
    }

    /// Adds lines to the server's configuration, and starts it again.
    pub(crate) fn configure(&mut self, lines: &str) -> anyhow::Result<()> {
        let deployment = &mut self.world.deployment;
        let path = deployment.folder().join("server.toml");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, format!("{text}\n{lines}"))?;
        deployment.stop_server()?;
        deployment.restart_server()
    }

    /// The same site, whose user and pilots reach the server otherwise.
    pub(crate) fn over(mut self, user: Transport, pilots: Transport) -> anyhow::Result<Self> {
        self.user = User::new(&self.world.folder().join("home"), user)?;
        self.pilots = pilots;
        Ok(self)
    }

    /// Runs the Python pilot for one job.
    ///
    /// The server is told to it as a proxy, so that it finds our scripts where it looks for them. Its
    /// copy tool `mv` looks for inputs below the directory that is named for their destination, by
    /// the names that outputs have in storage.
    pub(crate) fn run_python_pilot(&self, label: &str) -> anyhow::Result<()> {
        self.run_python_pilot_with(label, |_| {})
    }

    /// As [`Site::run_python_pilot`], with a command line and environment that are changed before.
    pub(crate) fn run_python_pilot_with(
        &self,
        label: &str,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<()> {
        let folder = self.world.folder().join("python-pilot");
        let pilot = PythonPilot::new(&folder, self.pilots.clone())?;
        let log = folder.join("pilot.log");
        let file = fs::File::create(&log)?;
        let mut command = pilot.command(PYTHON_QUEUE, label);
        command
            .arg("--input-destination-dir")
            .arg(python_storage(self.world.deployment.folder()))
            .env("http_proxy", self.world.deployment.url())
            .env("no_proxy", "127.0.0.1,localhost")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        change(&mut command);
        let mut child = command
            .spawn()
            .context("the Python pilot cannot be started")?;
        let ended = look_every(LOOK, "the end of the Python pilot", PYTHON_LIMIT, || {
            Ok(child.try_wait()?)
        });
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let ended = ended?;
        if !ended.success() {
            bail!("the Python pilot ended with {ended}: {}", tail(&log));
        }
        Ok(())
    }

    /// Runs our pilot until the server has no more jobs for it.
    pub(crate) fn run_pilot(&self, label: &str) -> anyhow::Result<PilotEnd> {
        let url = &self.pilots.origin;
        let folder = self.world.folder().join("pilot");
        fs::create_dir_all(&folder)?;
        let mut command = Command::new(place::program("ailurus-pilot", Profile::Dev));
        self.pilots.apply(&mut command);
        let output = command
            .current_dir(&folder)
            .args([
                "-q",
                QUEUE,
                "-j",
                label,
                "--pilot-user",
                "generic",
                "--url",
                url,
            ])
            .args([
                "--queuedata-url",
                &format!("{url}/cache/schedconfig/{QUEUE}.all.json"),
            ])
            .args(["--storagedata-url", &format!("{url}/ddmendpoints.json")])
            .args(["--baseurls", &format!("{url}/trf/user"), "-b", "-t"])
            .arg("-a")
            .arg(&folder)
            .args(["--heartbeat", "2s", "--job-request-pause", "1s", "-x", "2"])
            .stdin(Stdio::null())
            .output()
            .context("`ailurus-pilot` cannot be started: is it built?")?;
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log).into_owned();
        fs::write(folder.join("pilot.err"), &log)?;
        if !output.status.success() && log.contains("panicked") {
            bail!("our pilot ended with {}: {log}", output.status);
        }
        Ok(PilotEnd {
            exit_code: output.status.code(),
            log,
        })
    }

    /// Returns what is known of attempts that failed, and the ends of the pilots' logs.
    pub(crate) fn failures(&self) -> anyhow::Result<String> {
        let list = ["job", "list", "--failed-attempts"];
        let jobs = self.world.deployment.command_line(&list)?;
        let logs = ["pilot/pilot.err", "python-pilot/pilot.log"];
        let logs = logs.map(|log| tail(&self.world.folder().join(log)));
        Ok(format!("{jobs:#}\n{}", logs.join("\n")))
    }

    /// Returns the files in all storage whose names end so, with their content.
    pub(crate) fn stored(&self, ending: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut found = Vec::new();
        let root = self.world.deployment.folder().join("storage");
        collect(&root, ending, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Returns the status of a task, as the client is told it.
    pub(crate) fn status(&self, id: u64) -> anyhow::Result<String> {
        let said = self.user.python(&format!(
            "from pandaclient import Client\nprint('STATUS=' + str(Client.getTaskStatus({id})[1]))"
        ))?;
        let status = said.lines().find_map(|line| line.strip_prefix("STATUS="));
        Ok(status.with_context(|| said.clone())?.to_owned())
    }

    /// Waits until a task is in one of these statuses.
    pub(crate) fn wait_for(&self, id: u64, statuses: &[&str]) -> anyhow::Result<String> {
        let what = format!("task {id} to be one of {statuses:?}");
        let mut last = String::new();
        let waited = look_every(LOOK, &what, LIMIT, || {
            last = self.status(id)?;
            Ok(statuses.contains(&last.as_str()).then(|| last.clone()))
        });
        waited.with_context(|| format!("it is `{last}`: {}", self.failures().unwrap_or_default()))
    }

    /// Submits with `prun` and returns the task's number.
    pub(crate) fn prun(&self, arguments: &[&str]) -> anyhow::Result<u64> {
        let said = self.user.run_well("prun", arguments)?;
        task_id(&said)
    }

    /// Submits a command as task `user.NICKNAME.NAME` and returns its number. It has no build and is for
    /// our pilot's queue, unless the options say otherwise.
    pub(crate) fn submit(
        &self,
        name: &str,
        command: &str,
        options: &[&str],
    ) -> anyhow::Result<u64> {
        let out = format!("user.{}.{name}", self.nickname);
        let mut arguments = vec!["--exec", command, "--outDS", &out, "--vo", VO];
        if !options.contains(&"--bexec") {
            arguments.push("--noBuild");
        }
        if !options.contains(&"--site") {
            arguments.extend(["--site", QUEUE]);
        }
        arguments.extend(options);
        self.prun(&arguments)
    }

    /// As [`Site::submit`], and waits until the task's jobs wait for a pilot.
    pub(crate) fn begin(&self, name: &str, command: &str, options: &[&str]) -> anyhow::Result<u64> {
        let task = self.submit(name, command, options)?;
        self.wait_for(task, &UNDER_WAY)?;
        Ok(task)
    }

    /// Returns what a task's outputs have in them whose names end so, sorted by it.
    pub(crate) fn outputs(&self, task: u64, ending: &str) -> anyhow::Result<Vec<String>> {
        let own = format!(".{task}.");
        let stored = self.stored(ending)?.into_iter();
        let of_task = stored.filter(|(path, _)| path.to_string_lossy().contains(&own));
        let mut texts: Vec<String> = of_task.map(|(_, text)| text).collect();
        texts.sort();
        Ok(texts)
    }
}

/// The storage of the Python pilot's queue, in a deployment's folder.
fn python_storage(deployment: &Path) -> PathBuf {
    deployment.join("storage").join(PYTHON_ENDPOINT)
}

/// Finds the number of a task in what `prun` said.
fn task_id(said: &str) -> anyhow::Result<u64> {
    let after = said.split("jediTaskID=").nth(1);
    let digits = after.map(|text| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    digits
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("no task was submitted: {said}"))
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, ending, found)?;
        } else if path.to_string_lossy().ends_with(ending) {
            let content = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            found.push((path, content));
        }
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
