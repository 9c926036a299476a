//! What a job asks of its queue, gathered from the rows. Jobs with equal demands go together.

use std::{collections::BTreeMap, time::Duration};

use ailurus_brokerage::{JobNeeds, Mixture, StoredInputs};
use ailurus_diagnosis::Action;
use ailurus_model::{
    AttemptNr, ByteCount, EndpointName, JobKind, QueueName, SourceLabel, TaskId, TaskSpec,
};

use crate::{
    broker::Wishes,
    events::takes_ranges,
    ledger::{FileRecord, InputNeed, JobRecord, Ledger, LedgerError},
    operation::Operation,
    tasks::stream_of,
};

/// Inputs whose producers are asked for their queue; a chain's neighbours run alike.
const PRODUCERS_ASKED: usize = 20;

/// What a job asks of its queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub(crate) task: TaskId,
    pub(crate) kind: JobKind,
    pub(crate) source_label: SourceLabel,
    pub(crate) share: String,
    pub(crate) resource_type: String,
    pub(crate) priority: i64,
    pub(crate) cores: u32,
    pub(crate) memory: ByteCount,
    pub(crate) disk: ByteCount,
    pub(crate) walltime_secs: u64,
    /// By all endpoints that hold the same files.
    pub(crate) inputs: BTreeMap<Vec<EndpointName>, StoredInputs>,
    pub(crate) input: StoredInputs,
    /// The sample that it reads in common with others, and its size.
    pub(crate) mixture: Option<(String, ByteCount)>,
    pub(crate) chain: Vec<QueueName>,
    pub(crate) banned: Vec<QueueName>,
    /// The group of queues that share storage, if it must be one of them: where its library is.
    pub(crate) site_group: Option<String>,
    /// Where it should be as one of a set.
    pub(crate) apart: Apart,
}

/// Where one of several jobs should be that do the same work, as long as a queue there takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Apart {
    /// Anywhere.
    No,
    /// Not where the others are.
    From(Vec<QueueName>),
    /// Where others are, as there are enough places.
    Among(Vec<QueueName>),
}

impl Apart {
    /// Says whether a queue is such a place.
    pub(crate) fn allows(&self, queue: &QueueName) -> bool {
        match self {
            Self::No => true,
            Self::From(queues) => !queues.contains(queue),
            Self::Among(queues) => queues.contains(queue),
        }
    }
}

impl Demand {
    /// Returns it in the words of the `brokerage` crate.
    pub(crate) fn needs<'a>(&'a self, spec: &'a TaskSpec, wishes: &'a Wishes) -> JobNeeds<'a> {
        let (io_intensity, disk_io) = wishes.io(self.kind);
        JobNeeds {
            source_label: &self.source_label,
            processing_type: &spec.processing_type,
            working_group: wishes.working_group(),
            share: &self.share,
            resource_type: &self.resource_type,
            priority: self.priority,
            cores: self.cores,
            memory: self.memory,
            disk: self.disk,
            walltime: Duration::from_secs(self.walltime_secs),
            disk_io,
            io_intensity,
            place: wishes.place(),
            software: wishes.software(self.kind),
            network: wishes.network(),
            nucleus: wishes.nucleus(self.kind),
            avoids_virtual_placement: wishes.avoids_virtual_placement(self.kind),
            is_scout: self.kind == JobKind::Scout,
            inputs: &self.inputs,
            input: self.input,
            mixture: self.mixture.as_ref().map(|(sample, size)| Mixture {
                sample,
                size: *size,
            }),
            chain: &self.chain,
            banned: &self.banned,
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Gathers what a complete job asks of its queue.
    pub(crate) fn demand_of(
        &mut self,
        job: &JobRecord,
        needs: &[InputNeed],
    ) -> Result<Demand, LedgerError> {
        let (site_group, needs) = self.site_group_of(job, needs)?;
        let usable = self.usable_needs(job, &needs)?;
        let files = self.files_of(&usable)?;
        let wishes = self.wishes(job.task_id)?;
        let mixture = match wishes.samples() {
            Some(samples) => declared_sample(job, samples, &usable, &files),
            None => self.common_sample(&usable, &files)?,
        };
        let (inputs, input) = by_places(&files);
        Ok(Demand {
            task: job.task_id,
            kind: job.kind,
            source_label: job.source_label.clone(),
            share: self.share_of(job)?,
            resource_type: job.resource_type.clone(),
            priority: job.priority,
            cores: job.cores,
            memory: job.memory,
            disk: job.disk,
            walltime_secs: job.walltime_secs,
            inputs,
            input,
            mixture,
            chain: self.queues_of_producers(&files)?,
            banned: [self.queue_to_avoid(job)?, self.avoided.clone()]
                .into_iter()
                .flatten()
                .collect(),
            site_group,
            apart: self.apart_from_mates(job)?,
        })
    }

    /// Says where a job should be that shares events with others, or is a copy of them.
    fn apart_from_mates(&mut self, job: &JobRecord) -> Result<Apart, LedgerError> {
        if !takes_ranges(&job.tags) {
            return Ok(Apart::No);
        }
        let Some(n_sites) = self.sites_per_job(job)? else {
            return Ok(Apart::No);
        };
        let mut queues: Vec<QueueName> = Vec::new();
        for mate in self.mates_of(job)? {
            queues.extend(mate.queue.filter(|queue| !queues.contains(queue)));
        }
        queues.sort_unstable();
        let n = u64::try_from(queues.len()).unwrap_or(u64::MAX);
        Ok(match queues.as_slice() {
            [] => Apart::No,
            [..] if n < n_sites => Apart::From(queues),
            [..] => Apart::Among(queues),
        })
    }

    /// The queue of the attempt before, if its error says that another place is better.
    fn queue_to_avoid(&self, job: &JobRecord) -> Result<Option<QueueName>, LedgerError> {
        let before = job.attempt_nr.value().saturating_sub(1);
        if before == 0 {
            return Ok(None);
        }
        let before = AttemptNr::new(before);
        let Some(attempt) = self.ledger.attempt(job.panda_id, before)? else {
            return Ok(None);
        };
        let entry = self.ctx.catalogue.entry(&attempt.diagnosis);
        let is_to_avoid = entry.is_some_and(|entry| match entry.action {
            Action::RetryElsewhere | Action::OtherReplica | Action::ExcludeNode => true,
            Action::RetryHere | Action::MoreMemory | Action::DoNotRetry => false,
        });
        Ok(is_to_avoid.then_some(attempt.queue))
    }

    /// The first dataset that goes along with a job's own input without being cut like it: every
    /// job of the task reads it. It has another number of parts than the first input.
    fn common_sample(
        &self,
        needs: &[&InputNeed],
        files: &[FileRecord],
    ) -> Result<Option<(String, ByteCount)>, LedgerError> {
        let n_parts = |name| -> Result<u32, LedgerError> {
            let dataset = self.ledger.dataset(name)?;
            Ok(dataset.map_or(0, |dataset| dataset.n_parts))
        };
        let Some(own) = needs.first() else {
            return Ok(None);
        };
        let mut looked_at = own.input;
        let mut own_parts = None;
        for need in needs {
            if need.input == looked_at {
                continue;
            }
            looked_at = need.input;
            let own_parts = match own_parts {
                Some(parts) => parts,
                None => *own_parts.insert(n_parts(&own.dataset)?),
            };
            if n_parts(&need.dataset)? != own_parts {
                let size = size_of(|it| it.input == need.input, needs, files);
                return Ok(Some((need.dataset.to_string(), size)));
            }
        }
        Ok(None)
    }

    fn queues_of_producers(&self, files: &[FileRecord]) -> Result<Vec<QueueName>, LedgerError> {
        let mut queues = Vec::new();
        let producers = files.iter().filter_map(|file| file.producer);
        for producer in producers.take(PRODUCERS_ASKED) {
            let queue = self.ledger.job(producer)?.and_then(|job| job.queue);
            queues.extend(queue.filter(|queue| !queues.contains(queue)));
        }
        Ok(queues)
    }
}

/// The first input of which its task says that many jobs read it.
fn declared_sample(
    job: &JobRecord,
    samples: &[Option<String>],
    needs: &[&InputNeed],
    files: &[FileRecord],
) -> Option<(String, ByteCount)> {
    match job.kind {
        JobKind::Run | JobKind::Scout | JobKind::Consumer => {}
        JobKind::Build | JobKind::Merge | JobKind::Direct => return None,
    }
    let mut declared = (1..).zip(samples);
    declared.find_map(|(stream, sample)| {
        let sample = sample.as_ref()?;
        let is_of_it = |need: &InputNeed| stream_of(need.input) == Some(stream);
        if !needs.iter().any(|need| is_of_it(need)) {
            return None;
        }
        Some((sample.clone(), size_of(is_of_it, needs, files)))
    })
}

fn by_places(files: &[FileRecord]) -> (BTreeMap<Vec<EndpointName>, StoredInputs>, StoredInputs) {
    let mut groups: BTreeMap<Vec<EndpointName>, StoredInputs> = BTreeMap::new();
    let mut all = StoredInputs::default();
    for file in files {
        let mut places = Vec::with_capacity(1 + file.replicas.len());
        places.push(file.endpoint.clone());
        places.extend(file.replicas.iter().cloned());
        places.sort_unstable();
        groups.entry(places).or_default().add(file.size);
        all.add(file.size);
    }
    (groups, all)
}

fn size_of(
    is_meant: impl Fn(&InputNeed) -> bool,
    needs: &[&InputNeed],
    files: &[FileRecord],
) -> ByteCount {
    needs
        .iter()
        .zip(files)
        .filter(|(need, _)| is_meant(need))
        .filter_map(|(_, file)| file.size)
        .fold(ByteCount::ZERO, ByteCount::plus)
}
