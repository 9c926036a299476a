//! Starts a server in a folder of its own and speaks HTTP with it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::Connection;
use ailurus_wire::{Fields, body};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a server may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// The one queue of every test.
pub(crate) const QUEUE: &str = "JINR_SPD";

/// A running server.
pub(crate) struct Server {
    dir: TempDir,
    child: Child,
    address: String,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.text);
        value.unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> Fields {
        assert_eq!(self.status, 200, "{self:?}");
        body::decode_form(self.text.as_bytes())
    }

    /// The data of a successful v1 answer.
    pub(crate) fn data(&self) -> Value {
        let envelope = self.json();
        assert_eq!(envelope["success"], true, "{envelope}");
        envelope["data"].clone()
    }
}

impl Server {
    /// Starts a server with one queue that looks for silent jobs often.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with further lines in its configuration.
    pub(crate) fn start_with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), lines);
        let (child, address) = spawn(dir.path());
        Self {
            dir,
            child,
            address,
        }
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The server's folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server has logged since its start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("server.log")).unwrap()
    }

    /// Ends the server without warning and starts it again over the same database.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, address) = spawn(self.dir.path());
        self.child = child;
        self.address = address;
    }

    /// Asks the server to end and returns its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let ended = wait_for("the server's end", || self.child.try_wait().unwrap());
        ended.code()
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut connection = Connection::open(&self.address).unwrap();
        let answer = connection.send(method, path, headers, body).unwrap();
        Answer {
            status: answer.status,
            text: String::from_utf8_lossy(&answer.body).into_owned(),
        }
    }

    /// Asks with GET, for JSON where there is a choice.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "Accept: application/json\r\n", b"")
    }

    /// Calls the legacy dialect as Pilot 3 does: compressed JSON that does not say so.
    pub(crate) fn legacy(&self, method: &str, fields: &Value) -> Fields {
        let body = body::compress(fields.to_string().as_bytes());
        let path = format!("/server/panda/{method}");
        let headers = "Content-Type: application/json\r\n";
        self.send("POST", &path, headers, &body).form()
    }

    /// Calls the v1 dialect as Harvester does.
    pub(crate) fn v1(&self, call: &str, fields: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
        let path = format!("/api/v1/{call}");
        self.send("POST", &path, headers, fields.to_string().as_bytes())
    }

    /// Submits a task of so many jobs and returns its number.
    pub(crate) fn submit(&self, name: &str, jobs: u32) -> u64 {
        let answer = self.submit_raw(&submission(name, jobs));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["tasks"][0]["id"].as_u64().unwrap()
    }

    /// Submits whatever is given.
    pub(crate) fn submit_raw(&self, submission: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        let body = submission.to_string();
        self.send("POST", "/ailurus/v1/tasks", headers, body.as_bytes())
    }

    /// Shows a job as people see it.
    pub(crate) fn job(&self, panda_id: u64) -> Value {
        self.get(&format!("/ailurus/v1/jobs/{panda_id}")).json()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ailurus-server"))
        .args(args)
        .output()
        .unwrap()
}

/// A submission of one task that makes events.
pub(crate) fn submission(name: &str, jobs: u32) -> Value {
    json!({
        "datasets": [],
        "tasks": [{
            "name": name,
            "chain": "mc",
            "user": "alice",
            "scope": "spd.mc",
            "source_label": "managed",
            "processing_type": "simulation",
            "transformation": "http://localhost/trf/user/sim.py",
            "parameters": "--seed {seed} --out {output.hits}",
            "split": {"Events": {"total": u64::from(jobs) * 10, "per_job": 10}},
            "inputs": [],
            "outputs": [{"name": "hits", "dataset": format!("spd.mc:{name}.hits"),
                "lfn": format!("{name}_{{seed}}.root")}],
            "resources": {"cores": 1, "memory": 0, "disk": 0,
                "walltime": {"secs": 0, "nanos": 0}},
            "priority": 900,
            "max_attempts": 3,
            "queues": [],
        }],
    })
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
        thread::sleep(PAUSE);
    }
}

fn spawn(dir: &Path) -> (Child, String) {
    let port_file = dir.join("address");
    drop(fs::remove_file(&port_file));
    let log = fs::File::create(dir.join("server.log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ailurus-server"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(dir.join("server.toml"))
        .arg("--port-file")
        .arg(&port_file)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let address = wait_for("the server's start", || {
        if let Some(status) = child.try_wait().unwrap() {
            let log = fs::read_to_string(dir.join("server.log"));
            panic!("the server ended with {status}: {log:?}");
        }
        fs::read_to_string(&port_file).ok()
    });
    (child, address.trim().to_owned())
}

fn write_files(dir: &Path, lines: &str) {
    let queue = json!({QUEUE: {
        "nickname": QUEUE, "panda_resource": QUEUE, "state": "ACTIVE", "status": "online",
        "atlas_site": "JINR", "type": "unified", "resource_type": "grid", "corecount": 1,
        "maxrss": 4000, "maxwdir": 20000, "maxtime": 86400, "catchall": "", "params": {},
        "copytools": {"local": {"setup": ""}}, "acopytools": {"pw": ["local"]},
        "astorages": {"pr": ["EOS"], "pw": ["EOS"]}, "something_of_its_own": 7,
    }});
    fs::write(dir.join("queues.json"), queue.to_string()).unwrap();
    let protocols = json!([{"endpoint": "file://", "path": "/eos/"}]);
    let storage = json!({"EOS": {
        "name": "EOS", "site": "JINR", "type": "DATADISK", "state": "ACTIVE",
        "is_deterministic": true, "arprotocols": {"read_lan": protocols, "write_lan": protocols},
    }});
    fs::write(dir.join("storages.json"), storage.to_string()).unwrap();
    fs::create_dir(dir.join("trf")).unwrap();
    fs::write(dir.join("trf/sim.py"), "print('hello')\n").unwrap();
    fs::write(dir.join("secret"), "secret\n").unwrap();
    let pilots = json!({"spd": {"TAIL": "on"}});
    fs::write(dir.join("pilots.json"), pilots.to_string()).unwrap();
    let folder = dir.display();
    let text = format!(
        "database = \"{folder}/server.db\"\n\
         cache = \"{folder}/cache\"\n\
         queues = \"{folder}/queues.json\"\n\
         storages = \"{folder}/storages.json\"\n\
         pilot_settings = \"{folder}/pilots.json\"\n\
         transforms = \"{folder}/trf\"\n\
         watch_interval = \"100ms\"\n\
         {lines}\n"
    );
    fs::write(dir.join("server.toml"), text).unwrap();
}
