//! The pilot's life: load the site's data, ask for jobs, run them side by side, leave.
//!
//! How it asks is in [`asking`](self::asking), how it holds several jobs at once in
//! [`holding`](self::holding), what dead pilots left in [`beside`](self::beside).

mod asking;
mod beside;
mod holding;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ailurus_model::{ErrorCode, Job, Moment};

use self::{
    asking::{Counts, Request},
    beside::Beside,
    holding::Held,
};
use super::{exit_code::PilotExit, phase::PhaseName, random::Random};
use crate::{
    Effect, Input, JobTicket, PilotConfig, Problem,
    config::Purpose,
    data::StorageRecord,
    effect::WorkerPhase,
    input::Site,
    recovery::{Backoff, black_hole::BlackHole},
    resource::{check_proxy, check_queue, slots::Capacity},
};

/// Tries to load the site's data, so that a server may be away for half a minute.
const SITE_TRIES_MAX: u32 = 6;
/// Time for telling the server that the worker ends.
const WORKER_REPORT_PATIENCE: Duration = Duration::from_secs(10);

/// Decides what a pilot does.
///
/// ```text
/// new ─► loading the site ─► serving ─► finishing ─► leaving ─► left
///
/// serving:  requests   none ─► measuring ─► under way ─┬─► none
///                       ▲                              └─► pausing (no job)
///                       └──── there is room for a job ◄──────┘
///           jobs       as many as fit, each with a life of its own
/// ```
///
/// It leaves when it holds no job and asks for none; before that it finishes what is beside: jobs
/// of pilots that died, and final updates that the server has not taken. A signal ends all jobs and all asking.
#[derive(Debug)]
pub struct PilotCore {
    config: Arc<PilotConfig>,
    random: Random,
    state: State,
    last_ticket: JobTicket,
    worker_report: WorkerReport,
    beside: Beside,
    black_hole: BlackHole,
    storages: StorageRecord,
}

/// What is told about the worker: one thing after the other, so that its end is heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkerReport {
    None,
    UnderWay,
    /// One is under way, and this one follows.
    Then(WorkerPhase),
}

#[derive(Debug)]
enum State {
    New,
    LoadingSite {
        /// Tries that have failed.
        failures: u32,
    },
    /// The site's data could not be loaded; they are asked for again.
    AwaitingSite {
        failures: u32,
        until: Moment,
    },
    Serving(Box<Serving>),
    /// Nothing is left to do but what is beside.
    Finishing {
        exit: PilotExit,
    },
    Leaving {
        exit: PilotExit,
        until: Moment,
    },
    Left,
}

#[derive(Debug)]
struct Serving {
    site: Arc<Site>,
    counts: Counts,
    request: Request,
    capacity: Capacity,
    /// When the batch system ends the slot, if it says so.
    slot_end: Option<Moment>,
    /// By ticket, so in the order in which they came.
    held: BTreeMap<JobTicket, Held>,
    /// Set once no further job is asked for; the pilot leaves with it when it holds no job.
    last_word: Option<PilotExit>,
}

impl PilotCore {
    /// Makes the core; its clock begins at [`Moment::START`].
    #[must_use]
    pub fn new(config: PilotConfig) -> Self {
        Self {
            random: Random::new(config.seed),
            config: Arc::new(config),
            state: State::New,
            last_ticket: JobTicket::default(),
            worker_report: WorkerReport::None,
            beside: Beside::default(),
            black_hole: BlackHole::default(),
            storages: StorageRecord::default(),
        }
    }

    /// Applies one input at time `now` and returns what to do, in order.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Started => self.on_started(&mut out),
            Input::JournalsFound(found) => self.on_journals(now, found, &mut out),
            Input::SiteLoaded(result) => self.on_site(now, result, &mut out),
            Input::NodeMeasured(facts) => self.on_node(now, facts, &mut out),
            Input::JobsOffered(offer) => self.on_offer(now, offer, &mut out),
            Input::AcquireFailed(failure) => self.on_acquire_failed(now, &failure, &mut out),
            Input::WorkerReported => {
                let before = std::mem::replace(&mut self.worker_report, WorkerReport::None);
                if let WorkerReport::Then(phase) = before {
                    self.report_worker(phase, &mut out);
                }
                self.leave_when_told(now, &mut out);
            }
            Input::ProxyLooked(left) => {
                if let Err(problem) = check_proxy(left, self.config.profile.limits.proxy_during) {
                    let code = ErrorCode::CertificateHasExpired;
                    self.limit_jobs(now, &Problem { code, ..problem }, &mut out);
                }
            }
            Input::StopRequested(signal) => self.on_stop(now, signal, &mut out),
            Input::Job(ticket, input) => {
                if let Some(input) = self.on_input_beside(now, ticket, input, &mut out) {
                    self.on_job_input(now, ticket, input, &mut out);
                }
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// Acts on every deadline up to `now`. Too early, it does nothing; late, all that was due.
    pub fn handle_timeout(&mut self, now: Moment) -> Vec<Effect> {
        let mut out = Vec::new();
        match &mut self.state {
            State::AwaitingSite { failures, until } if *until <= now => {
                let failures = *failures;
                self.load_site(failures, &mut out);
            }
            State::New
            | State::LoadingSite { .. }
            | State::AwaitingSite { .. }
            | State::Finishing { .. }
            | State::Left => {}
            State::Leaving { .. } => self.leave_when_told(now, &mut out),
            State::Serving(serving) => {
                serving.request.on_timeout(now);
                self.on_job_timeouts(now, &mut out);
            }
        }
        self.on_timeouts_beside(now, &mut out);
        self.settle(now, &mut out);
        out
    }

    /// Returns the time at which `handle_timeout` is due, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let own = match &self.state {
            State::New | State::LoadingSite { .. } | State::Finishing { .. } | State::Left => None,
            State::AwaitingSite { until, .. } | State::Leaving { until, .. } => Some(*until),
            State::Serving(serving) => {
                let of_jobs = serving.held.values().filter_map(Held::next_deadline);
                of_jobs.chain(serving.request.next_deadline()).min()
            }
        };
        own.into_iter().chain(self.beside.next_deadline()).min()
    }

    /// Returns the jobs that the pilot has, and their phases.
    pub fn jobs(&self) -> impl Iterator<Item = (JobTicket, &Job, PhaseName)> {
        let held = match &self.state {
            State::Serving(serving) => Some(&serving.held),
            State::New
            | State::LoadingSite { .. }
            | State::AwaitingSite { .. }
            | State::Finishing { .. }
            | State::Leaving { .. }
            | State::Left => None,
        };
        let held = held.into_iter().flatten();
        held.filter_map(|(ticket, held)| held.job().map(|(job, phase)| (*ticket, job, phase)))
            .chain(self.beside.jobs())
    }

    // --- the beginning ---

    fn on_started(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::New) {
            return;
        }
        self.look_for_journals(out);
        if self.config.purpose == Purpose::Recover {
            let exit = PilotExit::GOOD;
            self.state = State::Finishing { exit };
            return;
        }
        self.load_site(0, out);
        self.report_worker(WorkerPhase::Started, out);
    }

    fn load_site(&mut self, failures: u32, out: &mut Vec<Effect>) {
        self.state = State::LoadingSite { failures };
        out.push(Effect::LoadSite);
    }

    fn on_site(&mut self, now: Moment, result: Result<Box<Site>, Problem>, out: &mut Vec<Effect>) {
        let State::LoadingSite { failures } = self.state else {
            return;
        };
        let failures = failures + 1;
        let checked = result.and_then(|site| check_queue(&site.queue).map(|()| site));
        match checked {
            Err(problem) if problem.code == ErrorCode::QueueData && failures < SITE_TRIES_MAX => {
                out.push(Effect::Note(format!("no queue data yet: {problem}")));
                let until = now.after(Backoff::UPDATE.pause(failures, &mut self.random));
                self.state = State::AwaitingSite { failures, until };
            }
            Err(problem) => {
                let exit = PilotExit::because_of(&problem);
                out.push(cannot_go_on(&problem));
                self.state = State::Finishing { exit };
            }
            Ok(site) => {
                self.state = State::Serving(Box::new(Serving {
                    site: Arc::from(site),
                    counts: Counts::default(),
                    request: Request::None,
                    capacity: Capacity::default(),
                    slot_end: None,
                    held: BTreeMap::new(),
                    last_word: None,
                }));
            }
        }
    }

    // --- between two inputs ---

    /// Does what has become possible: starts payloads for which there is room, asks for further
    /// jobs, leaves.
    fn settle(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.start_what_fits(now, out);
        self.ask_if_there_is_room(now, out);
        if let State::Serving(serving) = &self.state
            && let Some(exit) = serving.last_word
            && serving.held.is_empty()
            && serving.request.is_idle()
        {
            self.state = State::Finishing { exit };
        }
        if let State::Finishing { exit } = self.state
            && self.beside.is_empty()
        {
            let error = exit.error.or_else(|| self.error_beside());
            self.leave(now, PilotExit { error }, out);
        }
    }

    // --- the end ---

    fn on_stop(&mut self, now: Moment, signal: i32, out: &mut Vec<Effect>) {
        out.push(Effect::Note(format!("signal {signal}: the pilot stops")));
        self.stop_beside(now, signal, out);
        let patience = self.config.profile.limits.stop_patience;
        match &mut self.state {
            State::New | State::LoadingSite { .. } | State::AwaitingSite { .. } => {
                let exit = stop_exit(signal);
                self.state = State::Finishing { exit };
            }
            State::Finishing { .. } | State::Leaving { .. } | State::Left => {}
            State::Serving(serving) => {
                serving.last_word.get_or_insert(stop_exit(signal));
                serving.request.stop(signal, now.after(patience));
                self.stop_jobs(now, signal, out);
            }
        }
    }

    fn leave(&mut self, now: Moment, exit: PilotExit, out: &mut Vec<Effect>) {
        let until = now.after(WORKER_REPORT_PATIENCE);
        self.state = State::Leaving { exit, until };
        if self.config.purpose == Purpose::Serve {
            self.report_worker(WorkerPhase::Finished, out);
        }
        self.leave_when_told(now, out);
    }

    /// Leaves once the worker's reports are through, or their time is over.
    fn leave_when_told(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if let State::Leaving { exit, until } = self.state
            && (self.worker_report == WorkerReport::None || until <= now)
        {
            self.state = State::Left;
            out.push(Effect::Exit(exit));
        }
    }

    fn new_ticket(&mut self) -> JobTicket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    fn report_worker(&mut self, phase: WorkerPhase, out: &mut Vec<Effect>) {
        if !self.config.identity.is_harvester_worker() {
            return;
        }
        self.worker_report = match self.worker_report {
            WorkerReport::None => {
                out.push(Effect::ReportWorker(phase));
                WorkerReport::UnderWay
            }
            WorkerReport::UnderWay | WorkerReport::Then(_) => WorkerReport::Then(phase),
        };
    }
}

fn cannot_go_on(problem: &Problem) -> Effect {
    Effect::Note(format!("the pilot cannot go on: {problem}"))
}

const fn stop_exit(signal: i32) -> PilotExit {
    PilotExit {
        error: Some(ErrorCode::of_signal(signal)),
    }
}
