//! `cargo xtask package`: what is released.
//!
//! * `pilot3.tar.gz`, as wrappers fetch and unpack it, with one static binary an architecture,
//!   and the same under the name of its version;
//! * Debian packages of the four programs, with units for server and Harvester;
//! * `SHA256SUMS` of all of them.
//!
//! The same sources give the same bytes. `--check` proves that the pilot runs on an old and a new
//! glibc and without any ([`check`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ailurus_testkit::place;
use anyhow::{Context as _, bail};

use crate::shell;

mod archive;
mod check;
mod debian;
mod elf;

/// The version of everything that is released.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The program that the tarball is for; it has a profile of its own in `Cargo.toml`.
const PILOT: &str = "ailurus-pilot";

/// What the tarball is called in every wrapper.
const TARBALL: &str = "pilot3.tar.gz";

/// What was asked for.
#[derive(Debug)]
struct Options {
    folder: PathBuf,
    pilots: Vec<PathBuf>,
    content: Content,
    proof: Proof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    All,
    TarballOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Check,
    None,
}

impl Options {
    fn parse(options: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self {
            folder: place::target().join("package"),
            pilots: Vec::new(),
            content: Content::All,
            proof: Proof::None,
        };
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("`{word}` needs a value"))
            };
            match word.as_str() {
                "--out" => parsed.folder = value()?.into(),
                "--pilot" => parsed.pilots.push(value()?.into()),
                "--tarball-only" => parsed.content = Content::TarballOnly,
                "--check" => parsed.proof = Proof::Check,
                other => bail!(
                    "`{other}` is no option of `package`: it takes --out DIR, --pilot FILE, \
                     --tarball-only and --check"
                ),
            }
        }
        Ok(parsed)
    }
}

/// Builds and packs.
///
/// # Errors
///
/// A build fails, a binary is none, a file cannot be written, or a check fails.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    if let [word, rest @ ..] = options
        && word == check::INSIDE
    {
        return check::run_inside(rest);
    }
    let options = Options::parse(options)?;
    let pilots = if options.pilots.is_empty() {
        vec![build_static(PILOT)?]
    } else {
        options.pilots
    };
    fs::create_dir_all(&options.folder)
        .with_context(|| format!("`{}` cannot be made", options.folder.display()))?;
    let time = source_time();
    let mut files = pack_tarball(&options.folder, &pilots, time)?;
    if options.content == Content::All {
        files.extend(debian::build_packages(&options.folder, time, |program| {
            if program == PILOT {
                Ok(pilots[0].clone())
            } else {
                build_static(program)
            }
        })?);
    }
    write_checksums(&options.folder, &files)?;
    for file in &files {
        println!("{}", file.display());
    }
    if options.proof == Proof::Check {
        check::run(&pilots[0], &options.folder.join(TARBALL))?;
    }
    Ok(())
}

/// Builds a program that needs nothing of the machine it runs on, and returns its path.
fn build_static(program: &str) -> anyhow::Result<PathBuf> {
    let profile = if program == PILOT { "pilot" } else { "release" };
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--profile", profile]);
    cargo.args(["--package", program, "--target", &target()]);
    cargo.env("RUSTFLAGS", rust_flags());
    eprintln!(
        "   building {program} for {} (some minutes when new)",
        target()
    );
    shell::run(&mut cargo)?;
    Ok(place::target().join(target()).join(profile).join(program))
}

/// The compiler's flags: static, without this machine's paths, and with relocations packed, which
/// makes the pilot 5 % smaller.
fn rust_flags() -> String {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned(),
        format!(
            "--remap-path-prefix={}=ailurus",
            place::workspace().display()
        ),
    ];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    flags.join(" ")
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// Writes the tarball under both of its names.
fn pack_tarball(folder: &Path, pilots: &[PathBuf], time: u64) -> anyhow::Result<Vec<PathBuf>> {
    let mut entries = vec![
        archive::Entry::program("pilot3/pilot.py", packaging().join("pilot3/pilot.py"))?,
        archive::Entry::text("pilot3/PILOTVERSION", format!("ailurus-{VERSION}\n")),
        archive::Entry::file("pilot3/LICENSE", place::workspace().join("LICENSE"))?,
    ];
    for pilot in pilots {
        let machine = elf::machine_of(pilot)?;
        let name = format!("pilot3/bin/ailurus-pilot-{machine}");
        entries.push(archive::Entry::program(&name, pilot)?);
    }
    let bytes = archive::pack(entries, time)?;
    let files = [TARBALL.to_owned(), format!("pilot3-{VERSION}.tar.gz")].map(|it| folder.join(it));
    for file in &files {
        fs::write(file, &bytes)
            .with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    Ok(files.to_vec())
}

/// Writes `SHA256SUMS` as `sha256sum --check` reads it.
fn write_checksums(folder: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    names.sort();
    let output = Command::new("sha256sum")
        .args(names)
        .current_dir(folder)
        .output()
        .context("`sha256sum` cannot be started")?;
    if !output.status.success() {
        bail!("`sha256sum` ended with {}", output.status);
    }
    fs::write(folder.join("SHA256SUMS"), output.stdout).context("`SHA256SUMS` cannot be written")
}

/// The time that all packed files bear, in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the
/// last commit, so that the same sources give the same bytes.
fn source_time() -> u64 {
    let asked = std::env::var("SOURCE_DATE_EPOCH").ok();
    let of_commit = || {
        let output = shell::command("git")
            .args(["log", "-1", "--format=%ct"])
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()
    };
    asked
        .or_else(of_commit)
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// The only target whose standard library is everywhere; with `crt-static` it needs no library of
/// the machine it runs on.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The folder of everything that is packed beside binaries.
fn packaging() -> PathBuf {
    place::workspace().join("packaging")
}

#[cfg(test)]
mod tests;
