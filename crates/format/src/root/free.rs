//! The list of free segments: which bytes of a ROOT file belong to nothing.
//!
//! Source: ROOT, `io/io/src/TFree.cxx`.

use crate::{
    bytes::Cursor,
    root::{header::Header, record},
    source::{Fault, Input},
};

/// Versions above this have wide places.
const WIDE_VERSION: u16 = 1000;
/// Most segments that are looked at.
const SEGMENTS_MAX: usize = 1 << 20;
/// Longest segment: version and two wide places.
const SEGMENT_BYTES_MAX: usize = 18;

/// Free segments by their first byte, each with the byte behind its last one, rising.
#[derive(Debug, Default)]
pub(crate) struct FreeSegments(Vec<(u64, u64)>);

impl FreeSegments {
    /// Returns where a segment ends that begins at a place.
    pub(crate) fn end_of(&self, first: u64) -> Option<u64> {
        let found = self.0.binary_search_by_key(&first, |segment| segment.0);
        found.ok().map(|nr| self.0[nr].1)
    }

    /// Says whether a place lies in a free segment.
    pub(crate) fn has(&self, at: u64) -> bool {
        let n_before = self.0.partition_point(|segment| segment.0 <= at);
        n_before > 0 && at < self.0[n_before - 1].1
    }
}

/// Reads the list. Its last segment is what comes behind the end of the file.
pub(crate) fn read(input: &mut Input<'_>, header: &Header) -> Result<FreeSegments, Fault> {
    let key = record::read_live(input, header.free_at)?;
    if key.n_bytes != header.free_bytes {
        return Err(Fault::Damaged("the header names another record"));
    }
    if let Some(why) = key.fault_at(header.free_at, header.end) {
        return Err(Fault::Damaged(why));
    }
    let payload = key.payload(header.free_at);
    let mut at = payload.at;
    let mut segments: Vec<(u64, u64)> = Vec::new();
    // The header's number of segments is not used: some writers leave it 0.
    loop {
        let left = usize::try_from(payload.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut cursor = Cursor::new(input.bytes(at, left.min(SEGMENT_BYTES_MAX))?);
        let is_wide = cursor.u16()? > WIDE_VERSION;
        let (first, last) = (cursor.seek(is_wide)?, cursor.seek(is_wide)?);
        at += cursor.at() as u64;
        let is_behind = segments.last().is_none_or(|(_, end)| *end <= first);
        if last < first || !is_behind || first < header.begin {
            return Err(Fault::Damaged("a segment lies where none can be"));
        }
        if last >= header.end {
            return Ok(FreeSegments(segments));
        }
        if segments.len() == SEGMENTS_MAX {
            return Err(Fault::Damaged("it has more segments than are looked at"));
        }
        segments.push((first, last + 1));
    }
}
