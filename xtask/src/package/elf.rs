//! For which machine a binary is.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, bail};

/// Bytes of the header up to and with the machine's number.
const HEADER_BYTES: usize = 20;

/// Machine numbers of ELF and the names that `uname -m` gives these machines.
const MACHINES: &[(u16, &str)] = &[
    (21, "ppc64le"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];

/// Returns the name by which `uname -m` calls the machine that a binary is made for.
///
/// # Errors
///
/// The file is no 64-bit program for Linux, or one for a machine that nobody asked for so far.
pub(super) fn machine_of(path: &Path) -> anyhow::Result<&'static str> {
    let mut header = [0; HEADER_BYTES];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("`{}` cannot be read", path.display()))?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        bail!("`{}` is no 64-bit little-endian program", path.display());
    }
    let number = u16::from_le_bytes([header[18], header[19]]);
    MACHINES
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, name)| *name)
        .with_context(|| format!("`{}` is for the unknown machine {number}", path.display()))
}
