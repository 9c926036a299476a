//! What the head of an answer tells of a file: size, version, range.

use ailurus_http::Answer;

/// What the first answer tells of a file, which later ones must confirm.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Its size in bytes, if it is told.
    pub(crate) size: Option<u64>,
    pub(crate) version: Version,
}

/// What tells one version of a file from another.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Without the `W/` of a weak one, which becomes strong with age.
    etag: Option<String>,
    is_strong: bool,
    modified: Option<String>,
}

impl Version {
    pub(crate) fn of(answer: &Answer) -> Self {
        let etag = answer.header("ETag");
        Self {
            is_strong: etag.is_some_and(|it| !it.starts_with("W/")),
            etag: etag.map(|it| it.trim_start_matches("W/").to_owned()),
            modified: answer.header("Last-Modified").map(str::to_owned),
        }
    }

    /// The header that makes a server refuse another version.
    pub(crate) fn condition(&self) -> Option<(&'static str, &str)> {
        match (&self.etag, &self.modified) {
            (Some(etag), _) if self.is_strong => Some(("If-Match", etag)),
            (_, Some(modified)) => Some(("If-Unmodified-Since", modified)),
            _ => None,
        }
    }

    pub(crate) fn is_other(&self, new: &Self) -> bool {
        let differ = |old: &Option<String>, new: &Option<String>| {
            old.as_ref().zip(new.as_ref()).is_some_and(|(a, b)| a != b)
        };
        differ(&self.etag, &new.etag) || differ(&self.modified, &new.modified)
    }
}

/// A `Content-Range`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) size: Option<u64>,
}

/// Reads `bytes 5-9/100`, with `*` for an unknown size.
pub(crate) fn parse_content_range(text: &str) -> Option<ContentRange> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, size) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = ContentRange {
        first: number(first)?,
        last: number(last)?,
        size: match size.trim() {
            "*" => None,
            size => Some(number(size)?),
        },
    };
    (unit.eq_ignore_ascii_case("bytes") && range.first <= range.last).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_is_not() {
        let range = parse_content_range("bytes 5-9/100").expect("a range");
        assert_eq!((range.first, range.last, range.size), (5, 9, Some(100)));
        let range = parse_content_range("Bytes 0-0/*").expect("a range");
        assert_eq!((range.first, range.last, range.size), (0, 0, None));
        for text in [
            "",
            "bytes */100",
            "bytes 9-5/100",
            "bytes 5/100",
            "items 1-2/3",
            // As XRootD 5.5 answers a range behind the end.
            "bytes 100000--1/100000",
        ] {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
    }
}
