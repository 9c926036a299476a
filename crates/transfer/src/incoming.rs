//! The node's side of a stage-in: a file in the making that becomes the target, whole, or goes.

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

use crate::{
    BadPlaceReason, Cause, Durability, Transfer, TransferError, Watch,
    partial::{Partial, hidden_beside},
};

/// A target in the making. Dropping it leaves the target as it was.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    transfer: &'a Transfer,
    partial: Partial,
}

impl<'a> Incoming<'a> {
    /// Makes the target's directory and a file beside the target.
    pub(crate) fn begin(transfer: &'a Transfer) -> Result<Self, TransferError> {
        check_target(transfer)?;
        make_parent(transfer)?;
        let partial = Partial::create(&transfer.path).map_err(|error| {
            TransferError::of_writing(transfer.direction, &transfer.path, error)
        })?;
        Ok(Self { transfer, partial })
    }

    /// Returns the file to write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.partial.file
    }

    /// Returns the file for threads that share it, each with its own offsets.
    pub(crate) const fn open_file(&self) -> &File {
        &self.partial.file
    }

    /// Gives the verified file its name, unless the transfer was given up meanwhile.
    pub(crate) fn settle(self, watch: &Watch) -> Result<(), TransferError> {
        let Self { transfer, partial } = self;
        let file = partial.file.try_clone().map_err(|error| {
            TransferError::of_writing(transfer.direction, &transfer.path, error)
        })?;
        settle(transfer, watch, &file, || partial.commit())
    }
}

/// Gives a whole file its name, with or without waiting for the disk.
fn settle(
    transfer: &Transfer,
    watch: &Watch,
    file: &File,
    rename: impl FnOnce() -> io::Result<()>,
) -> Result<(), TransferError> {
    let (direction, path) = (transfer.direction, &transfer.path);
    let writing = |error| TransferError::of_writing(direction, path, error);
    let is_synced = transfer.durability == Durability::Synced;
    if is_synced {
        file.sync_all().map_err(writing)?;
    }
    if watch.is_stopped() {
        watch.check(direction, &path.display().to_string())?;
        return Err(TransferError::of_path(direction, path, Cause::Stopped));
    }
    rename().map_err(writing)?;
    if is_synced {
        let parent = File::open(parent_of(path)).and_then(|parent| parent.sync_all());
        parent.map_err(writing)?;
    }
    Ok(())
}

/// A target is a file's name without a way up, so that no job writes outside its directory.
pub(crate) fn check_target(transfer: &Transfer) -> Result<(), TransferError> {
    let target = &transfer.path;
    let reason = if target.components().any(|part| part == Component::ParentDir) {
        BadPlaceReason::LeadsUp
    } else if target.file_name().is_none() || target.as_os_str().as_encoded_bytes().ends_with(b"/")
    {
        BadPlaceReason::NoName
    } else {
        return Ok(());
    };
    let cause = Cause::BadPlace(reason);
    Err(TransferError::of_path(transfer.direction, target, cause))
}

/// Makes the target's directory.
pub(crate) fn make_parent(transfer: &Transfer) -> Result<(), TransferError> {
    let parent = parent_of(&transfer.path);
    fs::create_dir_all(parent)
        .map_err(|error| TransferError::of_mkdir(transfer.direction, parent, error))
}

fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A directory beside the target, in which a program writes the file. Dropping it removes it with
/// all that is in it.
#[derive(Debug)]
pub(crate) struct IncomingDirectory<'a> {
    transfer: &'a Transfer,
    path: PathBuf,
}

impl<'a> IncomingDirectory<'a> {
    /// Makes the target's directory and one beside the target.
    pub(crate) fn begin(transfer: &'a Transfer) -> Result<Self, TransferError> {
        check_target(transfer)?;
        make_parent(transfer)?;
        let path = hidden_beside(&transfer.path);
        fs::create_dir(&path)
            .map_err(|error| TransferError::of_mkdir(transfer.direction, &path, error))?;
        // Programs may run elsewhere, or take a path without a slash for something else.
        let path = fs::canonicalize(&path)
            .map_err(|error| TransferError::of_writing(transfer.direction, &path, error))?;
        Ok(Self { transfer, path })
    }

    /// Returns where the program is to write.
    pub(crate) fn file(&self) -> PathBuf {
        let name = self.transfer.path.file_name().unwrap_or_default();
        self.path.join(name)
    }

    /// Returns what all files in it have, in bytes: some programs write under another name first.
    pub(crate) fn bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
        sizes.fold(0, u64::saturating_add)
    }

    /// Returns the file that the program has written: the one of the right name, or the only one.
    pub(crate) fn found(&self) -> Option<PathBuf> {
        let wanted = self.file();
        if wanted.exists() {
            return Some(wanted);
        }
        let mut entries = fs::read_dir(&self.path).ok()?.flatten();
        let only = entries.next()?.path();
        entries.next().is_none().then_some(only)
    }

    /// Gives the verified file its name, unless the transfer was given up meanwhile.
    pub(crate) fn settle(self, path: &Path, watch: &Watch) -> Result<(), TransferError> {
        let file = File::open(path)
            .map_err(|error| TransferError::of_reading(self.transfer.direction, path, error))?;
        settle(self.transfer, watch, &file, || {
            fs::rename(path, &self.transfer.path)
        })
    }
}

impl Drop for IncomingDirectory<'_> {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_dir_all(&self.path);
    }
}
