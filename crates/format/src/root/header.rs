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

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the header of a file that begins at 100 and ends at 5 GB or 5 MB.
    fn header(is_wide: bool) -> Vec<u8> {
        let place = |place: u64| -> Vec<u8> {
            let bytes = place.to_be_bytes();
            bytes[if is_wide { 0 } else { 4 }..].to_vec()
        };
        let version: u32 = if is_wide { 1_063_206 } else { 63_206 };
        let unit = if is_wide { 1000 } else { 1 };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(100_u32.to_be_bytes());
        bytes.extend(place(5_000_000 * unit));
        bytes.extend(place(4_999_900 * unit));
        bytes.extend([60, 2, 58].map(u32::to_be_bytes).concat());
        bytes.push(if is_wide { 8 } else { 4 });
        bytes.extend(101_u32.to_be_bytes());
        bytes.extend(place(4_990_000 * unit));
        bytes.extend(9000_u32.to_be_bytes());
        bytes.resize(100, 0);
        bytes
    }

    #[test]
    fn places_are_wide_in_files_that_may_pass_2_gb() {
        for (is_wide, unit) in [(false, 1), (true, 1000)] {
            let bytes = header(is_wide);
            let header = read(&mut Input::new(&bytes)).unwrap();
            assert_eq!((header.begin, header.end), (100, 5_000_000 * unit));
            assert_eq!((header.free_at, header.free_bytes), (4_999_900 * unit, 60));
            assert_eq!(
                (header.info_at, header.info_bytes),
                (4_990_000 * unit, 9000)
            );
            assert_eq!(header.name_bytes, 58);
        }
    }

    #[test]
    fn a_header_that_contradicts_itself_is_none() {
        for (at, byte) in [(8, 0x7f), (12, 0x80), (32, 5)] {
            let mut bytes = header(false);
            bytes[at] = byte;
            assert!(read(&mut Input::new(&bytes)).is_err(), "byte {at}");
        }
    }
}
