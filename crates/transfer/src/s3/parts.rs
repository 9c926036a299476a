//! Stores a large file in parts side by side. The object appears when all of them are there.

use std::{
    fmt::Write as _,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use ailurus_http::Content;
use ailurus_model::Checksum;
use md5::{Digest as _, Md5};
use rusty_s3::Method;

use super::{
    conversation::{Conversation, Found, element, is_md5, text_of},
    put::{
        Body, again, check_unchanged, compare_md5, compare_size, compare_tag, content_type, hex,
        remove,
    },
};
use crate::{
    Cause, StopSwitch, Transfer, TransferError,
    checksum::{ChecksumKind, adler32_combine},
    file_checksums,
    local::source::Source,
    patience::settle_limit,
};

/// Most parts of an object.
///
/// Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
const PARTS_MAX: u64 = 10_000;

/// Stack of a thread that sends parts, in bytes. Only what is touched takes memory.
const STACK_BYTES: usize = 256 << 10;

/// A part that is stored.
#[derive(Debug, Clone, Default)]
struct Part {
    /// As the storage told it, without quotes.
    etag: String,
    md5: [u8; 16],
    adler32: u32,
    length: u64,
}

/// A file that is stored in parts.
struct Upload<'a> {
    talk: &'a Conversation<'a>,
    transfer: &'a Transfer,
    source: &'a Source,
    id: &'a str,
    part_bytes: u64,
    n_parts: u64,
    /// The next part that nobody has begun.
    next: AtomicU64,
    done: Mutex<Vec<Part>>,
    /// The first failure.
    failed: Mutex<Option<TransferError>>,
    stopped: AtomicBool,
}

/// Stores a file and returns its checksums, the main one first.
pub(super) fn put(
    talk: &Conversation<'_>,
    transfer: &Transfer,
    source: &Source,
) -> Result<Vec<Checksum>, TransferError> {
    // Only Adler-32 can be joined from parts. Other sums take a reading of their own.
    let read_before = read_before(talk, transfer)?;
    let never = AtomicBool::new(false);
    let id = again(talk, &never, || begin(talk))?;
    let stored = (|| {
        let parts = Upload::new(talk, transfer, source, &id).send()?;
        check_unchanged(source)?;
        let checksums = read_before.unwrap_or_else(|| vec![join(&parts)]);
        let size = source.size();
        transfer.verify(&transfer.path.display().to_string(), size, &checksums[0])?;
        Ok((parts, checksums))
    })();
    let (parts, checksums) = stored.inspect_err(|_| abort(talk, &id))?;
    finish(talk, &id, &parts, source.size().as_bytes())?;
    Ok(checksums)
}

fn read_before(
    talk: &Conversation<'_>,
    transfer: &Transfer,
) -> Result<Option<Vec<Checksum>>, TransferError> {
    let kinds: Vec<ChecksumKind> = [transfer.main_kind()]
        .into_iter()
        .chain(transfer.also.iter().copied())
        .collect();
    if kinds.iter().all(|kind| *kind == ChecksumKind::Adler32) {
        return Ok(None);
    }
    let stop = StopSwitch::from(Arc::clone(talk.watch.stop()));
    let (_, checksums) = file_checksums(&transfer.path, &kinds, transfer.direction, &stop)?;
    Ok(Some(checksums))
}

fn begin(talk: &Conversation<'_>) -> Result<String, TransferError> {
    talk.wait.allow(settle_limit(0));
    let headers = [("Content-Type", content_type(talk.place.name()))];
    let answer = talk.ask(
        Method::Post,
        &[("uploads", "")],
        &headers,
        Content::Bytes(&[]),
    )?;
    let xml = text_of(answer);
    element(&xml, "UploadId").map(unescape).ok_or_else(|| {
        let why = "it begins no upload in parts".to_owned();
        talk.error(Cause::Refused { why })
    })
}

/// Has the storage make the object of its parts, and compares it with what was sent.
fn finish(
    talk: &Conversation<'_>,
    id: &str,
    parts: &[Part],
    size: u64,
) -> Result<(), TransferError> {
    let sums: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    let tag = format!("{}-{}", hex(&Md5::digest(&sums)), parts.len());
    let body = completion(parts);
    let never = AtomicBool::new(false);
    let mut is_unclear = false;
    let completed = again(talk, &never, || {
        talk.wait.allow(settle_limit(size));
        let content = Content::Bytes(body.as_bytes());
        let result = talk.ask(Method::Post, &[("uploadId", id)], &[], content);
        let done = result.and_then(|answer| {
            // It may have found out only after it had said that all is well.
            let xml = text_of(answer);
            match element(&xml, "Code") {
                Some("InternalError" | "SlowDown" | "ServiceUnavailable") => {
                    let why = "the parts could not be put together".to_owned();
                    let retry_after = None;
                    Err(talk.error(Cause::Busy { why, retry_after }))
                }
                Some(code) => {
                    let why = format!("the parts could not be put together: {code}");
                    Err(talk.error(Cause::Refused { why }))
                }
                None => Ok(()),
            }
        });
        match done {
            // An earlier request was carried out and its answer lost: the upload is no more.
            Err(_) if is_unclear && is_there(talk, &tag, size) => Ok(()),
            Err(error) => {
                is_unclear = true;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    });
    if let Err(error) = completed {
        if is_there(talk, &tag, size) {
            return Ok(());
        }
        abort(talk, id);
        return Err(error);
    }
    let found = talk.look()?;
    let compared = compare_size(talk, &found, size).and_then(|()| compare_tag(talk, &found, &tag));
    compared.inspect_err(|_| remove(talk))
}

fn is_there(talk: &Conversation<'_>, tag: &str, size: u64) -> bool {
    let is_it = |found: Found| found.etag == tag && compare_size(talk, &found, size).is_ok();
    talk.look().is_ok_and(is_it)
}

fn completion(parts: &[Part]) -> String {
    let mut xml = "<CompleteMultipartUpload>".to_owned();
    for (index, part) in parts.iter().enumerate() {
        let (nr, etag) = (index + 1, escape(&part.etag));
        write!(
            xml,
            "<Part><PartNumber>{nr}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
        )
        .expect("a String takes everything");
    }
    xml.push_str("</CompleteMultipartUpload>");
    xml
}

/// Gives an upload up, so that its parts do not take space for ever.
fn abort(talk: &Conversation<'_>, id: &str) {
    let cleaning = talk.for_cleaning();
    match cleaning.ask_shortly(Method::Delete, &[("uploadId", id)]) {
        Ok(answer) => answer.drain(),
        Err(error) => {
            let (place, cause) = (talk.place.shown(), error.cause);
            tracing::warn!(place, %cause, "parts of an upload may be left");
        }
    }
}

fn join(parts: &[Part]) -> Checksum {
    let sum = parts.iter().fold(1, |sum, part| {
        adler32_combine(sum, part.adler32, part.length)
    });
    Checksum::Adler32(sum)
}

impl<'a> Upload<'a> {
    fn new(
        talk: &'a Conversation<'a>,
        transfer: &'a Transfer,
        source: &'a Source,
        id: &'a str,
    ) -> Self {
        let wanted = talk.tool.options.part.as_bytes().max(1);
        let part_bytes = wanted.max(source.size().as_bytes().div_ceil(PARTS_MAX));
        let n_parts = source.size().as_bytes().div_ceil(part_bytes);
        Self {
            talk,
            transfer,
            source,
            id,
            part_bytes,
            n_parts,
            next: AtomicU64::new(0),
            done: Mutex::new(vec![
                Part::default();
                usize::try_from(n_parts).unwrap_or(usize::MAX)
            ]),
            failed: Mutex::new(None),
            stopped: AtomicBool::new(false),
        }
    }

    /// Sends all parts; this thread works too.
    fn send(self) -> Result<Vec<Part>, TransferError> {
        let n_helpers = u64::from(self.talk.tool.options.parallel.get()).min(self.n_parts) - 1;
        thread::scope(|scope| {
            let helpers = &self.talk.tool.helpers;
            for permit in (0..n_helpers).map_while(|_| helpers.try_take(1)) {
                let helper = thread::Builder::new()
                    .name("transfer-part".to_owned())
                    .stack_size(STACK_BYTES);
                let work = || {
                    let _permit = permit;
                    self.work(&self.talk.another());
                };
                if let Err(error) = helper.spawn_scoped(scope, work) {
                    tracing::warn!(%error, "fewer parts at a time than asked for");
                    break;
                }
            }
            self.work(self.talk);
        });
        let failed = self.failed.into_inner();
        if let Some(error) = failed.unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        Ok(self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends parts until none is left, or one has failed.
    fn work(&self, talk: &Conversation<'_>) {
        loop {
            let nr = self.next.fetch_add(1, Ordering::Relaxed);
            if nr >= self.n_parts || self.stopped.load(Ordering::Relaxed) {
                return;
            }
            match again(talk, &self.stopped, || self.send_part(talk, nr)) {
                Ok(part) => {
                    let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Ok(index) = usize::try_from(nr) {
                        done[index] = part;
                    }
                }
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(error);
                    self.stopped.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn send_part(&self, talk: &Conversation<'_>, nr: u64) -> Result<Part, TransferError> {
        let range = self.range(nr);
        let length = range.end - range.start;
        let part_nr = (nr + 1).to_string();
        let mut adler_only = self.transfer.clone();
        (adler_only.checksum, adler_only.kind) = (None, ChecksumKind::Adler32);
        adler_only.also = Vec::new();
        let mut body = Body::new(talk, self.source, &adler_only, range, &self.stopped);
        let told = body.send(&[("partNumber", &part_nr), ("uploadId", self.id)], &[])?;
        let sent = body.finish();
        if is_md5(&told.etag) {
            // A part that came as something else is sent again.
            compare_md5(talk, &told, &hex(&sent.md5)).map_err(|error| {
                let why = format!("part {part_nr}: {}", error.cause);
                talk.error(Cause::Broken { why })
            })?;
        }
        let adler32 = match sent.checksums.first() {
            Some(Checksum::Adler32(sum)) => *sum,
            Some(Checksum::Md5(_) | Checksum::Sha256(_)) | None => 1,
        };
        Ok(Part {
            etag: told.etag,
            md5: sent.md5,
            adler32,
            length,
        })
    }

    fn range(&self, nr: u64) -> Range<u64> {
        let start = nr * self.part_bytes;
        start..(start + self.part_bytes).min(self.source.size().as_bytes())
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_listed_by_their_numbers() {
        let part = |etag: &str| Part {
            etag: etag.to_owned(),
            ..Part::default()
        };
        assert_eq!(
            completion(&[part("a"), part("b&")]),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag>\
             </Part><Part><PartNumber>2</PartNumber><ETag>&quot;b&amp;&quot;</ETag></Part>\
             </CompleteMultipartUpload>"
        );
    }

    #[test]
    fn texts_of_xml_come_back() {
        assert_eq!(unescape(&escape("a<b>&\"c")), "a<b>&\"c");
    }
}
