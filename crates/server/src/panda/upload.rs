//! Files that clients upload: taken from a multipart body piece by piece, kept below a limit, and
//! laid down beside where they will stay.
//!
//! A handler that keeps the file renames it; what nobody keeps is removed. The main type is
//! [`Upload`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use ailurus_wire::Fields;
use axum::{
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{fs::File, io::AsyncWriteExt};

use crate::{
    knowledge::chain,
    panda::reply::{Reply, Wanted, error, text_of},
};

/// The largest text beside the file, in bytes.
const TEXT_MAX: usize = 1 << 20;
/// The most texts beside the file.
const TEXTS_MAX: usize = 100;

/// How much of a file that is too large is still read, in bytes.
const DRAINED_MAX: usize = 64 << 20;

/// Makes names of files that are still coming unique within this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that a client has sent. It is gone with this value unless it was renamed.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The name that the client gives it, as it came: not to be used as a path.
    pub(crate) name: String,
    /// Where it lies now.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "an upload stays behind");
            }
        }
    }
}

/// Says whether a body is multipart.
pub(crate) fn is_multipart(request: &Request) -> bool {
    text_of(request.headers(), header::CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().starts_with("multipart/form-data"))
}

/// Takes a multipart body apart. At most one file is kept, that of the part `file`.
pub(crate) async fn read_multipart(
    request: Request,
    dir: &Path,
    file_max: fn(&str) -> u64,
) -> Result<(Fields, Option<Upload>), Response> {
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(IntoResponse::into_response)?;
    let mut fields = Fields::new();
    let mut upload = None;
    let mut count = 0_usize;
    while let Some(part) = parts.next_field().await.map_err(bad_part)? {
        count += 1;
        if count > TEXTS_MAX {
            let reason = format!("the body has more than {TEXTS_MAX} parts");
            return Err(error(StatusCode::BAD_REQUEST, &reason));
        }
        let name = part.name().unwrap_or_default().to_owned();
        match part.file_name().map(str::to_owned) {
            Some(file_name) => {
                let limit = file_max(&file_name);
                upload = Some(receive(part, dir, file_name, limit).await?);
            }
            None => fields.put_first(&name, read_text(part).await?),
        }
    }
    Ok((fields, upload))
}

async fn read_text(mut part: Field<'_>) -> Result<String, Response> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(bad_part)? {
        if bytes.len() + chunk.len() > TEXT_MAX {
            return Err(too_large("a field", TEXT_MAX as u64));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn receive(
    mut part: Field<'_>,
    dir: &Path,
    name: String,
    limit: u64,
) -> Result<Upload, Response> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{}-{number}.part", std::process::id()));
    let not_kept = |cause: io::Error| {
        tracing::error!(error = %cause, dir = %dir.display(), "an upload cannot be kept");
        let reason = format!("the file cannot be kept now: {cause}");
        error(StatusCode::SERVICE_UNAVAILABLE, &reason)
    };
    tokio::fs::create_dir_all(dir).await.map_err(not_kept)?;
    let mut file = File::create(&path).await.map_err(not_kept)?;
    let mut upload = Upload {
        name,
        path,
        size: 0,
    };
    while let Some(chunk) = part.chunk().await.map_err(bad_part)? {
        upload.size = upload.size.saturating_add(chunk.len() as u64);
        if upload.size > limit {
            drain(part).await;
            return Err(file_too_large(limit));
        }
        file.write_all(&chunk).await.map_err(not_kept)?;
    }
    // What is acknowledged must outlive a crash of the machine.
    file.sync_all().await.map_err(not_kept)?;
    Ok(upload)
}

/// Reads on for a while, so that the client gets to read the refusal.
async fn drain(mut part: Field<'_>) {
    let mut left = DRAINED_MAX;
    while let Ok(Some(chunk)) = part.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// The refusal of a file, in a form that clients of files read.
fn file_too_large(limit: u64) -> Response {
    let reason = format!(
        "ERROR: upload failure. Exceeded size limit {} MB",
        limit >> 20
    );
    Wanted::JSON.write(Reply::refusal(reason))
}

fn too_large(what: &str, limit: u64) -> Response {
    let reason = format!("{what} is larger than {limit} bytes");
    error(StatusCode::PAYLOAD_TOO_LARGE, &reason)
}

fn bad_part(cause: axum::extract::multipart::MultipartError) -> Response {
    let reason = format!("the body is no multipart body: {}", chain(&cause));
    error(StatusCode::BAD_REQUEST, &reason)
}
