//! Files of the cache over HTTP: `GET /cache/NAME` and `/cache/jedilog/NAME`, whole or a range of
//! bytes, and the clean-up of those that are of no use.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ailurus_model::Timestamp;
use ailurus_server_core::{cache_file_name, expire_cache_files};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, Take};

use crate::{
    app::App,
    cache_folder::{CacheFolder, Shelf},
    knowledge::chain,
};

/// Bytes that are read from a file at a time.
const CHUNK: usize = 64 * 1024;
/// Time between two looks for files that are of no use.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1800);
/// Files that one transaction decides about.
const SWEEP_BATCH: usize = 200;
/// Transactions of one look.
const SWEEPS_MAX: u32 = 100;

/// Returns the routes of this module.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/cache/{name}", get(file))
        .route("/cache/jedilog/{name}", get(log))
}

async fn file(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = answer(&app.cache, Shelf::Files, name.clone(), &headers).await;
    if found.status() != StatusCode::NOT_FOUND {
        return found;
    }
    // Harvester tells people to look here for the logs of its workers.
    answer(&app.cache, Shelf::Logs, name, &headers).await
}

async fn log(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(&app.cache, Shelf::Logs, name, &headers).await
}

async fn answer(cache: &CacheFolder, shelf: Shelf, name: String, headers: &HeaderMap) -> Response {
    // Only a plain name is the name of a file: nothing of it may be passed over in silence.
    if cache_file_name(&name) != Ok(&name) {
        return not_found(&name);
    }
    let asked = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let asked = asked.map(str::to_owned);
    let cache = cache.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let opened = cache.open(shelf, &name).and_then(|(file, size)| {
            CacheFolder::note_use(&file)?;
            let part = part_of(asked.as_deref(), size);
            if let Part::Some { first, .. } = part {
                (&file).seek(SeekFrom::Start(first))?;
            }
            Ok((file, size, part))
        });
        (name, opened)
    });
    match opened.await {
        Ok((_, Ok((file, size, part)))) => write(file, size, part),
        Ok((name, Err(error))) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, name, "a file of the cache cannot be read");
            }
            not_found(&name)
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn not_found(name: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("no file `{name}`")).into_response()
}

/// What of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    /// From `first` to `last`, both included.
    Some {
        first: u64,
        last: u64,
    },
    /// Nothing that is there.
    Beyond,
}

/// Reads a `Range` header. What is not one range of bytes is passed over, as RFC 9110 has it.
fn part_of(range: Option<&str>, size: u64) -> Part {
    let bounds = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
        .map(|(first, last)| (first.trim(), last.trim()));
    let end = size.saturating_sub(1);
    match bounds {
        Some(("", last)) => match last.parse::<u64>() {
            Ok(0) => Part::Beyond,
            Ok(count) if size > 0 => Part::Some {
                first: size.saturating_sub(count),
                last: end,
            },
            Ok(_) => Part::Beyond,
            Err(_) => Part::All,
        },
        Some((first, last)) => {
            let last = match last {
                "" => Ok(end),
                last => last.parse::<u64>(),
            };
            match (first.parse::<u64>(), last) {
                (Ok(first), _) if first >= size => Part::Beyond,
                (Ok(first), Ok(last)) if first <= last => Part::Some {
                    first,
                    last: last.min(end),
                },
                (Ok(_) | Err(_), Ok(_) | Err(_)) => Part::All,
            }
        }
        None => Part::All,
    }
}

fn write(file: File, size: u64, part: Part) -> Response {
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    let ranges = (header::ACCEPT_RANGES, "bytes".to_owned());
    match part {
        Part::All => {
            let length = (header::CONTENT_LENGTH, size.to_string());
            ([kind, ranges, length], body(file, size)).into_response()
        }
        Part::Some { first, last } => {
            let count = last - first + 1;
            let length = (header::CONTENT_LENGTH, count.to_string());
            let place = (
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{size}"),
            );
            let headers = [kind, ranges, length, place];
            (StatusCode::PARTIAL_CONTENT, headers, body(file, count)).into_response()
        }
        Part::Beyond => {
            let place = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, place).into_response()
        }
    }
}

/// The next bytes of a file, read as the client takes them.
fn body(file: File, count: u64) -> Body {
    let file = tokio::fs::File::from_std(file).take(count);
    Body::from_stream(stream::try_unfold(file, next_chunk))
}

async fn next_chunk(
    mut file: Take<tokio::fs::File>,
) -> io::Result<Option<(Bytes, Take<tokio::fs::File>)>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    (&mut file)
        .take(CHUNK as u64)
        .read_to_end(&mut chunk)
        .await?;
    if chunk.is_empty() && file.limit() > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((!chunk.is_empty()).then(|| (chunk.into(), file)))
}

/// Removes files that are of no use, again and again, until the future is dropped.
pub(crate) async fn sweep(app: Arc<App>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for shelf in [Shelf::Files, Shelf::Logs] {
            if let Err(error) = sweep_once(&app, shelf).await {
                tracing::error!(error = chain(&*error), "the cache could not be cleaned up");
            }
        }
    }
}

/// Removes what may go from one shelf.
async fn sweep_once(app: &Arc<App>, shelf: Shelf) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..SWEEPS_MAX {
        let keep = app.knowledge().limits.cache_keep;
        let before = SystemTime::now().checked_sub(keep);
        let before = before.unwrap_or(SystemTime::UNIX_EPOCH);
        let cache = app.cache.clone();
        let old = move || cache.untouched_since(shelf, before, SWEEP_BATCH);
        let old = tokio::task::spawn_blocking(old).await??;
        let files: Vec<(String, Timestamp)> = old
            .into_iter()
            .map(|(name, modified)| (name, timestamp(modified)))
            .collect();
        if files.is_empty() {
            return Ok(());
        }
        let mut kept: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        let gone = app
            .write(move |ctx, ledger| expire_cache_files(ctx, ledger, &files))
            .await?;
        kept.retain(|name| !gone.contains(name));
        for name in &gone {
            app.cache.remove(shelf, name)?;
        }
        // What is still needed would be found again and again.
        for name in &kept {
            app.cache.touch(shelf, name)?;
        }
        if !gone.is_empty() {
            tracing::info!(files = gone.len(), "old files were removed from the cache");
        }
    }
    Ok(())
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        let some = |first, last| Part::Some { first, last };
        for (range, part) in [
            (None, Part::All),
            (Some("bytes=0-3"), some(0, 3)),
            (Some("bytes=8-"), some(8, 9)),
            (Some("bytes=8-99"), some(8, 9)),
            (Some("bytes=-3"), some(7, 9)),
            (Some("bytes=-99"), some(0, 9)),
            (Some("bytes=10-"), Part::Beyond),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=5-2"), Part::All),
            (Some("bytes=1-2,4-5"), Part::All),
            (Some("lines=1-2"), Part::All),
        ] {
            assert_eq!(part_of(range, 10), part, "{range:?}");
        }
        assert_eq!(part_of(Some("bytes=0-"), 0), Part::Beyond);
    }
}
