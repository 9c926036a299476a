//! Compressed blocks: what a record's content is made of where it is longer than it lies there.
//!
//! A block begins with nine bytes: two letters for the method, one more, and the lengths packed
//! and unpacked, three bytes each, lowest first. LZ4 blocks carry the xxHash64 of what is packed,
//! zlib blocks an Adler-32, xz blocks a CRC-32 and zstd blocks sometimes a hash of what comes out.
//!
//! Source: ROOT, `core/zip/src/RZip.cxx` and the `core/zstd`, `core/lz4`, `core/lzma` folders.

use std::{
    hash::Hasher as _,
    io::{BufReader, Read},
};

use flate2::bufread::{DeflateDecoder, ZlibDecoder};
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use twox_hash::XxHash64;

use crate::{
    bytes::Cursor,
    source::{BEHIND_END, Fault, Section, Source},
};

const HEADER_BYTES: usize = 9;
const LZ4_HASH_BYTES: usize = 8;
/// Memory that an xz block may ask for, in KiB: ROOT's largest dictionary, and the decoder.
const XZ_MEMORY_MAX_KIB: u32 = 80 << 10;
/// Largest window of a zstd block, in bytes: no block is longer unpacked.
const ZSTD_WINDOW_MAX: u64 = 1 << 24;
/// Bytes that are read or unpacked in one step.
const STEP: usize = 64 << 10;

const BROKEN: Fault = Fault::Damaged("its compressed content cannot be unpacked");
const WRONG_SUM: Fault = Fault::Damaged("its checksum is not that of its compressed content");
const WRONG_LENGTH: Fault = Fault::Damaged("it has not the length that it claims when unpacked");
const BYTES_LEFT: Fault = Fault::Damaged("there are bytes behind its compressed content");

/// How a block is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Zlib,
    /// Deflate without a checksum, in files of the nineties.
    Deflate,
    Xz,
    Lz4,
    Zstd,
}

/// One block's header.
#[derive(Debug, Clone, Copy)]
struct Block {
    method: Method,
    packed: u64,
    unpacked: u64,
}

/// Takes what comes out of a block, piece by piece.
type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// Where a record's content lies, and how long it is unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload {
    /// Where its first byte is.
    pub(crate) at: u64,
    /// Where the byte behind its last one is.
    pub(crate) end: u64,
    /// Its length once unpacked, in bytes.
    pub(crate) unpacked: u64,
}

impl Payload {
    pub(crate) fn is_packed(self) -> bool {
        self.unpacked > self.end - self.at
    }

    /// Checks every checksum of the content; says nothing of content that is not compressed.
    pub(crate) fn verify(self, source: &dyn Source) -> Result<(), Fault> {
        if !self.is_packed() {
            return Ok(());
        }
        self.each_block(source, |block, mut section| {
            if block.method == Method::Lz4 {
                // The hash is of the packed bytes: there is no need to unpack them.
                return verify_lz4(&mut section);
            }
            unpack_block(block, section, &mut |_| ())
        })
    }

    /// Returns the content, unpacked, all of which has been verified.
    ///
    /// The caller has judged its length.
    pub(crate) fn read(self, source: &dyn Source) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::with_capacity(usize::try_from(self.unpacked).unwrap_or(0));
        if !self.is_packed() {
            let mut section = Section::new(source, self.at, self.end);
            if section.read_to_end(&mut content).is_err() {
                return Err(section.fault(BEHIND_END));
            }
            return Ok(content);
        }
        self.each_block(source, |block, mut section| {
            if block.method == Method::Lz4 {
                return unpack_lz4(block, &mut section, &mut content);
            }
            unpack_block(block, section, &mut |part| content.extend_from_slice(part))
        })?;
        Ok(content)
    }

    /// Goes through the blocks, which must fill the record and add up to the length unpacked.
    fn each_block(
        self,
        source: &dyn Source,
        mut act: impl FnMut(Block, Section<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (mut at, mut unpacked) = (self.at, 0_u64);
        while at < self.end {
            if self.end - at <= HEADER_BYTES as u64 {
                return Err(BYTES_LEFT);
            }
            let mut header = [0; HEADER_BYTES];
            source.read_at(at, &mut header)?;
            let block = read_header(&header)?;
            at += HEADER_BYTES as u64;
            unpacked += block.unpacked;
            if block.packed > self.end - at {
                return Err(Fault::Damaged(
                    "a compressed block reaches behind its record",
                ));
            }
            if unpacked > self.unpacked {
                return Err(WRONG_LENGTH);
            }
            act(block, Section::new(source, at, at + block.packed))?;
            at += block.packed;
        }
        if unpacked == self.unpacked {
            Ok(())
        } else {
            Err(WRONG_LENGTH)
        }
    }
}

fn read_header(header: &[u8; HEADER_BYTES]) -> Result<Block, Fault> {
    let method = match header {
        [b'Z', b'L', 8, ..] => Method::Zlib,
        [b'C', b'S', 8, ..] => Method::Deflate,
        [b'X', b'Z', ..] => Method::Xz,
        [b'L', b'4', ..] => Method::Lz4,
        [b'Z', b'S', ..] => Method::Zstd,
        _ => return Err(Fault::Damaged("a compressed block has no known method")),
    };
    let three = |low: usize| {
        let [a, b, c] = [header[low], header[low + 1], header[low + 2]];
        u64::from(u32::from_le_bytes([a, b, c, 0]))
    };
    let block = Block {
        method,
        packed: three(3),
        unpacked: three(6),
    };
    if block.packed == 0 || block.unpacked == 0 {
        return Err(Fault::Damaged("a compressed block is empty"));
    }
    Ok(block)
}

fn lz4_hash(section: &mut Section<'_>) -> Result<u64, Fault> {
    let mut hash = [0; LZ4_HASH_BYTES];
    if section.left() <= LZ4_HASH_BYTES as u64 {
        return Err(BROKEN);
    }
    match section.read_exact(&mut hash) {
        Ok(()) => Ok(u64::from_be_bytes(hash)),
        Err(_) => Err(section.fault("it cannot be read")),
    }
}

fn verify_lz4(section: &mut Section<'_>) -> Result<(), Fault> {
    let expected = lz4_hash(section)?;
    let mut hasher = XxHash64::with_seed(0);
    let mut buffer = vec![0; STEP.min(usize::try_from(section.left()).unwrap_or(STEP))];
    loop {
        match section.read(&mut buffer) {
            Ok(0) => break,
            Ok(n_bytes) => hasher.write(&buffer[..n_bytes]),
            Err(_) => return Err(section.fault("it cannot be read")),
        }
    }
    if hasher.finish() == expected {
        Ok(())
    } else {
        Err(WRONG_SUM)
    }
}

fn unpack_lz4(block: Block, section: &mut Section<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let expected = lz4_hash(section)?;
    let mut packed = Vec::new();
    if section.read_to_end(&mut packed).is_err() {
        return Err(section.fault("it cannot be read"));
    }
    if XxHash64::oneshot(0, &packed) != expected {
        return Err(WRONG_SUM);
    }
    let begin = out.len();
    let limit = begin + usize::try_from(block.unpacked).map_err(|_| WRONG_LENGTH)?;
    lz4_sequences(&packed, out, begin, limit)?;
    if out.len() == limit {
        Ok(())
    } else {
        Err(WRONG_LENGTH)
    }
}

/// Unpacks one LZ4 block behind `begin`, up to `limit`.
///
/// Source: LZ4 block format description.
fn lz4_sequences(
    packed: &[u8],
    out: &mut Vec<u8>,
    begin: usize,
    limit: usize,
) -> Result<(), Fault> {
    const LONG: usize = 15;
    const MATCH_MIN: usize = 4;
    let mut cursor = Cursor::new(packed);
    let long = |cursor: &mut Cursor<'_>, first: usize| -> Result<usize, Fault> {
        let mut length = first;
        if first == LONG {
            loop {
                let more = cursor.u8()?;
                length += usize::from(more);
                if more != u8::MAX {
                    break;
                }
            }
        }
        Ok(length)
    };
    loop {
        let token = usize::from(cursor.u8()?);
        let n_literals = long(&mut cursor, token >> 4)?;
        let literals = cursor.take(n_literals)?;
        if out.len() + n_literals > limit {
            return Err(WRONG_LENGTH);
        }
        out.extend_from_slice(literals);
        if cursor.left() == 0 {
            return Ok(());
        }
        let distance = usize::from(cursor.u16_le()?);
        let n_matched = long(&mut cursor, token & LONG)? + MATCH_MIN;
        if distance == 0 || distance > out.len() - begin {
            return Err(BROKEN);
        }
        if out.len() + n_matched > limit {
            return Err(WRONG_LENGTH);
        }
        // A match may overlap what it makes: it is copied in parts that are there already.
        let from = out.len() - distance;
        let mut left = n_matched;
        while left > 0 {
            let part = left.min(out.len() - from);
            out.extend_from_within(from..from + part);
            left -= part;
        }
    }
}

/// Unpacks a block of any method but LZ4, which verifies it.
fn unpack_block(block: Block, section: Section<'_>, sink: Sink<'_>) -> Result<(), Fault> {
    let step = STEP.min(usize::try_from(block.packed).unwrap_or(STEP));
    let mut packed = BufReader::with_capacity(step, section);
    let unpacked = match block.method {
        Method::Zlib => drain(&mut ZlibDecoder::new(&mut packed), block.unpacked, sink),
        Method::Deflate => drain(&mut DeflateDecoder::new(&mut packed), block.unpacked, sink),
        Method::Xz => {
            let mut decoder = XzReader::new_mem_limit(&mut packed, false, XZ_MEMORY_MAX_KIB);
            drain(&mut decoder, block.unpacked, sink)
        }
        Method::Zstd => drain_zstd(&mut packed, block.unpacked, sink),
        Method::Lz4 => Err(BROKEN),
    };
    let is_consumed = packed.buffer().is_empty() && packed.get_ref().left() == 0;
    // What a decoder says of a read error is not to be taken for damage.
    match (packed.get_mut().fault(""), unpacked) {
        (Fault::Read(error), _) => Err(Fault::Read(error)),
        (Fault::Damaged(_), Err(fault)) => Err(fault),
        (Fault::Damaged(_), Ok(())) if is_consumed => Ok(()),
        (Fault::Damaged(_), Ok(())) => Err(BYTES_LEFT),
    }
}

fn drain_zstd(packed: &mut dyn Read, unpacked: u64, sink: Sink<'_>) -> Result<(), Fault> {
    let decoder = StreamingDecoder::new_with_max_window_size(packed, ZSTD_WINDOW_MAX);
    let mut decoder = decoder.map_err(|_| BROKEN)?;
    drain(&mut decoder, unpacked, sink)?;
    let frame = decoder.into_frame_decoder();
    let stored = frame.get_checksum_from_data();
    if stored.is_some() && stored != frame.get_calculated_checksum() {
        return Err(WRONG_SUM);
    }
    Ok(())
}

/// Takes everything out of a decoder, which must be as much as it should.
fn drain(decoder: &mut dyn Read, unpacked: u64, sink: Sink<'_>) -> Result<(), Fault> {
    let room = usize::try_from(unpacked).unwrap_or(STEP).saturating_add(1);
    let mut buffer = vec![0; STEP.min(room)];
    let mut left = unpacked;
    loop {
        let n_bytes = decoder.read(&mut buffer).map_err(|_| BROKEN)?;
        if n_bytes == 0 {
            break;
        }
        left = left.checked_sub(n_bytes as u64).ok_or(WRONG_LENGTH)?;
        sink(&buffer[..n_bytes]);
    }
    if left == 0 { Ok(()) } else { Err(WRONG_LENGTH) }
}
