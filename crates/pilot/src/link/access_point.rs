//! The directory that a worker shares with Harvester, and with the pilots on its other nodes.
//!
//! All files are written under another name first and renamed, so that nobody reads half of one.
//! Below `pilots/` each pilot shows that it lives and which jobs it has claimed; what follows from
//! that is decided in `ailurus_pilot_core::resource::allocation`. Ages are differences of the file
//! server's own times: the clocks of nodes may differ.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use ailurus_model::{AttemptNr, NodeName, PandaId};
use ailurus_pilot_core::resource::allocation::{
    ClaimEnd, ClaimState, LeadPlan, Leadership, claim_state, plan_lead,
};
use ailurus_wire::harvester_files;
use serde_json::{Value, json};

use crate::settings::wall_now;

/// Holds a file for each claimed job.
const CLAIMS_DIR: &str = "pilots/claims";
/// Holds a file for each pilot that lives.
const SIGNS_DIR: &str = "pilots/alive";
/// Holds a file for each leader that there was.
const LEADERS_DIR: &str = "pilots/leaders";
/// The most files that are looked at in one of these.
const ENTRIES_MAX: usize = 20_000;

/// A worker's shared directory, as one of its pilots uses it.
#[derive(Debug)]
pub(crate) struct AccessPoint {
    dir: PathBuf,
    /// Tells this pilot from all others.
    name: String,
    /// Its number in the batch job, if it has one.
    rank: Option<u32>,
    begin: Instant,
    leads: AtomicBool,
    /// Counts temporary names.
    n_written: AtomicU64,
}

/// A job that some pilot has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) panda_id: PandaId,
    pub(crate) holder: String,
    pub(crate) state: ClaimState,
}

impl AccessPoint {
    pub(crate) fn new(dir: PathBuf, node: &NodeName, rank: Option<u32>) -> Self {
        let (pid, now) = (std::process::id(), wall_now().as_secs());
        let node = node.as_str().replace('/', "_");
        Self {
            dir,
            name: format!("{node}-{pid}-{now}"),
            rank,
            begin: Instant::now(),
            leads: AtomicBool::new(false),
            n_written: AtomicU64::new(0),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Writes a file so that others see it whole or not at all.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let nr = self.n_written.fetch_add(1, Ordering::Relaxed);
        let parent = path.parent().unwrap_or(&self.dir);
        let temporary = parent.join(format!(".{}.{nr}.tmp", self.name));
        let written = fs::create_dir_all(parent)
            .and_then(|()| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Shows that this pilot lives, and takes the lead where nobody has it. The leader shows that
    /// the worker lives.
    pub(crate) fn beat(&self) -> io::Result<()> {
        let sign = self.dir.join(SIGNS_DIR).join(&self.name);
        self.write(&sign, b"{}")?;
        let now = fs::metadata(&sign)?.modified()?;
        let current = self.current_leader(now);
        let age = self.begin.elapsed();
        let leads = match plan_lead(&self.name, self.rank, current.as_ref(), age) {
            LeadPlan::Keep => true,
            LeadPlan::Follow => false,
            LeadPlan::Take(generation) => self.take_lead(generation)?,
        };
        self.leads.store(leads, Ordering::Relaxed);
        if leads {
            let heartbeat = self.dir.join(harvester_files::HEARTBEAT);
            self.write(&heartbeat, &harvester_files::encode_heartbeat(wall_now()))?;
        }
        Ok(())
    }

    /// Takes back the sign of life.
    pub(crate) fn leave(&self) {
        let sign = self.dir.join(SIGNS_DIR).join(&self.name);
        if let Err(error) = fs::remove_file(&sign) {
            tracing::debug!("`{}` cannot be removed: {error}", sign.display());
        }
    }

    fn take_lead(&self, generation: u32) -> io::Result<bool> {
        let path = self.dir.join(LEADERS_DIR).join(generation.to_string());
        let is_first = create_new(&path, self.name.as_bytes())?;
        if is_first {
            tracing::info!("this pilot leads the worker in `{}`", self.dir.display());
        }
        Ok(is_first)
    }

    fn current_leader(&self, now: SystemTime) -> Option<Leadership> {
        let numbers = names_in(&self.dir.join(LEADERS_DIR));
        let generation = numbers.iter().filter_map(|name| name.parse().ok()).max()?;
        let path = self.dir.join(LEADERS_DIR).join(u32::to_string(&generation));
        let holder = fs::read_to_string(&path).unwrap_or_default();
        let silence = self.silence_of(&holder, now).unwrap_or_else(|| {
            // It may not have shown yet that it lives.
            silence_of_file(&path, now).unwrap_or(Duration::MAX)
        });
        Some(Leadership {
            generation,
            holder,
            silence,
        })
    }

    /// Time since a pilot showed that it lives, none if it has left.
    fn silence_of(&self, holder: &str, now: SystemTime) -> Option<Duration> {
        if holder.is_empty() {
            return None;
        }
        silence_of_file(&self.dir.join(SIGNS_DIR).join(holder), now)
    }

    /// Claims a job for this pilot. Says whether it got it: false means that another one has it.
    pub(crate) fn claim(&self, panda_id: PandaId, attempt_nr: AttemptNr) -> io::Result<bool> {
        let path = self.claim_path(panda_id, attempt_nr);
        let content = json!({"holder": self.name, "time": wall_now().to_panda_text()});
        create_new(&path, content.to_string().as_bytes())
    }

    /// Notes that a claimed job is over.
    pub(crate) fn end(
        &self,
        panda_id: PandaId,
        attempt_nr: AttemptNr,
        end: ClaimEnd,
    ) -> io::Result<()> {
        let word = match end {
            ClaimEnd::Finished => "finished",
            ClaimEnd::Failed => "failed",
        };
        let content = json!({"holder": self.name, "time": wall_now().to_panda_text(), "end": word});
        let path = self.claim_path(panda_id, attempt_nr);
        self.write(&path, content.to_string().as_bytes())
    }

    fn claim_path(&self, panda_id: PandaId, attempt_nr: AttemptNr) -> PathBuf {
        let name = format!("{panda_id}.{attempt_nr}.json");
        self.dir.join(CLAIMS_DIR).join(name)
    }

    /// Says which jobs are claimed, without a look at what became of them.
    pub(crate) fn claimed_ids(&self) -> Vec<PandaId> {
        let names = names_in(&self.dir.join(CLAIMS_DIR));
        let mut ids: Vec<PandaId> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Judges all claims.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let sign = self.dir.join(SIGNS_DIR).join(&self.name);
        let now = fs::metadata(&sign).and_then(|meta| meta.modified());
        let now = now.unwrap_or_else(|_| SystemTime::now());
        let dir = self.dir.join(CLAIMS_DIR);
        let mut silences: BTreeMap<String, Duration> = BTreeMap::new();
        let mut judge = |name: &String| {
            let path = dir.join(name);
            let panda_id = id_of(name)?;
            let text = fs::read(&path).unwrap_or_default();
            let content: Value = serde_json::from_slice(&text).unwrap_or_default();
            let holder = content["holder"].as_str().unwrap_or_default().to_owned();
            let silence = silences.entry(holder.clone()).or_insert_with(|| {
                // Without a sign the pilot has left, or just begins to write its claim.
                let of_claim = || silence_of_file(&path, now).unwrap_or(Duration::MAX);
                self.silence_of(&holder, now).unwrap_or_else(of_claim)
            });
            let end = match content["end"].as_str() {
                Some("finished") => Some(ClaimEnd::Finished),
                Some(_) => Some(ClaimEnd::Failed),
                None => None,
            };
            Some(Claim {
                panda_id,
                state: claim_state(end, *silence),
                holder,
            })
        };
        names_in(&dir).iter().filter_map(&mut judge).collect()
    }
}

fn id_of(name: &str) -> Option<PandaId> {
    let (id, _) = name.strip_suffix(".json")?.split_once('.')?;
    id.parse().ok()
}

/// Makes a file that must not be there yet; false if it is.
fn create_new(path: &Path, content: &[u8]) -> io::Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(content).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn silence_of_file(path: &Path, now: SystemTime) -> Option<Duration> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    Some(now.duration_since(modified).unwrap_or_default())
}

/// Names in a directory without the hidden ones; none if it cannot be read.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn pilot(dir: &Path, node: &str, rank: u32) -> AccessPoint {
        AccessPoint::new(dir.to_owned(), &NodeName::new(node), Some(rank))
    }

    const JOB: (PandaId, AttemptNr) = (PandaId::new(12), AttemptNr::new(1));

    #[test]
    fn of_many_pilots_exactly_one_gets_a_job_and_the_next_attempt_is_another_one() {
        let place = tempfile::tempdir().expect("space");
        let pilots: Vec<AccessPoint> = (0..8)
            .map(|rank| pilot(place.path(), &format!("n{rank}"), rank))
            .collect();
        let claimed: Vec<bool> = std::thread::scope(|scope| {
            let all: Vec<_> = pilots
                .iter()
                .map(|pilot| scope.spawn(|| pilot.claim(JOB.0, JOB.1).expect("space")))
                .collect();
            all.into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        assert_eq!(claimed.iter().filter(|got| **got).count(), 1);
        assert!(pilots[0].claim(JOB.0, AttemptNr::new(2)).expect("space"));
        assert_eq!(pilots[0].claimed_ids(), [JOB.0]);
    }

    #[test]
    fn rank_0_leads_and_shows_that_the_worker_lives() {
        let place = tempfile::tempdir().expect("space");
        let (first, second) = (pilot(place.path(), "a", 0), pilot(place.path(), "b", 1));
        second.beat().expect("space");
        assert!(!second.leads() && !place.path().join(harvester_files::HEARTBEAT).exists());
        first.beat().expect("space");
        second.beat().expect("space");
        assert!(first.leads() && !second.leads());
        assert!(place.path().join(harvester_files::HEARTBEAT).exists());
    }

    #[test]
    fn the_lead_and_the_claims_of_a_dead_node_are_seen() {
        let place = tempfile::tempdir().expect("space");
        let (first, second) = (pilot(place.path(), "a", 0), pilot(place.path(), "b", 1));
        first.beat().expect("space");
        assert!(first.claim(JOB.0, JOB.1).expect("space"));
        second.beat().expect("space");
        assert_eq!(second.claims()[0].state, ClaimState::Held);
        let sign = place.path().join(SIGNS_DIR).join(&first.name);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options().write(true).open(&sign).expect("a sign");
        file.set_modified(long_ago).expect("own file");
        let lost = &second.claims()[0];
        assert_eq!((lost.state, &lost.holder), (ClaimState::Lost, &first.name));
        second.beat().expect("space");
        assert!(second.leads());
        first.end(JOB.0, JOB.1, ClaimEnd::Finished).expect("space");
        assert_eq!(second.claims()[0].state, ClaimState::Done);
    }
}
