//! One site: a folder, a stand-in server, pilots that wait for leave to end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::stand_in::StandIn;

const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Waits for a condition, and fails the test if it does not come.
pub(crate) fn wait_until(what: &str, is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        assert!(start.elapsed() < WAIT_LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes its number into `starts`, waits for leave (a folder `leave/N` that it takes), ends with
/// code 3.
const PILOT: &str = "echo $HARVESTER_WORKER_ID >> \"$1/starts\"
while :; do
  for leave in \"$1\"/leave/*; do rmdir \"$leave\" 2>/dev/null && exit 3; done
  sleep 0.02
done";

pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) server: StandIn,
}

impl Site {
    /// A site whose queue may have that many workers.
    pub(crate) fn new(workers_max: u32) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            server: StandIn::start(),
        };
        fs::create_dir(site.path("leave")).unwrap();
        fs::write(site.path("pilot.sh"), PILOT).unwrap();
        let folder = site.folder.path().display();
        site.write_configuration(&format!(
            "harvester_id = \"test\"\nserver = \"{}\"\ndatabase = \"{folder}/harvester.db\"\n\
             cycle = \"60ms\"\n[timing]\nfast_end = \"0s\"\n\
             [[queue]]\nname = \"JINR\"\nbatch = \"local\"\nspool = \"{folder}/spool\"\n\
             workers_max = {workers_max}\n\
             command = [\"sh\", \"{folder}/pilot.sh\", \"{folder}\", \"{{queue}}\"]\n",
            site.server.url()
        ));
        site
    }

    pub(crate) fn write_configuration(&self, text: &str) {
        fs::write(self.path("harvester.toml"), text).unwrap();
    }

    pub(crate) fn start(&self) -> Harvester {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, options: &[&str]) -> Harvester {
        let log = self.path(&format!(
            "log.{}",
            fs::read_dir(self.folder.path()).unwrap().count()
        ));
        let child = Command::new(env!("CARGO_BIN_EXE_ailurus-harvester"))
            .args(["run", "--config"])
            .arg(self.path("harvester.toml"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Harvester { child, log }
    }

    /// The numbers of the workers that have started, in order.
    pub(crate) fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("starts")).unwrap_or_default();
        let mut starts: Vec<String> = text.lines().map(str::to_owned).collect();
        starts.sort();
        starts
    }

    pub(crate) fn wait_for_starts(&self, count: usize) {
        wait_until(&format!("{count} starts"), || self.starts().len() >= count);
    }

    /// Waits until Harvester has counted jobs that often again.
    pub(crate) fn let_cycles_pass(&self, count: usize) {
        const PATH: &str = "/api/v1/statistics/active_job_stats_by_site";
        let goal = self.server.calls(PATH) + count;
        wait_until("cycles pass", || self.server.calls(PATH) >= goal);
    }

    /// Lets that many pilots end.
    pub(crate) fn release(&self, count: usize) {
        for number in 0..count {
            fs::create_dir(self.path("leave").join(format!("{number}"))).unwrap();
        }
    }

    pub(crate) fn exit_files(&self) -> usize {
        self.worker_folders()
            .iter()
            .filter(|folder| folder.join("exit").exists())
            .count()
    }

    pub(crate) fn wait_for_exit_files(&self, count: usize) {
        wait_until("workers end", || self.exit_files() >= count);
    }

    /// Makes the spool unusable; its workers go on.
    pub(crate) fn break_spool(&self) {
        fs::rename(self.path("spool"), self.path("spool.away")).unwrap();
    }

    fn worker_folders(&self) -> Vec<PathBuf> {
        ["spool", "spool.away"]
            .iter()
            .flat_map(|name| fs::read_dir(self.path(name)).into_iter().flatten())
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for folder in self.worker_folders() {
            if !folder.join("exit").exists() {
                kill_worker(&folder);
            }
        }
    }
}

/// A worker that has ended meanwhile is fine too.
fn kill_worker(folder: &Path) -> Option<()> {
    let text = fs::read_to_string(folder.join("pid")).ok()?;
    let pid = text.split(' ').next()?.parse().ok()?;
    kill_process_group(Pid::from_raw(pid)?, Signal::KILL).ok()
}

/// A running `ailurus-harvester`. It is killed with this value.
pub(crate) struct Harvester {
    child: Child,
    log: PathBuf,
}

impl Harvester {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits for the end and returns the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                start.elapsed() < WAIT_LIMIT,
                "it does not end: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Harvester {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
