//! Stage-out by a copy program: to a temporary name, compared with what the storage has, renamed.

use std::time::Instant;

use ailurus_model::{ByteCount, Checksum, ErrorCode};
use ailurus_process::{DataStream, Happened, RunningStream};

use crate::{
    Cause, Direction, Impatience, Transfer, TransferError, TransferReport, Watch,
    checksum::{ChecksumKind, RunningChecksums},
    local::source::Source,
    patience::settle_limit,
};

use super::{
    CommandTool, Helper, TICK,
    copy_in::{further, values_of},
    description::{Copy, Data},
    place::{RemotePlace, put_checksum},
};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What was read of an output.
struct Sent {
    size: ByteCount,
    checksums: Vec<Checksum>,
}

impl CommandTool {
    pub(super) fn copy_out(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let begin = Instant::now();
        let target = self.check_scheme(Direction::StageOut, &transfer.url)?;
        let Some(copy) = &self.description.stage_out else {
            let why = format!("`{}` does not stage out", self.name);
            return Err(at(&target, Cause::Refused { why }));
        };
        let temporary;
        let place = if copy.has_temporary_name {
            temporary = target.temporary(Direction::StageOut)?;
            &temporary
        } else {
            &target
        };
        let helper = Helper::new(self, Direction::StageOut, place, watch);
        let stored = self.store(copy, place, transfer, watch).and_then(|sent| {
            if watch.is_stopped() {
                watch.check(Direction::StageOut, &target.shown())?;
            }
            if copy.has_temporary_name {
                helper.rename_to(&target)?;
            }
            Ok(sent)
        });
        let sent = stored.inspect_err(|error| {
            // Without the program nothing was begun.
            let is_begun = !matches!(error.cause, Cause::ToolMissing { .. });
            if copy.has_temporary_name && is_begun {
                helper.clean_up();
            }
        })?;
        let mut checksums = sent.checksums.into_iter();
        Ok(TransferReport {
            size: sent.size,
            checksum: checksums.next().expect("the main one is always computed"),
            also: further(transfer, checksums),
            duration: begin.elapsed(),
        })
    }

    /// Brings the file to a place in the storage and compares it with what the storage has then.
    fn store(
        &self,
        copy: &Copy,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<Sent, TransferError> {
        let helper = Helper::new(self, Direction::StageOut, place, watch);
        let mut sent = self.send(copy, place, transfer, watch);
        let has_no_directory = |error: &TransferError| {
            error.code() == ErrorCode::NoSuchFile && !self.description.make_directory.is_empty()
        };
        if sent.as_ref().is_err_and(has_no_directory) {
            helper.make_directory()?;
            sent = self.send(copy, place, transfer, watch);
        }
        let sent = sent?;
        let remote = helper.look(Some(transfer.main_kind()))?;
        let same_kind = |sum: &&Checksum| {
            let known = remote.checksum.as_ref().map(ChecksumKind::of);
            known == Some(ChecksumKind::of(sum))
        };
        if let Some(found) = remote.size
            && found != sent.size
        {
            let expected = sent.size;
            return Err(at(place, Cause::SizeMismatch { expected, found }));
        }
        if let Some(expected) = sent.checksums.iter().find(same_kind)
            && let Some(found) = remote.checksum
            && *expected != found
        {
            let expected = expected.clone();
            return Err(at(place, Cause::ChecksumMismatch { expected, found }));
        }
        Ok(sent)
    }

    /// Runs the program.
    fn send(
        &self,
        copy: &Copy,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<Sent, TransferError> {
        let source = Source::open(transfer.direction, &transfer.path)?;
        let direction = Direction::StageOut;
        let mut values = values_of(transfer, place, &transfer.path);
        match copy.data {
            Data::Pipe => {
                let argv = self.argv(&copy.command, &values, direction, place, watch)?;
                let (running, program) =
                    self.start(argv, DataStream::ToProgram, direction, place)?;
                self.feed(running, &program, &source, place, transfer, watch)
            }
            Data::File => {
                let sent = sum_up(&source, transfer, watch)?;
                values.insert("size", sent.size.as_bytes().to_string().into());
                for sum in sent.checksums.iter().rev() {
                    put_checksum(sum, &mut values);
                }
                let argv = self.argv(&copy.command, &values, direction, place, watch)?;
                let (running, program) = self.start(argv, DataStream::None, direction, place)?;
                self.wait_for(running, &program, place, transfer, watch)?;
                check_same(&source)?;
                Ok(sent)
            }
        }
    }

    /// Writes the file to the program's input.
    fn feed(
        &self,
        mut running: RunningStream,
        program: &str,
        source: &Source,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<Sent, TransferError> {
        let mut sums = begin_checksums(transfer);
        let (mut size, mut chunk, mut waiting) = (0_u64, vec![0; CHUNK_BYTES], 0..0);
        let mut sent = None;
        loop {
            let happened = running
                .wait(TICK.min(watch.wait()))
                .map_err(|error| watch_failed(place, error))?;
            while happened == Happened::Ready && running.is_open() {
                if waiting.is_empty() {
                    let length = read_next(source, &mut chunk, size)?;
                    if length == 0 {
                        // The program takes the end for the file's, so it must be the right one.
                        let whole = Sent::new(
                            size,
                            std::mem::replace(&mut sums, begin_checksums(transfer)),
                        );
                        whole.verify(transfer)?;
                        sent = Some((whole, Instant::now()));
                        running.close();
                        break;
                    }
                    sums.update(&chunk[..length]);
                    size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                    waiting = 0..length;
                }
                let taken = running.write(&chunk[waiting.clone()]);
                if taken == 0 {
                    break;
                }
                waiting.start += taken;
                watch.add(taken);
                if watch.is_stopped() {
                    break;
                }
            }
            if happened == Happened::Ended {
                break;
            }
            match &sent {
                Some((_, since)) => check_settling(place, watch, size, *since)?,
                None => watch.check(Direction::StageOut, &place.shown())?,
            }
        }
        let end = running
            .finish()
            .map_err(|error| watch_failed(place, error))?;
        self.judge(program, Direction::StageOut, place, &end)
            .map_err(|failure| self.failed(failure, program, Direction::StageOut, place))?;
        sent.map(|(whole, _)| whole).ok_or_else(|| {
            let why = format!("`{program}` ended well without the whole file");
            at(place, Cause::Broken { why })
        })
    }

    /// Waits for a program that does not show how far it is.
    fn wait_for(
        &self,
        mut running: RunningStream,
        program: &str,
        place: &RemotePlace,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<(), TransferError> {
        let (begin, limit) = (Instant::now(), transfer.patience.blind);
        loop {
            let happened = running
                .wait(TICK)
                .map_err(|error| watch_failed(place, error))?;
            if happened == Happened::Ended {
                break;
            }
            if watch.is_stopped() {
                watch.check(Direction::StageOut, &place.shown())?;
            }
            if begin.elapsed() > limit {
                return Err(at(place, Cause::TooSlow(Impatience::NotEnded { limit })));
            }
        }
        let end = running
            .finish()
            .map_err(|error| watch_failed(place, error))?;
        self.judge(program, Direction::StageOut, place, &end)
            .map_err(|failure| self.failed(failure, program, Direction::StageOut, place))
    }
}

/// After the last byte nothing moves any more, while the storage settles the file.
fn check_settling(
    place: &RemotePlace,
    watch: &Watch,
    size: u64,
    since: Instant,
) -> Result<(), TransferError> {
    if watch.is_stopped() {
        watch.check(Direction::StageOut, &place.shown())?;
    }
    let limit = settle_limit(size);
    if since.elapsed() > limit {
        return Err(at(place, Cause::TooSlow(Impatience::NotEnded { limit })));
    }
    Ok(())
}

/// Reads what comes next; nothing at the end, which must be where it was when it was opened.
fn read_next(source: &Source, chunk: &mut [u8], offset: u64) -> Result<usize, TransferError> {
    let left = source.size().as_bytes().saturating_sub(offset);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
    source.read(&mut chunk[..length], offset)?;
    if length == 0 {
        check_same(source)?;
    }
    Ok(length)
}

/// Reads the whole file once.
fn sum_up(source: &Source, transfer: &Transfer, watch: &Watch) -> Result<Sent, TransferError> {
    let mut sums = begin_checksums(transfer);
    let (mut size, mut chunk) = (0_u64, vec![0; CHUNK_BYTES]);
    loop {
        if watch.is_stopped() {
            watch.check(Direction::StageOut, &transfer.path.display().to_string())?;
        }
        let length = read_next(source, &mut chunk, size)?;
        if length == 0 {
            break;
        }
        sums.update(&chunk[..length]);
        size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
    let sent = Sent::new(size, sums);
    sent.verify(transfer)?;
    Ok(sent)
}

/// A payload that still writes must not have half of its output stored.
fn check_same(source: &Source) -> Result<(), TransferError> {
    match source.change() {
        Some(what) => Err(source.error(Cause::Changed { what })),
        None => Ok(()),
    }
}

impl Sent {
    fn new(size: u64, sums: RunningChecksums) -> Self {
        Self {
            size: ByteCount::from_bytes(size),
            checksums: sums.finish(),
        }
    }

    fn verify(&self, transfer: &Transfer) -> Result<(), TransferError> {
        let place = transfer.path.display().to_string();
        transfer.verify(&place, self.size, &self.checksums[0])
    }
}

/// Begins all checksums that are asked for, and the one that storages know.
fn begin_checksums(transfer: &Transfer) -> RunningChecksums {
    let asked = [transfer.main_kind()]
        .into_iter()
        .chain(transfer.also.iter().copied());
    RunningChecksums::new(asked.chain([ChecksumKind::Adler32]))
}

fn watch_failed(place: &RemotePlace, source: std::io::Error) -> TransferError {
    let action = "watch a program for";
    at(place, Cause::Io { action, source })
}

fn at(place: &RemotePlace, cause: Cause) -> TransferError {
    TransferError::new(Direction::StageOut, place.shown(), cause)
}
