//! `cargo xtask bench`: builds everything as shipped, then runs `ailurus-bench`.

use ailurus_testkit::place::{self, Profile};

use crate::shell;

/// Builds the programs and passes the options on.
///
/// # Errors
///
/// A build or a measurement fails; a missed goal is no failure.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    // These measure no other program, and the others take long to build.
    let is_small = matches!(
        options.first().map(String::as_str),
        Some("brokerage" | "transfer" | "root-check")
    );
    let programs: &[&str] = if is_small {
        &["ailurus-pilot"]
    } else {
        &place::PROGRAMS
    };
    shell::build(programs, Profile::Release)?;
    shell::cargo_run("ailurus-bench", Profile::Release, options)
}
