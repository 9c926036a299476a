//! A span of a storage's file that is fetched in order: the whole file, or a part of it.
//!
//! [`Span::fetch`] goes on after a broken connection from the last good byte, as long as bytes
//! come, and notices a file that changed meanwhile, a server that sends another range, and a body
//! that is too long or too short.

use std::sync::OnceLock;

use ailurus_http::{Answer, HttpError};
use ailurus_model::ByteCount;

use super::{
    answer::Action,
    facts::{Facts, Version, parse_content_range},
    macaroon::Activity,
    place::Place,
    session::{Ask, Body, Session},
};
use crate::{
    Cause, Transfer, TransferError, checksum::RunningChecksums, flow_marker::Usage, target::Target,
};

/// Most breaks in a row that bring no byte.
const FUTILE_MAX: u32 = 3;

/// Most breaks of one span at all.
const BREAKS_MAX: u32 = 1000;

/// Why a connection is left that brings nothing.
const SILENCE: &str = "nothing came for a while";

/// Bytes at the beginning of a file that show whether it is a page.
const PAGE_BYTES: usize = 64;

/// Bytes in order, into a target.
pub(crate) struct Span<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) place: &'a Place,
    pub(crate) transfer: &'a Transfer,
    pub(crate) target: &'a Target<'a>,
    /// Shared by the spans of one file.
    pub(crate) facts: &'a OnceLock<Facts>,
    /// The next byte.
    pub(crate) next: u64,
    /// The byte behind the last; none for the end of the file.
    pub(crate) end: Option<u64>,
    pub(crate) sums: RunningChecksums,
    /// Bytes are gathered here before they are written.
    pub(crate) buffer: &'a mut [u8],
    breaks: u32,
    futile: u32,
}

/// How a body ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// The span is complete.
    Whole,
    /// It may go on with another request.
    Short,
}

impl<'a> Span<'a> {
    /// Begins a whole file.
    pub(crate) fn whole(
        session: &'a Session<'a>,
        place: &'a Place,
        transfer: &'a Transfer,
        target: &'a Target<'a>,
        (facts, buffer): (&'a OnceLock<Facts>, &'a mut [u8]),
    ) -> Self {
        Self {
            session,
            place,
            transfer,
            target,
            facts,
            next: 0,
            end: None,
            sums: transfer.begin_checksums(),
            buffer,
            breaks: 0,
            futile: 0,
        }
    }

    /// Begins another part with this span. Breaks of earlier parts no longer count.
    pub(crate) fn begin_part(&mut self, start: u64, end: u64) {
        (self.next, self.end) = (start, Some(end));
        self.sums = self.transfer.begin_checksums();
        (self.breaks, self.futile) = (0, 0);
    }

    /// Fetches it to its end. `opened` is an answer that is there already.
    pub(crate) fn fetch(&mut self, opened: Option<Answer>) -> Result<(), TransferError> {
        let mut opened = opened;
        loop {
            let answer = match opened.take() {
                Some(answer) => answer,
                None => self.open()?,
            };
            let before = self.next;
            match self.take_in(answer) {
                Ok(Ended::Whole) => return Ok(()),
                Ok(Ended::Short) => {
                    let why = "the body ended early".to_owned();
                    let error = self.error(Cause::Broken { why });
                    self.count_break(error, before)?;
                }
                Err(error) => self.count_break(error, before)?,
            }
        }
    }

    /// Asks for the bytes from the next one on, until there is an answer that can be used.
    pub(crate) fn open(&mut self) -> Result<Answer, TransferError> {
        loop {
            let before = self.next;
            match self.ask().and_then(|answer| self.judge(answer)) {
                Ok(answer) => return Ok(answer),
                Err(error) => self.count_break(error, before)?,
            }
        }
    }

    /// Lets a break pass, unless there are too many.
    fn count_break(&mut self, error: TransferError, before: u64) -> Result<(), TransferError> {
        let Cause::Broken { why } = &error.cause else {
            return Err(error);
        };
        self.breaks += 1;
        // Of silence only patience has enough.
        let is_silence = why == SILENCE;
        self.futile = match (self.next > before, is_silence) {
            (true, _) => 0,
            (false, true) => self.futile,
            (false, false) => self.futile + 1,
        };
        if self.futile >= FUTILE_MAX || self.breaks >= BREAKS_MAX {
            return Err(error);
        }
        self.check()?;
        let place = self.place.shown();
        tracing::debug!(place, from = self.next, cause = %error.cause, "going on after a break");
        Ok(())
    }

    fn ask(&self) -> Result<Answer, TransferError> {
        let range = match self.end {
            Some(end) => Some(format!("bytes={}-{}", self.next, end.saturating_sub(1))),
            None if self.next > 0 => Some(format!("bytes={}-", self.next)),
            None => None,
        };
        let mut headers: Vec<(&str, &str)> = Vec::new();
        if let Some(range) = &range {
            headers.push(("Range", range));
        }
        if let Some(facts) = self.facts.get() {
            headers.extend(facts.version.condition());
        }
        let ask = Ask {
            method: "GET",
            headers: &headers,
            content: Body::Empty,
            activity: Activity::Download,
            limit: self.session.silence_limit(),
        };
        self.session.ask(self.place, ask).map_err(|error| {
            if matches!(error.cause, Cause::TooSlow(_)) {
                return self.silent();
            }
            error
        })
    }

    /// Says what silence means: the end of patience, or of this connection.
    fn silent(&self) -> TransferError {
        self.check().err().unwrap_or_else(|| {
            let why = SILENCE.to_owned();
            self.error(Cause::Broken { why })
        })
    }

    /// Checks the head of an answer.
    fn judge(&self, answer: Answer) -> Result<Answer, TransferError> {
        let status = answer.status;
        if !matches!(status, 200 | 206) {
            return Err(self.session.refused(self.place, answer, Action::Read));
        }
        let size = if status == 206 {
            self.size_of_range(&answer)?
        } else {
            answer.content_length()
        };
        let version = Version::of(&answer);
        let facts = self.facts.get_or_init(|| Facts {
            size,
            version: version.clone(),
        });
        let is_other_size = facts.size.zip(size).is_some_and(|(old, new)| old != new);
        if facts.version.is_other(&version) || is_other_size {
            let what = "the storage sends another version of it".to_owned();
            return Err(self.error(Cause::Changed { what }));
        }
        self.judge_size(&answer, size)?;
        Ok(answer)
    }

    /// Reads the `Content-Range` of a part and returns the file's size.
    fn size_of_range(&self, answer: &Answer) -> Result<Option<u64>, TransferError> {
        let text = answer.header("Content-Range").unwrap_or_default();
        let wrong = || {
            let wanted = self.next;
            let why = format!("a part from byte {wanted} on was asked for, not `{text}`");
            self.error(Cause::NotTheFile { why })
        };
        let range = parse_content_range(text).ok_or_else(wrong)?;
        // Another size is a clearer reason, and is found by the caller.
        if range.size.is_some() && range.size != self.known_size() && self.known_size().is_some() {
            return Ok(range.size);
        }
        let is_too_long = self.end.is_some_and(|end| range.last >= end);
        let is_too_far = range.size.is_some_and(|size| range.last >= size);
        if range.first != self.next || is_too_long || is_too_far {
            return Err(wrong());
        }
        Ok(range.size)
    }

    /// The whole file's size, as the storage or else the catalogue tells it.
    fn known_size(&self) -> Option<u64> {
        let told = self.facts.get().and_then(|it| it.size);
        told.or(self.transfer.size.map(ByteCount::as_bytes))
    }

    /// Compares the size of an answer with the catalogue's.
    fn judge_size(&self, answer: &Answer, size: Option<u64>) -> Result<(), TransferError> {
        let expected = self.transfer.size;
        let is_confirmed = expected.is_some() && expected.map(ByteCount::as_bytes) == size;
        if is_confirmed {
            return Ok(());
        }
        if let Some(coding) = answer
            .header("Content-Encoding")
            .filter(|it| *it != "identity")
        {
            let why = format!("it is encoded as `{coding}`, which was not asked for");
            return Err(self.error(Cause::NotTheFile { why }));
        }
        let kind = answer.header("Content-Type").unwrap_or_default();
        let is_page = kind.trim_start().starts_with("text/html") && !self.may_be_page();
        let is_known = expected.is_some() || self.transfer.checksum.is_some();
        if is_page && (expected.is_some_and(|_| size.is_some()) || !is_known) {
            let why = format!("a page ({kind}) with status {}", answer.status);
            return Err(self.error(Cause::NotTheFile { why }));
        }
        if let (Some(expected), Some(found)) = (expected, size) {
            let found = ByteCount::from_bytes(found);
            return Err(self.error(Cause::SizeMismatch { expected, found }));
        }
        if !answer.shows_its_end() && !is_known {
            let why = "neither length nor checksum is known, so that a cut would not show";
            let why = why.to_owned();
            return Err(self.error(Cause::Refused { why }));
        }
        Ok(())
    }

    /// Says whether the file may be a page by its name.
    fn may_be_page(&self) -> bool {
        let path = self.place.path().to_ascii_lowercase();
        [".html", ".htm", ".xhtml"]
            .iter()
            .any(|it| path.ends_with(it))
    }

    /// Writes a body to the target. What has come before a break is kept.
    fn take_in(&mut self, mut answer: Answer) -> Result<Ended, TransferError> {
        // A server that knows no ranges sends everything: what is there already is passed over.
        let mut to_skip = if answer.status == 200 { self.next } else { 0 };
        if answer.status == 200 && self.end.is_some() && self.next == 0 {
            self.end = None;
        }
        let end = self.end.or(self.known_size());
        let mut flow = self.session.mark();
        let mut received = 0;
        loop {
            let (filled, ended) = self.fill(&mut answer);
            received += u64::try_from(filled).unwrap_or(u64::MAX);
            if let Some(flow) = &mut flow {
                flow.goes_on(Usage {
                    received: ByteCount::from_bytes(received),
                    ..Usage::default()
                });
            }
            let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(filled);
            to_skip -= u64::try_from(skipped).unwrap_or(to_skip);
            let length = filled - skipped;
            let n_new = u64::try_from(length).unwrap_or(u64::MAX);
            if end.is_some_and(|end| self.next + n_new > end) && self.end.is_none() {
                return Err(self.too_long(n_new));
            }
            let allowed = end.map_or(n_new, |end| end.saturating_sub(self.next).min(n_new));
            let length = usize::try_from(allowed).unwrap_or(length).min(length);
            let bytes = &self.buffer[skipped..skipped + length];
            if self.next == 0 {
                self.judge_beginning(bytes)?;
            }
            self.target.write_at(bytes, self.next)?;
            self.sums.update(bytes);
            self.next += allowed;
            match ended {
                Some(Ok(())) if end.is_some_and(|end| self.next < end) => return Ok(Ended::Short),
                Some(Ok(())) => return Ok(Ended::Whole),
                Some(Err(error)) => return Err(error),
                None if self.end.is_some_and(|end| self.next >= end) => return Ok(Ended::Whole),
                None => {}
            }
        }
    }

    /// Fills the buffer as far as bytes come. The end of the body or an error comes with the bytes
    /// before it.
    fn fill(&mut self, answer: &mut Answer) -> (usize, Option<Result<(), TransferError>>) {
        let mut filled = 0;
        while filled < self.buffer.len() {
            self.session.wait.allow(self.session.silence_limit());
            match answer.read(&mut self.buffer[filled..]) {
                Ok(0) => return (filled, Some(Ok(()))),
                Ok(length) => {
                    filled += length;
                    self.session.watch.add(length);
                    if let Err(error) = self.check() {
                        return (filled, Some(Err(error)));
                    }
                }
                Err(HttpError::TimedOut { .. }) => return (filled, Some(Err(self.silent()))),
                Err(error) => {
                    let limit = self.session.watch.elapsed();
                    let error = self.session.silence(self.place, &error, limit);
                    return (filled, Some(Err(error)));
                }
            }
        }
        (filled, None)
    }

    /// Refuses a page where nothing else would show that it is none of the files of a job.
    fn judge_beginning(&self, bytes: &[u8]) -> Result<(), TransferError> {
        let is_known = self.transfer.size.is_some() || self.transfer.checksum.is_some();
        if is_known || self.may_be_page() {
            return Ok(());
        }
        let start = &bytes[..bytes.len().min(PAGE_BYTES)];
        let text = String::from_utf8_lossy(start).to_ascii_lowercase();
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with("<!doctype html") || text.starts_with("<html") {
            let why = "it begins like a page".to_owned();
            return Err(self.error(Cause::NotTheFile { why }));
        }
        Ok(())
    }

    fn too_long(&self, n_new: u64) -> TransferError {
        let found = ByteCount::from_bytes(self.next.saturating_add(n_new));
        match self.transfer.size {
            Some(expected) => self.error(Cause::SizeMismatch { expected, found }),
            None => {
                let what = "more bytes came than the storage had told".to_owned();
                self.error(Cause::Changed { what })
            }
        }
    }

    fn check(&self) -> Result<(), TransferError> {
        let session = self.session;
        session.watch.check(session.direction, &self.place.shown())
    }

    fn error(&self, cause: Cause) -> TransferError {
        self.session.error(self.place, cause)
    }
}
