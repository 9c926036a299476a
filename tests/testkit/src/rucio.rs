//! The real Rucio server for one test: its catalogue is a file, and it listens on a free port.
//!
//! [`RucioServer::start`] gives each test a server of its own with [`ACCOUNT`], the endpoints of
//! [`Endpoint`] and two scopes. The packages are installed once below the target folder, and the
//! empty catalogue is made once beside them. As Apache does in production, a front may tell the
//! server the distinguished name of a client's certificate in the header [`NAME_HEADER`].

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::{Child, Connection, place, python, wait::wait_for};

/// The account of the tests; it may do everything.
pub const ACCOUNT: &str = "root";
/// Its user name.
pub const USER: &str = "ddmlab";
/// Its password.
pub const PASSWORD: &str = "secret";
/// The name on its certificate.
pub const CERTIFICATE_NAME: &str = "/CN=ddmlab";
/// Says to the server whose certificate a client showed.
pub const NAME_HEADER: &str = "X-Test-Client-Name";
/// Scopes that are there.
pub const SCOPES: [&str; 4] = ["spd.mc", "user.alice", "group.spd", "plain"];
/// Where the traces of a server are, below its folder, one JSON object a line among remarks.
const TRACES: &str = "trace/trace";
/// What a server says, in its folder.
const LOG: &str = "server.log";

/// Packages of the server, their versions fixed.
const REQUIREMENTS: &str = include_str!("rucio/requirements.txt");
/// Makes an empty catalogue with endpoints and scopes.
const PREPARE: &str = include_str!("rucio/prepare.py");
/// The server's entry: tells it the name of a client's certificate.
const ENTRY: &str = include_str!("rucio/entry.py");
/// Lets the catalogue lie in memory until the system writes it: no test survives a power cut.
const HASTE: &str = include_str!("rucio/haste.py");
/// The server's settings; `{folder}` is filled in.
const SETTINGS: &str = include_str!("rucio/rucio.cfg");
const MIGRATIONS: &str = include_str!("rucio/alembic.ini");

/// How long the server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// The endpoints that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Deterministic, by `davs`, `root`, `https` and `file`, at site `JINR`.
    Disk,
    /// The same at site `PNPI`, by `root` only.
    OtherDisk,
    /// Deterministic, on tape.
    Tape,
    /// Places do not follow from names.
    NonDeterministic,
    /// Switched off for reading and writing.
    Off,
    /// Deterministic, scope and name as they are.
    Identity,
}

impl Endpoint {
    /// Returns Rucio's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "JINR_DISK",
            Self::OtherDisk => "PNPI_DISK",
            Self::Tape => "JINR_TAPE",
            Self::NonDeterministic => "JINR_RAW",
            Self::Off => "PNPI_OFF",
            Self::Identity => "PNPI_IDENTITY",
        }
    }
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct RucioServer {
    child: Child,
    /// Keeps the port.
    socket: TcpListener,
    python: PathBuf,
    folder: PathBuf,
}

/// Installs the packages and makes the empty catalogue, if they are not there yet; returns their
/// folder.
///
/// # Errors
///
/// Python 3 or its `venv` module is missing, or the packages cannot be installed.
pub fn prepare() -> anyhow::Result<PathBuf> {
    let folder = place::target().join("rucio-python");
    // Tests are processes of their own: one makes it, the others wait.
    fs::create_dir_all(place::target())?;
    let lock = fs::File::create(place::target().join("rucio-python.lock"))?;
    lock.lock()?;
    let wanted = [REQUIREMENTS, PREPARE, SETTINGS, MIGRATIONS].concat();
    python::prepare_in(&folder, REQUIREMENTS, &wanted, make_catalogue)?;
    Ok(folder)
}

/// Makes the catalogue from which each server starts.
fn make_catalogue(folder: &Path) -> anyhow::Result<()> {
    let home = folder.join("template");
    write_settings(&home)?;
    let prepare = home.join("prepare.py");
    fs::write(&prepare, PREPARE)?;
    python::run(
        Command::new(folder.join("bin/python"))
            .arg(&prepare)
            .env("RUCIO_HOME", &home),
    )
    .context("an empty catalogue cannot be made")
}

fn write_settings(home: &Path) -> anyhow::Result<()> {
    for part in ["etc", "log", "trace"] {
        fs::create_dir_all(home.join(part))?;
    }
    let fill = |text: &str| text.replace("{folder}", &home.display().to_string());
    fs::write(home.join("etc/rucio.cfg"), fill(SETTINGS))?;
    fs::write(home.join("etc/alembic.ini"), fill(MIGRATIONS))?;
    Ok(())
}

fn start_program(python: &Path, folder: &Path, socket: &TcpListener) -> anyhow::Result<Child> {
    Child::start(
        "Rucio",
        Command::new(python.join("bin/gunicorn"))
            .args(["--workers", "1", "--threads", "4", "--no-control-socket"])
            .arg("--bind")
            .arg(format!("fd://{}", socket.as_raw_fd()))
            .arg("entry:application")
            .current_dir(folder)
            .env("RUCIO_HOME", folder),
        &folder.join(LOG),
    )
}

impl RucioServer {
    /// Starts a server in an empty folder.
    ///
    /// # Errors
    ///
    /// The packages cannot be installed, or the server does not answer in time.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let python = prepare()?;
        write_settings(folder)?;
        fs::copy(python.join("template/rucio.db"), folder.join("rucio.db"))?;
        fs::write(folder.join("entry.py"), format!("{HASTE}\n{ENTRY}"))?;
        // The socket is handed over, so that no other program can take the port meanwhile.
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty())?;
        let child = start_program(&python, folder, &socket)?;
        let mut server = Self {
            child,
            socket,
            python,
            folder: folder.to_owned(),
        };
        server.wait()?;
        Ok(server)
    }

    /// Ends the server and starts it anew at the same port: what it had in its memory is gone.
    ///
    /// # Errors
    ///
    /// It does not end, or does not answer in time.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.end()?;
        self.child = start_program(&self.python, &self.folder, &self.socket)?;
        self.wait()
    }

    /// Ends it at once, and with it the process that does its work.
    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.ended()?.is_none() {
            self.child.signal(Signal::QUIT)?;
            wait_for("the end of Rucio", END_LIMIT, || self.child.ended())?;
        }
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let host = self.host();
        let is_up = wait_for("an answer of Rucio", START_LIMIT, || {
            if let Some(status) = self.child.ended()? {
                bail!("Rucio ended with {status}");
            }
            let ping = || Connection::open(&host)?.send("GET", "/ping", "", b"");
            Ok(ping().ok().filter(|answer| answer.status == 200))
        });
        is_up.with_context(|| fs::read_to_string(self.folder.join(LOG)).unwrap_or_default())?;
        Ok(())
    }

    /// Returns host and port.
    #[must_use]
    pub fn host(&self) -> String {
        let address = self.socket.local_addr();
        address.map_or_else(|_| String::new(), |address| address.to_string())
    }

    /// Returns its URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Returns the traces that came so far, as the server wrote them down, and after each that
    /// broke its rules what it said.
    #[must_use]
    pub fn traces(&self) -> String {
        fs::read_to_string(self.folder.join(TRACES)).unwrap_or_default()
    }

    /// Returns what a Python program needs in its environment to be a client of this server; its
    /// settings and its token lie in a folder that is made for them.
    ///
    /// # Errors
    ///
    /// The settings cannot be written.
    pub fn client_environment(&self, home: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
        fs::create_dir_all(home.join("etc"))?;
        let (url, token) = (self.url(), home.join("token"));
        let settings = format!(
            "[client]\nrucio_host = {url}\nauth_host = {url}\nauth_type = userpass\n\
             username = {USER}\npassword = {PASSWORD}\naccount = {ACCOUNT}\n\
             auth_token_file_path = {}\n",
            token.display(),
        );
        fs::write(home.join("etc/rucio.cfg"), settings)?;
        Ok(vec![
            ("RUCIO_HOME", home.to_owned()),
            ("PYTHONPATH", python::packages(&self.python)?),
        ])
    }

    /// Runs Python code with the server's own library on its catalogue, for what its API refuses.
    ///
    /// # Errors
    ///
    /// The code fails.
    pub fn run_python(&self, code: &str) -> anyhow::Result<()> {
        python::run(
            Command::new(self.python.join("bin/python"))
                .args(["-c", &format!("{HASTE}\n{code}")])
                .env("RUCIO_HOME", &self.folder),
        )
    }
}

impl Drop for RucioServer {
    fn drop(&mut self) {
        // If it does not end, it is killed after this.
        drop(self.end());
    }
}
