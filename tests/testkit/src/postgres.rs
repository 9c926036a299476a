//! A private PostgreSQL server for one test or one bench: its files are in a folder, and it listens
//! on a free loopback port and a socket in that folder.
//!
//! [`PostgresServer::start`] makes a cluster, and [`PostgresServer::new_database`] an empty
//! database in it. [`PostgresServer::kill`] is what a power cut is to it: started again, it has
//! what was committed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::{
    child::Child,
    server::{self, as_nobody, free_port, hand_over, say_missing},
    wait::wait_for,
};

/// The version of Debian 12.
const VERSION: &str = "15";
/// Where Debian has the programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// What a person types where they are missing.
const ADVICE: &str = "apt-get install --no-install-recommends postgresql-15";
/// The user of the database.
const USER: &str = "ailurus";
/// How long the server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How careful the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As shipped: what is committed survives a power cut.
    Durable,
    /// As durable, on a machine with memory for it (`docs/operators/postgresql.md`).
    Tuned,
    /// Nothing is waited for. It survives the end of a process, not of the machine.
    Fast,
}

/// Settings of a server whose log has a small disk of its own: it uses only a part of it.
const SMALL_LOG: [&str; 2] = ["max_wal_size=32MB", "min_wal_size=2MB"];

/// Where a server has its write-ahead log.
#[derive(Debug, Clone)]
enum LogPlace {
    /// In its folder.
    Own,
    /// On a small disk, in pieces of 1 MB.
    Small(PathBuf),
}

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    child: Child,
    folder: PathBuf,
    port: u16,
    durability: Durability,
    log_place: LogPlace,
    databases: AtomicU32,
}

/// Says whether the programs are there, and what the test goes without if not.
///
/// # Errors
///
/// They are missing, and the environment says that all must be there.
pub fn is_there() -> anyhow::Result<bool> {
    if program("postgres").is_file() {
        return Ok(true);
    }
    say_missing(&format!("PostgreSQL {VERSION}"), ADVICE)?;
    Ok(false)
}

/// Returns the path of one of its programs.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    Path::new(PROGRAMS).join(name)
}

impl PostgresServer {
    /// Makes a cluster below a folder and starts its server.
    ///
    /// # Errors
    ///
    /// The cluster cannot be made, or the server does not answer.
    pub fn start(folder: &Path, durability: Durability) -> anyhow::Result<Self> {
        Self::start_with(folder, durability, LogPlace::Own)
    }

    /// As [`PostgresServer::start`], with the write-ahead log at a new folder on a small disk: 96
    /// MiB are enough, and are never used by half.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_with_small_log(folder: &Path, log: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, Durability::Durable, LogPlace::Small(log.to_owned()))
    }

    fn start_with(
        folder: &Path,
        durability: Durability,
        log_place: LogPlace,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let cluster = folder.join("cluster");
        fs::create_dir_all(&cluster)?;
        hand_over(folder)?;
        let mut words = [
            &*program("initdb").display().to_string(),
            "--pgdata",
            &cluster.display().to_string(),
            "--auth=trust",
            "--username",
            USER,
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        .map(str::to_owned)
        .to_vec();
        if let LogPlace::Small(log) = &log_place {
            words.push("--wal-segsize=1".to_owned());
            words.push(format!("--waldir={}", log.display()));
        }
        run(&mut as_nobody(&words, folder, None)?)?;
        let port = free_port()?;
        let child = launch(folder, port, durability, &log_place)?;
        let mut server = Self {
            child,
            folder: folder.to_owned(),
            port,
            durability,
            log_place,
            databases: AtomicU32::new(0),
        };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Starts it again after [`PostgresServer::kill`], on the same port.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.relaunch()?;
        self.wait_until_it_answers()
    }

    /// Waits until it answers after a crash of its own. If it gave up, it is started again, as
    /// whatever looks after servers does.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn revive(&mut self) -> anyhow::Result<()> {
        let log = self.folder.join(server::LOG);
        wait_for("PostgreSQL after its crash", START_LIMIT, || {
            if self.child.ended()?.is_some() {
                self.relaunch()?;
            }
            Ok(self.ask("postgres", "SELECT 1").is_ok().then_some(()))
        })
        .with_context(|| fs::read_to_string(log).unwrap_or_default())
    }

    fn relaunch(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.folder, self.port, self.durability, &self.log_place)?;
        Ok(())
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(server::LOG)).unwrap_or_default()
    }

    /// Kills it as `kill -9` does, with all of its processes: they end when the first one is gone.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        // Its children notice within moments, and hold the cluster until then.
        let cluster = self.folder.join("cluster").canonicalize()?;
        wait_for("the end of PostgreSQL's processes", START_LIMIT, || {
            let is_in_it = |entry: fs::DirEntry| {
                fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == cluster)
            };
            let mut processes = fs::read_dir("/proc")?.flatten();
            Ok((!processes.any(is_in_it)).then_some(()))
        })
    }

    /// Sends its first process a signal.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.child.signal(signal)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    ///
    /// The server refuses.
    pub fn new_database(&self) -> anyhow::Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.ask(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        )?;
        Ok(self.url(&name))
    }

    /// Returns the name of the database that was made last.
    #[must_use]
    pub fn last_database(&self) -> String {
        let made = self.databases.load(Ordering::Relaxed);
        format!("test{}", made.saturating_sub(1))
    }

    /// Returns the URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement by its own client, and returns what it prints.
    ///
    /// # Errors
    ///
    /// The server refuses.
    pub fn ask(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        run(Command::new(program("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
            .arg(self.url(database)))
    }

    /// Returns the command of one of its programs, told which server and user.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", USER);
        command
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let log = self.folder.join(server::LOG);
        wait_for("the start of PostgreSQL", START_LIMIT, || {
            if let Some(status) = self.child.ended()? {
                bail!("it ended with {status}");
            }
            Ok(self.ask("postgres", "SELECT 1").is_ok().then_some(()))
        })
        .with_context(|| fs::read_to_string(log).unwrap_or_default())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // A quick end in good order; what does not heed it is killed with its handle.
        drop(self.child.signal(Signal::QUIT));
        let ended = wait_for("the end of PostgreSQL", START_LIMIT, || self.child.ended());
        drop(ended);
    }
}

fn launch(
    folder: &Path,
    port: u16,
    durability: Durability,
    log_place: &LogPlace,
) -> anyhow::Result<Child> {
    let mut words = vec![program("postgres").display().to_string()];
    words.push("-D".to_owned());
    words.push(folder.join("cluster").display().to_string());
    let chosen: &[&str] = match durability {
        Durability::Durable => &["shared_buffers=256MB", "max_wal_size=4GB"],
        Durability::Tuned => &[
            "shared_buffers=4GB",
            "max_wal_size=8GB",
            "checkpoint_timeout=15min",
        ],
        Durability::Fast => &[
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ],
    };
    let own = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        "max_connections=100".to_owned(),
    ];
    let for_log: &[&str] = match log_place {
        LogPlace::Own => &[],
        LogPlace::Small(_) => &SMALL_LOG,
    };
    for setting in own
        .into_iter()
        .chain(chosen.iter().chain(for_log).map(|&text| text.to_owned()))
    {
        words.push("-c".to_owned());
        words.push(setting);
    }
    let mut command = as_nobody(&words, folder, None)?;
    Child::start("PostgreSQL", &mut command, &folder.join(server::LOG))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("`{}` cannot be started", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
