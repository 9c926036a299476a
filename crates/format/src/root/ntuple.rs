//! `RNTuple`s: a small anchor names header and footer, the footer lists of pages, these the pages;
//! all have an XXH3 of 64 bits, pages if their writer was asked for it.
//!
//! Source: ROOT, `tree/ntuple/doc/BinaryFormatSpecification.md`, version 1.

use std::{hash::Hasher as _, io::Read as _};

use twox_hash::XxHash3_64;

use crate::{
    bytes::Cursor,
    root::block::Payload,
    source::{BEHIND_END, Fault, Section, Source},
};

/// The anchor's numbers, in bytes.
const ANCHOR_BYTES: usize = 64;
const HASH_BYTES: usize = 8;
/// Longest header, footer or list of pages that is looked at, unpacked.
const ENVELOPE_BYTES_MAX: u64 = 64 << 20;
/// Most lists of pages of one `RNTuple`.
const PAGE_LISTS_MAX: u32 = 1 << 16;
/// Bytes of a page that are read in one step.
const STEP: usize = 64 << 10;

const HEADER: u64 = 1;
const FOOTER: u64 = 2;
const PAGE_LIST: u64 = 3;

/// Bytes of pages beyond the length of the file: equal pages may lie at the same place.
const PAGE_BYTES_MAX: u64 = 4 << 30;

const TOO_LONG: Fault = Fault::Damaged("its parts are longer than the file");
const WRONG_SUM: Fault = Fault::Damaged("its checksum is not that of its content");

/// What an anchor leads to.
#[derive(Debug)]
pub(crate) struct Ntuple {
    /// How many entries there are.
    pub(crate) n_entries: u64,
    /// Where its lists of pages are.
    pub(crate) page_lists: Vec<Payload>,
}

/// Follows an anchor to header, footer and lists of pages, and verifies them all.
///
/// `bytes_left` is how many bytes may be unpacked for it.
pub(crate) fn read(
    source: &dyn Source,
    anchor: &[u8],
    bytes_left: &mut u64,
) -> Result<Ntuple, Fault> {
    let begin = anchor.len().checked_sub(ANCHOR_BYTES + HASH_BYTES);
    let begin = begin.ok_or(Fault::Damaged("its anchor is too short"))?;
    let numbers = &anchor[begin..begin + ANCHOR_BYTES];
    let stored = Cursor::starting(anchor, begin + ANCHOR_BYTES).u64()?;
    if XxHash3_64::oneshot(numbers) != stored {
        return Err(WRONG_SUM);
    }
    let mut cursor = Cursor::new(numbers);
    if cursor.u16()? == 0 {
        return Err(Fault::Damaged("it is of a version before the first"));
    }
    cursor.skip(6)?;
    let mut part = || -> Result<Payload, Fault> {
        let (at, packed, unpacked) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        payload(source, at, packed, unpacked)
    };
    let (header, footer) = (part()?, part()?);
    let header = open(source, header, HEADER)?;
    let footer = open(source, footer, FOOTER)?;
    let header_hash = Cursor::starting(&header, header.len() - HASH_BYTES).u64_le()?;
    let ntuple = read_footer(source, &footer, header_hash)?;
    let mut page_bytes_left = PAGE_BYTES_MAX.saturating_add(source.length());
    for list in &ntuple.page_lists {
        *bytes_left = bytes_left.checked_sub(list.unpacked).ok_or(TOO_LONG)?;
        each_page(source, *list, |page| {
            page_bytes_left = page_bytes_left.checked_sub(page.n_bytes).ok_or(TOO_LONG)?;
            page.end(source).map(drop)
        })?;
    }
    Ok(ntuple)
}

fn payload(source: &dyn Source, at: u64, packed: u64, unpacked: u64) -> Result<Payload, Fault> {
    let end = at.checked_add(packed).ok_or(Fault::Damaged(BEHIND_END))?;
    if end > source.length() {
        return Err(Fault::Damaged(BEHIND_END));
    }
    if unpacked > ENVELOPE_BYTES_MAX || packed > unpacked {
        return Err(Fault::Damaged("a part of it has a length that cannot be"));
    }
    Ok(Payload { at, end, unpacked })
}

/// Reads an envelope, which is verified.
fn open(source: &dyn Source, payload: Payload, kind: u64) -> Result<Vec<u8>, Fault> {
    let bytes = payload.read(source)?;
    let end = bytes.len().checked_sub(HASH_BYTES);
    let end = end.ok_or(Fault::Damaged("a part of it is too short"))?;
    let first = Cursor::new(&bytes).u64_le()?;
    if first & 0xffff != kind || first >> 16 != bytes.len() as u64 {
        return Err(Fault::Damaged("a part of it is something else"));
    }
    if XxHash3_64::oneshot(&bytes[..end]) != Cursor::starting(&bytes, end).u64_le()? {
        return Err(WRONG_SUM);
    }
    Ok(bytes)
}

fn read_footer(source: &dyn Source, footer: &[u8], header_hash: u64) -> Result<Ntuple, Fault> {
    let mut cursor = Cursor::starting(footer, 8);
    // Features: the highest bit says that more of them follow.
    while cursor.i64_le()? < 0 {}
    if cursor.u64_le()? != header_hash {
        return Err(Fault::Damaged("header and footer are not of the same one"));
    }
    let extension = frame(&mut cursor)?;
    cursor.go_to(extension.end)?;
    let groups = frame(&mut cursor)?;
    if groups.n_items > PAGE_LISTS_MAX {
        return Err(Fault::Damaged(
            "it has more lists of pages than are looked at",
        ));
    }
    let mut ntuple = Ntuple {
        n_entries: 0,
        page_lists: Vec::new(),
    };
    for _ in 0..groups.n_items {
        let group = frame(&mut cursor)?;
        let _first_entry = cursor.u64_le()?;
        ntuple.n_entries = ntuple.n_entries.saturating_add(cursor.u64_le()?);
        let _n_clusters = cursor.u32_le()?;
        let unpacked = cursor.u64_le()?;
        let (at, packed) = locator(&mut cursor)?;
        ntuple
            .page_lists
            .push(payload(source, at, packed, unpacked)?);
        cursor.go_to(group.end)?;
    }
    Ok(ntuple)
}

/// A part that has its length before it.
struct Frame {
    end: usize,
    n_items: u32,
}

fn frame(cursor: &mut Cursor<'_>) -> Result<Frame, Fault> {
    const WRONG: Fault = Fault::Damaged("a frame has a length that cannot be");
    let begin = cursor.at();
    let size = cursor.i64_le()?;
    let n_items = if size < 0 { cursor.u32_le()? } else { 0 };
    let size = usize::try_from(size.unsigned_abs()).map_err(|_| WRONG)?;
    let end = begin.checked_add(size).ok_or(WRONG)?;
    if end < cursor.at() || end - cursor.at() > cursor.left() {
        return Err(WRONG);
    }
    Ok(Frame { end, n_items })
}

/// Reads where something is: its place and its length.
fn locator(cursor: &mut Cursor<'_>) -> Result<(u64, u64), Fault> {
    const LARGE: u32 = 1;
    let size = cursor.i32_le()?;
    if let Ok(size) = u64::try_from(size) {
        return Ok((cursor.u64_le()?, size));
    }
    let bits = size.cast_unsigned();
    if (bits >> 24) & 0x7f != LARGE {
        return Err(Fault::Damaged("a part of it lies in no file"));
    }
    let size = cursor.u64_le()?;
    Ok((cursor.u64_le()?, size))
}

/// One page: where it is, and whether its checksum follows on it.
#[derive(Debug, Clone, Copy)]
struct Page {
    at: u64,
    n_bytes: u64,
    has_hash: bool,
}

impl Page {
    /// Returns where the page ends, and its checksum begins.
    fn end(self, source: &dyn Source) -> Result<u64, Fault> {
        let hash_bytes = if self.has_hash { HASH_BYTES as u64 } else { 0 };
        let end = self.at.checked_add(self.n_bytes);
        let end = end.filter(|end| end.saturating_add(hash_bytes) <= source.length());
        end.ok_or(Fault::Damaged("a page reaches behind the end of the file"))
    }

    fn verify(self, source: &dyn Source, buffer: &mut [u8]) -> Result<(), Fault> {
        let end = self.end(source)?;
        if !self.has_hash {
            return Ok(());
        }
        let mut hasher = XxHash3_64::new();
        let mut section = Section::new(source, self.at, end);
        loop {
            match section.read(buffer) {
                Ok(0) => break,
                Ok(n_bytes) => hasher.write(&buffer[..n_bytes]),
                Err(_) => return Err(section.fault("a page cannot be read")),
            }
        }
        let mut stored = [0; HASH_BYTES];
        source.read_at(end, &mut stored)?;
        if hasher.finish() == u64::from_le_bytes(stored) {
            Ok(())
        } else {
            Err(Fault::Damaged(
                "the checksum of a page is not that of its content",
            ))
        }
    }
}

/// Verifies a list of pages, and gives each page to `act`.
fn each_page(
    source: &dyn Source,
    list: Payload,
    mut act: impl FnMut(Page) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let bytes = open(source, list, PAGE_LIST)?;
    let mut cursor = Cursor::starting(&bytes, 16);
    let summaries = frame(&mut cursor)?;
    cursor.go_to(summaries.end)?;
    let clusters = frame(&mut cursor)?;
    for _ in 0..clusters.n_items {
        let columns = frame(&mut cursor)?;
        for _ in 0..columns.n_items {
            let pages = frame(&mut cursor)?;
            for _ in 0..pages.n_items {
                let has_hash = cursor.i32_le()? < 0;
                let (at, n_bytes) = locator(&mut cursor)?;
                act(Page {
                    at,
                    n_bytes,
                    has_hash,
                })?;
            }
            cursor.go_to(pages.end)?;
        }
        cursor.go_to(columns.end)?;
    }
    Ok(())
}

/// Verifies every page of a list that has a checksum.
pub(crate) fn verify_pages(source: &dyn Source, list: Payload) -> Result<(), Fault> {
    let mut buffer = vec![0; STEP];
    each_page(source, list, |page| page.verify(source, &mut buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of three bytes with its checksum, and behind it a list that names it.
    fn page_and_list() -> (Vec<u8>, Payload) {
        const PAGE: &[u8] = b"abc";
        let mut bytes = PAGE.to_vec();
        bytes.extend(XxHash3_64::oneshot(PAGE).to_le_bytes());
        let at = bytes.len();
        let list_frame = |items: &[u8]| {
            let size = -i64::try_from(12 + items.len()).unwrap();
            [&size.to_le_bytes(), 1_u32.to_le_bytes().as_slice(), items].concat()
        };
        // One element with a checksum, three bytes long, at the beginning.
        let mut page = (-1_i32).to_le_bytes().to_vec();
        page.extend(3_i32.to_le_bytes());
        page.extend(0_u64.to_le_bytes());
        let clusters = list_frame(&list_frame(&list_frame(&page)));
        let no_summaries = [&(-12_i64).to_le_bytes(), [0; 4].as_slice()].concat();
        let body = [[0; 8].as_slice(), &no_summaries, &clusters].concat();
        let length = 8 + body.len() + HASH_BYTES;
        let first = PAGE_LIST | (length as u64) << 16;
        let mut list = [first.to_le_bytes().as_slice(), &body].concat();
        list.extend(XxHash3_64::oneshot(&list).to_le_bytes());
        bytes.extend(&list);
        let payload = Payload {
            at: at as u64,
            end: bytes.len() as u64,
            unpacked: list.len() as u64,
        };
        (bytes, payload)
    }

    #[test]
    fn a_changed_page_is_found_by_its_checksum() {
        let (whole, list) = page_and_list();
        verify_pages(&whole, list).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(verify_pages(&changed, list).is_err(), "byte {at}");
        }
    }
}
