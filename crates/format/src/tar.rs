//! Archives of `tar`: the checksum of each header, the length of each member, the mark at the end.
//!
//! Source: POSIX, `pax` interchange format, and GNU tar's long numbers.

use crate::{
    bytes::Cursor,
    format::{Depth, Format},
    source::{Fault, Input, ReadError, Source, judged},
    verdict::{Content, Finding, Verdict},
};

const BLOCK: u64 = 512;
const BLOCK_BYTES: usize = 512;
const NAME_BYTES: usize = 100;
const SIZE_AT: usize = 124;
const SUM_AT: usize = 148;
/// Where the word is that archives of this century have, and the word.
pub(crate) const MAGIC_AT: usize = 257;
pub(crate) const MAGIC: &[u8] = b"ustar";

/// One block of an archive.
enum Block {
    /// Nothing but zeros: two of them are the end.
    Zeros,
    /// A member's header: name, and where the next header is.
    Member { name: String, next: u64 },
}

/// Checks an archive. Members have no checksums, so depths do not differ.
pub(crate) fn check(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Tar, depth, length);
    let mut input = Input::new(source);
    let (mut at, mut n_zeros) = (0, 0);
    while n_zeros < 2 {
        if at + BLOCK > length {
            let why = "the mark of the archive's end is missing";
            verdict.find(Finding::EndsEarly { length, why });
            break;
        }
        match judged(read(&mut input, at))? {
            Ok(Block::Zeros) => {
                n_zeros += 1;
                at += BLOCK;
            }
            Ok(Block::Member { name, next }) => {
                n_zeros = 0;
                verdict.list(Content {
                    class: "member",
                    name,
                    entries: None,
                });
                if next > length {
                    let expected = next;
                    verdict.find(Finding::Truncated { length, expected });
                    break;
                }
                at = next;
            }
            Err(why) => {
                let part = "member's header".to_owned();
                verdict.find(Finding::PartDamaged { part, at, why });
                break;
            }
        }
    }
    Ok(verdict)
}

fn read(input: &mut Input<'_>, at: u64) -> Result<Block, Fault> {
    let block = input.bytes(at, BLOCK_BYTES)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Block::Zeros);
    }
    let stored = octal(&block[SUM_AT..SUM_AT + 8])?;
    // The sum counts its own field as spaces.
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = block[SUM_AT..SUM_AT + 8]
        .iter()
        .map(|byte| u64::from(*byte))
        .sum();
    if sum - own + 8 * u64::from(b' ') != stored {
        return Err(Fault::Damaged("its checksum is not that of its content"));
    }
    let size = size(&block[SIZE_AT..SIZE_AT + 12])?;
    let name = block[..NAME_BYTES].split(|byte| *byte == 0).next();
    let next = size
        .checked_next_multiple_of(BLOCK)
        .and_then(|size| size.checked_add(at + BLOCK));
    Ok(Block::Member {
        name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        next: next.ok_or(Fault::Damaged("its length cannot be"))?,
    })
}

/// Reads a length: octal digits, or behind a set highest bit a plain number.
fn size(field: &[u8]) -> Result<u64, Fault> {
    if field.first().is_some_and(|first| first & 0x80 == 0) {
        return octal(field);
    }
    Cursor::starting(field, 4).u64()
}

fn octal(field: &[u8]) -> Result<u64, Fault> {
    let text = std::str::from_utf8(field).unwrap_or("-");
    let digits = text.trim_matches(|letter| letter == ' ' || letter == '\0');
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| Fault::Damaged("a number in it is none"))
}
