//! Collects what goes into a log archive, in a fixed order.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{NOTES_MAX, PackRequest};

/// Directories within directories that are followed.
const DEPTH_MAX: usize = 64;

/// What goes into the archive.
pub(super) struct Walk {
    /// Sorted by path, each directory before its content.
    pub(super) entries: Vec<Entry>,
    pub(super) notes: Vec<String>,
}

/// One thing to pack.
pub(super) struct Entry {
    /// The path below the packed directory.
    pub(super) relative: PathBuf,
    /// The file to read: for a followed link its target.
    pub(super) source: PathBuf,
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u32,
    /// Seconds since 1970, zero for earlier ones.
    pub(super) mtime: u64,
}

pub(super) enum Kind {
    Directory,
    File,
    Link { target: PathBuf },
}

struct Walker<'a> {
    request: &'a PackRequest,
    /// The directory without links in its path, to tell what lies within.
    real_dir: PathBuf,
    linked_files: Vec<PathBuf>,
    /// The archive, and the file in which it is made.
    own_files: [PathBuf; 2],
    walk: Walk,
}

/// Walks the directory of a request. `partial` is the file in which the archive is made.
pub(super) fn walk(request: &PackRequest, partial: &Path) -> io::Result<Walk> {
    let mut walker = Walker {
        request,
        real_dir: request.dir.canonicalize()?,
        linked_files: request
            .linked_files
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect(),
        own_files: [request.archive.clone(), partial.to_owned()],
        walk: Walk {
            entries: Vec::new(),
            notes: Vec::new(),
        },
    };
    let mut backlog = vec![PathBuf::new()];
    while let Some(relative) = backlog.pop() {
        let mut names = match names_in(&request.dir.join(&relative)) {
            Ok(names) => names,
            Err(error) if relative.as_os_str().is_empty() => return Err(error),
            Err(error) => {
                note(
                    &mut walker.walk.notes,
                    &relative,
                    &format!("left out: {error}"),
                );
                continue;
            }
        };
        names.sort();
        for name in names {
            let relative = relative.join(name);
            if walker.walk.entries.len() >= request.limits.entries_max {
                note(
                    &mut walker.walk.notes,
                    &relative,
                    "left out, and all after it: too many files",
                );
                return Ok(walker.finish());
            }
            if walker.visit(&relative) == Visited::Directory {
                backlog.push(relative);
            }
        }
    }
    Ok(walker.finish())
}

#[derive(PartialEq, Eq)]
enum Visited {
    /// Its content is to be walked.
    Directory,
    Done,
}

impl Walker<'_> {
    fn visit(&mut self, relative: &Path) -> Visited {
        let path = self.request.dir.join(relative);
        if self.own_files.contains(&path) || self.is_excluded(relative) {
            return Visited::Done;
        }
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) => {
                note(
                    &mut self.walk.notes,
                    relative,
                    &format!("left out: {error}"),
                );
                return Visited::Done;
            }
        };
        let file_type = meta.file_type();
        if file_type.is_dir() {
            if relative.components().count() >= DEPTH_MAX {
                note(&mut self.walk.notes, relative, "left out: too deep");
                return Visited::Done;
            }
            self.push(relative, path, Kind::Directory, &meta);
            return Visited::Directory;
        }
        if file_type.is_symlink() {
            self.visit_link(relative, path, &meta);
        } else if file_type.is_file() {
            self.push(relative, path, Kind::File, &meta);
        } else {
            let what = if file_type.is_socket() {
                "a socket"
            } else if file_type.is_fifo() {
                "a pipe"
            } else {
                "a device"
            };
            note(&mut self.walk.notes, relative, &format!("left out: {what}"));
        }
        Visited::Done
    }

    fn visit_link(&mut self, relative: &Path, path: PathBuf, meta: &Metadata) {
        if let Some((source, target_meta)) = self.followed(&path) {
            self.push(relative, source, Kind::File, &target_meta);
        } else if let Ok(target) = fs::read_link(&path) {
            self.push(relative, path, Kind::Link { target }, meta);
        }
    }

    /// Returns the regular file that a link stands for, if its content may be packed.
    fn followed(&self, link: &Path) -> Option<(PathBuf, Metadata)> {
        let target = link.canonicalize().ok()?;
        let is_allowed = target.starts_with(&self.real_dir) || self.linked_files.contains(&target);
        let meta = fs::metadata(&target).ok()?;
        (is_allowed && meta.is_file()).then_some((target, meta))
    }

    fn push(&mut self, relative: &Path, source: PathBuf, kind: Kind, meta: &Metadata) {
        self.walk.entries.push(Entry {
            relative: relative.to_owned(),
            source,
            kind,
            mode: meta.mode() & 0o777,
            mtime: u64::try_from(meta.mtime()).unwrap_or(0),
        });
    }

    fn is_excluded(&self, relative: &Path) -> bool {
        let name = relative.file_name().unwrap_or_default();
        self.request.exclude.iter().any(|pattern| {
            let text = if pattern.contains('/') {
                relative.as_os_str()
            } else {
                name
            };
            matches(pattern.as_bytes(), text.as_bytes())
        })
    }

    fn finish(mut self) -> Walk {
        self.walk
            .entries
            .sort_by(|a, b| a.relative.cmp(&b.relative));
        self.walk
    }
}

/// Adds a note, as one line whatever the path holds.
pub(super) fn note(notes: &mut Vec<String>, path: &Path, what: &str) {
    if notes.len() < NOTES_MAX {
        notes.push(format!("{}: {what}", escaped(path.as_os_str())));
    }
}

fn escaped(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

fn names_in(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Matches a text with a pattern: `*` stands for any bytes, `?` for one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // Where to go on when a byte does not fit: behind the last `*`, one byte later in the text.
    let mut retry = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, in_text + 1));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, later)) => {
                    (at, in_text) = (after_star, later);
                    retry = Some((after_star, later + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*.root", "evt.root", true),
            ("*.root", "evt.root.1", false),
            ("core.*", "core.17", true),
            ("core.*", "score.17", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**", "", true),
            ("", "x", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "`{pattern}` and `{text}`"
            );
        }
    }
}
