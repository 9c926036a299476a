//! Loads queue and storage data, from a URL or a file, with a copy kept in the pilot's directory.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use ailurus_http::Client;
use ailurus_model::{ErrorCode, QueueName};
use ailurus_pilot_core::{Problem, input::Site};
use ailurus_wire::{queue_data, storage_data, storage_data::StorageSet};

use crate::log;

/// The copy of the queue data.
const QUEUE_CACHE: &str = "queuedata.json";
/// The copy of the storage data.
const STORAGE_CACHE: &str = "cric_ddmendpoints.json";
/// How long a copy is used instead of asking again.
const CACHE_AGE_MAX: Duration = Duration::from_secs(3 * 3600);
/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 64 << 20;

/// Loads the data of a queue and of all storages.
///
/// Where there are no storage data at all (404) the pilot goes on: jobs that need a storage fail
/// with its name. Where they only cannot be had now, that would fail one job after another.
pub(crate) fn load(
    client: &Client,
    queue: &QueueName,
    (queue_url, storage_url): (&str, &str),
    home: &Path,
) -> Result<Box<Site>, Problem> {
    let (queue_cache, storage_cache) = (home.join(QUEUE_CACHE), home.join(STORAGE_CACHE));
    let (queue_bytes, storage_bytes) = std::thread::scope(|scope| {
        let storage = scope.spawn(|| fetch(client, storage_url, &storage_cache));
        let queue = fetch(client, queue_url, &queue_cache);
        (queue, storage.join())
    });
    let unavailable = |why| Problem::new(ErrorCode::QueueData, why);
    let bytes = queue_bytes.map_err(|missing| unavailable(missing.why))?;
    let queue = queue_data::decode(&bytes, queue).map_err(|error| {
        forget(&queue_cache);
        Problem::new(error.code(), log::chain(&error))
    })?;
    let ended_badly = || Missing {
        why: "the activity that fetches them ended badly".into(),
        is_for_good: false,
    };
    let storages = match storage_bytes.unwrap_or_else(|_| Err(ended_badly())) {
        Ok(bytes) => storage_data::decode(&bytes).map_err(|error| {
            forget(&storage_cache);
            unavailable(format!("storage data: {}", log::chain(&error)))
        })?,
        Err(missing) if missing.is_for_good => {
            tracing::warn!("no storage data: {}", missing.why);
            StorageSet::default()
        }
        Err(missing) => return Err(unavailable(format!("storage data: {}", missing.why))),
    };
    for broken in &storages.broken {
        tracing::warn!("storage data: {}", log::chain(broken));
    }
    let storages = storages.endpoints;
    Ok(Box::new(Site { queue, storages }))
}

/// Removes a copy that makes no sense, so that the next try asks again.
fn forget(cache: &Path) {
    // There is none if the data came from a file.
    let _ = fs::remove_file(cache);
}

/// Why there are no data.
struct Missing {
    why: String,
    /// Whether asking again is in vain.
    is_for_good: bool,
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self {
            why,
            is_for_good: false,
        }
    }
}

fn fetch(client: &Client, place: &str, cache: &Path) -> Result<Vec<u8>, Missing> {
    let path = place.strip_prefix("file://").unwrap_or(place);
    if !path.contains("://") {
        return read(Path::new(path)).map_err(|error| Missing {
            why: format!("`{path}` cannot be read: {error}"),
            is_for_good: error.kind() == std::io::ErrorKind::NotFound,
        });
    }
    if is_fresh(cache)
        && let Ok(bytes) = read(cache)
    {
        return Ok(bytes);
    }
    let answer = client.get(place, &[]).map_err(|error| log::chain(&error))?;
    if answer.status != 200 || answer.body.is_empty() {
        let length = answer.body.len();
        return Err(Missing {
            why: format!(
                "`{place}` answered HTTP status {} with {length} bytes",
                answer.status
            ),
            is_for_good: answer.status == 404,
        });
    }
    if let Err(error) = fs::write(cache, &answer.body) {
        tracing::warn!("`{}` cannot be written: {error}", cache.display());
    }
    Ok(answer.body)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(std::io::Error::other(format!(
            "larger than {FILE_MAX} bytes"
        )));
    }
    fs::read(path)
}

fn is_fresh(cache: &Path) -> bool {
    let modified = fs::metadata(cache).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| {
        let age = SystemTime::now().duration_since(modified);
        age.is_ok_and(|age| age < CACHE_AGE_MAX)
    })
}
