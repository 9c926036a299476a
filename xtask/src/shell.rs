//! Starting programs: cargo, Python and our own binaries, with errors that name the command.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use ailurus_testkit::place::{self, Profile};
use anyhow::{Context as _, bail};

/// Makes a command that runs in the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(place::workspace());
    command
}

/// Makes a cargo command.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end with its output shown.
///
/// # Errors
///
/// The command cannot be started, or ends with another exit code than zero.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let text = describe(command);
    let status = command
        .status()
        .with_context(|| format!("`{text}` cannot be started"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    Ok(())
}

/// Builds programs of the workspace.
///
/// # Errors
///
/// The build fails.
pub(crate) fn build(packages: &[&str], profile: Profile) -> anyhow::Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(&mut cargo)
}

/// Builds and runs a program of the workspace with these options.
///
/// # Errors
///
/// The build or the program fails.
pub(crate) fn cargo_run(package: &str, profile: Profile, options: &[String]) -> anyhow::Result<()> {
    let mut cargo = cargo();
    cargo.args(["run", "--quiet", "--package", package]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(cargo.arg("--").args(options))
}

/// Installs a program of the registry below the target folder, where it stays, and returns its
/// path.
///
/// # Errors
///
/// The build fails.
pub(crate) fn install(package: &str, version: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let root = place::target().join("tools");
    let program = root.join("bin").join(package);
    if !program.exists() {
        eprintln!("   building {package} (once, some minutes)");
        let mut cargo = cargo();
        cargo.args(["install", package, "--locked", "--quiet"]);
        cargo.args(["--version", version]).args(options);
        run(cargo.arg("--root").arg(&root))?;
    }
    Ok(program)
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
