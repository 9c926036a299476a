//! How a cache is configured, and why it cannot be used.

use std::{io, path::PathBuf, time::Duration};

use ailurus_model::ByteCount;

/// A cache as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The directory that the pilots share. It is made if it is not there. If its group may write
    /// to it, the cache is shared with the group, else with nobody.
    pub dir: PathBuf,
    /// Most bytes of all files in it.
    pub size_max: ByteCount,
    /// Bytes of its file system that the cache leaves free, 5 GiB by default.
    pub free_min: ByteCount,
    /// Most files in it, 50,000 by default.
    pub entries_max: usize,
    /// Longest wait for another pilot that fetches the same file, one hour by default. After it
    /// the file is fetched without the cache.
    pub lock_wait: Duration,
    /// How jobs get files.
    pub link: Link,
}

impl CacheConfig {
    /// Makes a configuration with defaults.
    #[must_use]
    pub const fn new(dir: PathBuf, size_max: ByteCount) -> Self {
        Self {
            dir,
            size_max,
            free_min: ByteCount::from_gib(5),
            entries_max: 50_000,
            lock_wait: Duration::from_secs(3600),
            link: Link::Copy,
        }
    }
}

/// How a job gets a file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// As a copy, which shares the blocks on the disk where the file system can.
    #[default]
    Copy,
    /// As a hard link, if the job's directory is on the same file system: no time and no space.
    /// The file cannot be written by accident, but a payload can lift that, and then changes the
    /// file of all jobs that have it. The next use finds it damaged.
    Hard,
}

/// A cache cannot be used. The pilot goes on without.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made, read or written.
    #[error("the cache `{}` cannot be used", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody, or another account alone, may write to the directory.
    #[error(
        "the cache `{}` is not trusted: it must belong to the pilot's account or to a group, and not be writable by all", dir.display()
    )]
    Untrusted {
        /// The directory.
        dir: PathBuf,
    },
    /// Locks do not hold there.
    #[error("the cache `{}` is on a file system without `flock`", dir.display())]
    NoLocks {
        /// The directory.
        dir: PathBuf,
    },
}
