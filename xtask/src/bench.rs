//! `cargo xtask bench`: builds everything as shipped, then runs `ailurus-bench`.

use ailurus_testkit::place::{self, Profile};

use crate::shell;

/// Builds the programs and passes the options on.
///
/// # Errors
///
/// A build or a measurement fails; a missed goal is no failure.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    shell::build(&place::PROGRAMS, Profile::Release)?;
    shell::cargo_run("ailurus-bench", Profile::Release, options)
}
