//! Clients that are not ours.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Bytes that no compression and no pattern makes short, the same for the same length.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(length as u64);
    let mut bytes = vec![0; length];
    chance.fill(&mut bytes);
    bytes
}

/// Runs a program and returns what it said; it is ended after a minute.
pub(crate) fn run(words: &[&str], environment: &[(&str, PathBuf)]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").args(words);
    // A proxy of the machine must not matter.
    command.env_remove("X509_USER_PROXY");
    command.env_remove("http_proxy");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    // A client that waits for better times must not wait long.
    command.env("XRD_CONNECTIONWINDOW", "5");
    command.env("XRD_CONNECTIONRETRY", "1");
    command.output().unwrap()
}

/// As [`run`], for what must succeed; returns its standard output.
pub(crate) fn must(words: &[&str], environment: &[(&str, PathBuf)]) -> String {
    let output = run(words, environment);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `curl` and returns the answer's status.
pub(crate) fn status(words: &[&str]) -> String {
    let options = ["curl", "--silent", "--show-error", "--output", "/dev/null"];
    let wanted = ["--write-out", "%{http_code}"];
    let output = run(&[&options[..], &wanted, words].concat(), &[]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
