//! Where the checkout, its built programs and its scratch folders are.

use std::path::{Path, PathBuf};

/// How our own programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; good enough wherever speed is not measured.
    Dev,
    /// As shipped.
    Release,
}

impl Profile {
    /// Returns cargo's name of the folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The programs that a deployment consists of; they are packages of the same name.
pub const PROGRAMS: [&str; 4] = [
    "ailurus-server",
    "ailurus-harvester",
    "ailurus-pilot",
    "ailurus",
];

/// Returns the top folder of the checkout.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Returns the folder in which cargo puts what it builds.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns the path of one of our programs.
#[must_use]
pub fn program(name: &str, profile: Profile) -> PathBuf {
    target().join(profile.folder()).join(name)
}

/// Returns the folder of the example production.
#[must_use]
pub fn production() -> PathBuf {
    workspace().join("examples/spd-production")
}
