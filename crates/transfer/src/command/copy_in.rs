//! Stage-in by a copy program: through a pipe, summed up on the way, or by way of a file.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use ailurus_model::{ByteCount, Checksum};
use ailurus_process::{DataStream, Happened, StreamEnd};

use crate::{
    Cause, Direction, Transfer, TransferError, TransferReport, Watch,
    checksum::{ChecksumKind, RunningChecksums},
    incoming::{Incoming, IncomingDirectory},
};

use super::{
    CommandTool, Helper, TICK,
    description::{Copy, Data},
    place::{RemotePlace, put_file},
    words::Values,
};

/// Bytes that are read at once: a quarter of the pipe, so that both sides work at the same time.
const CHUNK_BYTES: usize = 256 << 10;

/// A file that has come, and its checksums: the main one first.
struct Arrived {
    size: ByteCount,
    checksums: Vec<Checksum>,
}

impl CommandTool {
    pub(super) fn copy_in(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let begin = Instant::now();
        let place = self.check_scheme(Direction::StageIn, &transfer.url)?;
        let Some(copy) = &self.description.stage_in else {
            let why = format!("`{}` does not stage in", self.name);
            let cause = Cause::Refused { why };
            return Err(TransferError::new(Direction::StageIn, place.shown(), cause));
        };
        let arrived = match copy.data {
            Data::Pipe => {
                let mut incoming = Incoming::begin(transfer)?;
                let arrived = self.receive(copy, &place, transfer, watch, &mut incoming)?;
                self.verify_in(transfer, &place, &arrived, watch)?;
                incoming.settle(watch)?;
                arrived
            }
            Data::File => {
                let directory = IncomingDirectory::begin(transfer)?;
                let path = self.by_file(copy, &place, transfer, watch, &directory)?;
                let arrived = sum_up(&path, transfer, watch)?;
                self.verify_in(transfer, &place, &arrived, watch)?;
                directory.settle(&path, watch)?;
                arrived
            }
        };
        let mut checksums = arrived.checksums.into_iter();
        Ok(TransferReport {
            size: arrived.size,
            checksum: checksums.next().expect("the main one is always computed"),
            also: further(transfer, checksums),
            duration: begin.elapsed(),
        })
    }

    /// Reads the file from the program's output.
    fn receive(
        &self,
        copy: &Copy,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
        incoming: &mut Incoming<'_>,
    ) -> Result<Arrived, TransferError> {
        let direction = Direction::StageIn;
        let values = values_of(transfer, place, &transfer.path);
        let argv = self.argv(&copy.command, &values, direction, place, watch)?;
        let (mut running, program) = self.start(argv, DataStream::FromProgram, direction, place)?;
        let watching = |source| watch_failed(place, source);
        let mut sums = transfer.begin_checksums();
        let (mut size, mut chunk) = (0_u64, vec![0; CHUNK_BYTES]);
        loop {
            let happened = running.wait(TICK.min(watch.wait())).map_err(watching)?;
            let mut is_ready = happened == Happened::Ready;
            while is_ready {
                let length = running.read(&mut chunk).map_err(watching)?;
                if length == 0 {
                    break;
                }
                sums.update(&chunk[..length]);
                incoming
                    .file()
                    .write_all(&chunk[..length])
                    .map_err(|error| TransferError::of_writing(direction, &transfer.path, error))?;
                size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                watch.add(length);
                check_not_larger(transfer, place, size)?;
                is_ready = !watch.is_stopped();
            }
            if happened == Happened::Ended {
                break;
            }
            watch.check(direction, &place.shown())?;
        }
        let end = running.finish().map_err(watching)?;
        self.check_end(&program, place, &end)?;
        Ok(Arrived {
            size: ByteCount::from_bytes(size),
            checksums: sums.finish(),
        })
    }

    /// Has the program write a file, and returns its path.
    fn by_file(
        &self,
        copy: &Copy,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
        directory: &IncomingDirectory<'_>,
    ) -> Result<PathBuf, TransferError> {
        let direction = Direction::StageIn;
        let values = values_of(transfer, place, &directory.file());
        let argv = self.argv(&copy.command, &values, direction, place, watch)?;
        let (mut running, program) = self.start(argv, DataStream::None, direction, place)?;
        let watching = |source| watch_failed(place, source);
        let mut seen = 0;
        while running.wait(TICK.min(watch.wait())).map_err(watching)? != Happened::Ended {
            let size = directory.bytes();
            watch.add(usize::try_from(size.saturating_sub(seen)).unwrap_or(usize::MAX));
            seen = size.max(seen);
            watch.check(direction, &place.shown())?;
        }
        let end = running.finish().map_err(watching)?;
        self.check_end(&program, place, &end)?;
        directory.found().ok_or_else(|| {
            let why = format!("`{program}` ended well and left no file");
            TransferError::new(direction, place.shown(), Cause::NotTheFile { why })
        })
    }

    fn check_end(
        &self,
        program: &str,
        place: &RemotePlace,
        end: &StreamEnd,
    ) -> Result<(), TransferError> {
        self.judge(program, Direction::StageIn, place, end)
            .map_err(|failure| self.failed(failure, program, Direction::StageIn, place))
    }

    /// Compares the file with what the catalogue says, or else with what the storage says.
    fn verify_in(
        &self,
        transfer: &Transfer,
        place: &RemotePlace,
        arrived: &Arrived,
        watch: &Watch,
    ) -> Result<(), TransferError> {
        let main = &arrived.checksums[0];
        transfer.verify(&place.shown(), arrived.size, main)?;
        if transfer.checksum.is_some() {
            return Ok(());
        }
        let helper = Helper::new(self, Direction::StageIn, place, watch);
        let remote = helper.look(Some(transfer.main_kind()))?;
        let expected = Transfer {
            size: remote.size,
            checksum: remote.checksum,
            ..transfer.clone()
        };
        let same_kind = arrived.checksums.iter().find(|sum| {
            expected.checksum.as_ref().map(ChecksumKind::of) == Some(ChecksumKind::of(sum))
        });
        match same_kind {
            Some(sum) => expected.verify(&place.shown(), arrived.size, sum),
            None => Transfer {
                checksum: None,
                ..expected
            }
            .verify(&place.shown(), arrived.size, main),
        }
    }
}

/// Returns what commands are told about a transfer.
pub(super) fn values_of(transfer: &Transfer, place: &RemotePlace, path: &Path) -> Values {
    let mut values = Values::new();
    place.put_into(&mut values);
    put_file(transfer, path, &mut values);
    values
}

/// Returns the checksums that were asked for beside the main one.
pub(super) fn further(
    transfer: &Transfer,
    checksums: impl Iterator<Item = Checksum>,
) -> Vec<Checksum> {
    checksums
        .filter(|sum| transfer.also.contains(&ChecksumKind::of(sum)))
        .collect()
}

pub(super) fn watch_failed(place: &RemotePlace, source: std::io::Error) -> TransferError {
    let action = "watch a program for";
    TransferError::new(
        Direction::StageIn,
        place.shown(),
        Cause::Io { action, source },
    )
}

/// A file that is larger than it may be is not read to its end.
fn check_not_larger(
    transfer: &Transfer,
    place: &RemotePlace,
    size: u64,
) -> Result<(), TransferError> {
    match transfer.size {
        Some(expected) if size > expected.as_bytes() => {
            let found = ByteCount::from_bytes(size);
            let cause = Cause::SizeMismatch { expected, found };
            Err(TransferError::new(Direction::StageIn, place.shown(), cause))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads a file that a program has written.
fn sum_up(path: &Path, transfer: &Transfer, watch: &Watch) -> Result<Arrived, TransferError> {
    let reading = |error| TransferError::of_reading(Direction::StageIn, path, error);
    let is_file = fs::symlink_metadata(path).map_err(reading)?.is_file();
    if !is_file {
        return Err(TransferError::of_path(
            Direction::StageIn,
            path,
            Cause::NotAFile,
        ));
    }
    let mut file = File::open(path).map_err(reading)?;
    let mut sums: RunningChecksums = transfer.begin_checksums();
    let (mut size, mut chunk) = (0_u64, vec![0; CHUNK_BYTES]);
    loop {
        if watch.is_stopped() {
            watch.check(Direction::StageIn, &path.display().to_string())?;
        }
        let length = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(reading(error)),
        };
        sums.update(&chunk[..length]);
        size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
    Ok(Arrived {
        size: ByteCount::from_bytes(size),
        checksums: sums.finish(),
    })
}
