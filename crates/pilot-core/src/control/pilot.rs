//! The pilot's life: load the site's data, ask for jobs, run them, leave.

mod refusing;

use std::{sync::Arc, time::Duration};

use ailurus_model::{ErrorCode, Job, Moment, TaskId, update::PilotTiming};

use super::{
    exit_code::PilotExit,
    job::{JobLife, JobOutcome, NextStep, Turn},
    phase::PhaseName,
    random::Random,
    reporting::Reporter,
};
use crate::{
    Effect, Input, JobEffect, JobInput, JobTicket, PilotConfig, Problem,
    config::NextJob,
    effect::WorkerPhase,
    input::Site,
    payload::ending::stop_problem,
    recovery::Backoff,
    resource::{NodeFacts, check_node, check_queue, plan_request},
};

/// Tries to load the site's data, so that a server may be away for half a minute.
const SITE_TRIES_MAX: u32 = 6;
/// Time for telling the server that the worker ends.
const WORKER_REPORT_PATIENCE: Duration = Duration::from_secs(10);
/// Fruitless requests after which a pilot on an HPC queue says so with its exit code.
const FRUITLESS_REQUESTS_HPC: u32 = 5;
/// The resource type of such a queue.
const RESOURCE_TYPE_HPC: &str = "hpc";

/// Decides what a pilot does.
///
/// ```text
/// new ─► loading the site ─► measuring ─► asking ─┬─► busy ─────┬─► leaving ─► left
///                               ▲  ▲              ├─► refusing ─┤
///                               │  └── pausing ◄──┘ (no job)    │
///                               └───── within the time floor ───┘
/// ```
///
/// A signal leads from anywhere to leaving, through the end of a job if there is one.
#[derive(Debug)]
pub struct PilotCore {
    config: Arc<PilotConfig>,
    random: Random,
    state: State,
    last_ticket: JobTicket,
    /// Worker reports that are under way.
    worker_reports: u32,
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
    activity: Activity,
}

/// What the pilot has asked for so far.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Requests in a row that brought no job.
    fruitless: u32,
    /// Requests that failed, never reset.
    failed: u32,
    /// When the server was first asked.
    first_request: Option<Moment>,
    /// Whether the server ever answered a request.
    has_answer: bool,
    /// The task of the last job.
    task: Option<TaskId>,
}

#[derive(Debug)]
enum Activity {
    Measuring,
    Asking {
        since: Moment,
    },
    /// A signal came while the server was asked: a job that it hands out must not be lost.
    AskingLast {
        signal: i32,
        until: Moment,
    },
    Pausing {
        until: Moment,
    },
    Busy {
        ticket: JobTicket,
        life: Box<JobLife>,
    },
    /// The server must hear that a job cannot be run here at all.
    Refusing {
        ticket: JobTicket,
        reporter: Reporter,
        give_up_at: Moment,
        exit: Option<PilotExit>,
    },
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
            worker_reports: 0,
        }
    }

    /// Applies one input at time `now` and returns what to do, in order.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Started => self.on_started(&mut out),
            Input::SiteLoaded(result) => self.on_site(now, result, &mut out),
            Input::NodeMeasured(facts) => self.on_node(now, facts, &mut out),
            Input::JobAcquired(job) => self.on_job(now, job, &mut out),
            Input::NoJob => self.on_no_job(now, &mut out),
            Input::JobRefused {
                panda_id,
                attempt_nr,
                problem,
            } => self.on_bad_job(now, (panda_id, attempt_nr), &problem, &mut out),
            Input::AcquireFailed(why) => self.on_acquire_failed(now, &why, &mut out),
            Input::WorkerReported => {
                self.worker_reports = self.worker_reports.saturating_sub(1);
                self.leave_when_told(now, &mut out);
            }
            Input::StopRequested(signal) => self.on_stop(now, signal, &mut out),
            Input::Job(ticket, input) => self.on_job_input(now, ticket, input, &mut out),
        }
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
            State::New | State::LoadingSite { .. } | State::AwaitingSite { .. } | State::Left => {}
            State::Leaving { .. } => self.leave_when_told(now, &mut out),
            State::Serving(serving) => match &mut serving.activity {
                Activity::Measuring | Activity::Asking { .. } => {}
                Activity::AskingLast { signal, until } if *until <= now => {
                    let exit = stop_exit(*signal);
                    self.leave(now, exit, &mut out);
                }
                Activity::Pausing { until } if *until <= now => self.measure(&mut out),
                Activity::AskingLast { .. } | Activity::Pausing { .. } => {}
                Activity::Busy { .. } => self.with_job(now, &mut out, JobLife::on_timeout),
                Activity::Refusing { .. } => self.on_refusal_timeout(now, &mut out),
            },
        }
        out
    }

    /// Returns the time at which `handle_timeout` is due, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        match &self.state {
            State::New | State::LoadingSite { .. } | State::Left => None,
            State::AwaitingSite { until, .. } | State::Leaving { until, .. } => Some(*until),
            State::Serving(serving) => match &serving.activity {
                Activity::Measuring | Activity::Asking { .. } => None,
                Activity::AskingLast { until, .. } | Activity::Pausing { until } => Some(*until),
                Activity::Busy { life, .. } => life.next_deadline(),
                Activity::Refusing {
                    reporter,
                    give_up_at,
                    ..
                } => Some(
                    reporter
                        .next_deadline()
                        .map_or(*give_up_at, |due| due.min(*give_up_at)),
                ),
            },
        }
    }

    /// Returns the job that the pilot has, and its phase.
    #[must_use]
    pub fn current_job(&self) -> Option<(&Job, PhaseName)> {
        match &self.state {
            State::Serving(serving) => match &serving.activity {
                Activity::Busy { life, .. } => Some((life.job(), life.phase())),
                Activity::Measuring
                | Activity::Asking { .. }
                | Activity::AskingLast { .. }
                | Activity::Pausing { .. }
                | Activity::Refusing { .. } => None,
            },
            State::New
            | State::LoadingSite { .. }
            | State::AwaitingSite { .. }
            | State::Leaving { .. }
            | State::Left => None,
        }
    }

    // --- before a job ---

    fn on_started(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::New) {
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
            Err(problem) => self.leave_with(now, &problem, out),
            Ok(site) => {
                self.state = State::Serving(Box::new(Serving {
                    site: Arc::from(site),
                    counts: Counts::default(),
                    activity: Activity::Measuring,
                }));
                self.measure(out);
            }
        }
    }

    fn measure(&mut self, out: &mut Vec<Effect>) {
        if let State::Serving(serving) = &mut self.state {
            serving.activity = Activity::Measuring;
            out.push(Effect::MeasureNode);
        }
    }

    fn on_node(&mut self, now: Moment, facts: NodeFacts, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if !matches!(serving.activity, Activity::Measuring) {
            return;
        }
        if let Err(problem) = check_node(&self.config, facts) {
            return self.leave_with(now, &problem, out);
        }
        serving.counts.first_request.get_or_insert(now);
        let task = serving
            .counts
            .task
            .filter(|_| self.config.next_job == NextJob::SameTask);
        let request = plan_request(&self.config, &serving.site, facts, task, now);
        serving.activity = Activity::Asking { since: now };
        out.push(Effect::AcquireJob(request));
    }

    /// Takes the activity out of a state that waits for a job, and notes that the server answered.
    fn answered(&mut self) -> Option<(&mut Serving, Asked)> {
        let State::Serving(serving) = &mut self.state else {
            return None;
        };
        let asked = match serving.activity {
            Activity::Asking { since } => Asked {
                since: Some(since),
                signal: None,
            },
            Activity::AskingLast { signal, .. } => Asked {
                since: None,
                signal: Some(signal),
            },
            Activity::Measuring
            | Activity::Pausing { .. }
            | Activity::Busy { .. }
            | Activity::Refusing { .. } => return None,
        };
        Some((serving, asked))
    }

    fn on_no_job(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let (requests_max, pause) = (self.config.job_requests_max, self.config.job_request_pause);
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        serving.counts.has_answer = true;
        serving.counts.fruitless += 1;
        let exit = fruitless_exit(serving);
        if let Some(signal) = asked.signal {
            self.leave(now, stop_exit(signal), out);
        } else if serving.counts.fruitless >= requests_max {
            out.push(Effect::Note("no job for this pilot".into()));
            self.leave(now, exit, out);
        } else {
            serving.activity = Activity::Pausing {
                until: now.after(pause),
            };
        }
    }

    fn on_acquire_failed(&mut self, now: Moment, why: &str, out: &mut Vec<Effect>) {
        let (failures_max, pause) = (self.config.job_failures_max, self.config.job_request_pause);
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        out.push(Effect::Note(format!("no answer to the job request: {why}")));
        serving.counts.failed += 1;
        let counts = serving.counts;
        if let Some(signal) = asked.signal {
            self.leave(now, stop_exit(signal), out);
        } else if counts.failed >= failures_max {
            let error = (!counts.has_answer).then_some(ErrorCode::CommunicationFailure);
            self.leave(now, PilotExit { error }, out);
        } else {
            serving.activity = Activity::Pausing {
                until: now.after(pause),
            };
        }
    }

    // --- a job ---

    fn on_job(&mut self, now: Moment, job: Box<Job>, out: &mut Vec<Effect>) {
        let config = self.config.clone();
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        serving.counts.has_answer = true;
        if let Some(signal) = asked.signal {
            let id = (job.panda_id, Some(job.attempt_nr));
            return self.refuse(now, id, &stop_problem(signal), Some(stop_exit(signal)), out);
        }
        serving.counts.fruitless = 0;
        serving.counts.task = Some(job.task_id);
        let first_request = serving.counts.first_request.unwrap_or(now);
        let timing = PilotTiming {
            get_job: now.since(asked.since.unwrap_or(now)),
            initial_setup: first_request.since(Moment::START),
            ..PilotTiming::default()
        };
        let site = serving.site.clone();
        self.last_ticket = self.last_ticket.next();
        let ticket = self.last_ticket;
        let (mut job_out, mut notes) = (Vec::new(), Vec::new());
        let mut turn = Turn {
            now,
            random: &mut self.random,
            out: &mut job_out,
            notes: &mut notes,
        };
        let life = Box::new(JobLife::begin(&mut turn, job, (config, site), timing));
        self.set_activity(Activity::Busy { ticket, life });
        collect(ticket, job_out, notes, out);
    }

    fn on_job_input(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        input: JobInput,
        out: &mut Vec<Effect>,
    ) {
        if ticket != self.last_ticket {
            return;
        }
        let State::Serving(serving) = &self.state else {
            return;
        };
        match &serving.activity {
            Activity::Busy { .. } => {
                self.with_job(now, out, |life, turn| life.on_input(turn, input))
            }
            Activity::Refusing { .. } => self.on_refusal_answer(now, input, out),
            Activity::Measuring
            | Activity::Asking { .. }
            | Activity::AskingLast { .. }
            | Activity::Pausing { .. } => {}
        }
    }

    /// Lets the job do a step, and goes on if it is over then.
    fn with_job(
        &mut self,
        now: Moment,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut JobLife, &mut Turn<'_>),
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let Activity::Busy { ticket, life } = &mut serving.activity else {
            return;
        };
        let (mut job_out, mut notes) = (Vec::new(), Vec::new());
        let mut turn = Turn {
            now,
            random: &mut self.random,
            out: &mut job_out,
            notes: &mut notes,
        };
        step(life, &mut turn);
        let (ticket, outcome) = (*ticket, life.outcome());
        collect(ticket, job_out, notes, out);
        if let Some(outcome) = outcome {
            self.after_job(now, outcome, out);
        }
    }

    fn after_job(&mut self, now: Moment, outcome: JobOutcome, out: &mut Vec<Effect>) {
        let exit = PilotExit {
            error: outcome.pilot_error,
        };
        match outcome.next {
            NextStep::GoOn if outcome.pilot_error.is_none() => self.ask_again(now, out),
            NextStep::GoOn | NextStep::Leave => self.leave(now, exit, out),
        }
    }

    /// Asks for a further job within the queue's time floor, else leaves.
    fn ask_again(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &self.state else {
            return;
        };
        let floor = serving.site.queue.time_floor;
        let since_first = now.since(serving.counts.first_request.unwrap_or(now));
        let is_worn_out = serving.counts.failed >= self.config.job_failures_max;
        if floor.is_zero() || since_first > floor || is_worn_out {
            self.leave(now, PilotExit::GOOD, out);
        } else {
            self.measure(out);
        }
    }

    // --- the end ---

    fn on_stop(&mut self, now: Moment, signal: i32, out: &mut Vec<Effect>) {
        out.push(Effect::Note(format!("signal {signal}: the pilot stops")));
        let patience = self.config.profile.limits.stop_patience;
        match &mut self.state {
            State::New | State::LoadingSite { .. } | State::AwaitingSite { .. } => {
                self.leave(now, stop_exit(signal), out);
            }
            State::Leaving { .. } | State::Left => {}
            State::Serving(serving) => match &mut serving.activity {
                Activity::Measuring | Activity::Pausing { .. } => {
                    self.leave(now, stop_exit(signal), out);
                }
                Activity::Asking { .. } => {
                    let until = now.after(patience);
                    serving.activity = Activity::AskingLast { signal, until };
                }
                Activity::AskingLast { .. } => {}
                Activity::Busy { .. } => {
                    self.with_job(now, out, |life, turn| life.on_stop(turn, signal));
                }
                Activity::Refusing {
                    give_up_at, exit, ..
                } => {
                    *give_up_at = now.after(patience).min(*give_up_at);
                    exit.get_or_insert(stop_exit(signal));
                }
            },
        }
    }

    fn leave_with(&mut self, now: Moment, problem: &Problem, out: &mut Vec<Effect>) {
        out.push(Effect::Note(format!("the pilot cannot go on: {problem}")));
        let error = Some(problem.code);
        self.leave(now, PilotExit { error }, out);
    }

    fn leave(&mut self, now: Moment, exit: PilotExit, out: &mut Vec<Effect>) {
        let until = now.after(WORKER_REPORT_PATIENCE);
        self.state = State::Leaving { exit, until };
        self.report_worker(WorkerPhase::Finished, out);
        self.leave_when_told(now, out);
    }

    /// Leaves once the worker's reports are through, or their time is over.
    fn leave_when_told(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if let State::Leaving { exit, until } = self.state
            && (self.worker_reports == 0 || until <= now)
        {
            self.state = State::Left;
            out.push(Effect::Exit(exit));
        }
    }

    fn report_worker(&mut self, phase: WorkerPhase, out: &mut Vec<Effect>) {
        if self.config.identity.is_harvester_worker() {
            self.worker_reports += 1;
            out.push(Effect::ReportWorker(phase));
        }
    }

    fn set_activity(&mut self, activity: Activity) {
        if let State::Serving(serving) = &mut self.state {
            serving.activity = activity;
        }
    }
}

/// How the request that was answered came about.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Option<Moment>,
    /// The signal that came meanwhile.
    signal: Option<i32>,
}

fn stop_exit(signal: i32) -> PilotExit {
    PilotExit {
        error: Some(ErrorCode::of_signal(signal)),
    }
}

/// How a pilot leaves that got no job.
fn fruitless_exit(serving: &Serving) -> PilotExit {
    let is_hpc = serving.site.queue.resource_type == RESOURCE_TYPE_HPC;
    let is_fruitless = serving.counts.fruitless >= FRUITLESS_REQUESTS_HPC;
    PilotExit {
        error: (is_hpc && is_fruitless).then_some(ErrorCode::NoJobsInPanda),
    }
}

fn collect(ticket: JobTicket, effects: Vec<JobEffect>, notes: Vec<String>, out: &mut Vec<Effect>) {
    out.extend(notes.into_iter().map(Effect::Note));
    out.extend(
        effects
            .into_iter()
            .map(|effect| Effect::Job(ticket, effect)),
    );
}
