//! The Python programs of PanDA as they are published: `prun`, `pbook`, `pchain` and the pilot, for
//! tests that the server serves them unmodified.
//!
//! [`User`] is a person with a home of their own who starts the tools; [`PythonPilot`] is the pilot,
//! always in a process namespace of its own, because it kills what it takes for orphans of its
//! account. How both reach the server is a [`Transport`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{place, python};

/// Packages of the tools, their versions fixed.
const REQUIREMENTS: &str = "panda-client==2.2.0\npanda-pilot==3.7.0.36\n";
/// The pilot's package, which lacks the program itself; that is in its source archive.
const PILOT: &str = "panda-pilot==3.7.0.36";
/// Where the pilot's source archive is unpacked, in the environment.
const PILOT_FOLDER: &str = "pilot-source";

/// The name by which the tools know the user.
pub const NICKNAME: &str = "jdoe";
/// The virtual organisation of the user.
pub const VO: &str = "spd";
/// A token without signature for that user. The tools read the name from it; it is worth nothing to
/// a server, which has to know its callers otherwise.
const UNSIGNED: &str = "eyJhbGciOiJub25lIn0.eyJuYW1lIjoiamFuZSBkb2UiLCJwcmVmZXJyZWRfdXNlcm5hbWUiOiJqZG9lIiwiZXhwIjo0MTAyNDQ0ODAwfQ.";

/// How programs reach the server.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Scheme, host and port, for example `http://127.0.0.1:25080`.
    pub origin: String,
    /// How they say who they are.
    pub identity: Identity,
}

/// How programs say who they are.
#[derive(Debug, Clone)]
pub enum Identity {
    /// They do not.
    Nobody,
    /// By a bearer token of a virtual organisation, as the tools take it.
    Token {
        /// The token.
        token: String,
        /// The virtual organisation.
        vo: String,
        /// A folder of authorities, with OpenSSL's hashed names.
        authorities: PathBuf,
    },
    /// By a token in a file, as pilots take it.
    PilotToken {
        /// The file.
        file: PathBuf,
        /// What stands in the header `Origin`: the virtual organisation, or it and a role.
        origin: String,
        /// A folder of authorities, with OpenSSL's hashed names.
        authorities: PathBuf,
    },
    /// By a certificate with its key in one file.
    Certificate {
        /// The file.
        file: PathBuf,
        /// A folder of authorities, with OpenSSL's hashed names.
        authorities: PathBuf,
    },
}

impl Transport {
    /// Plain HTTP to a server that trusts this machine.
    #[must_use]
    pub fn plain(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            identity: Identity::Nobody,
        }
    }

    /// Gives a program the environment in which it reaches the server.
    pub fn apply(&self, command: &mut Command) {
        match &self.identity {
            Identity::Nobody => {
                command.env("PANDA_AUTH_ID_TOKEN", UNSIGNED);
                command.env("PANDA_AUTH_VO", VO).env("PANDA_AUTH", "oidc");
            }
            Identity::Token {
                token,
                vo,
                authorities,
            } => {
                command.env("PANDA_AUTH_ID_TOKEN", token);
                command.env("PANDA_AUTH_VO", vo).env("PANDA_AUTH", "oidc");
                command.env("X509_CERT_DIR", authorities);
            }
            Identity::PilotToken {
                file,
                origin,
                authorities,
            } => {
                command.env("PANDA_AUTH_TOKEN", file);
                command.env("PANDA_AUTH_ORIGIN", origin);
                command.env("X509_CERT_DIR", authorities);
            }
            Identity::Certificate { file, authorities } => {
                command.env("PANDA_AUTH", "x509_no_grid");
                command.env("X509_USER_PROXY", file);
                command.env("X509_CERT_DIR", authorities);
            }
        }
    }
}

/// Installs the programs if they are not there yet, and returns their folder.
///
/// # Errors
///
/// Python 3 or its `venv` module is missing, or the packages cannot be installed.
pub fn prepare() -> anyhow::Result<PathBuf> {
    let folder = place::target().join("panda-clients");
    // Tests are processes of their own: one makes it, the others wait.
    fs::create_dir_all(place::target())?;
    let lock = fs::File::create(place::target().join("panda-clients.lock"))?;
    lock.lock()?;
    python::prepare_in(&folder, REQUIREMENTS, REQUIREMENTS, unpack_pilot)?;
    Ok(folder)
}

fn unpack_pilot(folder: &Path) -> anyhow::Result<()> {
    let archives = folder.join("archives");
    python::run(
        Command::new(folder.join("bin/python"))
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-binary", ":all:", "--no-deps", "--dest"])
            .arg(&archives)
            .arg(PILOT),
    )
    .context("the pilot's source archive cannot be had")?;
    let target = folder.join(PILOT_FOLDER);
    fs::create_dir_all(&target)?;
    for archive in fs::read_dir(&archives)? {
        python::run(
            Command::new("tar")
                .args(["xz", "--strip-components=1", "-C"])
                .arg(&target)
                .arg("-f")
                .arg(archive?.path()),
        )?;
    }
    Ok(())
}

/// What a tool said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output, then standard error.
    pub text: String,
    /// Its exit code; none if a signal ended it.
    pub exit_code: Option<i32>,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .concat();
        Self {
            text,
            exit_code: output.status.code(),
        }
    }
}

/// A person with a home of their own who starts the tools.
#[derive(Debug)]
pub struct User {
    programs: PathBuf,
    home: PathBuf,
    transport: Transport,
}

impl User {
    /// Makes a home in a folder.
    ///
    /// # Errors
    ///
    /// The programs cannot be had, or the home cannot be made.
    pub fn new(home: &Path, transport: Transport) -> anyhow::Result<Self> {
        fs::create_dir_all(home.join("work"))?;
        Ok(Self {
            programs: prepare()?,
            home: home.to_owned(),
            transport,
        })
    }

    /// Returns the folder in which the tools are started.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// Runs one of the tools to its end, in the work folder.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Said> {
        let output = self
            .command(program)?
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("`{program}` cannot be started"))?;
        Ok(Said::of(&output))
    }

    /// As [`User::run`], and fails unless the tool ends with exit code 0.
    ///
    /// # Errors
    ///
    /// It fails; the error has what it said.
    pub fn run_well(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let said = self.run(program, arguments)?;
        if said.exit_code != Some(0) {
            bail!("`{program}` ended with {:?}: {}", said.exit_code, said.text);
        }
        Ok(said.text)
    }

    /// Runs lines of Python with the tools' own modules.
    ///
    /// # Errors
    ///
    /// They fail; the error has what they said.
    pub fn python(&self, lines: &str) -> anyhow::Result<String> {
        let mut command = self.environment(Command::new(self.programs.join("bin/python")))?;
        let output = command.args(["-c", lines]).stdin(Stdio::null()).output()?;
        let said = Said::of(&output);
        if said.exit_code != Some(0) {
            bail!("Python ended with {:?}: {}", said.exit_code, said.text);
        }
        Ok(said.text)
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new("bash");
        command.arg(self.programs.join("bin").join(program));
        self.environment(command)
    }

    fn environment(&self, mut command: Command) -> anyhow::Result<Command> {
        let path = std::env::var("PATH").unwrap_or_default();
        let base = format!("{}/server/panda", self.transport.origin);
        command
            .env_clear()
            .current_dir(self.work())
            .env(
                "PATH",
                format!("{}:{path}", self.programs.join("bin").display()),
            )
            .env("HOME", &self.home)
            .env("TERM", "dumb")
            .env("COLUMNS", "250")
            .env("PANDA_SYS", &self.programs)
            .env("PANDA_PYTHON_EXEC", self.programs.join("bin/python"))
            .env("PANDA_PYTHONPATH", python::packages(&self.programs)?)
            .env("PANDA_CONFIG_ROOT", self.home.join(".pathena"))
            .env("PANDA_BEHIND_REAL_LB", "1")
            .env("PANDA_NICKNAME", NICKNAME)
            .env("PANDA_URL", &base)
            .env("PANDA_URL_SSL", &base)
            .env("PANDACACHE_URL", &base);
        self.transport.apply(&mut command);
        Ok(command)
    }
}

/// The Python pilot: which queue it serves, and how.
#[derive(Debug)]
pub struct PythonPilot {
    programs: PathBuf,
    folder: PathBuf,
    transport: Transport,
}

impl PythonPilot {
    /// Prepares a pilot that works in a folder.
    ///
    /// # Errors
    ///
    /// The pilot cannot be had, or its folder cannot be made.
    pub fn new(folder: &Path, transport: Transport) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("home"))?;
        let pilot = Self {
            programs: prepare()?,
            folder: folder.to_owned(),
            transport,
        };
        pilot.write_configuration()?;
        Ok(pilot)
    }

    /// The pilot's own defaults, with this server in place of those at CERN.
    fn write_configuration(&self) -> anyhow::Result<()> {
        let source = self.programs.join(PILOT_FOLDER);
        let defaults = fs::read_to_string(source.join("pilot/util/default.cfg"))
            .context("the pilot's `default.cfg` is not there")?;
        let origin = &self.transport.origin;
        let places = [
            ("pandaserver:", origin.clone()),
            (
                "queuedata_url:",
                format!("{origin}/cache/schedconfig/{{pandaqueue}}.all.json"),
            ),
            (
                "queues_url:",
                format!("{origin}/cache/schedconfig/{{pandaqueue}}.json"),
            ),
            ("storages_url:", format!("{origin}/ddmendpoints.json")),
            // Traces, where nobody takes them.
            ("url: https:", format!("{origin}/traces/")),
        ];
        let lines = defaults.lines().map(|line| {
            let place = places.iter().find(|(key, _)| line.starts_with(key));
            place.map_or_else(
                || line.to_owned(),
                |(key, url)| format!("{}: {url}", key.split(':').next().unwrap_or_default()),
            )
        });
        let lines: Vec<String> = lines.collect();
        fs::write(self.folder.join("pilot.cfg"), lines.join("\n"))?;
        Ok(())
    }

    /// Returns the command that runs the pilot for jobs of one label until there are no more, or
    /// for one job.
    #[must_use]
    pub fn command(&self, queue: &str, label: &str) -> Command {
        let work = self.folder.join("work");
        let (host, port) = host_and_port(&self.transport.origin);
        let is_https = self.transport.origin.starts_with("https:");
        let origin = &self.transport.origin;
        let mut command = Command::new("unshare");
        command
            .args(["-pf", "--kill-child", "--mount-proc"])
            .arg(self.programs.join("bin/python"))
            .arg("pilot.py")
            .current_dir(self.programs.join(PILOT_FOLDER))
            .arg("-a")
            .arg(&work)
            .args([
                "-q", queue, "-r", queue, "-s", queue, "-j", label, "-i", "PR",
            ])
            .args(["-t", "-w", "generic", "--pilot-user", "generic", "-d"])
            .args(["--use-https", if is_https { "True" } else { "False" }])
            .args(["--url", &host, "-p", &port])
            .args([
                "--queuedata-url",
                &format!("{origin}/cache/schedconfig/{queue}.all.json"),
            ])
            .args(["--storagedata-url", &format!("{origin}/ddmendpoints.json")])
            .args(["-l", "300", "-v", "1", "-u"])
            .env("HOME", self.folder.join("home"))
            .env("PILOT_HOME", &self.folder)
            .env("HARVESTER_PILOT_CONFIG", self.folder.join("pilot.cfg"))
            .env("PILOT_RUCIO_SITENAME", "TEST");
        self.transport.apply(&mut command);
        command
    }
}

/// Splits an origin as the pilot wants it.
fn host_and_port(origin: &str) -> (String, String) {
    match origin.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.to_owned()),
        None => (origin.to_owned(), "443".to_owned()),
    }
}
