//! Data formats: whether a file is whole, and of the format that it claims.
//!
//! A checker reads through [`Source`], which the caller makes of a file or of bytes in memory, so
//! nothing here does I/O. [`check()`] does all at once; [`begin()`] leaves what takes long as
//! pieces for several threads. Memory and work are bounded for any bytes: buffers have named
//! limits, and no byte is looked at more than a few times. What is found is told as [`Finding`]s
//! in a [`Verdict`].

mod bytes;
mod check;
mod format;
mod hdf5;
mod lookup3;
mod numpy;
mod packed;
mod root;
mod source;
mod tar;
mod text;
mod verdict;
mod zip;

pub use check::{begin, check, guess};
pub use format::{Depth, Format};
pub use root::{Piece, check_piece};
pub use source::{ReadError, Source};
pub use verdict::{Content, Finding, Verdict};
