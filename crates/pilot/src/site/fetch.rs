//! Gets one place's content: from its copy, by URL, or from a file that may hang.

use std::{
    fs, io,
    path::Path,
    sync::mpsc::sync_channel,
    time::{Duration, SystemTime},
};

use ailurus_http::Client;
use ailurus_model::ErrorCode;
use ailurus_pilot_core::Problem;

use super::{INLINE_DATA, Place, SERVER_AGE_MAX};
use crate::log;

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 64 << 20;
/// Time for reading a file: shared file systems hang now and then.
const FILE_PATIENCE: Duration = Duration::from_secs(20);
/// Stack of the thread that reads, in bytes.
const STACK_BYTES: usize = 256 << 10;

/// Why there is no content.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) problem: Problem,
    /// Whether asking again is in vain.
    pub(super) is_for_good: bool,
}

impl Missing {
    /// It may be there later.
    pub(super) const fn now(problem: Problem) -> Self {
        Self {
            problem,
            is_for_good: false,
        }
    }

    /// It will not be there later either.
    pub(super) const fn for_good(problem: Problem) -> Self {
        Self {
            problem,
            is_for_good: true,
        }
    }
}

/// Gets a content that `check` finds good.
pub(super) fn fetch(
    client: &Client,
    place: &Place,
    home: &Path,
    check: impl Fn(&[u8]) -> Result<(), Missing>,
) -> Result<Vec<u8>, Missing> {
    if let Some(text) = place.address.strip_prefix(INLINE_DATA) {
        return check(text.as_bytes()).map(|()| text.into());
    }
    let path = place.address.strip_prefix("file://");
    let path = path.unwrap_or(&place.address);
    if !path.contains("://") {
        let bytes = read_in_time(Path::new(path)).map_err(|error| Missing {
            problem: Problem::new(ErrorCode::QueueData, error.to_string()),
            is_for_good: error.kind() == io::ErrorKind::NotFound,
        })?;
        return check(&bytes).map(|()| bytes);
    }
    let copy = place.copy.as_ref().map(|name| home.join(name));
    let of_copy = |copy: &Path| {
        let bytes = read(copy).ok()?;
        check(&bytes).is_ok().then_some(bytes)
    };
    if let Some(bytes) = copy
        .as_deref()
        .filter(|copy| is_young(copy))
        .and_then(of_copy)
    {
        return Ok(bytes);
    }
    let asked = ask(client, &place.address).and_then(|bytes| check(&bytes).map(|()| bytes));
    match (asked, copy) {
        (Ok(bytes), copy) => {
            if let Some(copy) = copy
                && let Err(error) = fs::write(&copy, &bytes)
            {
                tracing::warn!("`{}` cannot be written: {error}", copy.display());
            }
            Ok(bytes)
        }
        (Err(missing), Some(copy)) => of_copy(&copy)
            .inspect(|_| tracing::warn!("an old copy is used: {}", missing.problem))
            .ok_or(missing),
        (Err(missing), None) => Err(missing),
    }
}

fn ask(client: &Client, url: &str) -> Result<Vec<u8>, Missing> {
    let problem = |why| Problem::new(ErrorCode::QueueData, why);
    let answer = client
        .get(url, &[])
        .map_err(|error| Missing::now(problem(log::chain(&error))))?;
    if answer.status != 200 || answer.body.is_empty() {
        return Err(Missing {
            problem: problem(log::answer_in_words(&answer)),
            is_for_good: answer.status == 404,
        });
    }
    Ok(answer.body)
}

/// Reads a file on a thread of its own, which is left behind if it hangs.
fn read_in_time(path: &Path) -> io::Result<Vec<u8>> {
    let (sender, receiver) = sync_channel(1);
    let path = path.to_owned();
    let activity = move || {
        // Nobody may be waiting any more.
        let _ = sender.send(read(&path));
    };
    ailurus_process::spawn_named("read-site", STACK_BYTES, activity)?;
    receiver
        .recv_timeout(FILE_PATIENCE)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(io::Error::other(format!("larger than {FILE_MAX} bytes")));
    }
    fs::read(path)
}

fn is_young(copy: &Path) -> bool {
    let modified = fs::metadata(copy).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| {
        let age = SystemTime::now().duration_since(modified);
        age.is_ok_and(|age| age < SERVER_AGE_MAX)
    })
}
