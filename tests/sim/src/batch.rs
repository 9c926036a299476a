//! The batch system: the truth about workers. It refuses, forgets, keeps silent, and loses nodes.

use std::{collections::BTreeMap, time::Duration};

use ailurus_harvester_core::{Input, Observation, SubmissionAnswer, WorkerKey};
use ailurus_model::{BatchId, Moment, NodeName, QueueName, Worker, WorkerId};

use crate::{
    faults::Fault,
    pilot::PilotNr,
    world::{Event, World},
};

/// Who acts in the trace.
const BATCH: &str = "batch";
/// How long a submission may be under way, in milliseconds.
const SUBMIT_MILLIS: (u64, u64) = (20, 20_000);
/// How long a new worker may be missing in lists, in milliseconds. Together with the time under
/// way this is less than the time after which Harvester believes that a worker is gone.
const UNLISTED_MILLIS: (u64, u64) = (0, 20_000);
/// How long Harvester waits for an answer to a submission.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(45);
/// How long a worker may be left out of answers, in seconds; less than Harvester's patience.
const FORGOTTEN_SECS: (u64, u64) = (1, 40);
/// How long a listed worker is never forgotten: some query must see it meanwhile.
const SEEN_AFTER: Duration = Duration::from_secs(60);
/// How long an ended worker is still known.
const HISTORY: Duration = Duration::from_secs(900);
/// Time between the signal to a pilot and the end of its slot.
const SLOT_GRACE: Duration = Duration::from_secs(60);
/// SIGTERM's number.
pub(crate) const SIGTERM: i32 = 15;

/// All workers that the batch system ever took, by its own number.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) jobs: BTreeMap<u64, BatchJob>,
    last_id: u64,
}

impl Batch {
    /// Forgets workers that ended long ago.
    pub(crate) fn forget_ended(&mut self, now: Moment) {
        self.jobs.retain(|_, job| match job.state {
            BatchState::Queued | BatchState::Running(_) => true,
            BatchState::Ended { at, .. } | BatchState::Removed { at } => at.after(HISTORY) >= now,
        });
    }
}

/// One worker in the batch system.
#[derive(Debug)]
pub(crate) struct BatchJob {
    pub(crate) worker: WorkerId,
    pub(crate) queue: QueueName,
    pub(crate) state: BatchState,
    listed_from: Moment,
    forgotten_until: Option<Moment>,
}

/// What a worker is, in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BatchState {
    Queued,
    Running(PilotNr),
    Ended { at: Moment, exit_code: Option<i64> },
    Removed { at: Moment },
}

impl BatchJob {
    /// Says whether it takes a slot, or waits for one.
    pub(crate) const fn exists(&self) -> bool {
        matches!(self.state, BatchState::Queued | BatchState::Running(_))
    }
}

/// What happens in the batch system.
#[derive(Debug)]
pub(crate) enum BatchEvent {
    /// A submission reaches it.
    Submitted { life: u32, worker: Box<Worker> },
    /// A worker gets a slot.
    Starts(u64),
    /// The worker's node is lost, with all on it.
    Vanishes(u64),
    /// The worker is to leave its slot: a signal, then the end.
    Preempts(u64),
    /// The slot is taken away.
    Ends(u64),
    /// An operator or Harvester removes workers.
    Removes(Vec<WorkerKey>),
    /// A query is answered.
    Queried {
        life: u32,
        queue: QueueName,
        asked: Moment,
        workers: Vec<WorkerKey>,
    },
}

impl World {
    pub(crate) fn submit_worker(&mut self, life: u32, worker: Worker) {
        let delay = self.chance.millis(SUBMIT_MILLIS.0, SUBMIT_MILLIS.1);
        let worker = Box::new(worker);
        self.after(delay, Event::Batch(BatchEvent::Submitted { life, worker }));
    }

    pub(crate) fn query_workers(&mut self, life: u32, queue: QueueName, workers: Vec<WorkerKey>) {
        let asked = self.now;
        let delay = self.chance.millis(50, 8000);
        self.after(
            delay,
            Event::Batch(BatchEvent::Queried {
                life,
                queue,
                asked,
                workers,
            }),
        );
    }

    pub(crate) fn on_batch_event(&mut self, event: BatchEvent) {
        match event {
            BatchEvent::Submitted { life, worker } => self.on_submitted(life, *worker),
            BatchEvent::Starts(id) => self.on_slot(id),
            BatchEvent::Vanishes(id) => self.on_vanished(id),
            BatchEvent::Preempts(id) => self.preempt(id),
            BatchEvent::Ends(id) => self.on_slot_lost(id),
            BatchEvent::Removes(workers) => self.on_removal(&workers),
            BatchEvent::Queried {
                life,
                queue,
                asked,
                workers,
            } => {
                self.on_queried(life, queue, asked, &workers);
            }
        }
    }

    fn on_submitted(&mut self, life: u32, worker: Worker) {
        let worker_id = worker.worker_id;
        let unknown = || SubmissionAnswer::Unknown {
            reason: "the submission was not answered".to_owned(),
        };
        let answer = if self.strikes(Fault::SubmissionRefused) {
            let reason = "the queue is full".to_owned();
            SubmissionAnswer::Refused { reason }
        } else if self.strikes(Fault::SubmissionLost) {
            unknown()
        } else {
            let id = self.take_worker(worker);
            if self.strikes(Fault::SubmissionSilent) {
                unknown()
            } else {
                SubmissionAnswer::Accepted(BatchId::new(id.to_string()))
            }
        };
        self.say(BATCH, format_args!("worker {worker_id}: {answer:?}"));
        let delay = match &answer {
            SubmissionAnswer::Unknown { .. } => SUBMIT_PATIENCE,
            SubmissionAnswer::Accepted(_) | SubmissionAnswer::Refused { .. } => {
                self.chance.millis(10, 5000)
            }
        };
        let input = Input::SubmissionAnswered { worker_id, answer };
        self.tell_harvester(life, delay, input);
    }

    /// Takes a worker in and returns its number.
    pub(crate) fn take_worker(&mut self, worker: Worker) -> u64 {
        self.batch.last_id += 1;
        let id = self.batch.last_id;
        let unlisted = self.chance.millis(UNLISTED_MILLIS.0, UNLISTED_MILLIS.1);
        let job = BatchJob {
            worker: worker.worker_id,
            queue: worker.queue,
            state: BatchState::Queued,
            listed_from: self.now.after(unlisted),
            forgotten_until: None,
        };
        self.batch.jobs.insert(id, job);
        let wait = self.chance.seconds(1, 300);
        self.after(wait, Event::Batch(BatchEvent::Starts(id)));
        id
    }

    fn on_slot(&mut self, id: u64) {
        let Some(job) = self.batch.jobs.get(&id) else {
            return;
        };
        if job.state != BatchState::Queued {
            return;
        }
        let (worker, queue) = (job.worker, job.queue.clone());
        let max_time = self.scenario.queues[&queue].max_time;
        let pilot = self.start_pilot(id, worker, queue);
        if let Some(job) = self.batch.jobs.get_mut(&id) {
            job.state = BatchState::Running(pilot);
        }
        let slot_time = max_time + Duration::from_secs(1800);
        self.after(slot_time, Event::Batch(BatchEvent::Preempts(id)));
        if self.strikes(Fault::NodeVanishes) {
            let life = self.chance.seconds(0, 3600);
            self.after(life, Event::Batch(BatchEvent::Vanishes(id)));
        }
        if self.strikes(Fault::Preempted) {
            let life = self.chance.seconds(0, 3600);
            self.after(life, Event::Batch(BatchEvent::Preempts(id)));
        }
    }

    /// Starts another pilot in the slot of one that died.
    pub(crate) fn restart_pilot(&mut self, id: u64) {
        let Some(job) = self.batch.jobs.get(&id) else {
            return;
        };
        let (worker, queue) = (job.worker, job.queue.clone());
        let pilot = self.start_pilot(id, worker, queue);
        self.set_batch_state(id, BatchState::Running(pilot));
    }

    fn running_pilot(&self, id: u64) -> Option<PilotNr> {
        match self.batch.jobs.get(&id)?.state {
            BatchState::Running(pilot) => Some(pilot),
            BatchState::Queued | BatchState::Ended { .. } | BatchState::Removed { .. } => None,
        }
    }

    fn on_vanished(&mut self, id: u64) {
        let Some(pilot) = self.running_pilot(id) else {
            return;
        };
        self.say(BATCH, format_args!("node of pilot {pilot} vanishes"));
        self.pilots.remove(&pilot);
        // Some batch systems say that it ended, some that it was removed.
        let at = self.now;
        let state = if self.chance.says_yes(500) {
            BatchState::Removed { at }
        } else {
            BatchState::Ended {
                at,
                exit_code: None,
            }
        };
        self.set_batch_state(id, state);
    }

    fn preempt(&mut self, id: u64) {
        if let Some(pilot) = self.running_pilot(id) {
            self.say(BATCH, format_args!("pilot {pilot} is to leave its slot"));
            self.after(SLOT_GRACE, Event::Batch(BatchEvent::Ends(id)));
            self.signal_pilot(pilot, SIGTERM);
        }
    }

    fn on_slot_lost(&mut self, id: u64) {
        if let Some(pilot) = self.running_pilot(id) {
            self.say(BATCH, format_args!("slot of pilot {pilot} is taken away"));
            self.pilots.remove(&pilot);
            let at = self.now;
            self.set_batch_state(id, BatchState::Removed { at });
        }
    }

    fn on_removal(&mut self, workers: &[WorkerKey]) {
        let at = self.now;
        let is_meant = |job: &BatchJob| workers.iter().any(|key| key.worker_id == job.worker);
        let jobs = self.batch.jobs.iter().filter(|(_, job)| is_meant(job));
        let ids: Vec<u64> = jobs.map(|(id, _)| *id).collect();
        for id in ids {
            match self.batch.jobs[&id].state {
                BatchState::Queued => self.set_batch_state(id, BatchState::Removed { at }),
                BatchState::Running(_) => self.preempt(id),
                BatchState::Ended { .. } | BatchState::Removed { .. } => {}
            }
        }
    }

    /// The pilot has left: its worker ends with its exit code.
    pub(crate) fn end_worker(&mut self, id: u64, exit_code: u8) {
        let at = self.now;
        let exit_code = Some(i64::from(exit_code));
        self.set_batch_state(id, BatchState::Ended { at, exit_code });
    }

    pub(crate) fn set_batch_state(&mut self, id: u64, state: BatchState) {
        if let Some(job) = self.batch.jobs.get_mut(&id) {
            job.state = state;
        }
    }

    fn on_queried(&mut self, life: u32, queue: QueueName, asked: Moment, workers: &[WorkerKey]) {
        let asked = self.harvester_clock_at(asked);
        let answer = if self.strikes(Fault::QueryFailed) {
            Err("the batch system does not answer".to_owned())
        } else {
            let seen = workers
                .iter()
                .map(|key| (key.worker_id, self.observe(key.worker_id)));
            Ok(seen.collect())
        };
        let input = Input::Observed {
            queue,
            asked,
            answer,
        };
        self.tell_harvester(life, Duration::ZERO, input);
    }

    fn observe(&mut self, worker: WorkerId) -> Observation {
        let now = self.now;
        // The latest of this name, should there be several.
        let of_name = |(_, job): &(&u64, &BatchJob)| job.worker == worker;
        let Some(id) = self
            .batch
            .jobs
            .iter()
            .rev()
            .find(of_name)
            .map(|(id, _)| *id)
        else {
            return Observation::Absent;
        };
        // Once in its life, and only after it could be seen: what is out of all answers for longer
        // than Harvester's patience cannot be told from a loss.
        let job = &self.batch.jobs[&id];
        let could_be_seen = job.listed_from.after(SEEN_AFTER) <= now;
        if could_be_seen && job.forgotten_until.is_none() && self.strikes(Fault::WorkerForgotten) {
            let forgotten = self.chance.seconds(FORGOTTEN_SECS.0, FORGOTTEN_SECS.1);
            if let Some(job) = self.batch.jobs.get_mut(&id) {
                job.forgotten_until = Some(now.after(forgotten));
            }
        }
        let job = &self.batch.jobs[&id];
        if now < job.listed_from || job.forgotten_until.is_some_and(|until| now < until) {
            return Observation::Absent;
        }
        match job.state {
            BatchState::Queued => Observation::Queued,
            BatchState::Running(_) => Observation::Running {
                node: NodeName::new(format!("node{id}")),
            },
            BatchState::Ended { exit_code, .. } => Observation::Ended {
                exit_code,
                diag: String::new(),
            },
            BatchState::Removed { .. } => Observation::Removed {
                diag: "removed".to_owned(),
            },
        }
    }
}
