//! What users send for their jobs: which names and sizes are taken, what is not sent twice, and
//! when a file may go.
//!
//! The files themselves are moved by the server; here is decided about them. A file goes once it
//! was of no use for [`crate::Limits::cache_keep`] and no task that has not ended needs it.
//!
//! Source: PanDA server, `pandaserver/api/v1/file_server_api.py`, and `checkSandboxFile` in
//! `db_proxy_mods/misc_standalone_module.py`.

use std::time::Duration;

use ailurus_model::{ByteCount, TaskId, Timestamp};

use crate::{
    Context,
    ledger::{CacheFileRecord, Ledger, LedgerError},
};

/// The longest name of a file in the cache, in bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;
/// The ending of a name that allows a file to be replaced.
pub const OVERWRITES: &str = ".__ow__";
/// The ending of files that are not noted, because nobody sends them twice.
pub const NOT_NOTED: &str = ".out";

/// Largest source archive: 768 MiB.
const SOURCES_MAX: ByteCount = ByteCount::from_mib(768);
/// Largest archive that is not built: 10 MiB.
const NO_BUILD_MAX: ByteCount = ByteCount::from_mib(10);
/// Largest log: 100 MiB.
const LOG_MAX: ByteCount = ByteCount::from_mib(100);
/// Largest checkpoint of a hyperparameter optimisation: 500 MiB.
const CHECKPOINT_MAX: ByteCount = ByteCount::from_mib(500);
/// What archives of users begin with, wherever a task names them.
const ARCHIVES: [&str; 2] = ["sources.", "jobO."];
/// Archives of one task that are noted.
const ARCHIVES_MAX: usize = 16;
/// How old the note of a file's last use may get before it is written anew.
const NOTE_USE_AFTER: Duration = Duration::from_secs(600);
/// Tasks that are asked whether they still need a file.
const USERS_ASKED_MAX: usize = 10_000;

/// A name cannot be that of a file in the cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no name for a file: it must have 1 to {NAME_BYTES_MAX} bytes, not begin with a \
     dot, and have no control characters"
)]
pub struct CacheNameError {
    /// The name, as it came.
    pub name: String,
}

/// Returns the name of a file in the cache: the last part of what a client says.
///
/// # Errors
///
/// [`CacheNameError`] if nothing is left that can be a file's name.
pub fn cache_file_name(said: &str) -> Result<&str, CacheNameError> {
    let name = said.rsplit(['/', '\\']).next().unwrap_or(said);
    let is_good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.chars().any(char::is_control);
    if is_good {
        Ok(name)
    } else {
        Err(CacheNameError {
            name: said.chars().take(NAME_BYTES_MAX).collect(),
        })
    }
}

/// Returns how large a file of this name may be.
#[must_use]
pub fn cache_file_max(name: &str) -> ByteCount {
    let name = name.rsplit('/').next().unwrap_or(name);
    if name.ends_with(NOT_NOTED) {
        LOG_MAX
    } else if name.starts_with("sources.") {
        SOURCES_MAX
    } else {
        NO_BUILD_MAX
    }
}

/// Returns how large a log of a task may be.
#[must_use]
pub const fn task_log_max(_name: &str) -> ByteCount {
    LOG_MAX
}

/// Returns how large a checkpoint may be.
#[must_use]
pub const fn checkpoint_max(_name: &str) -> ByteCount {
    CHECKPOINT_MAX
}

/// Notes a file that has come. One that is known is noted anew.
///
/// # Errors
///
/// The rows are out of reach.
pub fn note_cache_file<L: Ledger>(
    ctx: &Context<'_>,
    ledger: &mut L,
    name: &str,
    user: &str,
    size: ByteCount,
    checksum: &str,
) -> Result<(), LedgerError> {
    ledger.put_cache_file(&CacheFileRecord {
        name: name.to_owned(),
        user: user.to_owned(),
        size,
        checksum: checksum.to_owned(),
        created: ctx.now,
        used: ctx.now,
    })
}

/// Finds a file that the user sent lately and that is the same by size and checksum. It then
/// counts as used, so that it stays for the task that is about to name it.
///
/// # Errors
///
/// The rows are out of reach.
pub fn same_cache_file<L: Ledger>(
    ctx: &Context<'_>,
    ledger: &mut L,
    user: &str,
    size: ByteCount,
    checksum: &str,
) -> Result<Option<String>, LedgerError> {
    if checksum.is_empty() {
        return Ok(None);
    }
    let since = ctx.now.before(ctx.limits.cache_reuse);
    let found = ledger.same_cache_file(user, size, checksum, since)?;
    if let Some(file) = &found {
        let used = CacheFileRecord {
            used: ctx.now,
            ..file.clone()
        };
        ledger.put_cache_file(&used)?;
    }
    Ok(found.map(|file| file.name))
}

/// Notes that files are still of use.
///
/// # Errors
///
/// The rows are out of reach.
pub fn touch_cache_file<L: Ledger>(
    ctx: &Context<'_>,
    ledger: &mut L,
    name: &str,
) -> Result<(), LedgerError> {
    if let Some(file) = ledger.cache_file(name)? {
        let used = CacheFileRecord {
            used: ctx.now,
            ..file
        };
        ledger.put_cache_file(&used)?;
    }
    Ok(())
}

/// Notes which archives a task needs: those that the text of its parameters names.
///
/// # Errors
///
/// The rows are out of reach.
pub fn note_archives<L: Ledger>(
    ledger: &mut L,
    task: TaskId,
    parameters: &str,
) -> Result<(), LedgerError> {
    for name in archives_in(parameters).into_iter().take(ARCHIVES_MAX) {
        ledger.note_cache_use(name, task)?;
    }
    Ok(())
}

/// Notes that the archives which a text names are of use, for what will need them later. Now and
/// then is enough.
///
/// # Errors
///
/// The rows are out of reach.
pub(crate) fn note_archives_used<L: Ledger>(
    ledger: &mut L,
    text: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    for name in archives_in(text).into_iter().take(ARCHIVES_MAX) {
        let Some(mut file) = ledger.cache_file(name)? else {
            continue;
        };
        if now.since(file.used) > NOTE_USE_AFTER {
            file.used = now;
            ledger.put_cache_file(&file)?;
        }
    }
    Ok(())
}

/// Finds the names of users' archives in a text.
fn archives_in(text: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let words = text.split(|c: char| !is_of_name(c));
    let mut found: Vec<&str> = words
        .filter(|word| ARCHIVES.iter().any(|begin| word.starts_with(begin)))
        .filter(|word| word.contains(".tar") || word.contains(".tgz"))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Decides which of these files may go, and forgets them. Each comes with the time of its last
/// use as the file system has it.
///
/// # Errors
///
/// The rows are out of reach.
pub fn expire_cache_files<L: Ledger>(
    ctx: &Context<'_>,
    ledger: &mut L,
    files: &[(String, Timestamp)],
) -> Result<Vec<String>, LedgerError> {
    let limit = ctx.now.before(ctx.limits.cache_keep);
    let mut gone = Vec::new();
    for (name, touched) in files {
        let known = ledger.cache_file(name)?;
        let used = known.map_or(*touched, |file| file.used.max(*touched));
        if used > limit || is_needed(ledger, name)? {
            continue;
        }
        ledger.remove_cache_file(name)?;
        gone.push(name.clone());
    }
    Ok(gone)
}

/// Says whether a task that has not ended needs a file.
fn is_needed<L: Ledger>(ledger: &L, name: &str) -> Result<bool, LedgerError> {
    for task in ledger.cache_users(name, USERS_ASKED_MAX)? {
        if ledger
            .task(task)?
            .is_some_and(|task| !task.status.is_terminal())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_part_and_never_lead_elsewhere() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "", ".", "..", "a/..", "a/", ".hidden", "a\nb", "a\0", "C:\\", &long,
        ] {
            assert!(cache_file_name(bad).is_err(), "{bad:?}");
        }
        let good = [
            ("jobO.1.tar.gz", "jobO.1.tar.gz"),
            ("/etc/passwd", "passwd"),
            ("a\\b", "b"),
        ];
        for (said, name) in good {
            assert_eq!(cache_file_name(said), Ok(name));
        }
    }

    #[test]
    fn sizes_are_limited_by_name() {
        assert_eq!(cache_file_max("sources.1.tar.gz"), ByteCount::from_mib(768));
        assert_eq!(
            cache_file_max("tmp/sources.1.tar.gz"),
            ByteCount::from_mib(768)
        );
        assert_eq!(cache_file_max("jobO.1.tar.gz"), ByteCount::from_mib(10));
        assert_eq!(cache_file_max("job.out"), ByteCount::from_mib(100));
    }

    #[test]
    fn archives_are_found_wherever_parameters_name_them() {
        let text = r#"{"value": "-a jobO.12-ab.tar.gz", "archiveName": "sources.7.tar.gz",
                       "again": "-a jobO.12-ab.tar.gz --other sources. jobO.x"}"#;
        assert_eq!(archives_in(text), ["jobO.12-ab.tar.gz", "sources.7.tar.gz"]);
    }
}
