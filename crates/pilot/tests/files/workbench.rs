//! A directory with a script, and the real pilot started in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for anything, a safety net for broken code.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Workbench {
    place: TempDir,
}

/// A pilot that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workbench {
    /// A directory `here` with this script, `point` for Harvester and `scratch` for pilots.
    pub(crate) fn new(script: &str) -> Self {
        let place = tempfile::tempdir().expect("space");
        for name in ["here", "point", "scratch"] {
            fs::create_dir(place.path().join(name)).expect("space");
        }
        let bench = Self { place };
        fs::write(bench.path("here/run.sh"), script).expect("space");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn read_json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the bench")).expect("space");
        fs::write(path, content).expect("space");
    }

    /// A command for the pilot with a clean environment, in `here`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ailurus-pilot"));
        command
            .args(words)
            .current_dir(self.path("here"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", self.path("scratch"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Options of a pilot that works with Harvester's files.
    pub(crate) fn harvester_words(&self, words: &[&str]) -> Vec<String> {
        let point = self.path("point").display().to_string();
        let scratch = self.path("scratch").display().to_string();
        [
            "-q",
            "Q",
            "-z",
            "-a",
            &scratch,
            "--harvester-workdir",
            &point,
        ]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect()
    }

    /// A job that runs the script, with one input, one output and a log.
    pub(crate) fn job(&self, panda_id: u64) -> Value {
        json!({
            "PandaID": panda_id, "attemptNr": 1, "taskID": 7, "prodSourceLabel": "user",
            "transformation": self.path("here/run.sh").display().to_string(), "jobPars": "-x 1",
            "coreCount": 1, "inFiles": "", "outFiles": "out.dat,log.tgz",
            "realDatasets": "ds,ds", "scopeOut": "user.a", "ddmEndPointOut": "EP,EP",
            "logFile": "log.tgz", "logGUID": "AAAA", "scopeLog": "user.a",
        })
    }

    /// What is left where pilots made their directories.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("scratch")).expect("a directory");
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    pub(crate) fn wait_for(&self, name: &str) {
        let path = self.path(name);
        wait_until(name, || is_filled(&path));
    }
}

fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() > 0)
}

/// Waits for a condition, within the limit.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "`{what}` does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a pilot.
pub(crate) fn start(command: &mut Command) -> Child {
    command.spawn().expect("the pilot starts")
}

/// Waits for a pilot's end.
pub(crate) fn finish(mut child: Child) -> Ended {
    let killer = {
        let pid = i32::try_from(child.id()).expect("a process number");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        thread::spawn(move || {
            if receiver.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        sender
    };
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("a child");
    drop(killer);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Runs a pilot to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    finish(start(command))
}
