//! What is remembered of storages, so that it is asked or tried once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most directories that are remembered; a full memory is forgotten.
const DIRECTORIES_MAX: usize = 20_000;

/// Most storages that are remembered.
const HOSTS_MAX: usize = 1000;

/// What is known of one storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// Whether it can rename a file; none if nobody asked.
    pub(crate) renames: Option<bool>,
    /// Whether it decodes the new name of a renaming; none if it has not been seen.
    pub(crate) decodes: Option<bool>,
    /// Whether it takes bytes itself, instead of redirecting to a pool.
    pub(crate) takes_bytes: bool,
    /// Whether it has been said that its files' checksums cannot be verified there.
    pub(crate) is_noted: bool,
}

/// The memory of one tool, shared by its threads.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    known: Mutex<BTreeMap<String, Host>>,
    directories: Mutex<BTreeSet<String>>,
}

impl Hosts {
    /// Returns what is known of a storage.
    pub(crate) fn get(&self, origin: &str) -> Host {
        self.known().get(origin).copied().unwrap_or_default()
    }

    /// Changes what is known of a storage and returns what was known before.
    pub(crate) fn learn(&self, origin: &str, change: impl FnOnce(&mut Host)) -> Host {
        let mut known = self.known();
        if known.len() >= HOSTS_MAX && !known.contains_key(origin) {
            known.clear();
        }
        let host = known.entry(origin.to_owned()).or_default();
        let before = *host;
        change(host);
        before
    }

    /// Says whether a directory is there, by its URL.
    pub(crate) fn has_directory(&self, url: &str) -> bool {
        self.directories().contains(url)
    }

    /// Remembers that a directory is there.
    pub(crate) fn add_directory(&self, url: String) {
        let mut directories = self.directories();
        if directories.len() >= DIRECTORIES_MAX {
            directories.clear();
        }
        directories.insert(url);
    }

    /// Forgets a directory that has gone.
    pub(crate) fn forget_directory(&self, url: &str) {
        self.directories().remove(url);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directories(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
