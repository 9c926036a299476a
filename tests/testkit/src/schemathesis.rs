//! The fuzzer of APIs `schemathesis`, in a virtual environment of its own.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::{place, python};

/// The fuzzer, its version fixed.
const REQUIREMENTS: &str = "schemathesis==4.32.5\n";

/// Makes the environment if it is not there yet, and returns the program.
///
/// # Errors
///
/// Python 3 or its `venv` module is missing, or the packages cannot be installed.
pub fn prepare() -> anyhow::Result<PathBuf> {
    let folder = place::target().join("schemathesis");
    python::prepare_in(&folder, REQUIREMENTS, REQUIREMENTS, |_| Ok(()))?;
    Ok(folder.join("bin/schemathesis"))
}

/// Has it ask an API, whose description is at `url`, `examples` times an operation, always the
/// same. It fails where a server error was found, and says where.
///
/// # Errors
///
/// It could not be started.
pub fn fuzz(url: &str, examples: u32) -> anyhow::Result<Output> {
    let output = Command::new(prepare()?)
        .args(["run", url, "--checks", "not_a_server_error"])
        .args(["--phases", "fuzzing", "--mode", "all", "--no-color"])
        .args([
            "--generation-deterministic",
            "--suppress-health-check",
            "all",
        ])
        .args(["--max-examples", &examples.to_string()])
        .stdin(Stdio::null())
        .current_dir(std::env::temp_dir())
        .output()?;
    Ok(output)
}
