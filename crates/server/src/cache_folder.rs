//! The folder of files that users send and jobs fetch.
//!
//! Names are checked by the core before they come here, and a name is one file directly in the
//! folder or in that of logs; links are never followed. A file appears whole or not at all. What is
//! known of the files is in the database; this is only where they lie. The main type is
//! [`CacheFolder`].

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{Mode, OFlags};

/// The folder of logs within the cache.
const LOGS: &str = "jedilog";
/// Length of what ends a gzip file: checksum and size, 4 bytes each.
const GZIP_TRAILER: u64 = 8;
/// How old the time of a file's last use may get before a reader sets it anew.
const TOUCH_AFTER: std::time::Duration = std::time::Duration::from_secs(3600);

/// Where in the cache a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Files that jobs fetch.
    Files,
    /// Logs of tasks.
    Logs,
}

/// What happens to a file of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SameName {
    /// It stays, and the new one is refused.
    Stays,
    /// It is replaced in one step.
    Goes,
}

/// The folder of files that users send and jobs fetch.
#[derive(Debug, Clone)]
pub(crate) struct CacheFolder {
    root: PathBuf,
}

impl CacheFolder {
    /// Uses this folder; it is made when the first file comes.
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, shelf: Shelf, name: &str) -> PathBuf {
        match shelf {
            Shelf::Files => self.root.join(name),
            Shelf::Logs => self.root.join(LOGS).join(name),
        }
    }

    /// Gives a file that has come its name. The old name may stay behind.
    ///
    /// A file that is there already and stays is an error of kind `AlreadyExists`.
    pub(crate) fn place(
        &self,
        come: &Path,
        shelf: Shelf,
        name: &str,
        same: SameName,
    ) -> io::Result<()> {
        let path = self.path(shelf, name);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        match same {
            SameName::Stays => fs::hard_link(come, &path)?,
            SameName::Goes => fs::rename(come, &path)?,
        }
        // What is acknowledged is found after a crash of the machine, too.
        File::open(folder)?.sync_all()
    }

    /// Opens a file for reading, and tells its size.
    pub(crate) fn open(&self, shelf: Shelf, name: &str) -> io::Result<(File, u64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(
            self.path(shelf, name),
            flags,
            Mode::empty(),
        )?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, metadata.len()))
    }

    /// Notes that a file is of use, for whoever looks at its time. Now and then is enough.
    pub(crate) fn note_use(file: &File) -> io::Result<()> {
        let now = SystemTime::now();
        let modified = file.metadata()?.modified()?;
        if now
            .duration_since(modified)
            .is_ok_and(|age| age > TOUCH_AFTER)
        {
            file.set_modified(now)?;
        }
        Ok(())
    }

    /// Sets the time of a file's last use.
    pub(crate) fn touch(&self, shelf: Shelf, name: &str) -> io::Result<()> {
        let (file, _) = self.open(shelf, name)?;
        file.set_modified(SystemTime::now())
    }

    /// Adds to the end of a log, which is made if it is not there.
    pub(crate) fn append_to_log(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let path = self.path(Shelf::Logs, name);
        fs::create_dir_all(self.root.join(LOGS))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        File::from(rustix::fs::open(path, flags, mode)?).write_all(text)
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn remove(&self, shelf: Shelf, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(shelf, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Lists files that nobody has touched since a time, with that of their last use, at most
    /// `limit` of them.
    pub(crate) fn untouched_since(
        &self,
        shelf: Shelf,
        before: SystemTime,
        limit: usize,
    ) -> io::Result<Vec<(String, SystemTime)>> {
        let folder = match shelf {
            Shelf::Files => self.root.clone(),
            Shelf::Logs => self.root.join(LOGS),
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut old = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // A file that goes meanwhile is no trouble.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let modified = metadata.modified()?;
            if metadata.is_file() && modified < before && !name.starts_with('.') {
                old.push((name, modified));
                if old.len() == limit {
                    break;
                }
            }
        }
        Ok(old)
    }
}

/// Returns the checksum that ends a gzip file, as a decimal number; none for what is too short.
///
/// It is taken as the reference server takes it: from the last bytes, whatever the file is.
pub(crate) fn gzip_checksum(path: &Path) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < GZIP_TRAILER {
        return Ok(None);
    }
    let mut bytes = [0; 4];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(u32::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, CacheFolder) {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheFolder::new(dir.path().join("cache"));
        (dir, cache)
    }

    fn text(cache: &CacheFolder, name: &str) -> String {
        let (mut file, _) = cache.open(Shelf::Files, name).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_file_of_the_same_name_stays_unless_it_may_go() {
        let (dir, cache) = cache();
        let come = dir.path().join("come");
        for (content, same, left) in [
            ("one", SameName::Stays, "one"),
            ("two", SameName::Stays, "one"),
            ("three", SameName::Goes, "three"),
        ] {
            fs::write(&come, content).unwrap();
            let placed = cache.place(&come, Shelf::Files, "a", same);
            assert_eq!(placed.is_ok(), left == content);
            assert_eq!(text(&cache, "a"), left);
            drop(fs::remove_file(&come));
        }
    }

    #[test]
    fn links_and_folders_are_no_files() {
        let (dir, cache) = cache();
        fs::create_dir_all(dir.path().join("cache/folder")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("cache/link"))
            .unwrap();
        for name in ["link", "folder", "absent"] {
            assert!(cache.open(Shelf::Files, name).is_err(), "{name}");
        }
        assert!(cache.touch(Shelf::Files, "link").is_err());
    }

    #[test]
    fn old_files_are_listed_and_removed() {
        let (dir, cache) = cache();
        let come = dir.path().join("come");
        fs::write(&come, "x").unwrap();
        cache
            .place(&come, Shelf::Files, "a", SameName::Goes)
            .unwrap();
        let later = SystemTime::now() + TOUCH_AFTER;
        let old = cache.untouched_since(Shelf::Files, later, 10).unwrap();
        assert_eq!(old.len(), 1);
        cache.remove(Shelf::Files, "a").unwrap();
        cache.remove(Shelf::Files, "a").unwrap();
        assert!(
            cache
                .untouched_since(Shelf::Files, later, 10)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn the_checksum_is_the_first_word_of_the_last_eight_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        fs::write(&path, [9, 9, 1, 2, 0, 0, 7, 7, 7, 7]).unwrap();
        assert_eq!(gzip_checksum(&path).unwrap(), Some(0x0201));
        fs::write(&path, "short").unwrap();
        assert_eq!(gzip_checksum(&path).unwrap(), None);
    }
}
