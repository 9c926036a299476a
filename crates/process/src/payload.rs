//! The pilot's side of a payload: start it through a guard, signal it, wait for its end.

use std::{
    ffi::{OsStr, OsString},
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Confined, CoreDumps, Guard, PayloadCommand, Signal, StartError, orphans,
    protocol::{EndReport, KILL_ALL, REPORT_BYTES, RawEnd, Report, SpecText},
    shared::Link,
    start_error::resolve,
};

/// How long a guard may take to say that the payload runs. Long, because the payload's program may
/// lie on a file system that first has to be mounted.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A payload that has been started. Dropping it kills the payload.
#[derive(Debug)]
pub struct RunningPayload {
    pid: u32,
    confined: Confined,
    socket: Arc<UnixStream>,
    guard: Arc<Link>,
    /// Whether there is nothing to wait for any more.
    has_ended: bool,
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
    /// Processes that the kernel killed because the payload, or the whole slot, had reached its
    /// memory limit.
    pub n_memory_kills: u32,
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

/// Starts a payload behind a guard of its own.
///
/// As [`Guard::start_payload`], and the guard ends with the payload.
///
/// # Errors
///
/// [`StartError`], which names what was tried and what would help. Nothing runs then.
pub fn start(command: PayloadCommand) -> Result<RunningPayload, StartError> {
    Guard::start()?.start_payload(command)
}

/// Starts a payload behind this guard.
pub(crate) fn start_behind(
    guard: &Guard,
    command: PayloadCommand,
) -> Result<RunningPayload, StartError> {
    let program = command.argv.first().ok_or(StartError::EmptyCommand)?;
    if !command.cwd.is_absolute() || !command.cwd.is_dir() {
        return Err(StartError::NoWorkDirectory { path: command.cwd });
    }
    let search_path = command.env.get(OsStr::new("PATH")).map(OsString::as_os_str);
    let diagnose =
        |error| StartError::diagnose(program, search_path, Some(command.cwd.as_path()), error);
    // Looked for here and not by the guard, which must not wait for a file system to be mounted.
    let path = resolve(program, search_path, &command.cwd)
        .ok_or_else(|| diagnose(io::Error::from(rustix::io::Errno::NOENT)))?;
    let spec = encoded_spec(&path, &command)?;
    let (socket, guards) =
        UnixStream::pair().map_err(|error| guard_error("has no socket", error))?;
    let link = guard.send(&socket, guards, &command, &spec)?;
    let mut payload = RunningPayload {
        pid: 0,
        confined: Confined::default(),
        socket: Arc::new(socket),
        guard: link,
        has_ended: false,
    };
    match payload.first_report() {
        Ok(Some(Report::Started { pid, confined })) => {
            (payload.pid, payload.confined) = (pid, confined);
            Ok(payload)
        }
        Ok(Some(Report::NotStarted { errno })) => {
            payload.has_ended = true;
            Err(diagnose(io::Error::from_raw_os_error(errno)))
        }
        Ok(Some(Report::Ended(_)) | None) => Err(StartError::Guard {
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
fn encoded_spec(program: &OsStr, command: &PayloadCommand) -> Result<Vec<u8>, StartError> {
    let bad_command = || StartError::BadCommand {
        program: command.argv[0].to_string_lossy().into_owned(),
    };
    let env = command.env.iter();
    let spec = SpecText {
        program: program.as_bytes(),
        cwd: command.cwd.as_os_str().as_bytes(),
        argv: command.argv.iter().map(|it| it.as_bytes()).collect(),
        env: env
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect(),
        core_max_bytes: match command.core_dumps {
            CoreDumps::Forbidden => Some(0),
            CoreDumps::Allowed => None,
            CoreDumps::UpTo(limit) => Some(limit),
        },
        confinement: &command.confinement,
    };
    spec.encode().ok_or_else(bad_command)
}

impl RunningPayload {
    /// Returns the number of the payload's first process, which is also that of its group and
    /// session. All processes of the payload descend from it as long as it runs.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the number of the guard, whose descendants are the payloads with all that they have
    /// started.
    #[must_use]
    pub fn guard_pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Returns what of its confinement is enforced, and by what.
    #[must_use]
    pub const fn confined(&self) -> Confined {
        self.confined
    }

    /// Returns a handle that signals the payload while another thread waits.
    #[must_use]
    pub fn control(&self) -> PayloadControl {
        PayloadControl {
            socket: Arc::clone(&self.socket),
        }
    }

    /// Says whether [`Self::wait`] returns at once. The payload's socket ([`AsFd`]) becomes
    /// readable then, so that one thread can wait for many payloads.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&*self.socket, PollFlags::IN)];
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.has_ended || matches!(poll(&mut polled, Some(&none)), Ok(1..))
    }

    /// Waits until the payload and all that it left behind have ended.
    #[must_use]
    pub fn wait(mut self) -> PayloadExit {
        let report = self.read_report();
        self.has_ended = true;
        if let Ok(Some(Report::Ended(report))) = report {
            return PayloadExit::of(&report);
        }
        self.guard.end();
        let killed = orphans::kill_after_lost_guard(self.guard_pid());
        PayloadExit {
            end: PayloadEnd::GuardLost,
            n_leftovers: killed.n_found,
            n_unkillable: killed.n_unkillable,
            n_memory_kills: 0,
            cpu_user: Duration::ZERO,
            cpu_system: Duration::ZERO,
        }
    }

    /// Reads the first report; none if the guard ended without one.
    fn first_report(&mut self) -> io::Result<Option<Report>> {
        self.socket.set_read_timeout(Some(START_LIMIT))?;
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
}

impl PayloadExit {
    fn of(report: &EndReport) -> Self {
        Self {
            end: match report.end {
                RawEnd::Exited(code) => PayloadEnd::Exited(code),
                RawEnd::Signalled(signal) => PayloadEnd::Signalled(signal),
            },
            n_leftovers: report.n_leftovers,
            n_unkillable: report.n_unkillable,
            n_memory_kills: report.n_memory_kills,
            cpu_user: Duration::from_micros(report.cpu_user_micros),
            cpu_system: Duration::from_micros(report.cpu_system_micros),
        }
    }
}

impl AsFd for RunningPayload {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for RunningPayload {
    /// Kills the payload, and returns once it is gone.
    fn drop(&mut self) {
        if !self.has_ended {
            // Fails only if the guard is gone, which the read sees too.
            let _ = self.socket.shutdown(Shutdown::Write);
            let _ = self.read_report();
        }
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
