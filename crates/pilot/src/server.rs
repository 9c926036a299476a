//! The conversation with the PanDA server: jobs, updates, and what is told or renewed besides.
//!
//! How one call is made is the business of [`call`]; what follows from its answer is the core's.

mod bulk;
mod call;
mod node_map;
#[cfg(test)]
mod tests;
mod token;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Instant,
};

use ailurus_http::Client;
use ailurus_model::{
    Blame, HarvesterId, Job, JobRequest, JobUpdate, Lfn, NodeName, PandaId, QueueName,
    UpdateAnswer, WorkerId,
};
use ailurus_node::NodeFacts;
use ailurus_pilot_core::{
    Input, Problem,
    effect::WorkerPhase,
    input::{AcquireFailure, Offer, RefusedJob, Site, UpdateFailure},
};
use ailurus_wire::{
    AnswerError, Dialect, StatusCode,
    body::encode_json,
    debug_mode, get_job,
    get_job::OfferedJobs,
    update_job, worker_status,
    worker_status::{PilotPhase, PilotReport},
};

use crate::{link::job_file, log, settings::ServerUse};
use call::{Calls, LegacyBody};
pub(crate) use token::TokenRenewal;

/// Tries to say that the worker starts or ends, as in Pilot 3.
const WORKER_REPORT_TRIES: u32 = 2;
/// Stack of a background activity, in bytes. Only what is used of it becomes memory.
const BACKGROUND_STACK_BYTES: usize = 1 << 20;
/// The file with the last update of a pilot that sends none.
const HEARTBEAT_FILE: &str = "heartbeat.json";
/// The name of a job definition that a wrapper or Harvester put in place.
pub(crate) const JOB_FILE: &str = "pandaJobData.out";

/// What the link must know besides the server.
#[derive(Debug)]
pub(crate) struct LinkConfig {
    pub(crate) server_use: ServerUse,
    /// The pilot's directory.
    pub(crate) home: PathBuf,
    /// Where a job definition may lie, looked at before the server is asked.
    pub(crate) job_files: Vec<PathBuf>,
    /// What the pilot's environment says of every job.
    pub(crate) overrides: JobOverrides,
    /// How the token is renewed, if it can be.
    pub(crate) renewal: Option<TokenRenewal>,
    /// What is told of the node; none to tell nothing.
    pub(crate) node: Option<NodeReport>,
}

/// What the server is told of the node.
#[derive(Debug, Clone)]
pub(crate) struct NodeReport {
    pub(crate) facts: NodeFacts,
    /// Its name, with its slot if it has one.
    pub(crate) name: NodeName,
    /// Where programs are looked for.
    pub(crate) path: String,
}

/// The way to the server. Shared by all activities; connections are kept open.
#[derive(Debug)]
pub(crate) struct ServerLink {
    calls: Arc<Calls>,
    config: LinkConfig,
    switches: Mutex<Switches>,
    /// Whether updates of several jobs have to go one by one.
    refuses_bulk: AtomicBool,
    /// When the last renewal of the token began.
    last_renewal: Mutex<Option<Instant>>,
}

impl ServerLink {
    pub(crate) fn new(client: Client, address: String, config: LinkConfig) -> Self {
        Self {
            calls: Arc::new(Calls::new(client, address)),
            config,
            switches: Mutex::default(),
            refuses_bulk: AtomicBool::new(false),
            last_renewal: Mutex::default(),
        }
    }

    /// Hears what the queue's data say about the server, and tells it what the node is.
    pub(crate) fn learn(&self, site: &Site) {
        *lock(&self.switches) = Switches::of_catchall(&site.queue.catchall);
        if self.config.server_use == ServerUse::FileOnly {
            return;
        }
        let Some(node) = self.config.node.clone() else {
            return;
        };
        let (calls, home) = (self.calls.clone(), self.config.home.clone());
        let queue = site.queue.clone();
        in_background("node-map", move || {
            let about = (&node.facts, &node.name);
            node_map::tell(&calls, &home, about, &queue, &node.path);
        });
    }

    /// Renews the token if that is due.
    pub(crate) fn beat(&self) {
        let Some(renewal) = &self.config.renewal else {
            return;
        };
        if lock(&self.switches).keeps_token {
            return;
        }
        let mut last = lock(&self.last_renewal);
        let since = last.map(|last| last.elapsed());
        if !token::due(since, token::time_left(&renewal.token_file)) {
            return;
        }
        *last = Some(Instant::now());
        let (calls, renewal) = (self.calls.clone(), renewal.clone());
        in_background("token", move || token::renew_and_tell(&calls, &renewal));
    }

    /// Asks for a job.
    pub(crate) fn acquire(&self, request: &JobRequest) -> Input {
        let offered = match self.job_from_file() {
            Some(offered) => offered.map_err(AcquireFailure::NoAnswer),
            None => self.ask_for_jobs(request),
        };
        let offer = |offered| self.offer(offered).map_err(AcquireFailure::NoAnswer);
        match offered.and_then(offer) {
            Err(why) => Input::AcquireFailed(why),
            Ok(offer) => Input::JobsOffered(offer),
        }
    }

    /// Tells jobs that can be run from those that must be refused, and applies what the pilot's
    /// environment says of every job.
    ///
    /// # Errors
    ///
    /// Nothing in the answer says which job it is about.
    pub(crate) fn offer(&self, offered: OfferedJobs) -> Result<Offer, String> {
        let mut offer = offer_of(offered)?;
        for job in &mut offer.jobs {
            self.config.overrides.apply(job);
        }
        Ok(offer)
    }

    fn ask_for_jobs(&self, request: &JobRequest) -> Result<OfferedJobs, AcquireFailure> {
        let switches = *lock(&self.switches);
        let encode = |dialect| get_job::encode_request(dialect, request);
        let (dialect, bytes) = self
            .calls
            .post(get_job::path, encode, switches.get_job_body)?;
        let offered = get_job::decode_answer(dialect, &bytes).map_err(|error| {
            let text = log::chain(&error);
            if error.blame() == Blame::Credentials {
                AcquireFailure::NotAllowed(text)
            } else {
                AcquireFailure::NoAnswer(text)
            }
        })?;
        if switches.wants_debug_mode {
            for job in &offered.jobs {
                self.ask_for_debug_mode(job.panda_id);
            }
        }
        Ok(offered)
    }

    /// Asks that a job be watched. Whether the server does it changes nothing.
    fn ask_for_debug_mode(&self, job: PandaId) {
        let calls = self.calls.clone();
        in_background("debug-mode", move || {
            let encode = |dialect| debug_mode::encode_request(dialect, job);
            if let Err(error) = calls.post(debug_mode::path, encode, LegacyBody::AsKnown) {
                tracing::warn!("no debug mode for job {job}: {}", error.into_text());
            }
        });
    }

    /// Adds the end of the log to the report of a failed job.
    fn with_log(&self, update: &JobUpdate) -> JobUpdate {
        let mut update = update.clone();
        if update.is_final() && update.pilot_error.is_some() {
            update.pilot_log = log::extract(&self.config.home);
        }
        update
    }

    /// Sends an update; the report of a failed job gets the end of the log.
    pub(crate) fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure> {
        let update = self.with_log(update);
        if self.config.server_use == ServerUse::FileOnly {
            let bytes = encode_json(&update_job::encode_request(Dialect::Legacy, &update));
            return fs::write(self.config.home.join(HEARTBEAT_FILE), bytes)
                .map(|()| UpdateAnswer::default())
                .map_err(|error| UpdateFailure::Unreachable(error.to_string()));
        }
        let encode = |dialect| update_job::encode_request(dialect, &update);
        let (dialect, bytes) = self
            .calls
            .post(update_job::path, encode, LegacyBody::AsKnown)?;
        update_job::decode_answer(dialect, &bytes).map_err(|error| failure_of(&error))
    }

    /// Tells that the worker starts or ends. Whether the server hears it changes nothing.
    pub(crate) fn report_worker(
        &self,
        phase: WorkerPhase,
        (harvester_id, worker_id): (HarvesterId, WorkerId),
        (site, node): (QueueName, NodeName),
    ) {
        let report = PilotReport {
            worker_id,
            harvester_id,
            phase: match phase {
                WorkerPhase::Started => PilotPhase::Started,
                WorkerPhase::Finished => PilotPhase::Finished,
            },
            node,
            site,
        };
        let encode = |dialect| worker_status::encode_request(dialect, &report);
        for _ in 0..WORKER_REPORT_TRIES {
            match self
                .calls
                .post(worker_status::path, encode, LegacyBody::AsKnown)
            {
                Ok(_) => {
                    tracing::info!("worker status reported: {}", report.phase.as_str());
                    return;
                }
                Err(error) => {
                    tracing::warn!("worker status not reported: {}", error.into_text());
                }
            }
        }
    }

    /// Takes a job definition that somebody put in place, and removes the file.
    fn job_from_file(&self) -> Option<Result<OfferedJobs, String>> {
        let file = self.config.job_files.iter().find(|file| file.is_file())?;
        tracing::info!("job definition from `{}`", file.display());
        let read = || -> Result<OfferedJobs, String> {
            let (offered, _) = job_file::read(file).map_err(|error| {
                job_file::put_aside(file);
                log::chain(&error)
            })?;
            let removed = fs::remove_file(file);
            removed.map_err(|error| format!("`{}`: {error}", file.display()))?;
            Ok(offered)
        };
        Some(read())
    }
}

fn failure_of(error: &AnswerError) -> UpdateFailure {
    let text = log::chain(error);
    if is_passing(error) {
        UpdateFailure::Unreachable(text)
    } else {
        UpdateFailure::Refused(text)
    }
}

/// Says whether the server may well take the same message later: its database was busy, or a proxy
/// answered in its place.
const fn is_passing(error: &AnswerError) -> bool {
    match error {
        AnswerError::Body(_) => true,
        AnswerError::Refused { status, .. } => {
            matches!(status, StatusCode::TimedOut | StatusCode::Failed)
        }
        AnswerError::Field(_) => false,
    }
}

/// Tells jobs that can be run from those that must be refused.
///
/// # Errors
///
/// Nothing in the answer says which job it is about.
pub(crate) fn offer_of(offered: OfferedJobs) -> Result<Offer, String> {
    let mut offer = Offer {
        jobs: offered.jobs,
        refused: Vec::new(),
    };
    for broken in offered.broken {
        match broken.panda_id {
            Some(panda_id) => offer.refused.push(RefusedJob {
                panda_id,
                attempt_nr: broken.attempt_nr,
                problem: Problem::new(broken.code(), log::chain(&broken)),
            }),
            None if offer.jobs.is_empty() => return Err(log::chain(&broken)),
            None => tracing::warn!("a job of the answer is left out: {}", log::chain(&broken)),
        }
    }
    Ok(offer)
}

/// What a queue's `catchall` says about the server.
#[derive(Debug, Clone, Copy)]
struct Switches {
    /// How jobs are asked for in the legacy dialect (`curlgetjob`).
    get_job_body: LegacyBody,
    /// Whether each job is to be watched (`setdebugmode`).
    wants_debug_mode: bool,
    /// Whether the token stays as it is (`no_token_renewal`).
    keeps_token: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self::of_catchall("")
    }
}

impl Switches {
    fn of_catchall(text: &str) -> Self {
        Self {
            get_job_body: if text.contains("curlgetjob") {
                LegacyBody::Form
            } else {
                LegacyBody::AsKnown
            },
            wants_debug_mode: text.contains("setdebugmode"),
            keeps_token: text.contains("no_token_renewal"),
        }
    }
}

/// What the pilot's environment says of every job, whatever its definition says.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobOverrides {
    /// Cores (`ATHENA_PROC_NUMBER`).
    pub(crate) core_count: Option<u32>,
    /// Name of the log archive (`PILOT_LOGFILE`).
    pub(crate) log_name: Option<Lfn>,
}

impl JobOverrides {
    /// Source: Pilot 3, `pilot/info/jobdata.py`, `init`, `prepare_outfiles`.
    pub(crate) fn apply(&self, job: &mut Job) {
        if let Some(cores) = self.core_count {
            job.core_count = cores.max(1);
        }
        if let (Some(name), Some(log)) = (&self.log_name, &mut job.log) {
            log.lfn = name.clone();
        }
    }
}

/// Does something that nobody waits for.
fn in_background(name: &str, activity: impl FnOnce() + Send + 'static) {
    if let Err(error) = ailurus_process::spawn_named(name, BACKGROUND_STACK_BYTES, activity) {
        tracing::warn!("no room for thread `{name}`: {error}");
    }
}

/// Locks what only ever holds plain data, which a panic cannot have left half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
