//! The copy tool for file systems that this node mounts: [`Local`].
//!
//! It verifies what it places: the bytes are read once, and summed up while they are written. A
//! file system that can share blocks is asked to, instead of writing. A source that changes
//! meanwhile is an error, unless the catalogue's checksum shows that what was read is the file.

mod pump;
pub(crate) mod source;

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use ailurus_model::{ByteCount, Checksum};
use rustix::{fs::ioctl_ficlone, io::Errno};

use self::{pump::Pump, source::Source};
use crate::{
    Budget, Cause, Direction, Durability, Patience, RemoteFile, StopSwitch, Tool, Transfer,
    TransferError, TransferReport, Watch,
    checksum::{ChecksumKind, RunningChecksums},
    error::{BadPlaceReason, errno_of},
    partial::Partial,
    toolbox::split_url,
};

/// How a file comes to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// As a file of its own, which may share blocks with the source.
    #[default]
    Copy,
    /// As a further name of the same file where that can be, else as a copy. Who writes to one,
    /// writes to the other.
    HardLink,
    /// As a symbolic link at stage-in, as Pilot 3's `mv` does, and as a copy at stage-out.
    SymbolicLink,
}

/// Moves files between directories of this node.
#[derive(Debug)]
pub struct Local {
    placement: Placement,
    buffers: Arc<Budget>,
    helpers: Arc<Budget>,
}

impl Local {
    /// What queues call it, beside `local`.
    pub const FURTHER_NAMES: [&'static str; 1] = ["mv"];

    /// The URL schemes that it serves; the empty one stands for a plain path.
    pub const SCHEMES: [&'static str; 2] = ["file", ""];

    /// Makes the tool. `buffers` bounds the bytes of its buffers, and `helpers` counts the further
    /// threads that large copies may take at a time; both may be shared with other tools.
    #[must_use]
    pub const fn new(placement: Placement, buffers: Arc<Budget>, helpers: Arc<Budget>) -> Self {
        Self {
            placement,
            buffers,
            helpers,
        }
    }
}

impl Tool for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let far = local_path(transfer.direction, &transfer.url)?;
        let near = transfer.path.clone();
        let (from, to) = match transfer.direction {
            Direction::StageIn => (far, near),
            Direction::StageOut => (near, far),
        };
        let copy = Copy {
            tool: self,
            transfer,
            watch,
            from: &from,
            to: &to,
        };
        copy.make()
    }

    fn look(&self, url: &str, _watch: &Watch) -> Result<RemoteFile, TransferError> {
        let direction = Direction::StageIn;
        let path = local_path(direction, url)?;
        let source = Source::open(direction, &path)?;
        Ok(RemoteFile {
            size: Some(source.size()),
            checksum: None,
        })
    }

    fn remove(&self, url: &str, _watch: &Watch) -> Result<(), TransferError> {
        let direction = Direction::StageOut;
        let path = local_path(direction, url)?;
        match fs::remove_file(&path) {
            Err(error) if errno_of(&error) != Some(Errno::NOENT) => {
                Err(TransferError::of_writing(direction, &path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// One file on its way.
struct Copy<'a> {
    tool: &'a Local,
    transfer: &'a Transfer,
    watch: &'a Watch,
    from: &'a Path,
    to: &'a Path,
}

impl Copy<'_> {
    fn make(&self) -> Result<TransferReport, TransferError> {
        let begin = Instant::now();
        let direction = self.transfer.direction;
        check_target(direction, self.to)?;
        let source = Source::open(direction, self.from)?;
        // A source of the wrong size need not be read.
        self.verify_size(source.size())?;
        self.make_parent()?;
        let (partial, sums) = match (self.tool.placement, direction) {
            (Placement::Copy, _) | (Placement::SymbolicLink, Direction::StageOut) => {
                self.copy(&source)?
            }
            (Placement::HardLink, _) => self.link(&source, |hidden| source.link(hidden))?,
            (Placement::SymbolicLink, Direction::StageIn) => self.link(&source, |hidden| {
                std::os::unix::fs::symlink(fs::canonicalize(self.from)?, hidden)
            })?,
        };
        self.verify(&source, &sums)?;
        self.settle(partial)?;
        let mut sums = sums.into_iter();
        Ok(TransferReport {
            size: source.size(),
            checksum: sums.next().expect("a transfer has a main checksum"),
            also: sums.collect(),
            duration: begin.elapsed(),
        })
    }

    fn copy(&self, source: &Source) -> Result<(Partial, Vec<Checksum>), TransferError> {
        let partial = Partial::create(self.to).map_err(|error| self.writing(error))?;
        let sums = if ioctl_ficlone(&partial.file, source.file()).is_ok() {
            // What is summed up is what was placed.
            let clone = Source::open(self.transfer.direction, partial.path())?;
            self.pump(&clone).read()?
        } else {
            self.pump(source).copy_to(&partial.file, self.to)?
        };
        Ok((partial, sums))
    }

    /// Makes a link before the file is read, so that the very file that is verified is placed.
    /// Where none can be made, a copy is.
    fn link(
        &self,
        source: &Source,
        make: impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<(Partial, Vec<Checksum>), TransferError> {
        let file = source.file().try_clone();
        match file.and_then(|file| Partial::link(self.to, file, make)) {
            Ok(partial) => Ok((partial, self.pump(source).read()?)),
            // Another file system, too many links, or links to others' files are not allowed.
            Err(_) => self.copy(source),
        }
    }

    fn pump<'a>(&'a self, source: &'a Source) -> Pump<'a> {
        Pump {
            source,
            transfer: self.transfer,
            watch: self.watch,
            buffers: &self.tool.buffers,
            helpers: &self.tool.helpers,
        }
    }

    fn verify_size(&self, size: ByteCount) -> Result<(), TransferError> {
        match self.transfer.size {
            Some(expected) if expected != size => {
                let found = size;
                let cause = Cause::SizeMismatch { expected, found };
                Err(self.of_source(cause))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn verify(&self, source: &Source, sums: &[Checksum]) -> Result<(), TransferError> {
        let place = self.from.display().to_string();
        let main = sums.first().expect("a transfer has a main checksum");
        let verdict = self.transfer.verify(&place, source.size(), main);
        if verdict.is_ok() && self.transfer.checksum.is_some() {
            return Ok(());
        }
        // Nothing but the file itself tells whether it is whole, or why it is wrong.
        match source.change() {
            Some(what) => Err(self.of_source(Cause::Changed { what })),
            None => verdict,
        }
    }

    /// Gives a complete file its name, unless it was given up while its bytes went to the disk.
    fn settle(&self, partial: Partial) -> Result<(), TransferError> {
        let writing = |error| self.writing(error);
        let is_synced = self.transfer.durability == Durability::Synced;
        if is_synced {
            partial.sync().map_err(writing)?;
        }
        if self.watch.is_stopped() {
            return Err(self.of_source(Cause::Stopped));
        }
        partial.commit().map_err(writing)?;
        if is_synced {
            sync_directory(self.to).map_err(writing)?;
        }
        Ok(())
    }

    fn make_parent(&self) -> Result<(), TransferError> {
        let Some(parent) = self.to.parent().filter(|it| !it.as_os_str().is_empty()) else {
            return Ok(());
        };
        fs::create_dir_all(parent)
            .map_err(|error| TransferError::of_mkdir(self.transfer.direction, parent, error))
    }

    fn of_source(&self, cause: Cause) -> TransferError {
        TransferError::of_path(self.transfer.direction, self.from, cause)
    }

    fn writing(&self, error: io::Error) -> TransferError {
        TransferError::of_writing(self.transfer.direction, self.to, error)
    }
}

/// A target is a file's name without a way up, so that no job writes outside its directory.
fn check_target(direction: Direction, target: &Path) -> Result<(), TransferError> {
    let bad = |reason| {
        let cause = Cause::BadPlace(reason);
        Err(TransferError::of_path(direction, target, cause))
    };
    if target.components().any(|part| part == Component::ParentDir) {
        return bad(BadPlaceReason::LeadsUp);
    }
    if target.file_name().is_none() || target.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return bad(BadPlaceReason::NoName);
    }
    Ok(())
}

fn sync_directory(target: &Path) -> io::Result<()> {
    match target.parent().filter(|it| !it.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Reads a file once and returns its size and checksum.
///
/// # Errors
///
/// [`TransferError`] if it cannot be read, with the codes of the direction.
pub fn file_checksum(
    path: &Path,
    kind: ChecksumKind,
    direction: Direction,
) -> Result<(ByteCount, Checksum), TransferError> {
    let (size, sums) = file_checksums(path, &[kind], direction, &StopSwitch::new())?;
    let first = sums.into_iter().next();
    Ok((size, first.expect("one was asked for")))
}

/// Reads a file once and returns its size and its checksums, in the order of the kinds.
///
/// # Errors
///
/// As [`file_checksum`], and [`Cause::Stopped`].
pub fn file_checksums(
    path: &Path,
    kinds: &[ChecksumKind],
    direction: Direction,
    stop: &StopSwitch,
) -> Result<(ByteCount, Vec<Checksum>), TransferError> {
    let source = Source::open(direction, path)?;
    let watch = Watch::new(stop.flag().clone(), Patience::default());
    let mut sums = RunningChecksums::new(kinds.iter().copied());
    pump::read_through(&source, &watch, &mut sums)?;
    Ok((source.size(), sums.finish()))
}

/// Returns the path of a `file:` URL or of a plain path.
///
/// The path is taken as it is, without percent decoding: PanDA joins endpoint, prefix and file name
/// without encoding them.
///
/// # Errors
///
/// [`Cause::UnknownTool`] for another scheme, [`Cause::BadPlace`] for a file URL
/// whose path is not absolute, as in `file://host/path`.
pub fn local_path(direction: Direction, url: &str) -> Result<PathBuf, TransferError> {
    let fail = |cause| Err(TransferError::new(direction, url, cause));
    let Some((scheme, rest)) = split_url(url) else {
        return Ok(PathBuf::from(url));
    };
    if scheme != "file" {
        return fail(Cause::UnknownTool {
            wanted: scheme.to_owned(),
            known: "file, plain paths".to_owned(),
        });
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    fail(Cause::BadPlace(BadPlaceReason::NotAbsolute))
}

#[cfg(test)]
mod tests;
