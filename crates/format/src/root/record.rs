//! Records: what a ROOT file is a row of. Each begins with a key, or is a gap that was freed.
//!
//! Source: ROOT, `io/io/src/TKey.cxx` and `tree/tree/src/TBasket.cxx` (`Streamer`).

use crate::{
    bytes::Cursor,
    root::block::Payload,
    source::{Fault, Input},
};

/// Bytes that say how long the key itself is.
const START_BYTES: usize = 18;
/// Where they say it.
const KEY_BYTES_AT: usize = 14;
/// Versions above this have wide places.
const WIDE_VERSION: u16 = 1000;
/// Highest known version of keys.
const VERSION_MAX: u16 = 10;
/// In wide places the top bits of the directory's place are a number for references.
const PARENT_BITS: u64 = 0x0000_ffff_ffff_ffff;
/// What a basket adds to its key: version, sizes, entries, last byte, flag.
const BASKET_BYTES: usize = 19;
/// The class of records with entries of a branch.
pub(crate) const BASKET: &[u8] = b"TBasket";

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'a> {
    /// Bytes that belong to nothing: how many.
    Gap(u64),
    /// A record with a key.
    Key(Key<'a>),
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// Length of the record, in bytes.
    pub(crate) n_bytes: u32,
    /// Length of the object, unpacked, in bytes.
    pub(crate) object_bytes: u32,
    /// Length of the key, in bytes.
    pub(crate) key_bytes: u16,
    /// Number of the version of an object of this name.
    pub(crate) cycle: u16,
    /// Where the record begins, in its own words.
    pub(crate) seek: u64,
    /// Where its directory begins.
    pub(crate) parent: u64,
    pub(crate) class: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) title: &'a [u8],
    /// What baskets have besides.
    pub(crate) basket: Option<Basket>,
}

/// What the key of a basket says of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basket {
    /// How many entries there are.
    pub(crate) n_entries: u32,
    /// Where the entries end, counted from the beginning of the record when unpacked.
    pub(crate) last: u32,
}

/// Reads the head of the record at a place.
///
/// A key is only judged by itself here: that it has its own length, and room for its words.
pub(crate) fn read<'a>(input: &'a mut Input<'_>, at: u64) -> Result<Record<'a>, Fault> {
    let n_bytes = Cursor::new(input.bytes(at, 4)?).i32()?;
    if n_bytes < 0 {
        return Ok(Record::Gap(u64::from(n_bytes.unsigned_abs())));
    }
    if n_bytes == 0 {
        return Err(Fault::Damaged("its length is 0"));
    }
    let mut start = Cursor::starting(input.bytes(at, START_BYTES)?, KEY_BYTES_AT);
    let key_bytes = start.u16()?;
    read_key(input.bytes(at, usize::from(key_bytes))?).map(Record::Key)
}

/// Reads a key that must be one, not a gap.
pub(crate) fn read_live<'a>(input: &'a mut Input<'_>, at: u64) -> Result<Key<'a>, Fault> {
    match read(input, at)? {
        Record::Key(key) => Ok(key),
        Record::Gap(_) => Err(Fault::Damaged("there is a gap instead of a record")),
    }
}

fn read_key(bytes: &[u8]) -> Result<Key<'_>, Fault> {
    let mut cursor = Cursor::new(bytes);
    let mut key = read_words(&mut cursor)?;
    if key.class == BASKET && cursor.left() >= BASKET_BYTES {
        key.basket = Some(read_basket(&mut cursor)?);
    }
    Ok(key)
}

fn read_words<'a>(cursor: &mut Cursor<'a>) -> Result<Key<'a>, Fault> {
    let n_bytes = cursor.u32()?;
    let version = cursor.u16()?;
    let is_wide = version > WIDE_VERSION;
    let plain = if is_wide {
        version - WIDE_VERSION
    } else {
        version
    };
    if plain == 0 || plain > VERSION_MAX {
        return Err(Fault::Damaged("its version is not known"));
    }
    let object_bytes = cursor.i32()?;
    let object_bytes = u32::try_from(object_bytes)
        .map_err(|_| Fault::Damaged("its object's length is negative"))?;
    let _written = cursor.u32()?;
    let key_bytes = cursor.u16()?;
    let cycle = cursor.u16()?;
    let seek = cursor.seek(is_wide)?;
    let parent = if is_wide {
        cursor.u64()? & PARENT_BITS
    } else {
        cursor.seek(is_wide)?
    };
    let class = cursor.string()?;
    let name = cursor.string()?;
    let title = cursor.string()?;
    if u32::from(key_bytes) > n_bytes {
        return Err(Fault::Damaged("it is longer than its record"));
    }
    if !class
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return Err(Fault::Damaged("its class is no name"));
    }
    Ok(Key {
        n_bytes,
        object_bytes,
        key_bytes,
        cycle,
        seek,
        parent,
        class,
        name,
        title,
        basket: None,
    })
}

fn read_basket(cursor: &mut Cursor<'_>) -> Result<Basket, Fault> {
    let _version = cursor.u16()?;
    let _buffer_bytes = cursor.u32()?;
    // Negative where a byte with I/O features follows.
    if cursor.i32()? < 0 {
        let _features = cursor.u8()?;
    }
    let basket = Basket {
        n_entries: cursor.u32()?,
        last: cursor.u32()?,
    };
    let _flag = cursor.u8()?;
    Ok(basket)
}

/// Reads a key out of a list of keys that ends at `end`; returns its length there, too.
pub(crate) fn read_listed<'a>(
    input: &'a mut Input<'_>,
    at: u64,
    end: u64,
) -> Result<(Key<'a>, u64), Fault> {
    /// A list may name a class by a longer name than the record does.
    const LONGER_MAX: u64 = 64;
    const BEHIND_LIST: Fault = Fault::Damaged("a key reaches behind the list of keys");
    let left = end.saturating_sub(at);
    if left < START_BYTES as u64 {
        return Err(BEHIND_LIST);
    }
    let mut start = Cursor::starting(input.bytes(at, START_BYTES)?, KEY_BYTES_AT);
    let room = left.min(u64::from(start.u16()?) + LONGER_MAX);
    let bytes = input.bytes(at, usize::try_from(room).map_err(|_| BEHIND_LIST)?)?;
    let mut cursor = Cursor::new(bytes);
    let key = read_words(&mut cursor)?;
    Ok((key, cursor.at() as u64))
}

impl Key<'_> {
    /// Returns where the object lies, for a record at a place within the file.
    pub(crate) fn payload(&self, at: u64) -> Payload {
        Payload {
            at: at + u64::from(self.key_bytes),
            end: at + u64::from(self.n_bytes),
            unpacked: u64::from(self.object_bytes),
        }
    }

    /// Says what is wrong with a key that was found at a place, in a file that ends at `end`.
    pub(crate) fn fault_at(&self, at: u64, end: u64) -> Option<&'static str> {
        // Writers of old left the place out.
        if self.seek != at && self.seek != 0 {
            return Some("it says that it lies elsewhere");
        }
        if at.saturating_add(u64::from(self.n_bytes)) > end {
            return Some("its record reaches behind the end of the file");
        }
        let whole = u64::from(self.key_bytes) + u64::from(self.object_bytes);
        let basket = self.basket?;
        let ends_outside =
            u64::from(basket.last) > whole || basket.last < u32::from(self.key_bytes);
        // A basket without an object was written before its entries were.
        (ends_outside && self.object_bytes > 0).then_some("its entries end outside of it")
    }
}

/// Makes a name of bytes for people.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
