//! F1 and F2 in random worlds: a batch system that refuses, goes dumb, forgets its answers and
//! lists late; messages that are lost, doubled and late; a Harvester that dies at any point.

use std::time::Duration;

use ailurus_model::{BatchId, HarvesterId, NodeName};
use proptest::prelude::*;

use super::{
    tests::{at, queue_data, settings},
    *,
};
use crate::plan::Limits;

const LOST_AFTER: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits {
    workers: 6,
    waiting: 4,
    new_per_cycle: 5,
};
const QUEUE: &str = "Q";

/// What the world does next.
#[derive(Debug, Clone)]
enum Step {
    Cycle,
    Report,
    Wait(u64),
    Jobs(u32, u32),
    /// Delivers the oldest message but `skip`, and keeps it too if it is to come twice.
    Deliver {
        skip: usize,
        twice: bool,
    },
    Lose,
    /// The worker with this rank starts, or ends if it runs.
    Advance(usize),
    /// How the batch system meets the next submissions.
    Mood(Mood),
    /// Harvester dies and starts again from its rows.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    Refuses,
    /// It takes the worker, but the answer gets lost.
    TakesSilently,
    /// It does not take the worker, and the answer gets lost.
    DropsSilently,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    /// It waits, and is listed from then on.
    Waiting {
        listed_from: Timestamp,
    },
    Running,
    Ended,
}

struct World {
    core: HarvesterCore,
    now: Timestamp,
    mood: Mood,
    batch: BTreeMap<WorkerId, Truth>,
    rows: BTreeMap<WorkerId, Worker>,
    last_id: WorkerId,
    submissions: BTreeMap<WorkerId, u32>,
    retired: Vec<WorkerId>,
    reported_ends: Vec<WorkerId>,
    messages: Vec<Input>,
}

fn core_from(
    rows: &BTreeMap<WorkerId, Worker>,
    last_id: WorkerId,
    now: Timestamp,
) -> HarvesterCore {
    let config = Config {
        lost_after: LOST_AFTER,
        workers_per_report: 2,
        ..Config::new(HarvesterId::new("h"))
    };
    let rows = rows.values().cloned().collect();
    let mut core = HarvesterCore::resume(config, vec![settings(QUEUE, LIMITS)], rows, last_id, now);
    core.handle(now, Input::QueueRead(Box::new(queue_data(QUEUE))));
    core
}

impl World {
    fn new() -> Self {
        Self {
            core: core_from(&BTreeMap::new(), WorkerId::new(0), at(0)),
            now: at(0),
            mood: Mood::Fine,
            batch: BTreeMap::new(),
            rows: BTreeMap::new(),
            last_id: WorkerId::new(0),
            submissions: BTreeMap::new(),
            retired: Vec::new(),
            reported_ends: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Cycle => self.give(Input::CycleDue),
            Step::Report => self.give(Input::ReportDue),
            Step::Wait(secs) => self.now = self.now.after(Duration::from_secs(*secs)),
            Step::Jobs(activated, with_pilots) => {
                let counts = JobCounts {
                    activated: *activated,
                    with_pilots: *with_pilots,
                };
                let counts = BTreeMap::from([(QueueName::new(QUEUE), counts)]);
                self.give(Input::JobsCounted(counts));
            }
            Step::Deliver { skip, twice } => {
                let index = *skip;
                if index < self.messages.len() {
                    let message = self.messages.remove(index);
                    if *twice {
                        self.messages.push(message.clone());
                    }
                    self.give(message);
                }
            }
            Step::Lose => {
                self.messages.pop();
            }
            Step::Advance(rank) => {
                if let Some(truth) = self.batch.values_mut().nth(*rank) {
                    *truth = match truth {
                        Truth::Waiting { .. } => Truth::Running,
                        Truth::Running | Truth::Ended => Truth::Ended,
                    };
                }
            }
            Step::Mood(mood) => self.mood = *mood,
            Step::Restart => {
                self.messages.clear();
                self.core = core_from(&self.rows, self.last_id, self.now);
            }
        }
    }

    fn give(&mut self, input: Input) {
        for effect in self.core.handle(self.now, input) {
            self.carry_out(effect);
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record(worker) => {
                let worker_id = worker.worker_id;
                assert!(worker_id > self.last_id, "a number is used once");
                self.last_id = worker_id;
                self.rows.insert(worker_id, worker);
                self.messages.push(Input::Recorded(worker_id));
            }
            Effect::Submit(worker) => self.submit(worker.worker_id),
            Effect::Save(worker) => {
                self.rows.insert(worker.worker_id, worker);
            }
            Effect::Retire(worker_id) => {
                assert!(
                    self.reported_ends.contains(&worker_id),
                    "an end is reported first"
                );
                self.rows.remove(&worker_id);
                self.retired.push(worker_id);
            }
            Effect::Query { queue, workers } => {
                let answer = workers
                    .iter()
                    .map(|key| self.look_at(key.worker_id))
                    .collect();
                self.messages.push(Input::Observed {
                    queue,
                    asked: self.now,
                    answer: Ok(answer),
                });
            }
            Effect::Cancel { workers, .. } => {
                for key in workers {
                    if let Some(truth) = self.batch.get_mut(&key.worker_id) {
                        *truth = Truth::Ended;
                    }
                }
            }
            Effect::ReportWorkers(workers) => {
                let ended = workers
                    .iter()
                    .filter(|(_, worker)| worker.status.is_terminal());
                self.reported_ends
                    .extend(ended.map(|(_, worker)| worker.worker_id));
                let taken = workers
                    .iter()
                    .map(|(revision, worker)| (worker.worker_id, *revision));
                self.messages
                    .push(Input::WorkersAcknowledged(taken.collect()));
            }
            Effect::ReportStatistics(_) | Effect::Show { .. } => {}
        }
    }

    fn submit(&mut self, worker_id: WorkerId) {
        assert!(
            self.rows.contains_key(&worker_id),
            "a worker is recorded before it is submitted"
        );
        let times = self.submissions.entry(worker_id).or_insert(0);
        *times += 1;
        assert_eq!(*times, 1, "a worker is submitted once");
        if matches!(self.mood, Mood::Fine | Mood::TakesSilently) {
            let listed_from = self.now.after(LOST_AFTER / 2);
            self.batch.insert(worker_id, Truth::Waiting { listed_from });
        }
        let reason = "no".to_owned();
        let answer = match self.mood {
            Mood::Fine => SubmissionAnswer::Accepted(BatchId::new("b")),
            Mood::Refuses => SubmissionAnswer::Refused { reason },
            Mood::TakesSilently | Mood::DropsSilently => SubmissionAnswer::Unknown { reason },
        };
        self.messages
            .push(Input::SubmissionAnswered { worker_id, answer });
    }

    fn look_at(&self, worker_id: WorkerId) -> (WorkerId, Observation) {
        let observation = match self.batch.get(&worker_id) {
            Some(Truth::Waiting { listed_from }) if self.now >= *listed_from => Observation::Queued,
            Some(Truth::Waiting { .. }) | None => Observation::Absent,
            Some(Truth::Running) => Observation::Running {
                node: NodeName::default(),
            },
            Some(Truth::Ended) => Observation::Ended {
                exit_code: Some(0),
                diag: String::new(),
            },
        };
        (worker_id, observation)
    }

    /// The invariants, in what the batch system really has.
    fn check(&self) {
        let count = |is_counted: fn(&Truth) -> bool| {
            u32::try_from(
                self.batch
                    .values()
                    .filter(|truth| is_counted(truth))
                    .count(),
            )
            .unwrap()
        };
        let waiting = count(|truth| matches!(truth, Truth::Waiting { .. }));
        let all = waiting + count(|truth| matches!(truth, Truth::Running));
        assert!(all <= LIMITS.workers, "F1: {all} workers");
        assert!(waiting <= LIMITS.waiting, "F1: {waiting} waiting workers");
        for (worker_id, truth) in &self.batch {
            if *truth != Truth::Ended {
                let counts = |worker: &&TrackedWorker| {
                    worker.worker().worker_id == *worker_id && worker.is_alive()
                };
                assert!(
                    self.core.workers().any(|worker| counts(&worker)),
                    "F2: {worker_id} exists"
                );
            }
        }
    }

    /// No more faults: everything must come to its end.
    fn settle(&mut self) {
        self.give(Input::CancelAll);
        for _ in 0..6 {
            self.step(&Step::Wait(LOST_AFTER.as_secs()));
            self.give(Input::CycleDue);
            self.deliver_all();
            self.give(Input::ReportDue);
            self.deliver_all();
        }
        assert_eq!(
            self.core.workers().count(),
            0,
            "every worker ends and is reported"
        );
    }

    fn deliver_all(&mut self) {
        while !self.messages.is_empty() {
            self.step(&Step::Deliver {
                skip: 0,
                twice: false,
            });
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Cycle),
        2 => Just(Step::Report),
        3 => (0_u64..40).prop_map(Step::Wait),
        3 => (0_u32..12, 0_u32..4).prop_map(|(activated, busy)| Step::Jobs(activated, busy)),
        20 => (0_usize..3, any::<bool>()).prop_map(|(skip, twice)| Step::Deliver { skip, twice }),
        1 => Just(Step::Lose),
        4 => (0_usize..8).prop_map(Step::Advance),
        2 => prop_oneof![
            3 => Just(Mood::Fine),
            1 => Just(Mood::Refuses),
            1 => Just(Mood::TakesSilently),
            1 => Just(Mood::DropsSilently),
        ].prop_map(Step::Mood),
        1 => Just(Step::Restart),

    ]
}

proptest! {
    #[test]
    fn limits_hold_and_nothing_is_forgotten(steps in prop::collection::vec(any_step(), 0..200)) {
        let mut world = World::new();
        world.step(&Step::Jobs(10, 0));
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
