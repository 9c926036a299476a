//! Workers as processes on this machine, for one node, tests and demonstrations.
//!
//! ```text
//! <spool>/<worker name>/   made before the worker starts; two submissions cannot both make it
//!     pid                  who the worker is, written by itself before its command runs
//!     stdout stderr
//!     cancel               it was told to end, and when (the file's time)
//!     exit                 its exit code, written at the end
//! ```
//!
//! Everything is in these files, so a Harvester that dies and comes again sees the same workers.
//! Each worker has a session of its own and does not notice when Harvester ends.

mod identity;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use ailurus_model::{BatchId, NodeName};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process, kill_process_group},
};

use self::identity::Identity;
use crate::port::{
    BatchState, BatchSystem, CancelError, QueryError, SubmitError, WorkerName, WorkerSubmission,
};

const WRAPPER: &str = include_str!("local/wrapper.sh");
/// Gives the worker a session of its own and lets go of it. Part of util-linux.
const SETSID: &str = "setsid";
/// How long a new worker may take to write down who it is.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Files of a worker's folder; see the head of this file.
const PID: &str = "pid";
const CANCEL: &str = "cancel";
const EXIT: &str = "exit";
/// Stands in the place of an exit code that nobody wrote.
const NO_CODE: &str = "none\n";
/// Longest piece of a worker's standard error that explains its end, in bytes.
const DIAG_BYTES: u64 = 2000;

/// How workers run on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// The folder of the workers' folders.
    pub spool: PathBuf,
    /// Workers that may run at a time.
    pub slots: u32,
    /// How long a worker that was told to end may take before it is killed.
    pub cancel_grace: Duration,
    /// Folders of ended workers that are kept, the newest. As many as there are slots are always
    /// kept: Harvester may not have asked about these yet.
    pub ended_kept: usize,
}

/// This machine as a batch system.
#[derive(Debug)]
pub struct LocalBatch {
    settings: LocalSettings,
    node: NodeName,
}

impl LocalBatch {
    /// Makes the spool if it is not there.
    ///
    /// # Errors
    ///
    /// [`SubmitError::SpoolUnusable`] if it cannot be made.
    pub fn open(settings: LocalSettings) -> Result<Self, SubmitError> {
        fs::create_dir_all(&settings.spool).map_err(|source| SubmitError::SpoolUnusable {
            path: settings.spool.clone(),
            source,
        })?;
        let node = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            settings,
            node: NodeName::new(node),
        })
    }

    /// Counts the workers that run, or may, and drops the oldest folders of those that do not.
    fn count_and_tidy(&self) -> io::Result<u32> {
        let mut running = 0;
        let mut ended = Vec::new();
        for entry in fs::read_dir(&self.settings.spool)? {
            let folder = entry?.path();
            match self.state_in(&folder)? {
                BatchState::Running { .. } | BatchState::Queued | BatchState::Unknown => {
                    running += 1;
                }
                BatchState::Ended { .. } | BatchState::Removed { .. } => {
                    ended.push((modified(&folder)?, folder));
                }
                // Perhaps not a worker's folder at all: it is left alone.
                BatchState::Absent => {}
            }
        }
        let slots = usize::try_from(self.settings.slots).unwrap_or(usize::MAX);
        let kept = self.settings.ended_kept.max(slots);
        if ended.len() > kept {
            ended.sort();
            for (_, folder) in &ended[..ended.len() - kept] {
                // One that cannot be removed only takes up room.
                drop(fs::remove_dir_all(folder));
            }
        }
        Ok(running)
    }

    /// Starts the wrapper in its own session and waits for its sign of life.
    fn start(&self, submission: &WorkerSubmission) -> Result<BatchId, SubmitError> {
        let mut child = Command::new(SETSID)
            .args(["--fork", "sh", "-c", WRAPPER, "worker"])
            .args(&submission.command)
            .envs(&submission.environment)
            .current_dir(self.work_folder(&submission.name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SubmitError::CannotStart {
                program: SETSID.to_owned(),
                source,
            })?;
        let said = hear(&mut child, START_LIMIT);
        let Some(said) = said.filter(|_| child.wait().is_ok()) else {
            return Err(SubmitError::NoSignOfLife {
                name: submission.name.clone(),
                limit_secs: START_LIMIT.as_secs(),
            });
        };
        if said.trim().parse::<u32>().is_err() {
            return Err(SubmitError::NotComeUp {
                name: submission.name.clone(),
                reason: "its files could not be written, or it was killed".to_owned(),
            });
        }
        Ok(BatchId::new(said.trim()))
    }

    fn state_in(&self, folder: &Path) -> io::Result<BatchState> {
        let Some(made) = modified(folder)? else {
            return Ok(BatchState::Absent);
        };
        if let Some(ended) = end_in(folder) {
            return Ok(ended);
        }
        let Some(identity) = Identity::read(&folder.join(PID)) else {
            // Between the making of the folder and the sign of life, or never started.
            let is_over = made.elapsed().is_ok_and(|age| age > START_LIMIT);
            return Ok(if is_over {
                BatchState::Absent
            } else {
                BatchState::Unknown
            });
        };
        if identity.is_alive() || !identity.session()?.is_empty() {
            let node = self.node.clone();
            return Ok(BatchState::Running { node });
        }
        // It may have written its exit code since we looked for it.
        Ok(end_in(folder).unwrap_or_else(|| {
            // For the next time, to be spared the search. Without it the answer is the same.
            drop(fs::write(folder.join(EXIT), NO_CODE));
            end_without_code(folder)
        }))
    }

    fn cancel_in(&self, folder: &Path) -> io::Result<()> {
        let Some(identity) = Identity::read(&folder.join(PID)) else {
            return Ok(());
        };
        if folder.join(EXIT).exists() {
            return Ok(());
        }
        let members = identity.session()?;
        let marker = folder.join(CANCEL);
        if let Some(told) = modified(&marker)? {
            let is_over = told
                .elapsed()
                .is_ok_and(|age| age >= self.settings.cancel_grace);
            return if is_over {
                signal_all(&members, Signal::KILL)
            } else {
                Ok(())
            };
        }
        // A pilot ends its own payloads, so only its group is told, as long as it leads one.
        match identity.group().filter(|_| identity.is_alive()) {
            Some(group) => ignore_gone(kill_process_group(group, Signal::TERM))?,
            None => signal_all(&members, Signal::TERM)?,
        }
        fs::write(marker, "")
    }
}

impl BatchSystem for LocalBatch {
    fn submit(&self, submission: &WorkerSubmission) -> Result<BatchId, SubmitError> {
        let name = &submission.name;
        if submission.command.is_empty() {
            return Err(SubmitError::EmptyCommand { name: name.clone() });
        }
        let unusable = |path: &Path| {
            let path = path.to_owned();
            |source| SubmitError::SpoolUnusable { path, source }
        };
        let slots = self.settings.slots;
        let folder = self.work_folder(name);
        let running = self
            .count_and_tidy()
            .map_err(unusable(&self.settings.spool))?;
        if running >= slots && !folder.exists() {
            return Err(SubmitError::SlotsTaken { slots });
        }
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return submitted_before(name, &folder);
            }
            Err(error) => return Err(unusable(&folder)(error)),
        }
        self.start(submission).inspect_err(|error| match error {
            SubmitError::SpoolUnusable { .. }
            | SubmitError::SlotsTaken { .. }
            | SubmitError::EmptyCommand { .. }
            | SubmitError::CannotStart { .. }
            | SubmitError::NotComeUp { .. } => {
                // Nothing runs in it. If it cannot be removed it says "absent" all the same.
                drop(fs::remove_dir_all(&folder));
            }
            SubmitError::NoSignOfLife { .. } | SubmitError::SubmittedBefore { .. } => {}
        })
    }

    fn query(
        &self,
        workers: &[WorkerName],
    ) -> Result<BTreeMap<WorkerName, BatchState>, QueryError> {
        let failed = |path: PathBuf| |source| QueryError { path, source };
        // A spool that is gone, a file system not mounted for one, says nothing about workers.
        fs::read_dir(&self.settings.spool).map_err(failed(self.settings.spool.clone()))?;
        workers
            .iter()
            .map(|worker| {
                let folder = self.work_folder(worker);
                let state = self.state_in(&folder).map_err(failed(folder))?;
                Ok((worker.clone(), state))
            })
            .collect()
    }

    fn cancel(&self, workers: &[WorkerName]) -> Result<(), CancelError> {
        let failures: Vec<(&WorkerName, io::Error)> = workers
            .iter()
            .filter_map(|worker| Some((worker, self.cancel_in(&self.work_folder(worker)).err()?)))
            .collect();
        let count = failures.len();
        match failures.into_iter().next() {
            None => Ok(()),
            Some((name, source)) => Err(CancelError {
                count,
                name: name.clone(),
                source,
            }),
        }
    }

    fn work_folder(&self, worker: &WorkerName) -> PathBuf {
        self.settings.spool.join(worker.as_str())
    }
}

/// Answers to a submission whose name is taken: by the same worker, submitted earlier.
fn submitted_before(name: &WorkerName, folder: &Path) -> Result<BatchId, SubmitError> {
    Identity::read(&folder.join(PID))
        .map(|identity| BatchId::new(identity.pid.to_string()))
        .ok_or_else(|| SubmitError::SubmittedBefore { name: name.clone() })
}

/// Returns how a worker ended, none if that is not written down.
fn end_in(folder: &Path) -> Option<BatchState> {
    let text = fs::read_to_string(folder.join(EXIT)).ok()?;
    let Ok(code) = text.trim().parse::<i64>() else {
        return Some(end_without_code(folder));
    };
    let diag = match code {
        0 => String::new(),
        _ => last_words(&folder.join("stderr")),
    };
    Some(BatchState::Ended {
        exit_code: Some(code),
        diag,
    })
}

fn end_without_code(folder: &Path) -> BatchState {
    if folder.join(CANCEL).exists() {
        let diag = "killed: it did not end when told to".to_owned();
        return BatchState::Removed { diag };
    }
    BatchState::Ended {
        exit_code: None,
        diag: "killed from outside, or the machine was restarted: it left no exit code".to_owned(),
    }
}

/// Reads what a child says until it closes its standard output; none if that takes too long.
fn hear(child: &mut Child, limit: Duration) -> Option<String> {
    let mut pipe = child.stdout.take()?;
    let deadline = std::time::Instant::now() + limit;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).ok()?;
        let mut ready = [PollFd::new(&pipe, PollFlags::IN)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return None,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        let mut buffer = [0; 64];
        match pipe.read(&mut buffer) {
            Ok(0) => return Some(String::from_utf8_lossy(&said).into_owned()),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Returns when a file was changed last, none if it is not there.
fn modified(path: &Path) -> io::Result<Option<SystemTime>> {
    match fs::metadata(path) {
        Ok(metadata) => metadata.modified().map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the end of a text file on one line, as much as is known.
fn last_words(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(DIAG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(DIAG_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or_default().trim().to_owned()
}

fn signal_all(processes: &[Pid], signal: Signal) -> io::Result<()> {
    processes
        .iter()
        .try_for_each(|pid| ignore_gone(kill_process(*pid, signal)))
}

/// A process that is gone already is what the signal was to bring about.
fn ignore_gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
