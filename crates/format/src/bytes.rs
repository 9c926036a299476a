//! Numbers and strings out of bytes, in the order in which they lie there.

use crate::source::Fault;

const ENDS: Fault = Fault::Damaged("it ends too early");

/// Reads from the front of some bytes; never behind their end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! numbers {
    ($($name:ident: $type:ty, $from:ident, $order:literal;)*) => {$(
        #[doc = concat!("Reads a number, ", $order, " byte first.")]
        pub(crate) fn $name(&mut self) -> Result<$type, Fault> {
            self.array().map(<$type>::$from)
        }
    )*};
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Makes a cursor that begins at a place; behind the end is the end.
    pub(crate) fn starting(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], Fault> {
        if n_bytes > self.left() {
            return Err(ENDS);
        }
        let part = &self.bytes[self.at..self.at + n_bytes];
        self.at += n_bytes;
        Ok(part)
    }

    pub(crate) fn skip(&mut self, n_bytes: usize) -> Result<(), Fault> {
        self.take(n_bytes).map(drop)
    }

    /// Goes forward to a place.
    pub(crate) fn go_to(&mut self, at: usize) -> Result<(), Fault> {
        let ahead = at.checked_sub(self.at).ok_or(ENDS)?;
        self.skip(ahead)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let part = self.take(N)?;
        part.try_into().map_err(|_| ENDS)
    }

    numbers! {
        u8: u8, from_be_bytes, "the only";
        u16: u16, from_be_bytes, "highest";
        u32: u32, from_be_bytes, "highest";
        i32: i32, from_be_bytes, "highest";
        u64: u64, from_be_bytes, "highest";
        i64: i64, from_be_bytes, "highest";
        u16_le: u16, from_le_bytes, "lowest";
        u32_le: u32, from_le_bytes, "lowest";
        i32_le: i32, from_le_bytes, "lowest";
        u64_le: u64, from_le_bytes, "lowest";
        i64_le: i64, from_le_bytes, "lowest";
    }

    /// Reads a place in a ROOT file, which is wide in files that may pass 2 GB.
    pub(crate) fn seek(&mut self, is_wide: bool) -> Result<u64, Fault> {
        let seek = if is_wide {
            self.i64()?
        } else {
            i64::from(self.i32()?)
        };
        u64::try_from(seek).map_err(|_| Fault::Damaged("a place in the file is negative"))
    }

    /// Reads a string as ROOT writes it: its length in a byte, or in four behind 255.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Fault> {
        let short = self.u8()?;
        let n_bytes = if short == u8::MAX {
            self.u32()? as usize
        } else {
            usize::from(short)
        };
        self.take(n_bytes)
    }
}
