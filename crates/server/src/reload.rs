//! Notices that the files behind [`Knowledge`] have changed, and reads them again.
//!
//! It does not say what becomes of the answer: the watchdog asks, see [`crate::watchdog`]. The
//! main type is [`Reloader`].

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

use crate::{
    config::Config,
    knowledge::{Knowledge, KnowledgeError},
};

/// By what a changed file is known: a new one moved into its place, or new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Version {
    /// Returns none for a file that is not there.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

/// Looks at the files of queues, storages and settings of pilots.
#[derive(Debug)]
pub(crate) struct Reloader {
    config: Config,
    /// The files as they were looked at last, the useless ones too.
    seen: [Option<Version>; 3],
}

impl Reloader {
    /// Begins with the files as they are now.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            seen: versions(config),
            config: config.clone(),
        }
    }

    /// Reads the files again if one has changed since the last look, else returns none.
    pub(crate) fn look(&mut self) -> Option<Result<Knowledge, KnowledgeError>> {
        let now = versions(&self.config);
        if now == self.seen {
            return None;
        }
        // A change while they are read makes another version, for the next look.
        self.seen = now;
        Some(Knowledge::load(&self.config))
    }
}

fn versions(config: &Config) -> [Option<Version>; 3] {
    let version = |path: &Option<std::path::PathBuf>| path.as_deref().and_then(Version::of);
    [
        Version::of(&config.queues),
        version(&config.storages),
        version(&config.pilot_settings),
    ]
}
