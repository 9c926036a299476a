//! Text: UTF-8 or ASCII without NUL bytes, with a complete last line if asked for; JSON.
//!
//! Text does not say how long it should be, so every byte is looked at in both depths, and only a
//! cut within a character, a line (format `lines`) or a value (JSON) can be found.

use std::io::{BufReader, Read as _};

use serde::{Deserialize as _, de::IgnoredAny};

use crate::{
    format::{Depth, Format},
    source::{ReadError, Section, Source, judged},
    verdict::{Finding, Verdict},
};

/// Bytes that are looked at in one step.
const STEP: usize = 64 << 10;

/// What a text may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    Utf8,
    Ascii,
}

/// Whether the last line must be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLine {
    Any,
    Complete,
}

/// Checks a text.
pub(crate) fn check(
    source: &dyn Source,
    depth: Depth,
    (format, alphabet, last_line): (Format, Alphabet, LastLine),
) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(format, depth, length);
    let mut buffer = vec![0; STEP];
    // Bytes at the front of the buffer that are left of the step before.
    let (mut at, mut n_left, mut last) = (0_u64, 0_usize, None);
    while at < length {
        let room = (STEP - n_left) as u64;
        let n_bytes = usize::try_from(room.min(length - at)).unwrap_or(STEP - n_left);
        source.read_at(at, &mut buffer[n_left..n_left + n_bytes])?;
        let begin = at - n_left as u64;
        at += n_bytes as u64;
        let part = &buffer[..n_left + n_bytes];
        let (good, why) = judge(part, alphabet);
        // The rest of a character that is cut here comes with the next step, if there is one.
        if let Some(why) = why.filter(|why| *why != CUT || at == length) {
            verdict.find(if why == CUT {
                Finding::EndsEarly { length, why }
            } else {
                let at = begin + good as u64;
                Finding::TextDamaged { at, why }
            });
            return Ok(verdict);
        }
        last = part.last().copied();
        n_left = part.len() - good;
        buffer.copy_within(good..good + n_left, 0);
    }
    if last_line == LastLine::Complete && last.is_some_and(|last| last != b'\n') {
        let why = "the last line does not end";
        verdict.find(Finding::EndsEarly { length, why });
    }
    Ok(verdict)
}

/// A character that begins at the end of a step.
const CUT: &str = "the last character is not whole";

/// Returns how many bytes are good, and what is wrong with the next one.
fn judge(part: &[u8], alphabet: Alphabet) -> (usize, Option<&'static str>) {
    let text = match alphabet {
        Alphabet::Utf8 => match std::str::from_utf8(part) {
            Ok(_) => (part.len(), None),
            Err(error) if error.error_len().is_none() => (error.valid_up_to(), Some(CUT)),
            Err(error) => (error.valid_up_to(), Some("it is not UTF-8")),
        },
        Alphabet::Ascii => match part.iter().position(|byte| !byte.is_ascii()) {
            None => (part.len(), None),
            Some(at) => (at, Some("it is not ASCII")),
        },
    };
    if !part[..text.0].contains(&0) {
        return text;
    }
    let at = part.iter().position(|byte| *byte == 0);
    (at.unwrap_or(0), Some("a NUL byte"))
}

/// Checks that there is one JSON value and nothing behind it.
pub(crate) fn check_json(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Json, depth, length);
    let section = Section::new(source, 0, length);
    let mut reader = BufReader::with_capacity(STEP, section);
    let mut decoder = serde_json::Deserializer::from_reader(reader.by_ref());
    let read = IgnoredAny::deserialize(&mut decoder).and_then(|_| decoder.end());
    if let Err(error) = read {
        let (is_cut, is_io) = (error.is_eof(), error.is_io());
        let at = reader.get_ref().at() - reader.buffer().len() as u64;
        let why = if is_cut {
            "the value does not end"
        } else {
            "it is no JSON value, or there is more than one"
        };
        let fault = reader.get_mut().fault(why);
        let why = match judged::<()>(Err(fault))? {
            Ok(()) => why,
            Err(why) => why,
        };
        verdict.find(if is_cut || is_io {
            Finding::EndsEarly { length, why }
        } else {
            Finding::TextDamaged { at, why }
        });
    }
    Ok(verdict)
}
