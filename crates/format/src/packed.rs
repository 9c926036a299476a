//! Streams that are packed as a whole: gzip members and Zstandard frames.
//!
//! Neither says in front how long it is. A gzip stream is unpacked in both depths, as there is no
//! other way to find a cut; Zstandard's blocks have lengths, which lead to the end.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::{
    bytes::Cursor,
    format::{Depth, Format},
    source::{Fault, Input, ReadError, Section, Source, judged},
    verdict::{Finding, Verdict},
};

/// Bytes that are read or unpacked in one step.
const STEP: usize = 64 << 10;
/// Largest window of a Zstandard frame, in bytes: that of its highest plain level.
const WINDOW_MAX: u64 = 128 << 20;
pub(crate) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
pub(crate) const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The sixteen magic numbers of frames to be skipped differ in their lowest bits.
const SKIPPED_MAGIC: u32 = 0x184d_2a50;
const FRAME_MAGIC: u32 = 0xfd2f_b528;

/// Checks a gzip file: every member's header, length and CRC-32.
pub(crate) fn check_gzip(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Gzip, depth, length);
    let mut packed = BufReader::with_capacity(STEP, Section::new(source, 0, length));
    let unpacked = drain(&mut MultiGzDecoder::new(&mut packed));
    if let Err(error) = unpacked {
        let at = packed.get_ref().at() - packed.buffer().len() as u64;
        let is_cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
        let fault = packed.get_mut().fault(if is_cut {
            "the stream does not end"
        } else {
            "it cannot be unpacked, or its checksum is wrong"
        });
        if let Err(why) = judged::<()>(Err(fault))? {
            let part = "gzip stream".to_owned();
            verdict.find(if is_cut {
                Finding::EndsEarly { length, why }
            } else {
                Finding::PartDamaged { part, at, why }
            });
        }
    }
    Ok(verdict)
}

fn drain(decoder: &mut dyn Read) -> std::io::Result<()> {
    let mut buffer = vec![0; STEP];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Checks a Zstandard file: every frame's blocks, and with depth also what comes out of them.
pub(crate) fn check_zstd(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Zstd, depth, length);
    let mut input = Input::new(source);
    let mut at = 0;
    while at < length {
        let frame = judged(frame_end(&mut input, at))?;
        let (why, end) = match frame {
            Ok((end, is_data)) => match (is_data, depth) {
                (true, Depth::Baskets) => (judged(unpack_frame(source, at, end))?.err(), end),
                (true, Depth::Structure) | (false, _) => (None, end),
            },
            Err(crate::source::BEHIND_END) => {
                let why = "a frame does not end";
                verdict.find(Finding::EndsEarly { length, why });
                break;
            }
            Err(why) => (Some(why), length),
        };
        if let Some(why) = why {
            let part = "zstd frame".to_owned();
            verdict.find(Finding::PartDamaged { part, at, why });
        }
        at = end;
    }
    Ok(verdict)
}

/// Goes over the blocks of a frame; returns where it ends, and whether it has data.
///
/// Source: RFC 8878, section 3.
fn frame_end(input: &mut Input<'_>, at: u64) -> Result<(u64, bool), Fault> {
    const COMPRESSED: u32 = 2;
    const REPEATED: u32 = 1;
    let magic = Cursor::new(input.bytes(at, 4)?).u32_le()?;
    if magic & 0xffff_fff0 == SKIPPED_MAGIC {
        let length = Cursor::new(input.bytes(at + 4, 4)?).u32_le()?;
        let end = at + 8 + u64::from(length);
        return within(input, end).map(|end| (end, false));
    }
    if magic != FRAME_MAGIC {
        return Err(Fault::Damaged("there is no frame"));
    }
    let descriptor = Cursor::new(input.bytes(at + 4, 1)?).u8()?;
    let is_single = descriptor & 0x20 != 0;
    let size_bytes = match descriptor >> 6 {
        0 => u64::from(is_single),
        bits => 1 << bits,
    };
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let window_bytes = u64::from(!is_single);
    let mut at = at + 5 + window_bytes + dictionary_bytes + size_bytes;
    loop {
        let [a, b, c] = Cursor::new(input.bytes(at, 3)?).array()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let length = match (header >> 1) & 3 {
            REPEATED => 1,
            kind if kind > COMPRESSED => return Err(Fault::Damaged("a block is of no kind")),
            _ => u64::from(header >> 3),
        };
        at = within(input, at + 3 + length)?;
        if header & 1 != 0 {
            break;
        }
    }
    let checksum_bytes = if descriptor & 4 == 0 { 0 } else { 4 };
    within(input, at + checksum_bytes).map(|end| (end, true))
}

fn within(input: &Input<'_>, end: u64) -> Result<u64, Fault> {
    if end > input.length() {
        return Err(Fault::Damaged(crate::source::BEHIND_END));
    }
    Ok(end)
}

fn unpack_frame(source: &dyn Source, at: u64, end: u64) -> Result<(), Fault> {
    const BROKEN: &str = "it cannot be unpacked";
    let mut packed = BufReader::with_capacity(STEP, Section::new(source, at, end));
    let unpacked = StreamingDecoder::new_with_max_window_size(&mut packed, WINDOW_MAX)
        .map_err(|_| ())
        .and_then(|mut decoder| {
            drain(&mut decoder).map_err(|_| ())?;
            Ok(decoder.into_frame_decoder())
        });
    match (unpacked, packed.get_mut().fault(BROKEN)) {
        (Err(()), fault) | (Ok(_), fault @ Fault::Read(_)) => Err(fault),
        (Ok(frame), Fault::Damaged(_)) => {
            let stored = frame.get_checksum_from_data();
            if stored.is_some() && stored != frame.get_calculated_checksum() {
                return Err(Fault::Damaged("its checksum is not that of its content"));
            }
            Ok(())
        }
    }
}
