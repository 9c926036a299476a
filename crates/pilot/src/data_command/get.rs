//! `ailurus-pilot data get`: fetches files as a job's inputs are fetched.

use std::{ffi::OsString, process::ExitCode};

use ailurus_transfer::Direction;

use super::moving;

/// The word that asks for it.
pub(super) const NAME: &str = "get";
/// What it is for.
pub(super) const ABOUT: &str = "fetch files from storage, verified";

/// Runs the command, and returns the process's exit code.
pub(super) fn run(words: Vec<OsString>) -> ExitCode {
    moving::run(words, Direction::StageIn)
}
