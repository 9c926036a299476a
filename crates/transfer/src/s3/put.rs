//! Stores one file: a small one in one request, a large one in parts.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ailurus_http::Content;
use ailurus_model::{ByteCount, Checksum};
use md5::{Digest as _, Md5};
use rusty_s3::Method;

use super::{
    conversation::{ANSWER_LIMIT, Conversation, Found, is_md5},
    parts,
};
use crate::{
    Cause, Transfer, TransferError, TransferReport,
    checksum::{ChecksumKind, RunningChecksums},
    local::source::Source,
    patience::settle_limit,
};

/// Most times that the same bytes are sent, if the connection breaks or the storage is busy.
const SENDINGS_MAX: u32 = 4;

/// Longest pause before another sending, whatever the storage asks for.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// Pause before another sending if the storage asks for none.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the switch is looked at during a pause.
const TICK: Duration = Duration::from_millis(100);

/// Names of files that people read in a browser.
const TEXTS: [&str; 4] = [".txt", ".log", ".stdout", ".stderr"];

/// What was sent: checksums of the kinds that were asked for, and MD5.
pub(super) struct Sent {
    pub(super) checksums: Vec<Checksum>,
    pub(super) md5: [u8; 16],
}

/// Stores a file, compares it with what the storage has then, and returns what was stored.
pub(super) fn put(
    talk: &Conversation<'_>,
    transfer: &Transfer,
) -> Result<TransferReport, TransferError> {
    let source = Source::open(transfer.direction, &transfer.path)?;
    let size = source.size().as_bytes();
    if let Some(expected) = transfer.size.filter(|it| it.as_bytes() != size) {
        let found = source.size();
        return Err(source.error(Cause::SizeMismatch { expected, found }));
    }
    let checksums = if size > talk.tool.options.part.as_bytes() {
        parts::put(talk, transfer, &source)?
    } else {
        put_whole(talk, transfer, &source)?
    };
    let mut checksums = checksums.into_iter();
    let checksum = checksums.next().expect("the main one is always computed");
    let also = checksums.filter(|sum| transfer.also.contains(&ChecksumKind::of(sum)));
    Ok(TransferReport {
        size: ByteCount::from_bytes(size),
        checksum,
        also: also.collect(),
        duration: talk.watch.elapsed(),
    })
}

fn put_whole(
    talk: &Conversation<'_>,
    transfer: &Transfer,
    source: &Source,
) -> Result<Vec<Checksum>, TransferError> {
    let stopped = AtomicBool::new(false);
    let content_type = content_type(talk.place.name());
    let (sent, told) = again(talk, &stopped, || {
        let mut body = Body::new(
            talk,
            source,
            transfer,
            0..source.size().as_bytes(),
            &stopped,
        );
        body.check_checksum = true;
        let told = body.send(&[], &[("Content-Type", content_type)])?;
        Ok((body.finish(), told))
    })?;
    let verified = (|| {
        check_unchanged(source)?;
        compare_md5(talk, &told, &hex(&sent.md5))?;
        let found = talk.look()?;
        compare_size(talk, &found, source.size().as_bytes())?;
        compare_md5(talk, &found, &hex(&sent.md5))
    })();
    verified.inspect_err(|_| remove(talk))?;
    Ok(sent.checksums)
}

/// Sends until it succeeds, fails for good, or has been tried often enough.
pub(super) fn again<T>(
    talk: &Conversation<'_>,
    stopped: &AtomicBool,
    mut send: impl FnMut() -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match send() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let pause = if let Cause::Busy { retry_after, .. } = &error.cause {
            retry_after.unwrap_or(PAUSE * tries).min(PAUSE_MAX)
        } else if matches!(error.cause, Cause::Broken { .. }) {
            Duration::ZERO
        } else {
            return Err(error);
        };
        if tries >= SENDINGS_MAX {
            return Err(error);
        }
        tracing::debug!(place = talk.place.shown(), cause = %error.cause, "sending again");
        let mut left = pause;
        while !left.is_zero() && !talk.watch.is_stopped() && !stopped.load(Ordering::Relaxed) {
            let tick = TICK.min(left);
            std::thread::sleep(tick);
            left -= tick;
        }
        talk.watch.begin_again();
    }
}

/// A part of a file as the body of a request, summed up on its way.
pub(super) struct Body<'a> {
    talk: &'a Conversation<'a>,
    source: &'a Source,
    transfer: &'a Transfer,
    range: std::ops::Range<u64>,
    next: u64,
    sums: RunningChecksums,
    md5: Md5,
    /// Another part has failed for good.
    stopped: &'a AtomicBool,
    /// Whether it is all of the file, so that its checksum can be compared before it is stored.
    pub(super) check_checksum: bool,
    /// Why reading had to end.
    failed: Option<TransferError>,
}

impl<'a> Body<'a> {
    pub(super) fn new(
        talk: &'a Conversation<'a>,
        source: &'a Source,
        transfer: &'a Transfer,
        range: std::ops::Range<u64>,
        stopped: &'a AtomicBool,
    ) -> Self {
        Self {
            talk,
            source,
            transfer,
            next: range.start,
            range,
            sums: transfer.begin_checksums(),
            md5: Md5::new(),
            stopped,
            check_checksum: false,
            failed: None,
        }
    }

    /// Sends it by `PUT` and returns what the storage tells of it.
    pub(super) fn send(
        &mut self,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Found, TransferError> {
        let talk = self.talk;
        talk.wait.allow(ANSWER_LIMIT);
        let length = self.range.end - self.range.start;
        if length == 0 {
            self.verify()?;
        }
        let content = if length == 0 {
            Content::Bytes(&[])
        } else {
            Content::Stream {
                length,
                reader: self,
            }
        };
        let answered = talk.ask(Method::Put, query, headers, content);
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let answer = answered?;
        let told = Found::of(&answer);
        answer.drain();
        Ok(told)
    }

    pub(super) fn finish(self) -> Sent {
        Sent {
            checksums: self.sums.finish(),
            md5: self.md5.finalize().into(),
        }
    }

    /// Compares all that was read with what the catalogue says, if it is all of the file.
    fn verify(&self) -> Result<(), TransferError> {
        if !self.check_checksum {
            return Ok(());
        }
        let sums = self.sums.clone().finish();
        let path = self.transfer.path.display().to_string();
        let size = ByteCount::from_bytes(self.source.size().as_bytes());
        self.transfer.verify(&path, size, &sums[0])
    }

    fn next_bytes(&mut self, room: &mut [u8]) -> Result<usize, TransferError> {
        let talk = self.talk;
        if self.stopped.load(Ordering::Relaxed) {
            return Err(talk.error(Cause::Stopped));
        }
        talk.watch.check(talk.direction, talk.place.shown())?;
        let left = usize::try_from(self.range.end - self.next).unwrap_or(usize::MAX);
        let wanted = room.len().min(left);
        self.source.read(&mut room[..wanted], self.next)?;
        self.sums.update(&room[..wanted]);
        self.md5.update(&room[..wanted]);
        self.next += u64::try_from(wanted).unwrap_or(u64::MAX);
        talk.watch.add(wanted);
        if self.next == self.range.end {
            // Whoever gets fewer bytes than were announced stores nothing.
            self.verify()?;
            talk.wait
                .allow(settle_limit(self.range.end - self.range.start));
        } else {
            talk.wait.allow(talk.watch.wait());
        }
        Ok(wanted)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.next_bytes(room).map_err(|error| {
            let text = error.cause.to_string();
            self.failed = Some(error);
            io::Error::other(text)
        })
    }
}

/// Fails if the source has been written to since it was opened.
pub(super) fn check_unchanged(source: &Source) -> Result<(), TransferError> {
    match source.change() {
        Some(what) => Err(source.error(Cause::Changed { what })),
        None => Ok(()),
    }
}

/// Compares the size of what is stored.
pub(super) fn compare_size(
    talk: &Conversation<'_>,
    found: &Found,
    size: u64,
) -> Result<(), TransferError> {
    let expected = ByteCount::from_bytes(size);
    match found.size {
        Some(found) if found != expected => {
            Err(talk.error(Cause::SizeMismatch { expected, found }))
        }
        Some(_) | None => Ok(()),
    }
}

/// Compares the MD5 of what is stored, if the storage tells one.
pub(super) fn compare_md5(
    talk: &Conversation<'_>,
    found: &Found,
    expected: &str,
) -> Result<(), TransferError> {
    match &found.md5 {
        Some(md5) if md5 != expected => Err(talk.error(Cause::ChecksumMismatch {
            expected: Checksum::Md5(expected.to_owned()),
            found: Checksum::Md5(md5.clone()),
        })),
        Some(_) | None => Ok(()),
    }
}

/// Compares the tag of an object of several parts, where it is made of their MD5 sums.
pub(super) fn compare_tag(
    talk: &Conversation<'_>,
    found: &Found,
    expected: &str,
) -> Result<(), TransferError> {
    let told = found.etag.split_once('-');
    let wanted = expected.split_once('-');
    match (told, wanted) {
        (Some((told, n)), Some((md5, n_parts))) if is_md5(told) && n == n_parts && told != md5 => {
            Err(talk.error(Cause::ChecksumMismatch {
                expected: Checksum::Md5(md5.to_owned()),
                found: Checksum::Md5(told.to_owned()),
            }))
        }
        _ => Ok(()),
    }
}

/// Removes an object that is not what was sent.
pub(super) fn remove(talk: &Conversation<'_>) {
    if let Err(error) = talk.for_cleaning().delete() {
        let (place, cause) = (talk.place.shown(), error.cause);
        tracing::warn!(place, %cause, "a wrong object may be left");
    }
}

pub(super) fn content_type(name: &str) -> &'static str {
    if TEXTS.iter().any(|ending| name.ends_with(ending)) {
        "text/plain"
    } else {
        "application/octet-stream"
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
