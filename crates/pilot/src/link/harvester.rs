//! Harvester's file mode, and HPC without a network: jobs from files, reports to files.
//!
//! What Harvester writes and reads is in `ailurus_wire::harvester_files`; several pilots of one
//! worker agree by claims in the [`AccessPoint`].

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ailurus_model::{
    AttemptNr, HarvesterId, Job, JobRequest, JobStatus, JobUpdate, Lfn, NodeName, PandaId,
    QueueName, UpdateAnswer, WorkerId,
};
use ailurus_pilot_core::{
    Input, PilotExit,
    effect::WorkerPhase,
    input::{Offer, Site, UpdateFailure},
    resource::allocation::{ClaimEnd, ClaimState, is_idle},
};
use ailurus_wire::{
    get_job::OfferedJobs,
    harvester_files::{self, OutputsBy},
    job_text::JobError,
};

use super::{
    Link,
    access_point::AccessPoint,
    job_file::{self, ReadError},
};
use crate::{log, server::ServerLink, settings::wall_now};

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

/// When a file was changed, and its size in bytes.
type Stamp = (SystemTime, u64);

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((meta.modified().ok()?, meta.len()))
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

    /// Takes jobs from files, as many as were asked for.
    fn take(&self, n_jobs: usize) -> Result<Offer, String> {
        let mut taken = OfferedJobs::default();
        let claimed = self.point.claimed_ids();
        for (path, dir) in self.candidates(&claimed) {
            if taken.jobs.len() >= n_jobs {
                break;
            }
            match job_file::read(&path) {
                Ok((offered, bytes)) => {
                    let stamp = stamp_of(&path);
                    let n_taken =
                        self.take_from(&path, &dir, (offered, &bytes), (&mut taken, n_jobs));
                    if let Some(stamp) = stamp.filter(|_| n_taken == 0) {
                        lock(&self.exhausted).insert(path, stamp);
                    }
                }
                // Another pilot of this worker may have taken it meanwhile.
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let why = log::chain(&error);
                    job_file::put_aside(&path);
                    if taken.jobs.is_empty() {
                        return Err(why);
                    }
                    tracing::warn!("{why}");
                }
            }
        }
        self.server.offer(taken)
    }

    /// Files with jobs in the order in which they are looked at, each with the directory of its
    /// jobs.
    fn candidates(&self, claimed: &[PandaId]) -> Vec<(PathBuf, PathBuf)> {
        let point = self.point.dir();
        let mut files: Vec<(PathBuf, PathBuf)> = self
            .settings
            .job_files
            .iter()
            .cloned()
            .chain([point.join(harvester_files::JOB_SPEC)])
            .map(|file| (file, point.to_owned()))
            .collect();
        let listed = self.listed_ids().into_iter();
        for id in listed.filter(|id| !claimed.contains(id)) {
            let dir = point.join(id.to_string());
            for name in [harvester_files::JOB_SPEC, harvester_files::JOB_SPEC_OLD] {
                files.push((dir.join(name), dir.clone()));
            }
        }
        let exhausted = lock(&self.exhausted);
        files.retain(|(file, _)| {
            let stamp = stamp_of(file);
            stamp.is_some() && exhausted.get(file) != stamp.as_ref()
        });
        files
    }

    /// The worker's jobs as Harvester lists them.
    fn listed_ids(&self) -> Vec<PandaId> {
        let path = self.point.dir().join(harvester_files::PANDA_IDS);
        let Ok(bytes) = fs::read(&path) else {
            return Vec::new();
        };
        harvester_files::decode_ids(&bytes).unwrap_or_else(|error| {
            tracing::warn!("`{}`: {}", path.display(), log::chain(&error));
            Vec::new()
        })
    }

    /// Takes jobs of one file, and returns how many.
    fn take_from(
        &self,
        path: &Path,
        dir: &Path,
        (offered, bytes): (OfferedJobs, &[u8]),
        (taken, n_jobs): (&mut OfferedJobs, usize),
    ) -> usize {
        let n_in_file = offered.jobs.len() + offered.broken.len();
        let n_before = taken.jobs.len() + taken.broken.len();
        for job in offered.jobs {
            if taken.jobs.len() < n_jobs && self.claim(job.panda_id, job.attempt_nr) {
                let shared = n_in_file > 1;
                self.note_own(&job, dir, shared);
                taken.jobs.push(job);
            }
        }
        for broken in offered.broken {
            if self.claim_broken(&broken) {
                taken.broken.push(broken);
            }
        }
        let n_taken = taken.jobs.len() + taken.broken.len() - n_before;
        if n_taken > 0 {
            tracing::info!("{n_taken} of {n_in_file} jobs from `{}`", path.display());
        }
        if n_taken == 1 && n_in_file == 1 {
            self.consume(path, bytes);
        }
        n_taken
    }

    /// Removes a file whose only job is taken, as Pilot 3 does: the next one comes to its place.
    fn consume(&self, path: &Path, bytes: &[u8]) {
        if let Err(error) = fs::write(self.home.join(DEFINITION_COPY), bytes) {
            tracing::debug!("no copy of the job definition: {error}");
        }
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("`{}` cannot be removed: {error}", path.display());
        }
    }

    fn claim(&self, panda_id: PandaId, attempt_nr: AttemptNr) -> bool {
        match self.point.claim(panda_id, attempt_nr) {
            Ok(is_ours) => is_ours,
            Err(error) => {
                tracing::error!("job {panda_id} cannot be claimed: {error}");
                false
            }
        }
    }

    fn claim_broken(&self, broken: &JobError) -> bool {
        let Some(panda_id) = broken.panda_id else {
            return true;
        };
        let attempt_nr = broken.attempt_nr.unwrap_or_default();
        let is_ours = self.claim(panda_id, attempt_nr);
        if is_ours {
            let own = OwnJob {
                dir: self.point.dir().to_owned(),
                attempt_nr,
                log: None,
            };
            self.lock_jobs().insert(panda_id, own);
        }
        is_ours
    }

    fn note_own(&self, job: &Job, dir: &Path, is_one_of_many: bool) {
        let dir = if is_one_of_many {
            dir.join(job.panda_id.to_string())
        } else {
            dir.to_owned()
        };
        let own = OwnJob {
            dir,
            attempt_nr: job.attempt_nr,
            log: job.log.as_ref().map(|log| log.lfn.clone()),
        };
        self.lock_jobs().insert(job.panda_id, own);
    }

    fn lock_jobs(&self) -> MutexGuard<'_, BTreeMap<PandaId, OwnJob>> {
        lock(&self.jobs)
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
                self.claim(job.panda_id, job.attempt_nr);
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

    fn write_report(&self, update: &JobUpdate) -> io::Result<()> {
        let own = self.lock_jobs().get(&update.panda_id).cloned();
        let own = own.unwrap_or_else(|| self.continued(update));
        let mut outputs = OutputsBy::Harvester;
        if update.is_final() {
            let is_local = |file| harvester_files::local_path(file).is_some();
            if !update.outputs.iter().all(is_local) {
                outputs = OutputsBy::Pilot;
            } else if !update.outputs.is_empty() {
                let dump = harvester_files::encode_outputs(
                    update.panda_id,
                    own.log.as_ref(),
                    &update.outputs,
                );
                self.point
                    .write(&own.dir.join(harvester_files::OUTPUTS), &dump)?;
            }
            let report = update.metadata.as_deref();
            if let Some(report) = report.and_then(harvester_files::shrink_job_report) {
                self.point
                    .write(&own.dir.join(harvester_files::JOB_REPORT), &report)?;
            }
        }
        // Last: who reads of the end finds all that belongs to it.
        let attributes = harvester_files::encode_attributes(update, wall_now(), outputs);
        self.point
            .write(&own.dir.join(harvester_files::ATTRIBUTES), &attributes)
    }

    /// What is known of a job that an earlier pilot took and this one ends.
    fn continued(&self, update: &JobUpdate) -> OwnJob {
        let point = self.point.dir();
        let own_dir = point.join(update.panda_id.to_string());
        let has_spec = own_dir.join(harvester_files::JOB_SPEC).exists();
        let is_one_of_many = has_spec || point.join(harvester_files::JOB_SPEC).exists();
        OwnJob {
            dir: if is_one_of_many {
                own_dir
            } else {
                point.to_owned()
            },
            attempt_nr: update.attempt_nr.unwrap_or_default(),
            log: None,
        }
    }

    fn note_end(&self, update: &JobUpdate) {
        let own = self.lock_jobs().remove(&update.panda_id);
        let own_attempt = own.map(|own| own.attempt_nr);
        let Some(attempt_nr) = own_attempt.or(update.attempt_nr) else {
            return;
        };
        let end = if update.status == JobStatus::Finished {
            ClaimEnd::Finished
        } else {
            ClaimEnd::Failed
        };
        if let Err(error) = self.point.end(update.panda_id, attempt_nr, end) {
            tracing::warn!(
                "the claim of job {} cannot be closed: {error}",
                update.panda_id
            );
        }
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
            Err(why) => Input::AcquireFailed(why),
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
