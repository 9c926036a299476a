//! What one call knows of the queues: how busy they are, and what is worth remembering of them.

use std::{collections::BTreeMap, time::Duration};

use ailurus_brokerage::{Candidate, Load, TaskPast};
use ailurus_model::{JobStatus, QueueName, TaskId};

use crate::{
    Context,
    ledger::{Ledger, LedgerError, LoadRow, QueuePulse, TaskPlace},
    throttle::ShareLoad,
};

/// What one call knows of the queues, kept up to date with what it places.
#[derive(Debug, Default)]
pub(crate) struct QueueFacts {
    loads: BTreeMap<QueueName, Load>,
    /// By share and resource class, then queue.
    by_share: BTreeMap<(String, String), BTreeMap<QueueName, Load>>,
    pulses: BTreeMap<QueueName, QueuePulse>,
    places: BTreeMap<TaskId, BTreeMap<QueueName, TaskPlace>>,
}

impl QueueFacts {
    pub(crate) fn read(ledger: &impl Ledger) -> Result<Self, LedgerError> {
        let mut facts = Self {
            pulses: ledger.pulses()?,
            ..Self::default()
        };
        for row in ledger.loads()? {
            let of_share = facts
                .by_share
                .entry((row.share.clone(), row.resource_type.clone()))
                .or_default();
            add(of_share.entry(row.queue.clone()).or_default(), &row);
            add(facts.loads.entry(row.queue.clone()).or_default(), &row);
        }
        Ok(facts)
    }

    /// Reads how the jobs of a task fared, once a call.
    pub(crate) fn read_places(
        &mut self,
        ledger: &impl Ledger,
        task: TaskId,
    ) -> Result<(), LedgerError> {
        if let std::collections::btree_map::Entry::Vacant(unread) = self.places.entry(task) {
            unread.insert(ledger.task_places(task)?);
        }
        Ok(())
    }

    /// Returns every queue as the jobs of a task, share and class see it.
    pub(crate) fn candidates<'a>(
        &self,
        ctx: &Context<'a>,
        task: TaskId,
        share: &str,
        class: &str,
        mixture: &BTreeMap<QueueName, u64>,
    ) -> Vec<Candidate<'a>> {
        let of_share = self.by_share.get(&(share.to_owned(), class.to_owned()));
        let places = self.places.get(&task);
        let ago = |time: Option<ailurus_model::Timestamp>| time.map(|time| ctx.now.since(time));
        ctx.queues
            .values()
            .map(|queue| {
                let name = &queue.name;
                let pulse = self.pulses.get(name).copied().unwrap_or_default();
                // Who runs jobs reports, or is given up soon.
                let is_busy = self.loads.get(name).is_some_and(|load| load.busy() > 0);
                let seen = match is_busy {
                    true => Some(Duration::ZERO),
                    false => ago(pulse.pilot_seen),
                };
                let place = places.and_then(|it| it.get(name)).copied();
                Candidate {
                    queue,
                    load: self.loads.get(name).copied().unwrap_or_default(),
                    share_load: of_share
                        .and_then(|it| it.get(name))
                        .copied()
                        .unwrap_or_default(),
                    task: past(place.unwrap_or_default()),
                    mixture_jobs: mixture.get(name).copied().unwrap_or(0),
                    pilot_seen: seen,
                    job_started: ago(pulse.job_started),
                    costs: ctx.scheduling.policy.costs_to(name.as_str(), &queue.site),
                }
            })
            .collect()
    }

    /// Returns the load of a share and resource class at all queues together: what waits there, and
    /// what pilots have.
    pub(crate) fn load_of_share(&self, share: &str, class: &str) -> ShareLoad {
        let of_share = self.by_share.get(&(share.to_owned(), class.to_owned()));
        let loads = of_share.into_iter().flat_map(BTreeMap::values);
        loads.fold(ShareLoad::default(), |sum, load| ShareLoad {
            queued: sum.queued.saturating_add(load.queued()),
            running: sum.running.saturating_add(load.busy()),
        })
    }

    /// Notes jobs that wait at a queue from now on.
    pub(crate) fn note_placed(
        &mut self,
        task: TaskId,
        share: &str,
        class: &str,
        queue: &QueueName,
        jobs: u64,
    ) {
        let of_share = self
            .by_share
            .entry((share.to_owned(), class.to_owned()))
            .or_default();
        for load in [
            of_share.entry(queue.clone()).or_default(),
            self.loads.entry(queue.clone()).or_default(),
        ] {
            load.activated = load.activated.saturating_add(jobs);
        }
        if let Some(places) = self.places.get_mut(&task) {
            let place = places.entry(queue.clone()).or_default();
            place.jobs = place.jobs.saturating_add(jobs);
        }
    }
}

fn past(place: TaskPlace) -> TaskPast {
    TaskPast {
        jobs: place.jobs,
        failed: place.failed,
        finished: place.finished,
        closed: place.closed,
    }
}

fn add(load: &mut Load, row: &LoadRow) {
    let count = match row.status {
        JobStatus::Assigned => &mut load.assigned,
        JobStatus::Activated => &mut load.activated,
        JobStatus::Sent | JobStatus::Starting => &mut load.starting,
        JobStatus::Running => {
            load.running_cores = load.running_cores.saturating_add(row.cores);
            &mut load.running
        }
        JobStatus::Transferring => &mut load.transferring,
        JobStatus::Pending
        | JobStatus::Defined
        | JobStatus::Holding
        | JobStatus::Merging
        | JobStatus::Finished
        | JobStatus::Failed
        | JobStatus::Cancelled
        | JobStatus::Closed => return,
    };
    *count = count.saturating_add(row.jobs);
}
