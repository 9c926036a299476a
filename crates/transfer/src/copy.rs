//! Copies one file: read once, verified on the way, never half-written at its target.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use ailurus_model::{ByteCount, Checksum};
use rustix::fs::{Advice, Mode, OFlags, fadvise};

use crate::{
    Direction, Durability, TransferError, TransferReport,
    checksum::{ChecksumKind, RunningChecksum},
    error::{BadPlaceReason, Cause},
    partial::Partial,
    patience::Impatience,
};

/// Bytes that are read, summed up and written at once: they stay in the processor's cache.
const CHUNK_BYTES: usize = 512 << 10;

/// One file to copy within the node's file systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The source, a regular file or a link to one.
    pub from: PathBuf,
    /// The target. Its directories are made; a file that is there is replaced.
    pub to: PathBuf,
    /// Which way the file goes, which decides about error codes.
    pub direction: Direction,
    /// The size that the catalogue says, if known.
    pub size: Option<ByteCount>,
    /// The checksum that the catalogue says, if known.
    pub checksum: Option<Checksum>,
    /// Which checksum to report if none is known.
    pub kind: ChecksumKind,
    /// Whether to wait for the disk.
    pub durability: Durability,
    /// Longest time that it may take, checked between chunks.
    pub time_limit: Duration,
}

impl CopyRequest {
    /// Makes an error about the source.
    fn error(&self, cause: Cause) -> TransferError {
        TransferError::of_path(self.direction, &self.from, cause)
    }
}

/// Copies one file.
///
/// `stop` is looked at between chunks and once more before the target gets its name; once it is
/// true the copy is given up. The target appears whole and verified, or not at all.
///
/// # Errors
///
/// [`TransferError`]: nothing at the source, no permission, no space, a wrong size or checksum, and
/// so on. The target is as it was.
pub fn copy_local(
    request: &CopyRequest,
    stop: &AtomicBool,
) -> Result<TransferReport, TransferError> {
    let begin = Instant::now();
    let direction = request.direction;
    let writing = |error| TransferError::of_writing(direction, &request.to, error);
    check_target(request)?;
    let source = open_source(request)?;
    make_parent(request)?;
    let mut partial = Partial::create(&request.to).map_err(writing)?;

    let kind = request
        .checksum
        .as_ref()
        .map_or(request.kind, ChecksumKind::of);
    let (size, checksum) = pump(source, &mut partial.file, kind, request, stop)?;
    verify(request, size, &checksum)?;
    settle(partial, request, stop)?;
    Ok(TransferReport {
        size,
        checksum,
        also: Vec::new(),
        duration: begin.elapsed(),
    })
}

/// Gives a complete file its name, unless the copy was given up while its bytes went to the disk.
fn settle(partial: Partial, request: &CopyRequest, stop: &AtomicBool) -> Result<(), TransferError> {
    let writing = |error| TransferError::of_writing(request.direction, &request.to, error);
    if request.durability == Durability::Synced {
        partial.sync().map_err(writing)?;
    }
    check_not_stopped(request, stop)?;
    partial.commit().map_err(writing)?;
    if request.durability == Durability::Synced {
        sync_directory(&request.to).map_err(writing)?;
    }
    Ok(())
}

fn check_not_stopped(request: &CopyRequest, stop: &AtomicBool) -> Result<(), TransferError> {
    if stop.load(Ordering::Relaxed) {
        return Err(request.error(Cause::Stopped));
    }
    Ok(())
}

/// A target is a file's name without a way up, so that no job writes outside its directory.
fn check_target(request: &CopyRequest) -> Result<(), TransferError> {
    let target = &request.to;
    let bad = |reason| {
        let cause = Cause::BadPlace(reason);
        Err(TransferError::of_path(request.direction, target, cause))
    };
    if target.components().any(|part| part == Component::ParentDir) {
        return bad(BadPlaceReason::LeadsUp);
    }
    if target.file_name().is_none() || target.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return bad(BadPlaceReason::NoName);
    }
    Ok(())
}

/// Opens a regular file. Never waits for the other end of a pipe.
fn open_source(request: &CopyRequest) -> Result<File, TransferError> {
    let direction = request.direction;
    let reading = |error: io::Error| TransferError::of_reading(direction, &request.from, error);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&request.from, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| reading(errno.into()))?;
    if !file.metadata().map_err(reading)?.is_file() {
        return Err(request.error(Cause::NotAFile));
    }
    // A hint that may be refused.
    let _ = fadvise(&file, 0, None, Advice::Sequential);
    Ok(file)
}

fn make_parent(request: &CopyRequest) -> Result<(), TransferError> {
    let Some(parent) = request.to.parent().filter(|it| !it.as_os_str().is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(parent)
        .map_err(|error| TransferError::of_mkdir(request.direction, parent, error))
}

/// Moves all bytes and sums them up.
fn pump(
    mut source: impl Read,
    mut target: impl Write,
    kind: ChecksumKind,
    request: &CopyRequest,
    stop: &AtomicBool,
) -> Result<(ByteCount, Checksum), TransferError> {
    let begin = Instant::now();
    let direction = request.direction;
    let mut checksum = RunningChecksum::new(kind);
    let mut size = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        check_not_stopped(request, stop)?;
        if begin.elapsed() > request.time_limit {
            let limit = request.time_limit;
            return Err(request.error(Cause::TooSlow(Impatience::NotEnded { limit })));
        }
        let length = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(TransferError::of_reading(direction, &request.from, error)),
        };
        checksum.update(&chunk[..length]);
        target
            .write_all(&chunk[..length])
            .map_err(|error| TransferError::of_writing(direction, &request.to, error))?;
        size += u64::try_from(length).unwrap_or(u64::MAX);
    }
    Ok((ByteCount::from_bytes(size), checksum.finish()))
}

fn verify(
    request: &CopyRequest,
    size: ByteCount,
    checksum: &Checksum,
) -> Result<(), TransferError> {
    if let Some(expected) = request.size
        && expected != size
    {
        let found = size;
        return Err(request.error(Cause::SizeMismatch { expected, found }));
    }
    if let Some(expected) = &request.checksum
        && expected != checksum
    {
        return Err(request.error(Cause::ChecksumMismatch {
            expected: expected.clone(),
            found: checksum.clone(),
        }));
    }
    Ok(())
}

fn sync_directory(target: &Path) -> io::Result<()> {
    match target.parent().filter(|it| !it.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests;
