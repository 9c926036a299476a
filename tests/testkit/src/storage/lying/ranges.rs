//! The header `Range`, as far as bytes go (RFC 9110, section 14).

use std::ops::Range;

/// Most ranges of one request.
const RANGES_MAX: usize = 100;

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, in this order; at least one range.
    Parts(Vec<Range<usize>>),
    /// Nothing that the file has.
    Nothing,
}

/// Reads the header for a file of this length; a header that makes no sense counts as none.
pub(super) fn wanted(header: Option<&str>, length: usize) -> Wanted {
    let Some(list) = header.and_then(|text| text.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let mut parts = Vec::new();
    for part in list.split(',').take(RANGES_MAX) {
        let Some((first, last)) = part.trim().split_once('-') else {
            return Wanted::Whole;
        };
        let range = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if last < first => return Wanted::Whole,
            (Ok(first), Ok(last)) => first..last.saturating_add(1).min(length),
            (Ok(first), Err(_)) if last.is_empty() => first..length,
            (Err(_), Ok(count)) if first.is_empty() => length.saturating_sub(count)..length,
            (Ok(_) | Err(_), _) => return Wanted::Whole,
        };
        if range.start < range.end {
            parts.push(range);
        }
    }
    if parts.is_empty() {
        Wanted::Nothing
    } else {
        Wanted::Parts(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let of = |text| wanted(Some(text), 100);
        let one = |range| Wanted::Parts(std::iter::once(range).collect());
        assert_eq!(of("bytes=10-19"), one(10..20));
        assert_eq!(of("bytes=90-"), one(90..100));
        assert_eq!(of("bytes=-5, 0-0"), Wanted::Parts(vec![95..100, 0..1]));
        assert_eq!(of("bytes=50-500"), one(50..100));
        assert_eq!(of("bytes=100-"), Wanted::Nothing);
        for odd in ["bytes=5-4", "bytes=x-1", "lines=1-2", "bytes=-", "bytes"] {
            assert_eq!(of(odd), Wanted::Whole, "{odd}");
        }
        assert_eq!(wanted(None, 100), Wanted::Whole);
    }
}
