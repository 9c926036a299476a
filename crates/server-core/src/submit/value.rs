//! Judges single values of a submission: names, texts and numbers.

use std::collections::BTreeSet;

use crate::submit::SubmitError;

/// Longest name of a task or dataset, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Longest user, transformation and other single text, in characters, as PanDA's columns.
const TEXT_CHARS_MAX: usize = 250;
/// Longest file name, in characters, as on file systems.
const LFN_CHARS_MAX: usize = 255;

pub(super) fn bad(field: impl Into<String>, value: &str, allowed: &str) -> SubmitError {
    SubmitError::BadValue {
        field: field.into(),
        value: value.chars().take(TEXT_CHARS_MAX).collect(),
        allowed: allowed.to_owned(),
    }
}

pub(super) fn at_most(field: &str, value: usize, allowed: u32) -> Result<(), SubmitError> {
    if value <= usize::try_from(allowed).unwrap_or(usize::MAX) {
        return Ok(());
    }
    Err(SubmitError::TooMany {
        field: field.to_owned(),
        value: u64::try_from(value).unwrap_or(u64::MAX),
        allowed: u64::from(allowed),
    })
}

pub(super) fn within(field: String, value: u32, max: u32) -> Result<(), SubmitError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(bad(field, &value.to_string(), &format!("1 to {max}")))
}

/// Names become parts of paths and of lists with commas, so few characters are allowed.
pub(super) fn name(field: &str, value: &str, further: &str) -> Result<(), SubmitError> {
    if is_plain(value, further, NAME_CHARS_MAX) {
        return Ok(());
    }
    let allowed = format!(
        "1 to {NAME_CHARS_MAX} letters, digits and `._-+{further}`, of which the first is a letter \
         or digit"
    );
    Err(bad(field, value, &allowed))
}

pub(super) fn lfn(field: String, value: &str) -> Result<(), SubmitError> {
    if is_plain(value, "=@:%", LFN_CHARS_MAX) {
        return Ok(());
    }
    let allowed = format!(
        "a name of 1 to {LFN_CHARS_MAX} letters, digits and `._-+=@:%`, of which the first is a \
         letter or digit"
    );
    Err(bad(field, value, &allowed))
}

fn is_plain(value: &str, further: &str, chars_max: usize) -> bool {
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c) || further.contains(c);
    value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.len() <= chars_max
        && value.chars().all(is_allowed)
}

pub(super) fn text(field: String, value: &str) -> Result<(), SubmitError> {
    let is_fine = !value.trim().is_empty()
        && value.chars().count() <= TEXT_CHARS_MAX
        && !value.chars().any(char::is_control);
    if is_fine {
        return Ok(());
    }
    let allowed = format!("1 to {TEXT_CHARS_MAX} characters without line breaks");
    Err(bad(field, value, &allowed))
}

pub(super) fn placeholder_names<'n>(
    field: &str,
    names: impl Iterator<Item = &'n str>,
) -> Result<(), SubmitError> {
    let mut seen = BTreeSet::new();
    for value in names {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if value.is_empty() || !value.chars().all(is_allowed) || value.len() > NAME_CHARS_MAX {
            return Err(bad(field, value, "letters, digits, `_` and `-`"));
        }
        if !seen.insert(value) {
            return Err(bad(field, value, "a name that no other one has"));
        }
    }
    Ok(())
}
