//! Texts of peers are cut to a length before they are kept.

/// Longest reason or error text that is kept, in characters, as PanDA's columns.
pub(crate) const DIAG_CHARS_MAX: usize = 500;
/// Longest extract of a pilot's log that is kept, in characters.
pub(crate) const PILOT_LOG_CHARS_MAX: usize = 1024;
/// Longest name of a pilot or a node that is kept, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 200;

/// Returns at most `chars_max` characters of the text's beginning.
pub(crate) fn clipped(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
