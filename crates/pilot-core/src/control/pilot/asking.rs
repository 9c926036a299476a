//! Asking for jobs: when there is room for one, and what the answers mean.

use ailurus_model::{ByteCount, ErrorCode, Job, Moment, TaskId, update::PilotTiming};

use super::{PilotCore, Serving, State, cannot_go_on, holding::Held};
use crate::{
    Effect, JobTicket, PilotConfig, PilotExit,
    config::NextJob,
    control::job::{JobLife, Turn},
    input::{AcquireFailure, Offer, RefusedJob},
    payload::ending::stop_problem,
    resource::{
        NodeFacts, check_node, life_limit, plan_request, remaining_time,
        slots::{Capacity, Free},
    },
};

/// Most jobs in one request, so that a pilot that dies on the way takes few with it.
const JOBS_PER_REQUEST_MAX: u32 = 64;
/// Jobs that only report and are removed do not count against the slots; but for each slot no more
/// than these are held, so that a server that takes no reports gets no further jobs to lose.
const HELD_PER_SLOT_MAX: u32 = 4;
/// PanDA's resource class of jobs that need one core and no more memory than goes with it.
const ONE_CORE: &str = "SCORE";
/// Fruitless requests after which a pilot on an HPC queue says so with its exit code.
const FRUITLESS_REQUESTS_HPC: u32 = 5;
/// The resource type of such a queue.
const RESOURCE_TYPE_HPC: &str = "hpc";

/// What the pilot has asked for so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Requests in a row that brought no job.
    pub(super) fruitless: u32,
    /// Requests that failed. Only a pilot with several slots forgets them after a success.
    pub(super) failed: u32,
    /// When the server was first asked.
    pub(super) first_request: Option<Moment>,
    /// Whether the server ever answered a request.
    pub(super) has_answer: bool,
    /// The task of the last job.
    pub(super) task: Option<TaskId>,
}

/// The request for jobs: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    None,
    /// The node is measured before the server is asked.
    Measuring,
    UnderWay {
        since: Moment,
    },
    /// A signal came while the server was asked: a job that it hands out must not be lost.
    Last {
        signal: i32,
        until: Moment,
    },
    Pausing {
        until: Moment,
    },
}

impl Request {
    /// Says whether nothing is expected of the server.
    pub(super) const fn is_idle(self) -> bool {
        match self {
            Self::None | Self::Measuring | Self::Pausing { .. } => true,
            Self::UnderWay { .. } | Self::Last { .. } => false,
        }
    }

    pub(super) const fn next_deadline(self) -> Option<Moment> {
        match self {
            Self::None | Self::Measuring | Self::UnderWay { .. } => None,
            Self::Last { until, .. } | Self::Pausing { until } => Some(until),
        }
    }

    pub(super) fn on_timeout(&mut self, now: Moment) {
        if self.next_deadline().is_some_and(|until| until <= now) {
            *self = Self::None;
        }
    }

    /// Ends a pause: there is no reason to wait any more.
    pub(super) fn hurry(&mut self) {
        if let Self::Pausing { .. } = self {
            *self = Self::None;
        }
    }

    /// Nothing more is asked; an answer that is under way is waited for until then.
    pub(super) fn stop(&mut self, signal: i32, until: Moment) {
        *self = match *self {
            Self::None | Self::Measuring | Self::Pausing { .. } => Self::None,
            Self::UnderWay { .. } => Self::Last { signal, until },
            last @ Self::Last { .. } => last,
        };
    }

    /// Takes the request, if the server was asked.
    fn answered(&mut self) -> Option<Asked> {
        let asked = match *self {
            Self::UnderWay { since } => Asked {
                since: Some(since),
                signal: None,
            },
            Self::Last { signal, .. } => Asked {
                since: None,
                signal: Some(signal),
            },
            Self::None | Self::Measuring | Self::Pausing { .. } => return None,
        };
        *self = Self::None;
        Some(asked)
    }
}

/// How the request that was answered came about.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Option<Moment>,
    /// The signal that came meanwhile.
    signal: Option<i32>,
}

impl Serving {
    /// Returns how many jobs may be asked for now.
    fn room(&self, config: &PilotConfig) -> u32 {
        let slots = &config.slots;
        let n_held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        if slots.is_single() {
            return u32::from(n_held == 0);
        }
        let (free, waiting) = self.free(config);
        let room = free.room().saturating_add(slots.ahead);
        let held_max = slots.payloads.get().saturating_mul(HELD_PER_SLOT_MAX);
        let held_max = held_max.saturating_add(slots.ahead);
        room.saturating_sub(waiting)
            .min(held_max.saturating_sub(n_held))
            .min(JOBS_PER_REQUEST_MAX)
    }

    /// Returns what the payloads that run leave of the node.
    pub(super) fn besides_payloads<'a>(&self, config: &'a PilotConfig) -> Free<'a> {
        let mut free = Free::all(&config.slots, self.capacity);
        for (need, allotment) in self.held.values().filter_map(Held::running) {
            free.take(need, allotment);
        }
        free
    }

    /// Returns what the inputs of other jobs leave of the disk, as it was last measured; none if that
    /// is not known.
    pub(super) fn free_space_for(&self, ticket: JobTicket) -> Option<ByteCount> {
        let others = self.held.iter().filter(|(other, _)| **other != ticket);
        let coming = others.filter_map(|(_, held)| held.coming_inputs());
        let coming = coming.fold(ByteCount::ZERO, ByteCount::plus);
        let free = self.capacity.disk;
        (free > ByteCount::ZERO).then(|| free.minus(coming))
    }

    /// Returns what jobs that come or run leave of the node, and how many jobs wait for it.
    fn free<'a>(&self, config: &'a PilotConfig) -> (Free<'a>, u32) {
        let mut free = self.besides_payloads(config);
        let coming = self.held.values().filter_map(Held::coming);
        let n_waiting = coming.filter(|need| !free.reserve(*need)).count();
        (free, u32::try_from(n_waiting).unwrap_or(u32::MAX))
    }
}

impl PilotCore {
    /// Measures the node, and so begins a request, if a further job may be asked for.
    pub(super) fn ask_if_there_is_room(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if serving.last_word.is_some() || serving.request != Request::None {
            return;
        }
        if !self.config.slots.is_single() && is_over(&self.config, serving, now) {
            serving.last_word = Some(PilotExit::GOOD);
        } else if serving.room(&self.config) > 0 {
            serving.request = Request::Measuring;
            out.push(Effect::MeasureNode);
        }
    }

    pub(super) fn on_node(&mut self, now: Moment, facts: NodeFacts, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if serving.request != Request::Measuring {
            return;
        }
        if let Err(problem) = check_node(&self.config, &serving.site, facts) {
            if serving.held.is_empty() {
                out.push(cannot_go_on(&problem));
                serving.last_word = Some(PilotExit::because_of(&problem));
                serving.request = Request::None;
            } else {
                // What is held gives its space back.
                out.push(Effect::Note(format!("no further job for now: {problem}")));
                let until = now.after(self.config.job_request_pause);
                serving.request = Request::Pausing { until };
            }
            return;
        }
        serving.capacity = Capacity::of(facts, &self.config.slots);
        serving.slot_end = facts.slot_left.map(|left| now.after(left));
        serving.counts.first_request.get_or_insert(now);
        let task = serving
            .counts
            .task
            .filter(|_| self.config.next_job == NextJob::SameTask);
        let mut request = plan_request(&self.config, &serving.site, facts, task, now);
        if !self.config.slots.is_single() {
            request.n_jobs = serving.room(&self.config).max(1);
            let (free, _) = serving.free(&self.config);
            // A job that is fetched ahead will have the place of one that runs now.
            if free.room() > 0 {
                request.memory = free.memory_left().unwrap_or(request.memory);
                let disk = free.disk_left().unwrap_or(request.disk);
                request.disk = disk.min(request.disk);
                if free.cores_left() == Some(1) {
                    request.resource_type.get_or_insert(ONE_CORE.to_owned());
                }
            }
        }
        serving.request = Request::UnderWay { since: now };
        out.push(Effect::AcquireJob(Box::new(request)));
    }

    /// Takes the request that was answered.
    fn answered(&mut self) -> Option<(&mut Serving, Asked)> {
        let State::Serving(serving) = &mut self.state else {
            return None;
        };
        let asked = serving.request.answered()?;
        Some((serving, asked))
    }

    pub(super) fn on_acquire_failed(
        &mut self,
        now: Moment,
        failure: &AcquireFailure,
        out: &mut Vec<Effect>,
    ) {
        let config = self.config.clone();
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        let (note, error) = match failure {
            AcquireFailure::NoAnswer(why) => (
                format!("no answer to the job request: {why}"),
                ErrorCode::CommunicationFailure,
            ),
            AcquireFailure::NotAllowed(why) => (
                format!("the server gives no jobs to a pilot with these credentials: {why}"),
                ErrorCode::NoVomsProxy,
            ),
        };
        out.push(Effect::Note(note));
        if asked.signal.is_some() {
            return;
        }
        let counts = &mut serving.counts;
        counts.failed += 1;
        // A server that does not want this pilot has no job for it either, and soon will not.
        if matches!(failure, AcquireFailure::NotAllowed(_)) && serving.held.is_empty() {
            counts.fruitless += 1;
        }
        let is_over =
            counts.failed >= config.job_failures_max || counts.fruitless >= config.job_requests_max;
        if is_over {
            let error = (!counts.has_answer).then_some(error);
            serving.last_word = Some(PilotExit { error });
        } else {
            let until = now.after(config.job_request_pause);
            serving.request = Request::Pausing { until };
        }
    }

    pub(super) fn on_offer(&mut self, now: Moment, offer: Offer, out: &mut Vec<Effect>) {
        let is_single = self.config.slots.is_single();
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        let counts = &mut serving.counts;
        counts.has_answer = true;
        if !is_single {
            counts.failed = 0;
        }
        // Each refused job counts as a failure, so that a server that sends only such cannot hold
        // the pilot for ever.
        let n_refused = u32::try_from(offer.refused.len()).unwrap_or(u32::MAX);
        counts.failed = counts.failed.saturating_add(n_refused);
        if offer.jobs.is_empty() && offer.refused.is_empty() {
            return self.on_no_job(now, asked, out);
        }
        for refused in offer.refused {
            self.refuse(now, &refused, out);
        }
        for job in offer.jobs {
            match asked.signal {
                Some(signal) => self.refuse(now, &given_back(&job, signal), out),
                None => self.begin(now, job, asked, out),
            }
        }
    }

    fn on_no_job(&mut self, now: Moment, asked: Asked, out: &mut Vec<Effect>) {
        let (requests_max, pause) = (self.config.job_requests_max, self.config.job_request_pause);
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if asked.signal.is_some() {
            return;
        }
        // As long as payloads run, there is no reason to leave.
        if serving.held.is_empty() {
            serving.counts.fruitless += 1;
        }
        if serving.counts.fruitless >= requests_max {
            out.push(Effect::Note("no job for this pilot".into()));
            serving.last_word = Some(fruitless_exit(serving));
        } else {
            let until = now.after(pause);
            serving.request = Request::Pausing { until };
        }
    }

    fn begin(&mut self, now: Moment, job: Job, asked: Asked, out: &mut Vec<Effect>) {
        let (config, ticket) = (self.config.clone(), self.new_ticket());
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        serving.counts.fruitless = 0;
        serving.counts.task = Some(job.task_id);
        let first_request = serving.counts.first_request.unwrap_or(now);
        let timing = PilotTiming {
            get_job: now.since(asked.since.unwrap_or(now)),
            initial_setup: first_request.since(Moment::START),
            ..PilotTiming::default()
        };
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        let desk = (config, serving.site.clone());
        let life = JobLife::begin(&mut turn, Box::new(job), desk, timing);
        turn.hand_over(ticket, out);
        serving.held.insert(ticket, Held::life(life));
    }
}

/// Says whether a pilot that runs jobs side by side takes no further one.
fn is_over(config: &PilotConfig, serving: &Serving, now: Moment) -> bool {
    let queue = &serving.site.queue;
    let slot_left = serving.slot_end.map(|end| end.since(now));
    let left = remaining_time(life_limit(config, queue), slot_left, now);
    left.is_some_and(|left| left.is_zero())
        || (!queue.time_floor.is_zero() && is_past_floor_or_worn_out(config, serving, now))
}

/// Says whether a pilot is to leave after a job: the queue's time floor is reached, or requests fail
/// too often. A queue without a floor gives each pilot one job.
pub(super) fn is_past_floor_or_worn_out(
    config: &PilotConfig,
    serving: &Serving,
    now: Moment,
) -> bool {
    let floor = serving.site.queue.time_floor;
    let since_first = now.since(serving.counts.first_request.unwrap_or(now));
    floor.is_zero() || since_first > floor || serving.counts.failed >= config.job_failures_max
}

fn given_back(job: &Job, signal: i32) -> RefusedJob {
    RefusedJob {
        panda_id: job.panda_id,
        attempt_nr: Some(job.attempt_nr),
        problem: stop_problem(signal),
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
