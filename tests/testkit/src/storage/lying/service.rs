//! What storage answers: the honest `WebDAV` service, with the lies that are about content.
//!
//! An answer is data here; how it goes over the wire, or does not, is said by its [`Delivery`].

use std::sync::Arc;

use md5::{Digest as _, Md5};

use super::{
    Collections, Lie, Shared, State, listing,
    path::{decode, encode},
    ranges::{Wanted, wanted},
};
use crate::{connection::Connection, http::Request};

/// The border between the parts of an answer with several ranges.
const BORDER: &str = "ailurus-border";

/// How an answer goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// With its length.
    Whole,
    /// With its length; after so many bytes the connection is closed.
    Short(usize),
    /// With its length; after so many bytes nothing comes until the client leaves.
    Hang(usize),
    /// With its length; after so many bytes the connection is reset.
    Reset(usize),
    /// With a length that is wrong by this; then the connection is closed.
    WrongLength(isize),
    /// Without a length; then the connection is closed.
    NoLength,
    /// In chunks.
    Chunked,
    /// In chunks; after so many bytes the connection is closed.
    ChunkedShort(usize),
}

/// An answer before it goes over the wire.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) delivery: Delivery,
}

impl Outcome {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Answers a request whose body has been read.
pub(super) fn answer(
    shared: &Shared,
    request: &Request,
    body: Vec<u8>,
    lie: Option<&Lie>,
) -> Outcome {
    let (method, target) = request
        .method_and_target()
        .split_once(' ')
        .unwrap_or_default();
    let path = decode(target);
    if let Some(outcome) = lie.and_then(|lie| instead(lie, target)) {
        return outcome;
    }
    if method == "COPY"
        && let Some(source) = request.header("Source")
    {
        return pull(shared, source, &path, lie);
    }
    let state = &mut *shared.lock();
    match method {
        "GET" | "HEAD" => read(state, request, &path, lie),
        "PUT" => put(state, path, body, lie),
        "DELETE" => delete(state, &path),
        "MKCOL" => make_collection(state, path),
        "MOVE" | "COPY" => relocate(state, request, &path, lie),
        "PROPFIND" => listing::answer(state, request, &path),
        "OPTIONS" => Outcome::new(200, "")
            .with("DAV", "1")
            .with("Allow", ALLOWED),
        _ => Outcome::new(405, "").with("Allow", ALLOWED),
    }
}

const ALLOWED: &str = "GET, HEAD, PUT, DELETE, MKCOL, MOVE, COPY, PROPFIND, OPTIONS";

/// Returns what is said instead of looking at any file.
fn instead(lie: &Lie, target: &str) -> Option<Outcome> {
    match lie {
        Lie::Status(status) => Some(Outcome::new(*status, "no")),
        Lie::Busy {
            status,
            retry_after,
        } => {
            let outcome = Outcome::new(*status, "busy");
            Some(match retry_after {
                Some(seconds) => outcome.with("Retry-After", seconds.to_string()),
                None => outcome,
            })
        }
        Lie::Html => {
            let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
            Some(Outcome::new(200, page).with("Content-Type", "text/html; charset=utf-8"))
        }
        Lie::RedirectLoop => Some(Outcome::new(302, "").with("Location", target)),
        Lie::RedirectTo(place) => {
            Some(Outcome::new(307, "").with("Location", format!("{place}{target}")))
        }
        Lie::WrongChecksum
        | Lie::NoChecksum
        | Lie::Flipped { .. }
        | Lie::Short { .. }
        | Lie::Hang { .. }
        | Lie::Reset { .. }
        | Lie::Expires { .. }
        | Lie::WrongLength { .. }
        | Lie::NoLength
        | Lie::Chunked
        | Lie::ChunkedShort { .. }
        | Lie::Grows { .. }
        | Lie::IgnoresRange
        | Lie::WrongRange { .. }
        | Lie::ChangingTag
        | Lie::Silent
        | Lie::Full { .. }
        | Lie::BreaksUpload { .. }
        | Lie::KeepsHalf
        | Lie::Forgets
        | Lie::StoresAndLeaves
        | Lie::CopyFails
        | Lie::MovesAndFails => None,
    }
}

fn read(state: &mut State, request: &Request, path: &str, lie: Option<&Lie>) -> Outcome {
    let Some(file) = state.files.get_mut(path) else {
        return Outcome::new(404, "not found");
    };
    if let Some(Lie::Grows { by }) = lie {
        let length = file.len() + by;
        Arc::make_mut(file).resize(length, b'+');
    }
    let file = Arc::clone(file);
    let mut tag = format!(
        "\"{:08x}-{}\"",
        simd_adler32::adler32(&file.as_slice()),
        file.len()
    );
    if lie == Some(&Lie::ChangingTag) {
        state.n_tags += 1;
        tag = format!("\"{}-{}\"", state.n_tags, file.len());
    }
    let mut sent = Arc::clone(&file);
    if let Some(Lie::Flipped { at }) = lie
        && let Some(byte) = Arc::make_mut(&mut sent).get_mut(*at)
    {
        *byte ^= 0x55;
    }
    let is_other = |header| request.header(header).is_some_and(|own| own != tag);
    if is_other("If-Match") {
        return Outcome::new(412, "").with("ETag", tag);
    }
    let ranges = match lie {
        Some(Lie::IgnoresRange) => None,
        _ if is_other("If-Range") => None,
        _ => request.header("Range"),
    };
    let mut outcome = match wanted(ranges, file.len()) {
        Wanted::Whole => Outcome::new(200, sent.to_vec()),
        Wanted::Parts(parts) => part(&sent, &parts, lie),
        Wanted::Nothing => {
            let length = format!("bytes */{}", file.len());
            return Outcome::new(416, "").with("Content-Range", length);
        }
    };
    if let Some(digest) = digest(&file, request.header("Want-Digest"), lie) {
        outcome = outcome.with("Digest", digest);
    }
    outcome.delivery = delivery(lie);
    if matches!(lie, Some(Lie::Expires { .. })) {
        state.has_expired = true;
    }
    outcome.with("ETag", tag).with("Accept-Ranges", "bytes")
}

fn delivery(lie: Option<&Lie>) -> Delivery {
    match lie {
        Some(Lie::Short { after } | Lie::Expires { after }) => Delivery::Short(*after),
        Some(Lie::Hang { after }) => Delivery::Hang(*after),
        Some(Lie::Reset { after }) => Delivery::Reset(*after),
        Some(Lie::WrongLength { by }) => Delivery::WrongLength(*by),
        Some(Lie::NoLength) => Delivery::NoLength,
        Some(Lie::Chunked) => Delivery::Chunked,
        Some(Lie::ChunkedShort { after }) => Delivery::ChunkedShort(*after),
        _ => Delivery::Whole,
    }
}

/// Answers with one or several ranges.
fn part(file: &[u8], parts: &[std::ops::Range<usize>], lie: Option<&Lie>) -> Outcome {
    let length = file.len();
    let said = |range: &std::ops::Range<usize>| {
        format!(
            "bytes {}-{}/{length}",
            range.start,
            range.end.saturating_sub(1)
        )
    };
    if let [range] = parts {
        let range = match lie {
            Some(Lie::WrongRange { by }) => {
                (range.start + by).min(length)..(range.end + by).min(length)
            }
            _ => range.clone(),
        };
        return Outcome::new(206, &file[range.clone()]).with("Content-Range", said(&range));
    }
    let mut body = Vec::new();
    for range in parts {
        let head = format!("\r\n--{BORDER}\r\nContent-Range: {}\r\n\r\n", said(range));
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&file[range.clone()]);
    }
    body.extend_from_slice(format!("\r\n--{BORDER}--\r\n").as_bytes());
    let kind = format!("multipart/byteranges; boundary={BORDER}");
    Outcome::new(206, body).with("Content-Type", kind)
}

/// Returns the header `Digest` (RFC 3230) with what was wanted and is known here: adler32 in
/// hexadecimal digits, md5 in base64.
fn digest(file: &[u8], wanted: Option<&str>, lie: Option<&Lie>) -> Option<String> {
    let wanted = wanted?.to_ascii_lowercase();
    let file = match lie {
        Some(Lie::NoChecksum) => return None,
        Some(Lie::WrongChecksum) => b"other bytes",
        _ => file,
    };
    let mut found = Vec::new();
    for kind in wanted.split(',') {
        match kind.split(';').next().unwrap_or_default().trim() {
            "adler32" => {
                let sum = simd_adler32::adler32(&file);
                found.push(format!("adler32={sum:08x}"));
            }
            "md5" => found.push(format!("md5={}", base64(&Md5::digest(file)))),
            _ => {}
        }
    }
    (!found.is_empty()).then(|| found.join(","))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for nr in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * nr)) as usize & 0x3f];
            text.push(if nr > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

fn put(state: &mut State, path: String, mut body: Vec<u8>, lie: Option<&Lie>) -> Outcome {
    if let Some(refused) = refuse_without_collection(state, &path) {
        return refused;
    }
    let is_new = !state.files.contains_key(&path);
    match lie {
        Some(Lie::Forgets) => return Outcome::new(201, ""),
        Some(Lie::KeepsHalf) => body.truncate(body.len() / 2),
        _ => {}
    }
    state.files.insert(path, Arc::new(body));
    Outcome::new(if is_new { 201 } else { 204 }, "")
}

fn refuse_without_collection(state: &State, path: &str) -> Option<Outcome> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let is_there = parent.is_empty() || state.collections.contains(parent);
    (state.rule_of_collections == Collections::Needed && !is_there)
        .then(|| Outcome::new(409, "no such collection"))
}

fn delete(state: &mut State, path: &str) -> Outcome {
    let is_gone = state.files.remove(path).is_some() || state.collections.remove(path);
    Outcome::new(if is_gone { 204 } else { 404 }, "")
}

fn make_collection(state: &mut State, path: String) -> Outcome {
    if let Some(refused) = refuse_without_collection(state, &path) {
        return refused;
    }
    if state.files.contains_key(&path) || !state.collections.insert(path) {
        return Outcome::new(405, "it is there");
    }
    Outcome::new(201, "")
}

/// MOVE and COPY within the storage.
fn relocate(state: &mut State, request: &Request, path: &str, lie: Option<&Lie>) -> Outcome {
    let is_move = request.method_and_target().starts_with("MOVE");
    let Some(to) = request.header("Destination").map(decode) else {
        return Outcome::new(400, "where to?");
    };
    let content = state.files.get(path).map(Arc::clone);
    let Some(content) = content else {
        return Outcome::new(404, "not found");
    };
    if let Some(refused) = refuse_without_collection(state, &to) {
        return refused;
    }
    let is_new = !state.files.contains_key(&to);
    if !is_new && request.header("Overwrite") == Some("F") {
        return Outcome::new(412, "it is there");
    }
    if is_move {
        state.files.remove(path);
    }
    state.files.insert(to, content);
    if lie == Some(&Lie::MovesAndFails) {
        return Outcome::new(500, "something went wrong");
    }
    Outcome::new(if is_new { 201 } else { 204 }, "")
}

/// COPY from another storage (third-party copy, pull mode): the body says how that went.
fn pull(shared: &Shared, source: &str, path: &str, lie: Option<&Lie>) -> Outcome {
    let mut outcome = Outcome::new(202, "").with("Content-Type", "text/perf-marker-stream");
    outcome.delivery = Delivery::Chunked;
    let fetched = if lie == Some(&Lie::CopyFails) {
        Err("the source said no".to_owned())
    } else {
        fetch(source)
    };
    let end = match fetched {
        Ok(content) => {
            let marker = format!(
                "Perf Marker\n    Timestamp: 0\n    Stripe Index: 0\n    \
                 Stripe Bytes Transferred: {}\n    Total Stripe Count: 1\nEnd\n",
                content.len()
            );
            let mut state = shared.lock();
            state.files.insert(path.to_owned(), Arc::new(content));
            format!("{marker}success: Created\n")
        }
        Err(why) => format!("failure: {why}\n"),
    };
    outcome.body = end.into_bytes();
    outcome
}

fn fetch(source: &str) -> Result<Vec<u8>, String> {
    let place = source.strip_prefix("http://").ok_or("only http is known")?;
    let (host, _) = place.split_once('/').ok_or("the source has no path")?;
    let path = encode(&decode(source));
    let mut connection = Connection::open(host).map_err(|error| error.to_string())?;
    let answer = connection.send("GET", &path, "", b"");
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("the source answered {}", answer.status));
    }
    Ok(answer.body)
}
