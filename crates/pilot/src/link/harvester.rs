//! Harvester's file mode, and HPC without a network: jobs from files, reports to files.
//!
//! What Harvester writes and reads is in `ailurus_wire::harvester_files`; several pilots of one
//! worker agree by claims in the [`AccessPoint`].

mod reports;
mod taking;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ailurus_model::{
    AttemptNr, HarvesterId, JobRequest, JobUpdate, Lfn, NodeName, PandaId, QueueName, UpdateAnswer,
    WorkerId,
};
use ailurus_pilot_core::{
    Input, PilotExit,
    effect::WorkerPhase,
    input::{AcquireFailure, Site, UpdateFailure},
    resource::allocation::{ClaimState, is_idle},
};
use ailurus_wire::harvester_files;

use super::{Link, access_point::AccessPoint};
use crate::{log, server::ServerLink};
use taking::Stamp;

/// How often it is looked whether the worker is to end.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// How often the pilot shows that it lives.
const BEAT_PERIOD: Duration = Duration::from_secs(60);
/// The copy of the job definition in the pilot's own directory, as Pilot 3 keeps it.
const DEFINITION_COPY: &str = "job_definition.json";
/// The signal as which a kill file counts.
const KILL_FILE_SIGNAL: i32 = 15;

/// How the pilot works with Harvester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HarvesterSettings {
    /// The shared directory.
    pub(crate) access_point: PathBuf,
    /// Where a job definition may lie, besides the files of the access point.
    pub(crate) job_files: Vec<PathBuf>,
    pub(crate) jobs: JobsFrom,
    pub(crate) reports: ReportsTo,
    pub(crate) supply: Supply,
    /// This pilot's number in the batch job, if it has one.
    pub(crate) rank: Option<u32>,
    /// Longest life of the pilot, if the queue states none.
    pub(crate) lifetime: Duration,
}

/// Who gives jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobsFrom {
    /// Harvester alone.
    Files,
    /// The server, where Harvester has put none.
    FilesThenServer,
}

/// Who takes updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportsTo {
    Server,
    /// Harvester, by files.
    Files,
}

/// Whether more jobs may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Harvester is asked for the next ones.
    OnRequest,
    /// There is a list, and nothing comes after it.
    List,
}

/// A job of this pilot.
#[derive(Debug, Clone)]
struct OwnJob {
    /// Where its files of the protocol lie.
    dir: PathBuf,
    attempt_nr: AttemptNr,
    log: Option<Lfn>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Jobs from files, reports to files or to the server.
#[derive(Debug)]
pub(crate) struct HarvesterLink {
    settings: HarvesterSettings,
    point: AccessPoint,
    server: ServerLink,
    home: PathBuf,
    jobs: Mutex<BTreeMap<PandaId, OwnJob>>,
    /// Files all of whose jobs are claimed, as they were then: a list may be long, and is looked
    /// into again and again.
    exhausted: Mutex<BTreeMap<PathBuf, Stamp>>,
    begin: Instant,
    /// When the pilot began by the file server's clock, to tell old kill files.
    begin_time: SystemTime,
    /// Milliseconds after `begin` at which the last sign of life was given, below zero for never.
    last_beat: AtomicI64,
    /// Set once a kill file was seen.
    is_ending: AtomicBool,
}

impl HarvesterLink {
    pub(crate) fn new(
        settings: HarvesterSettings,
        server: ServerLink,
        home: PathBuf,
        node: &NodeName,
    ) -> Self {
        let point = AccessPoint::new(settings.access_point.clone(), node, settings.rank);
        Self {
            settings,
            point,
            server,
            home,
            jobs: Mutex::default(),
            exhausted: Mutex::default(),
            begin: Instant::now(),
            begin_time: SystemTime::now(),
            last_beat: AtomicI64::new(-1),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Asks Harvester for jobs, unless it is asked already.
    fn request_jobs(&self, n_jobs: u32) {
        let path = self.point.dir().join(harvester_files::JOB_REQUEST);
        if self.settings.supply == Supply::List || !self.point.leads() || path.exists() {
            return;
        }
        match self
            .point
            .write(&path, &harvester_files::encode_request(n_jobs))
        {
            Ok(()) => tracing::info!("Harvester is asked for {n_jobs} jobs"),
            Err(error) => tracing::warn!("`{}`: {error}", path.display()),
        }
    }

    /// Removes the request: it is answered.
    fn withdraw_request(&self) {
        // Harvester does the same.
        let _ = fs::remove_file(self.point.dir().join(harvester_files::JOB_REQUEST));
    }

    fn ask_server(&self, request: &JobRequest) -> Input {
        let input = self.server.acquire(request);
        if let Input::JobsOffered(offer) = &input {
            for job in &offer.jobs {
                // The server has given it to this pilot alone; the claim only tells the others.
                if let Err(why) = self.claim(job.panda_id, job.attempt_nr) {
                    tracing::warn!("{why}");
                }
                self.note_own(job, self.point.dir(), false);
            }
            self.write_ids();
        }
        input
    }

    /// Tells Harvester which jobs the worker got from the server.
    fn write_ids(&self) {
        let ids = self.point.claimed_ids();
        if ids.is_empty() {
            return;
        }
        let path = self.point.dir().join(harvester_files::PANDA_IDS);
        if let Err(error) = self.point.write(&path, &harvester_files::encode_ids(&ids)) {
            tracing::warn!("`{}`: {error}", path.display());
        }
    }

    fn lock_jobs(&self) -> MutexGuard<'_, BTreeMap<PandaId, OwnJob>> {
        lock(&self.jobs)
    }

    fn beat(&self) {
        let now = i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let period = i64::try_from(BEAT_PERIOD.as_millis()).unwrap_or(i64::MAX);
        let last = self.last_beat.load(Ordering::Relaxed);
        if last >= 0 && now - last < period {
            return;
        }
        self.last_beat.store(now, Ordering::Relaxed);
        if let Err(error) = self.point.beat() {
            let dir = self.point.dir().display();
            tracing::warn!("no sign of life in `{dir}`: {error}");
        }
        if self.settings.jobs == JobsFrom::FilesThenServer && self.point.leads() {
            self.write_ids();
        }
    }

    fn kill_files(&self) -> [PathBuf; 2] {
        [
            harvester_files::KILL_WORKER,
            harvester_files::KILL_WORKER_OLD,
        ]
        .map(|name| self.point.dir().join(name))
    }

    /// Says whether a kill file came after the pilot's start.
    fn is_to_be_killed(&self) -> bool {
        let is_new = |file: &PathBuf| {
            let modified = fs::metadata(file).and_then(|meta| meta.modified());
            modified.is_ok_and(|modified| modified > self.begin_time)
        };
        self.kill_files().iter().any(is_new)
    }

    /// Tells of jobs that are lost with a pilot of this worker.
    fn tell_lost(&self) {
        let claims = self.point.claims().into_iter();
        for claim in claims.filter(|claim| claim.state == ClaimState::Lost) {
            let (job, holder) = (claim.panda_id, claim.holder);
            tracing::error!("job {job} is lost: pilot `{holder}` shows no sign of life");
        }
    }
}

impl Link for HarvesterLink {
    fn acquire(&self, request: &JobRequest) -> Input {
        self.beat();
        let n_jobs = usize::try_from(request.n_jobs).unwrap_or(1).max(1);
        match self.take(n_jobs) {
            Err(why) => Input::AcquireFailed(AcquireFailure::NoAnswer(why)),
            Ok(offer) if !(offer.jobs.is_empty() && offer.refused.is_empty()) => {
                self.withdraw_request();
                Input::JobsOffered(offer)
            }
            Ok(offer) => match self.settings.jobs {
                JobsFrom::FilesThenServer => self.ask_server(request),
                JobsFrom::Files => {
                    self.request_jobs(request.n_jobs);
                    Input::JobsOffered(offer)
                }
            },
        }
    }

    fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure> {
        let answer = match self.settings.reports {
            ReportsTo::Server => self.server.update(update)?,
            ReportsTo::Files => {
                let mut update = update.clone();
                if update.is_final() && update.pilot_error.is_some() {
                    update.pilot_log = log::extract(&self.home);
                }
                let written = self.write_report(&update);
                written.map_err(|error| UpdateFailure::Unreachable(error.to_string()))?;
                UpdateAnswer::default()
            }
        };
        if update.is_final() {
            self.note_end(update);
        }
        Ok(answer)
    }

    fn report_worker(
        &self,
        phase: WorkerPhase,
        worker: (HarvesterId, WorkerId),
        place: (QueueName, NodeName),
    ) {
        if self.settings.reports == ReportsTo::Server {
            self.server.report_worker(phase, worker, place);
        }
    }

    fn complete(&self, site: &mut Site) {
        if self.settings.supply == Supply::List && site.queue.time_floor.is_zero() {
            // A queue without a floor gives each pilot one job; here all of the list is meant.
            site.queue.time_floor = self.settings.lifetime;
        }
    }

    fn look_period(&self) -> Option<Duration> {
        Some(LOOK_PERIOD)
    }

    fn look(&self) -> Option<i32> {
        self.beat();
        if self.is_to_be_killed() && !self.is_ending.swap(true, Ordering::Relaxed) {
            tracing::warn!("a kill file lies in `{}`", self.point.dir().display());
            return Some(KILL_FILE_SIGNAL);
        }
        None
    }

    fn must_stay(&self) -> bool {
        let states = self.point.claims().into_iter().map(|claim| claim.state);
        self.point.leads() && !is_idle(states)
    }

    fn close(&self, _: PilotExit) {
        let claims = self.point.claims();
        if self.point.leads() && is_idle(claims.iter().map(|claim| claim.state)) {
            self.tell_lost();
            for file in self.kill_files() {
                if let Err(error) = self.point.write(&file, b"{}") {
                    tracing::warn!("`{}`: {error}", file.display());
                }
            }
        }
        self.point.leave();
    }
}
