//! The core of Harvester: inputs and a time go in, effects come out.
//!
//! A cycle goes like this. [`Input::CycleDue`] asks about all workers of each queue at once
//! ([`Effect::Query`]). Its answer, [`Input::Observed`], is taken, and new workers are planned.
//! They are made one after the other: recorded, and only when their row is safe, submitted; the
//! answer starts the next. So a refusal stops the rest at once, and a crash at any point leaves
//! at most one worker of unknown fate behind for each queue, with its row.

use std::collections::BTreeMap;

use ailurus_model::{QueueName, Timestamp, Worker, WorkerId, WorkerStatus};

use crate::{
    message::{Config, Effect, Input, QueueSettings, QueueStatistics, SubmissionAnswer, WorkerKey},
    plan::{Demand, JobCounts, Standing, plan_new_workers},
    queue::QueueState,
    worker::{Observation, Revision, Stage, TrackedWorker},
};

/// Decides what one Harvester does.
#[derive(Debug)]
pub struct HarvesterCore {
    config: Config,
    queues: BTreeMap<QueueName, QueueState>,
    workers: BTreeMap<WorkerId, TrackedWorker>,
    last_id: WorkerId,
    jobs: Option<(Timestamp, BTreeMap<QueueName, JobCounts>)>,
    is_stopping: bool,
}

impl HarvesterCore {
    /// Makes a core that goes on with the workers an earlier run has recorded.
    ///
    /// `last_id` is the largest worker number ever used by this instance. Whatever the rows say
    /// of them, the workers count as existing until the batch system says otherwise.
    #[must_use]
    pub fn resume(
        config: Config,
        queues: Vec<QueueSettings>,
        workers: Vec<Worker>,
        last_id: WorkerId,
        now: Timestamp,
    ) -> Self {
        let largest = workers.iter().map(|worker| worker.worker_id).max();
        Self {
            config,
            queues: queues
                .into_iter()
                .map(|settings| (settings.name.clone(), QueueState::new(settings)))
                .collect(),
            workers: workers
                .into_iter()
                .map(|worker| (worker.worker_id, TrackedWorker::recorded(worker, now)))
                .collect(),
            last_id: largest.map_or(last_id, |largest| largest.max(last_id)),
            jobs: None,
            is_stopping: false,
        }
    }

    /// Applies one input at time `now` and returns what to do, in order.
    ///
    /// Inputs about unknown workers or queues, and answers that come twice or too late, change
    /// nothing.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::CycleDue => self.on_cycle(now),
            Input::ReportDue => self.on_report(now),
            Input::QueueRead(data) => {
                if let Some(queue) = self.queues.get_mut(&data.name) {
                    queue.data = Some(*data);
                }
                Vec::new()
            }
            Input::JobsCounted(counts) => {
                self.on_jobs_counted(now, counts);
                Vec::new()
            }
            Input::Recorded(worker_id) => self.on_recorded(now, worker_id),
            Input::RecordFailed { worker_id, reason } => {
                self.on_record_failed(now, worker_id, &reason)
            }
            Input::SubmissionAnswered { worker_id, answer } => {
                self.on_submission(now, worker_id, &answer)
            }
            Input::Observed {
                queue,
                asked,
                answer,
            } => self.on_observed(now, &queue, asked, &answer),
            Input::WorkersAcknowledged(acknowledged) => self.on_acknowledged(&acknowledged),
            Input::Stop => {
                self.is_stopping = true;
                Vec::new()
            }
            Input::CancelAll => {
                self.is_stopping = true;
                self.workers
                    .values_mut()
                    .for_each(TrackedWorker::mark_unwanted);
                self.on_cycle(now)
            }
        }
    }

    /// Returns all workers that are followed, by number: those that have not ended, and those
    /// whose end the server has not acknowledged.
    pub fn workers(&self) -> impl Iterator<Item = &TrackedWorker> {
        self.workers.values()
    }

    /// Says whether every worker has ended.
    #[must_use]
    pub fn all_have_ended(&self) -> bool {
        !self.workers.values().any(TrackedWorker::is_alive)
    }

    fn on_jobs_counted(&mut self, now: Timestamp, counts: BTreeMap<QueueName, JobCounts>) {
        for (name, queue) in &mut self.queues {
            if counts.get(name).is_some_and(|jobs| jobs.with_pilots > 0) {
                queue.last_busy = Some(now);
            }
        }
        self.jobs = Some((now, counts));
    }

    fn on_cycle(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let names: Vec<QueueName> = self.queues.keys().cloned().collect();
        for name in names {
            let to_cancel = self.keys_of(&name, TrackedWorker::is_unwanted);
            if !to_cancel.is_empty() {
                effects.push(Effect::Cancel {
                    queue: name.clone(),
                    workers: to_cancel,
                });
            }
            let to_query = self.keys_of(&name, |worker| worker.stage() != Stage::Recording);
            if to_query.is_empty() {
                effects.extend(self.begin_planning(now, &name));
            } else {
                effects.push(Effect::Query {
                    queue: name,
                    workers: to_query,
                });
            }
        }
        effects
    }

    fn on_observed(
        &mut self,
        now: Timestamp,
        name: &QueueName,
        asked: Timestamp,
        answer: &Result<BTreeMap<WorkerId, Observation>, String>,
    ) -> Vec<Effect> {
        let range = self.config.pause;
        let Some(queue) = self.queues.get_mut(name) else {
            return Vec::new();
        };
        let observations = match answer {
            Ok(observations) => observations,
            Err(reason) => {
                // Where we cannot see, we do not add.
                let reason = format!("workers cannot be queried: {reason}");
                queue.pressure.on_failure(now, &reason, range);
                let workers = self.workers.values_mut();
                workers
                    .filter(|worker| worker.worker().queue == *name)
                    .for_each(TrackedWorker::doubt_absence);
                return self.begin_planning(now, name);
            }
        };
        let mut effects = Vec::new();
        let mut ended = Vec::new();
        for (worker_id, observation) in observations {
            let known = self.workers.get_mut(worker_id);
            let Some(worker) = known.filter(|worker| worker.worker().queue == *name) else {
                continue;
            };
            if worker.observe(observation, asked, now, self.config.lost_after) {
                effects.push(Effect::Save(worker.worker().clone()));
                if !worker.is_alive() {
                    ended.push(*worker_id);
                }
            }
        }
        self.judge_ended(now, name, &ended);
        effects.extend(self.begin_planning(now, name));
        effects
    }

    /// Learns from workers that ended by themselves whether new ones are of use.
    fn judge_ended(&mut self, now: Timestamp, name: &QueueName, ended: &[WorkerId]) {
        let by_themselves: Vec<&TrackedWorker> = ended
            .iter()
            .filter_map(|worker_id| self.workers.get(worker_id))
            .filter(|worker| {
                matches!(
                    worker.worker().status,
                    WorkerStatus::Finished | WorkerStatus::Failed
                )
            })
            .collect();
        if by_themselves.is_empty() {
            return;
        }
        let fast_end = self.config.fast_end;
        let last_busy = self.queues.get(name).and_then(|queue| queue.last_busy);
        let was_of_use = |worker: &&TrackedWorker| {
            let ran_long = worker.run_time().is_some_and(|time| time >= fast_end);
            // Which worker had the job is not known: one is enough to acquit all of that time.
            let saw_jobs = last_busy >= worker.worker().submit_time;
            ran_long || saw_jobs || !worker.worker().panda_ids.is_empty()
        };
        let were_of_use = by_themselves.iter().any(was_of_use);
        let range = self.config.pause;
        let queue = self.queue_mut(name);
        if were_of_use {
            queue.pressure.on_fruitful();
        } else {
            let new_per_cycle = queue.limits().new_per_cycle;
            queue.pressure.on_fruitless(now, new_per_cycle, range);
        }
    }

    /// Opens the cycle's budget and makes the first new worker.
    fn begin_planning(&mut self, now: Timestamp, name: &QueueName) -> Vec<Effect> {
        let mut effects = Vec::new();
        let lost_after = self.config.lost_after;
        let queue = self.queue_mut(name);
        queue.budget = queue.pressure.allowance(queue.limits().new_per_cycle);
        // An answer that never comes must not stop the queue for ever.
        if let Some((worker_id, since)) = queue.in_flight
            && now.since(since) >= lost_after
        {
            queue.in_flight = None;
            effects.extend(self.give_up_recording(now, worker_id));
        }
        effects.extend(self.make_next(now, name));
        effects
    }

    /// Ends a worker whose row was never said to be safe: it was never submitted. One that was
    /// submitted goes on counting.
    fn give_up_recording(&mut self, now: Timestamp, worker_id: WorkerId) -> Option<Effect> {
        let worker = self.workers.get_mut(&worker_id)?;
        let is_unsubmitted = worker.stage() == Stage::Recording;
        (is_unsubmitted && worker.refuse(now, "not submitted: its record was not confirmed"))
            .then(|| Effect::Save(worker.worker().clone()))
    }

    /// Makes one more worker if there is need and room, and nothing speaks against it.
    fn make_next(&mut self, now: Timestamp, name: &QueueName) -> Vec<Effect> {
        let (new, standing) = self.plan(now, name);
        let worker_id = self.last_id.next();
        let harvester_id = self.config.harvester_id.clone();
        let queue = self.queue_mut(name);
        let mut effects = Vec::new();
        if queue.standing.as_ref() != Some(&standing) {
            queue.standing = Some(standing.clone());
            effects.push(Effect::Show {
                queue: name.clone(),
                standing,
            });
        }
        if new == 0 || queue.budget == 0 || queue.in_flight.is_some() {
            return effects;
        }
        queue.budget -= 1;
        queue.in_flight = Some((worker_id, now));
        let worker = queue.new_worker(harvester_id, worker_id, now);
        self.last_id = worker_id;
        self.workers
            .insert(worker_id, TrackedWorker::new(worker.clone(), now));
        effects.push(Effect::Record(worker));
        effects
    }

    fn plan(&self, now: Timestamp, name: &QueueName) -> (u32, Standing) {
        let Some(queue) = self.queues.get(name) else {
            return (0, Standing::QueueUnknown);
        };
        if self.is_stopping {
            return (0, Standing::Stopping);
        }
        if let Err(standing) = queue.accepts_workers() {
            return (0, standing);
        }
        let Some(jobs) = self.jobs_of(now, name) else {
            return (0, Standing::JobsUnknown);
        };
        if let Some((until, reason)) = queue.pressure.pause(now) {
            let reason = reason.to_owned();
            return (0, Standing::Paused { until, reason });
        }
        let limits = queue.limits();
        let count = |workers: usize| u32::try_from(workers).unwrap_or(u32::MAX);
        let alive = self.alive_of(name).count();
        let waiting = self.alive_of(name).filter(|worker| worker.is_waiting());
        let waiting = waiting.count();
        plan_new_workers(&Demand {
            jobs,
            waiting: count(waiting),
            running: count(alive.saturating_sub(waiting)),
            limits,
            allowance: queue.pressure.allowance(limits.new_per_cycle),
        })
    }

    fn on_recorded(&mut self, now: Timestamp, worker_id: WorkerId) -> Vec<Effect> {
        let recorded = self.workers.get_mut(&worker_id);
        let Some(worker) = recorded.filter(|worker| worker.stage() == Stage::Recording) else {
            return Vec::new();
        };
        if worker.is_unwanted() || self.is_stopping {
            // Never submitted, so it certainly does not exist.
            worker.refuse(now, "not submitted: stopping");
            return vec![Effect::Save(worker.worker().clone())];
        }
        worker.mark_submitting(now);
        vec![Effect::Submit(worker.worker().clone())]
    }

    fn on_record_failed(
        &mut self,
        now: Timestamp,
        worker_id: WorkerId,
        reason: &str,
    ) -> Vec<Effect> {
        let is_unrecorded = self
            .workers
            .get(&worker_id)
            .is_some_and(|worker| worker.stage() == Stage::Recording);
        // Nobody but us has heard of it: it never was.
        let Some(worker) = (is_unrecorded.then(|| self.workers.remove(&worker_id))).flatten()
        else {
            return Vec::new();
        };
        let reason = format!("worker {worker_id} cannot be recorded: {reason}");
        self.on_trouble(now, &worker.worker().queue, worker_id, &reason)
    }

    fn on_submission(
        &mut self,
        now: Timestamp,
        worker_id: WorkerId,
        answer: &SubmissionAnswer,
    ) -> Vec<Effect> {
        let Some(worker) = self.workers.get_mut(&worker_id) else {
            return Vec::new();
        };
        let name = worker.worker().queue.clone();
        let is_changed = match answer {
            SubmissionAnswer::Accepted(_) if !worker.is_alive() => {
                // It was given up too early: not counted any more, so it must not stay.
                let workers = vec![worker.key()];
                return vec![Effect::Cancel {
                    queue: name,
                    workers,
                }];
            }
            SubmissionAnswer::Accepted(batch_id) => worker.accept(now, batch_id),
            SubmissionAnswer::Refused { reason } => worker.refuse(now, reason),
            SubmissionAnswer::Unknown { .. } => false,
        };
        let mut effects = Vec::new();
        if is_changed {
            effects.push(Effect::Save(worker.worker().clone()));
        }
        match answer {
            SubmissionAnswer::Refused { reason } | SubmissionAnswer::Unknown { reason } => {
                effects.extend(self.on_trouble(now, &name, worker_id, reason));
            }
            SubmissionAnswer::Accepted(_) => {
                if let Some(queue) = self.queues.get_mut(&name)
                    && queue.land(worker_id)
                {
                    queue.pressure.on_success();
                    effects.extend(self.make_next(now, &name));
                }
            }
        }
        effects
    }

    /// A worker could not be made: the queue pauses. What is told about any other worker than
    /// the one under way is old or doubled.
    fn on_trouble(
        &mut self,
        now: Timestamp,
        name: &QueueName,
        worker_id: WorkerId,
        reason: &str,
    ) -> Vec<Effect> {
        let range = self.config.pause;
        let Some(queue) = self.queues.get_mut(name) else {
            return Vec::new();
        };
        if !queue.land(worker_id) {
            return Vec::new();
        }
        queue.pressure.on_failure(now, reason, range);
        self.make_next(now, name)
    }

    fn on_acknowledged(&mut self, acknowledged: &[(WorkerId, Revision)]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (worker_id, revision) in acknowledged {
            let Some(worker) = self.workers.get_mut(worker_id) else {
                continue;
            };
            worker.acknowledge(*revision);
            if !worker.is_alive() && worker.is_acknowledged() {
                self.workers.remove(worker_id);
                effects.push(Effect::Retire(*worker_id));
            }
        }
        effects
    }

    fn on_report(&mut self, now: Timestamp) -> Vec<Effect> {
        let refresh = self.config.report_refresh;
        let due: Vec<(Revision, Worker)> = self
            .workers
            .values_mut()
            .filter(|worker| worker.stage() != Stage::Recording && worker.is_due(now, refresh))
            .map(|worker| {
                worker.mark_reported(now);
                (worker.revision(), worker.worker().clone())
            })
            .collect();
        let mut effects: Vec<Effect> = due
            .chunks(self.config.workers_per_report.max(1))
            .map(|chunk| Effect::ReportWorkers(chunk.to_vec()))
            .collect();
        let names: Vec<QueueName> = self.queues.keys().cloned().collect();
        effects.extend(
            names
                .iter()
                .filter_map(|name| self.fresh_statistics(now, name))
                .map(Effect::ReportStatistics),
        );
        effects
    }

    /// Counts a queue's workers, if the server has not heard this count lately.
    fn fresh_statistics(&mut self, now: Timestamp, name: &QueueName) -> Option<QueueStatistics> {
        let mut workers = BTreeMap::new();
        for worker in self.alive_of(name) {
            *workers.entry(worker.worker().status).or_insert(0) += 1;
        }
        let interval = self.config.statistics_interval;
        let queue = self.queue_mut(name);
        let is_known = queue
            .statistics
            .as_ref()
            .is_some_and(|(sent, last)| *last == workers && now.since(*sent) < interval);
        if is_known {
            return None;
        }
        queue.statistics = Some((now, workers.clone()));
        Some(QueueStatistics {
            queue: name.clone(),
            job_type: queue.settings.job_type.clone(),
            resource_type: queue.settings.resource_type.clone(),
            workers,
        })
    }

    fn jobs_of(&self, now: Timestamp, name: &QueueName) -> Option<JobCounts> {
        let (counted, counts) = self.jobs.as_ref()?;
        let is_valid = now.since(*counted) < self.config.jobs_valid_for;
        is_valid.then(|| counts.get(name).copied().unwrap_or_default())
    }

    fn alive_of(&self, name: &QueueName) -> impl Iterator<Item = &TrackedWorker> {
        self.workers
            .values()
            .filter(move |worker| worker.is_alive() && worker.worker().queue == *name)
    }

    fn keys_of(
        &self,
        name: &QueueName,
        is_meant: impl Fn(&TrackedWorker) -> bool,
    ) -> Vec<WorkerKey> {
        self.alive_of(name)
            .filter(|worker| is_meant(worker))
            .map(TrackedWorker::key)
            .collect()
    }

    fn queue_mut(&mut self, name: &QueueName) -> &mut QueueState {
        self.queues
            .get_mut(name)
            .expect("queues are never removed, and the name came from one")
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
