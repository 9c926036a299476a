//! What the tests of payloads share: a directory for each, a pilot to be killed, and waiting.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ailurus_process::{
    Confinement, CoreDumps, PayloadCommand, PayloadExit, RunningPayload, StartError, start,
};
use tempfile::TempDir;

/// Limit of every wait in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// First argument that makes this program a pilot with one payload in the given directory.
pub(crate) const PLAY_PILOT: &str = "play-pilot";

/// Starts two stubborn descendants, one of them a daemon in a session of its own, and waits.
pub(crate) const DAEMON_SCRIPT: &str = "trap '' TERM HUP INT
    setsid sh -c 'trap \"\" TERM HUP; echo $$ > daemon; while :; do sleep 600; done' &
    (trap '' TERM; echo started > child; exec sleep 600) &
    while [ ! -s daemon ] || [ ! -s child ]; do :; done
    echo $$ > ready
    wait";

/// A directory for one payload.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("space");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, script: &str) -> PayloadCommand {
        command_in(self.dir.path(), script)
    }

    pub(crate) fn start(&self, script: &str) -> RunningPayload {
        start(self.command(script)).expect("the payload starts")
    }

    pub(crate) fn start_error(&self, argv: &[&str]) -> StartError {
        let mut command = self.command("unused");
        command.argv = argv.iter().map(OsString::from).collect();
        start(command).expect_err("the payload cannot start")
    }

    pub(crate) fn run(&self, script: &str) -> PayloadExit {
        wait(self.start(script))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("space");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the payload wrote it")
    }

    pub(crate) fn wait_for(&self, name: &str) {
        let path = self.path(name);
        wait_until(&format!("{} is written", path.display()), || {
            fs::metadata(&path).is_ok_and(|meta| meta.len() > 0)
        });
    }

    /// Waits until nothing works in this directory any more.
    pub(crate) fn assert_all_gone(&self) {
        wait_until("all processes of the payload are gone", || {
            processes_in(self.dir.path()).is_empty()
        });
        assert!(!is_alive(&self.read("daemon")));
    }
}

/// Another process that starts a payload as a pilot does.
pub(crate) struct Pilot {
    pub(crate) child: std::process::Child,
}

impl Pilot {
    /// Returns once the payload has its daemon.
    pub(crate) fn start(fixture: &Fixture) -> Self {
        use std::os::unix::process::CommandExt;
        let mut child = Command::new(env::current_exe().expect("known"))
            .arg(PLAY_PILOT)
            .arg(fixture.dir.path())
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("says so");
        fixture.wait_for("ready");
        assert!(!processes_in(fixture.dir.path()).is_empty());
        Self { child }
    }
}

pub(crate) fn play_pilot(dir: &Path) {
    let payload = start(command_in(dir, DAEMON_SCRIPT)).expect("the payload starts");
    println!("{}", payload.pid());
    wait(payload);
}

pub(crate) fn command_in(dir: &Path, script: &str) -> PayloadCommand {
    let file = |name| File::create(dir.join(name)).expect("space");
    PayloadCommand {
        argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        env: BTreeMap::from([("PATH".into(), env::var_os("PATH").expect("set"))]),
        cwd: dir.to_owned(),
        stdout: file("stdout"),
        stderr: file("stderr"),
        core_dumps: CoreDumps::Forbidden,
        confinement: Confinement::default(),
    }
}

/// Waits in a thread, so that a hang fails the test.
pub(crate) fn wait(payload: RunningPayload) -> PayloadExit {
    let waiter = thread::spawn(|| payload.wait());
    wait_until("the payload has ended", || waiter.is_finished());
    waiter.join().expect("no panic")
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|it| !it.contains(") Z "))
}

/// Returns the processes whose work directory is `dir`.
pub(crate) fn processes_in(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir("/proc").expect("mounted").flatten();
    entries
        .filter(|it| fs::read_link(it.path().join("cwd")).is_ok_and(|cwd| cwd == dir))
        .map(|it| it.file_name())
        .collect()
}
