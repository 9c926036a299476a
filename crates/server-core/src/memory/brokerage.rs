//! What brokerage must know of queues, in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use ailurus_model::{ByteCount, JobStatus, PandaId, QueueName, TaskId};

use crate::{
    MemoryLedger,
    ledger::{BrokerageRows, LedgerError, LoadRow, MixtureRecord, QueuePulse, TaskPlace},
};

/// The rows of this file's tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BrokerageTables {
    pulses: BTreeMap<QueueName, QueuePulse>,
    task_places: BTreeMap<(TaskId, QueueName), TaskPlace>,
    mixtures: BTreeMap<String, MixtureRecord>,
    share_order: Vec<String>,
}

impl BrokerageRows for MemoryLedger {
    fn loads(&self) -> Result<Vec<LoadRow>, LedgerError> {
        let mut loads: BTreeMap<(&QueueName, &str, &str, JobStatus), (u64, u64)> = BTreeMap::new();
        let live = self.jobs().filter(|job| !job.status.is_terminal());
        for job in live {
            if let Some(queue) = &job.queue {
                let key = (queue, &*job.global_share, &*job.resource_type, job.status);
                let (jobs, cores) = loads.entry(key).or_default();
                *jobs += 1;
                *cores += u64::from(job.cores);
            }
        }
        let rows = loads.into_iter();
        Ok(rows
            .map(
                |((queue, share, resource_type, status), (jobs, cores))| LoadRow {
                    queue: queue.clone(),
                    share: share.to_owned(),
                    resource_type: resource_type.to_owned(),
                    status,
                    jobs,
                    cores,
                },
            )
            .collect())
    }

    fn waiting_shares(&self, queue: &QueueName) -> Result<Vec<String>, LedgerError> {
        let shares: BTreeSet<String> = self
            .jobs_in(&[JobStatus::Activated])
            .filter(|job| job.queue.as_ref() == Some(queue))
            .map(|job| job.global_share.clone())
            .collect();
        Ok(shares.into_iter().collect())
    }

    fn waiting_classes(
        &self,
        queue: &QueueName,
        share: &str,
    ) -> Result<Vec<(String, u64)>, LedgerError> {
        let mut classes: BTreeMap<(Reverse<i64>, &str), u64> = BTreeMap::new();
        for job in self.jobs_in(&[JobStatus::Activated]) {
            if job.queue.as_ref() == Some(queue) && job.global_share == share {
                let key = (Reverse(job.priority), &*job.resource_type);
                *classes.entry(key).or_default() += 1;
            }
        }
        let classes = classes.into_iter();
        Ok(classes
            .map(|((_, class), n)| (class.to_owned(), n))
            .collect())
    }

    fn running_memory(&self, queue: &QueueName) -> Result<(ByteCount, u64), LedgerError> {
        let running = self.jobs_in(&[JobStatus::Running]);
        let here = running.filter(|job| job.queue.as_ref() == Some(queue));
        Ok(here.fold((ByteCount::ZERO, 0), |(memory, cores), job| {
            (memory.plus(job.memory), cores + u64::from(job.cores))
        }))
    }

    fn pulses(&self) -> Result<BTreeMap<QueueName, QueuePulse>, LedgerError> {
        Ok(self.brokerage.pulses.clone())
    }

    fn pulse(&self, queue: &QueueName) -> Result<QueuePulse, LedgerError> {
        let pulse = self.brokerage.pulses.get(queue);
        Ok(pulse.copied().unwrap_or_default())
    }

    fn put_pulse(&mut self, queue: &QueueName, pulse: QueuePulse) -> Result<(), LedgerError> {
        self.brokerage.pulses.insert(queue.clone(), pulse);
        Ok(())
    }

    fn task_places(&self, task: TaskId) -> Result<BTreeMap<QueueName, TaskPlace>, LedgerError> {
        let places = self.brokerage.task_places.iter();
        Ok(places
            .filter(|((of_task, _), _)| *of_task == task)
            .map(|((_, queue), place)| (queue.clone(), *place))
            .collect())
    }

    fn add_task_place(
        &mut self,
        task: TaskId,
        queue: &QueueName,
        more: &TaskPlace,
    ) -> Result<(), LedgerError> {
        let places = &mut self.brokerage.task_places;
        places.entry((task, queue.clone())).or_default().add(more);
        Ok(())
    }

    fn mixture(&self, sample: &str) -> Result<Option<MixtureRecord>, LedgerError> {
        Ok(self.brokerage.mixtures.get(sample).cloned())
    }

    fn add_mixture(
        &mut self,
        sample: &str,
        first: PandaId,
        queue: &QueueName,
        jobs: u64,
    ) -> Result<(), LedgerError> {
        let mixtures = &mut self.brokerage.mixtures;
        let mixture = mixtures
            .entry(sample.to_owned())
            .or_insert_with(|| MixtureRecord {
                turn: first,
                jobs: BTreeMap::new(),
            });
        *mixture.jobs.entry(queue.clone()).or_default() += jobs;
        Ok(())
    }

    fn share_order(&self) -> Result<Vec<String>, LedgerError> {
        Ok(self.brokerage.share_order.clone())
    }

    fn put_share_order(&mut self, leaves: &[String]) -> Result<(), LedgerError> {
        self.brokerage.share_order = leaves.to_vec();
        Ok(())
    }
}
