//! The journals of jobs on disk: one file a job, beside its directory, locked while its pilot lives.
//!
//! A line is a checksum and a piece of JSON. The first says which version wrote it and where; the
//! second is the job's [`Opening`]; each further one a [`Snapshot`] or the job's directory. A line
//! that is torn or changed is passed over, so what counts is the last whole one. Lines are not forced
//! onto the medium: they survive the pilot, which is what dies; a node that loses its power loses the
//! slot too.
//!
//! The lock is `flock`: the kernel gives it back when the pilot dies, however it dies. A journal
//! appears under its name only once it is locked. [`find`] looks for those of dead pilots.

mod finding;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use ailurus_pilot_core::recovery::journal::{JOURNAL_VERSION, Opening, Snapshot};
use ailurus_transfer::checksum::adler32;
use serde::{Deserialize, Serialize};

pub(crate) use finding::{Found, FoundJournal, Whose, find, is_any_in};

/// How the name of a journal ends.
const SUFFIX: &str = ".journal";
/// Mode of a journal: it tells of a job what its owner may know.
const MODE: u32 = 0o600;

/// The machine that a journal was written on, and since which start of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// The kernel's name of the machine.
    name: String,
    /// The kernel's id of the time since the machine was started; empty if unknown.
    boot_id: String,
}

impl Host {
    /// This machine.
    fn here() -> &'static Self {
        static HERE: LazyLock<Host> = LazyLock::new(Host::read);
        &HERE
    }

    fn read() -> Self {
        let read = |path| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        Self {
            name: read("/proc/sys/kernel/hostname"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
        }
    }
}

impl Host {
    /// Says whether a lock that was taken there is seen here.
    fn shares_locks_with(&self, other: &Self) -> bool {
        self.name == other.name || (!self.boot_id.is_empty() && self.boot_id == other.boot_id)
    }
}

/// The first line of a journal.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The version of all that follows.
    ailurus_journal: u32,
    host: Host,
    /// The pilot's process, for people.
    pid: u32,
}

/// A further line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Opening(Box<Opening>),
    /// Its name, beside the journal.
    Directory(String),
    Snapshot(Box<Snapshot>),
}

/// The journal of one job of this pilot, open and locked.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: File,
    path: PathBuf,
    /// Whether the last line has no end, so that the next one must begin with one.
    is_torn: bool,
}

impl JournalFile {
    /// Begins a journal in the pilot's directory. `nr` tells apart those of one pilot.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn create(home: &Path, nr: &str, opening: Box<Opening>) -> io::Result<Self> {
        let pid = std::process::id();
        let name = format!("PanDA_Pilot-{}-{pid}-{nr}", opening.job.panda_id);
        let (path, hidden) = (
            home.join(format!("{name}{SUFFIX}")),
            home.join(format!(".{name}.new")),
        );
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&hidden)?;
        file.set_len(0)?;
        file.lock()?;
        let header = Header {
            ailurus_journal: JOURNAL_VERSION,
            host: Host::here().clone(),
            pid,
        };
        let mut text = line_of(&header)?;
        text.push_str(&line_of(&Line::Opening(opening))?);
        let mut journal = Self {
            file,
            path,
            is_torn: false,
        };
        let written = journal
            .file
            .write_all(text.as_bytes())
            .and_then(|()| fs::rename(&hidden, &journal.path));
        if let Err(error) = written {
            // It has no name by which it could be found.
            let _ = fs::remove_file(&hidden);
            return Err(error);
        }
        Ok(journal)
    }

    /// Returns where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes the job's directory.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn note_directory(&mut self, directory: &Path) -> io::Result<()> {
        let name = directory.file_name().unwrap_or_default();
        self.write(&Line::Directory(name.to_string_lossy().into_owned()))
    }

    /// Notes what has become of the job.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn append(&mut self, snapshot: Box<Snapshot>) -> io::Result<()> {
        self.write(&Line::Snapshot(snapshot))
    }

    /// Removes the journal: its job is over.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("`{}` cannot be removed: {error}", self.path.display());
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = line_of(line)?;
        if self.is_torn {
            text.insert(0, '\n');
        }
        // On a full disk a part of it may be written.
        self.is_torn = true;
        self.file.write_all(text.as_bytes())?;
        self.is_torn = false;
        Ok(())
    }
}

/// Returns a line as it is written.
fn line_of(content: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(content)?;
    Ok(format!("{} {json}\n", checksum_of(&json)))
}

/// Returns the content of a line, if it is whole.
fn content_of(line: &str) -> Option<&str> {
    let (checksum, json) = line.split_once(' ')?;
    (checksum == checksum_of(json)).then_some(json)
}

fn checksum_of(text: &str) -> String {
    format!("{:08x}", adler32(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_torn_or_changed_is_no_content() {
        let line = line_of(&Line::Directory("PanDA_Pilot-1".into())).expect("JSON");
        let line = line.trim_end();
        let content = content_of(line).expect("whole");
        assert_eq!(content, r#"{"directory":"PanDA_Pilot-1"}"#);
        assert_eq!(content_of(&line[..line.len() - 1]), None);
        assert_eq!(content_of(&line.replace("Pilot-1", "Pilot-2")), None);
        assert_eq!(content_of(""), None);
    }

    #[test]
    fn locks_are_shared_on_one_machine_also_after_it_was_started_anew() {
        let host = |name: &str, boot_id: &str| Host {
            name: name.into(),
            boot_id: boot_id.into(),
        };
        let here = host("node1", "a");
        assert!(here.shares_locks_with(&host("node1", "b")));
        assert!(here.shares_locks_with(&host("container7", "a")));
        assert!(!here.shares_locks_with(&host("node2", "c")));
        assert!(!host("node1", "").shares_locks_with(&host("node2", "")));
    }
}
