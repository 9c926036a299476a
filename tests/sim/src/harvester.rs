//! Harvester's shell: its rows, its timers, its calls, and its crashes.
//!
//! A crash comes in the middle of the effects of one instant: those before it were carried out,
//! those after it were not, and what was under way back to Harvester is lost.

use std::{collections::BTreeMap, time::Duration};

use ailurus_harvester_core::{Effect, HarvesterCore, Input, JobCounts, QueueStatistics, Revision};
use ailurus_model::{JobStatus, Moment, QueueName, Timestamp, Worker, WorkerId};
use ailurus_wire::{body, harvester_call, system_call, worker_text};

use crate::{
    batch::BatchEvent,
    faults::Fault,
    network::Request,
    scenario::wall_clock,
    violation::Invariant,
    world::{Event, Reply, World},
};

/// Who acts in the trace.
const HARVESTER: &str = "harvester";
/// Time between two looks at all queues.
const CYCLE_PERIOD: Duration = Duration::from_secs(30);
/// Time between two reports to the server.
const REPORT_PERIOD: Duration = Duration::from_secs(30);
/// Time between two questions how many jobs there are.
const COUNT_PERIOD: Duration = Duration::from_secs(30);
/// How long Harvester is down after a crash, in seconds.
const DOWN_SECS: (u64, u64) = (1, 900);
/// Time after which an operator who cancelled all workers starts Harvester again.
const CANCEL_PAUSE: Duration = Duration::from_secs(600);
/// How far its clock is ahead, in milliseconds.
const OFFSET_MILLIS_MAX: u64 = 120_000;

/// One Harvester: what lasts and what does not.
#[derive(Debug)]
pub(crate) struct Harvester {
    /// None while it is down.
    pub(crate) core: Option<HarvesterCore>,
    /// Counts its starts, so that answers to an earlier run are known.
    pub(crate) life: u32,
    /// Its database.
    pub(crate) rows: BTreeMap<WorkerId, Worker>,
    last_id: WorkerId,
    /// How far its clock is ahead.
    ahead: Duration,
}

/// What happens to Harvester. All but a start belong to one of its lives.
#[derive(Debug)]
pub(crate) enum HarvesterEvent {
    Start,
    Cycle,
    Report,
    Count,
    /// An operator restarts it.
    Restart,
    /// A row is written.
    Written(Box<Worker>),
    Told(Box<Input>),
}

/// What Harvester asked the server for.
#[derive(Debug)]
pub(crate) enum HarvesterPurpose {
    Workers(Vec<(WorkerId, Revision)>),
    Counts,
    Statistics,
}

impl Harvester {
    pub(crate) const fn new() -> Self {
        Self {
            core: None,
            life: 0,
            rows: BTreeMap::new(),
            last_id: WorkerId::new(0),
            ahead: Duration::ZERO,
        }
    }
}

impl World {
    pub(crate) fn begin_harvester(&mut self) {
        self.harvester.ahead = self.chance.millis(0, OFFSET_MILLIS_MAX);
        self.start_harvester();
    }

    /// Returns what Harvester's clock shows at a moment.
    pub(crate) fn harvester_clock_at(&self, moment: Moment) -> Timestamp {
        wall_clock(moment).after(self.harvester.ahead)
    }

    /// Gives an input to the Harvester of this life, some time later.
    pub(crate) fn tell_harvester(&mut self, life: u32, delay: Duration, input: Input) {
        let event = HarvesterEvent::Told(Box::new(input));
        self.after(delay, Event::Harvester { life, event });
    }

    fn harvester_event(&mut self, delay: Duration, event: HarvesterEvent) {
        let life = self.harvester.life;
        self.after(delay, Event::Harvester { life, event });
    }

    fn start_harvester(&mut self) {
        let rows: Vec<Worker> = self.harvester.rows.values().cloned().collect();
        self.say(
            HARVESTER,
            format_args!("starts with {} workers", rows.len()),
        );
        let core = HarvesterCore::resume(
            self.scenario.harvester.clone(),
            self.scenario.queue_settings(),
            rows,
            self.harvester.last_id,
            self.harvester_clock_at(self.now),
        );
        self.harvester.core = Some(core);
        let queues: Vec<_> = self.scenario.queues.values().cloned().collect();
        for queue in queues {
            self.give_harvester(Input::QueueRead(Box::new(queue)));
        }
        let soon = Duration::from_secs(1);
        self.harvester_event(soon, HarvesterEvent::Count);
        self.harvester_event(2 * soon, HarvesterEvent::Cycle);
        self.harvester_event(3 * soon, HarvesterEvent::Report);
    }

    pub(crate) fn on_harvester_event(&mut self, life: u32, event: HarvesterEvent) {
        if life != self.harvester.life {
            return;
        }
        match event {
            HarvesterEvent::Start => self.start_harvester(),
            HarvesterEvent::Restart => self.crash_harvester(),
            HarvesterEvent::Cycle => {
                self.harvester_event(CYCLE_PERIOD, HarvesterEvent::Cycle);
                self.give_harvester(Input::CycleDue);
            }
            HarvesterEvent::Report => {
                self.harvester_event(REPORT_PERIOD, HarvesterEvent::Report);
                self.give_harvester(Input::ReportDue);
            }
            HarvesterEvent::Count => {
                self.harvester_event(COUNT_PERIOD, HarvesterEvent::Count);
                let path = system_call::JOB_STATISTICS_PATH;
                self.harvester_call(HarvesterPurpose::Counts, path, Vec::new());
            }
            HarvesterEvent::Written(worker) => {
                let worker_id = worker.worker_id;
                self.harvester.last_id = self.harvester.last_id.max(worker_id);
                self.harvester.rows.insert(worker_id, *worker);
                self.tell_harvester(life, Duration::ZERO, Input::Recorded(worker_id));
            }
            HarvesterEvent::Told(input) => self.give_harvester(*input),
        }
    }

    /// An operator lets all workers end, and starts Harvester again when that is long done.
    pub(crate) fn cancel_workers(&mut self) {
        self.say("operator", format_args!("cancels all workers"));
        self.give_harvester(Input::CancelAll);
        self.harvester_event(CANCEL_PAUSE, HarvesterEvent::Restart);
    }

    fn give_harvester(&mut self, input: Input) {
        let now = self.harvester_clock_at(self.now);
        let Some(core) = &mut self.harvester.core else {
            return;
        };
        let effects = core.handle(now, input);
        let crashes = !effects.is_empty() && self.strikes(Fault::HarvesterCrash);
        let n_done = if crashes {
            self.chance
                .number(0, u64::try_from(effects.len()).unwrap_or(0))
        } else {
            u64::MAX
        };
        for (nr, effect) in (0..).zip(effects) {
            if nr >= n_done {
                break;
            }
            self.carry_out(effect);
        }
        if crashes {
            self.crash_harvester();
        }
    }

    fn crash_harvester(&mut self) {
        self.say(HARVESTER, format_args!("crashes"));
        self.harvester.core = None;
        self.harvester.life += 1;
        let down = self.chance.seconds(DOWN_SECS.0, DOWN_SECS.1);
        self.harvester_event(down, HarvesterEvent::Start);
    }

    fn carry_out(&mut self, effect: Effect) {
        let life = self.harvester.life;
        match effect {
            Effect::Record(worker) => self.record(worker),
            Effect::Submit(worker) => {
                self.say(
                    HARVESTER,
                    format_args!("submits worker {}", worker.worker_id),
                );
                self.submit_worker(life, worker);
            }
            Effect::Save(worker) => {
                let Worker {
                    worker_id, status, ..
                } = worker;
                self.say(HARVESTER, format_args!("worker {worker_id} is {status}"));
                self.harvester.rows.insert(worker_id, worker);
            }
            Effect::Retire(worker_id) => {
                self.harvester.rows.remove(&worker_id);
            }
            Effect::Query { queue, workers } => self.query_workers(life, queue, workers),
            Effect::Cancel { workers, .. } => {
                let n_workers = workers.len();
                self.say(HARVESTER, format_args!("cancels {n_workers} workers"));
                let delay = self.chance.millis(50, 5000);
                self.after(delay, Event::Batch(BatchEvent::Removes(workers)));
            }
            Effect::ReportWorkers(reports) => {
                let id = self.scenario.harvester.harvester_id.clone();
                let revision =
                    |(revision, worker): &(Revision, Worker)| (worker.worker_id, *revision);
                let revisions = reports.iter().map(revision).collect();
                let workers: Vec<Worker> = reports.into_iter().map(|(_, worker)| worker).collect();
                let body = body::encode_json(&worker_text::encode_request(&id, &workers));
                let purpose = HarvesterPurpose::Workers(revisions);
                self.harvester_call(purpose, worker_text::PATH, body);
            }
            Effect::ReportStatistics(statistics) => self.report_statistics(&statistics),
            Effect::Show { queue, standing } => {
                self.say(HARVESTER, format_args!("queue {queue}: {standing}"));
            }
        }
    }

    fn record(&mut self, worker: Worker) {
        let delay = self.chance.millis(1, 500);
        let worker_id = worker.worker_id;
        self.say(
            HARVESTER,
            format_args!("records worker {worker_id} of {}", worker.queue),
        );
        if self.strikes(Fault::RecordFailed) {
            let reason = "the disk is full".to_owned();
            let input = Input::RecordFailed { worker_id, reason };
            self.tell_harvester(self.harvester.life, delay, input);
        } else {
            self.harvester_event(delay, HarvesterEvent::Written(Box::new(worker)));
        }
    }

    fn report_statistics(&mut self, statistics: &QueueStatistics) {
        let workers = statistics.workers.iter();
        let by_status = workers
            .map(|(status, n)| (status.to_string(), u64::from(*n)))
            .collect();
        let by_resource = BTreeMap::from([(statistics.resource_type.clone(), by_status)]);
        let message = harvester_call::WorkerStatistics {
            harvester_id: self.scenario.harvester.harvester_id.clone(),
            queue: statistics.queue.clone(),
            counts: BTreeMap::from([(statistics.job_type.clone(), by_resource)]),
        };
        let body = body::encode_json(&harvester_call::encode_statistics(&message));
        let path = harvester_call::STATISTICS_PATH;
        self.harvester_call(HarvesterPurpose::Statistics, path, body);
    }

    fn harvester_call(&mut self, purpose: HarvesterPurpose, path: &'static str, body: Vec<u8>) {
        let life = self.harvester.life;
        // A question without a body has no type either.
        let content_type = if body.is_empty() { "" } else { body::JSON_TYPE };
        let request = Request {
            path,
            content_type,
            body,
        };
        self.call(HARVESTER, Reply::Harvester { life, purpose }, request);
    }

    /// An answer to Harvester; none means that it will ask again at its next round.
    pub(crate) fn on_harvester_reply(
        &mut self,
        life: u32,
        purpose: HarvesterPurpose,
        outcome: Result<Vec<u8>, &'static str>,
    ) {
        let Ok(bytes) = outcome else {
            return;
        };
        if life != self.harvester.life {
            return;
        }
        let input = match purpose {
            HarvesterPurpose::Statistics => return,
            HarvesterPurpose::Counts => system_call::decode_job_statistics(&bytes)
                .map(|statistics| Input::JobsCounted(counted(&statistics))),
            HarvesterPurpose::Workers(revisions) => {
                worker_text::decode_answer(&bytes).map(|taken| {
                    let reported = revisions.into_iter().zip(taken);
                    let acknowledged = reported.filter(|(_, is_taken)| *is_taken);
                    Input::WorkersAcknowledged(acknowledged.map(|(worker, _)| worker).collect())
                })
            }
        };
        match input {
            Ok(input) => self.give_harvester(input),
            Err(error) => self.violate(Invariant::W1, format_args!("answer to Harvester: {error}")),
        }
    }
}

fn counted(statistics: &system_call::JobStatistics) -> BTreeMap<QueueName, JobCounts> {
    let count = |counts: &BTreeMap<JobStatus, u64>, is_meant: fn(JobStatus) -> bool| {
        let meant = counts.iter().filter(|(status, _)| is_meant(**status));
        u32::try_from(meant.map(|(_, n)| n).sum::<u64>()).unwrap_or(u32::MAX)
    };
    let queues = statistics.iter().map(|(queue, counts)| {
        let counts = JobCounts {
            activated: count(counts, |status| status == JobStatus::Activated),
            with_pilots: count(counts, JobStatus::is_with_pilot),
        };
        (queue.clone(), counts)
    });
    queues.collect()
}
