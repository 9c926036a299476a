//! Objects as ROOT streams them: lengths before parts, classes by name and then by number.
//!
//! Every part has its length before it, so whatever is not understood can be skipped.
//!
//! Source: ROOT, `io/io/src/TBufferFile.cxx` (`ReadVersion`, `ReadObjectAny`).

use std::collections::BTreeMap;

use crate::{bytes::Cursor, source::Fault};

const LENGTH_MARK: u32 = 0x4000_0000;
const CLASS_MARK: u32 = 0x8000_0000;
const NEW_CLASS: u32 = 0xffff_ffff;
/// What ROOT adds to the places by which classes are numbered.
const PLACE_OFFSET: usize = 2;
/// The bit of an object that is referenced from elsewhere and so has a number more.
const IS_REFERENCED: u32 = 1 << 4;
/// Longest name of a class, in bytes.
const CLASS_BYTES_MAX: usize = 1024;

/// One element of a list of objects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Element<'a> {
    /// There is none.
    Null,
    /// It is told elsewhere, or its class cannot be told.
    Elsewhere,
    /// An object, which ends at a place.
    Object { class: &'a [u8], end: usize },
}

/// Reads an object, and learns names of classes as it goes.
pub(crate) struct Stream<'a> {
    pub(crate) cursor: Cursor<'a>,
    bytes: &'a [u8],
    /// Length of the key before the object: places are counted from the key.
    key_bytes: usize,
    classes: BTreeMap<u32, &'a [u8]>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(bytes: &'a [u8], key_bytes: u16) -> Self {
        Self {
            cursor: Cursor::new(bytes),
            bytes,
            key_bytes: usize::from(key_bytes),
            classes: BTreeMap::new(),
        }
    }

    /// Reads the length and version that a part begins with; returns where it ends, and the
    /// version.
    pub(crate) fn part(&mut self) -> Result<(usize, u16), Fault> {
        let length = self.cursor.u32()?;
        if length & LENGTH_MARK == 0 || length & CLASS_MARK != 0 {
            return Err(Fault::Damaged("a part of it has no length"));
        }
        let end = self.cursor.at() + (length & !LENGTH_MARK) as usize;
        if end > self.bytes.len() || end < self.cursor.at() + 2 {
            return Err(Fault::Damaged("a part of it has a length that cannot be"));
        }
        Ok((end, self.cursor.u16()?))
    }

    /// Goes over a part.
    pub(crate) fn skip_part(&mut self) -> Result<(), Fault> {
        let (end, _) = self.part()?;
        self.cursor.go_to(end)
    }

    /// Reads name and title, and returns the name.
    pub(crate) fn named(&mut self) -> Result<&'a [u8], Fault> {
        let (end, _) = self.part()?;
        self.object()?;
        let name = self.cursor.string()?;
        self.cursor.go_to(end)?;
        Ok(name)
    }

    fn object(&mut self) -> Result<(), Fault> {
        let _version = self.cursor.u16()?;
        let _id = self.cursor.u32()?;
        if self.cursor.u32()? & IS_REFERENCED != 0 {
            let _process = self.cursor.u16()?;
        }
        Ok(())
    }

    /// Reads the head of a list of objects; returns where it ends and how many elements follow.
    pub(crate) fn list(&mut self) -> Result<(usize, u32), Fault> {
        let (end, _) = self.part()?;
        self.object()?;
        let _name = self.cursor.string()?;
        let n_elements = self.cursor.u32()?;
        let _lowest = self.cursor.u32()?;
        // An element has four bytes at least.
        if n_elements as usize > self.cursor.left() / 4 {
            return Err(Fault::Damaged("a list is longer than its object"));
        }
        Ok((end, n_elements))
    }

    /// Reads the head of an element of a list.
    pub(crate) fn element(&mut self) -> Result<Element<'a>, Fault> {
        let length = self.cursor.u32()?;
        if length == 0 {
            return Ok(Element::Null);
        }
        if length & CLASS_MARK != 0 {
            return Err(Fault::Damaged("an object in a list has no length"));
        }
        if length & LENGTH_MARK == 0 {
            return Ok(Element::Elsewhere);
        }
        let begin = self.cursor.at();
        let end = begin + (length & !LENGTH_MARK) as usize;
        if end > self.bytes.len() {
            return Err(Fault::Damaged(
                "an object in a list is longer than the list",
            ));
        }
        let tag = self.cursor.u32()?;
        let class = if tag == NEW_CLASS {
            let class = self.class_name()?;
            let place = u32::try_from(begin + self.key_bytes + PLACE_OFFSET);
            self.classes.insert(place.unwrap_or(0), class);
            class
        } else {
            match self.classes.get(&(tag & !CLASS_MARK)) {
                Some(class) if tag & CLASS_MARK != 0 => *class,
                Some(_) | None => {
                    self.cursor.go_to(end)?;
                    return Ok(Element::Elsewhere);
                }
            }
        };
        Ok(Element::Object { class, end })
    }

    fn class_name(&mut self) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.cursor.at()..];
        let end = rest
            .iter()
            .take(CLASS_BYTES_MAX)
            .position(|byte| *byte == 0);
        let n_bytes = end.ok_or(Fault::Damaged("the name of a class has no end"))?;
        let name = self.cursor.take(n_bytes)?;
        self.cursor.skip(1)?;
        Ok(name)
    }
}
