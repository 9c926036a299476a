//! One branch of a tree: where its baskets are, and which entries each has.
//!
//! Source: ROOT, `tree/tree/inc/TBranch.h`, versions 10 to 13 of the class.

use crate::{
    root::{
        object::{Element, Stream},
        walk::Walk,
    },
    source::Fault,
};

/// Versions of the class that are understood: ROOT 5 and 6.
const VERSIONS: std::ops::RangeInclusive<u16> = 10..=13;
/// From this version on there is a first entry.
const WITH_FIRST_ENTRY: u16 = 11;
/// From this version on there are I/O features.
const WITH_FEATURES: u16 = 13;

/// What a branch says of itself before its children.
#[derive(Debug)]
pub(crate) struct Branch<'a> {
    pub(crate) name: &'a [u8],
    /// Baskets that are full.
    n_written: usize,
    /// Places for baskets in the arrays.
    n_places: usize,
    /// Entry behind the last one.
    end_entry: u64,
    /// Entry from which on the branch was filled.
    first_entry: u64,
    /// Entries that it has.
    n_entries: u64,
}

/// What a branch says behind its children.
struct Baskets<'a> {
    lengths: &'a [u8],
    entries: &'a [u8],
    seeks: &'a [u8],
    /// Numbers of the baskets that lie within the tree's own record, rising.
    embedded: Vec<usize>,
    /// Whether they are in another file.
    is_elsewhere: bool,
}

impl<'a> Branch<'a> {
    /// Reads up to the children, which the caller reads. `None` for a version that is not known.
    pub(crate) fn begin(stream: &mut Stream<'a>, version: u16) -> Result<Option<Self>, Fault> {
        const NEGATIVE: Fault = Fault::Damaged("a number of entries or baskets is negative");
        if !VERSIONS.contains(&version) {
            return Ok(None);
        }
        let name = stream.named()?;
        stream.skip_part()?;
        // Compression, size of a basket, length of entry offsets.
        stream.cursor.skip(12)?;
        let n_written = usize::try_from(stream.cursor.i32()?).map_err(|_| NEGATIVE)?;
        let end_entry = u64::try_from(stream.cursor.i64()?).map_err(|_| NEGATIVE)?;
        if version >= WITH_FEATURES {
            stream.skip_part()?;
        }
        let _offset = stream.cursor.i32()?;
        let n_places = usize::try_from(stream.cursor.i32()?).map_err(|_| NEGATIVE)?;
        let _split_level = stream.cursor.i32()?;
        let n_entries = u64::try_from(stream.cursor.i64()?).map_err(|_| NEGATIVE)?;
        let first_entry = if version >= WITH_FIRST_ENTRY {
            u64::try_from(stream.cursor.i64()?).map_err(|_| NEGATIVE)?
        } else {
            0
        };
        // Bytes before and after compression.
        stream.cursor.skip(16)?;
        Ok(Some(Self {
            name,
            n_written,
            n_places,
            end_entry,
            first_entry,
            n_entries,
        }))
    }

    /// Returns the entry behind the last one that it was filled with.
    pub(crate) fn end_entry(&self) -> u64 {
        if self.first_entry == 0 {
            self.n_entries
        } else {
            self.end_entry
        }
    }

    /// Reads what follows the children, and says what is wrong with the baskets.
    pub(crate) fn finish(
        &self,
        stream: &mut Stream<'a>,
        has_children: bool,
        walk: &Walk,
    ) -> Result<(), Fault> {
        // The leaves say what is in an entry, not how many there are.
        stream.skip_part()?;
        let embedded = read_embedded(stream)?;
        let mut array = |n_bytes: usize| -> Result<&'a [u8], Fault> {
            let n_places = if stream.cursor.u8()? == 0 {
                0
            } else {
                self.n_places
            };
            stream.cursor.take(n_places.saturating_mul(n_bytes))
        };
        let (lengths, entries, seeks) = (array(4)?, array(8)?, array(8)?);
        let baskets = Baskets {
            lengths,
            entries,
            seeks,
            embedded,
            is_elsewhere: !stream.cursor.string()?.is_empty(),
        };
        self.compare(&baskets, has_children, walk)
            .map_err(Fault::Damaged)
    }

    fn compare(
        &self,
        baskets: &Baskets<'_>,
        has_children: bool,
        walk: &Walk,
    ) -> Result<(), &'static str> {
        if self.n_written > baskets.n_places() {
            return Err("it has more baskets than places for them");
        }
        for nr in 0..self.n_written {
            let first = baskets.first_entry(nr);
            let next = baskets.first_entry(nr + 1);
            let next = next.unwrap_or_else(|| self.end_entry());
            let n_entries = first.and_then(|first| next.checked_sub(first));
            let n_entries = n_entries.ok_or("its baskets are not in the order of their entries")?;
            baskets.compare(nr, n_entries, walk)?;
        }
        let stored = match baskets.first_entry(self.n_written) {
            Some(stored) => stored,
            None if self.n_written > 0 => self.end_entry(),
            None => self.first_entry,
        };
        let end_entry = self.end_entry();
        let has_own_entries = self.n_written > 0 || !has_children;
        if baskets.is_embedded(self.n_written) {
            return if stored <= end_entry {
                Ok(())
            } else {
                Err("its last basket begins behind its entries")
            };
        }
        if has_own_entries && stored != end_entry {
            return Err("its baskets have not all of its entries");
        }
        Ok(())
    }
}

impl Baskets<'_> {
    fn n_places(&self) -> usize {
        self.seeks.len() / 8
    }

    fn first_entry(&self, nr: usize) -> Option<u64> {
        number(self.entries, nr)
    }

    fn is_embedded(&self, nr: usize) -> bool {
        self.embedded.binary_search(&nr).is_ok()
    }

    /// Says what is wrong with one basket of so many entries.
    fn compare(&self, nr: usize, n_entries: u64, walk: &Walk) -> Result<(), &'static str> {
        let seek = number(self.seeks, nr).ok_or("a basket has no place")?;
        if self.is_elsewhere || (seek == 0 && self.is_embedded(nr)) {
            return Ok(());
        }
        if seek == 0 {
            return Err("a basket was never written");
        }
        let Some(found) = walk.basket(seek) else {
            let is_unknown = walk.is_cut_short;
            return if is_unknown {
                Ok(())
            } else {
                Err("a basket is not where the tree says")
            };
        };
        let length = self.lengths.chunks_exact(4).nth(nr);
        let length = length.and_then(|bytes| bytes.try_into().ok());
        if length.map(u32::from_be_bytes) != Some(found.n_bytes) {
            return Err("a basket has another length than the tree says");
        }
        if found
            .n_entries
            .is_some_and(|has| u64::from(has) != n_entries)
        {
            return Err("a basket has another number of entries than the tree says");
        }
        Ok(())
    }
}

/// Returns a number of an array of wide ones; a negative one is as good as none.
fn number(array: &[u8], nr: usize) -> Option<u64> {
    let bytes = array.chunks_exact(8).nth(nr)?;
    let number = i64::from_be_bytes(bytes.try_into().ok()?);
    u64::try_from(number).ok()
}

/// Reads the list of baskets within the tree's own record, and returns their numbers.
fn read_embedded(stream: &mut Stream<'_>) -> Result<Vec<usize>, Fault> {
    let (end, n_elements) = stream.list()?;
    let mut embedded = Vec::new();
    for nr in 0..n_elements as usize {
        match stream.element()? {
            Element::Null => {}
            Element::Elsewhere => embedded.push(nr),
            Element::Object { end, .. } => {
                embedded.push(nr);
                stream.cursor.go_to(end)?;
            }
        }
    }
    stream.cursor.go_to(end)?;
    Ok(embedded)
}
