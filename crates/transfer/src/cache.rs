//! A cache of inputs on a node or a site, without a server: a directory that many pilots share.
//!
//! [`Cache::obtain`] gives a file to a job. However many jobs, processes and nodes want the same
//! file at once, one fetches it, the others wait and get copies. What is given is verified, each
//! time. A cache that is full, slow or broken never fails a job: the file is fetched without it.
//!
//! An entry is up to four files (see `key.rs`): the data; a lock of its *use*, held shared while the
//! data are copied, so that nobody removes them; a lock of its *fetch*; and, while it is fetched, a
//! directory of what has come so far. Locks are the kernel's (`flock`): those of a dead process are
//! gone, and what it left is removed by the next one that makes room.
//!
//! The file system must pass `flock` on between all nodes that share the directory. A file system
//! that has no locks is refused; one whose locks hold on each node only (Lustre with `localflock`)
//! cannot be told from a good one, and costs fetches that are done twice, never a wrong file.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use crate::{Cause, Direction, TransferError, TransferReport, new_guid};

mod config;
mod flights;
mod judge;
mod key;
mod lock;
mod place;
mod room;
mod tool;

pub use config::{CacheConfig, CacheError, Link};
pub use key::Key;
pub use tool::CachedTool;

use flights::Flights;
use judge::{Failure, Ownership, Sharing};
use key::{Role, Stem};
use lock::{Kind, Lock, NoLock, Wait};
use place::Placer;
use room::{NoRoom, Shelf};

/// The directory of this form of entries. Another form gets another name.
const SHELF_NAME: &str = "ailurus-1";

/// The file that shows whether locks hold.
const PROBE_NAME: &str = "probe.lock";

/// The name of a file that is being fetched, in a directory of its own.
const PART_NAME: &str = "data";

/// Most times that an entry is begun with anew, because it went or was damaged meanwhile.
const ROUNDS_MAX: usize = 5;

/// A file that a job got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// Where it came from.
    pub how: How,
    /// Size, checksum, and how long it took with all waits.
    pub report: TransferReport,
}

/// Where a file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// From the cache.
    Hit,
    /// From the storage, and it is in the cache now.
    Fetched,
    /// From the storage, without the cache.
    Bypassed(Bypass),
}

/// Why a file was fetched without the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bypass {
    /// There is no room for it: it is too large, or all that is there is in use.
    #[error("there is no room for it")]
    Full,
    /// Another pilot has been fetching it for too long.
    #[error("another pilot has been fetching it for too long")]
    Busy,
    /// The cache's directory cannot be used.
    #[error("its directory cannot be used")]
    Unusable,
    /// The entry was damaged or went away again and again.
    #[error("its entry does not stay whole")]
    Unstable,
}

/// A cache that is shared with other pilots.
#[derive(Debug)]
pub struct Cache {
    shelf: Shelf,
    lock_wait: Duration,
    placer: Placer,
    flights: Flights,
}

/// Why the cache did not give a file.
enum Miss {
    /// Fetch it without the cache.
    Bypass(Bypass),
    /// The job gets nothing.
    Failed(TransferError),
}

/// Tells one file from the next of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds of the last change of the content. Links change the inode only.
    modified: (i64, i64),
}

/// An entry while it is fetched. What has come is removed when dropped, and the lock is given back.
struct Fetching<'a> {
    shelf: &'a Shelf,
    stem: Stem,
    lock: Option<Lock>,
}

impl Cache {
    /// Opens a cache, makes its directory if it is not there, and removes what dead pilots left.
    ///
    /// # Errors
    ///
    /// [`CacheError`] if it cannot be used.
    pub fn open(config: CacheConfig) -> Result<Self, CacheError> {
        let CacheConfig { dir, .. } = &config;
        let unusable = |source| CacheError::Unusable {
            dir: dir.clone(),
            source,
        };
        if dir.to_str().is_none() {
            return Err(unusable(io::ErrorKind::InvalidFilename.into()));
        }
        let sharing = prepare_dir(dir)
            .map_err(unusable)?
            .ok_or_else(|| CacheError::Untrusted { dir: dir.clone() })?;
        let shelf = Shelf {
            dir: dir.join(SHELF_NAME),
            sharing,
            limits: judge::limits(config.size_max, config.free_min, config.entries_max),
        };
        let probe = shelf.dir.join(PROBE_NAME);
        if !lock::do_locks_hold(&probe, sharing.lock_mode()).map_err(unusable)? {
            return Err(CacheError::NoLocks { dir: dir.clone() });
        }
        shelf.tidy().map_err(unusable)?;
        Ok(Self {
            shelf,
            lock_wait: config.lock_wait,
            placer: Placer::new(config.link),
            flights: Flights::default(),
        })
    }

    /// Gives a file to a job as `target`, from the cache or by `fetch`, which has to put the file at
    /// the path that it is given, and is called again only if what it fetched was damaged after.
    ///
    /// Waits while another pilot fetches the file; once `stop` is true this ends. Time spent here
    /// counts for no transfer: `fetch` has to begin its own watch.
    ///
    /// # Errors
    ///
    /// What `fetch` says; [`Cause::Stopped`]; and what keeps the target from being written.
    pub fn obtain(
        &self,
        key: &Key,
        target: &Path,
        stop: &Arc<AtomicBool>,
        mut fetch: impl FnMut(&Path) -> Result<TransferReport, TransferError>,
    ) -> Result<Obtained, TransferError> {
        let begin = Instant::now();
        let outcome = match self.try_obtain(key, target, stop, &mut fetch) {
            Ok(obtained) => Ok(obtained),
            Err(Miss::Failed(error)) => Err(error),
            Err(Miss::Bypass(why)) => {
                tracing::warn!("`{key}` is fetched without the cache: {why}");
                let how = How::Bypassed(why);
                fetch(target).map(|report| Obtained { how, report })
            }
        };
        outcome.map(|mut obtained| {
            obtained.report.duration = begin.elapsed();
            obtained
        })
    }

    fn try_obtain(
        &self,
        key: &Key,
        target: &Path,
        stop: &Arc<AtomicBool>,
        fetch: &mut dyn FnMut(&Path) -> Result<TransferReport, TransferError>,
    ) -> Result<Obtained, Miss> {
        let stem = key.stem();
        let wait = Wait {
            stop,
            until: Instant::now() + self.lock_wait,
        };
        let miss = |why| self.miss(target, why);
        let mut damaged = None;
        for _ in 0..ROUNDS_MAX {
            if self.is_there(stem, damaged) {
                let in_use = self
                    .shelf
                    .mark_use(stem, &key.to_string(), &wait)
                    .map_err(miss)?;
                if let Some(obtained) = self.give(key, target, How::Hit, stop, &mut damaged)? {
                    return Ok(obtained);
                }
                drop(in_use);
            }
            let _flight = self.flights.enter(stem, &wait).map_err(miss)?;
            let fetching = self.begin_fetch(stem, &wait).map_err(miss)?;
            if self.is_there(stem, damaged) {
                // Somebody else has fetched it meanwhile.
                continue;
            }
            self.shelf
                .remove_data(stem)
                .map_err(|error| miss(error.into()))?;
            self.shelf.promise(stem, &wait).map_err(|why| match why {
                NoRoom::Full => Miss::Bypass(Bypass::Full),
                NoRoom::Lock(why) => miss(why),
            })?;
            let in_use = self.fetch(key, fetching, &wait, fetch)?;
            let given = self.give(key, target, How::Fetched, stop, &mut damaged)?;
            drop(in_use);
            if let Some(obtained) = given {
                return Ok(obtained);
            }
        }
        Err(Miss::Bypass(Bypass::Unstable))
    }

    /// Gives an entry, whose use is locked, to a job; none if it has gone or is damaged.
    fn give(
        &self,
        key: &Key,
        target: &Path,
        how: How,
        stop: &Arc<AtomicBool>,
        damaged: &mut Option<FileId>,
    ) -> Result<Option<Obtained>, Miss> {
        let data = self.shelf.path(key.stem(), Role::Data);
        let before = FileId::of(&data);
        let error = match self.placer.place(&data, target, key, stop) {
            Ok(report) => return Ok(Some(Obtained { how, report })),
            Err(error) => error,
        };
        let side = judge::side_of(&error, &target.display().to_string());
        match judge::judge_failure(&error.cause, side) {
            Failure::OfTheJob => Err(Miss::Failed(error)),
            Failure::Closed => Err(Miss::Bypass(Bypass::Unusable)),
            Failure::Gone => Ok(None),
            Failure::Damaged => {
                let why = &error.cause;
                tracing::warn!("`{key}` is damaged in the cache and is fetched again: {why}");
                *damaged = before;
                Ok(None)
            }
        }
    }

    /// Says whether there are data other than those that are known to be damaged.
    fn is_there(&self, stem: Stem, damaged: Option<FileId>) -> bool {
        let found = FileId::of(&self.shelf.path(stem, Role::Data));
        found.is_some() && found != damaged
    }

    fn begin_fetch(&self, stem: Stem, wait: &Wait<'_>) -> Result<Fetching<'_>, NoLock> {
        let path = self.shelf.path(stem, Role::Lock);
        let mode = self.shelf.sharing.lock_mode();
        let lock = lock::lock(&path, Kind::Exclusive, mode, wait)?;
        Ok(Fetching {
            shelf: &self.shelf,
            stem,
            lock: Some(lock),
        })
    }

    /// Fetches a file and puts it on the shelf. The lock of its use is returned.
    fn fetch(
        &self,
        key: &Key,
        fetching: Fetching<'_>,
        wait: &Wait<'_>,
        fetch: &mut dyn FnMut(&Path) -> Result<TransferReport, TransferError>,
    ) -> Result<Lock, Miss> {
        let unusable = |error: io::Error| {
            tracing::warn!(%error, "the cache cannot take in `{key}`");
            Miss::Bypass(Bypass::Unusable)
        };
        // A new directory each time: the tool of a dead pilot may still write into the old one.
        let part = fetching.new_part().map_err(unusable)?;
        let shelf = self.shelf.dir.display().to_string();
        let report = fetch(&part).map_err(|error| {
            if judge::is_of_the_cache(&error, &shelf) {
                tracing::warn!(
                    "the cache `{shelf}` cannot take in `{key}`: {}",
                    error.cause
                );
                Miss::Bypass(Bypass::Unusable)
            } else {
                Miss::Failed(error)
            }
        })?;
        judge::check_fetched(&report, key).map_err(|cause| {
            Miss::Failed(TransferError::new(
                Direction::StageIn,
                key.to_string(),
                cause,
            ))
        })?;
        // However long the fetch took, the rest may take as long as any wait.
        let wait = Wait {
            until: Instant::now() + self.lock_wait,
            ..*wait
        };
        self.shelf
            .mark_use(key.stem(), &key.to_string(), &wait)
            .and_then(|in_use| {
                self.shelf.redeem(key.stem(), &part, &wait)?;
                Ok(in_use)
            })
            .map_err(|why| self.miss(&part, why))
    }

    fn miss(&self, target: &Path, why: NoLock) -> Miss {
        match why {
            NoLock::Stopped => Miss::Failed(TransferError::of_path(
                Direction::StageIn,
                target,
                Cause::Stopped,
            )),
            NoLock::TimedOut => Miss::Bypass(Bypass::Busy),
            NoLock::Io(error) => {
                let dir = self.shelf.dir.display();
                tracing::warn!(%error, "the cache `{dir}` cannot be used");
                Miss::Bypass(Bypass::Unusable)
            }
        }
    }
}

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

impl Fetching<'_> {
    fn new_part(&self) -> io::Result<PathBuf> {
        let dir = self.shelf.path(self.stem, Role::Part);
        let dir = dir.join(new_guid()?.as_str());
        fs::create_dir(&dir)?;
        Ok(dir.join(PART_NAME))
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        // What cannot be removed is removed by who makes room next.
        let _ = self.shelf.remove_part(self.stem);
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove();
        }
    }
}

/// Makes the cache's directories; none if they are not to be trusted.
fn prepare_dir(dir: &Path) -> io::Result<Option<Sharing>> {
    fs::create_dir_all(dir)?;
    let meta = fs::metadata(dir)?;
    let Some(sharing) = Sharing::judge(Ownership {
        dir_mode: meta.mode(),
        dir_owner: meta.uid(),
        own_id: rustix::process::geteuid().as_raw(),
    }) else {
        return Ok(None);
    };
    let shelf = dir.join(SHELF_NAME);
    match fs::create_dir(&shelf) {
        Ok(()) => {
            let mode = fs::Permissions::from_mode(sharing.dir_mode());
            fs::set_permissions(&shelf, mode)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if fs::symlink_metadata(&shelf)?.is_dir() {
        Ok(Some(sharing))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

#[cfg(test)]
mod tests;
