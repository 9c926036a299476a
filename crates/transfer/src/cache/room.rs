//! Makes room in the cache: looks what is there, removes what the dead left and what was not used
//! for longest, and promises bytes to one fetch.
//!
//! All of it happens under one lock of the whole cache, so that the promises of many pilots add up.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    judge::{self, Candidate, Goal, Limits, Occupancy, Sharing},
    key::{Role, Stem},
    lock::{self, Kind, Lock, NoLock, Wait},
};

/// The lock of the whole cache. It is never removed.
const ROOM_LOCK: &str = "room.lock";

/// Longest wait for others that make room.
const ROOM_WAIT: Duration = Duration::from_secs(120);

/// Most names that are read, as a guard against a directory that is none of ours.
const NAMES_MAX: usize = 1 << 20;

/// Most files of one fetch that are counted: the file and what its tool made beside it.
const PART_FILES_MAX: usize = 1000;

/// Where the entries are.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) dir: PathBuf,
    pub(super) sharing: Sharing,
    pub(super) limits: Limits,
}

/// No room could be promised.
#[derive(Debug)]
pub(super) enum NoRoom {
    /// Everything that could go has gone, or would not have been enough.
    Full,
    /// The lock of the whole cache was not to be had, or the file system says no.
    Lock(NoLock),
}

impl From<io::Error> for NoRoom {
    fn from(error: io::Error) -> Self {
        Self::Lock(NoLock::Io(error))
    }
}

impl Shelf {
    /// Returns the path of one of an entry's files.
    pub(super) fn path(&self, stem: Stem, role: Role) -> PathBuf {
        self.dir.join(stem.name(role))
    }

    /// Promises room for an entry whose lock the caller holds, and makes its part directory, which
    /// stands for the promise.
    pub(super) fn promise(&self, stem: Stem, wait: &Wait<'_>) -> Result<(), NoRoom> {
        let _room = self.lock_room(wait).map_err(NoRoom::Lock)?;
        let listing = self.list()?;
        let mut occupancy = self.sweep(&listing, Some(stem))?;
        if !judge::has_room(stem.size, &occupancy, &self.limits) {
            self.make_room(stem.size, &mut occupancy, &listing)?;
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(self.sharing.dir_mode());
        builder.create(self.path(stem, Role::Part))?;
        Ok(())
    }

    /// Gives the file `part` of an entry, whose lock the caller holds, the name of its data, and
    /// redeems the promise.
    ///
    /// Under the lock of the whole cache: who reads the directory meanwhile could miss both names.
    pub(super) fn redeem(&self, stem: Stem, part: &Path, wait: &Wait<'_>) -> Result<(), NoLock> {
        let mode = fs::Permissions::from_mode(self.sharing.data_mode());
        fs::set_permissions(part, mode)?;
        let _room = self.lock_room(wait)?;
        fs::rename(part, self.path(stem, Role::Data))?;
        Ok(self.remove_part(stem)?)
    }

    fn lock_room(&self, wait: &Wait<'_>) -> Result<Lock, NoLock> {
        let wait = Wait {
            until: Instant::now() + ROOM_WAIT,
            ..*wait
        };
        let mode = self.sharing.lock_mode();
        lock::lock(&self.dir.join(ROOM_LOCK), Kind::Exclusive, mode, &wait)
    }

    /// Removes what dead pilots left, unless somebody else is at it.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let mode = self.sharing.lock_mode();
        let room = self.dir.join(ROOM_LOCK);
        if let Some(_room) = lock::try_lock(&room, Kind::Exclusive, mode)? {
            self.sweep(&self.list()?, None)?;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.dir)?.take(NAMES_MAX) {
            let Some((stem, role)) = entry?.file_name().to_str().and_then(Stem::read) else {
                continue;
            };
            match role {
                Role::Data => listing.data.push(stem),
                Role::Use => listing.uses.push(stem),
                Role::Lock => listing.locks.push(stem),
                Role::Part => listing.parts.push(stem),
            }
        }
        listing.data.sort_unstable();
        Ok(listing)
    }

    /// Removes what the dead left, and sums up the rest. The lock of `own` is held by the caller.
    fn sweep(&self, listing: &Listing, own: Option<Stem>) -> io::Result<Occupancy> {
        let mut occupancy = Occupancy {
            stored: listing.data.iter().map(|it| it.size).sum(),
            n_entries: listing.data.len(),
            free: free_bytes(&self.dir)?,
            ..Occupancy::default()
        };
        for stem in listing.locks.iter().filter(|it| Some(**it) != own) {
            let lock = lock::try_lock_existing(&self.path(*stem, Role::Lock), Kind::Exclusive)?;
            if let Some(lock) = lock {
                self.remove_part(*stem)?;
                ignore_missing(lock.remove())?;
            }
        }
        for stem in &listing.parts {
            let part = self.path(*stem, Role::Part);
            // A part is made under the lock that is held here, and goes before its own lock.
            if Some(*stem) == own || !listing.locks.contains(stem) {
                self.remove_part(*stem)?;
            } else if let Some(written) = bytes_in(&part)
                && !listing.has_data(*stem)
            {
                occupancy.promised = occupancy.promised.saturating_add(stem.size);
                let unwritten = stem.size.saturating_sub(written);
                occupancy.unwritten = occupancy.unwritten.saturating_add(unwritten);
                occupancy.n_entries += 1;
            }
        }
        for stem in listing.uses.iter().filter(|it| !listing.has_data(**it)) {
            let lock = lock::try_lock_existing(&self.path(*stem, Role::Use), Kind::Exclusive)?;
            if let Some(lock) = lock
                && !self.path(*stem, Role::Data).exists()
            {
                ignore_missing(lock.remove())?;
            }
        }
        Ok(occupancy)
    }

    fn make_room(
        &self,
        incoming: u64,
        occupancy: &mut Occupancy,
        listing: &Listing,
    ) -> Result<(), NoRoom> {
        let mut candidates: Vec<Candidate> = listing
            .data
            .iter()
            .map(|stem| Candidate {
                stem: *stem,
                last_use: self.last_use(*stem),
            })
            .collect();
        judge::sort_for_removal(&mut candidates);
        let removable = (candidates.len(), occupancy.stored);
        let goal = Goal::choose(incoming, occupancy, removable, &self.limits);
        for candidate in candidates {
            if goal.is_reached(occupancy, &self.limits) {
                break;
            }
            if let Some(freed) = self.remove_unused(candidate.stem)? {
                tracing::debug!(entry = %candidate.stem, "removed from the cache to make room");
                *occupancy = occupancy.without(candidate.stem.size, freed);
            }
        }
        if judge::has_room(incoming, occupancy, &self.limits) {
            Ok(())
        } else {
            Err(NoRoom::Full)
        }
    }

    fn last_use(&self, stem: Stem) -> i128 {
        let time = |meta: Metadata| {
            i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
        };
        fs::symlink_metadata(self.path(stem, Role::Use))
            .or_else(|_| fs::symlink_metadata(self.path(stem, Role::Data)))
            .map_or(0, time)
    }

    /// Removes an entry that nobody uses, and returns what the file system gets back in bytes.
    fn remove_unused(&self, stem: Stem) -> io::Result<Option<u64>> {
        let mode = self.sharing.lock_mode();
        let path = self.path(stem, Role::Use);
        let Some(lock) = lock::try_lock(&path, Kind::Exclusive, mode)? else {
            return Ok(None);
        };
        let freed = self.remove_data(stem)?;
        // Last: data without this file are data in use by nobody, this file without data is litter.
        ignore_missing(lock.remove())?;
        Ok(Some(freed))
    }

    /// Removes an entry's data, and returns what the file system gets back in bytes.
    pub(super) fn remove_data(&self, stem: Stem) -> io::Result<u64> {
        let data = self.path(stem, Role::Data);
        let freed = match fs::symlink_metadata(&data) {
            Ok(meta) if meta.nlink() == 1 => meta.len(),
            _ => 0,
        };
        ignore_missing(fs::remove_file(&data))?;
        Ok(freed)
    }

    /// Removes what was fetched of an entry whose lock the caller holds.
    pub(super) fn remove_part(&self, stem: Stem) -> io::Result<()> {
        ignore_missing(fs::remove_dir_all(self.path(stem, Role::Part)))
    }

    /// Takes the lock of an entry's use, marks the use, and writes down what the entry is.
    pub(super) fn mark_use(&self, stem: Stem, key: &str, wait: &Wait<'_>) -> Result<Lock, NoLock> {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        let mode = self.sharing.lock_mode();
        let lock = lock::lock(&self.path(stem, Role::Use), Kind::Shared, mode, wait)?;
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps {
            last_access: at(UTIME_OMIT),
            last_modification: at(UTIME_NOW),
        };
        // Only for people, and only for the order of removal: it works without.
        if lock.file.metadata()?.len() == 0 {
            let _ = rustix::io::pwrite(&lock.file, key.as_bytes(), 0);
        }
        let _ = rustix::fs::futimens(&lock.file, &times);
        Ok(lock)
    }
}

/// The names in the cache, by what they stand for.
#[derive(Debug, Default)]
struct Listing {
    /// Sorted.
    data: Vec<Stem>,
    uses: Vec<Stem>,
    locks: Vec<Stem>,
    parts: Vec<Stem>,
}

impl Listing {
    fn has_data(&self, stem: Stem) -> bool {
        self.data.binary_search(&stem).is_ok()
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns the bytes of the files in a directory and its directories; none if it has gone.
fn bytes_in(dir: &Path) -> Option<u64> {
    let mut backlog = vec![dir.to_owned()];
    let (mut sum, mut n_seen) = (0_u64, 0);
    while let Some(next) = backlog.pop() {
        for entry in fs::read_dir(&next).ok()?.flatten() {
            n_seen += 1;
            if n_seen > PART_FILES_MAX {
                return Some(sum);
            }
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => backlog.push(entry.path()),
                Ok(meta) => sum = sum.saturating_add(meta.len()),
                Err(_) => {}
            }
        }
    }
    Some(sum)
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
