//! HDF5 files: the superblock, the end that it names, and the header of the root group.
//!
//! Data sets, their chunks and checksums are not looked at: a changed byte there is not seen.
//!
//! Source: HDF5 File Format Specification, version 3.0, sections II.A and IV.A.

use crate::{
    bytes::Cursor,
    format::{Depth, Format},
    lookup3::lookup3,
    source::{Fault, Input, ReadError, Source, judged},
    verdict::{Finding, Verdict},
};

pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The signature is at the beginning, or at 512 and twice, four times, ... that.
const FIRST_SKIP: u64 = 512;
/// Longest superblock.
const SUPERBLOCK_MAX: usize = 120;
/// Longest first part of an object's header that is looked at, in bytes.
const OBJECT_MAX: u64 = 32 << 10;
/// Bits of a superblock: open for writing, and open for writing beside readers.
const OPEN_BITS: u8 = 0b101;

/// What a superblock says; places are from the beginning of the file.
struct Superblock {
    end: u64,
    root: u64,
    is_open: bool,
}

/// Checks a file. Depths do not differ.
pub(crate) fn check(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Hdf5, depth, length);
    let mut input = Input::new(source);
    let Some(at) = find(&mut input)? else {
        let short = usize::try_from(length)
            .unwrap_or(MAGIC.len())
            .min(MAGIC.len());
        let begin = judged(input.bytes(0, short).map(|bytes| MAGIC.starts_with(bytes)))?;
        let why = "its signature is missing";
        let format = Format::Hdf5;
        verdict.find(match begin {
            Ok(true) if short < MAGIC.len() => Finding::EndsEarly { length, why },
            Ok(_) | Err(_) => Finding::OtherFormat { format, why },
        });
        return Ok(verdict);
    };
    let superblock = match judged(read(&mut input, at))? {
        Ok(superblock) => superblock,
        Err(crate::source::BEHIND_END) => {
            let why = "its superblock does not end";
            verdict.find(Finding::EndsEarly { length, why });
            return Ok(verdict);
        }
        Err(why) => {
            let part = "superblock".to_owned();
            verdict.find(Finding::PartDamaged { part, at, why });
            return Ok(verdict);
        }
    };
    if superblock.is_open {
        let why = "it says that it is open for writing";
        verdict.find(Finding::NotClosed { why });
    }
    let expected = superblock.end;
    if expected > length {
        verdict.find(Finding::Truncated { length, expected });
        return Ok(verdict);
    }
    if expected < length {
        verdict.find(Finding::BytesBehind { at: expected });
    }
    if let Err(why) = judged(check_root(&mut input, &superblock))? {
        let part = "root group".to_owned();
        let at = superblock.root;
        verdict.find(Finding::PartDamaged { part, at, why });
    }
    Ok(verdict)
}

fn find(input: &mut Input<'_>) -> Result<Option<u64>, ReadError> {
    let mut at = 0;
    while at + MAGIC.len() as u64 <= input.length() {
        let is_here = judged(input.bytes(at, MAGIC.len()).map(|bytes| bytes == MAGIC))?;
        if is_here == Ok(true) {
            return Ok(Some(at));
        }
        at = if at == 0 { FIRST_SKIP } else { at * 2 };
    }
    Ok(None)
}

fn read(input: &mut Input<'_>, at: u64) -> Result<Superblock, Fault> {
    let left = usize::try_from(input.length() - at).unwrap_or(usize::MAX);
    let bytes = input.bytes(at, left.min(SUPERBLOCK_MAX))?;
    let ends_early = |fault| match fault {
        Fault::Damaged(why) if left >= SUPERBLOCK_MAX => Fault::Damaged(why),
        Fault::Damaged(_) => Fault::Damaged(crate::source::BEHIND_END),
        Fault::Read(error) => Fault::Read(error),
    };
    let mut cursor = Cursor::starting(bytes, MAGIC.len());
    let version = cursor.u8().map_err(ends_early)?;
    match version {
        0 | 1 => read_old(cursor, version).map_err(ends_early),
        2 | 3 => {
            let (superblock, n_bytes) = read_new(cursor, version).map_err(ends_early)?;
            let mut sum = Cursor::starting(bytes, n_bytes);
            if sum.u32_le().map_err(ends_early)? != lookup3(&bytes[..n_bytes]) {
                return Err(Fault::Damaged("its checksum is not that of its content"));
            }
            Ok(superblock)
        }
        _ => Err(Fault::Damaged("its version is not known")),
    }
}

fn read_old(mut cursor: Cursor<'_>, version: u8) -> Result<Superblock, Fault> {
    // Versions of free space, root group, and shared headers, with a byte between.
    cursor.skip(4)?;
    let place_bytes = cursor.u8()?;
    let _length_bytes = cursor.u8()?;
    // A byte, two sizes of nodes, flags; in version 1 another size, and two bytes.
    cursor.skip(if version == 0 { 9 } else { 13 })?;
    let base = place(&mut cursor, place_bytes)?;
    let _free_space = place(&mut cursor, place_bytes)?;
    let end = place(&mut cursor, place_bytes)?;
    let _driver = place(&mut cursor, place_bytes)?;
    let _link_name = place(&mut cursor, place_bytes)?;
    let root = place(&mut cursor, place_bytes)?;
    Ok(Superblock {
        end,
        root: base.saturating_add(root),
        is_open: false,
    })
}

/// Returns the length before the checksum, too.
fn read_new(mut cursor: Cursor<'_>, version: u8) -> Result<(Superblock, usize), Fault> {
    let place_bytes = cursor.u8()?;
    let _length_bytes = cursor.u8()?;
    let flags = cursor.u8()?;
    let base = place(&mut cursor, place_bytes)?;
    let _extension = place(&mut cursor, place_bytes)?;
    let end = place(&mut cursor, place_bytes)?;
    let root = place(&mut cursor, place_bytes)?;
    let superblock = Superblock {
        end,
        root: base.saturating_add(root),
        is_open: version == 3 && flags & OPEN_BITS != 0,
    };
    Ok((superblock, cursor.at()))
}

fn place(cursor: &mut Cursor<'_>, n_bytes: u8) -> Result<u64, Fault> {
    match n_bytes {
        2 => cursor.u16_le().map(u64::from),
        4 => cursor.u32_le().map(u64::from),
        8 => cursor.u64_le(),
        _ => Err(Fault::Damaged("places have an odd number of bytes")),
    }
}

/// Looks whether the root group's header is there; in its newer form it has a checksum.
fn check_root(input: &mut Input<'_>, superblock: &Superblock) -> Result<(), Fault> {
    const WITH_TIMES: u8 = 0x20;
    const WITH_PHASES: u8 = 0x10;
    /// Signature, version, flags, times, phases, and the length of the messages.
    const HEAD_MAX: u64 = 6 + 16 + 4 + 8;
    let at = superblock.root;
    let left = superblock
        .end
        .saturating_sub(at)
        .min(input.length().saturating_sub(at));
    let head = usize::try_from(left.min(HEAD_MAX)).unwrap_or(0);
    let mut cursor = Cursor::new(input.bytes(at, head)?);
    if cursor.u8()? == 1 {
        return Ok(());
    }
    if cursor.array::<3>()? != *b"HDR" || cursor.u8()? != 2 {
        return Err(Fault::Damaged("there is no header of an object"));
    }
    let flags = cursor.u8()?;
    cursor.skip(if flags & WITH_TIMES == 0 { 0 } else { 16 })?;
    cursor.skip(if flags & WITH_PHASES == 0 { 0 } else { 4 })?;
    let n_bytes = match flags & 3 {
        0 => u64::from(cursor.u8()?),
        1 => u64::from(cursor.u16_le()?),
        2 => u64::from(cursor.u32_le()?),
        _ => cursor.u64_le()?,
    };
    let n_bytes = n_bytes.saturating_add(cursor.at() as u64);
    if n_bytes > OBJECT_MAX {
        return Err(Fault::Damaged("the header of an object is too long"));
    }
    let n_bytes = usize::try_from(n_bytes).unwrap_or(0);
    let bytes = input.bytes(at, n_bytes + 4)?;
    if Cursor::starting(bytes, n_bytes).u32_le()? == lookup3(&bytes[..n_bytes]) {
        Ok(())
    } else {
        Err(Fault::Damaged("its checksum is not that of its content"))
    }
}
