//! Servers over one database, which can be killed one by one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ailurus_testkit::{
    Connection,
    child::Child,
    place::{self, Profile},
    postgres::{self, Durability, PostgresServer},
    wait::wait_for,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::Ended;

/// The one queue.
pub(crate) const QUEUE: &str = "LOAD";
/// How long a server may take to start, its database being there.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// Servers over one database.
pub(crate) struct House {
    folder: TempDir,
    postgres: Option<PostgresServer>,
    /// None while one is down.
    servers: Vec<Option<(Child, String)>>,
}

impl House {
    /// Starts it; none if the machine has no such database.
    pub(crate) fn build(kind: DatabaseKind, n_servers: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let postgres = match kind {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres => {
                if !postgres::is_there().unwrap() {
                    return None;
                }
                let place = folder.path().join("postgres");
                Some(PostgresServer::start(&place, Durability::Durable).unwrap())
            }
        };
        let database = match &postgres {
            Some(postgres) => postgres.new_database().unwrap(),
            None => folder.path().join("server.db").display().to_string(),
        };
        let queues = json!({QUEUE: {"nickname": QUEUE, "panda_resource": QUEUE, "state": "ACTIVE",
            "status": "online", "atlas_site": "LOAD", "type": "unified", "corecount": 1,
            "maxrss": 4000, "maxwdir": 20000, "maxtime": 86400,
            "copytools": {"local": {"setup": ""}}, "acopytools": {"pw": ["local"]},
            "astorages": {"pr": ["DISK"], "pw": ["DISK"]}}});
        fs::write(folder.path().join("queues.json"), queues.to_string()).unwrap();
        let protocols = json!([{"endpoint": "file://", "path": "/x/"}]);
        let storages = json!({"DISK": {"name": "DISK", "site": "LOAD", "type": "DATADISK",
            "state": "ACTIVE", "is_deterministic": true,
            "arprotocols": {"read_lan": protocols, "write_lan": protocols}}});
        fs::write(folder.path().join("storages.json"), storages.to_string()).unwrap();
        // A job whose answer was lost is given again soon.
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"{database}\"\nqueues = \"queues.json\"\n\
             storages = \"storages.json\"\nwatch_interval = \"500ms\"\nsilence_grace = \"1s\"\n\
             [limits]\nsent_timeout = \"3s\"\nheartbeat_timeout = \"30s\"\nattempts_max = 10\n"
        );
        fs::write(folder.path().join("server.toml"), text).unwrap();
        let mut house = Self {
            folder,
            postgres,
            servers: (0..n_servers).map(|_| None).collect(),
        };
        for nr in 0..n_servers {
            house.start(nr);
        }
        Some(house)
    }

    fn start(&mut self, nr: usize) {
        let folder = self.folder.path();
        let port_file = folder.join(format!("port{nr}"));
        drop(fs::remove_file(&port_file));
        let mut command = Command::new(place::program("ailurus-server", Profile::Dev));
        command.args(["serve", "--config", "server.toml", "--port-file"]);
        command.arg(&port_file).current_dir(folder);
        let log = folder.join(format!("server{nr}.log"));
        let mut child = Child::start("server", &mut command, &log).unwrap();
        let address = wait_for("the server's address", START_LIMIT, || {
            if let Some(status) = child.ended()? {
                anyhow::bail!("it ended with {status}: {}", read(&log));
            }
            let text = fs::read_to_string(&port_file).ok();
            Ok(text
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty()))
        });
        let address = address.unwrap_or_else(|error| panic!("{error:#}\n{}", read(&log)));
        self.servers[nr] = Some((child, address));
    }

    /// Where the servers that are up listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let up = self.servers.iter().flatten();
        up.map(|(_, address)| address.clone()).collect()
    }

    /// Kills a server.
    pub(crate) fn kill(&mut self, nr: usize) {
        if let Some((mut child, _)) = self.servers[nr].take() {
            child.kill().unwrap();
        }
    }

    /// Kills a server and starts another one in its place.
    pub(crate) fn kill_and_restart(&mut self, nr: usize) {
        self.kill(nr);
        self.start(nr);
    }

    /// Kills the database and starts it again.
    pub(crate) fn kill_and_restart_database(&mut self) {
        let postgres = self.postgres.as_mut().expect("it has one");
        postgres.kill().unwrap();
        postgres.restart().unwrap();
    }

    /// Submits a task of so many jobs.
    pub(crate) fn submit(&self, name: &str, n_jobs: u32) {
        let submission = json!({"datasets": [], "tasks": [{
            "name": name, "chain": null, "user": "alice", "scope": "load",
            "source_label": "managed", "processing_type": "load", "transformation": "http://x/y",
            "parameters": "--seed {seed}", "split": {"Events": {"total": n_jobs, "per_job": 1}},
            "inputs": [], "outputs": [{"name": "out", "dataset": format!("load.{name}"),
                "lfn": format!("{name}_{{seed}}.root")}],
            "resources": {"cores": 1, "memory": 0, "disk": 0, "walltime": {"secs": 0, "nanos": 0}},
            "priority": 900, "max_attempts": 10, "queues": []}]});
        let mut connection = Connection::open(&self.addresses()[0]).unwrap();
        let headers = "Content-Type: application/json\r\n";
        let body = submission.to_string();
        let answer = connection
            .send("POST", "/ailurus/v1/tasks", headers, body.as_bytes())
            .unwrap();
        assert_eq!(
            answer.status,
            201,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    }

    /// Checks that every job is as the clients were told, and nothing is there twice.
    pub(crate) fn check(&self, ended: &Ended, n_jobs: u32) {
        let jobs = self.get(&format!("jobs?limit={}", n_jobs + 1));
        let jobs: BTreeMap<u64, &Value> = jobs
            .as_array()
            .unwrap()
            .iter()
            .map(|job| (job["panda_id"].as_u64().unwrap(), job))
            .collect();
        assert_eq!(jobs.len(), usize::try_from(n_jobs).unwrap());
        for (id, job) in &jobs {
            assert_eq!(job["status"], "finished", "{job}");
            let told = ended.finished.get(id);
            assert_eq!(told, job["attempt_nr"].as_u64().as_ref(), "job {id}: {job}");
        }
        let files = self.get("datasets/load.load");
        let files = files["files"].as_array().unwrap();
        let parts: BTreeMap<u64, &Value> = files
            .iter()
            .map(|file| (file["part"].as_u64().unwrap(), file))
            .collect();
        assert_eq!((files.len(), parts.len()), (jobs.len(), jobs.len()));
    }

    fn get(&self, path: &str) -> Value {
        let mut connection = Connection::open(&self.addresses()[0]).unwrap();
        let path = format!("/ailurus/v1/{path}");
        let answer = connection.send("GET", &path, "", b"").unwrap();
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        serde_json::from_slice(&answer.body).unwrap()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(PathBuf::from(path)).unwrap_or_default()
}
