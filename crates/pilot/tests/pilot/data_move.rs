//! `ailurus-pilot data get` and `data put` between directories.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn data(words: &[&str], place: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ailurus-pilot"))
        .arg("data")
        .args(words)
        .current_dir(place)
        .output()
        .expect("the pilot is built")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_file_is_fetched_if_it_is_what_was_asked_for() {
    let place = tempfile::tempdir().expect("space");
    let place = place.path();
    fs::write(place.join("a"), "Wikipedia").expect("space");
    let words = [
        "get",
        "a",
        "in/b",
        "--size",
        "9",
        "--checksum",
        "ad:11e60398",
    ];
    let ended = data(&[&words[..], &["--also", "md5", "--json"]].concat(), place);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&out(&ended)).expect("JSON");
    assert_eq!(told["size_bytes"], 9);
    let sums = ["ad:11e60398", "md:9c677286866aad38f8e9b660f5411814"];
    assert_eq!(told["checksums"], serde_json::json!(sums));
    assert_eq!(fs::read(place.join("in/b")).expect("there"), b"Wikipedia");
    let ended = data(&["get", "a", "c", "--checksum", "ad:00000007"], place);
    assert_eq!(ended.status.code(), Some(1));
    assert!(out(&ended).starts_with("failed a: 1171, "), "{ended:?}");
    assert!(!place.join("c").exists());
}

#[test]
fn a_list_is_moved_file_by_file_and_a_bad_line_moves_nothing() {
    let place = tempfile::tempdir().expect("space");
    let place = place.path();
    fs::write(place.join("a b"), "1").expect("space");
    let url = format!("file://{}/store/a b", place.display());
    let list = format!("a b\t{url}\t1\tad:00320032\n\nmissing\tstore/c\n");
    fs::write(place.join("list"), list).expect("space");
    let ended = data(&["put", "--list", "list"], place);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told = out(&ended);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("moved  a b: 1 B in "), "{told}");
    assert!(lines[1].starts_with("failed missing: 1165, "), "{told}");
    assert_eq!(fs::read(place.join("store/a b")).expect("there"), b"1");
    fs::write(place.join("list"), "a b\tstore/d\tmany\n").expect("space");
    let ended = data(&["put", "--list", "list"], place);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        said.contains("line 1 of the list `list`: the size"),
        "{said}"
    );
    assert!(!place.join("store/d").exists());
}
