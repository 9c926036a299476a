//! Calls about files that users send: archives for their jobs, logs of tasks, checkpoints.
//!
//! What this server cannot do (recovery of lost files, picking of events) is refused in words that
//! say so; the real server takes such requests for other programs that are not here.
//!
//! Source: PanDA server, `pandaserver/api/v1/file_server_api.py`.

use std::{io::Read as _, path::Path};

use ailurus_model::ByteCount;
use ailurus_server_core::{
    CacheNameError, NOT_NOTED, OVERWRITES, cache_file_max, cache_file_name, checkpoint_max,
    note_cache_file, same_cache_file, task_log_max, touch_cache_file,
};
use flate2::read::ZlibDecoder;
use serde_json::json;

use crate::{
    cache_folder::{CacheFolder, SameName, Shelf, gzip_checksum},
    panda::{
        Call, Endpoint, Reply,
        endpoint::{
            LegacyBody, Preset, Role, Shape, anything, file, flag, handler, int, text, texts,
        },
        failed,
        upload::Upload,
    },
};

/// The real server's words for a name that is taken.
const CANNOT_OVERWRITE: &str = "ERROR: cannot overwrite file";
/// The real server's words for a file that it does not know.
const NOT_FOUND: &str = "NOTFOUND";
/// The longest part of a log that one call gives, in bytes.
const LOG_PART_MAX: u64 = 16 << 20;

const NO_RECOVERY: &str = "lost files cannot be looked for by this server: retry the task, which \
                           makes anew what is missing";
const NO_PICKING: &str = "this server has no index of events to pick them by";

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("file_server/validate_cache_file", handler!(validate))
        .secure()
        .by_client()
        .takes(&[
            int("file_size").required().doc("size in bytes"),
            anything("checksum")
                .required()
                .doc("CRC-32 of the content of the gzip file"),
        ])
        .doc(
            "Finds a file that the caller sent lately: message `FOUND:HOST:NAME`, else `NOTFOUND`.",
        ),
    Endpoint::post("file_server/upload_cache_file", handler!(upload))
        .secure()
        .by_client()
        .takes(&[file("file")
            .required()
            .doc("the file; its name says how large it may be")])
        .file_max(|name| cache_file_max(name).as_bytes())
        .doc("Takes a file for jobs, which fetch it at `/cache/NAME`."),
    Endpoint::post("file_server/touch_cache_file", handler!(touch))
        .secure()
        .takes(&[text("file_name").required().doc("name of the file")])
        .doc("Notes that a file is still of use."),
    Endpoint::post("file_server/delete_cache_file", handler!(delete))
        .secure()
        .takes(&[text("file_name").required().doc("name of the file")])
        .doc("Does nothing: files go by themselves once they are of no use."),
    Endpoint::post("file_server/register_cache_file", handler!(register))
        .role(Role::Production)
        .takes(&[
            text("user_name").required().doc("whose file it is"),
            text("file_name").required().doc("name of the file"),
            int("file_size").required().doc("size in bytes"),
            text("checksum")
                .required()
                .doc("CRC-32 of the content of the gzip file"),
        ])
        .doc("Notes a file of the cache folder, so that its user need not send it again."),
    Endpoint::post("file_server/upload_jedi_log", handler!(upload_log))
        .role(Role::Production)
        .by_harvester()
        .takes(&[file("file").required().doc("the log")])
        .file_max(|name| task_log_max(name).as_bytes())
        .gives(Shape::Text)
        .doc(
            "Takes a log of a task, in place of an older one, or what Harvester adds to the log of \
             a worker, which is compressed by zlib; the answer is its URL.",
        ),
    Endpoint::post("file_server/update_jedi_log", handler!(update_log))
        .role(Role::Production)
        .by_harvester()
        .takes(&[file("file")
            .required()
            .doc("what is added, compressed by zlib")])
        .file_max(|name| task_log_max(name).as_bytes())
        .doc("Adds to a log of a task."),
    Endpoint::get("file_server/download_jedi_log", handler!(download_log))
        .takes(&[
            text("log_name").required().doc("name of the log"),
            int("offset")
                .or(Preset::Int(0))
                .doc("bytes that are left out at its begin"),
        ])
        .doc("Gives a log of a task from some byte on, as text behind a blank."),
    Endpoint::post(
        "file_server/upload_hpo_checkpoint",
        handler!(upload_checkpoint),
    )
    .secure()
    .by_harvester()
    .takes(&[file("file")
        .required()
        .doc("the checkpoint, named `TASK_POINT`")])
    .file_max(|name| checkpoint_max(name).as_bytes())
    .gives(Shape::Text)
    .doc("Takes a checkpoint of a hyperparameter optimisation."),
    Endpoint::post(
        "file_server/delete_hpo_checkpoint",
        handler!(delete_checkpoint),
    )
    .secure()
    .by_harvester()
    .takes(&[
        text("task_id").required().doc("number of the task"),
        text("sub_id").required().doc("number of the point"),
    ])
    .doc("Removes a checkpoint of a hyperparameter optimisation."),
    Endpoint::post(
        "file_server/upload_file_recovery_request",
        handler!(recover),
    )
    .role(Role::TaskOwner)
    .by_client()
    .takes(&[
        int("task_id"),
        flag("dry_run"),
        text("dataset"),
        texts("files"),
        flag("no_child_retry").or(Preset::Bool(true)),
        flag("resurrect_datasets").or(Preset::Bool(false)),
        flag("force").or(Preset::Bool(false)),
        flag("reproduce_parent").or(Preset::Bool(false)),
        int("reproduce_upto_nth_gen").or(Preset::Int(0)),
    ])
    .doc("Refused: this server does not look for lost files."),
    Endpoint::post(
        "file_server/upload_event_picking_request",
        handler!(pick_events),
    )
    .secure()
    .by_client()
    .takes(&[
        text("run_event_list").or(Preset::Text("")),
        text("data_type").or(Preset::Text("")),
        text("stream_name").or(Preset::Text("")),
        text("dataset_name").or(Preset::Text("")),
        text("ami_tag").or(Preset::Text("")),
        text("user_dataset_name").or(Preset::Text("")),
        text("locked_by").or(Preset::Text("")),
        text("parameters").or(Preset::Text("")),
        text("input_file_list").or(Preset::Text("")),
        text("n_sites").or(Preset::Text("")),
        text("user_task_name").or(Preset::Text("")),
        text("ei_api").or(Preset::Text("")),
        flag("include_guids").or(Preset::Bool(false)),
    ])
    .doc("Refused: this server has no index of events."),
    Endpoint::legacy(
        "putEventPickingRequest",
        LegacyBody::Text,
        handler!(pick_events_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: this server has no index of events."),
    Endpoint::legacy(
        "put_file_recovery_request",
        LegacyBody::Json,
        handler!(recover_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: this server does not look for lost files."),
    Endpoint::legacy("put_checkpoint", LegacyBody::Json, handler!(put_checkpoint))
        .secure()
        .by_harvester()
        .takes(&[file("file")
            .required()
            .doc("the checkpoint, named `TASK_POINT`")])
        .file_max(|name| checkpoint_max(name).as_bytes())
        .doc("Takes a checkpoint of a hyperparameter optimisation."),
    Endpoint::legacy(
        "delete_checkpoint",
        LegacyBody::Json,
        handler!(drop_checkpoint),
    )
    .secure()
    .by_harvester()
    .takes(&[text("task_id").required(), text("sub_id").required()])
    .doc("Removes a checkpoint of a hyperparameter optimisation."),
];

/// Runs what may block on files.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Splits off the file of a call that takes one, with its checked name.
fn sent(call: &mut Call) -> Result<(Upload, String), Reply> {
    let Some(upload) = call.upload.take() else {
        return Err(Reply::refusal("no file came"));
    };
    let name = cache_file_name(&upload.name).map_err(refused_name)?;
    let name = name.to_owned();
    Ok((upload, name))
}

fn named(call: &Call, field: &str) -> Result<String, Reply> {
    let said = call.text(field).unwrap_or_default();
    let name = cache_file_name(&said).map_err(refused_name)?;
    Ok(name.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn refused_name(error: CacheNameError) -> Reply {
    Reply::refusal(format!("ERROR: {error}"))
}

fn not_written(error: &std::io::Error, name: &str) -> Reply {
    tracing::error!(%error, name, "a file cannot be written to the cache");
    Reply::refusal(format!("ERROR: cannot write file: {error}"))
}

/// Puts a file that has come in its place.
async fn place(
    cache: &CacheFolder,
    upload: &Upload,
    shelf: Shelf,
    name: &str,
    same: SameName,
) -> std::io::Result<()> {
    let (cache, path, name) = (cache.clone(), upload.path.clone(), name.to_owned());
    on_disk(move || cache.place(&path, shelf, &name, same)).await
}

async fn validate(call: Call) -> Reply {
    let Some(size) = call.whole("file_size").map(ByteCount::from_bytes) else {
        return Reply::refusal(NOT_FOUND);
    };
    let checksum = call.text("checksum").unwrap_or_default();
    let user = call.caller.name.clone();
    let found = call
        .app
        .write(move |ctx, ledger| same_cache_file(ctx, ledger, &user, size, &checksum))
        .await;
    match found {
        Ok(Some(name)) => {
            let (cache, name) = (call.app.cache.clone(), name);
            let (name, is_there) = on_disk(move || {
                let is_there = cache.touch(Shelf::Files, &name).is_ok();
                (name, is_there)
            })
            .await;
            if is_there {
                let message = format!("FOUND:{}:{name}", host_of(&call.origin));
                return Reply::data_and_message(serde_json::Value::Null, message);
            }
            Reply::refusal(NOT_FOUND)
        }
        Ok(None) => Reply::refusal(NOT_FOUND),
        Err(error) => failed(&error),
    }
}

/// The host of an origin. Clients put their own port behind it.
fn host_of(origin: &str) -> &str {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

async fn upload(mut call: Call) -> Reply {
    let (upload, name) = match sent(&mut call) {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let same = if name.ends_with(OVERWRITES) {
        SameName::Goes
    } else {
        SameName::Stays
    };
    let path = upload.path.clone();
    let checksum = match on_disk(move || gzip_checksum(&path)).await {
        Ok(checksum) => checksum.map(|sum| sum.to_string()).unwrap_or_default(),
        Err(error) => return not_written(&error, &name),
    };
    let cache = call.app.cache.clone();
    match place(&cache, &upload, Shelf::Files, &name, same).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            touch_both(&call, name).await;
            return Reply::refusal(CANNOT_OVERWRITE);
        }
        Err(error) => return not_written(&error, &name),
    }
    if name.ends_with(NOT_NOTED) {
        return Reply::data(serde_json::Value::Null);
    }
    let (user, size) = (call.caller.name.clone(), ByteCount::from_bytes(upload.size));
    let noted = {
        let name = name.clone();
        call.app
            .write(move |ctx, ledger| note_cache_file(ctx, ledger, &name, &user, size, &checksum))
            .await
    };
    match noted {
        Ok(()) => Reply::data(serde_json::Value::Null),
        Err(error) => {
            // The client sends it again, and must find its name free.
            if let Err(error) = on_disk(move || cache.remove(Shelf::Files, &name)).await {
                tracing::warn!(%error, "a file that could not be noted stays in the cache");
            }
            failed(&error)
        }
    }
}

/// Notes in folder and rows that a file is of use; what fails here costs nobody a file today.
async fn touch_both(call: &Call, name: String) -> bool {
    let cache = call.app.cache.clone();
    let (name, touched) = on_disk(move || {
        let touched = cache.touch(Shelf::Files, &name);
        (name, touched)
    })
    .await;
    let noted = call
        .app
        .write(move |ctx, ledger| touch_cache_file(ctx, ledger, &name))
        .await;
    touched.is_ok() && noted.is_ok()
}

async fn touch(call: Call) -> Reply {
    match named(&call, "file_name") {
        Ok(name) if touch_both(&call, name.clone()).await => Reply::data(serde_json::Value::Null),
        Ok(name) => Reply::refusal(format!("Failed to touch file with: `{name}` is not there")),
        Err(refusal) => refusal,
    }
}

async fn delete(call: Call) -> Reply {
    match named(&call, "file_name") {
        Ok(_) => Reply::data(serde_json::Value::Null),
        Err(refusal) => refusal,
    }
}

async fn register(call: Call) -> Reply {
    let name = match named(&call, "file_name") {
        Ok(name) => name,
        Err(refusal) => return refusal,
    };
    let user = call.text("user_name").unwrap_or_default();
    let size = ByteCount::from_bytes(call.whole("file_size").unwrap_or_default());
    let checksum = call.text("checksum").unwrap_or_default();
    let noted = call
        .app
        .write(move |ctx, ledger| {
            use ailurus_server_core::ledger::CacheFileRows as _;
            if ledger.cache_file(&name)?.is_some() {
                return Ok(false);
            }
            note_cache_file(ctx, ledger, &name, &user, size, &checksum)?;
            Ok::<_, ailurus_server_core::LedgerError>(true)
        })
        .await;
    match noted {
        Ok(true) => Reply::data(serde_json::Value::Null),
        Ok(false) => Reply::refusal("WARNING: file exist"),
        Err(error) => failed(&error),
    }
}

/// Harvester sends here, bit by bit, what it should send to `update_jedi_log`: only that is a stream
/// of zlib.
async fn upload_log(mut call: Call) -> Reply {
    let (upload, name) = match sent(&mut call) {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let (cache, path, log) = (call.app.cache.clone(), upload.path.clone(), name.clone());
    let added = on_disk(move || match inflated(&path, &log) {
        Ok(text) if !text.is_empty() => Some(cache.append_to_log(&log, &text)),
        Ok(_) | Err(_) => None,
    });
    let kept = match added.await {
        Some(added) => added,
        None => place(&call.app.cache, &upload, Shelf::Logs, &name, SameName::Goes).await,
    };
    match kept {
        Ok(()) => Reply::data(format!("{}/cache/jedilog/{name}", call.origin)),
        Err(error) => not_written(&error, &name),
    }
}

/// Reads what is added to a log, compressed by zlib.
fn inflated(path: &Path, log: &str) -> std::io::Result<Vec<u8>> {
    let limit = task_log_max(log).as_bytes();
    let mut text = Vec::new();
    ZlibDecoder::new(std::fs::File::open(path)?)
        .take(limit)
        .read_to_end(&mut text)?;
    Ok(text)
}

async fn update_log(mut call: Call) -> Reply {
    let (upload, name) = match sent(&mut call) {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let cache = call.app.cache.clone();
    let added = on_disk(move || cache.append_to_log(&name, &inflated(&upload.path, &name)?));
    match added.await {
        Ok(()) => Reply::data(serde_json::Value::Null),
        Err(error) => Reply::refusal(format!("ERROR: cannot update file with {error}")),
    }
}

async fn download_log(call: Call) -> Reply {
    let name = match named(&call, "log_name") {
        Ok(name) => name,
        Err(refusal) => return refusal,
    };
    let offset: u64 = call.whole("offset").unwrap_or_default();
    let cache = call.app.cache.clone();
    let read = on_disk(move || -> std::io::Result<Vec<u8>> {
        use std::io::{Seek as _, SeekFrom};
        let (mut file, _) = cache.open(Shelf::Logs, &name)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut text = Vec::new();
        file.take(LOG_PART_MAX).read_to_end(&mut text)?;
        Ok(text)
    });
    // The real server's answer to a log that is not there is the blank alone.
    let text = read.await.unwrap_or_default();
    Reply::Text(format!(" {}", String::from_utf8_lossy(&text)))
}

/// The name of a checkpoint in the cache.
fn checkpoint(task: &str, point: &str) -> Option<String> {
    let is_number = |text: &str| {
        !text.is_empty() && text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_id = |text: &str| {
        !text.is_empty()
            && text.len() <= 80
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (is_number(task) && is_id(point)).then(|| format!("hpo_cp_{task}_{point}"))
}

/// Keeps a checkpoint that has come; words for people either way.
async fn keep_checkpoint(mut call: Call) -> Result<String, String> {
    let no_ids = || "Failed to extract task and sub IDs".to_owned();
    let (upload, name) = sent(&mut call).map_err(|_| no_ids())?;
    let parts = name
        .split_once('_')
        .filter(|(_, point)| !point.contains('_'));
    let name = parts
        .and_then(|(task, point)| checkpoint(task, point))
        .ok_or_else(no_ids)?;
    match place(
        &call.app.cache,
        &upload,
        Shelf::Files,
        &name,
        SameName::Goes,
    )
    .await
    {
        Ok(()) => Ok(format!("/cache/{name}")),
        Err(error) => Err(format!("Cannot write file due to {error}")),
    }
}

/// Removes a checkpoint.
async fn remove_checkpoint(call: &Call) -> Result<(), String> {
    let [task, point] = ["task_id", "sub_id"].map(|name| call.text(name).unwrap_or_default());
    let not_deleted = |why: &str| format!("Failed to delete file due to {why}");
    let name = checkpoint(&task, &point).ok_or_else(|| not_deleted("ids that are none"))?;
    let cache = call.app.cache.clone();
    on_disk(move || {
        cache.open(Shelf::Files, &name)?;
        cache.remove(Shelf::Files, &name)
    })
    .await
    .map_err(|error| not_deleted(&error.to_string()))
}

async fn upload_checkpoint(call: Call) -> Reply {
    match keep_checkpoint(call).await {
        Ok(path) => {
            let message = format!("Successfully placed at {path}");
            Reply::data_and_message(path, message)
        }
        Err(reason) => Reply::refusal(reason),
    }
}

async fn delete_checkpoint(call: Call) -> Reply {
    match remove_checkpoint(&call).await {
        Ok(()) => Reply::data(serde_json::Value::Null),
        Err(reason) => Reply::refusal(reason),
    }
}

async fn put_checkpoint(call: Call) -> Reply {
    Reply::Json(match keep_checkpoint(call).await {
        Ok(path) => json!({"status": true, "message": format!("Successfully placed at {path}")}),
        Err(reason) => json!({"status": false, "message": reason}),
    })
}

async fn drop_checkpoint(call: Call) -> Reply {
    Reply::Json(match remove_checkpoint(&call).await {
        Ok(()) => json!({"status": true, "message": "OK"}),
        Err(reason) => json!({"status": false, "message": reason}),
    })
}

async fn recover(_call: Call) -> Reply {
    Reply::refusal(NO_RECOVERY)
}

async fn recover_legacy(_call: Call) -> Reply {
    Reply::Json(json!([false, NO_RECOVERY]))
}

async fn pick_events(_call: Call) -> Reply {
    Reply::refusal(NO_PICKING)
}

async fn pick_events_legacy(_call: Call) -> Reply {
    Reply::Text(format!("ERROR : {NO_PICKING}"))
}
