//! One deployment: a server and a Harvester with queues on this machine.
//!
//! The layout below its folder is the same for the demo, the tests and the benches:
//!
//! ```text
//! queues.json storages.json harvester.toml    what CRIC and an admin would provide
//! server.db harvester.db                      the rows that survive
//! server.log harvester.log
//! storage/ENDPOINT/                           one storage a site
//! workers/QUEUE/WORKER/                       the local batch system: pilots and their logs
//! ```

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    child::Child,
    place::{self, Profile},
    wait::wait_for,
};

mod queue;

use queue::write_queue_data;
pub use queue::{Protocol, QueueSettings, SiteStorage};

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What a deployment is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// An empty folder for everything that it writes.
    pub folder: PathBuf,
    /// Which build of our programs runs.
    pub profile: Profile,
    /// Its queues.
    pub queues: Vec<QueueSettings>,
    /// The folder of payload scripts that the server offers.
    pub transforms: PathBuf,
    /// A folder that comes first in the pilots' `PATH`, for the payloads' Python.
    pub programs_first: Option<PathBuf>,
    /// After which silence the server takes a job's attempt for lost, for example `2h`.
    pub heartbeat_timeout: String,
    /// How often a pilot reports, for example `30m`.
    pub heartbeat_interval: String,
}

/// A running deployment. It ends with this value.
#[derive(Debug)]
pub struct Deployment {
    settings: Settings,
    address: String,
    server: Child,
    harvester: Option<Child>,
}

impl Deployment {
    /// Writes the configuration and starts server and Harvester.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or a program does not start; its log is named.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let mut deployment = Self::start_server_only(settings)?;
        deployment.start_harvester()?;
        Ok(deployment)
    }

    /// As [`Deployment::start`], without a Harvester.
    ///
    /// # Errors
    ///
    /// As [`Deployment::start`].
    pub fn start_server_only(settings: Settings) -> anyhow::Result<Self> {
        fs::create_dir_all(&settings.folder)
            .with_context(|| format!("`{}` cannot be made", settings.folder.display()))?;
        write_queue_data(&settings)?;
        write_server_configuration(&settings)?;
        let (server, address) = start_server(&settings, "127.0.0.1:0")?;
        Ok(Self {
            settings,
            address,
            server,
            harvester: None,
        })
    }

    /// As [`Deployment::start_server_only`], over another database than a file of its own: a URL or
    /// a path.
    ///
    /// # Errors
    ///
    /// As [`Deployment::start`].
    pub fn start_server_over(settings: Settings, database: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(&settings.folder)
            .with_context(|| format!("`{}` cannot be made", settings.folder.display()))?;
        write_queue_data(&settings)?;
        write_server_configuration(&settings)?;
        let path = settings.folder.join("server.toml");
        let text = fs::read_to_string(&path)?;
        let others: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("database = "))
            .collect();
        let text = format!("database = \"{database}\"\n{}\n", others.join("\n"));
        fs::write(&path, text)?;
        let (server, address) = start_server(&settings, "127.0.0.1:0")?;
        Ok(Self {
            settings,
            address,
            server,
            harvester: None,
        })
    }

    /// Returns the process id of the server.
    #[must_use]
    pub fn server_id(&self) -> u32 {
        self.server.id()
    }

    /// Ends the server in good order (SIGTERM), to be started again.
    ///
    /// # Errors
    ///
    /// It does not end within its time.
    pub fn stop_server(&mut self) -> anyhow::Result<()> {
        self.server.stop().map(drop)
    }

    /// Starts the Harvester.
    ///
    /// # Errors
    ///
    /// It cannot be configured or started.
    pub fn start_harvester(&mut self) -> anyhow::Result<()> {
        write_harvester_configuration(&self.settings, &self.url())?;
        let mut command = Command::new(place::program("ailurus-harvester", self.settings.profile));
        command
            .args(["run", "--cancel-workers", "--config"])
            .arg(self.settings.folder.join("harvester.toml"));
        command.env("PATH", self.path_variable());
        let log = self.settings.folder.join("harvester.log");
        self.harvester = Some(Child::start("the harvester", &mut command, &log)?);
        Ok(())
    }

    /// Returns the server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the folder of everything that the deployment writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Kills the server as `kill -9` does.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill_server(&mut self) -> anyhow::Result<()> {
        self.server.kill()
    }

    /// Starts the server again at the same address, over the same database.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn restart_server(&mut self) -> anyhow::Result<()> {
        let (server, address) = start_server(&self.settings, &self.address)?;
        self.server = server;
        self.address = address;
        Ok(())
    }

    /// Kills the Harvester as `kill -9` does; its pilots go on.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill_harvester(&mut self) -> anyhow::Result<()> {
        self.harvester.as_mut().map_or(Ok(()), Child::kill)
    }

    /// Runs the people's command line with `--json` and returns what it says.
    ///
    /// # Errors
    ///
    /// The command fails; its message is the error.
    pub fn command_line(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(place::program("ailurus", self.settings.profile))
            .args(arguments)
            .args(["--json", "--server", &self.url()])
            .stdin(Stdio::null())
            .output()
            .context("the command line `ailurus` cannot be started: is it built?")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("`ailurus --json` printed no JSON")
    }

    /// Fails with the ends of the logs if a program of the deployment has ended by itself.
    ///
    /// # Errors
    ///
    /// The server or the Harvester is gone.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        let harvester = match self.harvester.as_mut() {
            Some(harvester) => harvester.ended()?,
            None => None,
        };
        for (name, ended) in [("server", self.server.ended()?), ("harvester", harvester)] {
            if let Some(status) = ended {
                let log = self.settings.folder.join(format!("{name}.log"));
                bail!("the {name} ended with {status}:\n{}", tail(&log));
            }
        }
        Ok(())
    }

    /// Ends Harvester with its workers, then the server.
    ///
    /// # Errors
    ///
    /// One of them does not end within its time.
    pub fn stop(mut self) -> anyhow::Result<()> {
        if let Some(harvester) = self.harvester.as_mut() {
            harvester.stop()?;
        }
        self.server.stop()?;
        Ok(())
    }

    fn path_variable(&self) -> String {
        let rest = std::env::var("PATH").unwrap_or_default();
        match &self.settings.programs_first {
            Some(first) => format!("{}:{rest}", first.display()),
            None => rest,
        }
    }
}

fn start_server(settings: &Settings, listen: &str) -> anyhow::Result<(Child, String)> {
    let port_file = settings.folder.join("server.address");
    drop(fs::remove_file(&port_file));
    let mut command = Command::new(place::program("ailurus-server", settings.profile));
    command
        .args(["serve", "--listen", listen, "--config"])
        .arg(settings.folder.join("server.toml"))
        .arg("--port-file")
        .arg(&port_file);
    let log = settings.folder.join("server.log");
    let mut child = Child::start("the server", &mut command, &log)?;
    let address = wait_for("the server's start", START_LIMIT, || {
        if let Some(status) = child.ended()? {
            bail!("the server ended with {status}:\n{}", tail(&log));
        }
        Ok(fs::read_to_string(&port_file)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()))
    })?;
    Ok((child, address))
}

fn write_server_configuration(settings: &Settings) -> anyhow::Result<()> {
    let folder = settings.folder.display();
    let text = format!(
        "database = \"{folder}/server.db\"\n\
         cache = \"{folder}/cache\"\n\
         queues = \"{folder}/queues.json\"\n\
         storages = \"{folder}/storages.json\"\n\
         transforms = \"{}\"\n\
         watch_interval = \"1s\"\n\
         \n[limits]\nheartbeat_timeout = \"{silence}\"\nsent_timeout = \"{silence}\"\n",
        settings.transforms.display(),
        silence = settings.heartbeat_timeout,
    );
    fs::write(settings.folder.join("server.toml"), text).context("`server.toml` cannot be written")
}

fn write_harvester_configuration(settings: &Settings, url: &str) -> anyhow::Result<()> {
    let folder = settings.folder.display();
    let pilot = place::program("ailurus-pilot", settings.profile);
    let mut text = format!(
        "harvester_id = \"local\"\n\
         server = \"{url}\"\n\
         database = \"{folder}/harvester.db\"\n\
         cycle = \"1s\"\n"
    );
    for queue in &settings.queues {
        let environment = queue
            .storage
            .iter()
            .flat_map(|storage| &storage.environment);
        let variables = environment.map(|(name, value)| format!("{name}={value}"));
        // Without variables `env` starts the pilot as it is.
        let before: Vec<String> = ["env".to_owned()].into_iter().chain(variables).collect();
        let words = [
            &pilot.display().to_string(),
            "-q",
            &queue.name,
            "-j",
            "managed",
            "--pilot-user",
            "spd",
            "--url",
            url,
            "--queuedata-url",
            &format!("{url}/cache/schedconfig/{{pandaqueue}}.all.json"),
            "--storagedata-url",
            &format!("{url}/ddmendpoints.json"),
            "-a",
            "{workdir}",
            "-b",
            "-t",
            "--baseurls",
            &format!("{url}/trf/user"),
            "--allow-same-user",
            "False",
            "--heartbeat",
            &settings.heartbeat_interval,
            "--job-request-pause",
            "1s",
        ];
        let command = before.iter().map(String::as_str).chain(words);
        let command: Vec<String> = command.map(|word| format!("\"{word}\"")).collect();
        let command = command.join(", ");
        write!(
            text,
            "\n[[queue]]\nname = \"{}\"\nbatch = \"local\"\nspool = \"{folder}/workers/{}\"\n\
             workers_max = {}\ncommand = [{command}]\n",
            queue.name, queue.name, queue.slots,
        )?;
    }
    fs::write(settings.folder.join("harvester.toml"), text)
        .context("`harvester.toml` cannot be written")
}

/// Returns the last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
