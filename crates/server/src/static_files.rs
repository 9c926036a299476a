//! Files that pilots fetch: queue data, storage data, payload scripts.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path as FilePath, PathBuf},
    sync::Arc,
};

use ailurus_wire::{body::JSON_TYPE, fields::text_of};
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
        .route(
            "/cache/schedconfig/pilot_gdp_config.json",
            get(pilot_settings),
        )
        .route("/cache/ddmendpoints.json", get(storage_data))
        .route("/cric/queues.json", get(all_queue_data))
        .route("/cric/ddmendpoints.json", get(storage_data))
        .route("/ddmendpoints.json", get(storage_data))
        .route("/trf/user/{name}", get(script))
}

/// The endings of files that hold the record of one queue: PanDA cuts it for some readers, who
/// read no more when there is more.
const RECORD_ENDINGS: [&str; 3] = [".all.json", ".pilot.json", ".factory.json"];

/// `NAME.all.json` is the record of one queue, `NAME.pilot.pilot` the same in the words of older
/// pilots, `NAME.json` a map with that record, and `schedconfig.all.json` the map of all.
async fn queue_data(State(app): State<Arc<App>>, Path(file): Path<String>) -> Response {
    let knowledge = app.knowledge();
    if file == "schedconfig.all.json" || file == "schedconfig.json" {
        return json_file(knowledge.queue_file.clone());
    }
    if let Some(name) = file.strip_suffix(".pilot.pilot") {
        return match knowledge.queue_record(name) {
            Some(record) => pilot_words(record).into_response(),
            None => not_found(&format!("no queue data `{file}`")),
        };
    }
    let of_record = |ending: &&str| file.strip_suffix(*ending);
    let found = match RECORD_ENDINGS.iter().find_map(of_record) {
        Some(name) => knowledge.queue_record(name).cloned(),
        None => file.strip_suffix(".json").and_then(|name| {
            let record = knowledge.queue_record(name);
            record.map(|queue| json!({ name: queue }))
        }),
    };
    match found {
        Some(value) => json_file(text(&value)),
        None => not_found(&format!("no queue data `{file}`")),
    }
}

/// The texts and numbers of a record as `key=value|key=value`.
fn pilot_words(record: &Value) -> String {
    let members = record.as_object().into_iter().flatten();
    let words: Vec<String> = members
        .filter(|(_, value)| value.is_string() || value.is_number())
        .map(|(key, value)| format!("{key}={}", text_of(value)))
        .collect();
    words.join("|")
}

async fn all_queue_data(State(app): State<Arc<App>>) -> Response {
    json_file(app.knowledge().queue_file.clone())
}

/// Settings of pilots by organisation; pilots of this project have theirs from profiles.
async fn pilot_settings(State(app): State<Arc<App>>) -> Response {
    json_file(app.knowledge().pilot_settings.clone())
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
    fn older_pilots_read_the_plain_values_of_a_record() {
        let record = json!({"name": "Q", "corecount": 8, "params": {"a": 1}, "none": null});
        assert_eq!(pilot_words(&record), "corecount=8|name=Q");
    }

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
