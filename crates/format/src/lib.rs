//! Data formats: whether a file is whole, and of the format that it claims.

mod format;

pub use format::{Depth, Format};
