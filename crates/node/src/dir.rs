//! Sizes of directories and disks, and the newest change below a directory.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ailurus_model::{ByteCount, Timestamp};

/// How far a look at a directory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirBounds {
    /// Most files and directories that are looked at.
    pub entries_max: usize,
    /// Longest time that it may take.
    pub time_limit: Duration,
}

impl Default for DirBounds {
    fn default() -> Self {
        Self {
            entries_max: 200_000,
            time_limit: Duration::from_secs(10),
        }
    }
}

/// What a look at a directory gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirLook {
    /// Sum of the sizes of all regular files; links are not followed.
    pub size: ByteCount,
    /// Newest modification of a file or directory below it, ignored names left out. None if there
    /// is nothing.
    pub newest_change: Option<Timestamp>,
    /// Files and directories that were looked at.
    pub n_entries: usize,
    /// Whether a bound ended the look early: size and newest change may be larger then.
    pub coverage: Coverage,
}

/// Whether all of a directory was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All of it.
    Whole,
    /// A bound was reached first.
    Part,
}

/// Space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// What this account may still write.
    pub available: ByteCount,
    /// The whole size.
    pub total: ByteCount,
}

/// Walks over a directory once, without leaving its file system.
///
/// A path below `dir` that contains one of the texts in `ignore` does not count for the newest
/// change, for example `pilotlog`. Files that vanish meanwhile are left out.
///
/// # Errors
///
/// The operating system's, if `dir` itself cannot be read.
pub fn look_at_dir(dir: &Path, ignore: &[String], bounds: DirBounds) -> io::Result<DirLook> {
    let begin = Instant::now();
    let device = fs::metadata(dir)?.dev();
    let mut look = DirLook {
        size: ByteCount::ZERO,
        newest_change: None,
        n_entries: 0,
        coverage: Coverage::Whole,
    };
    let mut backlog = vec![(PathBuf::new(), fs::read_dir(dir)?)];
    while let Some((relative, entries)) = backlog.pop() {
        for entry in entries.flatten() {
            if look.n_entries >= bounds.entries_max || begin.elapsed() > bounds.time_limit {
                look.coverage = Coverage::Part;
                return Ok(look);
            }
            let Ok(meta) = entry.metadata() else { continue };
            let relative = relative.join(entry.file_name());
            look.n_entries += 1;
            if meta.is_file() {
                look.size = look.size.plus(ByteCount::from_bytes(meta.len()));
            }
            if !is_ignored(&relative, ignore) {
                look.newest_change = look.newest_change.max(Some(modified(&meta)));
            }
            if meta.is_dir() && meta.dev() == device {
                // A directory that cannot be read counts with its own change only.
                if let Ok(inner) = fs::read_dir(entry.path()) {
                    backlog.push((relative, inner));
                }
            }
        }
    }
    Ok(look)
}

/// Asks the file system that holds `path` for its space.
///
/// # Errors
///
/// The operating system's, if the path is not there.
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| ByteCount::from_bytes(blocks.saturating_mul(stat.f_frsize));
    Ok(FreeSpace {
        available: bytes(stat.f_bavail),
        total: bytes(stat.f_blocks),
    })
}

fn is_ignored(relative: &Path, ignore: &[String]) -> bool {
    let path = relative.as_os_str().as_bytes();
    ignore
        .iter()
        .map(String::as_bytes)
        .filter(|text| !text.is_empty())
        .any(|text| path.windows(text.len()).any(|part| part == text))
}

/// When a file was modified. Programs can set that time, also to one that lies ahead; the time of
/// the last change, which only the kernel sets, is then the better one.
fn modified(meta: &fs::Metadata) -> Timestamp {
    let stamp = |secs: i64, nanos: i64| {
        Timestamp::from_millis(secs.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    };
    let modified = stamp(meta.mtime(), meta.mtime_nsec());
    modified.min(stamp(meta.ctime(), meta.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, FileTimes},
        os::unix::fs::symlink,
        time::SystemTime,
    };

    use tempfile::TempDir;

    use super::*;

    fn touch(dir: &TempDir, name: &str, size: usize, secs: u64) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("space");
        fs::write(&path, vec![b'x'; size]).expect("space");
        set_time(&path, secs);
    }

    fn set_time(path: &Path, secs: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let file = File::open(path).expect("there");
        file.set_times(FileTimes::new().set_modified(time))
            .expect("own");
    }

    fn look(dir: &TempDir, ignore: &[&str]) -> DirLook {
        let ignore: Vec<String> = ignore.iter().map(|it| (*it).to_owned()).collect();
        look_at_dir(dir.path(), &ignore, DirBounds::default()).expect("reads")
    }

    #[test]
    fn sizes_are_summed_and_the_newest_change_is_found() {
        let dir = tempfile::tempdir().expect("space");
        touch(&dir, "sub/a", 100, 1000);
        touch(&dir, "b", 20, 3000);
        set_time(&dir.path().join("sub"), 2000);
        let seen = look(&dir, &[]);
        assert_eq!(seen.size, ByteCount::from_bytes(120));
        assert_eq!(seen.newest_change, Some(Timestamp::from_millis(3_000_000)));
        assert_eq!((seen.n_entries, seen.coverage), (3, Coverage::Whole));
    }

    #[test]
    fn a_file_from_the_future_is_as_new_as_its_last_change() {
        let dir = tempfile::tempdir().expect("space");
        touch(&dir, "unpacked", 1, 32_503_680_000);
        let newest = look(&dir, &[]).newest_change.expect("a file");
        assert!(newest < Timestamp::from_millis(32_503_680_000_000));
    }

    #[test]
    fn ignored_names_do_not_count_as_progress() {
        let dir = tempfile::tempdir().expect("space");
        touch(&dir, "pilotlog.txt", 1, 9000);
        touch(&dir, "out.root", 1, 1000);
        let seen = look(&dir, &["pilotlog", ""]);
        assert_eq!(seen.newest_change, Some(Timestamp::from_millis(1_000_000)));
        assert_eq!(look(&dir, &["pilotlog", ".root"]).newest_change, None);
    }

    #[test]
    fn a_new_file_in_a_directory_is_progress_even_when_it_is_gone_again() {
        let dir = tempfile::tempdir().expect("space");
        touch(&dir, "sub/a", 1, 1000);
        set_time(&dir.path().join("sub"), 5000);
        assert_eq!(
            look(&dir, &[]).newest_change,
            Some(Timestamp::from_millis(5_000_000))
        );
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().expect("space");
        touch(&outside, "large", 5000, 1000);
        let dir = tempfile::tempdir().expect("space");
        symlink(outside.path(), dir.path().join("out")).expect("space");
        symlink(dir.path(), dir.path().join("ring")).expect("space");
        let seen = look(&dir, &[]);
        assert_eq!((seen.size, seen.n_entries), (ByteCount::ZERO, 2));
    }

    #[test]
    fn a_look_ends_at_its_bound_and_says_so() {
        let dir = tempfile::tempdir().expect("space");
        for nr in 0..20 {
            touch(&dir, &format!("f{nr}"), 1, 1000);
        }
        let bounds = DirBounds {
            entries_max: 5,
            ..DirBounds::default()
        };
        let seen = look_at_dir(dir.path(), &[], bounds).expect("reads");
        assert_eq!((seen.n_entries, seen.coverage), (5, Coverage::Part));
    }

    #[test]
    fn an_empty_directory_has_no_change_and_a_missing_one_is_an_error() {
        let dir = tempfile::tempdir().expect("space");
        assert_eq!(look(&dir, &[]).newest_change, None);
        assert!(look_at_dir(&dir.path().join("gone"), &[], DirBounds::default()).is_err());
    }

    #[test]
    fn a_disk_has_space() {
        let space = free_space(Path::new("/")).expect("there");
        assert!(space.total > ByteCount::ZERO && space.available <= space.total);
        assert!(free_space(Path::new("/no/such/place")).is_err());
    }
}
