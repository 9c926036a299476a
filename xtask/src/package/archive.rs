//! A tar archive whose bytes depend on its content only.

use std::{fs, path::Path};

use anyhow::Context as _;
use flate2::{Compression, GzBuilder};

/// A file of the archive.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    mode: u32,
    data: Vec<u8>,
}

impl Entry {
    /// A file with this text.
    pub(super) fn text(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            mode: 0o644,
            data: text.into_bytes(),
        }
    }

    /// A copy of a file.
    pub(super) fn file(name: &str, path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let path = path.as_ref();
        Ok(Self {
            name: name.to_owned(),
            mode: 0o644,
            data: fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?,
        })
    }

    /// A copy of a file that can be executed.
    pub(super) fn program(name: &str, path: impl AsRef<Path>) -> anyhow::Result<Self> {
        Ok(Self {
            mode: 0o755,
            ..Self::file(name, path)?
        })
    }
}

/// Packs files and the folders that they are in; all belong to root and bear this time, in
/// seconds since 1970.
pub(super) fn pack(mut entries: Vec<Entry>, time: u64) -> anyhow::Result<Vec<u8>> {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    // The best compression: a tarball is packed once and fetched by every worker.
    let zipper = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(zipper);
    let mut folders: Vec<String> = Vec::new();
    for entry in &entries {
        for (end, _) in entry.name.match_indices('/') {
            let folder = &entry.name[..=end];
            if !folders.iter().any(|known| known == folder) {
                let mut header = header(0o755, 0, time);
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, folder, std::io::empty())?;
                folders.push(folder.to_owned());
            }
        }
        let size = u64::try_from(entry.data.len())?;
        let mut header = header(entry.mode, size, time);
        archive.append_data(&mut header, &entry.name, entry.data.as_slice())?;
    }
    Ok(archive.into_inner()?.finish()?)
}

fn header(mode: u32, size: u64, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(time);
    header.set_entry_type(tar::EntryType::Regular);
    header
}
