//! Space on this node's file systems: what is left, and a watch over it.
//!
//! * [`Space::of`] asks the file system that holds a path.
//! * [`SpaceWatch`] looks now and then while files are staged in, and says when the file system
//!   comes to its floor. [`Watch`](crate::Watch) asks it, so that transfers end with an error that
//!   names the file system instead of filling it.
//!
//! How much a job needs, and whether it is accepted, is decided elsewhere, before all this.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Cause, Direction, TransferError};
use ailurus_model::ByteCount;

mod floor;

pub use floor::{Floor, Shortage, Space, Verdict};

/// Most directories that are gone up to find a mount point.
const DEPTH_MAX: usize = 128;

impl Space {
    /// Asks the file system that holds a path, or will hold it: of one that is not there yet, the
    /// nearest directory above it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = nearest(path)?;
        let stat = rustix::fs::statvfs(&path)?;
        let bytes = |blocks: u64| ByteCount::from_bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(Self {
            mount: mount_of(&path),
            // What is kept for the administrator is not ours.
            free: bytes(stat.f_bavail),
            total: bytes(stat.f_blocks),
            // Zero in all: the file system makes inodes as it needs them.
            inodes_free: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }
}

/// Returns the path itself, or the nearest directory above it that is there.
fn nearest(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let found = absolute.ancestors().find_map(|it| it.canonicalize().ok());
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Returns the topmost directory on the same file system.
fn mount_of(path: &Path) -> PathBuf {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    let Ok(own) = device(path) else {
        return path.to_owned();
    };
    let same = |it: &&Path| device(it).is_ok_and(|other| other == own);
    let above = path.ancestors().take(DEPTH_MAX).take_while(same).last();
    above.unwrap_or(path).to_owned()
}

/// Watches a file system while files are written to it. It looks when it is asked, though not more
/// often than it has to; once it has seen too little, it stays with that.
#[derive(Debug)]
pub struct SpaceWatch {
    path: PathBuf,
    floor: Floor,
    begin: Instant,
    /// When to look again, in milliseconds since `begin`.
    due_ms: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What was left, and when that was, since the begin.
    last: Option<(Duration, Space)>,
    shortage: Option<Shortage>,
}

impl SpaceWatch {
    /// Begins to watch the file system that holds a path.
    #[must_use]
    pub fn new(path: PathBuf, floor: Floor) -> Self {
        Self {
            path,
            floor,
            begin: Instant::now(),
            due_ms: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// Says whether too little is left, looking if it is time to.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.look();
        self.seen().shortage.is_some()
    }

    /// Judges whether files may be written.
    ///
    /// # Errors
    ///
    /// [`Cause::NoSpace`] if too little is left, with a place that names the file system.
    pub fn check(&self, direction: Direction, place: &str) -> Result<(), TransferError> {
        if !self.is_short() {
            return Ok(());
        }
        let seen = self.seen();
        let shortage = seen.shortage.as_ref();
        let place = shortage.map_or_else(|| place.to_owned(), |it| format!("{place} on {it}"));
        Err(TransferError::new(direction, place, Cause::NoSpace))
    }

    /// Returns how long may be waited before it has to be asked again. Never nothing.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let due = Duration::from_millis(self.due_ms.load(Ordering::Relaxed));
        due.saturating_sub(self.begin.elapsed())
            .max(floor::LOOK_MIN)
    }

    fn look(&self) {
        let now = self.begin.elapsed();
        if now < Duration::from_millis(self.due_ms.load(Ordering::Relaxed)) {
            return;
        }
        let mut seen = self.seen();
        if seen.shortage.is_some() {
            return;
        }
        let wait = match Space::of(&self.path) {
            Ok(space) => {
                let verdict = self.floor.judge(now, &space, seen.last.as_ref());
                seen.last = Some((now, space));
                match verdict {
                    Verdict::Enough { look_after } => look_after,
                    Verdict::Short(shortage) => {
                        tracing::warn!("too little space is left on {shortage}");
                        seen.shortage = Some(shortage);
                        Duration::MAX
                    }
                }
            }
            // The transfers will meet what is wrong there by themselves.
            Err(_) => floor::LOOK_MAX,
        };
        let due = now.saturating_add(wait).as_millis();
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        self.due_ms.store(due, Ordering::Relaxed);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicBool};

    use super::*;
    use crate::{Patience, Watch};

    const MIB: ByteCount = ByteCount::from_mib(1);

    #[test]
    fn a_path_that_is_not_there_yet_is_on_the_file_system_of_its_parent() {
        let dir = tempfile::tempdir().expect("space");
        let there = Space::of(dir.path()).expect("there");
        let below = Space::of(&dir.path().join("a/b/c")).expect("a parent is there");
        assert_eq!(there.mount, below.mount);
        assert!(
            dir.path()
                .canonicalize()
                .expect("own")
                .starts_with(&there.mount)
        );
        assert!(there.free <= there.total);
        let proc = Space::of(Path::new("/proc/self")).expect("there");
        assert_eq!(proc.mount, Path::new("/proc"));
    }

    #[test]
    fn a_watch_says_once_and_for_all_that_too_little_is_left() {
        let dir = tempfile::tempdir().expect("space");
        let watch = |bytes| {
            let floor = Floor {
                free_min: ByteCount::from_bytes(bytes),
                inodes_min: 0,
            };
            SpaceWatch::new(dir.path().join("job"), floor)
        };
        let enough = watch(0);
        enough.check(Direction::StageIn, "x").expect("enough");
        assert!(enough.wait() > Duration::ZERO);
        let short = watch(u64::MAX);
        for _ in 0..3 {
            let error = short.check(Direction::StageIn, "file").expect_err("short");
            assert_eq!(error.code(), ailurus_model::ErrorCode::NoLocalSpace);
            let mount = Space::of(dir.path()).expect("there").mount;
            assert!(error.place.starts_with("file on "), "{}", error.place);
            assert!(
                error.place.contains(&*mount.to_string_lossy()),
                "{}",
                error.place
            );
        }
    }

    #[test]
    fn a_transfer_ends_with_the_space_and_not_as_one_that_was_stopped() {
        let dir = tempfile::tempdir().expect("space");
        let floor = Floor {
            free_min: ByteCount::from_bytes(u64::MAX),
            inodes_min: 0,
        };
        let space = Arc::new(SpaceWatch::new(dir.path().to_owned(), floor));
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(stop.clone(), Patience::default()).with_space(Some(space));
        assert!(watch.is_stopped());
        let error = watch.check(Direction::StageIn, "file").expect_err("short");
        assert!(matches!(error.cause, Cause::NoSpace), "{error:?}");
        stop.store(true, Ordering::Relaxed);
        let error = watch
            .check(Direction::StageIn, "file")
            .expect_err("stopped");
        assert!(matches!(error.cause, Cause::Stopped), "{error:?}");
    }

    #[test]
    fn a_watch_over_nothing_lets_everything_pass() {
        let floor = Floor {
            free_min: MIB,
            inodes_min: 10,
        };
        assert!(!SpaceWatch::new(PathBuf::from("/proc/self/fd"), Floor::default()).is_short());
        // A pseudo file system has no blocks at all: nothing can be written there either.
        let _ = SpaceWatch::new(PathBuf::from("/proc/self/fd"), floor).is_short();
    }
}
