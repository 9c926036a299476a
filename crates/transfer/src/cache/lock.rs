//! Locks of files that a dead process does not keep: the kernel drops them, also after `kill -9`.
//!
//! A lock file may be removed by who holds it exclusively. So whoever gets a lock looks whether the
//! file still has its name, and begins anew if not.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

/// How often a waiting thread looks whether it is given up. It is woken at once by the lock.
const STOP_TICK: Duration = Duration::from_millis(100);

/// Most threads of this process that wait for locks, those that nobody waits for any more included.
const WAITERS_MAX: usize = 64;

/// Stack of a thread that waits for a lock, in bytes.
const STACK_BYTES: usize = 64 << 10;

/// Most times that a lock is taken again because its file was removed meanwhile.
const STALE_MAX: usize = 1000;

/// Threads of this process that wait for locks.
static WAITERS: AtomicUsize = AtomicUsize::new(0);

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shared,
    Exclusive,
}

impl Kind {
    const fn at_once(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::NonBlockingLockShared,
            Self::Exclusive => FlockOperation::NonBlockingLockExclusive,
        }
    }

    const fn waiting(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::LockShared,
            Self::Exclusive => FlockOperation::LockExclusive,
        }
    }
}

/// How long to wait, and what ends it before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) until: Instant,
}

impl Wait<'_> {
    /// Returns how long to wait before the switch is looked at again.
    ///
    /// # Errors
    ///
    /// Once it is given up or time is up.
    pub(super) fn tick(&self) -> Result<Duration, NoLock> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(NoLock::Stopped);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoLock::TimedOut);
        }
        Ok(left.min(STOP_TICK))
    }
}

/// A lock was not got.
#[derive(Debug)]
pub(super) enum NoLock {
    /// The job is given up.
    Stopped,
    /// Somebody else has it for too long.
    TimedOut,
    /// The operating system says no.
    Io(io::Error),
}

impl From<io::Error> for NoLock {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A locked file. It is unlocked when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) file: File,
    path: PathBuf,
}

impl Lock {
    /// Removes the file, which must be locked exclusively, and unlocks it.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Takes a lock if it is free. The file is made with permissions `mode` if it is not there.
pub(super) fn try_lock(path: &Path, kind: Kind, mode: u32) -> io::Result<Option<Lock>> {
    for _ in 0..STALE_MAX {
        let file = open(path, OFlags::CREATE, mode)?;
        if !try_flock(&file, kind)? {
            return Ok(None);
        }
        if is_current(&file, path)? {
            let path = path.to_owned();
            return Ok(Some(Lock { file, path }));
        }
    }
    Err(Errno::STALE.into())
}

/// Takes a lock if there is such a file and it is free.
pub(super) fn try_lock_existing(path: &Path, kind: Kind) -> io::Result<Option<Lock>> {
    match open(path, OFlags::empty(), 0) {
        Ok(file) if try_flock(&file, kind)? && is_current(&file, path)? => {
            let path = path.to_owned();
            Ok(Some(Lock { file, path }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a lock, waiting for it as long as it takes within limits.
pub(super) fn lock(path: &Path, kind: Kind, mode: u32, wait: &Wait<'_>) -> Result<Lock, NoLock> {
    for _ in 0..STALE_MAX {
        wait.tick()?;
        let file = open(path, OFlags::CREATE, mode)?;
        let file = if try_flock(&file, kind)? {
            file
        } else {
            tracing::debug!("waits for another pilot, which holds `{}`", path.display());
            wait_flock(file, kind, wait)?
        };
        if is_current(&file, path)? {
            let path = path.to_owned();
            return Ok(Lock { file, path });
        }
    }
    Err(NoLock::Io(Errno::STALE.into()))
}

/// Says whether locks of this directory's file system hold: two of one file exclude each other.
pub(super) fn do_locks_hold(probe: &Path, mode: u32) -> io::Result<bool> {
    let outcome = || {
        let first = open(probe, OFlags::CREATE, mode)?;
        let second = open(probe, OFlags::CREATE, mode)?;
        // Where another process tries this too, its lock shows the same.
        io::Result::Ok(
            !try_flock(&first, Kind::Exclusive)? || !try_flock(&second, Kind::Exclusive)?,
        )
    };
    match outcome() {
        Err(error) if is_without_locks(&error) => Ok(false),
        outcome => outcome,
    }
}

fn is_without_locks(error: &io::Error) -> bool {
    matches!(
        crate::error::errno_of(error),
        Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)
    )
}

fn open(path: &Path, create: OFlags, mode: u32) -> io::Result<File> {
    let flags = create | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags | OFlags::RDWR, Mode::from_raw_mode(mode)) {
        Ok(file) => {
            let file = File::from(file);
            if create.contains(OFlags::CREATE) && file.metadata()?.mode() & 0o777 != mode & 0o777 {
                // The mask of this process may be narrower. Another owner's file keeps its bits.
                let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(mode));
            }
            Ok(file)
        }
        // Another account's file. Within one node a lock needs no permission to write.
        Err(Errno::ACCESS | Errno::ROFS) => {
            let flags = flags.difference(OFlags::CREATE) | OFlags::RDONLY;
            Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
        }
        Err(errno) => Err(errno.into()),
    }
}

fn try_flock(file: &File, kind: Kind) -> io::Result<bool> {
    loop {
        match rustix::fs::flock(file, kind.at_once()) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits in a thread of its own: the kernel's wait has no limit, and wakes at once. If it is given
/// up, the thread ends with the next turn of the lock, which it passes on.
fn wait_flock(file: File, kind: Kind, wait: &Wait<'_>) -> Result<File, NoLock> {
    if WAITERS.fetch_add(1, Ordering::Relaxed) >= WAITERS_MAX {
        WAITERS.fetch_sub(1, Ordering::Relaxed);
        return Err(NoLock::TimedOut);
    }
    let (tx, rx) = mpsc::sync_channel(1);
    let work = move || {
        let outcome = loop {
            match rustix::fs::flock(&file, kind.waiting()) {
                Err(Errno::INTR) => {}
                outcome => break outcome,
            }
        };
        WAITERS.fetch_sub(1, Ordering::Relaxed);
        // If nobody waits any more, this drops the file, and with it the lock.
        let _ = tx.send(outcome.map(|()| file));
    };
    let waiter = thread::Builder::new()
        .name("cache-lock".to_owned())
        .stack_size(STACK_BYTES);
    if let Err(error) = waiter.spawn(work) {
        WAITERS.fetch_sub(1, Ordering::Relaxed);
        return Err(NoLock::Io(error));
    }
    loop {
        match rx.recv_timeout(wait.tick()?) {
            Ok(outcome) => return outcome.map_err(|errno| NoLock::Io(errno.into())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(NoLock::Io(Errno::CANCELED.into())),
        }
    }
}

/// Says whether a name still is that of an open file.
fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MODE: u32 = 0o600;
    const LONG: Duration = Duration::from_secs(60);

    fn wait_for(stop: &AtomicBool, time: Duration) -> Wait<'_> {
        let until = Instant::now() + time;
        Wait { stop, until }
    }

    #[test]
    fn an_exclusive_lock_excludes_and_a_shared_one_does_not() {
        let dir = tempfile::tempdir().expect("space");
        let path = dir.path().join("a.lock");
        let first = try_lock(&path, Kind::Shared, MODE)
            .expect("locks")
            .expect("free");
        let second = try_lock(&path, Kind::Shared, MODE).expect("locks");
        assert!(second.is_some());
        assert!(
            try_lock(&path, Kind::Exclusive, MODE)
                .expect("locks")
                .is_none()
        );
        drop((first, second));
        assert!(
            try_lock(&path, Kind::Exclusive, MODE)
                .expect("locks")
                .is_some()
        );
        assert!(do_locks_hold(&path, MODE).expect("locks"));
    }

    #[test]
    fn who_waits_for_a_removed_lock_gets_the_new_one() {
        let dir = tempfile::tempdir().expect("space");
        let path = dir.path().join("a.lock");
        let first = try_lock(&path, Kind::Exclusive, MODE)
            .expect("locks")
            .expect("free");
        let waiting = {
            let path = path.clone();
            thread::spawn(move || {
                let stop = AtomicBool::new(false);
                lock(&path, Kind::Exclusive, MODE, &wait_for(&stop, LONG)).map(|it| it.path)
            })
        };
        first.remove().expect("own");
        assert_eq!(waiting.join().expect("no panic").expect("free"), path);
        assert!(path.exists());
    }

    #[test]
    fn a_wait_ends_at_its_limit_or_with_the_switch() {
        let dir = tempfile::tempdir().expect("space");
        let path = dir.path().join("a.lock");
        let held = try_lock(&path, Kind::Exclusive, MODE)
            .expect("locks")
            .expect("free");
        let stop = Arc::new(AtomicBool::new(false));
        let outcome = lock(&path, Kind::Shared, MODE, &wait_for(&stop, STOP_TICK * 2));
        assert!(matches!(outcome, Err(NoLock::TimedOut)), "{outcome:?}");
        let waiting = {
            let (stop, path) = (stop.clone(), path.clone());
            thread::spawn(move || {
                matches!(
                    lock(&path, Kind::Shared, MODE, &wait_for(&stop, LONG)),
                    Err(NoLock::Stopped)
                )
            })
        };
        stop.store(true, Ordering::Relaxed);
        assert!(waiting.join().expect("no panic"));
        // Those who gave up pass the lock on.
        drop(held);
        let stop = AtomicBool::new(false);
        lock(&path, Kind::Exclusive, MODE, &wait_for(&stop, LONG)).expect("free in the end");
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_not_followed() {
        let dir = tempfile::tempdir().expect("space");
        let path = dir.path().join("a.lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).expect("space");
        try_lock(&path, Kind::Exclusive, MODE).expect_err("a link");
        assert!(!dir.path().join("elsewhere").exists());
    }
}
