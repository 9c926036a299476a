//! Looks for what dead pilots left: journals of jobs, and final updates that no server took.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use ailurus_model::{JobUpdate, PandaId};
use ailurus_pilot_core::recovery::journal::{JOURNAL_VERSION, JobDirectory, Journal};

use super::{Header, Host, JournalFile, Line, SUFFIX, content_of};
use crate::work_dir::{HOME_PREFIX, KEPT_UPDATE_PREFIX};

/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 10_000;
/// Jobs that one pilot takes over.
const FOUND_MAX: usize = 256;
/// Largest journal that is read, in bytes.
const JOURNAL_MAX: u64 = 64 << 20;

/// Something that a dead pilot left, open and locked.
#[derive(Debug)]
pub(crate) struct FoundJournal {
    pub(crate) file: JournalFile,
    pub(crate) panda_id: PandaId,
    /// The job's directory, if it was made.
    pub(crate) directory: Option<PathBuf>,
    /// The dead pilot's directory.
    pub(crate) home: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Jobs that can be continued.
    pub(crate) jobs: Vec<(Journal, FoundJournal)>,
    /// Final updates that are still to be sent.
    pub(crate) updates: Vec<(JobUpdate, FoundJournal)>,
    /// What was left where it is, with the reason.
    pub(crate) left: Vec<LeftJournal>,
}

/// A journal that is left where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeftJournal {
    /// The file system says no.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It could hold anything.
    #[error("`{}` belongs to user {uid}: only its owner may continue its job", path.display())]
    OtherUser { path: PathBuf, uid: u32 },
    /// A pipe, a device, a link.
    #[error("`{}` is not a plain file", path.display())]
    NoFile { path: PathBuf },
    /// It would fill the memory.
    #[error("`{}` has {size_bytes} bytes, more than the {JOURNAL_MAX} that a journal may have", path.display())]
    TooLarge { path: PathBuf, size_bytes: u64 },
    /// Its beginning is torn, changed, or something else.
    #[error("`{}` is no journal, or its beginning is broken: {reason}", path.display())]
    Broken { path: PathBuf, reason: String },
    /// A pilot of another version wrote it.
    #[error(
        "`{}` has version {version} of the journal's form, this pilot continues version \
        {JOURNAL_VERSION}: use the pilot that wrote it, with `--recover`", path.display()
    )]
    OtherVersion { path: PathBuf, version: u32 },
    /// Whether its pilot lives cannot be told from here.
    #[error(
        "`{}` was written on `{host}`: continue its job there, or use `--recover` if that pilot is \
        surely dead", path.display()
    )]
    OtherHost { path: PathBuf, host: String },
}

/// Whose journals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those written on this machine, whose locks are seen here for certain.
    ThisHost,
    /// Any that nobody locks: a person says that these pilots are dead.
    Anyones,
}

/// Looks in `root` and in the directories of pilots in it.
pub(crate) fn find(root: &Path, whose: Whose) -> Found {
    let mut found = Found::default();
    let here = Host::here();
    let homes = names_in(root).filter(|name| starts_with(name, HOME_PREFIX));
    let mut homes: Vec<PathBuf> = homes.map(|name| root.join(name)).collect();
    homes.sort();
    homes.insert(0, root.to_owned());
    for home in homes {
        let mut names: Vec<_> = names_in(&home).collect();
        names.sort();
        for name in names {
            if found.jobs.len() + found.updates.len() >= FOUND_MAX {
                return found;
            }
            let path = home.join(&name);
            let is_journal = name.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
            if is_journal && !starts_with(&name, ".") {
                take_journal(&path, &home, (here, whose), &mut found);
            } else if starts_with(&name, KEPT_UPDATE_PREFIX) {
                take_update(&path, &home, &mut found);
            }
        }
    }
    found
}

/// Says whether a directory holds a journal.
pub(crate) fn is_any_in(directory: &Path) -> bool {
    names_in(directory).any(|name| name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()))
}

fn names_in(directory: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(ENTRIES_MAX).map(|entry| entry.file_name())
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

fn take_journal(path: &Path, home: &Path, rule: (&Host, Whose), found: &mut Found) {
    match read_journal(path, home, rule) {
        Ok(Some(job)) => found.jobs.push(job),
        Ok(None) => {}
        Err(left) => found.left.push(left),
    }
}

/// Reads a journal; none if its pilot lives.
fn read_journal(
    path: &Path,
    home: &Path,
    (here, whose): (&Host, Whose),
) -> Result<Option<(Journal, FoundJournal)>, LeftJournal> {
    let Some((file, text)) = read_locked(path)? else {
        return Ok(None);
    };
    let broken = |reason: String| LeftJournal::Broken {
        path: path.to_owned(),
        reason,
    };
    let mut lines = text.lines();
    let header = lines.next().and_then(content_of);
    let header = header.ok_or_else(|| broken("no first line with the right checksum".into()))?;
    let header: Header = serde_json::from_str(header).map_err(|error| broken(error.to_string()))?;
    if header.ailurus_journal != JOURNAL_VERSION {
        return Err(LeftJournal::OtherVersion {
            path: path.to_owned(),
            version: header.ailurus_journal,
        });
    }
    if whose == Whose::ThisHost && !here.shares_locks_with(&header.host) {
        return Err(LeftJournal::OtherHost {
            path: path.to_owned(),
            host: header.host.name,
        });
    }
    let opening = lines.next().and_then(content_of);
    let opening = opening.map(serde_json::from_str);
    let Some(Ok(Line::Opening(opening))) = opening else {
        return Err(broken("its second line does not name a job".into()));
    };
    let (mut directory, mut last): (Option<String>, _) = (None, None);
    for line in lines.filter_map(content_of) {
        match serde_json::from_str(line) {
            Ok(Line::Snapshot(snapshot)) => last = Some(snapshot),
            Ok(Line::Directory(made)) => directory = Some(made),
            Ok(Line::Opening(_)) | Err(_) => {}
        }
    }
    // A name that leads elsewhere is none that a pilot wrote.
    let is_name = |name: &String| !matches!(name.as_str(), "" | "." | "..") && !name.contains('/');
    let directory = directory.filter(is_name).map(|name| home.join(name));
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let directory = directory.filter(is_there);
    let journal = Journal {
        opening,
        last,
        directory: match directory {
            Some(_) => JobDirectory::Made,
            None => JobDirectory::Absent,
        },
    };
    let file = JournalFile {
        file,
        path: path.to_owned(),
        is_torn: !text.ends_with('\n'),
    };
    let found = FoundJournal {
        file,
        panda_id: journal.opening.job.panda_id,
        directory,
        home: home.to_owned(),
    };
    Ok(Some((journal, found)))
}

fn take_update(path: &Path, home: &Path, found: &mut Found) {
    let read = read_locked(path).and_then(|read| {
        let Some((file, text)) = read else {
            return Ok(None);
        };
        let update: JobUpdate =
            serde_json::from_str(&text).map_err(|error| LeftJournal::Broken {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Some((update, file)))
    });
    match read {
        Ok(Some((update, file))) => {
            let file = JournalFile {
                file,
                path: path.to_owned(),
                is_torn: false,
            };
            let journal = FoundJournal {
                file,
                panda_id: update.panda_id,
                directory: None,
                home: home.to_owned(),
            };
            found.updates.push((update, journal));
        }
        Ok(None) => {}
        Err(left) => found.left.push(left),
    }
}

/// Opens, locks and reads a file; none if somebody else has the lock, or it is gone.
fn read_locked(path: &Path) -> Result<Option<(File, String)>, LeftJournal> {
    let unreadable = |source| LeftJournal::Unreadable {
        path: path.to_owned(),
        source,
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(flags)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(LeftJournal::NoFile {
            path: path.to_owned(),
        });
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(LeftJournal::OtherUser {
            path: path.to_owned(),
            uid: meta.uid(),
        });
    }
    if meta.len() > JOURNAL_MAX {
        return Err(LeftJournal::TooLarge {
            path: path.to_owned(),
            size_bytes: meta.len(),
        });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(unreadable(error)),
    }
    // Its owner may have ended, and removed it, between the opening and the lock.
    if !path.exists() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut limited = (&file).take(JOURNAL_MAX);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some((file, String::from_utf8_lossy(&bytes).into_owned())))
}
