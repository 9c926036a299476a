//! The smallest data that make a pilot work: a queue, a storage, a job without files.
//!
//! Queue, resource and site have three names, so that a pilot that takes one for another is found.

use serde_json::{Value, json};

/// The queue, as on a pilot's command line.
pub const QUEUE: &str = "Q";
/// What the queue is called in messages about jobs.
pub const RESOURCE: &str = "Q_RESOURCE";
/// The site of the queue.
pub const SITE: &str = "SITE";
/// The storage endpoint.
pub const ENDPOINT: &str = "EP";
/// The scope of all files.
pub const SCOPE: &str = "user.a";

/// A job that runs a script from this URL and stores its log only.
#[must_use]
pub fn job(panda_id: u64, transformation: &str) -> Value {
    json!({
        "PandaID": panda_id, "prodSourceLabel": "user", "swRelease": "NULL",
        "homepackage": "NULL", "transformation": transformation, "jobPars": "-x 1",
        "inFiles": "", "outFiles": format!("log.{panda_id}.tgz"), "realDatasets": "ds",
        "destinationDblock": "ds", "logFile": format!("log.{panda_id}.tgz"), "logGUID": "AAAA",
        "GUID": "", "checksum": "", "fsize": "", "scopeIn": "", "scopeOut": "",
        "scopeLog": SCOPE, "ddmEndPointIn": "", "ddmEndPointOut": ENDPOINT, "attemptNr": 1,
        "prodUserID": "me", "cmtConfig": "NULL", "transferType": "NULL", "taskID": 77,
        "coreCount": 1, "jobsetID": 5, "resource_type": "SCORE", "maxWalltime": 0,
    })
}

/// Adds outputs to a job, before its log.
pub fn add_outputs(job: &mut Value, names: &[&str]) {
    let log = job["logFile"].as_str().unwrap_or_default().to_owned();
    let join = |part: &dyn Fn(&str) -> String, with_log: bool| {
        let log = with_log.then_some(log.as_str());
        let parts: Vec<String> = names.iter().copied().chain(log).map(part).collect();
        Value::from(parts.join(","))
    };
    job["outFiles"] = join(&str::to_owned, true);
    for list in ["realDatasets", "destinationDblock"] {
        job[list] = join(&|_| "ds".to_owned(), true);
    }
    job["ddmEndPointOut"] = join(&|_| ENDPOINT.to_owned(), true);
    job["scopeOut"] = join(&|_| SCOPE.to_owned(), false);
}

/// The queue's data.
#[must_use]
pub fn queue() -> Value {
    let tools = json!({"pr": ["mv"], "pw": ["mv"], "read_lan": ["mv"], "write_lan": ["mv"]});
    json!({
        "nickname": QUEUE, "panda_resource": RESOURCE, "state": "ACTIVE", "status": "online",
        "atlas_site": SITE, "type": "unified", "corecount": 1, "maxwdir": 20000,
        "maxrss": 4000, "timefloor": 0, "catchall": "", "params": {}, "container_type": "",
        "resource_type": "grid", "is_cvmfs": false, "maxtime": 0, "copytools": {"mv": {}},
        "acopytools": tools, "astorages": {"read_lan": [ENDPOINT], "write_lan": [ENDPOINT]},
    })
}

/// The storages' data: one that is mounted below this path, which ends in a slash.
#[must_use]
pub fn storages(path: &str) -> Value {
    let protocol = json!([{"endpoint": "file://", "path": path, "flavour": "POSIX", "id": 1}]);
    json!({ENDPOINT: {
        "name": ENDPOINT, "id": 1, "site": SITE, "type": "DATADISK", "is_deterministic": true,
        "state": "ACTIVE", "rprotocols": {},
        "arprotocols": {"read_lan": protocol, "write_lan": protocol},
    }})
}
