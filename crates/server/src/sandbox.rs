//! Reads small texts out of an archive that a user sent, without unpacking it to a disk.
//!
//! Archives are hostile until proven otherwise: names lead nowhere else, links are not followed,
//! and nothing is read beyond the bounds below.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Component, Path},
};

use flate2::read::GzDecoder;

/// Bytes of an archive that are unpacked at most: 256 MiB.
const UNPACKED_MAX: u64 = 256 << 20;
/// The longest text: 1 MiB, as `pchain` sends no larger files.
const TEXT_MAX: u64 = 1 << 20;
/// Entries that are looked at.
const ENTRIES_MAX: usize = 100_000;

/// A text cannot be read from an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// It is no archive, or a broken one.
    #[error("the sandbox is no whole `tar.gz` archive: {0}")]
    Broken(#[from] io::Error),
    /// The file is not there.
    #[error(
        "the sandbox has no file `{0}`: files of more than `--maxSizeInSandbox` MB are not sent"
    )]
    Missing(String),
    /// The name leads out of the archive.
    #[error("`{0}` cannot be a file of the sandbox: name one in the folder that was sent")]
    Outside(String),
    /// The file is too long.
    #[error("`{0}` of the sandbox is longer than 1 MiB")]
    TooLong(String),
    /// The file is something else.
    #[error("`{0}` of the sandbox is no file with a text in UTF-8")]
    NoText(String),
}

/// Reads some files of an archive, by the names under which they were asked for.
pub(crate) fn read_texts(
    archive: impl Read,
    names: &[&str],
) -> Result<BTreeMap<String, String>, SandboxError> {
    let mut wanted = BTreeMap::new();
    for name in names {
        let path = plain(Path::new(name));
        let path = path.ok_or_else(|| SandboxError::Outside((*name).to_owned()))?;
        wanted.insert(path, *name);
    }
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive).take(UNPACKED_MAX));
    for entry in archive.entries()?.take(ENTRIES_MAX) {
        let entry = entry?;
        let Some(name) = plain(&entry.path()?).and_then(|path| wanted.remove(&path)) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            return Err(SandboxError::NoText(name.to_owned()));
        }
        if entry.size() > TEXT_MAX {
            return Err(SandboxError::TooLong(name.to_owned()));
        }
        let mut bytes = Vec::new();
        entry.take(TEXT_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| SandboxError::NoText(name.to_owned()))?;
        found.insert(name.to_owned(), text);
        if wanted.is_empty() {
            break;
        }
    }
    match wanted.into_values().next() {
        Some(name) => Err(SandboxError::Missing(name.to_owned())),
        None => Ok(found),
    }
}

/// Takes dots out of a path; none if it leads out of the archive or nowhere.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).expect("small"));
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content)
                .expect("a good entry");
        }
        tar.into_inner()
            .and_then(GzEncoder::finish)
            .expect("memory")
    }

    #[test]
    fn texts_are_found_however_their_folder_is_written() {
        let bytes = archive(&[("./a/wf.cwl", b"class: Workflow"), ("in.yaml", b"x: 1")]);
        let found = read_texts(&bytes[..], &["a/./wf.cwl", "in.yaml"]).expect("both");
        assert_eq!(found["a/./wf.cwl"], "class: Workflow");
        assert_eq!(found["in.yaml"], "x: 1");
    }

    #[test]
    fn what_is_no_text_of_the_archive_is_refused() {
        let long = vec![b'x'; (1 << 20) + 1];
        let bytes = archive(&[("long", &long), ("binary", b"\xff\xfe")]);
        for (name, told) in [
            ("none", "has no file `none`"),
            ("../none", "cannot be a file of the sandbox"),
            ("/etc/passwd", "cannot be a file of the sandbox"),
            ("long", "longer than 1 MiB"),
            ("binary", "no file with a text"),
        ] {
            let error = read_texts(&bytes[..], &[name]).expect_err(name).to_string();
            assert!(error.contains(told), "{error}");
        }
        let mut link = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        link.append_link(&mut header, "wf", "/etc/passwd")
            .expect("a link");
        let link = link
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("memory");
        assert!(matches!(
            read_texts(&link[..], &["wf"]),
            Err(SandboxError::NoText(_))
        ));
        for broken in [&b"no archive"[..], &bytes[..40], b""] {
            assert!(read_texts(broken, &["x"]).is_err());
        }
    }
}
