//! Gives an entry to a job: verified, whole or not at all.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{Key, Link};
use crate::{
    Cause, CopyRequest, Direction, Durability, TransferError, TransferReport,
    checksum::{ChecksumKind, RunningChecksum},
    copy_local,
};

/// Bytes that are read and summed up at once.
const CHUNK_BYTES: usize = 512 << 10;

/// Gives the file `data` to a job as `target`.
///
/// # Errors
///
/// [`TransferError`]: the data are not those of the key, the target cannot be written, and so on.
pub(super) fn place(
    data: &Path,
    target: &Path,
    key: &Key,
    link: Link,
    stop: &AtomicBool,
) -> Result<TransferReport, TransferError> {
    match link {
        Link::Copy => copy(data, target, key, stop),
        Link::Hard => match hard_link(data, target, key, stop)? {
            Some(report) => Ok(report),
            // Another file system, too many links, or links to others' files are not allowed.
            None => copy(data, target, key, stop),
        },
    }
}

fn copy(
    data: &Path,
    target: &Path,
    key: &Key,
    stop: &AtomicBool,
) -> Result<TransferReport, TransferError> {
    let request = CopyRequest {
        from: data.to_owned(),
        to: target.to_owned(),
        direction: Direction::StageIn,
        size: Some(key.size()),
        checksum: Some(key.checksum().clone()),
        kind: ChecksumKind::of(key.checksum()),
        durability: Durability::Relaxed,
        time_limit: Duration::MAX,
    };
    copy_local(&request, stop)
}

/// Verifies the data, then links them; none if they cannot be linked here.
fn hard_link(
    data: &Path,
    target: &Path,
    key: &Key,
    stop: &AtomicBool,
) -> Result<Option<TransferReport>, TransferError> {
    let begin = Instant::now();
    let of_target = |error| TransferError::of_writing(Direction::StageIn, target, error);
    let hidden = hidden_name(target);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)
            .map_err(|error| TransferError::of_mkdir(Direction::StageIn, parent, error))?;
    }
    if fs::hard_link(data, &hidden).is_err() {
        return Ok(None);
    }
    // The link is what is verified and renamed: no other file can come in between.
    let outcome = verify(&hidden, data, key, stop)
        .and_then(|()| fs::rename(&hidden, target).map_err(of_target));
    // A rename onto another link of the same file leaves both.
    let _ = fs::remove_file(&hidden);
    outcome?;
    Ok(Some(TransferReport {
        size: key.size(),
        checksum: key.checksum().clone(),
        also: Vec::new(),
        duration: begin.elapsed(),
    }))
}

fn hidden_name(target: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nr = NEXT.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".ailurus-link-{}-{nr}.part", std::process::id()))
}

/// Reads a file through and compares it with its key. Errors name it `place`.
fn verify(path: &Path, place: &Path, key: &Key, stop: &AtomicBool) -> Result<(), TransferError> {
    let wrong = |cause| TransferError::of_path(Direction::StageIn, place, cause);
    let reading = |error| TransferError::of_reading(Direction::StageIn, place, error);
    let mut file = File::open(path).map_err(reading)?;
    let mut sum = RunningChecksum::new(ChecksumKind::of(key.checksum()));
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(wrong(Cause::Stopped));
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => sum.update(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(reading(error)),
        }
    }
    let found = TransferReport {
        size: ailurus_model::ByteCount::from_bytes(file.metadata().map_err(reading)?.size()),
        checksum: sum.finish(),
        also: Vec::new(),
        duration: Duration::ZERO,
    };
    super::judge::check_fetched(&found, key).map_err(wrong)
}
