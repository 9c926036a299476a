//! One real pilot on a stage of its own: a stand-in server, a storage, and traps around them.
//!
//! The stage lies in a temporary folder. The pilot may write below `work` and `store` and nowhere
//! else: [`Stage::strays`] tells of everything else that has appeared or changed.
//!
//! ```text
//! work/       scratch, where the pilot makes its own directory
//! store/      the storage
//! launch/     where it is started
//! home/ tmp/  as its environment says
//! trap/       files that nobody may touch
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use ailurus_model::{Lfn, Scope};
use ailurus_testkit::{
    Child,
    panda::{PandaSettings, PandaStandIn, Update, sample},
    place::{self, Profile},
    wait::wait_for,
};
use ailurus_transfer::deterministic_path;
use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::path_text;

/// Longest life of a pilot here. Generous: it is only reached when something is wrong.
pub const LIFE_LIMIT: Duration = Duration::from_secs(120);

/// Where a pilot may write, and its log.
const OPEN_PLACES: [&str; 4] = ["work", "store", "pilot.out", "launch/pilot3/pandaIDs.out"];
/// What nobody may touch, and what is in it.
const TRAP: [(&str, &str); 2] = [("trap/file", "untouched"), ("trap/inner/file", "untouched")];

/// The surroundings of one pilot.
pub struct Stage {
    /// The server.
    pub panda: PandaStandIn,
    /// More words for the pilot's command line. They come last, so they win.
    pub options: Vec<String>,
    /// More variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Words before the pilot's command line: a program that becomes the pilot elsewhere.
    pub launcher: Vec<String>,
    before: BTreeMap<PathBuf, Vec<u8>>,
    // Dropped last.
    place: TempDir,
}

/// A pilot that runs.
#[derive(Debug)]
pub struct Pilot {
    child: Child,
    log: PathBuf,
}

/// A pilot that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All that it said.
    pub log: String,
}

impl Stage {
    /// Makes a stage around a plain server with both dialects.
    ///
    /// # Errors
    ///
    /// There is no space or no free port.
    pub fn new() -> anyhow::Result<Self> {
        Self::around(PandaSettings::default())
    }

    /// Makes a stage around a server.
    ///
    /// # Errors
    ///
    /// There is no space or no free port.
    pub fn around(settings: PandaSettings) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        for folder in ["work", "store", "launch", "home", "tmp", "trap/inner"] {
            fs::create_dir_all(place.path().join(folder))?;
        }
        for (file, content) in TRAP {
            fs::write(place.path().join(file), content)?;
        }
        let panda = PandaStandIn::start(settings)?;
        let store = format!("{}/store/", place.path().display());
        panda.serve("/queue.json", sample::queue().to_string());
        panda.serve("/storage.json", sample::storages(&store).to_string());
        Ok(Self {
            panda,
            options: Vec::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
            before: tree(place.path())?,
            place,
        })
    }

    /// Changes a value of the queue's data.
    pub fn set_queue(&self, changes: &[(&str, Value)]) {
        let mut queue = sample::queue();
        for (name, value) in changes {
            queue[*name] = value.clone();
        }
        self.panda.serve("/queue.json", queue.to_string());
    }

    /// Adds words to the pilot's command line.
    #[must_use]
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&it| it.to_owned()));
        self
    }

    /// Adds variables to the pilot's environment.
    #[must_use]
    pub fn with_environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment.extend(variables.iter().map(owned));
        self
    }

    /// Serves a payload script and makes a job of it, without files but its log.
    #[must_use]
    pub fn job(&self, panda_id: u64, script: &str) -> Value {
        let path = format!("/trf/job{panda_id}.sh");
        self.panda.serve(&path, script);
        sample::job(panda_id, &format!("{}{path}", self.panda.url()))
    }

    /// Puts a file where the job finds it as its only input.
    ///
    /// # Errors
    ///
    /// There is no space.
    pub fn add_input(&self, job: &mut Value, lfn: &str, content: &[u8]) -> io::Result<()> {
        let (scope, name) = (Scope::new(sample::SCOPE), Lfn::new(lfn));
        let input = self.path("store").join(deterministic_path(&scope, &name));
        fs::create_dir_all(input.parent().expect("below the store"))?;
        fs::write(&input, content)?;
        for (field, value) in [
            ("inFiles", json!(lfn)),
            ("realDatasetsIn", json!("dsin")),
            ("GUID", json!("G1")),
            ("fsize", json!(content.len().to_string())),
            ("checksum", json!(format!("ad:{:08x}", adler32(content)))),
            ("scopeIn", json!(sample::SCOPE)),
            ("ddmEndPointIn", json!(sample::ENDPOINT)),
            ("prodDBlockToken", json!("NULL")),
        ] {
            job[field] = value;
        }
        Ok(())
    }

    /// Returns a path below the stage.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Starts a pilot.
    ///
    /// # Errors
    ///
    /// It is not built.
    pub fn start(&self) -> anyhow::Result<Pilot> {
        let url = self.panda.url();
        let log = self.path("pilot.out");
        let program = place::program("ailurus-pilot", Profile::Dev);
        let mut command = match self.launcher.split_first() {
            Some((launcher, words)) => {
                let mut command = Command::new(launcher);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .current_dir(self.path("launch"))
            .args(["-q", sample::QUEUE, "-j", "user", "-v", "1"])
            .args(["--pilot-user", "generic", "-b", "-t", "--url", &url])
            .args(["--queuedata-url", &format!("{url}/queue.json")])
            .args(["--storagedata-url", &format!("{url}/storage.json")])
            .args(["-a", path_text(&self.path("work"))?])
            .args(["--job-request-pause", "20ms"])
            .args(&self.options)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(Pilot {
            child: Child::start("the pilot", &mut command, &log)?,
            log,
        })
    }

    /// Runs a pilot to its end.
    ///
    /// # Errors
    ///
    /// It hangs.
    pub fn run(&self) -> anyhow::Result<Ended> {
        self.start()?.end()
    }

    /// Runs a pilot to its end and says what is wrong with it: a panic, or files where none may be.
    ///
    /// # Errors
    ///
    /// One of these, or it hangs.
    pub fn run_soundly(&self) -> anyhow::Result<Ended> {
        let ended = self.run()?;
        self.check(&ended)?;
        Ok(ended)
    }

    /// Says what is wrong with a pilot that has ended: a panic, or files where none may be.
    ///
    /// # Errors
    ///
    /// One of these.
    pub fn check(&self, ended: &Ended) -> anyhow::Result<()> {
        let log = &ended.log;
        ensure!(!log.contains("panicked at"), "the pilot panicked:\n{log}");
        ensure!(ended.status.code().is_some(), "{}:\n{log}", ended.status);
        let strays = self.strays()?;
        ensure!(strays.is_empty(), "strays {strays:?}:\n{log}");
        let left = self.leftovers()?;
        ensure!(left.is_empty(), "left in its place {left:?}:\n{log}");
        Ok(())
    }

    /// Returns the last word on a job.
    ///
    /// # Errors
    ///
    /// There is none; the pilot's log is in the message.
    pub fn end_of(&self, panda_id: u64) -> anyhow::Result<Update> {
        self.panda.end_of(panda_id).with_context(|| {
            let log = fs::read_to_string(self.path("pilot.out")).unwrap_or_default();
            format!("job {panda_id} has no end:\n{log}")
        })
    }

    /// Returns the files that have appeared or changed where no pilot may write.
    ///
    /// # Errors
    ///
    /// The stage cannot be read.
    pub fn strays(&self) -> io::Result<Vec<PathBuf>> {
        let is_open = |path: &Path| OPEN_PLACES.iter().any(|place| path.starts_with(place));
        let after = tree(self.place.path())?;
        let gone = self.before.keys().filter(|path| !after.contains_key(*path));
        let new = after
            .iter()
            .filter(|(path, content)| self.before.get(*path) != Some(content));
        let mut strays: Vec<PathBuf> = gone.chain(new.map(|(path, _)| path)).cloned().collect();
        strays.retain(|path| !is_open(path));
        Ok(strays)
    }

    /// Takes what the test has put on the stage by itself for nothing that the pilot did.
    ///
    /// # Errors
    ///
    /// The stage cannot be read.
    pub fn forget_changes(&mut self) -> io::Result<()> {
        self.before = tree(self.place.path())?;
        Ok(())
    }

    /// Returns where an output lies in the storage.
    #[must_use]
    pub fn stored(&self, lfn: &str) -> Option<PathBuf> {
        let (scope, name) = (Scope::new(sample::SCOPE), Lfn::new(lfn));
        let path = self.path("store").join(deterministic_path(&scope, &name));
        path.exists().then_some(path)
    }

    /// Returns what is left where the pilot worked.
    ///
    /// # Errors
    ///
    /// The place is gone.
    pub fn leftovers(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.path("work")).context("the work place is gone")?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }
}

impl Pilot {
    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It is gone already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.child.signal(signal)
    }

    /// Returns its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()
    }

    /// Says whether it has ended by itself.
    ///
    /// # Errors
    ///
    /// The system cannot say.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.ended()?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end; its log is in the message.
    pub fn end(mut self) -> anyhow::Result<Ended> {
        let status = wait_for("the end of the pilot", LIFE_LIMIT, || self.child.ended());
        let log = fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log).into_owned();
        let status = status.with_context(|| log.clone())?;
        Ok(Ended { status, log })
    }
}

impl Ended {
    /// Returns the exit code, -1 after a signal.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Says whether somebody listens at a server's address.
#[must_use]
pub fn is_there(panda: &PandaStandIn) -> bool {
    let url = panda.url();
    let host = url.rsplit('/').next().unwrap_or_default();
    TcpStream::connect(host).is_ok()
}

/// Returns all files below a folder with their content; a directory has none.
fn tree(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let inner = path
                .strip_prefix(folder)
                .map_err(io::Error::other)?
                .to_owned();
            // What the pilot may write is not looked at: it may be a lot, and vanish meanwhile.
            if inner == Path::new("work") || inner == Path::new("store") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                found.insert(inner, fs::read(&path).unwrap_or_default());
            }
        }
    }
    Ok(found)
}

/// Returns the checksum of a small file.
#[must_use]
pub fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    (high << 16) | low
}
