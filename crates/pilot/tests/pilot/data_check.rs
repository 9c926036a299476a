//! `ailurus-pilot data check` on files of the examples' own software, whole and damaged.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use ailurus_testkit::python;
use serde_json::Value;

/// Writes a ROOT file by each method of compression, as the payloads of the example do.
const WRITE: &str = r#"
import sys
import awkward as ak, numpy as np, uproot
methods = {"plain": None, "zlib": uproot.ZLIB(1), "lz4": uproot.LZ4(4), "lzma": uproot.LZMA(1), "zstd": uproot.ZSTD(3)}
random = np.random.default_rng(7)
for name, method in methods.items():
    with uproot.recreate(f"{sys.argv[1]}/{name}.root", compression=method) as file:
        for tree in ("events", "run/deep/tracks"):
            types = {"n": np.int32, "x": np.float64, "hits": "var * float32"}
            tree = file.mktree(tree, types)
            for nr in range(3):
                counts = random.integers(0, 9, 1000)
                hits = ak.unflatten(random.normal(size=counts.sum()).astype(np.float32), counts)
                tree.extend({"n": np.arange(1000, dtype=np.int32), "x": np.zeros(1000), "hits": hits, "nhits": counts})
        file.mktree("none", {"x": np.int8})
"#;

fn data(words: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ailurus-pilot"))
        .arg("data")
        .args(words)
        .args(files)
        .output()
        .expect("the pilot is built")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn files_of_real_software_are_good_and_damage_in_them_is_found() {
    let python = match python::prepare() {
        Ok(folder) => folder.join("bin/python"),
        Err(error) => {
            println!("skipped: the payloads' Python cannot be had: {error:#}");
            return;
        }
    };
    let dir = tempfile::tempdir().expect("space");
    let written = Command::new(python)
        .args(["-c", WRITE])
        .arg(dir.path())
        .output()
        .expect("Python runs");
    assert!(written.status.success(), "{}", err(&written));
    for name in ["plain", "zlib", "lz4", "lzma", "zstd"] {
        let path = dir.path().join(format!("{name}.root"));
        let whole = data(&["check", "--json"], &[&path]);
        assert_eq!(whole.status.code(), Some(0), "{}", out(&whole));
        let verdict: Value = serde_json::from_str(&out(&whole)).expect("a line of JSON");
        assert_eq!(verdict["entries"], 3000, "{verdict}");
        assert_eq!(verdict["contents"].as_array().map(Vec::len), Some(3));
        let bytes = fs::read(&path).expect("it was written");
        let cut = dir.path().join("cut.root");
        for part in 1..=60 {
            let length = bytes.len() * part / 61;
            fs::write(&cut, &bytes[..length]).expect("space");
            let output = data(&["check", "--depth", "structure"], &[&cut]);
            assert_eq!(output.status.code(), Some(1), "{name} cut at {length}");
            let expected = format!("truncated at byte {length} of {}", bytes.len());
            assert!(out(&output).contains(&expected), "{}", out(&output));
        }
    }
}

#[test]
fn every_file_gets_its_line_in_order_and_the_worst_one_gives_the_exit_code() {
    let dir = tempfile::tempdir().expect("space");
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.json"), "{}").expect("space");
    fs::write(path("b.root"), "<html>").expect("space");
    fs::write(path("c\n.txt"), "text\n").expect("space");
    let files = [path("a.json"), path("b.root"), path("c\n.txt")];
    let files: Vec<&Path> = files.iter().map(|path| path.as_path()).collect();
    let output = data(&["check"], &files);
    assert_eq!(output.status.code(), Some(1));
    let text = out(&output);
    let words: Vec<&str> = text.lines().map(|line| &line[..4]).collect();
    assert_eq!(words, ["good", "bad ", "good"], "{text}");
    assert!(text.contains("not a file of format `root`"), "{text}");
    let with_missing = [files[0], &path("missing.root")];
    let output = data(&["check"], &with_missing);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("missing.root` cannot be opened"));
    assert!(out(&output).starts_with("good "));
}

#[test]
fn an_unknown_word_is_told_with_what_is_known() {
    let output = data(&["chekc"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("check"), "{}", err(&output));
    let output = data(&["check", "--format", "rot", "x"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("root, npy"), "{}", err(&output));
    let help = data(&["check", "--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(
        out(&help).contains("ailurus-pilot data check"),
        "{}",
        out(&help)
    );
    assert!(out(&data(&["--help"], &[])).contains("check"));
}
