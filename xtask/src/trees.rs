//! Root trees of other systems below `target/trees`, made once: an old and a new Debian, and one
//! without any C library.
//!
//! What a program does elsewhere is tried in them, in namespaces of its own. Where the machine has
//! no way to make them (no Debian, no root), a message says so, and the caller goes without.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use ailurus_testkit::{place, storage::is_there};
use anyhow::{Context as _, bail};

use crate::shell;

/// A system to try programs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A static busybox, and no C library at all.
    Bare,
    /// The oldest Debian that its mirrors carry, with Python 2.
    Old,
    /// Debian 13 with Python 3 and Apptainer.
    New,
}

/// Programs that must be there, and Debian's packages that have them.
const TOOLS: &[(&str, &str)] = &[
    ("bwrap", "bubblewrap"),
    ("busybox", "busybox-static"),
    ("mmdebstrap", "mmdebstrap"),
];

/// What the bare tree offers by busybox.
const APPLETS: &[&str] = &["sh", "cat", "echo", "ls", "mkdir", "sleep", "true"];

/// The file that says by which recipe a tree was made.
const RECIPE: &str = "etc/ailurus-recipe";

/// Files that every node has. A file system that stays read-only can only get others in their
/// places if they are there, and Apptainer takes each of them into its containers.
const PLACES: &[&str] = &[
    "etc/resolv.conf",
    "etc/nsswitch.conf",
    "etc/hosts",
    "etc/localtime",
];

/// Makes sure of the programs that trees need; says no if the machine cannot have them.
pub(crate) fn provide_tools() -> anyhow::Result<bool> {
    provide_packages(TOOLS)
}

/// Makes sure of programs, each with Debian's package that has it; says no if the machine cannot
/// have them.
pub(crate) fn provide_packages(tools: &[(&str, &'static str)]) -> anyhow::Result<bool> {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(true);
    }
    if !is_there("apt-get") || !rustix::process::geteuid().is_root() {
        eprintln!(
            "   not installed, and not to be installed here: {}",
            missing.join(" ")
        );
        return Ok(false);
    }
    eprintln!("   installing {}", missing.join(" "));
    let mut install = shell::command("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
    install
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    install.stdout(std::process::Stdio::null());
    if shell::run(&mut install).is_err() {
        // The lists of packages may be older than the packages.
        shell::run(shell::command("apt-get").args(["update", "--quiet"]))?;
        shell::run(&mut install)?;
    }
    Ok(true)
}

impl Tree {
    /// What a person calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "no C library",
            Self::Old => "Debian 11",
            Self::New => "Debian 13",
        }
    }

    /// Returns where the tree is, made or not.
    pub(crate) fn path(self) -> PathBuf {
        place::target().join("trees").join(match self {
            Self::Bare => "bare",
            Self::Old => "debian11",
            Self::New => "debian13",
        })
    }

    /// Makes the tree if it is not there; [`provide_tools`] must have said yes.
    ///
    /// # Errors
    ///
    /// A program that is needed fails; nothing half made is left in the tree's place.
    pub(crate) fn provide(self) -> anyhow::Result<PathBuf> {
        let path = self.path();
        let recipe = self.recipe();
        if fs::read_to_string(path.join(RECIPE)).is_ok_and(|text| text == recipe) {
            return Ok(path);
        }
        eprintln!("   making a tree: {}", self.name());
        let partial = path.with_extension("partial");
        for old in [&path, &partial] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir_all(path.parent().context("a tree lies in a folder")?)?;
        match self {
            Self::Bare => make_bare(&partial)?,
            Self::Old | Self::New => self.bootstrap(&partial)?,
        }
        fs::create_dir_all(partial.join("place"))?;
        for name in PLACES {
            let file = partial.join(name);
            // Debian's may be links to files that a running system makes.
            drop(fs::remove_file(&file));
            fs::write(&file, "")?;
        }
        fs::write(partial.join(RECIPE), recipe)?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }

    fn recipe(self) -> String {
        let own = match self {
            Self::Bare => APPLETS.to_vec(),
            Self::Old | Self::New => self.bootstrap_options(),
        };
        [own.as_slice(), PLACES].concat().join(" ")
    }

    fn bootstrap_options(self) -> Vec<&'static str> {
        match self {
            Self::Bare => Vec::new(),
            Self::Old => vec![
                "--variant=extract",
                "--include=libc6,libc-bin,bash,dash,coreutils,python2-minimal",
                "bullseye",
            ],
            Self::New => vec![
                "--variant=apt",
                "--include=python3-minimal,util-linux,mount,apptainer/sid",
                "--aptopt=APT::Default-Release \"trixie\"",
                // A mirror that stands still has lists past their date.
                "--aptopt=Acquire::Check-Valid-Until \"false\"",
                "trixie",
            ],
        }
    }

    fn bootstrap(self, path: &Path) -> anyhow::Result<()> {
        let mirror = mirror()?;
        let mut command = shell::command("mmdebstrap");
        command.arg("--quiet");
        let options = self.bootstrap_options();
        let (suite, options) = options.split_last().context("a Debian tree has a suite")?;
        command.args(options).arg(suite).arg(path);
        command.arg(format!("deb {mirror} {suite} main"));
        if self == Self::New {
            command.arg(format!("deb {mirror} sid main"));
        }
        shell::run(&mut command)
    }
}

fn make_bare(path: &Path) -> anyhow::Result<()> {
    for folder in ["bin", "etc", "tmp", "proc", "dev"] {
        fs::create_dir_all(path.join(folder))?;
    }
    fs::copy("/bin/busybox", path.join("bin/busybox"))
        .context("`/bin/busybox` cannot be copied")?;
    for applet in APPLETS {
        symlink("busybox", path.join("bin").join(applet))?;
    }
    Ok(())
}

/// Returns the mirror of Debian that this machine is set up with.
fn mirror() -> anyhow::Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .output()
        .context("`apt-get` cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text
        .lines()
        .find(|line| line.trim_end_matches('/').ends_with("/debian"));
    match found {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!("`apt-get indextargets` names no mirror of Debian"),
    }
}
