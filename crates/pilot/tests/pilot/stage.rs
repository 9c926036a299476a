//! Everything that one pilot needs: a directory, a storage, a server with one job.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::stand_in::HttpStandIn;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{self, Call, Shared, SharedState, Speaks};

/// Longest wait for anything, a safety net for broken code.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    place: TempDir,
    shared: SharedState,
    server: HttpStandIn,
    has_job: bool,
    /// The job, to be changed before the run.
    pub(crate) job: Value,
}

/// A pilot that has ended, and what it told the server.
pub(crate) struct PilotRun {
    pub(crate) exit_code: Option<i32>,
    pub(crate) output: String,
    calls: Vec<Call>,
}

/// A pilot that runs.
pub(crate) struct Pilot {
    child: Child,
    output: PathBuf,
    shared: SharedState,
}

impl Stage {
    /// A stage whose job runs this script, without files but the log.
    pub(crate) fn new(script: &str, content: &str) -> Self {
        let place = tempfile::tempdir().expect("space");
        for directory in ["store", "work", "outside"] {
            fs::create_dir(place.path().join(directory)).expect("space");
        }
        let shared = Arc::new(Mutex::new(Shared {
            speaks: Speaks::V1,
            job: None,
            files: [].into(),
            busy: [].into(),
            command: None,
            calls: Vec::new(),
        }));
        let server = stand_in::start(shared.clone());
        let store = format!("{}/store/", place.path().display());
        let mut stage = Self {
            job: plain_job(&format!("{}/trf/{script}", server.url())),
            place,
            shared,
            server,
            has_job: true,
        };
        stage.serve(&format!("/trf/{script}"), content.as_bytes());
        stage.serve("/queue.json", queue().to_string().as_bytes());
        stage.serve("/storage.json", storage(&store).to_string().as_bytes());
        stage
    }

    pub(crate) fn without_job() -> Self {
        let mut stage = Self::new("run.sh", "");
        stage.has_job = false;
        stage
    }

    pub(crate) fn speaking(self, speaks: Speaks) -> Self {
        self.shared.lock().expect("free").speaks = speaks;
        self
    }

    /// The server answers so many requests for a path by 503.
    pub(crate) fn busy(self, path: &str, times: u32) -> Self {
        let mut shared = self.shared.lock().expect("free");
        shared.busy.insert(path.to_owned(), times);
        drop(shared);
        self
    }

    pub(crate) fn with_input(mut self, name: &str, content: &[u8]) -> Self {
        let path = self.stored_path("user.a", name);
        fs::create_dir_all(path.parent().expect("below the store")).expect("space");
        fs::write(&path, content).expect("space");
        for (field, value) in [
            ("inFiles", json!(name)),
            ("realDatasetsIn", json!("dsin")),
            ("GUID", json!("G1")),
            ("fsize", json!(content.len().to_string())),
            ("checksum", json!(format!("ad:{:08x}", adler32(content)))),
            ("scopeIn", json!("user.a")),
            ("ddmEndPointIn", json!("EP")),
            ("prodDBlockToken", json!("NULL")),
        ] {
            self.job[field] = value;
        }
        self
    }

    /// The queue moves files by this tool.
    pub(crate) fn with_copy_tool(mut self, tool: &str) -> Self {
        let mut queue = queue();
        queue["copytools"] = json!({tool: {}});
        queue["acopytools"] = json!({"default": [tool]});
        self.serve("/queue.json", queue.to_string().as_bytes());
        self
    }

    pub(crate) fn with_output(mut self, name: &str) -> Self {
        self.job["outFiles"] = json!(format!("{name},log.tgz"));
        self.job["realDatasets"] = json!("ds,ds");
        self.job["destinationDblock"] = json!("ds,ds");
        self.job["scopeOut"] = json!("user.a");
        self.job["ddmEndPointOut"] = json!("EP,EP");
        self
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file of the pilot")
    }

    pub(crate) fn remove_inputs(&self) {
        fs::remove_dir_all(self.path("store")).expect("a store");
    }

    /// Puts the job where a wrapper would, as old servers write it.
    pub(crate) fn put_job_in_place(&self) -> PathBuf {
        let file = self.path("outside").join("pandaJobData.out");
        fs::write(&file, stand_in::legacy_text(&self.job)).expect("space");
        file
    }

    /// What the pilot left where it works.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("work")).expect("a directory");
        entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Returns where an output is stored.
    pub(crate) fn stored(&self, name: &str) -> PathBuf {
        self.stored_path("user.a", name)
    }

    /// The server answers all updates by this command.
    pub(crate) fn answer_updates(&self, command: &str) {
        self.shared.lock().expect("free").command = Some(command.to_owned());
    }

    /// Waits until the output of the pilot that was started last has a line with this text.
    pub(crate) fn wait_for_line(&self, text: &str) {
        let output = self.path("pilot.out");
        self.wait_until(|| {
            let output = fs::read_to_string(&output).unwrap_or_default();
            output.contains(text)
        });
    }

    pub(crate) fn wait_until(&self, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            let output = fs::read_to_string(self.path("pilot.out")).unwrap_or_default();
            assert!(begin.elapsed() < LIMIT, "it does not happen: {output}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn wait_for_file(&self, name: &str) {
        let path = self.path("work").join(name);
        let begin = Instant::now();
        while fs::read_to_string(&path)
            .unwrap_or_default()
            .trim()
            .is_empty()
        {
            assert!(begin.elapsed() < LIMIT, "`{name}` does not appear");
            thread::sleep(Duration::from_millis(5));
        }
        fs::copy(&path, self.path(name)).expect("space");
    }

    pub(crate) fn run(&self) -> PilotRun {
        self.run_with(&[])
    }

    pub(crate) fn run_with(&self, environment: &[(&str, &str)]) -> PilotRun {
        self.start_with(environment).finish()
    }

    pub(crate) fn start(&self) -> Pilot {
        self.start_with(&[])
    }

    /// Starts a pilot for which the server has no job.
    pub(crate) fn start_without_job(&self, arguments: &[&str]) -> Pilot {
        self.spawn(&[], arguments)
    }

    /// Runs a pilot that works on a file system of so many MiB; none where the machine lets nobody
    /// make one.
    pub(crate) fn run_on_small_disk(&self, size_mib: u32) -> Option<PilotRun> {
        let profile = "name = \"small\"\ndescription = \"For a small disk.\"\n\
            [limits]\nfree_space_before = \"1 MiB\"\nfree_space_during = \"1 MiB\"\n\
            [[payload.commands]]\ntransformation = \"*\"\n\
            command = [\"./{script}\", \"{arguments}\"]\n";
        fs::write(self.path("small.toml"), profile).expect("space");
        self.shared.lock().expect("free").job = Some(self.job.clone());
        let mount = format!(
            "mount -t tmpfs -o size={size_mib}m none '{}' || exit 125; exec \"$@\"",
            self.path("work").display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &mount, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_ailurus-pilot"));
        let profiles = self.place.path().display().to_string();
        let arguments = ["--profile-path", &profiles, "--pilot-user", "small"];
        let run = self.spawn_by(command, &[], &arguments).finish();
        (run.exit_code != Some(125) && !run.output.contains("unshare")).then_some(run)
    }

    /// Says whether the server was told of a job as this says.
    pub(crate) fn has_heard(&self, what: impl Fn(&Value) -> bool) -> bool {
        let shared = self.shared.lock().expect("free");
        shared.calls.iter().any(|call| what(&call.fields))
    }

    /// Runs a pilot with further options.
    pub(crate) fn run_as(&self, arguments: &[&str]) -> PilotRun {
        self.shared.lock().expect("free").job = Some(self.job.clone());
        self.spawn(&[], arguments).finish()
    }

    /// Runs a pilot that only ends the jobs of dead ones.
    pub(crate) fn recover(&self, dir: &Path) -> PilotRun {
        let dir = dir.display().to_string();
        self.spawn(&[], &["--recover", &dir]).finish()
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Pilot {
        self.start_where(environment, &[])
    }

    /// Starts a pilot with more arguments.
    pub(crate) fn start_as(&self, arguments: &[&str]) -> Pilot {
        self.start_where(&[], arguments)
    }

    /// Starts a pilot with more arguments in an environment.
    pub(crate) fn start_where(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Pilot {
        if self.has_job {
            self.shared.lock().expect("free").job = Some(self.job.clone());
        }
        self.spawn(environment, arguments)
    }

    fn spawn(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Pilot {
        let command = Command::new(env!("CARGO_BIN_EXE_ailurus-pilot"));
        self.spawn_by(command, environment, arguments)
    }

    fn spawn_by(
        &self,
        mut command: Command,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Pilot {
        let output = self.path("pilot.out");
        let out = fs::File::create(&output).expect("space");
        let child = command
            .current_dir(self.path("outside"))
            .args([
                "-q",
                "Q",
                "-j",
                "user",
                "-v",
                "1",
                "--pilot-user",
                "generic",
                "-b",
                "-t",
            ])
            .args([
                "--url",
                &self.url(),
                "--queuedata-url",
                &format!("{}/queue.json", self.url()),
            ])
            .args(["--storagedata-url", &format!("{}/storage.json", self.url())])
            .arg("-a")
            .arg(self.path("work"))
            .arg("--timing-file")
            .arg(self.path("timing.json"))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .expect("the pilot starts");
        Pilot {
            child,
            output,
            shared: self.shared.clone(),
        }
    }

    fn serve(&mut self, path: &str, content: &[u8]) {
        let mut shared = self.shared.lock().expect("free");
        shared.files.insert(path.to_owned(), content.to_vec());
    }

    fn stored_path(&self, scope: &str, name: &str) -> PathBuf {
        let (scope, lfn) = (
            ailurus_model::Scope::new(scope),
            ailurus_model::Lfn::new(name),
        );
        let path = ailurus_transfer::deterministic_path(&scope, &lfn);
        self.path("store").join(Path::new(&path))
    }
}

impl Pilot {
    /// Sends SIGTERM.
    pub(crate) fn signal(&mut self) {
        self.send(rustix::process::Signal::TERM);
    }

    /// Kills it, as the kernel or an operator would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    pub(crate) fn send(&mut self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process number");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    pub(crate) fn finish(mut self) -> PilotRun {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if begin.elapsed() > LIMIT {
                self.child.kill().expect("a child");
                panic!(
                    "the pilot hangs: {}",
                    fs::read_to_string(&self.output).unwrap_or_default()
                );
            }
            thread::sleep(Duration::from_millis(2));
        };
        PilotRun {
            exit_code: status.code(),
            output: fs::read_to_string(&self.output).expect("output"),
            calls: self.shared.lock().expect("free").calls.clone(),
        }
    }
}

impl PilotRun {
    pub(crate) fn calls_to(&self, path: &str) -> Vec<Value> {
        let calls = self.calls.iter().filter(|call| call.path == path);
        calls.map(|call| call.fields.clone()).collect()
    }

    pub(crate) fn has_token_at(&self, path: &str) -> bool {
        self.calls
            .iter()
            .any(|call| call.path == path && call.has_token)
    }

    /// The statuses of all updates, in order.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let updates = self.calls_to("/api/v1/pilot/update_job");
        let status = |update: &Value| update["job_status"].as_str().map(str::to_owned);
        updates.iter().filter_map(status).collect()
    }

    pub(crate) fn last_update(&self) -> Value {
        let last = self.calls_to("/api/v1/pilot/update_job").pop();
        last.unwrap_or_else(|| panic!("no update: {}", self.output))
    }

    pub(crate) fn last_line(&self) -> &str {
        self.output.lines().last().unwrap_or_default()
    }
}

fn plain_job(transformation: &str) -> Value {
    json!({
        "StatusCode": 0, "PandaID": 1001, "prodSourceLabel": "user", "swRelease": "NULL",
        "homepackage": "NULL", "transformation": transformation, "jobPars": "-x 1",
        "inFiles": "", "outFiles": "log.tgz", "realDatasets": "ds", "destinationDblock": "ds",
        "logFile": "log.tgz", "logGUID": "AAAA", "GUID": "", "checksum": "", "fsize": "",
        "scopeIn": "", "scopeOut": "", "scopeLog": "user.a", "ddmEndPointIn": "",
        "ddmEndPointOut": "EP", "attemptNr": 1, "prodUserID": "me", "cmtConfig": "NULL",
        "transferType": "NULL", "taskID": 77, "coreCount": 1, "jobsetID": 5,
        "resource_type": "SCORE", "maxWalltime": 0,
    })
}

fn queue() -> Value {
    let tools = json!({"pr": ["mv"], "pw": ["mv"], "read_lan": ["mv"], "write_lan": ["mv"]});
    json!({
        "nickname": "Q", "panda_resource": "Q", "state": "ACTIVE", "status": "online",
        "atlas_site": "SITE", "type": "unified", "corecount": 1, "maxwdir": 20000,
        "maxrss": 4000, "timefloor": 0, "catchall": "", "params": {}, "container_type": "",
        "resource_type": "grid", "is_cvmfs": false, "maxtime": 0, "copytools": {"mv": {}},
        "acopytools": tools, "astorages": {"read_lan": ["EP"], "write_lan": ["EP"]},
    })
}

fn storage(path: &str) -> Value {
    let protocol = json!([{"endpoint": "file://", "path": path, "flavour": "POSIX", "id": 1}]);
    json!({"EP": {
        "name": "EP", "id": 1, "site": "SITE", "type": "DATADISK", "is_deterministic": true,
        "state": "ACTIVE", "rprotocols": {},
        "arprotocols": {"read_lan": protocol, "write_lan": protocol},
    }})
}

pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    (high << 16) | low
}
