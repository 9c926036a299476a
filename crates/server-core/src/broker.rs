//! Gives complete jobs a queue: `defined` becomes `activated`.
//!
//! Which queue is best is the business of the `brokerage` crate; this file gathers what it must
//! know and writes what it says.

mod demand;
mod facts;
mod wishes;

use std::{collections::BTreeMap, time::Duration};

use ailurus_brokerage::{Candidate, Spread, Verdict, judge};
use ailurus_model::{
    JobKind, JobStatus, PandaId, Queue, QueueName, SourceLabel, queue::QueueStatus,
};

use self::demand::Apart;
pub(crate) use self::{demand::Demand, facts::QueueFacts, wishes::Wishes};
use crate::{
    Context,
    ledger::{InputNeed, JobRecord, Ledger, LedgerError, TaskPlace},
    operation::Operation,
    tasks::site_group,
    text::{DIAG_CHARS_MAX, clipped},
};

/// Queues that a waiting job's reason names.
const VERDICTS_NAMED: usize = 5;
/// Jobs for which one call looks for a queue at once, however small `limits.broker_batch` is.
const CHOSEN_AT_ONCE: u32 = 1000;
/// Why a job has no queue yet that was made together with very many others.
const LATER: &str = "waits for its turn in brokerage";

/// Brokers jobs that have no queue yet, or whose queue is gone, and returns how many got one.
///
/// At most `limits.broker_batch` jobs a call, those first that have waited longest since they were
/// looked at. Jobs that are alike are judged together. Jobs that read one common sample are placed
/// together, those of the oldest sample first.
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
    let mut waiting_jobs = Vec::new();
    let mut placed = 0;
    let ids = op.ledger.unheard_since(&waiting, just_after_now, limit)?;
    op.ledger.expect_jobs(&ids)?;
    for id in ids {
        let mut job = op.job(id)?;
        if job.kind == JobKind::Direct {
            placed += u64::from(op.place(&mut job)?);
        } else {
            waiting_jobs.push(job);
        }
    }
    placed += op.place_all(waiting_jobs)?;
    op.finish()?;
    Ok(placed)
}

impl<'a, L: Ledger> Operation<'a, L> {
    /// Chooses a queue for a complete job and writes the job. Says whether it got one.
    pub(crate) fn place(&mut self, job: &mut JobRecord) -> Result<bool, LedgerError> {
        if job.kind == JobKind::Direct
            && let Some(queue) = self.chosen_queue(job)?
        {
            job.global_share = self.share_of(job)?;
            job.turn = job.panda_id;
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
    /// job. One call does so for a bounded number of jobs, and leaves the others to [`broker`].
    pub(crate) fn choose_queue(
        &mut self,
        job: &mut JobRecord,
        needs: &[InputNeed],
    ) -> Result<bool, LedgerError> {
        if self.chosen >= self.ctx.limits.broker_batch.max(CHOSEN_AT_ONCE) {
            job.queue = None;
            self.set_status(job, JobStatus::Defined, LATER)?;
            LATER.clone_into(&mut job.reason);
            return Ok(false);
        }
        self.chosen += 1;
        let demand = self.demand_of(job, needs)?;
        let placed = self.place_alike(&demand, std::slice::from_mut(job))?;
        Ok(placed > 0)
    }

    /// Chooses queues for jobs of tasks, those that are alike together, and writes them. Returns
    /// how many got one.
    pub(crate) fn place_all(&mut self, jobs: Vec<JobRecord>) -> Result<u64, LedgerError> {
        let mut groups: BTreeMap<Demand, Vec<JobRecord>> = BTreeMap::new();
        for job in jobs {
            let needs = self.ledger.needs_of(job.panda_id)?;
            let demand = self.demand_of(&job, &needs)?;
            groups.entry(demand).or_default().push(job);
        }
        let mut placed = 0;
        for (demand, mut jobs) in self.in_order(groups)? {
            placed += self.place_alike(&demand, &mut jobs)?;
            let is_homeless = |job: &&JobRecord| job.status == JobStatus::Defined;
            let hopeless = match jobs.iter().find(is_homeless) {
                Some(job) => self.why_no_library(job)?,
                None => None,
            };
            for mut job in jobs {
                self.ledger.put_job(&job)?;
                if let Some(why) = hopeless.as_ref().filter(|_| is_homeless(&&job)) {
                    job.reason.clone_from(why);
                    self.end_without_outputs(job, JobStatus::Closed)?;
                }
            }
        }
        Ok(placed)
    }

    /// Orders groups of jobs by their turn: a common sample that was begun first is first.
    fn in_order(
        &self,
        groups: BTreeMap<Demand, Vec<JobRecord>>,
    ) -> Result<Vec<(Demand, Vec<JobRecord>)>, LedgerError> {
        let mut turns = Vec::with_capacity(groups.len());
        let mut begun: BTreeMap<String, PandaId> = BTreeMap::new();
        for (demand, jobs) in groups {
            let first = jobs.iter().map(|job| job.panda_id).min();
            let first = first.unwrap_or_default();
            let turn = match &demand.mixture {
                None => first,
                Some((sample, _)) => match self.ledger.mixture(sample)? {
                    Some(mixture) => mixture.turn,
                    None => {
                        let turn = begun.entry(sample.clone()).or_insert(first);
                        *turn = first.min(*turn);
                        *turn
                    }
                },
            };
            turns.push((turn, first, demand, jobs));
        }
        turns.sort_by_key(|(turn, first, demand, _)| {
            (std::cmp::Reverse(demand.priority), *turn, *first)
        });
        let ordered = turns.into_iter();
        Ok(ordered.map(|(_, _, demand, jobs)| (demand, jobs)).collect())
    }

    /// Chooses queues for jobs with the same demand, and returns how many got one. The caller
    /// writes the jobs.
    fn place_alike(&mut self, demand: &Demand, jobs: &mut [JobRecord]) -> Result<u64, LedgerError> {
        if let Some(libraries) = self.libraries_for(demand)? {
            return self.place_at_libraries(demand, libraries, jobs);
        }
        let spec = self.spec(demand.task)?;
        let wishes = self.wishes(demand.task)?;
        let (mut turn, mut candidates) = self.candidates_for(demand)?;
        let needs = demand.needs(&spec, &wishes);
        let profile = self.ctx.scheduling.policy.profile_of(&demand.source_label);
        keep_apart(&demand.apart, &mut candidates, |candidates| {
            let verdicts = judge(profile, &needs, candidates);
            verdicts.iter().any(|verdict| verdict.finding.is_ok())
        });
        let mut spread = Spread::new(profile, &needs);
        let mut placed: BTreeMap<QueueName, u64> = BTreeMap::new();
        let mut why: Option<String> = None;
        for job in jobs {
            job.global_share.clone_from(&demand.share);
            let Some(index) = spread.place(job.panda_id, &mut candidates) else {
                let why = why.get_or_insert_with(|| why_none(&judge(profile, &needs, &candidates)));
                job.queue = None;
                self.set_status(job, JobStatus::Defined, why)?;
                job.reason.clone_from(why);
                continue;
            };
            let queue = &candidates[index].queue.name;
            self.send_to(job, queue, demand, &mut turn)?;
            *placed.entry(queue.clone()).or_default() += 1;
        }
        self.note_placed(demand, turn.unwrap_or_default(), &placed)?;
        Ok(placed.values().sum())
    }

    /// Has a job wait for a pilot of a queue. The caller writes the job.
    pub(crate) fn send_to(
        &mut self,
        job: &mut JobRecord,
        queue: &QueueName,
        demand: &Demand,
        turn: &mut Option<PandaId>,
    ) -> Result<(), LedgerError> {
        job.turn = match demand.mixture {
            Some(_) => *turn.get_or_insert(job.panda_id),
            None => job.panda_id,
        };
        job.queue = Some(queue.clone());
        self.set_status(job, JobStatus::Activated, "")?;
        job.reason.clear();
        Ok(())
    }

    /// Returns every queue as jobs with this demand see it, and the turn of their common sample,
    /// if it was begun.
    pub(crate) fn candidates_for(
        &mut self,
        demand: &Demand,
    ) -> Result<(Option<PandaId>, Vec<Candidate<'a>>), LedgerError> {
        let mixture = match &demand.mixture {
            Some((sample, _)) => self.ledger.mixture(sample)?,
            None => None,
        };
        let (turn, at) = mixture.map_or_else(Default::default, |it| (Some(it.turn), it.jobs));
        let mut facts = match self.facts.take() {
            Some(facts) => facts,
            None => QueueFacts::read(self.ledger)?,
        };
        facts.read_places(self.ledger, demand.task)?;
        let (share, class) = (&demand.share, &demand.resource_type);
        let mut candidates = facts.candidates(self.ctx, demand.task, share, class, &at);
        self.facts = Some(facts);
        if let Some(group) = &demand.site_group {
            candidates.retain(|candidate| site_group(candidate.queue) == *group);
        }
        Ok((turn, candidates))
    }

    /// Notes how an attempt of a job fared at a queue.
    pub(crate) fn note_place(
        &mut self,
        job: &JobRecord,
        queue: &QueueName,
        end: JobStatus,
    ) -> Result<(), LedgerError> {
        let more = TaskPlace {
            finished: u64::from(end == JobStatus::Finished),
            failed: u64::from(end == JobStatus::Failed),
            ..TaskPlace::default()
        };
        self.ledger.add_task_place(job.task_id, queue, &more)
    }

    pub(crate) fn note_placed(
        &mut self,
        demand: &Demand,
        turn: PandaId,
        placed: &BTreeMap<QueueName, u64>,
    ) -> Result<(), LedgerError> {
        for (queue, jobs) in placed {
            if let Some(facts) = &mut self.facts {
                let (share, class) = (&demand.share, &demand.resource_type);
                facts.note_placed(demand.task, share, class, queue, *jobs);
            }
            let more = TaskPlace {
                jobs: *jobs,
                ..TaskPlace::default()
            };
            self.ledger.add_task_place(demand.task, queue, &more)?;
            if let Some((sample, _)) = &demand.mixture {
                self.ledger.add_mixture(sample, turn, queue, *jobs)?;
            }
        }
        Ok(())
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
        let mut why = String::new();
        if let Some(queue) = job.queue.take() {
            let more = TaskPlace {
                closed: 1,
                ..TaskPlace::default()
            };
            self.ledger.add_task_place(job.task_id, &queue, &more)?;
            why = format!("taken from queue `{queue}`, to be brokered anew");
        }
        self.set_status(job, JobStatus::Defined, &why)?;
        self.ledger.put_job(job)
    }
}

/// Leaves only the queues where one of a set of jobs should be, if one of them takes it.
fn keep_apart<'a>(
    apart: &Apart,
    candidates: &mut Vec<Candidate<'a>>,
    takes_it: impl Fn(&[Candidate<'a>]) -> bool,
) {
    if *apart == Apart::No {
        return;
    }
    let good = candidates
        .iter()
        .filter(|one| apart.allows(&one.queue.name));
    let good: Vec<Candidate<'a>> = good.cloned().collect();
    if takes_it(&good) {
        *candidates = good;
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

/// Says why no queue takes a job; queues that the task does not name are not worth a word.
pub(crate) fn why_none(verdicts: &[Verdict]) -> String {
    let told: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !matches!(&verdict.finding, Err(it) if it.why.is_by_choice()))
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
