//! The guard: the process between the pilot and one payload.
//!
//! It is the subreaper of all that the payload starts, in a session of its own, so it outlives a
//! kill of the pilot's process group and still sees the pilot's death: the end of the socket that
//! is its standard input. It has one thread, so no process number can be reused between the look
//! at it and a signal to it. It allocates little and ends within milliseconds of its payload.

use std::{
    ffi::OsStr,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{FdFlags, fcntl_setfd},
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getppid, getrlimit,
        kill_process, kill_process_group, set_child_subreaper, set_parent_process_death_signal,
        setrlimit, setsid, wait,
    },
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};

use crate::{
    descendants::{all_processes, descendants_of, groups_of},
    protocol::{KILL_ALL, RawEnd, Report, SPEC_MAX_BYTES, Spec},
};

/// The hidden first argument that makes an executable the guard of a payload.
pub const GUARD_ARGUMENT: &str = "__payload-guard";

/// How long the guard goes on killing before it counts what is left as unkillable. A process with
/// a pending kill runs no more code of its own; it can only wait for a device.
const SWEEP_LIMIT: Duration = Duration::from_secs(20);

/// How long the guard waits for killed processes to end before it looks again.
const SWEEP_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Exit code of a guard that could not begin.
const EXIT_BROKEN: i32 = 70;

/// Milliseconds of one clock tick in `/proc`, the same on every Linux.
const TICK_MILLIS: u64 = 10;

/// Becomes the guard and never returns, if the first argument asks for it; else does nothing.
///
/// Must be the first call of a `main` that starts payloads.
#[expect(clippy::exit, reason = "the guard is a process of its own")]
pub fn run_if_asked() {
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(GUARD_ARGUMENT)) {
        std::process::exit(match run() {
            Ok(()) => 0,
            Err(_) => EXIT_BROKEN,
        });
    }
}

fn run() -> io::Result<()> {
    let mut pilot = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let child_ended = child_ended_stream()?;
    ignore_polite_signals()?;
    keep_inherited_files_from_payload()?;

    let spec = read_spec(&mut pilot)?;
    set_core_limit(spec.allow_core_dumps)?;
    match start_payload(&spec) {
        Ok(payload) => {
            let started = Report::Started {
                pid: payload.as_raw_nonzero().get().unsigned_abs(),
            };
            let mut guard = Guard {
                pilot,
                child_ended,
                payload,
                status: None,
            };
            // A pilot that is gone by now is noticed by the watch.
            let _ = guard.pilot.write_all(&started.encode());
            guard.watch()
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            pilot.write_all(&Report::NotStarted { errno }.encode())
        }
    }
}

/// Returns a stream that becomes readable when a child has ended.
fn child_ended_stream() -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, handlers)?;
    Ok(ours)
}

/// Lets the pilot decide on signals that a batch system sends to all processes of a slot.
///
/// Handlers that do nothing, because a signal that is ignored would be so in the payload too.
fn ignore_polite_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Marks all files but the three standard ones as closed on exec, also those that the pilot got
/// from whatever started it: a payload that holds a batch system's pipe would hang its slot.
#[expect(unsafe_code, reason = "the kernel lists open files by number only")]
fn keep_inherited_files_from_payload() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // SAFETY: this process has one thread, and the descriptor is used within this block only;
        // the one that listed the directory is closed already, which gives a mere error.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(file, FdFlags::CLOEXEC);
    }
    Ok(())
}

fn read_spec(pilot: &mut UnixStream) -> io::Result<Spec> {
    let mut length = [0; 4];
    pilot.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > SPEC_MAX_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    pilot.read_exact(&mut bytes)?;
    Spec::decode(&bytes).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn set_core_limit(is_allowed: bool) -> io::Result<()> {
    let limit = if is_allowed {
        let maximum = getrlimit(Resource::Core).maximum;
        Rlimit {
            current: maximum,
            maximum,
        }
    } else {
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        }
    };
    Ok(setrlimit(Resource::Core, limit)?)
}

/// Starts the payload in a process group of its own. Standard output and error are the guard's.
#[expect(
    unsafe_code,
    reason = "only the child itself can ask to die with its parent"
)]
fn start_payload(spec: &Spec) -> io::Result<Pid> {
    let (program, arguments) = spec.argv.split_first().ok_or(ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.cwd)
        .stdin(Stdio::null())
        .process_group(0);
    let guard = getpid();
    // SAFETY: between fork and exec only system calls are made, which are async-signal-safe; no
    // memory is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The guard may have died before the request was made.
            if getppid() == Some(guard) {
                Ok(())
            } else {
                Err(rustix::io::Errno::SRCH.into())
            }
        });
    }
    let child = command.spawn()?;
    Ok(Pid::from_child(&child))
}

struct Guard {
    pilot: UnixStream,
    child_ended: UnixStream,
    payload: Pid,
    /// How the payload's first process ended, once it has.
    status: Option<WaitStatus>,
}

/// What a sweep met.
struct Sweep {
    n_found: u32,
    n_unkillable: u32,
}

impl Guard {
    /// Serves the pilot until the payload has ended, or the pilot has.
    fn watch(&mut self) -> io::Result<()> {
        loop {
            self.reap();
            if let Some(status) = self.status {
                let sweep = self.sweep();
                return self.pilot.write_all(&ended(status, &sweep).encode());
            }
            wait_readable([self.pilot.as_fd(), self.child_ended.as_fd()], None);
            if !self.serve_pilot() {
                self.sweep();
                return Ok(());
            }
        }
    }

    /// Carries out what the pilot asks for; false if it is gone.
    fn serve_pilot(&mut self) -> bool {
        let mut requests = [0; 64];
        // Only a socket that polls readable is read, so that this never waits.
        if !is_readable(self.pilot.as_fd()) {
            return true;
        }
        match self.pilot.read(&mut requests) {
            Ok(0) => false,
            Ok(length) => {
                for request in &requests[..length] {
                    self.obey(*request);
                }
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
        }
    }

    fn obey(&mut self, request: u8) {
        if request == KILL_ALL {
            self.sweep();
        } else if let Some(signal) = crate::Signal::from_number(request)
            && self.status.is_none()
        {
            // The group exists as long as its leader has not been waited for.
            let _ = kill_process_group(self.payload, signal.to_rustix());
        }
    }

    /// Waits for every child that has ended; false if there is none left.
    ///
    /// A guard without children has no descendants: it inherits every orphan among them.
    fn reap(&mut self) -> bool {
        let mut notices = [0; 64];
        while matches!(self.child_ended.read(&mut notices), Ok(1..)) {}
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.payload {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Kills every descendant, again and again until none is left or the limit is reached.
    fn sweep(&mut self) -> Sweep {
        let own = getpid().as_raw_nonzero().get();
        let begin = Instant::now();
        let mut found = std::collections::BTreeSet::new();
        while self.reap() {
            let victims = descendants_of(own, &all_processes());
            found.extend(victims.iter().map(|it| it.pid));
            if begin.elapsed() > SWEEP_LIMIT {
                return Sweep {
                    n_found: count(found.len()),
                    n_unkillable: count(victims.len()),
                };
            }
            // A group is killed at one stroke, so that nothing in it can fork its way out.
            for group in groups_of(&victims, own) {
                kill_group(group);
            }
            for victim in &victims {
                kill_one(victim.pid);
            }
            wait_readable([self.child_ended.as_fd()], Some(&SWEEP_PAUSE));
        }
        Sweep {
            n_found: count(found.len()),
            n_unkillable: 0,
        }
    }
}

pub(crate) fn kill_one(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

pub(crate) fn kill_group(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn wait_readable<const N: usize>(streams: [BorrowedFd<'_>; N], limit: Option<&Timespec>) {
    let mut polled = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN));
    // An interruption is as good as an event: the caller looks at everything again.
    let _ = poll(&mut polled, limit);
}

fn is_readable(stream: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::IN)];
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut polled, Some(&none)), Ok(1..))
}

fn ended(status: WaitStatus, sweep: &Sweep) -> Report {
    let end = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => RawEnd::Exited(code),
        (None, signal) => RawEnd::Signalled(signal.unwrap_or(0)),
    };
    let (cpu_user_millis, cpu_system_millis) = cpu_of_children();
    Report::Ended {
        end,
        n_leftovers: sweep.n_found,
        n_unkillable: sweep.n_unkillable,
        cpu_user_millis,
        cpu_system_millis,
    }
}

/// User and system CPU time of all that this process has waited for: fields 16 and 17 of `stat`.
fn cpu_of_children() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let mut ticks = fields
        .split_ascii_whitespace()
        .skip(13)
        .map(|field| field.parse::<u64>().unwrap_or(0) * TICK_MILLIS);
    (ticks.next().unwrap_or(0), ticks.next().unwrap_or(0))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
