//! Files that pilots fetch: queue data, storage data, payload scripts.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path as FilePath, PathBuf},
    sync::Arc,
};

use ailurus_wire::body::JSON_TYPE;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{app::App, transforms};

/// The largest payload script that is served, in bytes.
const SCRIPT_MAX: u64 = 64 << 20;

/// Returns the routes of this module.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/cache/schedconfig/{file}", get(queue_data))
        .route("/cache/ddmendpoints.json", get(storage_data))
        .route("/ddmendpoints.json", get(storage_data))
        .route("/trf/user/{name}", get(script))
}

/// `NAME.all.json` is the record of one queue, `NAME.json` a map with that record, and
/// `schedconfig.all.json` the map of all.
async fn queue_data(State(app): State<Arc<App>>, Path(file): Path<String>) -> Response {
    let knowledge = app.knowledge();
    if file == "schedconfig.all.json" || file == "schedconfig.json" {
        return json_file(knowledge.queue_file.clone());
    }
    let record = |name| knowledge.queue_record(name);
    let found = match file.strip_suffix(".all.json") {
        Some(name) => record(name).cloned(),
        None => file
            .strip_suffix(".json")
            .and_then(|name| record(name).map(|queue| json!({ name: queue }))),
    };
    match found {
        Some(value) => json_file(text(&value)),
        None => not_found(&format!("no queue data `{file}`")),
    }
}

async fn storage_data(State(app): State<Arc<App>>) -> Response {
    json_file(app.knowledge().storage_file.clone())
}

/// The site's own scripts come before those that the server brings.
async fn script(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let path = app.transforms.as_deref().and_then(|dir| within(dir, &name));
    if let Some(path) = path {
        let read = tokio::task::spawn_blocking(move || read_script(&path)).await;
        match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(bytes) => return script_file(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, name, "a script cannot be served");
                return not_found(&format!("no script `{name}`"));
            }
        }
    }
    match transforms::find(&name) {
        Some(bytes) => script_file(axum::body::Bytes::from_static(bytes)),
        None => not_found(&format!("no script `{name}`")),
    }
}

fn script_file(bytes: axum::body::Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// Returns the path of a file that lies directly in the folder; none for any other name.
pub(crate) fn within(dir: &FilePath, name: &str) -> Option<PathBuf> {
    let mut components = FilePath::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Some(dir.join(only)),
        _ => None,
    }
}

fn read_script(path: &FilePath) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > SCRIPT_MAX {
        return Err(io::Error::other(format!(
            "it is no file of at most {SCRIPT_MAX} bytes"
        )));
    }
    let mut bytes = Vec::new();
    file.take(SCRIPT_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(value: &Value) -> axum::body::Bytes {
    value.to_string().into()
}

fn json_file(bytes: axum::body::Bytes) -> Response {
    ([(header::CONTENT_TYPE, JSON_TYPE)], bytes).into_response()
}

fn not_found(text: &str) -> Response {
    (StatusCode::NOT_FOUND, text.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_lead_to_a_file() {
        let dir = FilePath::new("trf");
        assert_eq!(within(dir, "sim.py"), Some(dir.join("sim.py")));
        for name in [
            "..",
            ".",
            "",
            "../secret",
            "a/b",
            "/etc/passwd",
            "a/",
            "./a",
        ] {
            assert_eq!(within(dir, name), None, "{name}");
        }
    }
}
