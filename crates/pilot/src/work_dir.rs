//! The pilot's directory and those of its jobs, with the files that wrappers look for.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use ailurus_model::{ErrorCode, JobUpdate, PandaId, SecretText};
use ailurus_pilot_core::{Problem, effect::KeepReason};
use serde_json::json;

use crate::{
    log::LOG_FILE,
    settings::{Settings, wall_now},
};

/// Mode of the directories: the group may look.
const DIR_MODE: u32 = 0o770;
/// How the name of a pilot's own directory begins.
pub(crate) const HOME_PREFIX: &str = "PanDA_Pilot3_";
/// How the name of a final update begins that the server refused.
const REFUSED_UPDATE_PREFIX: &str = "refused-update-";
/// How the name of a final update begins that no server took.
pub(crate) const KEPT_UPDATE_PREFIX: &str = "undelivered-update-";
/// A user's secrets, in the job's directory.
const SECRETS_FILE: &str = "panda_secrets.json";
/// Mode of that file: nobody else may read it.
const SECRETS_MODE: u32 = 0o600;
/// The file that shows that the pilot is alive.
const PILOT_HEARTBEAT_FILE: &str = "pilot_heartbeat.json";
/// How often a directory is removed in which files still appear, or which was closed.
const REMOVALS_MAX: usize = 10;
/// Most attempts of one job whose directories may lie side by side.
const SAME_JOB_MAX: u32 = 20;
/// The file with the numbers of all jobs of this pilot.
const JOB_IDS_FILE: &str = "pandaIDs.out";

/// The pilot's own directory cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the pilot's directory `{}` cannot be made or used: choose another with `-a`", path.display())]
pub(crate) struct HomeError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Makes the pilot's directory, and a base that is missing, and goes there; without a base it is
/// the current one.
pub(crate) fn make_home(settings: &Settings) -> Result<PathBuf, HomeError> {
    let Some(base) = &settings.base_dir else {
        return Ok(settings.launch_dir.clone());
    };
    let name = format!(
        "{HOME_PREFIX}{}_{}",
        std::process::id(),
        wall_now().as_secs()
    );
    let path = base.join(name);
    let made = DirBuilder::new()
        .mode(DIR_MODE)
        .recursive(true)
        .create(&path)
        .and_then(|()| std::env::set_current_dir(&path));
    match made {
        Ok(()) => Ok(path),
        Err(source) => Err(HomeError { path, source }),
    }
}

/// Makes a job's directory, links the log into it, and notes the job's number.
pub(crate) fn make_job_dir(
    home: &Path,
    source_dir: &Path,
    panda_id: PandaId,
) -> Result<PathBuf, Problem> {
    let path = make_new_dir(home, panda_id)?;
    // Both help people only.
    if let Err(error) = symlink(Path::new("..").join(LOG_FILE), path.join(LOG_FILE)) {
        tracing::debug!("no link to the log: {error}");
    }
    if let Err(error) = note_job(home, source_dir, panda_id) {
        tracing::debug!("`{JOB_IDS_FILE}` cannot be written: {error}");
    }
    Ok(path)
}

/// Writes the file that shows that the pilot is alive.
pub(crate) fn write_heartbeat(home: &Path) {
    let now = wall_now().as_secs();
    let content = json!({"max_diff_time": 0, "last_pilot_update": now, "time_since_detection": 0});
    if let Err(error) = fs::write(home.join(PILOT_HEARTBEAT_FILE), content.to_string()) {
        tracing::warn!("`{PILOT_HEARTBEAT_FILE}` cannot be written: {error}");
    }
}

/// Says whether a directory is one that a pilot made for itself.
pub(crate) fn is_pilots_own(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(HOME_PREFIX.as_bytes())
}

/// Keeps an update that the server did not take, where it outlives the pilot's directory.
pub(crate) fn keep_update(launch_dir: &Path, update: &JobUpdate, reason: KeepReason) {
    let prefix = match reason {
        KeepReason::Undelivered => KEPT_UPDATE_PREFIX,
        KeepReason::Refused => REFUSED_UPDATE_PREFIX,
    };
    let path = launch_dir.join(format!("{prefix}{}.json", update.panda_id));
    let written = serde_json::to_vec_pretty(update)
        .map_err(io::Error::from)
        .and_then(|bytes| fs::write(&path, bytes));
    match written {
        Ok(()) => tracing::warn!("the final update is kept in `{}`", path.display()),
        Err(error) => tracing::error!("`{}` cannot be written: {error}", path.display()),
    }
}

/// Removes a directory with all that is in it, also what a payload has closed to its owner, and what
/// an activity that nobody waits for puts into it meanwhile.
pub(crate) fn remove(path: &Path) {
    let mut removed = fs::remove_dir_all(path);
    for _ in 1..REMOVALS_MAX {
        match removed.as_ref().map_err(io::Error::kind) {
            Err(io::ErrorKind::PermissionDenied) => open_directories(path),
            Err(io::ErrorKind::DirectoryNotEmpty) => {}
            Ok(()) | Err(_) => break,
        }
        removed = fs::remove_dir_all(path);
    }
    if let Err(error) = removed {
        tracing::warn!("`{}` cannot be removed: {error}", path.display());
    }
}

/// Gives the owner all rights to a directory and those below it. Links are not followed; what
/// cannot be opened is left to the removal to complain about.
fn open_directories(path: &Path) {
    let mut backlog = vec![path.to_owned()];
    while let Some(directory) = backlog.pop() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(DIR_MODE));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        backlog.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
}

/// Makes a directory with the job's number. Another attempt of the job may have left one.
fn make_new_dir(home: &Path, panda_id: PandaId) -> Result<PathBuf, Problem> {
    let plain = home.join(format!("PanDA_Pilot-{panda_id}"));
    let others = (2..=SAME_JOB_MAX).map(|nr| home.join(format!("PanDA_Pilot-{panda_id}_{nr}")));
    let mut failure = None;
    for path in std::iter::once(plain).chain(others) {
        match make_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) => {
                let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
                failure = Some(format!("`{}`: {error}", path.display()));
                if !is_taken {
                    break;
                }
            }
        }
    }
    Err(Problem::new(ErrorCode::Mkdir, failure.unwrap_or_default()))
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(path)
}

fn note_job(home: &Path, source_dir: &Path, panda_id: PandaId) -> io::Result<()> {
    let directory = if source_dir.is_dir() {
        source_dir
    } else {
        home
    };
    let path = directory.join(JOB_IDS_FILE);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{panda_id}")
}

/// Writes a user's secrets where the payload looks for them, for its own account only.
///
/// Source: Pilot 3, `pilot/control/job.py`, `_validate_job`, `config.Pilot.pandasecrets`.
pub(crate) fn write_secrets(dir: &Path, secrets: &SecretText) -> Result<(), Problem> {
    let path = dir.join(SECRETS_FILE);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SECRETS_MODE)
        .open(&path)
        .and_then(|mut file| file.write_all(secrets.reveal().as_bytes()));
    written.map_err(|error| {
        let detail = format!("`{}`: {error}", path.display());
        Problem::new(ErrorCode::FileHandlingFailure, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_opened_and_links_are_left_alone() {
        let place = tempfile::tempdir().expect("space");
        let (inner, outside) = (place.path().join("job/a/b"), place.path().join("outside"));
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own");
        };
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        fs::create_dir_all(&inner).expect("space");
        fs::create_dir(&outside).expect("space");
        symlink(&outside, inner.join("link")).expect("space");
        set(&outside, 0o500);
        set(&inner, 0o555);
        set(inner.parent().expect("above"), 0o000);
        open_directories(&place.path().join("job"));
        assert_eq!((mode(&inner), mode(&outside)), (DIR_MODE, 0o500));
        remove(&place.path().join("job"));
        assert!(!place.path().join("job").exists() && outside.exists());
    }

    #[test]
    fn what_appears_during_a_removal_is_removed_too() {
        let place = tempfile::tempdir().expect("space");
        for round in 0..50 {
            let home = place.path().join(format!("home-{round}"));
            fs::create_dir(&home).expect("space");
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    // They fail once the directory is gone.
                    for name in ["a", "b", "c"] {
                        let _ = fs::write(home.join(name), name);
                    }
                });
                remove(&home);
                writer.join().expect("it only writes");
            });
            assert!(!home.exists());
        }
    }
}
