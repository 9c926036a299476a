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
    http::Answer,
    place::{self, Profile},
    postgres::{self, Durability, PostgresServer},
    small_disk::SmallDisk,
    wait::wait_for,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::Ended;

/// The one queue.
pub(crate) const QUEUE: &str = "LOAD";
/// How long a server may take to start, its database being there.
const START_LIMIT: Duration = Duration::from_secs(30);
/// After which silence a job is lost, where no test is about that.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// What keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// What lies on a disk that can be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSmallDisk {
    Nothing,
    /// The rows; with SQLite its log as well.
    Rows,
    /// The write-ahead log of PostgreSQL.
    Log,
}

/// Size of that disk, in MiB: what lies there takes less than half of it.
const DISK_MIB: u32 = 96;

/// Messages in one call that makes the rows grow.
const DIALOGS: u64 = 200;

/// Servers over one database.
pub(crate) struct House {
    // They end in this order: who uses something goes before it.
    /// None while one is down.
    servers: Vec<Option<(Child, String)>>,
    postgres: Option<PostgresServer>,
    disk: Option<SmallDisk>,
    folder: TempDir,
    /// Messages that were sent to make the rows grow.
    n_dialogs: u64,
}

impl House {
    /// Starts it; none if the machine has no such database.
    pub(crate) fn build(kind: DatabaseKind, n_servers: usize) -> Option<Self> {
        Self::build_with(kind, n_servers, OnSmallDisk::Nothing, "")
    }

    /// Starts it with another time after which a silent job is lost.
    pub(crate) fn build_impatient(
        kind: DatabaseKind,
        n_servers: usize,
        heartbeat_timeout: Duration,
    ) -> Option<Self> {
        let (disk, lines) = (OnSmallDisk::Nothing, "");
        Self::build_all(kind, n_servers, disk, lines, heartbeat_timeout)
    }

    /// Starts it with something on a small disk, and further lines in the servers' configuration;
    /// none if the machine has no such database, or no disk can be mounted.
    pub(crate) fn build_with(
        kind: DatabaseKind,
        n_servers: usize,
        on_disk: OnSmallDisk,
        lines: &str,
    ) -> Option<Self> {
        Self::build_all(kind, n_servers, on_disk, lines, HEARTBEAT_TIMEOUT)
    }

    fn build_all(
        kind: DatabaseKind,
        n_servers: usize,
        on_disk: OnSmallDisk,
        lines: &str,
        heartbeat_timeout: Duration,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if kind == DatabaseKind::Postgres && !postgres::is_there().unwrap() {
            return None;
        }
        let disk = match on_disk {
            OnSmallDisk::Nothing => None,
            OnSmallDisk::Rows | OnSmallDisk::Log => {
                Some(SmallDisk::mount(&folder.path().join("disk"), DISK_MIB).unwrap()?)
            }
        };
        let postgres = match kind {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres => Some(start_postgres(folder.path(), on_disk)),
        };
        let rows = match (&disk, on_disk) {
            (Some(disk), OnSmallDisk::Rows) => disk.path(),
            _ => folder.path(),
        };
        let database = match &postgres {
            Some(postgres) if on_disk == OnSmallDisk::Rows => new_database_at(postgres, rows),
            Some(postgres) => postgres.new_database().unwrap(),
            None => rows.join("server.db").display().to_string(),
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
             {lines}\n[limits]\nsent_timeout = \"3s\"\nheartbeat_timeout = \"{}s\"\nattempts_max = 10\n",
            heartbeat_timeout.as_secs()
        );
        fs::write(folder.path().join("server.toml"), text).unwrap();
        let mut house = Self {
            folder,
            postgres,
            disk,
            n_dialogs: 0,
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

    /// Fills the disk, waits until a server refuses a change, and gives the space back. A database
    /// that has given up is started again.
    pub(crate) fn fill_disk_for_a_while(&mut self) {
        self.disk().fill().unwrap();
        let refusal = wait_for("a refusal", START_LIMIT, || {
            let answer = self.grow()?;
            Ok((answer.status != 200).then_some(answer))
        });
        let refusal = refusal.unwrap();
        let text = String::from_utf8_lossy(&refusal.body).into_owned();
        assert_eq!(refusal.status, 503, "{text}");
        assert!(text.starts_with("ERROR : "), "{text}");
        self.disk().relieve().unwrap();
        if let Some(postgres) = &mut self.postgres {
            postgres.revive().unwrap();
        }
    }

    fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it has a small one")
    }

    /// Adds some 100 kB by a call of PanDA's.
    fn grow(&mut self) -> anyhow::Result<Answer> {
        let first = self.n_dialogs;
        self.n_dialogs += DIALOGS;
        let dialogs: Vec<Value> = (first..self.n_dialogs)
            .map(|nr| {
                json!({"diagID": nr, "moduleName": "submitter", "identifier": QUEUE,
                    "messageLevel": "INFO", "diagMessage": "x".repeat(500)})
            })
            .collect();
        let body = json!({"harvester_id": "h", "dialogs": dialogs}).to_string();
        let headers = "Content-Type: application/json\r\n";
        let mut connection = Connection::open(&self.addresses()[0])?;
        let path = "/api/v1/harvester/add_dialogs";
        connection.send("POST", path, headers, body.as_bytes())
    }

    /// Its PostgreSQL server.
    pub(crate) fn postgres(&self) -> &PostgresServer {
        self.postgres.as_ref().expect("it has one")
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
        self.get_any(&format!("/ailurus/v1/{path}"))
    }

    /// Reads JSON from any path.
    pub(crate) fn get_any(&self, path: &str) -> Value {
        let mut connection = Connection::open(&self.addresses()[0]).unwrap();
        let answer = connection
            .send("GET", path, "Accept: application/json\r\n", b"")
            .unwrap();
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        serde_json::from_slice(&answer.body).unwrap()
    }
}

fn start_postgres(folder: &Path, on_disk: OnSmallDisk) -> PostgresServer {
    let place = folder.join("postgres");
    let started = match on_disk {
        OnSmallDisk::Nothing | OnSmallDisk::Rows => {
            PostgresServer::start(&place, Durability::Durable)
        }
        OnSmallDisk::Log => PostgresServer::start_with_small_log(&place, &folder.join("disk/log")),
    };
    started.unwrap()
}

/// Makes a database whose files are in a folder.
fn new_database_at(postgres: &PostgresServer, folder: &Path) -> String {
    let place = folder.join("data").display().to_string();
    for sql in [
        format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir {place}'"),
        format!("CREATE TABLESPACE small LOCATION '{place}'"),
        "CREATE DATABASE small TEMPLATE template0 TABLESPACE small".to_owned(),
    ] {
        postgres.ask("postgres", &sql).unwrap();
    }
    postgres.url("small")
}

fn read(path: &Path) -> String {
    fs::read_to_string(PathBuf::from(path)).unwrap_or_default()
}
