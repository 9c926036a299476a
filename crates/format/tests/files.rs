//! Small real files: whole ones are good, cut ones never, and no changed byte does harm.

use ailurus_format::{Depth, Finding, Format, Verdict, check, guess};
use proptest::prelude::*;

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("files/", $name)).as_slice()
    };
}

/// What a file in `files/` is, and what a check is to find in it.
struct Fixture {
    name: &'static str,
    bytes: &'static [u8],
    format: Format,
    /// Trees, arrays and members with their entries.
    contents: &'static [(&'static str, Option<u64>)],
    /// Bytes behind which nothing of the content lies.
    needed: usize,
}

const fn fixture(
    name: &'static str,
    bytes: &'static [u8],
    format: Format,
    contents: &'static [(&'static str, Option<u64>)],
) -> Fixture {
    Fixture {
        name,
        bytes,
        format,
        contents,
        needed: bytes.len(),
    }
}

const EVENTS: &[(&str, Option<u64>)] = &[("events", Some(200))];
const TREES: &[(&str, Option<u64>)] = &[
    ("events", Some(200)),
    ("run/deep/tracks", Some(50)),
    ("run/empty", Some(0)),
];
const NTUPLE: &[(&str, Option<u64>)] = &[("ntuple", Some(500))];
const ARRAYS: &[(&str, Option<u64>)] = &[("rows.npy", Some(5)), ("flags.npy", Some(2))];
const MEMBERS: &[(&str, Option<u64>)] = &[("a.txt", None), ("folder/b.txt", None)];
/// Two headers, a member of two blocks, and two blocks of zeros.
const TAR_NEEDED: usize = 6 * 512;

fn fixtures() -> Vec<Fixture> {
    let tar = fixture("members.tar", sample!("members.tar"), Format::Tar, MEMBERS);
    vec![
        fixture("plain.root", sample!("plain.root"), Format::Root, EVENTS),
        fixture("zlib.root", sample!("zlib.root"), Format::Root, EVENTS),
        fixture("lz4.root", sample!("lz4.root"), Format::Root, EVENTS),
        fixture("lzma.root", sample!("lzma.root"), Format::Root, EVENTS),
        fixture("zstd.root", sample!("zstd.root"), Format::Root, EVENTS),
        fixture("trees.root", sample!("trees.root"), Format::Root, TREES),
        fixture("no_tree.root", sample!("no_tree.root"), Format::Root, &[]),
        fixture("ntuple.root", sample!("ntuple.root"), Format::Root, NTUPLE),
        fixture(
            "ntuple_plain.root",
            sample!("ntuple_plain.root"),
            Format::Root,
            NTUPLE,
        ),
        fixture(
            "rows.npy",
            sample!("rows.npy"),
            Format::Npy,
            &[("", Some(5))],
        ),
        fixture("rows.npz", sample!("rows.npz"), Format::Npz, ARRAYS),
        fixture(
            "packed.npz",
            sample!("packed.npz"),
            Format::Npz,
            &ARRAYS[..1],
        ),
        fixture("old.h5", sample!("old.h5"), Format::Hdf5, &[]),
        fixture("new.h5", sample!("new.h5"), Format::Hdf5, &[]),
        fixture("user.h5", sample!("user.h5"), Format::Hdf5, &[]),
        fixture("member.gz", sample!("member.gz"), Format::Gzip, &[]),
        fixture("frames.zst", sample!("frames.zst"), Format::Zstd, &[]),
        fixture("members.zip", sample!("members.zip"), Format::Zip, MEMBERS),
        Fixture {
            needed: TAR_NEEDED,
            ..tar
        },
    ]
}

fn look(bytes: &[u8], format: Format, depth: Depth) -> Verdict {
    check(&bytes.to_vec(), format, depth).expect("bytes in memory can be read")
}

#[test]
fn whole_files_are_good_and_tell_their_entries() {
    for fixture in fixtures() {
        for depth in Depth::ALL {
            let verdict = look(fixture.bytes, fixture.format, depth);
            assert!(
                verdict.is_good(),
                "{}: {:?}",
                fixture.name,
                verdict.findings
            );
            let contents: Vec<_> = verdict
                .contents
                .iter()
                .map(|one| (one.name.as_str(), one.entries))
                .collect();
            assert_eq!(contents, fixture.contents, "{}", fixture.name);
        }
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_never_good() {
    for fixture in fixtures() {
        for length in 0..fixture.needed {
            let verdict = look(&fixture.bytes[..length], fixture.format, Depth::Structure);
            assert!(!verdict.is_good(), "{} cut at {length}", fixture.name);
        }
    }
}

#[test]
fn a_cut_root_file_tells_where_it_should_end() {
    let bytes = sample!("zlib.root");
    let verdict = look(&bytes[..20_000], Format::Root, Depth::Structure);
    let expected = bytes.len() as u64;
    let truncated = Finding::Truncated {
        length: 20_000,
        expected,
    };
    assert_eq!(verdict.findings, [truncated]);
    assert_eq!(
        verdict.findings[0].to_string(),
        format!("truncated at byte 20000 of {expected}")
    );
}

#[test]
fn no_changed_byte_makes_a_checker_panic() {
    for fixture in fixtures() {
        // Longer files are much the same all over.
        let step = if fixture.bytes.len() < 12_000 { 1 } else { 7 };
        for at in (0..fixture.bytes.len()).step_by(step) {
            let mut bytes = fixture.bytes.to_vec();
            bytes[at] ^= 0xff;
            // Only that it comes to an end: many bytes are covered by nothing.
            let _ = check(&bytes, fixture.format, Depth::Baskets).unwrap();
        }
    }
}

/// Finds the compressed blocks of baskets by their first bytes; returns where they are.
fn blocks(bytes: &[u8], method: &[u8]) -> Vec<std::ops::Range<usize>> {
    const HEADER: usize = 9;
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER < bytes.len() {
        let begins = bytes[at..].starts_with(method);
        let before = &bytes[at.saturating_sub(90)..at];
        let is_basket = before.windows(7).any(|part| part == b"TBasket");
        if begins && is_basket {
            let three = &bytes[at + 3..at + 6];
            let packed = u32::from_le_bytes([three[0], three[1], three[2], 0]) as usize;
            found.push(at..at + HEADER + packed);
            at += HEADER + packed;
        } else {
            at += 1;
        }
    }
    found
}

#[test]
fn every_changed_byte_under_a_checksum_is_found_and_named() {
    let cases: [(&[u8], &[u8]); 3] = [
        (sample!("zlib.root"), b"ZL\x08"),
        (sample!("lz4.root"), b"L4\x01"),
        (sample!("lzma.root"), b"XZ\x00"),
    ];
    for (bytes, method) in cases {
        let blocks = blocks(bytes, method);
        assert!(blocks.len() >= 4, "{} blocks", blocks.len());
        for (block, at) in blocks
            .iter()
            .flat_map(|block| block.clone().map(move |at| (block, at)))
        {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 0xff;
            let verdict = look(&bytes, Format::Root, Depth::Baskets);
            let found = matches!(
                verdict.first_fault(),
                Some(Finding::BasketDamaged { tree, .. }) if tree == "events"
            );
            // The third byte of a block's header means nothing for LZ4 and xz, and one byte of an
            // xz stream says how to guess letters of which such a short one has none.
            let nr = at - block.start;
            let is_unused = verdict.is_good() && method != b"ZL\x08" && [2, 38].contains(&nr);
            assert!(found || is_unused, "byte {at}: {:?}", verdict.findings);
        }
    }
}

#[test]
fn every_changed_byte_of_an_ntuples_descriptions_is_found() {
    const CLASS: &[u8] = b"RBlob";
    /// Before the class in wide keys, and behind it: empty name and title.
    const NUMBERS: usize = 35;
    const WORDS: usize = 2;
    let bytes = sample!("ntuple_plain.root");
    let is_found = |at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0xff;
        !look(&bytes, Format::Root, Depth::Baskets).is_good()
    };
    let mut n_covered = 0;
    for at in 0..bytes.len() - CLASS.len() {
        let key = &bytes[at.saturating_sub(NUMBERS)..];
        let n_bytes = u32::from_be_bytes([key[0], key[1], key[2], key[3]]) as usize;
        let key_bytes = usize::from(u16::from_be_bytes([key[14], key[15]]));
        let begin = at + CLASS.len() + WORDS;
        if bytes[at..].starts_with(CLASS) && key_bytes == NUMBERS + CLASS.len() + WORDS {
            let end = begin + n_bytes - key_bytes;
            n_covered += u32::from((begin..end).all(is_found));
        }
    }
    // Header, list of pages, footer; the pages themselves have no checksums in this file.
    assert_eq!(n_covered, 3);
}

#[test]
fn first_bytes_tell_the_format() {
    for fixture in fixtures() {
        let guessed = guess(&fixture.bytes.to_vec()).unwrap();
        let is_npz = fixture.format == Format::Npz;
        let expected = if is_npz { Format::Zip } else { fixture.format };
        let has_block_before = fixture.name == "user.h5";
        assert_eq!(
            guessed,
            (!has_block_before).then_some(expected),
            "{}",
            fixture.name
        );
    }
    assert_eq!(guess(&b"hello".to_vec()).unwrap(), None);
    assert_eq!(guess(&Vec::new()).unwrap(), None);
}

#[test]
fn a_file_of_another_format_is_told_so() {
    for format in Format::names().filter_map(Format::from_name) {
        let is_text = matches!(format, Format::Text | Format::Lines | Format::Ascii);
        let verdict = look(b"<html>not found</html>\n", format, Depth::Structure);
        assert_eq!(verdict.is_good(), is_text, "{}", format.name());
    }
}

#[test]
fn text_is_judged_by_its_bytes() {
    let long = "ä".repeat(50_000);
    let cases: [(&[u8], Format, bool); 12] = [
        (b"", Format::Text, true),
        (long.as_bytes(), Format::Text, true),
        (&long.as_bytes()[..99_999], Format::Text, false),
        (b"a\0b", Format::Text, false),
        (b"\xff", Format::Text, false),
        (b"line\n", Format::Lines, true),
        (b"line\nli", Format::Lines, false),
        ("ä".as_bytes(), Format::Ascii, false),
        (b"{\"a\": [1, 2]}\n", Format::Json, true),
        (b"{\"a\": [1, 2", Format::Json, false),
        (b"{} {}", Format::Json, false),
        (&[b'['; 100_000], Format::Json, false),
    ];
    for (bytes, format, is_good) in cases {
        let verdict = look(bytes, format, Depth::Structure);
        assert_eq!(
            verdict.is_good(),
            is_good,
            "{format:?}: {:?}",
            verdict.findings
        );
    }
}

#[test]
fn an_unclosed_root_file_is_told_so() {
    // Places in the header of a file below 2 GB: end, free segments, and the top directory.
    let mut bytes = sample!("zlib.root").to_vec();
    bytes[16..20].fill(0);
    let verdict = look(&bytes, Format::Root, Depth::Structure);
    assert_eq!(verdict.first_fault().unwrap().code(), "not-closed");
    let mut bytes = sample!("zlib.root").to_vec();
    bytes[12..16].fill(0);
    let verdict = look(&bytes, Format::Root, Depth::Structure);
    assert_eq!(verdict.first_fault().unwrap().code(), "not-closed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn several_changes_and_a_cut_do_no_harm(
        nr in 0_usize..19,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let fixture = &fixtures()[nr];
        let mut bytes = fixture.bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = check(&bytes, fixture.format, Depth::Baskets).unwrap();
        bytes.truncate(cut.index(bytes.len()));
        let _ = check(&bytes, fixture.format, Depth::Baskets).unwrap();
    }

    #[test]
    fn any_bytes_are_judged_by_every_checker(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for format in Format::names().filter_map(Format::from_name) {
            let _ = check(&bytes, format, Depth::Baskets).unwrap();
        }
    }
}
