//! The port that every copy tool serves: [`Tool`], what it is asked for, what it answers.
//!
//! A tool moves one file between this node and a storage, verifies it in the same pass, and leaves
//! it whole or not at all. Which tool, which replica and how often is decided elsewhere.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ailurus_model::{ByteCount, Checksum, EndpointName, Guid, Lfn, Scope};

use crate::{
    Cause, Direction, TransferError,
    checksum::{ChecksumKind, RunningChecksums},
    patience::{Pace, Patience},
    space::SpaceWatch,
};

/// One file to move between this node and a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which way it goes.
    pub direction: Direction,
    /// The storage's side: a URL, or a path that the node mounts.
    pub url: String,
    /// This node's side. At stage-in its directories are made, and a file that is there is
    /// replaced.
    pub path: PathBuf,
    /// The size that the catalogue says, if known: it must be this.
    pub size: Option<ByteCount>,
    /// The checksum that the catalogue says, if known: it must be this.
    pub checksum: Option<Checksum>,
    /// Which checksum to report if none is known.
    pub kind: ChecksumKind,
    /// Further checksums to report, computed in the same pass.
    pub also: Vec<ChecksumKind>,
    /// Whether to wait for this node's disk.
    pub durability: Durability,
    /// How long it may go on.
    pub patience: Patience,
    /// What catalogues call the file, for programs that want to be told.
    pub identity: FileIdentity,
}

/// What catalogues call a file. The default is a file of which nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileIdentity {
    /// Its scope.
    pub scope: Option<Scope>,
    /// Its logical name.
    pub lfn: Option<Lfn>,
    /// Its globally unique id.
    pub guid: Option<Guid>,
    /// The storage endpoint of the storage's side.
    pub endpoint: Option<EndpointName>,
    /// The name of the endpoint's space reservation (`token` in CRIC), which is no secret.
    pub space_token: Option<String>,
}

impl Transfer {
    /// Returns the kind of the checksum that is verified or, if none is known, reported.
    #[must_use]
    pub fn main_kind(&self) -> ChecksumKind {
        self.checksum.as_ref().map_or(self.kind, ChecksumKind::of)
    }

    /// Begins all checksums that are asked for, the main one first.
    #[must_use]
    pub fn begin_checksums(&self) -> RunningChecksums {
        RunningChecksums::new(
            [self.main_kind()]
                .into_iter()
                .chain(self.also.iter().copied()),
        )
    }

    /// Compares what has moved with what the catalogue says. `place` is where it was read, for the
    /// error.
    ///
    /// # Errors
    ///
    /// [`Cause::SizeMismatch`], [`Cause::ChecksumMismatch`].
    pub fn verify(
        &self,
        place: &str,
        size: ByteCount,
        checksum: &Checksum,
    ) -> Result<(), TransferError> {
        let wrong = |cause| Err(TransferError::new(self.direction, place, cause));
        if let Some(expected) = self.size
            && expected != size
        {
            let found = size;
            return wrong(Cause::SizeMismatch { expected, found });
        }
        if let Some(expected) = &self.checksum
            && expected != checksum
        {
            return wrong(Cause::ChecksumMismatch {
                expected: expected.clone(),
                found: checksum.clone(),
            });
        }
        Ok(())
    }
}

/// A file that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferReport {
    /// Its size.
    pub size: ByteCount,
    /// Its checksum, of the bytes as they were read.
    pub checksum: Checksum,
    /// The further checksums that were asked for, as far as the tool can compute them.
    pub also: Vec<Checksum>,
    /// How long it took.
    pub duration: Duration,
}

/// Whether a transfer waits for this node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The kernel writes when it likes: for inputs, which can be fetched again.
    #[default]
    Relaxed,
    /// File and directory entry are on the disk: for outputs, which are reported to the server.
    Synced,
}

/// A file as a storage describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteFile {
    /// Its size, if the storage says it.
    pub size: Option<ByteCount>,
    /// Its checksum, if the storage knows one.
    pub checksum: Option<Checksum>,
}

/// A way to move files.
pub trait Tool: Send + Sync + fmt::Debug {
    /// Returns the name by which queues ask for it, for example `xrdcp`.
    fn name(&self) -> &str;

    /// Moves one file. The target appears whole and verified, or not at all.
    ///
    /// # Errors
    ///
    /// [`TransferError`]; the target is as it was before.
    fn transfer(&self, transfer: &Transfer, watch: &Watch)
    -> Result<TransferReport, TransferError>;

    /// Asks the storage about a file.
    ///
    /// # Errors
    ///
    /// [`Cause::Missing`] if there is none, others as for a transfer.
    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError>;

    /// Removes a file from the storage; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`TransferError`] as for a transfer.
    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError>;
}

/// Watches one transfer: the switch that gives it up, what has moved, and its pace.
///
/// Threads that move parts of one file share it.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    moved_bytes: AtomicU64,
    begin: Instant,
    pace: Mutex<Pace>,
    space: Option<Arc<SpaceWatch>>,
}

impl Watch {
    /// Begins to watch. Once `stop` is true the transfer is given up.
    #[must_use]
    pub fn new(stop: Arc<AtomicBool>, patience: Patience) -> Self {
        Self {
            stop,
            moved_bytes: AtomicU64::new(0),
            begin: Instant::now(),
            pace: Mutex::new(Pace::new(patience)),
            space: None,
        }
    }

    /// Has it watch a file system too, for files that are written to it.
    #[must_use]
    pub fn with_space(self, space: Option<Arc<SpaceWatch>>) -> Self {
        Self { space, ..self }
    }

    /// Begins anew: what was before does not count, neither as pace nor as slowness.
    pub fn begin_again(&self) {
        let moved = self.moved_bytes.load(Ordering::Relaxed);
        let mut pace = self.pace();
        *pace = pace.begun_again(self.elapsed(), moved);
    }

    /// Counts bytes that have moved.
    pub fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes that have moved, also those of tries that broke.
    #[must_use]
    pub fn moved(&self) -> ByteCount {
        ByteCount::from_bytes(self.moved_bytes.load(Ordering::Relaxed))
    }

    /// Returns how long it has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Says whether it is given up, or has to be: [`Watch::check`] says why.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.space.as_ref().is_some_and(|it| it.is_short())
    }

    /// Returns the switch that gives it up.
    #[must_use]
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Judges whether the transfer may go on. `place` is what is moved, for the error.
    ///
    /// # Errors
    ///
    /// [`Cause::Stopped`] if it is given up, [`Cause::NoSpace`] if the watched file system comes to
    /// its floor, [`Cause::TooSlow`] if it does not move.
    pub fn check(&self, direction: Direction, place: &str) -> Result<(), TransferError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(TransferError::new(direction, place, Cause::Stopped));
        }
        if let Some(space) = &self.space {
            space.check(direction, place)?;
        }
        let moved = self.moved_bytes.load(Ordering::Relaxed);
        self.pace()
            .judge(self.elapsed(), moved)
            .map_err(|why| TransferError::new(direction, place, Cause::TooSlow(why)))
    }

    /// Returns how long may be waited for the next byte before [`Watch::check`] is due.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let moved = self.moved_bytes.load(Ordering::Relaxed);
        let due = self.pace().next_judgement(moved);
        let wait = due.saturating_sub(self.elapsed());
        self.space.as_ref().map_or(wait, |it| it.wait().min(wait))
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
