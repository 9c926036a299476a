//! What all servers of the machine need: an unprivileged user, free ports, a wait for the start,
//! and an end that is theirs alone.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher as _, Hasher as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{child::Child, wait::wait_for};

/// In the environment, with the value [`ALL`]: a missing program is an error.
pub const DEMAND: &str = "AILURUS_STORAGE";

/// See [`DEMAND`].
pub const ALL: &str = "all";

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Tries to start with other ports, should one be taken between the look and the start.
const STARTS_MAX: u32 = 5;

/// Lines of a log that an error and a failed test show.
const LOG_LINES: usize = 40;

/// Ports that are looked at; below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The user and group that own nothing, on every Debian.
const NOBODY: u32 = 65_534;

/// The name of a server's log in its folder.
pub const LOG: &str = "log";

/// Folders of programs besides those of `PATH`, which users often lack.
const PROGRAM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Says whether a program is there for [`XRootD`](crate::storage::XRootD) and the others to start.
#[must_use]
pub fn is_there(program: &str) -> bool {
    find(program).is_some()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PROGRAM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Says whether all programs are there, and what the test goes without if not; `advice` is the
/// command that would help.
///
/// # Errors
///
/// One is missing, and the environment says that all must be there.
pub fn are_there(programs: &[&str], advice: &str) -> anyhow::Result<bool> {
    let missing = programs.iter().copied().filter(|name| !is_there(name));
    let missing: Vec<&str> = missing.collect();
    if missing.is_empty() {
        return Ok(true);
    }
    say_missing(&missing.join(" "), advice)?;
    Ok(false)
}

/// As [`are_there`] for one program, which may also lie in a folder of ours; returns its path.
///
/// # Errors
///
/// As [`are_there`].
pub fn find_or_say(program: &str, ours: &Path, advice: &str) -> anyhow::Result<Option<PathBuf>> {
    let own = Some(ours.join(program)).filter(|file| file.is_file());
    let found = own.or_else(|| find(program));
    if found.is_none() {
        say_missing(program, advice)?;
    }
    Ok(found)
}

/// Says what a test goes without, and the command that would help.
///
/// # Errors
///
/// The environment says that all must be there.
#[expect(clippy::print_stderr, reason = "what a test says that goes without")]
pub fn say_missing(missing: &str, advice: &str) -> anyhow::Result<()> {
    if std::env::var_os(DEMAND).is_some_and(|value| value == ALL) {
        bail!("programs are missing: {missing}: `{advice}`");
    }
    eprintln!("skipped: programs are missing: {missing}: `{advice}`");
    Ok(())
}

/// Finds a port that nobody listens at on any interface, another one each time.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let n_ports = PORTS.end - PORTS.start;
    if NEXT.load(Ordering::Relaxed) == 0 {
        // Test programs that run side by side begin at different places.
        let chance = RandomState::new().build_hasher().finish() % u64::from(n_ports);
        NEXT.store(u16::try_from(chance)?, Ordering::Relaxed);
    }
    for _ in 0..n_ports {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % n_ports;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

/// A server of the machine below one folder.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Server {
    /// Starts a server as a user without rights, and waits until it is ready.
    /// Should it end at once, it is tried again with other ports.
    ///
    /// `configure` writes the configuration, with ports of its choice, and returns the command.
    pub fn start(
        name: &'static str,
        folder: &Path,
        own_files: Option<&OwnFiles>,
        is_ready: fn(&Path) -> bool,
        mut configure: impl FnMut() -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let log = folder.join(LOG);
        let mut nr = 0;
        loop {
            nr += 1;
            let words = configure()?;
            hand_over(folder)?;
            let child = Child::start(name, &mut as_nobody(&words, folder, own_files)?, &log)?;
            let log = log.clone();
            let mut server = Self { child, name, log };
            match server.wait_until(|| is_ready(folder)) {
                Ok(()) => return Ok(server),
                Err(_) if nr < STARTS_MAX && server.child.ended()?.is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
        wait_for(&format!("the start of {}", self.name), START_LIMIT, || {
            let ended = self.child.ended()?;
            if is_ready() {
                return Ok(Some(()));
            }
            match ended {
                Some(status) => bail!("{} ended with {status}", self.name),
                None => Ok(None),
            }
        })
        .with_context(|| format!("its log ends with:\n{}", self.log_end()))
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Server {
    /// Ends it at once: what it has answered is on disk, and its folder goes with the test.
    #[expect(clippy::print_stderr, reason = "what a failed test wants to know")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("── the log of {} ends with:\n{}", self.name, self.log_end());
        }
        if let Err(error) = self.child.kill() {
            eprintln!("{} is not ended: {error:#}", self.name);
        }
    }
}

/// A file system of its own that a server sees at a path, and nobody else does.
#[derive(Debug, Clone)]
pub struct OwnFiles {
    /// Where the server sees it; an empty folder.
    pub path: PathBuf,
    /// How much it holds, in bytes.
    pub size: u64,
}

impl OwnFiles {
    /// Says whether we may have such, and what the test goes without if not. A developer who is not
    /// root need not be, so this is never an error.
    #[expect(clippy::print_stderr, reason = "what a test says that goes without")]
    pub fn are_possible() -> bool {
        let mut trial = Command::new("unshare");
        let trial = trial.args(["--mount", "true"]).output();
        let is_possible = trial.is_ok_and(|output| output.status.success());
        if !is_possible {
            eprintln!("skipped: no mount namespace may be made here");
        }
        is_possible
    }

    /// Puts what makes it before a command, which stays the same process.
    fn before(&self, command: &Command) -> Command {
        let script =
            "mount -t tmpfs -o \"size=$1,mode=777\" tmpfs \"$2\" && shift 2 && exec \"$@\"";
        let mut whole = Command::new("unshare");
        whole.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        whole.arg(self.size.to_string()).arg(&self.path);
        whole.arg(command.get_program()).args(command.get_args());
        whole
    }
}

/// Makes a command that ends with the thread that starts it and, when we are root, runs as
/// nobody, for servers that refuse root. It may still look into folders that only root may enter:
/// the checkout and temporary folders often lie below such.
pub(crate) fn as_nobody(
    words: &[String],
    folder: &Path,
    own_files: Option<&OwnFiles>,
) -> anyhow::Result<Command> {
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let program = find(program).with_context(|| format!("`{program}` is missing"))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        let user = NOBODY.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        let rights = "+dac_override,+dac_read_search";
        command.args(["--inh-caps", rights, "--ambient-caps", rights]);
    }
    command.arg(program).args(arguments);
    if let Some(files) = own_files {
        command = files.before(&command);
    }
    command.current_dir(folder).env("HOME", folder);
    command.env("RUST_LOG", "info");
    // What the test's own client is told must not reach the server.
    for name in ["X509_USER_PROXY", "X509_CERT_DIR", "XrdSecPROTOCOL"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Gives a folder with all that is in it to nobody, where we are root.
pub(crate) fn hand_over(path: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("`{}` cannot be handed over", path.display()))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path())?;
        }
    }
    Ok(())
}
