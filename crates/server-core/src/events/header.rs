//! What a submitted job says about its ranges: the part `es:` of its `specialHandling`.
//!
//! `es:INDEX:FILE/FIRST/LAST/SIZE/ATTEMPTS/OFFSET^…`, where events count from 0 and what is behind
//! the size may be missing; `FILE/EVENTS/SIZE` is an older form.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/EventServiceUtils.py`, `decodeFileInfo`.

use std::collections::BTreeMap;

use ailurus_model::{JobTags, job_tags};

/// Attempts at a range, if a job does not say.
pub(super) const ATTEMPTS_DEFAULT: u32 = 10;

/// What the ranges of a file are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Events before the first one.
    pub(super) start: u64,
    /// How many events.
    pub(super) n_events: u64,
    /// How many events a range has.
    pub(super) per_range: u64,
    /// How often a range may be tried.
    pub(super) attempts: u32,
}

/// Reads the spans by file; nothing if the text says none, or is not in this form.
pub(super) fn spans_of(special_handling: &str) -> BTreeMap<String, Span> {
    let mut spans = BTreeMap::new();
    for tag in special_handling.split(',') {
        let Some(rest) = tag.strip_prefix(job_tags::EVENT_HEADER) else {
            continue;
        };
        let rest = match rest.split_once(':') {
            Some((index, rest)) if index.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            Some(_) | None => rest,
        };
        for item in rest.split('^').filter(|item| !item.is_empty()) {
            let Some((file, span)) = span_of(item) else {
                return BTreeMap::new();
            };
            spans.insert(file.to_owned(), span);
        }
    }
    spans
}

fn span_of(item: &str) -> Option<(&str, Span)> {
    let parts: Vec<&str> = item.split('/').collect();
    let number = |nr: usize| parts.get(nr)?.parse::<u64>().ok();
    let (start, n_events, per_range) = match parts.len() {
        3 => (0, number(1)?, number(2)?),
        4..=6 => {
            let (start, last) = (number(1)?, number(2)?);
            (start, last.checked_sub(start)?.checked_add(1)?, number(3)?)
        }
        _ => return None,
    };
    let attempts = match parts.get(4) {
        Some(text) => text.parse().ok()?,
        None => ATTEMPTS_DEFAULT,
    };
    let span = Span {
        start,
        n_events,
        per_range: per_range.max(1),
        attempts,
    };
    Some((parts[0], span))
}

/// Returns the tags of a submitted job, with one that says so in place of the spans.
pub(crate) fn tags_without_header(special_handling: &str) -> JobTags {
    let mut tags = JobTags::default();
    for tag in special_handling.split(',').map(str::trim) {
        if tag.starts_with(job_tags::EVENT_HEADER) {
            tags.insert(job_tags::EVENT_SERVICE);
        } else {
            tags.insert(tag);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_span_are_read() {
        let spans = spans_of("ap,es:3:a/100/10^b/0/99/5^c/50/99/5/3^d/50/99/5/3/7^");
        let span = |start, n_events, per_range, attempts| Span {
            start,
            n_events,
            per_range,
            attempts,
        };
        let known: Vec<_> = spans.into_iter().collect();
        assert_eq!(
            known,
            [
                ("a".to_owned(), span(0, 100, 10, 10)),
                ("b".to_owned(), span(0, 100, 5, 10)),
                ("c".to_owned(), span(50, 50, 5, 3)),
                ("d".to_owned(), span(50, 50, 5, 3)),
            ]
        );
    }

    #[test]
    fn what_is_no_span_is_none() {
        for text in [
            "",
            "ap",
            "es:0:a/1^",
            "es:0:a/9/1/5^",
            "es:0:a/x/9/5^",
            "es:0:a/1/2/3/4/5/6^",
        ] {
            assert!(spans_of(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_spans_become_a_tag() {
        let tags = tags_without_header("ap,es:0:a/0/9/5^,lc");
        assert_eq!(tags.as_str(), "ap,eventservice,lc");
    }
}
