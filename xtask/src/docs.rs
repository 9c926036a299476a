//! `cargo xtask docs`: the pages that are generated from the code.

use std::fs;

use ailurus_diagnosis::Catalogue;
use ailurus_testkit::place;
use anyhow::{Context as _, bail};

/// Has the server describe its API in a form.
fn described(form: &str) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--package",
            "ailurus-server",
            "--",
            "api",
            form,
        ])
        .current_dir(place::workspace())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("the server cannot be started")?;
    if !output.status.success() {
        bail!("the server could not describe its API as {form}");
    }
    String::from_utf8(output.stdout).context("the server's description is no text")
}

/// Writes the pages, or with `--check` only compares them.
///
/// # Errors
///
/// A page cannot be written, or differs from the code.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    let is_check = match options {
        [] => false,
        [option] if option == "--check" => true,
        [option, ..] => bail!("`{option}` is no option of `docs`: it takes `--check`"),
    };
    let pages = [
        (
            "docs/errors.md",
            ailurus_diagnosis::reference::render_reference(&Catalogue::built_in()),
        ),
        ("docs/openapi.json", described("openapi")?),
        ("docs/api.md", described("page")?),
    ];
    for (name, wanted) in pages {
        let path = place::workspace().join(name);
        let is_same = fs::read_to_string(&path).is_ok_and(|text| text == wanted);
        if is_check && !is_same {
            bail!("`{name}` differs from the code: run `cargo xtask docs`");
        }
        if !is_same {
            fs::write(&path, wanted).with_context(|| format!("`{name}` cannot be written"))?;
            eprintln!("   {name} written");
        }
    }
    Ok(())
}
