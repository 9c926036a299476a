//! The queues of a deployment and their storage, as settings and in CRIC's form.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Settings;

/// One queue of a deployment.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Its name.
    pub name: String,
    /// Its site; the storage endpoint is `SITE_DISK`.
    pub site: String,
    /// Pilots that run at a time.
    pub slots: u32,
    /// Minutes in which a pilot asks for a further job; zero means one job a pilot.
    pub time_floor_minutes: u32,
    /// Its storage; none for a folder below that of the deployment.
    pub storage: Option<SiteStorage>,
    /// CRIC's `catchall`: further words for pilots.
    pub catchall: String,
}

/// Storage that is a server.
#[derive(Debug, Clone)]
pub struct SiteStorage {
    /// The copy tools of the queue, the preferred one first, for example `xrdcp`.
    pub tools: Vec<String>,
    /// The ways in, the preferred one first; the same for reading and writing.
    pub protocols: Vec<Protocol>,
    /// What the queue's pilots are told in the environment, for example `X509_CERT_DIR`.
    pub environment: Vec<(String, String)>,
}

/// One way into storage, as CRIC describes it.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Scheme, host and port, for example `root://host:1094/`.
    pub endpoint: String,
    /// What comes before the path of a file, for example `/data/`.
    pub path: String,
    /// CRIC's name of its kind, for example `XROOT`.
    pub flavour: String,
}

impl QueueSettings {
    /// A queue whose pilots go on for an hour.
    #[must_use]
    pub fn new(name: &str, site: &str, slots: u32) -> Self {
        Self {
            name: name.to_owned(),
            site: site.to_owned(),
            slots,
            time_floor_minutes: 60,
            storage: None,
            catchall: String::new(),
        }
    }

    /// Returns the name of its storage endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}_DISK", self.site)
    }

    /// The same queue with one job a pilot.
    #[must_use]
    pub fn with_one_job_a_pilot(mut self) -> Self {
        self.time_floor_minutes = 0;
        self
    }
}

/// Returns the storage of a queue, a folder that is made for it if it has no other.
fn storage_of(queue: &QueueSettings, folder: &Path) -> anyhow::Result<SiteStorage> {
    if let Some(storage) = &queue.storage {
        return Ok(storage.clone());
    }
    let path = folder.join("storage").join(queue.endpoint());
    fs::create_dir_all(&path).with_context(|| format!("`{}` cannot be made", path.display()))?;
    Ok(SiteStorage {
        tools: vec!["local".to_owned()],
        protocols: vec![Protocol {
            endpoint: "file://".to_owned(),
            path: format!("{}/", path.display()),
            flavour: "POSIX".to_owned(),
        }],
        environment: Vec::new(),
    })
}

/// Writes queue and storage data in CRIC's form.
pub(super) fn write_queue_data(settings: &Settings) -> anyhow::Result<()> {
    let mut queues = serde_json::Map::new();
    let mut storages = serde_json::Map::new();
    for queue in &settings.queues {
        let endpoint = queue.endpoint();
        let storage = storage_of(queue, &settings.folder)?;
        let tools = &storage.tools;
        let tools_by_activity = json!({"pr": tools, "pw": tools, "pl": tools,
            "read_lan": tools, "write_lan": tools});
        let set_ups = tools
            .iter()
            .map(|tool| (tool.clone(), json!({"setup": ""})));
        let set_ups: serde_json::Map<String, Value> = set_ups.collect();
        let places = json!({"read_lan": [endpoint], "write_lan": [endpoint], "pr": [endpoint],
            "pw": [endpoint], "pl": [endpoint]});
        queues.insert(
            queue.name.clone(),
            json!({"nickname": queue.name, "panda_resource": queue.name, "state": "ACTIVE",
                "status": "online", "atlas_site": queue.site, "type": "unified",
                "resource_type": "grid", "corecount": 1, "maxrss": 4000, "maxwdir": 20000,
                "maxtime": 86400, "timefloor": queue.time_floor_minutes, "catchall": queue.catchall, "params": {},
                "container_type": "", "is_cvmfs": false, "allow_wan": true, "copytools": set_ups,
                "acopytools": tools_by_activity, "astorages": places}),
        );
        let protocols = storage.protocols.iter().zip(1..).map(|(protocol, id)| {
            json!({"endpoint": protocol.endpoint, "path": protocol.path,
                "flavour": protocol.flavour, "id": id})
        });
        let protocols: Vec<Value> = protocols.collect();
        storages.insert(
            endpoint.clone(),
            json!({"name": endpoint, "site": queue.site, "type": "DATADISK", "state": "ACTIVE",
                "is_deterministic": true, "rprotocols": {},
                "arprotocols": {"read_lan": protocols, "write_lan": protocols,
                    "read_wan": protocols, "write_wan": protocols}}),
        );
    }
    write_json(&settings.folder.join("queues.json"), &Value::Object(queues))?;
    write_json(
        &settings.folder.join("storages.json"),
        &Value::Object(storages),
    )
}

fn write_json(path: &Path, value: &Value) -> anyhow::Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?)
        .with_context(|| format!("`{}` cannot be written", path.display()))
}
