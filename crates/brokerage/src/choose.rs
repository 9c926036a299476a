//! The choice itself: filter, weigh, break ties.

use std::{collections::BTreeMap, fmt, time::Duration};

use ailurus_model::{ByteCount, EndpointName, PandaId, Queue, QueueName, SourceLabel};

use crate::{
    filter::{Refusal, refusal},
    weight::{Weight, weigh},
};

/// What brokerage must know of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobNeeds<'a> {
    /// The job; it decides between queues that are equally good.
    pub panda_id: PandaId,
    /// Production, analysis, test.
    pub source_label: &'a SourceLabel,
    /// Cores, at least 1.
    pub cores: u32,
    /// Memory for the whole job; zero means not stated.
    pub memory: ByteCount,
    /// Scratch space; zero means not stated.
    pub disk: ByteCount,
    /// Wall time; zero means not stated.
    pub walltime: Duration,
    /// Queues that may run it; empty means all.
    pub allowed: &'a [QueueName],
    /// Where its inputs lie.
    pub inputs: &'a BTreeMap<EndpointName, StoredInputs>,
    /// Queues that ran the jobs which wrote its inputs.
    pub chain: &'a [QueueName],
    /// A queue to take only if no other can run it, because an attempt failed there.
    pub avoid: Option<&'a QueueName>,
}

/// How much of a job's input one endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredInputs {
    /// Files.
    pub files: u64,
    /// Their sizes together, as far as they are known.
    pub size: ByteCount,
}

/// A queue and how busy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// Jobs that wait there for a pilot.
    pub backlog: u64,
    /// Jobs that pilots have there.
    pub running: u64,
}

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The queue, none if no queue can run the job.
    pub queue: Option<QueueName>,
    /// What was found about each candidate, in their order.
    pub verdicts: Vec<Verdict>,
}

/// What was found about one queue. Its text is one sentence fragment for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The queue.
    pub queue: QueueName,
    /// How good it is, or why it cannot run the job.
    pub finding: Result<Weight, Refusal>,
}

impl Verdict {
    /// Returns the reason in words, without the queue's name.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.finding {
            Ok(weight) => weight.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.queue, self.reason())
    }
}

/// Chooses the queue for a job.
///
/// Of the queues that pass every filter, the one with the largest weight is taken; the queue to
/// avoid only if it is the last one left. Between equal queues the job's number decides, so that
/// jobs spread over them.
#[must_use]
pub fn choose(job: &JobNeeds<'_>, candidates: &[Candidate<'_>]) -> Choice {
    let verdicts: Vec<Verdict> = candidates
        .iter()
        .map(|candidate| Verdict {
            queue: candidate.queue.name.clone(),
            finding: match refusal(job, candidate.queue) {
                Some(refusal) => Err(refusal),
                None => Ok(weigh(job, candidate)),
            },
        })
        .collect();
    let mut fitting: Vec<(&QueueName, u64)> = verdicts
        .iter()
        .filter_map(|verdict| {
            let weight = verdict.finding.as_ref().ok()?;
            Some((&verdict.queue, weight.total()))
        })
        .collect();
    fitting.sort_unstable();
    let turn = turn_of(job.panda_id, fitting.len());
    fitting.rotate_left(turn);
    // `max_by_key` takes the last of equals, so the order is reversed to give the first.
    let best = fitting
        .iter()
        .rev()
        .max_by_key(|(name, weight)| (job.avoid != Some(*name), *weight))
        .map(|(name, _)| (*name).clone());
    Choice {
        queue: best,
        verdicts,
    }
}

/// Which of `n` equal queues a job begins with.
fn turn_of(panda_id: PandaId, n: usize) -> usize {
    let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
    usize::try_from(panda_id.value() % n).expect("smaller than a length")
}

#[cfg(test)]
mod tests;
