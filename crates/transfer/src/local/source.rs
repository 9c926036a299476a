//! A file that is read: [`Source`].

use std::{
    fs::{File, Metadata},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use ailurus_model::ByteCount;
use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags, fadvise, linkat};

use crate::{Cause, Direction, TransferError};

/// Bytes of a block as `stat` counts them.
const STAT_BLOCK_BYTES: u64 = 512;

/// A regular file that is open for reading, with what it was like at that time.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    meta: Metadata,
    path: PathBuf,
    direction: Direction,
}

impl Source {
    /// Opens a regular file. Never waits for the other end of a pipe.
    pub(crate) fn open(direction: Direction, path: &Path) -> Result<Self, TransferError> {
        let reading = |error| TransferError::of_reading(direction, path, error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| reading(errno.into()))?;
        let meta = file.metadata().map_err(reading)?;
        if !meta.is_file() {
            return Err(TransferError::of_path(direction, path, Cause::NotAFile));
        }
        // A hint that may be refused.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self {
            file,
            meta,
            path: path.to_owned(),
            direction,
        })
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Its size when it was opened.
    pub(crate) fn size(&self) -> ByteCount {
        ByteCount::from_bytes(self.meta.len())
    }

    /// Says whether it has holes: fewer blocks than bytes.
    pub(super) fn is_sparse(&self) -> bool {
        self.meta.blocks().saturating_mul(STAT_BLOCK_BYTES) < self.meta.len()
    }

    /// Reads the bytes from `offset` on, all that fit.
    pub(crate) fn read(&self, chunk: &mut [u8], offset: u64) -> Result<(), TransferError> {
        let outcome = self.file.read_exact_at(chunk, offset);
        outcome.map_err(|error| {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                return TransferError::of_reading(self.direction, &self.path, error);
            }
            let what = self.change();
            let what = what.unwrap_or_else(|| "it became shorter".to_owned());
            self.error(Cause::Changed { what })
        })
    }

    /// Says how it changed since it was opened, if it did.
    pub(crate) fn change(&self) -> Option<String> {
        let now = self.file.metadata().ok()?;
        let (before, after) = (self.meta.len(), now.len());
        if after != before {
            return Some(format!("it had {before} bytes, then {after}"));
        }
        let time = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec());
        (time(&now) != time(&self.meta)).then(|| "it was written to".to_owned())
    }

    /// Gives this very file a further name, whatever has its path meanwhile.
    pub(super) fn link(&self, name: &Path) -> io::Result<()> {
        let opened = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, opened, CWD, name, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
    }

    pub(crate) fn error(&self, cause: Cause) -> TransferError {
        TransferError::of_path(self.direction, &self.path, cause)
    }

    pub(super) const fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }
}
