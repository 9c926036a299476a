//! Loads queue and storage data, from a URL or a file, with a copy kept in the pilot's directory.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use ailurus_http::Client;
use ailurus_model::{ErrorCode, QueueName};
use ailurus_pilot_core::{Problem, input::Site};
use ailurus_wire::{queue_data, storage_data};

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
/// Without storage data the pilot goes on: jobs that need a storage fail with its name.
pub(crate) fn load(
    client: &Client,
    queue: &QueueName,
    (queue_url, storage_url): (&str, &str),
    home: &Path,
) -> Result<Box<Site>, Problem> {
    let (queue_bytes, storage_bytes) = std::thread::scope(|scope| {
        let storage = scope.spawn(|| fetch(client, storage_url, &home.join(STORAGE_CACHE)));
        let queue = fetch(client, queue_url, &home.join(QUEUE_CACHE));
        (queue, storage.join())
    });
    let bytes = queue_bytes.map_err(|why| Problem::new(ErrorCode::QueueData, why))?;
    let queue = queue_data::decode(&bytes, queue)
        .map_err(|error| Problem::new(error.code(), log::chain(&error)))?;
    let storages = storage_bytes
        .unwrap_or_else(|_| Err("the activity that fetches them ended badly".into()))
        .and_then(|bytes| storage_data::decode(&bytes).map_err(|error| log::chain(&error)));
    let storages = match storages {
        Ok(set) => {
            for broken in set.broken {
                tracing::warn!("storage data: {}", log::chain(&broken));
            }
            set.endpoints
        }
        Err(why) => {
            tracing::warn!("no storage data: {why}");
            std::collections::BTreeMap::new()
        }
    };
    Ok(Box::new(Site { queue, storages }))
}

fn fetch(client: &Client, place: &str, cache: &Path) -> Result<Vec<u8>, String> {
    let path = place.strip_prefix("file://").unwrap_or(place);
    if !path.contains("://") {
        return read(Path::new(path)).map_err(|error| format!("`{path}` cannot be read: {error}"));
    }
    if is_fresh(cache)
        && let Ok(bytes) = read(cache)
    {
        return Ok(bytes);
    }
    let answer = client.get(place, &[]).map_err(|error| log::chain(&error))?;
    if answer.status != 200 || answer.body.is_empty() {
        let length = answer.body.len();
        return Err(format!(
            "`{place}` answered HTTP status {} with {length} bytes",
            answer.status
        ));
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
