//! `NumPy` arrays: the header, and whether the elements that it tells of are all there.
//!
//! Source: `numpy.lib.format`, versions 1.0 to 3.0.

use crate::{
    bytes::Cursor,
    format::{Depth, Format},
    source::{BEHIND_END, Fault, Input, ReadError, Source, judged},
    verdict::{Content, Finding, Verdict},
};

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is looked at, in bytes, with what comes before it.
pub(crate) const HEADER_MAX: usize = 60 << 10;
/// Deepest nesting of types within types.
const NESTING_MAX: u32 = 16;

const NO_HEADER: Fault = Fault::Damaged("its header is not understood");
const TOO_LARGE: Fault = Fault::Damaged("its shape cannot be");

/// What a header tells of the array behind it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Array {
    /// Length of the file, in bytes; `None` if elements are objects of Python.
    pub(crate) length: Option<u64>,
    /// Elements of the first dimension, or 1 without any.
    pub(crate) n_rows: u64,
}

/// Checks a file with one array. Depths do not differ.
pub(crate) fn check(source: &dyn Source, depth: Depth) -> Result<Verdict, ReadError> {
    let length = source.length();
    let mut verdict = Verdict::new(Format::Npy, depth, length);
    let mut input = Input::new(source);
    let n_bytes = usize::try_from(length)
        .unwrap_or(HEADER_MAX)
        .min(HEADER_MAX);
    let read = judged(input.bytes(0, n_bytes).and_then(read_header))?;
    match read {
        Ok(array) => {
            verdict.list(Content {
                class: "array",
                name: String::new(),
                entries: Some(array.n_rows),
            });
            match array.length {
                None => verdict.find(Finding::NotLookedInto {
                    what: "elements that are objects of Python".to_owned(),
                }),
                Some(expected) if expected > length => {
                    verdict.find(Finding::Truncated { length, expected });
                }
                Some(at) if at < length => {
                    let (part, why) = ("array".to_owned(), "it is longer than its shape");
                    verdict.find(Finding::PartDamaged { part, at, why });
                }
                Some(_) => {}
            }
        }
        Err(why @ BEHIND_END) => verdict.find(Finding::EndsEarly { length, why }),
        Err(why) => {
            let part = "array's header".to_owned();
            verdict.find(Finding::PartDamaged { part, at: 0, why });
        }
    }
    Ok(verdict)
}

/// Reads a header at the front of some bytes.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Array, Fault> {
    let ends = |_: Fault| Fault::Damaged(BEHIND_END);
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len().min(bytes.len()))? != &MAGIC[..MAGIC.len().min(bytes.len())] {
        return Err(Fault::Damaged("it does not begin as arrays do"));
    }
    let major = cursor.u8().map_err(ends)?;
    let _minor = cursor.u8().map_err(ends)?;
    let n_bytes = match major {
        1 => u32::from(cursor.u16_le().map_err(ends)?),
        2 | 3 => cursor.u32_le().map_err(ends)?,
        _ => return Err(Fault::Damaged("its version is not known")),
    };
    if n_bytes as usize > HEADER_MAX / 2 {
        return Err(Fault::Damaged("its header is too long"));
    }
    let header = cursor.take(n_bytes as usize).map_err(ends)?;
    let begin = cursor.at() as u64;
    let mut words = Words(header);
    let (mut item_bytes, mut shape) = (None, None);
    words.expect(b'{')?;
    while !words.is_next(b'}') {
        let key = words.string()?;
        words.expect(b':')?;
        match key {
            b"descr" => item_bytes = Some(words.type_bytes(0)?),
            b"shape" => shape = Some(words.shape()?),
            _ => words.word()?,
        }
        if !words.is_next(b',') {
            words.expect(b'}')?;
            break;
        }
    }
    let (Some(item_bytes), Some((n_elements, n_rows))) = (item_bytes, shape) else {
        return Err(NO_HEADER);
    };
    let length = item_bytes
        .map(|item_bytes| {
            let length = item_bytes.checked_mul(n_elements);
            length
                .and_then(|length| length.checked_add(begin))
                .ok_or(TOO_LARGE)
        })
        .transpose()?;
    Ok(Array { length, n_rows })
}

/// The words of a literal of Python.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes a mark if it is next.
    fn is_next(&mut self, mark: u8) -> bool {
        self.skip_spaces();
        let is_next = self.0.first() == Some(&mark);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn expect(&mut self, mark: u8) -> Result<(), Fault> {
        if self.is_next(mark) {
            Ok(())
        } else {
            Err(NO_HEADER)
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Fault> {
        let _prefix = self.is_next(b'u') || self.is_next(b'b');
        let quote = if self.is_next(b'\'') { b'\'' } else { b'"' };
        if quote == b'"' {
            self.expect(quote)?;
        }
        let end = self.0.iter().position(|byte| *byte == quote);
        let (text, rest) = self.0.split_at(end.ok_or(NO_HEADER)?);
        self.0 = &rest[1..];
        Ok(text)
    }

    /// Takes a name such as `True`.
    fn word(&mut self) -> Result<(), Fault> {
        self.skip_spaces();
        let end = self.0.iter().position(|byte| !byte.is_ascii_alphanumeric());
        self.0 = &self.0[end.filter(|end| *end > 0).ok_or(NO_HEADER)?..];
        Ok(())
    }

    fn number(&mut self) -> Result<u64, Fault> {
        self.skip_spaces();
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit());
        let (digits, rest) = self.0.split_at(end.ok_or(NO_HEADER)?);
        self.0 = rest;
        // Python 2 wrote long numbers with a letter.
        let _long = self.is_next(b'L');
        number(digits)
    }

    /// Reads a shape; returns how many elements there are, and how many rows.
    fn shape(&mut self) -> Result<(u64, u64), Fault> {
        self.expect(b'(')?;
        let (mut n_elements, mut n_rows) = (1_u64, None);
        while !self.is_next(b')') {
            let n_here = self.number()?;
            n_rows = n_rows.or(Some(n_here));
            n_elements = n_elements.checked_mul(n_here).ok_or(TOO_LARGE)?;
            if !self.is_next(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok((n_elements, n_rows.unwrap_or(1)))
    }

    /// Reads a type; returns the bytes of an element, or `None` for objects of Python.
    fn type_bytes(&mut self, nesting: u32) -> Result<Option<u64>, Fault> {
        if nesting > NESTING_MAX {
            return Err(NO_HEADER);
        }
        if self.is_next(b'(') {
            // A type with a shape of its own.
            let item = self.type_bytes(nesting + 1)?;
            self.expect(b',')?;
            let (n_elements, _) = self.shape()?;
            self.expect(b')')?;
            return times(item, n_elements);
        }
        if !self.is_next(b'[') {
            return simple_bytes(self.string()?);
        }
        let mut sum = Some(0_u64);
        while !self.is_next(b']') {
            let field = self.field_bytes(nesting)?;
            sum = sum
                .zip(field)
                .and_then(|(sum, field)| sum.checked_add(field));
            if !self.is_next(b',') {
                self.expect(b']')?;
                break;
            }
        }
        Ok(sum)
    }

    fn field_bytes(&mut self, nesting: u32) -> Result<Option<u64>, Fault> {
        self.expect(b'(')?;
        if self.is_next(b'(') {
            // A title and a name.
            self.string()?;
            self.expect(b',')?;
            self.string()?;
            self.expect(b')')?;
        } else {
            self.string()?;
        }
        self.expect(b',')?;
        let item = self.type_bytes(nesting + 1)?;
        if self.is_next(b')') {
            return Ok(item);
        }
        self.expect(b',')?;
        let (n_elements, _) = self.shape()?;
        self.expect(b')')?;
        times(item, n_elements)
    }
}

fn times(item: Option<u64>, n_elements: u64) -> Result<Option<u64>, Fault> {
    item.map(|item| item.checked_mul(n_elements).ok_or(TOO_LARGE))
        .transpose()
}

/// Returns the bytes of a plain type, such as `<f8`.
fn simple_bytes(name: &[u8]) -> Result<Option<u64>, Fault> {
    const UNICODE_BYTES: u64 = 4;
    let name = match name {
        [b'<' | b'>' | b'|' | b'=', rest @ ..] => rest,
        _ => name,
    };
    let (kind, rest) = name.split_first().ok_or(NO_HEADER)?;
    let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let size = number(&rest[..n_digits]);
    match kind {
        b'O' => Ok(None),
        b'?' => Ok(Some(1)),
        b'U' => Ok(size?.checked_mul(UNICODE_BYTES)),
        _ => Ok(Some(size?)),
    }
}

fn number(digits: &[u8]) -> Result<u64, Fault> {
    let text = std::str::from_utf8(digits).map_err(|_| NO_HEADER)?;
    text.parse().map_err(|_| NO_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dict: &str) -> Result<Array, Fault> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend(u16::try_from(dict.len()).unwrap().to_le_bytes());
        bytes.extend(dict.as_bytes());
        read_header(&bytes)
    }

    #[test]
    fn lengths_follow_from_types_and_shapes() {
        let cases = [
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (5, 6), }",
                Some(240),
                5,
            ),
            (
                "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
                Some(1),
                1,
            ),
            (
                "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }",
                Some(24),
                2,
            ),
            (
                "{'descr': '<M8[ns]', 'fortran_order': True, 'shape': (0, 3), }",
                Some(0),
                0,
            ),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
                None,
                4,
            ),
            (
                "{'descr': [('a', '<f4'), (('t', 'b'), '<i2', (2, 3)), ('c', [('d', '|S5')])], \
                 'fortran_order': False, 'shape': (10L,), }",
                Some(210),
                10,
            ),
        ];
        for (dict, data_bytes, n_rows) in cases {
            let array = read(dict).unwrap();
            let begin = 10 + dict.len() as u64;
            assert_eq!(
                array.length,
                data_bytes.map(|n_bytes: u64| begin + n_bytes),
                "{dict}"
            );
            assert_eq!(array.n_rows, n_rows, "{dict}");
        }
    }

    #[test]
    fn an_odd_header_is_damage() {
        for dict in [
            "",
            "{",
            "{'descr': '<f8'}",
            "{'shape': (5,)}",
            "[]",
            "{'descr': (((((",
        ] {
            assert!(read(dict).is_err(), "{dict}");
        }
        let huge = "{'descr': '<f8', 'shape': (9999999999, 9999999999)}";
        assert!(read(huge).is_err());
    }
}
