//! The storage that lies, asked by `curl`.

use std::{fs, path::Path};

use ailurus_testkit::storage::{Lie, LyingStore, Rule, lying::Collections};
use tempfile::tempdir;

use crate::client::{bytes, must, run, status, text};

/// Fetches a URL; returns the exit code of `curl`, the status and the body.
fn get(url: &str, more: &[&str]) -> (i32, String, Vec<u8>) {
    let place = tempdir().unwrap();
    let file = place.path().join("body");
    let words = [
        "curl",
        "--silent",
        "--max-time",
        "1",
        "--output",
        text(&file),
    ];
    let wanted = ["--write-out", "%{http_code}", url];
    let said = run(&[&words[..], &wanted, more].concat(), &[]);
    let status = String::from_utf8_lossy(&said.stdout).into_owned();
    let body = fs::read(&file).unwrap_or_default();
    (said.status.code().unwrap(), status, body)
}

/// What `curl` says of a transfer that ended too early, of one that took too long, of a broken
/// connection, and of too many redirects.
const PARTIAL: i32 = 18;
const TOO_LONG: i32 = 28;
const BROKEN: i32 = 56;
const REDIRECTS: i32 = 47;

fn put(url: &str, file: &Path) -> String {
    status(&["--upload-file", text(file), url])
}

#[test]
fn honest_storage_keeps_what_it_is_given_whatever_its_name() {
    let place = tempdir().unwrap();
    let file = place.path().join("input");
    fs::write(&file, bytes(200_000)).unwrap();
    let store = LyingStore::start().unwrap();
    for name in ["/a", "/spd/a b ü%?#\n", "/100%25"] {
        assert_eq!(put(&store.url(name), &file), "201");
        assert!(store.stored(name).unwrap() == bytes(200_000));
        assert!(get(&store.url(name), &[]) == (0, "200".into(), bytes(200_000)));
    }
    let chunked = ["--header", "Transfer-Encoding: chunked"];
    let words = ["--upload-file", text(&file), &store.url("/c")];
    assert_eq!(status(&[&words[..], &chunked].concat()), "201");
    assert!(store.stored("/c").unwrap() == bytes(200_000));
    assert_eq!(put(&store.url("/a"), &file), "204");
    let url = store.url("/a");
    let head = must(
        &["curl", "-sI", "-H", "Want-Digest: adler32,md5", &url],
        &[],
    );
    let adler = simd_adler32::adler32(&bytes(200_000).as_slice());
    assert!(head.contains(&format!("adler32={adler:08x}")), "{head}");
    let md5 = format!("openssl md5 -binary {} | openssl base64", text(&file));
    let md5 = must(&["sh", "-c", &md5], &[]);
    assert!(head.contains(&format!("md5={}", md5.trim())), "{head}");
    let heard = store.heard();
    assert_eq!(
        heard.last().unwrap().header("want-digest"),
        Some("adler32,md5")
    );
}

#[test]
fn ranges_are_served_one_or_many_and_only_of_the_file_that_was_meant() {
    let store = LyingStore::start().unwrap();
    store.put("/a", bytes(1000));
    let url = store.url("/a");
    let (_, answer, body) = get(&url, &["--range", "10-19"]);
    assert!(answer == "206" && body == bytes(1000)[10..20]);
    let (_, answer, body) = get(&url, &["--range", "10-19,990-"]);
    let parts = String::from_utf8_lossy(&body).into_owned();
    assert!(answer == "206" && parts.contains("Content-Range: bytes 990-999/1000"));
    assert_eq!(get(&url, &["--range", "1000-"]).1, "416");
    let other = ["--range", "10-19", "--header", "If-Range: \"other\""];
    assert_eq!(get(&url, &other).1, "200");
    assert_eq!(get(&url, &["--header", "If-Match: \"other\""]).1, "412");
    store.tell(Lie::IgnoresRange);
    assert!(get(&url, &["--range", "10-19"]) == (0, "200".into(), bytes(1000)));
    store.be_honest();
    store.tell(Lie::WrongRange { by: 5 });
    assert!(get(&url, &["--range", "10-19"]).2 == bytes(1000)[15..25]);
    store.be_honest();
    store.tell(Lie::ChangingTag);
    let tag = || {
        let head = must(&["curl", "-sI", &url], &[]);
        let mut lines = head.lines();
        lines
            .find(|line| line.starts_with("ETag"))
            .unwrap()
            .to_owned()
    };
    assert_ne!(tag(), tag());
}

#[test]
fn bodies_end_too_early_hang_break_and_have_wrong_lengths() {
    let store = LyingStore::start().unwrap();
    store.put("/a", bytes(100_000));
    let url = store.url("/a");
    let cases = [
        (Lie::Short { after: 5000 }, PARTIAL, 5000),
        (Lie::Hang { after: 5000 }, TOO_LONG, 5000),
        (Lie::ChunkedShort { after: 5000 }, PARTIAL, 5000),
        (Lie::WrongLength { by: 1 }, PARTIAL, 100_000),
        (Lie::WrongLength { by: -1 }, 0, 99_999),
        (Lie::NoLength, 0, 100_000),
        (Lie::Chunked, 0, 100_000),
        (Lie::Grows { by: 10 }, 0, 100_010),
    ];
    let n_cases = cases.len() as u64;
    for (lie, code, length) in cases {
        store.tell(Rule::times(lie.clone(), 1));
        let (ended, _, body) = get(&url, &[]);
        assert_eq!((ended, body.len()), (code, length), "{lie:?}");
    }
    assert_eq!(store.lies_told(), n_cases);
    store.tell(Rule::times(Lie::Reset { after: 5000 }, 1));
    assert_eq!(get(&url, &[]).0, BROKEN);
    store.tell(Rule::times(Lie::Silent, 1));
    assert_eq!(get(&url, &[]).0, TOO_LONG);
    store.tell(Rule::times(Lie::Flipped { at: 70 }, 1));
    let (_, _, body) = get(&url, &["--range", "60-79"]);
    let file = store.stored("/a").unwrap();
    assert!(body[10] != file[70] && body[11..] == file[71..80]);
    assert!(get(&url, &[]).2 == file);
}

#[test]
fn rules_say_to_whom_and_how_often_it_lies() {
    let store = LyingStore::start().unwrap();
    store.put("/a", "a");
    store.put("/b", "b");
    let busy = Lie::Busy {
        status: 503,
        retry_after: Some(7),
    };
    store.tell(Rule::times(busy, 2).on("GET").at("/a").after(1));
    let ask = |path: &str| get(&store.url(path), &[]).1;
    let said = ["/a", "/b", "/a", "/b", "/a", "/a"].map(ask);
    assert_eq!(said, ["200", "200", "503", "200", "503", "200"]);
    assert_eq!(store.lies_told(), 2);
    store.tell(Lie::Html);
    assert!(get(&store.url("/a"), &[]).2.starts_with(b"<!DOCTYPE html>"));
    store.be_honest();
    store.tell(Rule::always(Lie::RedirectLoop).at("/a"));
    assert_eq!(get(&store.url("/a"), &["--location"]).0, REDIRECTS);
    let other = LyingStore::start().unwrap();
    other.put("/b", "of the other");
    store.tell(Lie::RedirectTo(other.endpoint()));
    assert_eq!(get(&store.url("/b"), &["--location"]).2, b"of the other");
}

#[test]
fn a_token_is_demanded_and_may_end_in_the_middle() {
    let store = LyingStore::start().unwrap();
    store.put("/a", bytes(10_000));
    store.demand("first");
    let ask = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let (code, status, body) = get(&store.url("/a"), &["--header", &header]);
        (code, status, body.len())
    };
    assert_eq!(ask("other").1, "401");
    assert_eq!(ask("first"), (0, "200".into(), 10_000));
    store.tell(Rule::times(Lie::Expires { after: 100 }, 1));
    assert_eq!(ask("first"), (PARTIAL, "200".into(), 100));
    assert_eq!(ask("first").1, "401");
    store.demand("second");
    assert_eq!(ask("second").2, 10_000);
}

#[test]
fn what_is_put_may_be_lost_halved_refused_or_stored_without_an_answer() {
    let place = tempdir().unwrap();
    let file = place.path().join("input");
    fs::write(&file, bytes(3_000_000)).unwrap();
    let store = LyingStore::start().unwrap();
    let put_by = |lie, path| {
        store.tell(Rule::times(lie, 1));
        (
            put(&store.url(path), &file),
            store.stored(path).map(|it| it.len()),
        )
    };
    let after = 50_000;
    assert_eq!(put_by(Lie::Full { after }, "/a"), ("507".into(), None));
    assert_eq!(put_by(Lie::Full { after: 0 }, "/a"), ("507".into(), None));
    assert_eq!(put_by(Lie::Status(403), "/a"), ("403".into(), None));
    assert_eq!(put_by(Lie::Html, "/a"), ("200".into(), None));
    assert_eq!(put_by(Lie::Forgets, "/a"), ("201".into(), None));
    assert_eq!(
        put_by(Lie::KeepsHalf, "/b"),
        ("201".into(), Some(1_500_000))
    );
    assert_eq!(put_by(Lie::BreaksUpload { after }, "/c").1, None);
    let (said, stored) = put_by(Lie::StoresAndLeaves, "/d");
    assert!(said != "201" && stored == Some(3_000_000), "{said}");
}

#[test]
fn collections_are_made_or_needed_and_files_move_and_are_copied_from_elsewhere() {
    let place = tempdir().unwrap();
    let file = place.path().join("input");
    fs::write(&file, "x").unwrap();
    let (store, other) = (LyingStore::start().unwrap(), LyingStore::start().unwrap());
    store.with_collections(Collections::Needed);
    let by = |method: &str, path: &str, header: &str| {
        status(&["--request", method, "--header", header, &store.url(path)])
    };
    assert_eq!(put(&store.url("/spd/a"), &file), "409");
    assert_eq!(by("MKCOL", "/spd/mc", "A: b"), "409");
    assert_eq!(by("MKCOL", "/spd", "A: b"), "201");
    assert_eq!(by("MKCOL", "/spd", "A: b"), "405");
    assert_eq!(put(&store.url("/spd/a"), &file), "201");
    let to = format!("Destination: {}", store.url("/spd/b"));
    assert_eq!(by("MOVE", "/spd/a", &to), "201");
    assert_eq!(store.paths(), ["/spd/b"]);
    assert_eq!(put(&store.url("/spd/a"), &file), "201");
    let words = [
        "--request",
        "MOVE",
        "--header",
        &to,
        "--header",
        "Overwrite: F",
    ];
    assert_eq!(
        status(&[&words[..], &[&store.url("/spd/a")]].concat()),
        "412"
    );
    store.tell(Rule::times(Lie::MovesAndFails, 1));
    assert_eq!(by("MOVE", "/spd/a", &to), "500");
    assert_eq!(store.paths(), ["/spd/b"]);
    let (_, answer, listing) = get(&store.url("/spd"), &["--request", "PROPFIND"]);
    let listing = String::from_utf8_lossy(&listing).into_owned();
    assert!(
        answer == "207" && listing.contains("<D:href>/spd/b</D:href>"),
        "{listing}"
    );

    other.put("/far", bytes(1000));
    let copy = |path: &str, source: &str| {
        let source = format!("Source: {}", other.url(source));
        let words = ["--request", "COPY", "--header", &source];
        String::from_utf8_lossy(&get(&store.url(path), &words).2).into_owned()
    };
    assert!(copy("/spd/c", "/far").ends_with("success: Created\n"));
    assert!(store.stored("/spd/c").unwrap() == bytes(1000));
    assert!(copy("/spd/d", "/nowhere").starts_with("failure: "));
    store.tell(Lie::CopyFails);
    assert!(copy("/spd/d", "/far").starts_with("failure: "));
    assert_eq!(by("DELETE", "/spd/c", "A: b"), "204");
    assert_eq!(by("DELETE", "/spd/c", "A: b"), "404");
}
