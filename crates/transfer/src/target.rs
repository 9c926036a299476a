//! This node's side of a transfer with a remote storage: the file that is filled, the file that is
//! sent.
//!
//! [`Target`] appears whole or not at all. [`Source`] knows whether it changed while it was read.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Component, Path},
};

use ailurus_model::ByteCount;
use rustix::{
    fs::{FallocateFlags, Mode, OFlags, fallocate},
    io::Errno,
};

use crate::{BadPlaceReason, Cause, Durability, Transfer, TransferError, Watch, partial::Partial};

/// Smallest file whose space is reserved before its bytes come. For smaller ones it costs more
/// than it tells.
const RESERVE_MIN_BYTES: u64 = 1 << 20;

/// A file in the making. Several threads may write to it.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    partial: Partial,
    transfer: &'a Transfer,
}

impl<'a> Target<'a> {
    /// Makes the file's directory, and the file under a hidden name.
    pub(crate) fn open(transfer: &'a Transfer) -> Result<Self, TransferError> {
        let path = transfer.path.as_path();
        check_name(transfer, path)?;
        let create = || Partial::create(path);
        let partial = create().or_else(|error| {
            // Most directories are there already.
            if error.kind() != io::ErrorKind::NotFound {
                return Err(TransferError::of_writing(transfer.direction, path, error));
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)
                    .map_err(|error| TransferError::of_mkdir(transfer.direction, parent, error))?;
            }
            create().map_err(|error| TransferError::of_writing(transfer.direction, path, error))
        })?;
        Ok(Self { partial, transfer })
    }

    /// Reserves space, so that a full disk shows before the bytes come. File systems that cannot
    /// do so show it later.
    pub(crate) fn reserve(&self, size: u64) -> Result<(), TransferError> {
        if size < RESERVE_MIN_BYTES {
            return Ok(());
        }
        match fallocate(&self.partial.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(errno @ (Errno::NOSPC | Errno::FBIG | Errno::DQUOT)) => {
                Err(self.failed(errno.into()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes bytes at an offset.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TransferError> {
        let written = self.partial.file.write_all_at(bytes, offset);
        written.map_err(|error| self.failed(error))
    }

    /// Gives the complete file its name, unless the transfer was given up meanwhile.
    pub(crate) fn settle(self, watch: &Watch) -> Result<(), TransferError> {
        let Self { partial, transfer } = self;
        let failed = |error| TransferError::of_writing(transfer.direction, &transfer.path, error);
        let is_synced = transfer.durability == Durability::Synced;
        if is_synced {
            partial.sync().map_err(failed)?;
        }
        if watch.is_stopped() {
            let cause = Cause::Stopped;
            return Err(TransferError::new(transfer.direction, &transfer.url, cause));
        }
        partial.commit().map_err(failed)?;
        if is_synced {
            let parent = transfer.path.parent();
            let parent = parent.filter(|it| !it.as_os_str().is_empty());
            let directory = File::open(parent.unwrap_or(Path::new(".")));
            directory.and_then(|it| it.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> TransferError {
        TransferError::of_writing(self.transfer.direction, &self.transfer.path, error)
    }
}

/// A target is a file's name without a way up, so that no job writes outside its directory.
fn check_name(transfer: &Transfer, path: &Path) -> Result<(), TransferError> {
    let reason = if path.components().any(|part| part == Component::ParentDir) {
        BadPlaceReason::LeadsUp
    } else if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        BadPlaceReason::NoName
    } else {
        return Ok(());
    };
    let cause = Cause::BadPlace(reason);
    Err(TransferError::of_path(transfer.direction, path, cause))
}

/// A file that is sent.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: File,
    size: u64,
    version: (u64, i64, i64),
    transfer: &'a Transfer,
}

impl<'a> Source<'a> {
    /// Opens a regular file. Never waits for the other end of a pipe.
    pub(crate) fn open(transfer: &'a Transfer) -> Result<Self, TransferError> {
        let (direction, path) = (transfer.direction, transfer.path.as_path());
        let failed = |error: io::Error| TransferError::of_reading(direction, path, error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| failed(errno.into()))?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(TransferError::of_path(direction, path, Cause::NotAFile));
        }
        if let Some(expected) = transfer.size.filter(|it| it.as_bytes() != meta.len()) {
            let found = ByteCount::from_bytes(meta.len());
            let cause = Cause::SizeMismatch { expected, found };
            return Err(TransferError::of_path(direction, path, cause));
        }
        Ok(Self {
            file,
            size: meta.len(),
            version: version_of(&meta),
            transfer,
        })
    }

    /// Returns the size that it had when it was opened.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Reads at an offset; nothing beyond the size that it had.
    pub(crate) fn read_at(&self, room: &mut [u8], offset: u64) -> Result<usize, TransferError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = room.len().min(left);
        let direction = self.transfer.direction;
        let length = loop {
            match self.file.read_at(&mut room[..wanted], offset) {
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let path = &self.transfer.path;
                    return Err(TransferError::of_reading(direction, path, error));
                }
            }
        };
        if length == 0 && wanted > 0 {
            return Err(self.changed("it became shorter"));
        }
        Ok(length)
    }

    /// Fails if it has been written to since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), TransferError> {
        let meta = self.file.metadata().map_err(|error| {
            TransferError::of_reading(self.transfer.direction, &self.transfer.path, error)
        })?;
        if version_of(&meta) == self.version {
            return Ok(());
        }
        Err(self.changed("its size or time of change is another"))
    }

    fn changed(&self, what: &str) -> TransferError {
        let what = what.to_owned();
        let cause = Cause::Changed { what };
        TransferError::of_path(self.transfer.direction, &self.transfer.path, cause)
    }
}

fn version_of(meta: &fs::Metadata) -> (u64, i64, i64) {
    (meta.len(), meta.mtime(), meta.mtime_nsec())
}
