//! `ailurus-pilot data put`: stores files as a job's outputs are stored.

use std::{ffi::OsString, process::ExitCode};

use ailurus_transfer::Direction;

use super::moving;

/// The word that asks for it.
pub(super) const NAME: &str = "put";
/// What it is for.
pub(super) const ABOUT: &str = "store files, verified, whole or not at all";

/// Runs the command, and returns the process's exit code.
pub(super) fn run(words: Vec<OsString>) -> ExitCode {
    moving::run(words, Direction::StageOut)
}
