//! Fetches one file: in order, or a large one in several parts side by side.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ailurus_http::Wait;
use ailurus_model::{ByteCount, Checksum};

use super::{
    look::Found,
    place::Place,
    session::{CONNECTION_BYTES, Session},
    span::Span,
};
use crate::{
    Cause, Transfer, TransferError, TransferReport,
    budget::Part,
    checksum::{ChecksumKind, RunningChecksums, adler32_combine},
    target::Target,
};

/// Bytes that are read before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Stack of a thread that fetches parts, in bytes. Only what is touched takes memory.
const STACK_BYTES: usize = 256 << 10;

/// Fetches a file into its target, verified on the way.
pub(crate) fn get(
    session: &Session<'_>,
    place: &Place,
    transfer: &Transfer,
) -> Result<TransferReport, TransferError> {
    let target = Target::begin(transfer)?;
    let facts = OnceLock::new();
    let _budget = session.take_buffers(place)?;
    let mut buffer = vec![0; buffer_bytes(transfer.size)];
    let mut whole = Span::whole(session, place, transfer, &target, (&facts, &mut buffer));
    let n_parts = n_parts(session, transfer);
    if let Some(size) = transfer.size {
        target.reserve(size.as_bytes())?;
    }
    let (size, checksums) = match (n_parts, transfer.size) {
        (2.., Some(size)) => Parts::new(session, size.as_bytes(), n_parts).fetch(whole)?,
        _ => {
            whole.fetch(None)?;
            (whole.next, whole.sums.finish())
        }
    };
    let size = ByteCount::from_bytes(size);
    let shown = place.shown();
    let (checksum, also) = split(checksums, transfer);
    transfer.verify(&shown, size, &checksum)?;
    verify_told(session, place, transfer, &checksum)?;
    target.settle(session.watch)?;
    Ok(TransferReport {
        size,
        checksum,
        also,
        duration: session.watch.elapsed(),
    })
}

/// Small files need no large buffer.
fn buffer_bytes(size: Option<ByteCount>) -> usize {
    let size = size.map_or(u64::MAX, ByteCount::as_bytes);
    // One more byte shows the end of the body without another read.
    let wanted = usize::try_from(size.saturating_add(1)).unwrap_or(BUFFER_BYTES);
    wanted.clamp(4096, BUFFER_BYTES)
}

/// Separates the main checksum from the others.
pub(crate) fn split(
    mut checksums: Vec<Checksum>,
    transfer: &Transfer,
) -> (Checksum, Vec<Checksum>) {
    let main = checksums.remove(0);
    let wanted = |it: &Checksum| transfer.also.contains(&ChecksumKind::of(it));
    checksums.retain(wanted);
    if wanted(&main) {
        checksums.insert(0, main.clone());
    }
    (main, checksums)
}

/// Compares with what the storage knows about the file, where the catalogue knows nothing.
///
/// It is asked afterwards and apart: storages that cannot tell a checksum refuse the whole file if
/// it is asked for with it, `XRootD` takes a missing file for such, and sends checksums of other
/// files where none is asked for.
fn verify_told(
    session: &Session<'_>,
    place: &Place,
    transfer: &Transfer,
    found: &Checksum,
) -> Result<(), TransferError> {
    if transfer.checksum.is_some() {
        return Ok(());
    }
    let kind = ChecksumKind::of(found);
    let looked = session.look(place, kind).unwrap_or_else(|error| {
        let (place, cause) = (place.shown(), error.cause);
        tracing::debug!(place, %cause, "the storage tells no checksum");
        Found::default()
    });
    match looked.checksum(kind) {
        Some(expected) if expected != found => {
            let (expected, found) = (expected.clone(), found.clone());
            Err(session.error(place, Cause::ChecksumMismatch { expected, found }))
        }
        Some(_) => Ok(()),
        None => {
            tracing::info!(place = place.shown(), "nobody knows this file's checksum");
            Ok(())
        }
    }
}

/// In how many parts a file is fetched. Only sums that can be joined allow more than one.
fn n_parts(session: &Session<'_>, transfer: &Transfer) -> u64 {
    let options = &session.tool.options;
    let kinds = [transfer.main_kind()];
    let can_join = kinds
        .iter()
        .chain(&transfer.also)
        .all(|it| *it == ChecksumKind::Adler32);
    let size = transfer.size.map_or(0, ByteCount::as_bytes);
    if !can_join || options.ranges.get() < 2 {
        return 1;
    }
    size.div_ceil(options.part.as_bytes().max(1))
}

/// A file that is fetched in parts.
struct Parts<'a> {
    session: &'a Session<'a>,
    size: u64,
    n_parts: u64,
    /// The next part that nobody has begun.
    next: AtomicU64,
    /// Adler-32 and length of each finished part.
    sums: Mutex<Vec<(u32, u64)>>,
    /// The first failure.
    failed: Mutex<Option<TransferError>>,
    /// Those who wait for bytes, so that a failure ends their waiting.
    waits: Mutex<Vec<Arc<Wait>>>,
}

impl<'a> Parts<'a> {
    fn new(session: &'a Session<'a>, size: u64, n_parts: u64) -> Self {
        let n_sums = usize::try_from(n_parts).unwrap_or(usize::MAX);
        Self {
            session,
            size,
            n_parts,
            next: AtomicU64::new(1),
            sums: Mutex::new(vec![(0, 0); n_sums]),
            failed: Mutex::new(None),
            waits: Mutex::new(vec![Arc::clone(&session.wait)]),
        }
    }

    /// Where a part begins.
    fn start(&self, part: u64) -> u64 {
        let length = self.size.div_ceil(self.n_parts);
        part.saturating_mul(length).min(self.size)
    }

    /// Fetches all parts; this thread works too. Returns size and checksum.
    fn fetch(self, mut first: Span<'_>) -> Result<(u64, Vec<Checksum>), TransferError> {
        first.end = Some(self.start(1));
        let answer = first.open()?;
        if answer.status == 200 {
            tracing::debug!(place = first.place.shown(), "the storage sends no parts");
            first.fetch(Some(answer))?;
            return Ok((first.next, first.sums.finish()));
        }
        let (place, transfer, target, facts) =
            (first.place, first.transfer, first.target, first.facts);
        thread::scope(|scope| {
            for permit in self.permits() {
                let helper = thread::Builder::new()
                    .name("transfer-part".to_owned())
                    .stack_size(STACK_BYTES);
                let work = || {
                    let _permit = permit;
                    let session = Session::new(
                        self.session.tool,
                        self.session.direction,
                        self.session.watch,
                    );
                    self.waits().push(Arc::clone(&session.wait));
                    let mut buffer = vec![0; BUFFER_BYTES];
                    let buffer = (facts, buffer.as_mut_slice());
                    let span = Span::whole(&session, place, transfer, target, buffer);
                    self.work(span);
                };
                if let Err(error) = helper.spawn_scoped(scope, work) {
                    tracing::warn!(%error, "fewer parts at a time than asked for");
                    break;
                }
            }
            match first.fetch(Some(answer)) {
                Ok(()) => {
                    self.finished(0, &mut first);
                    self.work(first);
                }
                Err(error) => self.fail(error),
            }
        });
        if let Some(error) = self.failed().take() {
            return Err(error);
        }
        let sums = self
            .sums
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let joined = sums.iter().fold((1, 0), |(sum, length), (next, more)| {
            (adler32_combine(sum, *next, *more), length + more)
        });
        Ok((joined.1, vec![Checksum::Adler32(joined.0)]))
    }

    /// Takes permits for helpers and their buffers: one a thread, as many as are free, no more than
    /// parts are left.
    fn permits(&self) -> Vec<(Part, Part)> {
        let tool = self.session.tool;
        let n_wanted = u64::from(tool.options.ranges.get()).min(self.n_parts) - 1;
        (0..n_wanted)
            .map_while(|_| {
                let helper = tool.helpers.try_take(1)?;
                Some((helper, tool.buffers.try_take(CONNECTION_BYTES)?))
            })
            .collect()
    }

    /// Fetches parts until none is left, or one has failed.
    fn work(&self, mut span: Span<'_>) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.n_parts || self.failed().is_some() {
                return;
            }
            span.begin_part(self.start(part), self.start(part + 1));
            match span.fetch(None) {
                Ok(()) => self.finished(part, &mut span),
                Err(error) => return self.fail(error),
            }
        }
    }

    fn finished(&self, part: u64, span: &mut Span<'_>) {
        let kinds = [ChecksumKind::Adler32];
        let sums = std::mem::replace(&mut span.sums, RunningChecksums::new(kinds));
        let length = span.next - self.start(part);
        if let (Some(Checksum::Adler32(sum)), Ok(index)) =
            (sums.finish().first(), usize::try_from(part))
        {
            let mut all = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            all[index] = (*sum, length);
        }
    }

    /// Keeps the first failure and ends the waiting of the others.
    fn fail(&self, error: TransferError) {
        self.failed().get_or_insert(error);
        for wait in self.waits().iter() {
            wait.end();
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<TransferError>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Wait>>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
