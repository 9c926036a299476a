//! Gives complete jobs a queue: `defined` becomes `activated`.
//!
//! Which queue is best is the business of the `brokerage` crate; this file gathers what it must
//! know and writes what it says.

use std::{collections::BTreeMap, time::Duration};

use ailurus_brokerage::{Candidate, JobNeeds, Refusal, StoredInputs, Verdict, choose};
use ailurus_diagnosis::Action;
use ailurus_model::{
    AttemptNr, EndpointName, JobKind, JobStatus, PandaId, Queue, QueueName, SourceLabel,
    queue::QueueStatus,
};

use crate::{
    Context,
    ledger::{FileRecord, InputNeed, JobCounts, JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// Inputs whose producers are asked for their queue; a chain's neighbours run alike.
const PRODUCERS_ASKED: usize = 20;
/// Queues that a waiting job's reason names.
const VERDICTS_NAMED: usize = 5;

/// How busy a queue is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    backlog: u64,
    running: u64,
}

/// Brokers jobs that have no queue yet, or whose queue is gone, and returns how many got one.
///
/// At most `limits.broker_batch` jobs a call, those first that have waited longest since they were
/// looked at.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn broker(ctx: &Context<'_>, ledger: &mut impl Ledger) -> Result<u64, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    op.take_back_from_gone_queues()?;
    let limit = usize::try_from(ctx.limits.broker_batch).unwrap_or(usize::MAX);
    let just_after_now = ctx.now.after(Duration::from_millis(1));
    let waiting = [JobStatus::Defined, JobStatus::Assigned];
    let mut placed = 0;
    for id in op.ledger.unheard_since(&waiting, just_after_now, limit)? {
        let mut job = op.job(id)?;
        placed += u64::from(op.place(&mut job)?);
    }
    op.finish()?;
    Ok(placed)
}

impl<L: Ledger> Operation<'_, L> {
    /// Chooses a queue for a complete job and writes the job. Says whether it got one.
    pub(crate) fn place(&mut self, job: &mut JobRecord) -> Result<bool, LedgerError> {
        if job.kind == JobKind::Direct
            && let Some(queue) = self.chosen_queue(job)?
        {
            job.queue = Some(queue);
            self.set_status(job, JobStatus::Activated, "")?;
            job.reason.clear();
            self.ledger.put_job(job)?;
            return Ok(true);
        }
        let needs = self.ledger.needs_of(job.panda_id)?;
        let is_placed = self.choose_queue(job, &needs)?;
        self.ledger.put_job(job)?;
        Ok(is_placed)
    }

    /// Chooses a queue for a complete job, and says whether there is one. The caller writes the
    /// job.
    pub(crate) fn choose_queue(
        &mut self,
        job: &mut JobRecord,
        needs: &[InputNeed],
    ) -> Result<bool, LedgerError> {
        let spec = self.spec(job.task_id)?;
        let usable = self.usable_needs(job, needs)?;
        let files = self.files_of(&usable)?;
        let avoid = self.queue_to_avoid(job)?;
        let chain = self.queues_of_producers(&files)?;
        let candidates = self.candidates()?;
        let choice = choose(
            &JobNeeds {
                panda_id: job.panda_id,
                source_label: &job.source_label,
                cores: job.cores,
                memory: job.memory,
                disk: job.disk,
                walltime: Duration::from_secs(job.walltime_secs),
                allowed: &spec.queues,
                inputs: &by_endpoint(&files),
                chain: &chain,
                avoid: avoid.as_ref(),
            },
            &candidates,
        );
        if let Some(queue) = &choice.queue {
            let loads = self.loads.get_or_insert_default();
            loads.entry(queue.clone()).or_default().backlog += 1;
            job.queue = choice.queue;
            self.set_status(job, JobStatus::Activated, "")?;
            job.reason.clear();
        } else {
            job.queue = None;
            let why = why_none(&choice.verdicts);
            self.set_status(job, JobStatus::Defined, &why)?;
            job.reason = why;
        }
        Ok(job.queue.is_some())
    }

    /// Takes jobs back that wait at queues which will not give them out any more, at most
    /// `limits.broker_batch` of them.
    fn take_back_from_gone_queues(&mut self) -> Result<(), LedgerError> {
        let limit = usize::try_from(self.ctx.limits.broker_batch).unwrap_or(usize::MAX);
        // A queue under test keeps its test jobs, and is looked through for others.
        let common = SourceLabel::default();
        let queues = self.ctx.queues;
        let counts = self.ledger.queue_counts()?;
        let gone = counts
            .into_iter()
            .filter(|(_, counts)| counts.contains_key(&JobStatus::Activated))
            .map(|(name, _)| (queues.get(&name), name))
            .filter(|(queue, _)| must_leave(*queue, &common));
        let mut left = limit;
        for (queue, name) in gone {
            let mut last = PandaId::default();
            while left > 0 {
                let page = self.ledger.activated_at(&name, last, limit)?;
                let Some((id, _)) = page.last() else { break };
                last = *id;
                let leaving = page.iter().filter(|(_, label)| must_leave(queue, label));
                for (id, _) in leaving.take(left) {
                    let mut job = self.job(*id)?;
                    self.take_back(&mut job)?;
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    /// Takes an activated job from its queue, to be brokered anew.
    pub(crate) fn take_back(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        let why = job.queue.take().map_or_else(String::new, |queue| {
            format!("taken from queue `{queue}`, to be brokered anew")
        });
        self.set_status(job, JobStatus::Defined, &why)?;
        self.ledger.put_job(job)
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

    fn queues_of_producers(&self, files: &[FileRecord]) -> Result<Vec<QueueName>, LedgerError> {
        let mut queues = Vec::new();
        let producers = files.iter().filter_map(|file| file.producer);
        for producer in producers.take(PRODUCERS_ASKED) {
            let queue = self.ledger.job(producer)?.and_then(|job| job.queue);
            queues.extend(queue.filter(|queue| !queues.contains(queue)));
        }
        Ok(queues)
    }

    fn candidates(&mut self) -> Result<Vec<Candidate<'_>>, LedgerError> {
        // How busy they are matters only where there is something to choose from.
        if self.loads.is_none() && self.ctx.queues.len() > 1 {
            let counts = self.ledger.queue_counts()?;
            self.loads = Some(
                counts
                    .iter()
                    .map(|(name, counts)| (name.clone(), load_of(counts)))
                    .collect(),
            );
        }
        let loads = self.loads.get_or_insert_default();
        Ok(self
            .ctx
            .queues
            .values()
            .map(|queue| {
                let load = loads.get(&queue.name).copied().unwrap_or_default();
                Candidate {
                    queue,
                    backlog: load.backlog,
                    running: load.running,
                }
            })
            .collect())
    }
}

fn load_of(counts: &JobCounts) -> Load {
    let jobs = |statuses: &[JobStatus]| {
        statuses
            .iter()
            .filter_map(|status| counts.get(status))
            .sum()
    };
    Load {
        backlog: jobs(&[JobStatus::Assigned, JobStatus::Activated]),
        running: jobs(&[JobStatus::Sent, JobStatus::Starting, JobStatus::Running]),
    }
}

/// Says whether a job that waits at a queue will not be given out there any more.
fn must_leave(queue: Option<&Queue>, label: &SourceLabel) -> bool {
    queue.is_none_or(|queue| match queue.status {
        QueueStatus::Online | QueueStatus::Brokeroff | QueueStatus::Paused => false,
        QueueStatus::Test => !ailurus_brokerage::filter::is_test_label(label),
        QueueStatus::Offline => true,
    })
}

fn by_endpoint(files: &[FileRecord]) -> BTreeMap<EndpointName, StoredInputs> {
    let mut endpoints: BTreeMap<EndpointName, StoredInputs> = BTreeMap::new();
    for file in files {
        let stored = endpoints.entry(file.endpoint.clone()).or_default();
        stored.files += 1;
        stored.size = stored.size.plus(file.size.unwrap_or_default());
    }
    endpoints
}

/// Says why no queue takes a job; queues that the task does not name are not worth a word.
fn why_none(verdicts: &[Verdict]) -> String {
    let told: Vec<String> = verdicts
        .iter()
        .filter(|verdict| verdict.finding != Err(Refusal::NotNamed))
        .take(VERDICTS_NAMED)
        .map(ToString::to_string)
        .collect();
    let why = if told.is_empty() {
        "there is none".to_owned()
    } else {
        told.join("; ")
    };
    clipped(&format!("no queue can run it: {why}"), DIAG_CHARS_MAX)
}
