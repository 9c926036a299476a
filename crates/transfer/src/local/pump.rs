//! Moves the bytes of one file and sums them up: [`Pump`].
//!
//! The plain way reads a chunk that stays in the processor's cache, sums it up and writes it. A large
//! file of which only Adler-32 is wanted is taken in blocks by two threads, whose sums are joined:
//! that is twice as fast at the same cost of processor time, since no page is copied twice.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use ailurus_model::Checksum;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::source::Source;
use crate::{
    Budget, Cause, Transfer, TransferError, Watch,
    checksum::{ChecksumKind, RunningChecksum, RunningChecksums, adler32, adler32_combine},
};

/// Bytes that are read, summed up and written at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes that one of several threads takes at a time: neighbours for the disk, many for the threads.
const BLOCK_BYTES: u64 = 4 << 20;

/// Files from this size on are worth a further thread, in bytes.
const LARGE_BYTES: u64 = 32 << 20;

/// Files from this size on get their room on the disk at once, in bytes.
const ALLOCATE_BYTES: u64 = 1 << 20;

/// Stack of a helping thread, in bytes.
const STACK_BYTES: usize = 128 << 10;

/// What moves one file.
pub(super) struct Pump<'a> {
    pub(super) source: &'a Source,
    pub(super) transfer: &'a Transfer,
    pub(super) watch: &'a Watch,
    pub(super) buffers: &'a Arc<Budget>,
    pub(super) helpers: &'a Arc<Budget>,
}

impl Pump<'_> {
    /// Reads the file and returns its checksums, the main one first.
    pub(super) fn read(&self) -> Result<Vec<Checksum>, TransferError> {
        self.run(Target::Nowhere)
    }

    /// Copies the file into one that is new, and returns its checksums, the main one first. `path`
    /// is the target's name, for errors.
    pub(super) fn copy_to(&self, file: &File, path: &Path) -> Result<Vec<Checksum>, TransferError> {
        let size = self.source.size().as_bytes();
        let is_sparse = self.source.is_sparse();
        let direction = self.source.direction();
        let writing = |error: io::Error| TransferError::of_writing(direction, path, error);
        if is_sparse {
            file.set_len(size).map_err(writing)?;
        } else if size >= ALLOCATE_BYTES {
            allocate(file, size).map_err(writing)?;
        }
        let zeros = if is_sparse {
            Zeros::Left
        } else {
            Zeros::Written
        };
        self.run(Target::File { file, path, zeros })
    }

    fn run(&self, target: Target<'_>) -> Result<Vec<Checksum>, TransferError> {
        let size = self.source.size().as_bytes();
        let mut kinds = [self.transfer.main_kind()]
            .into_iter()
            .chain(self.transfer.also.iter().copied());
        let helper = if size >= LARGE_BYTES && kinds.all(|kind| kind == ChecksumKind::Adler32) {
            self.helpers.try_take(1)
        } else {
            None
        };
        let n_threads = 1 + usize::from(helper.is_some());
        let place = self.source.place();
        let who = (self.source.direction(), place.as_str());
        let amount = u64::try_from(CHUNK_BYTES * n_threads).unwrap_or(u64::MAX);
        let _buffers = self.buffers.take(amount, self.watch, who)?;
        let way = Way {
            source: self.source,
            watch: self.watch,
            target,
        };
        if helper.is_some() {
            return Ok(vec![Checksum::Adler32(way.move_in_blocks()?)]);
        }
        let mut sums = self.transfer.begin_checksums();
        way.move_through(&mut sums)?;
        Ok(sums.finish())
    }
}

/// Reads a whole file and sums it up.
pub(super) fn read_through(
    source: &Source,
    watch: &Watch,
    sums: &mut RunningChecksums,
) -> Result<(), TransferError> {
    let target = Target::Nowhere;
    let way = Way {
        source,
        watch,
        target,
    };
    way.move_through(sums)
}

/// Where the bytes go.
#[derive(Clone, Copy)]
enum Target<'a> {
    Nowhere,
    File {
        file: &'a File,
        path: &'a Path,
        zeros: Zeros,
    },
}

/// What becomes of chunks of zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Written,
    /// The source has holes, and so has the target.
    Left,
}

/// From where to where.
struct Way<'a> {
    source: &'a Source,
    watch: &'a Watch,
    target: Target<'a>,
}

impl Way<'_> {
    /// Moves the whole file, from its begin to its end.
    fn move_through(&self, sums: &mut RunningChecksums) -> Result<(), TransferError> {
        let size = self.source.size().as_bytes();
        let mut chunk = vec![0; CHUNK_BYTES];
        self.move_range(0..size, &mut chunk, |bytes| sums.update(bytes))?;
        self.check_end()
    }

    /// Moves the whole file with a helping thread and returns its Adler-32.
    fn move_in_blocks(&self) -> Result<u32, TransferError> {
        let size = self.source.size().as_bytes();
        let next = AtomicU64::new(0);
        let has_failed = AtomicBool::new(false);
        let sums = Mutex::new(Vec::new());
        let work = || {
            let mut chunk = vec![0; CHUNK_BYTES];
            while !has_failed.load(Ordering::Relaxed) {
                let begin = next.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
                if begin >= size {
                    break;
                }
                let block = begin..(begin + BLOCK_BYTES).min(size);
                let length = block.end - begin;
                let mut sum = RunningChecksum::new(ChecksumKind::Adler32);
                let moved = self.move_range(block, &mut chunk, |bytes| sum.update(bytes));
                if moved.is_err() {
                    has_failed.store(true, Ordering::Relaxed);
                }
                moved?;
                let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                sums.push((begin, length, sum.finish()));
            }
            Ok(())
        };
        thread::scope(|scope| {
            let helper = thread::Builder::new()
                .name("copy".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, work);
            let mine = work();
            // Where no helper could be had, this thread has moved everything.
            let others = helper.map_or(Ok(()), |it| {
                it.join().unwrap_or_else(|it| resume_unwind(it))
            });
            mine.and(others)
        })?;
        self.check_end()?;
        let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.sort_by_key(|(begin, _, _)| *begin);
        Ok(sums
            .into_iter()
            .fold(adler32(&[]), |all, (_, length, sum)| match sum {
                Checksum::Adler32(sum) => adler32_combine(all, sum, length),
                Checksum::Md5(_) | Checksum::Sha256(_) => all,
            }))
    }

    /// Moves a range of the file, chunk by chunk.
    fn move_range(
        &self,
        range: Range<u64>,
        chunk: &mut [u8],
        mut sum: impl FnMut(&[u8]),
    ) -> Result<(), TransferError> {
        let mut offset = range.start;
        while offset < range.end {
            let judged = self.watch.check(self.source.direction(), "");
            // What is said of the place, as the file system that is full, is kept.
            judged.map_err(|error| TransferError {
                place: self.source.place() + &error.place,
                ..error
            })?;
            let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let length = left.min(chunk.len());
            let bytes = &mut chunk[..length];
            self.source.read(bytes, offset)?;
            sum(bytes);
            self.write(bytes, offset)?;
            self.watch.add(length);
            offset += u64::try_from(length).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), TransferError> {
        let Target::File { file, path, zeros } = self.target else {
            return Ok(());
        };
        if zeros == Zeros::Left && bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        file.write_all_at(bytes, offset)
            .map_err(|error| TransferError::of_writing(self.source.direction(), path, error))
    }

    /// A file that goes on behind the size that it had is not what was opened.
    fn check_end(&self) -> Result<(), TransferError> {
        let end = self.source.size().as_bytes();
        match self.source.file().read_at(&mut [0], end) {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => {
                let what = format!("it is longer than the {end} bytes that it had");
                Err(self.source.error(Cause::Changed { what }))
            }
        }
    }
}

/// Makes room on the disk, so that a full one is found out before anything is written. A file
/// system that cannot does without.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(errno.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
