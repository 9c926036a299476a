//! The way into all checkers: [`check`] for one thread, [`begin`] for several.

use crate::{
    format::{Depth, Format},
    hdf5, numpy, packed,
    root::{self, Piece, check_piece},
    source::{ReadError, Source},
    tar,
    text::{self, Alphabet, LastLine},
    verdict::{Finding, Verdict},
    zip,
};

/// Checks a file, in one thread.
///
/// # Errors
///
/// It cannot be read. Whatever is wrong with its bytes is in the verdict.
pub fn check(source: &dyn Source, format: Format, depth: Depth) -> Result<Verdict, ReadError> {
    let (mut verdict, pieces) = begin(source, format, depth)?;
    for piece in &pieces {
        verdict.add(check_piece(source, piece)?);
    }
    Ok(verdict)
}

/// Checks what cannot be divided, and returns the pieces that are left.
///
/// The file is good if the verdict is and [`check_piece`] finds nothing in any of them.
///
/// # Errors
///
/// It cannot be read. Whatever is wrong with its bytes is in the verdict.
pub fn begin(
    source: &dyn Source,
    format: Format,
    depth: Depth,
) -> Result<(Verdict, Vec<Piece>), ReadError> {
    let mut pieces = Vec::new();
    let is_text = matches!(format, Format::Text | Format::Lines | Format::Ascii);
    if source.length() == 0 && !is_text {
        let mut verdict = Verdict::new(format, depth, 0);
        verdict.find(Finding::Empty);
        return Ok((verdict, pieces));
    }
    let text = |alphabet, last_line| text::check(source, depth, (format, alphabet, last_line));
    let verdict = match format {
        Format::Root => root::check(source, depth, &mut pieces)?,
        Format::Npy => numpy::check(source, depth)?,
        Format::Npz | Format::Zip => zip::check(source, format, depth)?,
        Format::Hdf5 => hdf5::check(source, depth)?,
        Format::Text => text(Alphabet::Utf8, LastLine::Any)?,
        Format::Lines => text(Alphabet::Utf8, LastLine::Complete)?,
        Format::Ascii => text(Alphabet::Ascii, LastLine::Any)?,
        Format::Json => text::check_json(source, depth)?,
        Format::Gzip => packed::check_gzip(source, depth)?,
        Format::Zstd => packed::check_zstd(source, depth)?,
        Format::Tar => tar::check(source, depth)?,
    };
    Ok((verdict, pieces))
}

/// Guesses the format of a file from its first bytes; text and JSON are never guessed.
///
/// # Errors
///
/// It cannot be read.
pub fn guess(source: &dyn Source) -> Result<Option<Format>, ReadError> {
    let n_bytes = usize::try_from(source.length()).unwrap_or(HEAD_BYTES);
    let mut head = vec![0; n_bytes.min(HEAD_BYTES)];
    source.read_at(0, &mut head)?;
    let begins = MAGICS
        .iter()
        .find(|(magic, at, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    Ok(begins.map(|(_, _, format)| *format))
}

/// First bytes that tell the format.
const HEAD_BYTES: usize = 512;

/// What files of a format have, where, and the format.
const MAGICS: [(&[u8], usize, Format); 8] = [
    (root::MAGIC, 0, Format::Root),
    (numpy::MAGIC, 0, Format::Npy),
    (hdf5::MAGIC, 0, Format::Hdf5),
    (packed::GZIP_MAGIC, 0, Format::Gzip),
    (packed::ZSTD_MAGIC, 0, Format::Zstd),
    (zip::MAGIC, 0, Format::Zip),
    (zip::EMPTY_MAGIC, 0, Format::Zip),
    (tar::MAGIC, tar::MAGIC_AT, Format::Tar),
];
