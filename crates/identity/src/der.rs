//! A reader of DER elements, for the few structures that no library reads: proxy information and
//! attribute certificates.
//!
//! It never recurses and never copies; lengths are checked against what is there. The main type is
//! [`Reader`].

/// Universal tags.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The bytes are no DER, or not what must stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    /// What was read.
    pub what: &'static str,
}

/// One element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// Class, form and number; numbers above 30 are not read.
    pub(crate) tag: u8,
    /// What is inside.
    pub(crate) content: &'a [u8],
    /// All of it, tag and length included.
    pub(crate) whole: &'a [u8],
}

/// Reads elements one after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Begins with these bytes; `what` names them in errors.
    pub(crate) const fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn malformed(&self) -> Malformed {
        Malformed { what: self.what }
    }

    /// Reads the next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, Malformed> {
        let all = self.rest;
        let malformed = self.malformed();
        let (&tag, rest) = all.split_first().ok_or(malformed)?;
        let (&first, rest) = rest.split_first().ok_or(malformed)?;
        if tag & 0x1f == 0x1f {
            return Err(malformed);
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let n_bytes = usize::from(first & 0x7f);
                let (bytes, rest) = rest.split_at_checked(n_bytes).ok_or(malformed)?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return Err(malformed),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(malformed)?;
        self.rest = rest;
        let whole = &all[..all.len() - rest.len()];
        Ok(Element {
            tag,
            content,
            whole,
        })
    }

    /// Reads the next element, which must have this tag.
    pub(crate) fn one(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        let element = self.any()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(self.malformed())
        }
    }

    /// Reads the next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.first() == Some(&tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads what is inside the next element, which must have this tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, Malformed> {
        let element = self.one(tag)?;
        Ok(Self::new(element.content, self.what))
    }

    /// Says that there must be nothing left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_read_in_order_with_their_content() {
        let bytes = [0x30, 0x03, 0x02, 0x01, 0x07, 0x04, 0x00];
        let mut reader = Reader::new(&bytes, "test");
        let mut inner = reader.inside(SEQUENCE).unwrap();
        assert_eq!(inner.one(INTEGER).unwrap().content, [7]);
        inner.end().unwrap();
        assert!(reader.optional(INTEGER).unwrap().is_none());
        assert_eq!(reader.one(OCTET_STRING).unwrap().whole, [0x04, 0x00]);
        assert!(reader.is_empty());
    }

    #[test]
    fn a_length_beyond_the_end_is_malformed() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x02, 0x01],
            &[0x30, 0x84, 0, 0, 0, 0],
            &[0x30, 0x80],
            &[0x1f, 0x00],
        ] {
            assert!(Reader::new(bytes, "test").any().is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes, "test");
            while reader.any().is_ok() {}
        }
    }
}
