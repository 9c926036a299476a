//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! * imports between crates point down only (the table [`LAYERS`]);
//! * pure crates carry the strict lint file and no crate that does I/O;
//! * source files stay readable: a head comment over 50 lines, 600 lines at most;
//! * no module is called after nothing in particular.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ailurus_testkit::place;
use anyhow::{Context as _, bail};

/// The layers from the lowest to the highest. A crate imports from lower layers only; what is
/// allowed besides stands in [`ALLOWED_ASIDE`].
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &["ailurus-model"]),
    ("wire", &["ailurus-wire"]),
    (
        "know-how",
        &[
            "ailurus-experiment",
            "ailurus-diagnosis",
            "ailurus-brokerage",
            "ailurus-format",
            "ailurus-jedi",
        ],
    ),
    (
        "cores",
        &[
            "ailurus-pilot-core",
            "ailurus-server-core",
            "ailurus-harvester-core",
        ],
    ),
    (
        "adapters",
        &[
            "ailurus-process",
            "ailurus-http",
            "ailurus-node",
            "ailurus-transfer",
            "ailurus-rucio",
            "ailurus-batch",
            "ailurus-identity",
            "ailurus-stomp",
            "ailurus-store",
        ],
    ),
    (
        "binaries",
        &[
            "ailurus-pilot",
            "ailurus-server",
            "ailurus-harvester",
            "ailurus",
        ],
    ),
    (
        "tests",
        &[
            "ailurus-testkit",
            "ailurus-sim",
            "ailurus-e2e",
            "ailurus-bench",
        ],
    ),
    ("chores", &["xtask"]),
];

/// The two mechanisms below the adapters may be used by any of them.
const ALLOWED_ASIDE: &[&str] = &["ailurus-process", "ailurus-http", "ailurus-testkit"];

/// What cores must not see although it lies below them: messages are translated by binaries.
const FORBIDDEN: &[(&str, &str)] = &[("cores", "ailurus-wire"), ("know-how", "ailurus-wire")];

/// Crates that would bring I/O or an async runtime into a pure one.
const IMPURE: &[&str] = &[
    "tokio", "axum", "ureq", "rusqlite", "rustix", "tempfile", "tracing",
];

const PURE_LAYERS: &[&str] = &["model", "wire", "know-how", "cores"];
const LINES_MAX: usize = 600;
const LINES_WITHOUT_HEAD_MAX: usize = 50;
const EMPTY_NAMES: &[&str] = &["common", "util", "utils", "misc", "helpers", "helper"];

/// Checks the workspace.
///
/// # Errors
///
/// Says every finding, one line each.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    if let Some(option) = options.first() {
        bail!("`{option}` is no option of `tidy`: it takes none");
    }
    let root = place::workspace();
    let mut findings = Vec::new();
    for manifest in manifests(&root)? {
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("`{}` cannot be read", manifest.display()))?;
        let folder = manifest.parent().expect("a manifest lies in a folder");
        findings.extend(check_manifest(&text)?);
        findings.extend(check_lint_file(folder, &text)?);
        findings.extend(check_sources(&root, folder)?);
    }
    if findings.is_empty() {
        eprintln!("   tidy: nothing to mend");
        return Ok(());
    }
    bail!("the house is not tidy:\n  {}", findings.join("\n  "))
}

fn manifests(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![root.join("xtask/Cargo.toml")];
    for folder in ["crates", "tests"] {
        let entries = fs::read_dir(root.join(folder))
            .with_context(|| format!("folder `{folder}` cannot be read"))?;
        for entry in entries {
            let manifest = entry?.path().join("Cargo.toml");
            if manifest.is_file() {
                found.push(manifest);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads one manifest and says which of its imports point up or aside.
fn check_manifest(text: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = text.parse().context("a manifest is no TOML")?;
    let name = package_name(&manifest)?;
    let Some(level) = level_of(name) else {
        return Ok(vec![format!(
            "crate `{name}` is in no layer: add it to the table in tidy.rs"
        )]);
    };
    let layer = LAYERS[level].0;
    let mut findings = Vec::new();
    for import in keys_of(&manifest, "dependencies") {
        if let Some(other) = level_of(import) {
            let aside = other == level && !ALLOWED_ASIDE.contains(&import);
            if other > level || aside {
                let way = if aside { "aside" } else { "up" };
                findings.push(format!(
                    "`{name}` ({layer}) imports {way}: `{import}` ({})",
                    LAYERS[other].0
                ));
            }
            if FORBIDDEN.contains(&(layer, import)) {
                findings.push(format!("`{name}` ({layer}) must not know `{import}`"));
            }
        } else if PURE_LAYERS.contains(&layer) && IMPURE.contains(&import) {
            findings.push(format!(
                "`{name}` ({layer}) decides, so it must not import `{import}`"
            ));
        }
    }
    Ok(findings)
}

fn package_name(manifest: &toml::Table) -> anyhow::Result<&str> {
    manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .context("a manifest has no package name")
}

fn keys_of<'a>(manifest: &'a toml::Table, table: &str) -> Vec<&'a str> {
    manifest
        .get(table)
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn level_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, crates)| crates.contains(&name))
}

fn check_lint_file(folder: &Path, manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("a manifest is no TOML")?;
    let name = package_name(&manifest)?;
    let is_pure = level_of(name).is_some_and(|level| PURE_LAYERS.contains(&LAYERS[level].0));
    let has_strict_file = fs::read_to_string(folder.join("clippy.toml"))
        .is_ok_and(|text| text.contains("disallowed-methods"));
    Ok(if is_pure && !has_strict_file {
        vec![format!(
            "`{name}` is pure, so its folder must link to lints/pure/clippy.toml"
        )]
    } else {
        Vec::new()
    })
}

fn check_sources(root: &Path, folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let shown = path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                findings.extend(check_source(&shown, &text));
            }
        }
    }
    findings.sort();
    Ok(findings)
}

fn check_source(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    let lines = text.lines().count();
    if lines > LINES_WITHOUT_HEAD_MAX && !text.trim_start().starts_with("//!") {
        findings.push(format!(
            "{path}: {lines} lines without a head comment (`//!`)"
        ));
    }
    let code = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
        .lines()
        .count();
    if code > LINES_MAX && !is_test {
        findings.push(format!(
            "{path}: {code} lines without tests, {LINES_MAX} at most"
        ));
    }
    let stem = path
        .rsplit('/')
        .next()
        .and_then(|file| file.strip_suffix(".rs"))
        .unwrap_or(path);
    if EMPTY_NAMES.contains(&stem) {
        findings.push(format!(
            "{path}: `{stem}` says nothing about what is inside"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, import: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[dependencies]\n{import} = {{}}\n")
    }

    #[test]
    fn an_import_that_points_up_is_found() {
        let findings = check_manifest(&manifest("ailurus-model", "ailurus-wire")).unwrap();
        assert_eq!(
            findings,
            ["`ailurus-model` (model) imports up: `ailurus-wire` (wire)"]
        );
    }

    #[test]
    fn an_import_aside_is_found_unless_it_is_a_mechanism() {
        let aside = check_manifest(&manifest("ailurus-transfer", "ailurus-store")).unwrap();
        assert_eq!(aside.len(), 1, "{aside:?}");
        let mechanism = check_manifest(&manifest("ailurus-batch", "ailurus-process")).unwrap();
        assert!(mechanism.is_empty(), "{mechanism:?}");
    }

    #[test]
    fn a_core_must_not_know_the_wire_or_do_io() {
        assert_eq!(
            check_manifest(&manifest("ailurus-pilot-core", "ailurus-wire"))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            check_manifest(&manifest("ailurus-server-core", "tokio"))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(
            check_manifest(&manifest("ailurus-new", "serde"))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn long_files_and_empty_names_are_found() {
        let long = "//! Head.\n".to_owned() + &"fn f() {}\n".repeat(LINES_MAX);
        assert_eq!(check_source("crates/x/src/y.rs", &long).len(), 1);
        assert_eq!(check_source("crates/x/src/util.rs", "//! Head.\n").len(), 1);
        assert_eq!(
            check_source("crates/x/src/y.rs", &"fn f() {}\n".repeat(51)).len(),
            1
        );
    }

    #[test]
    fn the_architecture_page_names_every_crate() {
        let page = fs::read_to_string(place::workspace().join("ARCHITECTURE.md")).unwrap();
        for (layer, crates) in LAYERS {
            for name in *crates {
                assert!(
                    page.contains(&format!("`{name}`")),
                    "{name} of {layer} is missing"
                );
            }
        }
    }
}
