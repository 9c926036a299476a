//! The pilot's side of a payload: start it through a guard, signal it, wait for its end.

use std::{
    ffi::{OsStr, OsString},
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use crate::{
    CoreDumps, PayloadCommand, Signal, StartError,
    guard::GUARD_ARGUMENT,
    orphans,
    protocol::{KILL_ALL, REPORT_BYTES, RawEnd, Report, Spec},
};

/// How long a guard may take to say that the payload runs. Long, because the payload's program may
/// lie on a file system that first has to be mounted.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A payload that has been started. Dropping it kills the payload.
#[derive(Debug)]
pub struct RunningPayload {
    pid: u32,
    /// None once it has been waited for.
    guard: Option<Child>,
    guard_pid: u32,
    socket: Arc<UnixStream>,
}

/// Signals a payload, from any thread.
#[derive(Debug, Clone)]
pub struct PayloadControl {
    socket: Arc<UnixStream>,
}

/// The payload has ended, so no signal can be sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload has ended")]
pub struct PayloadEnded;

/// How a payload ended, and what it left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadExit {
    /// How its first process ended.
    pub end: PayloadEnd,
    /// Descendants that were alive after it and had to be killed.
    pub n_leftovers: u32,
    /// Of these, those that a kill did not end, such as processes that hang in a device.
    pub n_unkillable: u32,
    /// User CPU time of the payload with all of its descendants, zero if the guard was lost.
    pub cpu_user: Duration,
    /// System CPU time of the same.
    pub cpu_system: Duration,
}

/// How a payload's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadEnd {
    /// It exited with this code, from 0 to 255.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// Somebody killed the guard; its payload was killed then, and how it fared is not known.
    GuardLost,
}

/// Starts a payload behind a guard.
///
/// Returns once the payload's program runs. Nothing that it starts outlives the pilot, also when
/// the pilot is killed by `SIGKILL`, and no other process is touched.
///
/// # Errors
///
/// [`StartError`], which names what was tried and what would help. Nothing runs then.
pub fn start(command: PayloadCommand) -> Result<RunningPayload, StartError> {
    let program = command
        .argv
        .first()
        .ok_or(StartError::EmptyCommand)?
        .clone();
    if !command.cwd.is_absolute() || !command.cwd.is_dir() {
        return Err(StartError::NoWorkDirectory { path: command.cwd });
    }
    let search_path = command.env.get(OsStr::new("PATH")).cloned();
    let cwd = command.cwd.clone();
    let spec = encoded_spec(&command)?;

    let (ours, guards) = UnixStream::pair().map_err(|error| guard_error("has no socket", error))?;
    orphans::adopt();
    let guard = orphans::guard_begins(|| spawn_guard(command, guards))
        .map_err(|error| guard_error("could not be started", error))?;
    let guard_pid = guard.id();
    let mut payload = RunningPayload {
        pid: 0,
        guard: Some(guard),
        guard_pid,
        socket: Arc::new(ours),
    };
    match payload.first_report(&spec) {
        Ok(Some(Report::Started { pid })) => {
            payload.pid = pid;
            Ok(payload)
        }
        Ok(Some(Report::NotStarted { errno })) => Err(StartError::diagnose(
            &program,
            search_path.as_deref(),
            Some(&cwd),
            io::Error::from_raw_os_error(errno),
        )),
        Ok(Some(Report::Ended { .. }) | None) => Err(StartError::Guard {
            what: "ended or said something else than that the payload runs".to_owned(),
            source: None,
        }),
        Err(error) => Err(guard_error("did not answer", error)),
    }
}

fn guard_error(what: &str, error: io::Error) -> StartError {
    StartError::Guard {
        what: what.to_owned(),
        source: Some(error),
    }
}

/// Returns the spec behind its length, as the guard reads it.
fn encoded_spec(command: &PayloadCommand) -> Result<Vec<u8>, StartError> {
    let has_zero = |text: &OsString| text.as_bytes().contains(&0);
    let bad_command = || StartError::BadCommand {
        program: command.argv[0].to_string_lossy().into_owned(),
    };
    if command.argv.iter().any(has_zero)
        || command
            .env
            .iter()
            .any(|(name, value)| has_zero(name) || has_zero(value))
    {
        return Err(bad_command());
    }
    let spec = Spec {
        argv: command.argv.clone(),
        env: command
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        cwd: command.cwd.clone().into_os_string(),
        allow_core_dumps: command.core_dumps == CoreDumps::Allowed,
    };
    let bytes = spec.encode().ok_or_else(bad_command)?;
    let length = u32::try_from(bytes.len()).map_err(|_| bad_command())?;
    Ok([&length.to_le_bytes(), bytes.as_slice()].concat())
}

/// Starts this executable again, whatever has become of its file. The guard's standard input is
/// the socket, its standard output and error are the payload's.
fn spawn_guard(command: PayloadCommand, socket: UnixStream) -> io::Result<Child> {
    let own_name = std::env::args_os()
        .next()
        .unwrap_or_else(|| OsString::from("payload-guard"));
    Command::new("/proc/self/exe")
        .arg0(own_name)
        .arg(GUARD_ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(std::os::fd::OwnedFd::from(socket))
        .stdout(command.stdout)
        .stderr(command.stderr)
        .spawn()
}

impl RunningPayload {
    /// Returns the number of the payload's first process, which is also that of its group.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the number of the guard, whose descendants are the payload with all it has started.
    #[must_use]
    pub const fn guard_pid(&self) -> u32 {
        self.guard_pid
    }

    /// Returns a handle that signals the payload while another thread waits.
    #[must_use]
    pub fn control(&self) -> PayloadControl {
        PayloadControl {
            socket: Arc::clone(&self.socket),
        }
    }

    /// Waits until the payload and all that it left behind have ended.
    #[must_use]
    pub fn wait(mut self) -> PayloadExit {
        let report = self.read_report();
        self.end_guard();
        match report {
            Ok(Some(Report::Ended {
                end,
                n_leftovers,
                n_unkillable,
                cpu_user_millis,
                cpu_system_millis,
            })) => PayloadExit {
                end: match end {
                    RawEnd::Exited(code) => PayloadEnd::Exited(code),
                    RawEnd::Signalled(signal) => PayloadEnd::Signalled(signal),
                },
                n_leftovers,
                n_unkillable,
                cpu_user: Duration::from_millis(cpu_user_millis),
                cpu_system: Duration::from_millis(cpu_system_millis),
            },
            Ok(Some(Report::Started { .. } | Report::NotStarted { .. }) | None) | Err(_) => {
                let killed = orphans::kill_after_lost_guard(self.guard_pid);
                PayloadExit {
                    end: PayloadEnd::GuardLost,
                    n_leftovers: killed.n_found,
                    n_unkillable: killed.n_unkillable,
                    cpu_user: Duration::ZERO,
                    cpu_system: Duration::ZERO,
                }
            }
        }
    }

    /// Sends the spec and reads the first report; none if the guard ended without one.
    fn first_report(&mut self, spec: &[u8]) -> io::Result<Option<Report>> {
        self.socket.set_read_timeout(Some(START_LIMIT))?;
        self.socket.set_write_timeout(Some(START_LIMIT))?;
        (&*self.socket).write_all(spec)?;
        let report = self.read_report();
        self.socket.set_read_timeout(None)?;
        report
    }

    /// Reads one report; none at the end of the stream.
    fn read_report(&self) -> io::Result<Option<Report>> {
        let mut bytes = [0; REPORT_BYTES];
        match (&*self.socket).read_exact(&mut bytes) {
            Ok(()) => Ok(Report::decode(&bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets the guard end, which kills what is left, and waits for it.
    fn end_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Either may fail only because the guard is gone already.
            let _ = self.socket.shutdown(Shutdown::Both);
            let _ = guard.wait();
            orphans::guard_ended(self.guard_pid);
        }
    }
}

impl Drop for RunningPayload {
    fn drop(&mut self) {
        self.end_guard();
    }
}

impl PayloadControl {
    /// Sends a signal to the payload's process group.
    ///
    /// # Errors
    ///
    /// [`PayloadEnded`] if there is nobody to signal any more.
    pub fn signal(&self, signal: Signal) -> Result<(), PayloadEnded> {
        self.request(signal.number())
    }

    /// Kills the payload and all of its descendants, also those outside its group.
    ///
    /// # Errors
    ///
    /// [`PayloadEnded`] if it has ended already.
    pub fn kill(&self) -> Result<(), PayloadEnded> {
        self.request(KILL_ALL)
    }

    fn request(&self, request: u8) -> Result<(), PayloadEnded> {
        (&*self.socket)
            .write_all(&[request])
            .map_err(|_| PayloadEnded)
    }
}
