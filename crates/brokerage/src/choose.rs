//! The choice itself: filter, weigh, break ties, and spread jobs that are alike.

use std::{cmp::Ordering, fmt};

use ailurus_model::{PandaId, QueueName};

use crate::{
    candidate::{Candidate, IsOfMixture},
    filter::{Refusal, Totals, refusal_of},
    needs::JobNeeds,
    policy::{Profile, UsedBefore},
    weight::{FactorValue, Weight},
};

/// Jobs after which the whole list of queues is judged anew for jobs that are alike.
const JOBS_PER_JUDGEMENT: u32 = 100;

/// What was found about one queue. Its text is one sentence fragment for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The queue.
    pub queue: QueueName,
    /// How good it is, or why it does not get the job.
    pub finding: Result<Weight, Dropped>,
}

/// A queue was dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The filter that did it.
    pub filter: &'static str,
    /// Why.
    pub why: Refusal,
}

impl Verdict {
    /// Returns the reason in words, without the queue's name.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.finding {
            Ok(weight) => weight.to_string(),
            Err(dropped) => dropped.why.to_string(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.queue, self.reason())
    }
}

/// Judges all queues and says about each what was found, in their order.
#[must_use]
pub fn judge(profile: &Profile, job: &JobNeeds<'_>, candidates: &[Candidate<'_>]) -> Vec<Verdict> {
    let mut dropped: Vec<Option<Dropped>> = vec![None; candidates.len()];
    survivors(profile, job, candidates, |index, filter, why| {
        dropped[index] = Some(Dropped { filter, why });
    });
    candidates
        .iter()
        .zip(dropped)
        .map(|(candidate, dropped)| Verdict {
            queue: candidate.queue.name.clone(),
            finding: dropped.map_or_else(|| Ok(weight(profile, job, candidate)), Err),
        })
        .collect()
}

/// Chooses the queue for one job; none if no queue passes.
#[must_use]
pub fn choose(
    profile: &Profile,
    job: &JobNeeds<'_>,
    id: PandaId,
    candidates: &mut [Candidate<'_>],
) -> Option<QueueName> {
    let index = Spread::new(profile, job).place(id, candidates)?;
    Some(candidates[index].queue.name.clone())
}

/// Goes through the filters in order and returns which queues are left.
fn survivors(
    profile: &Profile,
    job: &JobNeeds<'_>,
    candidates: &[Candidate<'_>],
    mut note: impl FnMut(usize, &'static str, Refusal),
) -> Vec<usize> {
    let totals = Totals::of(candidates);
    let place = &job.place;
    let is_named = !place.queues.is_empty() || !place.site.is_empty() || place.named.is_some();
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    for rule in &profile.filters {
        if rule.is_for_unnamed && is_named {
            continue;
        }
        let mut refused = Vec::new();
        let mut passed = Vec::with_capacity(left.len());
        for index in left.iter().copied() {
            match refusal_of(&rule.filter, job, &candidates[index], &totals) {
                Some(why) => refused.push((index, why)),
                None => passed.push(index),
            }
        }
        if rule.is_wish && passed.is_empty() {
            continue;
        }
        for (index, why) in refused {
            note(index, rule.filter.name(), why);
        }
        left = passed;
        if left.is_empty() {
            break;
        }
    }
    left
}

fn weight(profile: &Profile, job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> Weight {
    let factors: Vec<FactorValue> = profile
        .weights
        .iter()
        .map(|factor| FactorValue {
            name: factor.name(),
            value: factor.value(job, candidate),
        })
        .collect();
    Weight {
        total: factors.iter().map(|factor| factor.value).product(),
        factors,
    }
}

/// Spreads jobs that are alike over queues, one after the other, each by what the ones before have
/// changed.
#[derive(Debug)]
pub struct Spread<'a> {
    profile: &'a Profile,
    job: &'a JobNeeds<'a>,
    /// The best queues and their weights.
    shortlist: Vec<(usize, f64)>,
    /// Jobs placed since all queues were judged.
    placed: u32,
    /// Whether nothing was found, which cannot change by placing nothing.
    is_hopeless: bool,
}

impl<'a> Spread<'a> {
    /// Begins with nothing judged.
    #[must_use]
    pub const fn new(profile: &'a Profile, job: &'a JobNeeds<'a>) -> Self {
        Self {
            profile,
            job,
            shortlist: Vec::new(),
            placed: 0,
            is_hopeless: false,
        }
    }

    /// Chooses the queue for the next job and notes it among the candidates, which must be the
    /// same at each call. Returns its index, none if no queue passes.
    pub fn place(&mut self, id: PandaId, candidates: &mut [Candidate<'_>]) -> Option<usize> {
        if self.is_hopeless {
            return None;
        }
        if self.shortlist.is_empty() || self.placed >= JOBS_PER_JUDGEMENT {
            self.list_anew(candidates);
        }
        let order = |a: &&(usize, f64), b: &&(usize, f64)| {
            self.compare(**a, **b, candidates)
                .then_with(|| turn(id, a.0).cmp(&turn(id, b.0)))
        };
        let (best, _) = *self.shortlist.iter().max_by(order)?;
        let is_of_mixture = if self.job.mixture.is_some() {
            IsOfMixture::Yes
        } else {
            IsOfMixture::No
        };
        candidates[best].note_placed(is_of_mixture);
        self.placed += 1;
        self.weigh_again(best, &candidates[best]);
        Some(best)
    }

    fn list_anew(&mut self, candidates: &[Candidate<'_>]) {
        self.placed = 0;
        let left = survivors(self.profile, self.job, candidates, |_, _, _| {});
        self.shortlist = left
            .into_iter()
            .map(|index| (index, self.total(&candidates[index])))
            .collect();
        let mut listed = std::mem::take(&mut self.shortlist);
        listed.sort_by(|a, b| self.compare(*b, *a, candidates));
        listed.truncate(self.profile.candidates_max);
        self.is_hopeless = listed.is_empty();
        self.shortlist = listed;
    }

    /// After a job was placed: the queue may have become worse, or full.
    fn weigh_again(&mut self, index: usize, candidate: &Candidate<'_>) {
        let totals = Totals::default();
        let is_full = self.profile.filters.iter().any(|rule| {
            rule.filter.is_about_load()
                && refusal_of(&rule.filter, self.job, candidate, &totals).is_some()
        });
        if is_full {
            self.shortlist.retain(|(listed, _)| *listed != index);
            return;
        }
        let total = self.total(candidate);
        let listed = self.shortlist.iter_mut().find(|(it, _)| *it == index);
        if let Some((_, weight)) = listed {
            *weight = total;
        }
    }

    fn total(&self, candidate: &Candidate<'_>) -> f64 {
        let factors = self.profile.weights.iter();
        factors
            .map(|factor| factor.value(self.job, candidate))
            .product()
    }

    /// Compares two queues, the better one is larger.
    fn compare(&self, a: (usize, f64), b: (usize, f64), candidates: &[Candidate<'_>]) -> Ordering {
        let by_weight = a.1.total_cmp(&b.1);
        let is_used = |index: usize| candidates[index].task.jobs > 0;
        let by_use = is_used(a.0).cmp(&is_used(b.0));
        match self.profile.used_before {
            UsedBefore::First => by_use.then(by_weight),
            UsedBefore::Tie => by_weight.then(by_use),
            UsedBefore::Off => by_weight,
        }
    }
}

/// A number that looks random but always is the same for a job and a queue: equal queues get equal
/// parts of the jobs, and the same jobs go to the same queues again.
fn turn(id: PandaId, index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let mut bits = id
        .value()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(index.wrapping_mul(0xd1b5_4a32_d192_ed03));
    // The finalizer of SplitMix64.
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
