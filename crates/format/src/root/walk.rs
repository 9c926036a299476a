//! From the first record to the last: every record must follow on the one before, up to the end.
//!
//! So every cut and every overwritten place is found that touches the head of a record.

use crate::{
    root::{
        Piece,
        free::FreeSegments,
        header::Header,
        record::{self, Record},
    },
    source::{Fault, Input, ReadError, judged},
    verdict::{Finding, Verdict},
};

/// Baskets that are kept to compare them with what trees say.
const BASKETS_MAX: usize = 1 << 20;
/// File bytes of a piece for a thread: so few that cores end together, so many that it pays.
const PIECE_BYTES: u64 = 16 << 20;
/// Most pieces of one file. Longer files have longer pieces.
const PIECES_MAX: u64 = 4096;

/// One basket in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BasketRecord {
    /// Where its record begins.
    pub(crate) at: u64,
    /// Length of the record, in bytes.
    pub(crate) n_bytes: u32,
    /// Its entries; `None` where its key does not say.
    pub(crate) n_entries: Option<u32>,
}

/// What the walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Baskets by rising place.
    pub(crate) baskets: Vec<BasketRecord>,
    /// Whether there are more of them.
    pub(crate) is_cut_short: bool,
    /// The file without its gaps, in parts that begin and end between records.
    pub(crate) pieces: Vec<Piece>,
}

impl Walk {
    /// Finds the basket that begins at a place.
    pub(crate) fn basket(&self, at: u64) -> Option<&BasketRecord> {
        let found = self.baskets.binary_search_by_key(&at, |basket| basket.at);
        found.ok().map(|nr| &self.baskets[nr])
    }
}

/// Walks over all records. It ends at the first that is none, as nothing is known behind it.
///
/// # Errors
///
/// The source cannot be read.
pub(crate) fn walk(
    input: &mut Input<'_>,
    header: &Header,
    free: &FreeSegments,
    verdict: &mut Verdict,
) -> Result<Walk, ReadError> {
    let mut walk = Walk::default();
    let piece_bytes = PIECE_BYTES.max((header.end - header.begin) / PIECES_MAX);
    let (mut at, mut piece_begin) = (header.begin, header.begin);
    while at < header.end {
        let (next, is_gap) = match judged(step(input, at, header, free, &mut walk))? {
            Ok(stepped) => stepped,
            Err(why) => {
                verdict.find(Finding::KeyDamaged { at, why });
                break;
            }
        };
        let piece_end = if is_gap { at } else { next };
        if is_gap || next - piece_begin >= piece_bytes || next == header.end {
            if piece_begin < piece_end {
                walk.pieces.push(Piece::records(piece_begin, piece_end));
            }
            piece_begin = next;
        }
        at = next;
    }
    if walk.is_cut_short {
        verdict.find(Finding::NotLookedInto {
            what: format!("baskets beyond the first {BASKETS_MAX}, against what trees say of them"),
        });
    }
    Ok(walk)
}

/// Judges the record at a place; returns where the next one begins, and whether it was a gap.
fn step(
    input: &mut Input<'_>,
    at: u64,
    header: &Header,
    free: &FreeSegments,
    walk: &mut Walk,
) -> Result<(u64, bool), Fault> {
    // The list says where a segment ends; its mark in the file may be too short for a long one,
    // and not every writer sets it.
    if let Some(next) = free.end_of(at) {
        return Ok((next, true));
    }
    match record::read(input, at)? {
        Record::Gap(n_bytes) => {
            let next = at.saturating_add(n_bytes);
            if next > header.end {
                return Err(Fault::Damaged("its gap reaches behind the end of the file"));
            }
            Ok((next, true))
        }
        Record::Key(key) => {
            if let Some(why) = key.fault_at(at, header.end) {
                return Err(Fault::Damaged(why));
            }
            if free.has(at) {
                return Err(Fault::Damaged("its record lies in a free segment"));
            }
            if key.class == record::BASKET {
                if walk.baskets.len() < BASKETS_MAX {
                    walk.baskets.push(BasketRecord {
                        at,
                        n_bytes: key.n_bytes,
                        n_entries: key.basket.map(|basket| basket.n_entries),
                    });
                } else {
                    walk.is_cut_short = true;
                }
            }
            Ok((at + u64::from(key.n_bytes), false))
        }
    }
}
