//! Makes a job's log archive: a `tar.gz` of its directory.
//!
//! The same directory gives the same bytes, wherever it lies and whoever owns it: entries are sorted,
//! owners are left out, gzip's own time is zero. Times of files are kept, for they tell what happened
//! when. It is gzip because everybody reads it; zstd saves a sixth of the archive for 4 % more pilot
//! if it is the one in C, and nothing if it is one in Rust.
//!
//! Links to regular files within the directory are packed as the files; links elsewhere stay links,
//! unless their target is named in [`PackRequest::linked_files`], so that a payload cannot have files of
//! the pilot packed by linking to them. Sockets, pipes and devices are left out. Everything is
//! bounded, and what was left out or cut is said in the archive itself.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ailurus_model::{Blame, ByteCount, Checksum, ErrorCode, Retry};
use flate2::{Compression, GzBuilder};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    checksum::{ChecksumKind, RunningChecksum},
    error::errno_of,
    partial::Partial,
};

mod walk;

use walk::{Entry, Kind, Walk};

/// The entry that says what was left out or cut.
const NOTES_NAME: &str = "ARCHIVE-NOTES.txt";

/// Most lines in the notes.
const NOTES_MAX: usize = 1000;

/// What to pack.
#[derive(Debug, Clone)]
pub struct PackRequest {
    /// The directory to pack.
    pub dir: PathBuf,
    /// The archive to write. It may lie within `dir`; it is not packed into itself.
    pub archive: PathBuf,
    /// The directory's name within the archive, for example `tarball_PandaJob_17_SPD`.
    pub root_name: String,
    /// What to leave out. `*` stands for any text, `?` for one byte. A pattern with a slash is
    /// matched with the path below `dir`, one without with the name. A directory is left out whole.
    pub exclude: Vec<String>,
    /// Files outside `dir` whose content is packed where `dir` has a link to them.
    pub linked_files: Vec<PathBuf>,
    /// Limits.
    pub limits: PackLimits,
}

/// Limits of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// Most bytes of one file. Of a larger one, beginning and end are packed.
    pub file_max: ByteCount,
    /// Most bytes of all files, before compression. Files that would exceed it are left out.
    pub total_max: ByteCount,
    /// Most files, directories and links.
    pub entries_max: usize,
    /// Longest time that packing may take.
    pub time_limit: Duration,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            file_max: ByteCount::from_mib(256),
            total_max: ByteCount::from_gib(4),
            entries_max: 100_000,
            time_limit: Duration::from_secs(10_800),
        }
    }
}

/// An archive that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackReport {
    /// Its size.
    pub size: ByteCount,
    /// Its checksum, an Adler-32.
    pub checksum: Checksum,
    /// Files, directories and links in it, without the notes.
    pub n_entries: usize,
    /// What was left out or cut, each as one line. Excluded names are not among them.
    pub notes: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// The log archive could not be made. Nothing was left at its place.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The directory is not there or cannot be read.
    #[error("the directory `{}` cannot be packed", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("no space left for the archive `{}`", path.display())]
    NoSpace {
        /// The archive.
        path: PathBuf,
    },
    /// The archive cannot be written.
    #[error("the archive `{}` cannot be written", path.display())]
    Unwritable {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Packing took too long.
    #[error("the archive `{}` was not made within {} s", path.display(), limit.as_secs())]
    TimedOut {
        /// The archive.
        path: PathBuf,
        /// The limit that was reached.
        limit: Duration,
    },
}

impl PackError {
    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreadable { .. } | Self::Unwritable { .. } => ErrorCode::LogFileCreationFailure,
            Self::NoSpace { .. } => ErrorCode::NoLocalSpace,
            Self::TimedOut { .. } => ErrorCode::LogCreationTimeout,
        }
    }

    /// Says whether trying again can help, and where.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.code().retry()
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        self.code().blame()
    }
}

/// Packs a directory.
///
/// A file that cannot be read is left out with a note; a file that changes meanwhile is packed with
/// the size that it had. The archive appears whole or not at all.
///
/// # Errors
///
/// [`PackError`] if the directory cannot be read, the archive not be written, or time is up.
pub fn pack(request: &PackRequest) -> Result<PackReport, PackError> {
    let begin = Instant::now();
    let writing = |source: io::Error| match errno_of(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => PackError::NoSpace {
            path: request.archive.clone(),
        },
        _ => PackError::Unwritable {
            path: request.archive.clone(),
            source,
        },
    };
    let partial = Partial::create(&request.archive).map_err(writing)?;
    let walk = walk::walk(request, partial.path()).map_err(|source| PackError::Unreadable {
        path: request.dir.clone(),
        source,
    })?;
    let timed_out = || begin.elapsed() > request.limits.time_limit;
    let Some(report) = write_archive(request, walk, &partial.file, &timed_out).map_err(writing)?
    else {
        return Err(PackError::TimedOut {
            path: request.archive.clone(),
            limit: request.limits.time_limit,
        });
    };
    partial.commit().map_err(writing)?;
    Ok(PackReport {
        duration: begin.elapsed(),
        ..report
    })
}

/// Writes all entries and the notes; none if time is up. The report has no duration yet.
fn write_archive(
    request: &PackRequest,
    walk: Walk,
    file: &File,
    timed_out: &dyn Fn() -> bool,
) -> io::Result<Option<PackReport>> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Summed::new(file), Compression::fast());
    let mut packer = Packer {
        tar: tar::Builder::new(gzip),
        limits: request.limits,
        packed: 0,
        n_entries: 0,
        notes: walk.notes,
    };
    for entry in &walk.entries {
        if timed_out() {
            return Ok(None);
        }
        packer.add(entry, &request.root_name)?;
    }
    packer.add_notes(&request.root_name)?;
    let (size, checksum) = packer.tar.into_inner()?.finish()?.finish();
    Ok(Some(PackReport {
        size,
        checksum,
        n_entries: packer.n_entries,
        notes: packer.notes,
        duration: Duration::ZERO,
    }))
}

struct Packer<W: Write> {
    tar: tar::Builder<W>,
    limits: PackLimits,
    /// Bytes of files so far.
    packed: u64,
    n_entries: usize,
    notes: Vec<String>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, entry: &Entry, root_name: &str) -> io::Result<()> {
        let name = Path::new(root_name).join(&entry.relative);
        let mut header = header(entry.mode, entry.mtime);
        match &entry.kind {
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                self.tar.append_data(&mut header, name, io::empty())?;
            }
            Kind::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                self.tar.append_link(&mut header, name, target)?;
            }
            Kind::File => {
                header.set_entry_type(tar::EntryType::Regular);
                return self.add_file(entry, header, &name);
            }
        }
        self.n_entries += 1;
        Ok(())
    }

    fn add_file(&mut self, entry: &Entry, mut header: tar::Header, name: &Path) -> io::Result<()> {
        // Only a failing target ends the archive; a failing source is left out.
        let (file, size) = match open(&entry.source) {
            Ok(opened) => opened,
            Err(error) => {
                self.note(&entry.relative, &format!("left out: {error}"));
                return Ok(());
            }
        };
        let kept = size.min(self.limits.file_max.as_bytes());
        if self.packed.saturating_add(kept) > self.limits.total_max.as_bytes() {
            self.note(&entry.relative, "left out: the archive would be too large");
            return Ok(());
        }
        if kept < size {
            self.note(
                &entry.relative,
                &format!("cut: {kept} of {size} bytes, from beginning and end"),
            );
        }
        header.set_size(kept);
        let content = excerpt(file, size, kept);
        self.tar.append_data(&mut header, name, content)?;
        self.packed += kept;
        self.n_entries += 1;
        Ok(())
    }

    fn note(&mut self, path: &Path, what: &str) {
        walk::note(&mut self.notes, path, what);
    }

    fn add_notes(&mut self, root_name: &str) -> io::Result<()> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let text = self.notes.join("\n") + "\n";
        let mut header = header(0o644, 0);
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let name = Path::new(root_name).join(NOTES_NAME);
        self.tar.append_data(&mut header, name, text.as_bytes())
    }
}

/// Returns the header of an entry without content, whose owner is nobody in particular.
fn header(mode: u32, mtime: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(0);
    header
}

/// Opens a regular file, never a link, and returns its size. Never waits for a pipe.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta.len()))
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Returns exactly `kept` bytes of a file of `size` bytes: all of it, or beginning and end. Zeros
/// stand for what a shrinking or failing file does not give.
fn excerpt(file: File, size: u64, kept: u64) -> impl Read {
    let head = if kept < size { kept / 2 } else { kept };
    Excerpt {
        file,
        until_jump: head,
        tail: kept - head,
        jump_to: size - (kept - head),
    }
    .chain(io::repeat(0))
    .take(kept)
}

struct Excerpt {
    file: File,
    until_jump: u64,
    tail: u64,
    jump_to: u64,
}

impl Read for Excerpt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.until_jump == 0 {
            if self.tail == 0 {
                return Ok(0);
            }
            self.until_jump = std::mem::take(&mut self.tail);
            if self.file.seek(SeekFrom::Start(self.jump_to)).is_err() {
                return Ok(0);
            }
        }
        let length = (&self.file)
            .take(self.until_jump)
            .read(buffer)
            // What cannot be read is as good as gone: zeros take its place.
            .unwrap_or(0);
        self.until_jump -= u64::try_from(length).unwrap_or(0);
        Ok(length)
    }
}

/// Sums up what is written.
struct Summed<W> {
    target: W,
    size: u64,
    checksum: RunningChecksum,
}

impl<W> Summed<W> {
    fn new(target: W) -> Self {
        Self {
            target,
            size: 0,
            checksum: RunningChecksum::new(ChecksumKind::Adler32),
        }
    }

    fn finish(self) -> (ByteCount, Checksum) {
        (ByteCount::from_bytes(self.size), self.checksum.finish())
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.target.write(bytes)?;
        self.checksum.update(&bytes[..length]);
        self.size += u64::try_from(length).unwrap_or(0);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

#[cfg(test)]
mod tests;
