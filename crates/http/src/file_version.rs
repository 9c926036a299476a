//! Tells whether a file has been replaced or rewritten.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// What changes when a file is replaced or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    inode: u64,
    modified: (i64, i64),
    size: u64,
    /// Permission bits, which a log may warn of.
    pub(crate) mode: u32,
}

impl FileVersion {
    /// Looks at a file; links are followed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
            mode: meta.mode(),
        })
    }
}
