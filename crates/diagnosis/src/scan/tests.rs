//! Tests of scanning: which lines are found, and which are not.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::catalogue::Catalogue;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

fn ids<'a>(found: &[Finding<'a>]) -> Vec<&'a str> {
    found
        .iter()
        .map(|finding| finding.entry.id.as_str())
        .collect()
}

/// A catalogue of entries that are found by a literal alone, before the built-in ones.
fn catalogue_of(rules: &[(&str, &str)]) -> Catalogue {
    let mut text = "scope = \"payload\"\n".to_owned();
    for (id, literal) in rules {
        text += &format!(
            "[[entry]]\nid = \"{id}\"\ncategory = \"program\"\nblame = \"payload\"\n\
             action = \"retry-here\"\ncause = \"Made up.\"\nremedy = \"None.\"\n\
             patterns = [{{ literal = \"{literal}\" }}]\nexamples = [\"{literal}\"]\n"
        );
    }
    Catalogue::built_in_with(&[("test.toml", &text)]).unwrap()
}

#[test]
fn an_output_without_errors_gives_nothing() {
    let output = b"Run 17: 0 errors, no error, 0 warnings\nno errors found\nError rate 0 %\n";
    assert_eq!(CATALOGUE.scan(output, 10), []);
    assert_eq!(CATALOGUE.scan(b"", 10), []);
}

#[test]
fn the_cause_comes_before_the_crash_that_follows_from_it() {
    let output = b" *** Break *** segmentation violation\n\
        Error in <TFile::Init>: file a.root is truncated at 5 bytes: should be 10\n";
    let found = CATALOGUE.scan(output, 10);
    assert_eq!(
        ids(&found),
        ["root-file-truncated", "segmentation-violation"]
    );
    assert_eq!(ids(&CATALOGUE.scan(output, 1)), ["root-file-truncated"]);
    assert_eq!(CATALOGUE.scan(output, 0), []);
}

#[test]
fn an_entry_is_found_once_with_its_first_line() {
    let found = CATALOGUE.scan(b"a: Permission denied\nb: Permission denied\n", 10);
    assert_eq!(ids(&found), ["permission-missing"]);
    assert_eq!(found[0].line, "a: Permission denied");
}

#[test]
fn literal_and_pattern_must_be_on_one_line() {
    assert_eq!(CATALOGUE.scan(b"version `GLIBC_2.34'\nnot found\n", 1), []);
}

#[test]
fn a_carriage_return_ends_a_line() {
    let found = CATALOGUE.scan(b"10 %\r20 %\rMemoryError\r\n", 1);
    assert_eq!(found[0].line, "MemoryError");
}

#[test]
fn bytes_that_are_not_text_do_no_harm() {
    let found = CATALOGUE.scan(b"\xff\xfe\x00\x1b[31mstd::bad_alloc\x1b[0m\x00\xc3\n", 1);
    assert_eq!(ids(&found), ["payload-bad-alloc"]);
    assert!(found[0].line.contains("std::bad_alloc"));
    assert!(found[0].line.chars().all(|c| !c.is_control()));
}

#[test]
fn a_long_line_is_quoted_around_the_place() {
    let mut output = vec![b'x'; 1_000_000];
    output.extend_from_slice(b" std::bad_alloc ");
    output.extend_from_slice(&vec![b'y'; 1_000_000]);
    let found = CATALOGUE.scan(&output, 1);
    assert!(found[0].line.contains("std::bad_alloc"));
    assert_eq!(found[0].line.chars().count(), LINE_CHARS_MAX);
}

#[test]
fn two_literals_that_overlap_are_both_seen() {
    let catalogue = catalogue_of(&[("first", "abcdef"), ("second", "defghi")]);
    assert_eq!(
        ids(&catalogue.scan(b"..abcdefghi..", 10)),
        ["first", "second"]
    );
    let catalogue = catalogue_of(&[("part", "cdef"), ("whole", "abcdefgh")]);
    assert_eq!(ids(&catalogue.scan(b"..abcdefgh..", 10)), ["part", "whole"]);
    assert_eq!(ids(&catalogue.scan(b"..abcdef..", 10)), ["part"]);
}

#[test]
fn an_error_late_on_an_endless_line_is_found() {
    let mut output = b"Killed Aborted Error: ".repeat(10_000);
    output.extend_from_slice(b" std::bad_alloc");
    assert_eq!(ids(&CATALOGUE.scan(&output, 1)), ["payload-bad-alloc"]);
}

#[test]
fn each_rule_is_tried_once_on_a_piece_of_a_line() {
    // One endless line of near misses: a search that looked at the whole line at each of them
    // would read some 10^13 bytes.
    let output = b"Killed Aborted Error: ".repeat(200_000);
    assert_eq!(CATALOGUE.scan(&output, 10), []);
}

proptest! {
    #[test]
    fn any_bytes_are_searched(output in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(CATALOGUE.scan(&output, 5).len() <= 5);
        prop_assert!(CATALOGUE.scan_transfer(&output, 5).len() <= 5);
        prop_assert!(CATALOGUE.scan_worker(&output, 5).len() <= 5);
    }

    #[test]
    fn a_known_line_is_found_among_any_bytes(
        before in proptest::collection::vec(any::<u8>(), 0..3000),
        after in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let line: &[u8] = b"\nfile x is truncated at 5 bytes: should be 10\n";
        let found = CATALOGUE.scan(&[&before, line, &after].concat(), 500);
        prop_assert!(ids(&found).contains(&"root-file-truncated"));
        prop_assert!(found.iter().all(|finding| finding.line.chars().count() <= LINE_CHARS_MAX));
    }
}
