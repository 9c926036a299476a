//! Gives any bytes to every checker of the format crate: none may panic, hang or take much memory.

#![no_main]

use ailurus_format::{Depth, Format, check};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for format in Format::names().filter_map(Format::from_name) {
        let verdict = check(&bytes, format, Depth::Baskets).expect("bytes in memory can be read");
        // A file that says itself how long it should be is never good when it is shorter.
        let is_told = verdict.findings.iter().any(|one| one.code() == "truncated");
        assert!(!(is_told && verdict.is_good()));
    }
});
