//! Reads job definition files that somebody else writes, perhaps at this moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use ailurus_wire::{
    body::BODY_MAX,
    get_job::OfferedJobs,
    job_file::{self, JobFileError},
};

/// Time that a writer may take for the rest of a file. Harvester writes in place, without a rename.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at a file that is not complete.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// A form shows no end: one that changed within this time is looked at again.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// What is put behind the name of a file that cannot be used, so that it is not read again.
const UNUSABLE: &str = ".unusable";

/// A job definition file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file system refuses it.
    #[error("`{}` cannot be read", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is too large to be one.
    #[error("`{}` is larger than {BODY_MAX} bytes: it is no job definition file", path.display())]
    TooLarge { path: PathBuf },
    /// It has nothing that can be understood, also after a while.
    #[error("`{}` cannot be used", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: JobFileError,
    },
}

/// Reads a file with all of its jobs, and its bytes. Waits within limits for the rest of one that
/// is not complete.
pub(crate) fn read(path: &Path) -> Result<(OfferedJobs, Vec<u8>), ReadError> {
    let begin = Instant::now();
    loop {
        let (bytes, is_settled) = read_once(path)?;
        let is_form = !bytes.trim_ascii_start().starts_with(b"{");
        let is_late = begin.elapsed() >= COMPLETE_PATIENCE;
        match job_file::decode(&bytes) {
            Ok(offered) if !is_form || is_settled || is_late => return Ok((offered, bytes)),
            Err(source) if is_late || !source.may_be_incomplete() => {
                return Err(ReadError::Content {
                    path: path.to_owned(),
                    source,
                });
            }
            Ok(_) | Err(_) => std::thread::sleep(LOOK_PAUSE),
        }
    }
}

/// Puts a file that cannot be used aside, where people find it.
pub(crate) fn put_aside(path: &Path) {
    let mut name = path.as_os_str().to_owned();
    name.push(UNUSABLE);
    match fs::rename(path, &name) {
        Ok(()) => tracing::warn!("`{}` is kept as `{}`", path.display(), name.display()),
        Err(error) => tracing::warn!("`{}` cannot be put aside: {error}", path.display()),
    }
}

/// Returns the bytes, and whether the file has not changed for a while.
fn read_once(path: &Path) -> Result<(Vec<u8>, bool), ReadError> {
    let wrong = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let meta = fs::metadata(path).map_err(wrong)?;
    if usize::try_from(meta.len()).unwrap_or(usize::MAX) > BODY_MAX {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
        });
    }
    let bytes = fs::read(path).map_err(wrong)?;
    let age = meta.modified().and_then(|time| {
        SystemTime::now()
            .duration_since(time)
            .map_err(io::Error::other)
    });
    Ok((bytes, age.is_ok_and(|age| age >= SETTLE_TIME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_rest_comes_later_is_read_whole() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("HPCJobs.json");
        let text = r#"{"12": {"PandaID": 12}}"#;
        fs::write(&path, &text[..9]).expect("space");
        let reader = std::thread::spawn({
            let path = path.clone();
            move || read(&path)
        });
        fs::write(&path, text).expect("space");
        let (offered, bytes) = reader.join().expect("no panic").expect("jobs");
        assert_eq!((offered.jobs.len(), bytes.len()), (1, text.len()));
    }

    #[test]
    fn nonsense_is_refused_at_once_and_named() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("HPCJobs.json");
        fs::write(&path, "<html>").expect("space");
        let error = read(&path).expect_err("no jobs");
        let text = crate::log::chain(&error);
        assert!(
            text.contains("HPCJobs.json") && text.contains("not an object"),
            "{text}"
        );
        put_aside(&path);
        assert!(!path.exists() && place.path().join("HPCJobs.json.unusable").exists());
    }
}
