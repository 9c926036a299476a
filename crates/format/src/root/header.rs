//! The first bytes of a ROOT file: where everything else is.
//!
//! Source: ROOT, `io/io/src/TFile.cxx` (`WriteHeader`).

use crate::{
    bytes::Cursor,
    source::{Fault, Input},
};

/// The first bytes of a ROOT file.
pub(crate) const MAGIC: &[u8] = b"root";
/// Longest header: that of a file that may pass 2 GB.
const BYTES_MAX: usize = 75;
/// Versions from here on have wide places.
const WIDE_VERSION: u32 = 1_000_000;
/// The first record begins here or later.
const BEGIN_MIN: u64 = 50;

/// Where things are in a ROOT file; all in bytes from its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// Where the first record begins.
    pub(crate) begin: u64,
    /// Where the last record ends.
    pub(crate) end: u64,
    /// Where the list of free segments is; 0 without one.
    pub(crate) free_at: u64,
    /// Length of its record.
    pub(crate) free_bytes: u32,
    /// From the first record to the top directory.
    pub(crate) name_bytes: u32,
    /// Where the descriptions of classes are; 0 without any.
    pub(crate) info_at: u64,
    /// Length of their record.
    pub(crate) info_bytes: u32,
}

/// Reads the header, which begins with [`MAGIC`] as the caller knows.
pub(crate) fn read(input: &mut Input<'_>) -> Result<Header, Fault> {
    let length = usize::try_from(input.length()).unwrap_or(usize::MAX);
    let mut cursor = Cursor::starting(input.bytes(0, BYTES_MAX.min(length))?, MAGIC.len());
    let version = cursor.u32()?;
    let is_wide = version >= WIDE_VERSION;
    let begin = u64::from(cursor.u32()?);
    let end = cursor.seek(is_wide)?;
    let free_at = cursor.seek(is_wide)?;
    let free_bytes = cursor.u32()?;
    let _n_free = cursor.u32()?;
    let name_bytes = cursor.u32()?;
    let place_bytes = cursor.u8()?;
    let _compression = cursor.u32()?;
    let info_at = cursor.seek(is_wide)?;
    let info_bytes = cursor.u32()?;
    // The UUID: its version and sixteen bytes. Files of the nineties have none.
    if !matches!(place_bytes, 4 | 8) {
        return Err(Fault::Damaged("places have neither 4 nor 8 bytes"));
    }
    if version == 0 {
        return Err(Fault::Damaged("the version is 0"));
    }
    if begin < BEGIN_MIN || (end != 0 && begin > end) {
        return Err(Fault::Damaged("the first record begins nowhere"));
    }
    Ok(Header {
        begin,
        end,
        free_at,
        free_bytes,
        name_bytes,
        info_at,
        info_bytes,
    })
}
