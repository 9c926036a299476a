//! By what changed files are known, so that they are read again only then.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Entries of a folder that are looked at; the grid's authorities have a few hundred.
const ENTRIES_MAX: usize = 20_000;

/// What files and folders looked like. Two that are equal have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesVersion(Vec<(String, u64, u64, i64, i64)>);

impl FilesVersion {
    /// Looks at files, and at the entries of folders and of the folders in them.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut version = Self::default();
        for path in paths {
            version.look(path, 2);
        }
        version.0.sort();
        version
    }

    fn look(&mut self, path: &Path, depth: u8) {
        let Ok(metadata) = fs::metadata(path) else {
            return;
        };
        if metadata.is_dir() {
            if depth > 0
                && let Ok(entries) = fs::read_dir(path)
            {
                for entry in entries.flatten().take(ENTRIES_MAX) {
                    self.look(&entry.path(), depth - 1);
                }
            }
            return;
        }
        self.0.push((
            path.to_string_lossy().into_owned(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ));
    }
}
