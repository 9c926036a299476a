//! Virtual environments of Python: that in which the payloads of the example run, and others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::place;

/// Makes the environment if it is not there yet, and returns its folder.
///
/// It is made anew when `requirements.txt` changed, and is complete or absent: a file with the
/// requirements' text is written last.
///
/// # Errors
///
/// Python 3 or its `venv` module is missing, or the packages cannot be installed; the message
/// says what to install.
pub fn prepare() -> anyhow::Result<PathBuf> {
    let requirements = place::production().join("payloads/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("`{}` cannot be read", requirements.display()))?;
    let folder = place::target().join("payload-python");
    prepare_in(&folder, &wanted, &wanted, warm_up)?;
    Ok(folder)
}

/// Makes a virtual environment of these requirements, unless one was made for the same `stamp`;
/// `complete` does the rest.
///
/// # Errors
///
/// As [`prepare`], and those of `complete`.
pub fn prepare_in(
    folder: &Path,
    requirements: &str,
    stamp: &str,
    complete: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stamp_file = folder.join("complete");
    if fs::read_to_string(&stamp_file).is_ok_and(|made| made == stamp) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("`{}` cannot be removed", folder.display()))?;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    if made.is_err() {
        // Debian's Python comes without `ensurepip`; the user may lack the package that has it.
        made.context(
            "a Python 3 with its `venv` module is needed: `apt-get install python3-venv`",
        )?;
    }
    let list = folder.join("requirements.txt");
    fs::write(&list, requirements)?;
    run(Command::new(folder.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&list))
    .with_context(|| format!("the packages of `{}` cannot be installed", list.display()))?;
    complete(folder)?;
    fs::write(&stamp_file, stamp)?;
    Ok(())
}

/// Returns where the packages of an environment are, whichever version its Python has.
///
/// # Errors
///
/// It has none.
pub fn packages(folder: &Path) -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(folder.join("lib"))?;
    let mut versions = versions.collect::<Result<Vec<_>, _>>()?.into_iter();
    let version = versions.find(|entry| entry.file_name().to_string_lossy().starts_with("python"));
    let version = version.context("the environment has no packages")?;
    Ok(version.path().join("site-packages"))
}

/// Imports everything once, so that compiled modules and the font cache exist before jobs run.
fn warm_up(folder: &Path) -> anyhow::Result<()> {
    run(Command::new(folder.join("bin/python"))
        .args([
            "-c",
            "import chromo, uproot, awkward, scipy.optimize, matplotlib.pyplot",
        ])
        .env("MPLCONFIGDIR", folder))
}

/// Runs a program to its end; what it says is told only if it fails.
///
/// # Errors
///
/// It cannot be started, or ends with another exit code than zero.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("`{program}` ended with {}: {}", output.status, text.trim());
    }
    Ok(())
}
