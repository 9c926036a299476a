//! The loop around the core: waits for an input, applies it, carries out the effects.
//!
//! Effects are carried out one after the other on this thread: a worker is submitted only after
//! its row was written. Only the server is on a thread of its own, see [`crate::courier`].

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use ailurus_batch::{
    BadWorkerName, BatchState, BatchSystem, SubmitError, SubmitOutcome, WorkerName,
    WorkerSubmission,
};
use ailurus_harvester_core::{
    Effect, HarvesterCore, Input, Observation, SubmissionAnswer, WorkerKey,
};
use ailurus_model::{HarvesterId, QueueName, Worker, WorkerId};
use ailurus_store::workers::WorkerBook;

use crate::{
    clock::wall_clock,
    courier::{Courier, CourierEnd, Letter},
    error_text::chain,
    template::{Template, Values},
};

/// How long the last reports may take when Harvester stops.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);
const FAREWELL_STEP: Duration = Duration::from_millis(20);
/// How often cancelled workers are looked at while Harvester waits for their end.
const CANCEL_CYCLE: Duration = Duration::from_millis(200);
/// What cancelled workers may take beyond their grace period.
const CANCEL_EXTRA: Duration = Duration::from_secs(30);

/// Something that the loop waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the core.
    Input(Input),
    /// A signal to stop.
    Stop,
}

/// What becomes of the workers when Harvester stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkersAtStop {
    /// They go on; the next Harvester finds them.
    Leave,
    /// They are ended.
    Cancel,
}

/// One queue's way to its batch system.
pub(crate) struct QueueRuntime {
    /// The batch system.
    pub(crate) batch: Box<dyn BatchSystem>,
    /// Program and arguments of a worker.
    pub(crate) command: Vec<Template>,
    /// Variables of a worker.
    pub(crate) environment: BTreeMap<String, String>,
    /// What a worker that was told to end may take.
    pub(crate) cancel_grace: Duration,
}

/// A running Harvester.
pub(crate) struct Shell {
    /// What decides.
    pub(crate) core: HarvesterCore,
    /// The rows that survive.
    pub(crate) book: WorkerBook,
    /// The queues.
    pub(crate) queues: BTreeMap<QueueName, QueueRuntime>,
    /// The name of this instance.
    pub(crate) harvester_id: HarvesterId,
    /// The server's address, for workers' commands.
    pub(crate) server_url: String,
    /// The way to the server.
    pub(crate) courier: Courier,
    /// Tells when the way to the server is closed.
    pub(crate) courier_end: CourierEnd,
    /// Inputs and signals.
    pub(crate) events: Receiver<Event>,
    /// Keeps a second Harvester from the same rows.
    pub(crate) _lock: File,
}

impl Shell {
    /// Runs until a signal comes.
    pub(crate) fn run(mut self, cycle: Duration, at_stop: WorkersAtStop) {
        let mut next_cycle = Instant::now();
        let mut has_counts = false;
        loop {
            let wait = next_cycle.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
                Ok(Event::Stop) => return self.stop(at_stop),
                Ok(Event::Input(input)) => {
                    if matches!(input, Input::JobsCounted(_)) && !has_counts {
                        has_counts = true;
                        next_cycle = Instant::now();
                    }
                    self.give(input);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look_around();
                    next_cycle = Instant::now() + cycle;
                }
                Err(RecvTimeoutError::Disconnected) => return self.stop(WorkersAtStop::Leave),
            }
        }
    }

    fn look_around(&mut self) {
        self.give(Input::CycleDue);
        self.give(Input::ReportDue);
    }

    fn stop(mut self, at_stop: WorkersAtStop) {
        match at_stop {
            WorkersAtStop::Leave => {
                tracing::info!("stopping, workers go on");
                self.give(Input::Stop);
            }
            WorkersAtStop::Cancel => {
                tracing::info!("stopping, workers are cancelled");
                self.cancel_all();
            }
        }
        self.give(Input::ReportDue);
        // The courier carries what waits and ends; what the server acknowledges is still noted.
        self.courier.close();
        let deadline = Instant::now() + FAREWELL_LIMIT;
        while !self.courier_end.has_come() && Instant::now() < deadline {
            if let Ok(Event::Input(input)) = self.events.recv_timeout(FAREWELL_STEP) {
                self.give(input);
            }
        }
        while let Ok(Event::Input(input)) = self.events.try_recv() {
            self.give(input);
        }
    }

    /// Ends all workers and waits until they have, or a further signal comes.
    fn cancel_all(&mut self) {
        let grace = self.queues.values().map(|queue| queue.cancel_grace).max();
        let deadline = Instant::now() + grace.unwrap_or_default() + CANCEL_EXTRA;
        self.give(Input::CancelAll);
        let mut next_cycle = Instant::now();
        while !self.core.all_have_ended() {
            if Instant::now() >= deadline {
                tracing::warn!("some workers have not ended: they are left to the next start");
                return;
            }
            let wait = next_cycle.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
                Ok(Event::Stop) => return,
                Ok(Event::Input(input)) => self.give(input),
                Err(RecvTimeoutError::Timeout) => {
                    self.give(Input::CycleDue);
                    next_cycle = Instant::now() + CANCEL_CYCLE;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Applies an input and all that follows from it.
    fn give(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.core.handle(wall_clock(), input) {
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Record(worker) => Some(self.record(&worker)),
            Effect::Submit(worker) => Some(self.submit(&worker)),
            Effect::Save(worker) => {
                tracing::info!(
                    worker.id = worker.worker_id.value(),
                    queue = worker.queue.as_str(),
                    exit_code = worker.exit_code,
                    "worker is {}{}{}",
                    worker.status,
                    if worker.diag.is_empty() { "" } else { ": " },
                    worker.diag,
                );
                log_failure(self.book.save(&worker));
                None
            }
            Effect::Retire(worker_id) => {
                log_failure(self.book.retire(worker_id));
                None
            }
            Effect::Query { queue, workers } => Some(self.query(queue, &workers)),
            Effect::Cancel { queue, workers } => {
                self.cancel(&queue, &workers);
                None
            }
            Effect::ReportWorkers(workers) => {
                self.courier.send(Letter::Workers(workers));
                None
            }
            Effect::ReportStatistics(statistics) => {
                self.courier.send(Letter::Statistics(statistics));
                None
            }
            Effect::Show { queue, standing } => {
                tracing::info!(queue = queue.as_str(), "{standing}");
                None
            }
        }
    }

    fn record(&self, worker: &Worker) -> Input {
        let worker_id = worker.worker_id;
        match self.book.record(worker) {
            Ok(()) => Input::Recorded(worker_id),
            Err(error) => Input::RecordFailed {
                worker_id,
                reason: chain(&error),
            },
        }
    }

    fn submit(&self, worker: &Worker) -> Input {
        let answer = match self.try_submit(worker) {
            Ok(Ok(batch_id)) => SubmissionAnswer::Accepted(batch_id),
            Ok(Err(error)) => match error.outcome() {
                SubmitOutcome::NotTaken => SubmissionAnswer::Refused {
                    reason: chain(&error),
                },
                SubmitOutcome::Unknown => SubmissionAnswer::Unknown {
                    reason: chain(&error),
                },
            },
            Err(reason) => SubmissionAnswer::Refused { reason },
        };
        Input::SubmissionAnswered {
            worker_id: worker.worker_id,
            answer,
        }
    }

    /// Fails with a text if the worker never got as far as the batch system.
    fn try_submit(
        &self,
        worker: &Worker,
    ) -> Result<Result<ailurus_model::BatchId, SubmitError>, String> {
        let queue = self.queues.get(&worker.queue);
        let queue = queue.ok_or_else(|| format!("queue `{}` is not configured", worker.queue))?;
        let name = self
            .name(worker.worker_id)
            .map_err(|error| error.to_string())?;
        let submission = self.submission(queue, worker, name);
        Ok(queue.batch.submit(&submission))
    }

    fn submission(
        &self,
        queue: &QueueRuntime,
        worker: &Worker,
        name: WorkerName,
    ) -> WorkerSubmission {
        let worker_id = worker.worker_id.to_string();
        let work_folder = queue.batch.work_folder(&name).display().to_string();
        let values = Values {
            queue: worker.queue.as_str(),
            server: &self.server_url,
            harvester_id: self.harvester_id.as_str(),
            worker_id: &worker_id,
            work_folder: &work_folder,
        };
        let mut environment = queue.environment.clone();
        // By these the pilot and the server know which worker a job runs in.
        environment.extend([
            ("HARVESTER_ID".to_owned(), self.harvester_id.to_string()),
            ("HARVESTER_WORKER_ID".to_owned(), worker_id.clone()),
            (
                "PANDA_JSID".to_owned(),
                format!("harvester-{}", self.harvester_id),
            ),
        ]);
        WorkerSubmission {
            name,
            command: queue.command.iter().map(|word| word.fill(values)).collect(),
            environment,
        }
    }

    fn query(&self, queue: QueueName, workers: &[WorkerKey]) -> Input {
        let asked = wall_clock();
        let answer = self.try_query(&queue, workers);
        Input::Observed {
            queue,
            asked,
            answer,
        }
    }

    fn try_query(
        &self,
        queue: &QueueName,
        workers: &[WorkerKey],
    ) -> Result<BTreeMap<WorkerId, Observation>, String> {
        let runtime = self.queues.get(queue);
        let runtime = runtime.ok_or_else(|| format!("queue `{queue}` is not configured"))?;
        let names = self.names(workers).map_err(|error| error.to_string())?;
        let asked: Vec<WorkerName> = names.keys().cloned().collect();
        let states = runtime.batch.query(&asked).map_err(|error| chain(&error))?;
        Ok(states
            .into_iter()
            .filter_map(|(name, state)| Some((*names.get(&name)?, observation(state))))
            .collect())
    }

    fn cancel(&self, queue: &QueueName, workers: &[WorkerKey]) {
        let (Some(runtime), Ok(names)) = (self.queues.get(queue), self.names(workers)) else {
            return;
        };
        let names: Vec<WorkerName> = names.into_keys().collect();
        log_failure(runtime.batch.cancel(&names));
    }

    fn names(
        &self,
        workers: &[WorkerKey],
    ) -> Result<BTreeMap<WorkerName, WorkerId>, BadWorkerName> {
        let name = |key: &WorkerKey| Ok((self.name(key.worker_id)?, key.worker_id));
        workers.iter().map(name).collect()
    }

    fn name(&self, worker_id: WorkerId) -> Result<WorkerName, BadWorkerName> {
        WorkerName::new(&self.harvester_id, worker_id)
    }
}

fn observation(state: BatchState) -> Observation {
    match state {
        BatchState::Queued => Observation::Queued,
        BatchState::Running { node } => Observation::Running { node },
        BatchState::Ended { exit_code, diag } => Observation::Ended { exit_code, diag },
        BatchState::Removed { diag } => Observation::Removed { diag },
        BatchState::Absent => Observation::Absent,
        BatchState::Unknown => Observation::Unknown,
    }
}

fn log_failure<E: std::error::Error>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!("{}", chain(&error));
    }
}
