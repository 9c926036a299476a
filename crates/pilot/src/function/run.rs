//! Runs one job in a process of its own, `ailurus-pilot once`.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use ailurus_process::spawn_named;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::STACK_BYTES;
use crate::{USAGE_ERROR, once};

/// Largest report that is read, in bytes.
const REPORT_MAX: u64 = 64 << 20;
/// Most of a refused job's error text that is repeated, in bytes.
const COMPLAINT_MAX: usize = 4096;

/// Runs jobs, one at a time.
#[derive(Debug)]
pub(super) struct Runner {
    program: PathBuf,
    options: Vec<OsString>,
    state: Mutex<State>,
    is_idle: Condvar,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A process is about to be started.
    Starting,
    /// A handle, because a number may be another process's a moment later.
    Running(OwnedFd),
    /// No job is started any more.
    Stopped,
    /// As that, while the last one runs.
    Stopping,
}

/// A job brought no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunnerError {
    /// Another one runs, or no more are taken.
    #[error("a job runs")]
    Busy,
    /// The job makes no sense.
    #[error("{0}")]
    BadJob(String),
    /// The process that ran it says nothing that makes sense.
    #[error("the pilot ended without a report, {end}: {complaint}")]
    NoReport { end: String, complaint: String },
    /// The node refuses to start a process.
    #[error("the pilot cannot be started")]
    Node(#[source] io::Error),
}

impl Runner {
    pub(super) fn new(options: Vec<OsString>) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            options,
            state: Mutex::new(State::Idle),
            is_idle: Condvar::new(),
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        match *self.lock() {
            State::Starting | State::Running(_) | State::Stopping => true,
            State::Idle | State::Stopped => false,
        }
    }

    /// Runs a job and returns its final report.
    pub(super) fn run(&self, job: &[u8]) -> Result<Value, RunnerError> {
        {
            let mut state = self.lock();
            if !matches!(*state, State::Idle) {
                return Err(RunnerError::Busy);
            }
            *state = State::Starting;
        }
        let result = self.run_process(job);
        let mut state = self.lock();
        *state = match &*state {
            State::Stopping | State::Stopped => State::Stopped,
            State::Idle | State::Starting | State::Running(_) => State::Idle,
        };
        self.is_idle.notify_all();
        result
    }

    /// Ends the job that runs, and takes no further one.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        *state = match &*state {
            State::Idle | State::Stopped => State::Stopped,
            State::Starting | State::Stopping => State::Stopping,
            State::Running(process) => {
                // It fails only for a process that has just ended.
                let _ = pidfd_send_signal(process, Signal::TERM);
                State::Stopping
            }
        };
    }

    /// Waits until no job runs. Its own limits end each job after [`Self::stop`].
    pub(super) fn wait(&self) {
        let mut state = self.lock();
        while !matches!(*state, State::Idle | State::Stopped) {
            state = self
                .is_idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends with this thread, which waits for it.
    fn run_process(&self, job: &[u8]) -> Result<Value, RunnerError> {
        let mut child = Command::new(&self.program)
            .args([once::COMMAND, "--job", "-", "--end-with-parent"])
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(RunnerError::Node)?;
        self.note_running(&child);
        let complaint = child.stderr.take().map(collect_log);
        if let Some(mut stdin) = child.stdin.take() {
            // A pilot that refuses its options does not read the job; its exit code says so.
            let _ = stdin.write_all(job);
        }
        let mut report = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(REPORT_MAX).read_to_end(&mut report);
            read.map_err(RunnerError::Node)?;
        }
        let end = child.wait().map_err(RunnerError::Node)?;
        if let Ok(report @ Value::Object(_)) = serde_json::from_slice(&report) {
            return Ok(report);
        }
        let complaint = complaint.and_then(|reader| reader.ok()?.join().ok());
        let complaint = complaint.unwrap_or_default().trim().to_owned();
        if end.code() == Some(USAGE_ERROR.into()) {
            return Err(RunnerError::BadJob(complaint));
        }
        Err(RunnerError::NoReport {
            end: end.to_string(),
            complaint,
        })
    }

    /// Notes the process, or ends it at once if the service ends already.
    fn note_running(&self, child: &Child) {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let Some(process) = process else {
            // Without a handle the job cannot be stopped, but it ends with this process.
            return;
        };
        let mut state = self.lock();
        if matches!(*state, State::Stopping) {
            let _ = pidfd_send_signal(&process, Signal::TERM);
        } else {
            *state = State::Running(process);
        }
    }
}

/// Passes the job's log on to standard error, and keeps the end of it.
fn collect_log(
    mut stderr: std::process::ChildStderr,
) -> io::Result<std::thread::JoinHandle<String>> {
    spawn_named("job-log", STACK_BYTES, move || {
        let mut kept: Vec<u8> = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(n_bytes @ 1..) = stderr.read(&mut buffer) {
            let _ = io::stderr().write_all(&buffer[..n_bytes]);
            kept.extend_from_slice(&buffer[..n_bytes]);
            let excess = kept.len().saturating_sub(COMPLAINT_MAX);
            kept.drain(..excess);
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}
