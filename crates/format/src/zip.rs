//! Zip archives: the directory at their end, the header of each member, its bytes and its CRC-32.
//!
//! `NPZ` files are such archives; the header of each array in them is looked at besides.
//!
//! Source: PKWARE `APPNOTE.TXT`, version 6.3.

use std::io::{BufReader, Read};

use flate2::bufread::DeflateDecoder;

use crate::{
    bytes::Cursor,
    format::{Depth, Format},
    numpy,
    source::{Fault, Input, ReadError, Section, Source, judged},
    verdict::{Content, Finding, Verdict},
};

pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";
/// An archive without members begins with its end.
pub(crate) const EMPTY_MAGIC: &[u8] = b"PK\x05\x06";
const WIDE_END_MAGIC: u32 = 0x0606_4b50;
const WIDE_LOCATOR_MAGIC: u32 = 0x0706_4b50;
const ENTRY_MAGIC: u32 = 0x0201_4b50;
const LOCAL_MAGIC: u32 = 0x0403_4b50;
const END_BYTES: usize = 22;
const WIDE_LOCATOR_BYTES: usize = 20;
const WIDE_END_BYTES: usize = 56;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Longest comment behind the end, in bytes.
const COMMENT_MAX: u64 = 64 << 10;
/// Most members.
const MEMBERS_MAX: u64 = 1 << 20;
/// Bytes that are read or unpacked in one step.
const STEP: usize = 64 << 10;

/// Where the directory is.
#[derive(Debug, Clone, Copy)]
struct End {
    n_members: u64,
    at: u64,
    n_bytes: u64,
}

/// What the directory says of a member.
#[derive(Debug)]
struct Member {
    name: String,
    method: u16,
    crc: u32,
    packed: u64,
    unpacked: u64,
    at: u64,
    is_secret: bool,
}

/// Checks an archive, of arrays if the format is NPZ.
pub(crate) fn check(
    source: &dyn Source,
    format: Format,
    depth: Depth,
) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(format, depth, length);
    let mut input = Input::new(source);
    let begin = judged(input.bytes(0, MAGIC.len()).map(<[u8]>::to_vec))?;
    if begin
        .as_deref()
        .is_ok_and(|begin| begin != MAGIC && begin != EMPTY_MAGIC)
    {
        let why = "it does not begin as archives do";
        verdict.find(Finding::OtherFormat { format, why });
        return Ok(verdict);
    }
    let Some(end) = find_end(&mut input)? else {
        let why = "the directory at its end is missing";
        verdict.find(Finding::EndsEarly { length, why });
        return Ok(verdict);
    };
    if let Err(why) = judged(check_members(&mut input, &end, &mut verdict))? {
        let (part, at) = ("directory".to_owned(), end.at);
        verdict.find(Finding::PartDamaged { part, at, why });
    }
    Ok(verdict)
}

/// Looks for the end from behind: a comment may follow on it, and must reach to the file's end.
fn find_end(input: &mut Input<'_>) -> Result<Option<End>, ReadError> {
    let length = input.length();
    let tail_bytes = length.min(COMMENT_MAX + END_BYTES as u64);
    let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
    input.source().read_at(length - tail_bytes, &mut tail)?;
    let last = tail.len().saturating_sub(END_BYTES);
    for at in (0..=last).rev() {
        if !tail[at..].starts_with(EMPTY_MAGIC) {
            continue;
        }
        let place = length - (tail.len() - at) as u64;
        if let Ok(end) = judged(read_end(input, place))? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

fn read_end(input: &mut Input<'_>, at: u64) -> Result<End, Fault> {
    const OUTSIDE: Fault = Fault::Damaged("the directory is not before its end");
    let length = input.length();
    let mut cursor = Cursor::starting(input.bytes(at, END_BYTES)?, 10);
    let n_members = cursor.u16_le()?;
    let n_bytes = cursor.u32_le()?;
    let directory = cursor.u32_le()?;
    let comment_bytes = cursor.u16_le()?;
    if at + END_BYTES as u64 + u64::from(comment_bytes) != length {
        return Err(Fault::Damaged("there are bytes behind its end"));
    }
    let is_wide = n_members == u16::MAX || n_bytes == u32::MAX || directory == u32::MAX;
    let mut end = End {
        n_members: u64::from(n_members),
        at: u64::from(directory),
        n_bytes: u64::from(n_bytes),
    };
    let mut limit = at;
    if is_wide && let Some(locator) = at.checked_sub(WIDE_LOCATOR_BYTES as u64) {
        let mut cursor = Cursor::new(input.bytes(locator, WIDE_LOCATOR_BYTES)?);
        if cursor.u32_le()? == WIDE_LOCATOR_MAGIC {
            cursor.skip(4)?;
            limit = cursor.u64_le()?;
            let mut cursor = Cursor::new(input.bytes(limit, WIDE_END_BYTES)?);
            if cursor.u32_le()? != WIDE_END_MAGIC {
                return Err(OUTSIDE);
            }
            cursor.go_to(32)?;
            end = End {
                n_members: cursor.u64_le()?,
                n_bytes: cursor.u64_le()?,
                at: cursor.u64_le()?,
            };
        }
    }
    if end.at.checked_add(end.n_bytes) != Some(limit) {
        return Err(OUTSIDE);
    }
    Ok(end)
}

fn check_members(input: &mut Input<'_>, end: &End, verdict: &mut Verdict) -> Result<(), Fault> {
    if end.n_members > MEMBERS_MAX {
        verdict.find(Finding::TooMuch { what: "members" });
        return Ok(());
    }
    let mut members = Input::new(input.source());
    let directory_end = end.at + end.n_bytes;
    let (mut at, mut packed_left) = (end.at, end.at);
    for _ in 0..end.n_members {
        let (member, next) = read_entry(input, at, directory_end)?;
        at = next;
        // Members that lie upon each other are a trap, and would be unpacked again and again.
        let room = packed_left.checked_sub(member.packed);
        packed_left = room.ok_or(Fault::Damaged("its members are longer than the archive"))?;
        let checked = check_member(&mut members, &member, end.at, verdict);
        if let Err(why) = judged(checked)? {
            let (part, at) = (format!("member `{}`", member.name), member.at);
            verdict.find(Finding::PartDamaged { part, at, why });
        }
    }
    if at == directory_end {
        Ok(())
    } else {
        Err(Fault::Damaged("it has another length than its members"))
    }
}

fn read_entry(input: &mut Input<'_>, at: u64, end: u64) -> Result<(Member, u64), Fault> {
    const IS_SECRET: u16 = 1;
    const WIDE_FIELD: u16 = 1;
    let mut cursor = Cursor::new(input.bytes(at, ENTRY_BYTES)?);
    if cursor.u32_le()? != ENTRY_MAGIC {
        return Err(Fault::Damaged("there is no entry of a member"));
    }
    cursor.skip(4)?;
    let flags = cursor.u16_le()?;
    let method = cursor.u16_le()?;
    cursor.skip(4)?;
    let crc = cursor.u32_le()?;
    let sizes = [cursor.u32_le()?, cursor.u32_le()?];
    let lengths = [cursor.u16_le()?, cursor.u16_le()?, cursor.u16_le()?];
    cursor.skip(8)?;
    let place = cursor.u32_le()?;
    let [name_bytes, extra_bytes, comment_bytes] = lengths.map(u64::from);
    let extra_at = at + ENTRY_BYTES as u64 + name_bytes;
    let next = extra_at + extra_bytes + comment_bytes;
    if next > end {
        return Err(Fault::Damaged("an entry reaches behind the directory"));
    }
    let name = input.bytes(at + ENTRY_BYTES as u64, usize::from(lengths[0]))?;
    let name = String::from_utf8_lossy(name).into_owned();
    let mut wide = [sizes[1], sizes[0], place].map(u64::from);
    let mut extra = Cursor::new(input.bytes(extra_at, usize::from(lengths[1]))?);
    while extra.left() >= 4 {
        let (kind, n_bytes) = (extra.u16_le()?, extra.u16_le()?);
        let mut field = Cursor::new(extra.take(usize::from(n_bytes))?);
        if kind == WIDE_FIELD {
            for number in &mut wide {
                if *number == u64::from(u32::MAX) {
                    *number = field.u64_le()?;
                }
            }
        }
    }
    let [unpacked, packed, at] = wide;
    let is_secret = flags & IS_SECRET != 0;
    let member = Member {
        name,
        method,
        crc,
        packed,
        unpacked,
        at,
        is_secret,
    };
    Ok((member, next))
}

fn check_member(
    input: &mut Input<'_>,
    member: &Member,
    directory: u64,
    verdict: &mut Verdict,
) -> Result<(), Fault> {
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    let (data, end) = locate(input, member, directory)?;
    let is_array = verdict.format == Format::Npz && member.name.ends_with(".npy");
    let is_known = matches!(member.method, STORED | DEFLATED) && !member.is_secret;
    let section = Section::new(input.source(), data, end);
    let mut packed = BufReader::with_capacity(STEP, section);
    let n_rows = if !is_known {
        verdict.find(Finding::NotLookedInto {
            what: format!("member `{}`: its method is not known", member.name),
        });
        None
    } else if member.method == STORED {
        if member.packed != member.unpacked {
            return Err(Fault::Damaged("its two lengths differ"));
        }
        unpack(packed.by_ref(), member, is_array, verdict.depth)
            .map_err(|why| packed.get_mut().fault(why))?
    } else {
        unpack(
            &mut DeflateDecoder::new(&mut packed),
            member,
            is_array,
            verdict.depth,
        )
        .map_err(|why| packed.get_mut().fault(why))?
    };
    verdict.list(Content {
        class: if is_array { "array" } else { "member" },
        name: member.name.clone(),
        entries: n_rows,
    });
    Ok(())
}

/// Compares the header before a member's bytes; returns where these begin and end.
fn locate(input: &mut Input<'_>, member: &Member, directory: u64) -> Result<(u64, u64), Fault> {
    let mut cursor = Cursor::new(input.bytes(member.at, LOCAL_BYTES)?);
    if cursor.u32_le()? != LOCAL_MAGIC {
        return Err(Fault::Damaged("its header is not where the directory says"));
    }
    cursor.skip(4)?;
    let method = cursor.u16_le()?;
    cursor.go_to(26)?;
    let (name_bytes, extra_bytes) = (cursor.u16_le()?, cursor.u16_le()?);
    let name_at = member.at + LOCAL_BYTES as u64;
    let name = input.bytes(name_at, usize::from(name_bytes))?;
    if method != member.method || String::from_utf8_lossy(name) != member.name {
        return Err(Fault::Damaged("its header contradicts the directory"));
    }
    let data = name_at + u64::from(name_bytes) + u64::from(extra_bytes);
    let end = data
        .checked_add(member.packed)
        .filter(|end| *end <= directory);
    let end = end.ok_or(Fault::Damaged("it reaches into the directory"))?;
    Ok((data, end))
}

/// Reads a member as far as is needed; returns the rows if it is an array.
fn unpack(
    reader: &mut dyn Read,
    member: &Member,
    is_array: bool,
    depth: Depth,
) -> Result<Option<u64>, &'static str> {
    const BROKEN: &str = "it cannot be unpacked";
    let mut head = Vec::new();
    if is_array {
        let limit = numpy::HEADER_MAX as u64;
        let read = Read::take(&mut *reader, limit).read_to_end(&mut head);
        read.map_err(|_| BROKEN)?;
    }
    let n_rows = if is_array {
        let array = numpy::read_header(&head).map_err(|fault| match fault {
            Fault::Damaged(why) => why,
            Fault::Read(_) => BROKEN,
        })?;
        if array.length.is_some_and(|length| length != member.unpacked) {
            return Err("it has another length than its shape");
        }
        Some(array.n_rows)
    } else {
        None
    };
    match depth {
        Depth::Structure => return Ok(n_rows),
        Depth::Baskets => {}
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    let mut n_bytes = head.len() as u64;
    let mut buffer = vec![0; STEP];
    loop {
        let n_read = reader.read(&mut buffer).map_err(|_| BROKEN)?;
        if n_read == 0 {
            break;
        }
        hasher.update(&buffer[..n_read]);
        n_bytes += n_read as u64;
        if n_bytes > member.unpacked {
            break;
        }
    }
    if n_bytes != member.unpacked {
        return Err("it has not the length that it claims when unpacked");
    }
    if hasher.finalize() != member.crc {
        return Err("its checksum is not that of its content");
    }
    Ok(n_rows)
}
