//! How good a queue is for a job that it can run: a product of factors.
//!
//! Which factors a kind of job has, and with which constants, stands in the policy.

use std::{fmt, time::Duration};

use ailurus_model::units::duration_text;
use serde::Deserialize;

use crate::{
    candidate::Candidate,
    filter::as_f64,
    needs::{JobNeeds, StoredInputs},
};

/// Bytes in one GB.
const GB: f64 = 1e9;
/// Files after which moving them halves the production weight, as in PanDA.
const FILES_SCALE: f64 = 100.0;
/// Jobs by which PanDA softens its production weight.
const PRODUCTION_OFFSET: f64 = 10.0;

/// One factor of a weight with its constants.
///
/// Sources: PanDA server, the weights at the ends of `GenJobBroker.py`, `AtlasProdJobBroker.py` and
/// `AtlasAnalJobBroker.py`; data, chain and mixture also from Ailurus' own needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Factor {
    /// The generic broker's: (running + 1) / (activated + assigned + 1) / (assigned + 1).
    Generic {},
    /// The production broker's:
    /// (running + 1) / (activated + assigned + starting + 10), and less where many are assigned.
    Production {},
    /// The share of slots that are not waited for: (running + 1) / (running + waiting + 1).
    FreeSlots {},
    /// The production broker's: (all + local) / all / (files to move / 100 + 1).
    InputToMove {},
    /// The analysis broker's: 1 + local GB / `gb`.
    LocalGb {
        /// GB that double the weight.
        gb: f64,
    },
    /// 1 + `worth` × the part of the input that lies at the site, by bytes, else by files.
    LocalInput {
        /// What all of it is worth.
        worth: f64,
    },
    /// 1 / (1 + cost / `half_at`), where the cost is that of a GB on the way times the GB to move.
    TransferCost {
        /// The cost at which the weight is halved.
        half_at: f64,
        /// The cost of a GB on a way of which nothing is said.
        unknown: f64,
    },
    /// 1 + `worth` where the previous step ran: its output lies there.
    Chain {
        /// What it is worth.
        worth: f64,
    },
    /// Single Mixture Boost: 1 + `worth` where other jobs read the same sample already.
    Mixture {
        /// What it is worth.
        worth: f64,
    },
    /// At the site where outputs are collected: the task's own `t1Weight`, else `reads_much` for
    /// jobs that read more than `io_intensity`, and at least `urgent` for scouts and from
    /// `priority_min` on. Elsewhere, and without a nucleus, 1.
    Nucleus {
        /// The factor of jobs that read much.
        reads_much: f64,
        /// I/O intensity in kB/s from which on they do.
        io_intensity: u64,
        /// The factor of urgent jobs.
        urgent: f64,
        /// The priority from which on they are.
        priority_min: i64,
    },
    /// `unseen` where no pilot was seen for a while.
    PilotsSeen {
        /// How long ago at most.
        #[serde(with = "duration_text")]
        within: Duration,
        /// The factor where there was none.
        unseen: f64,
    },
}

impl Factor {
    /// Returns its name as the policy writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Generic {} => "generic",
            Self::Production {} => "production",
            Self::FreeSlots {} => "free-slots",
            Self::InputToMove {} => "input-to-move",
            Self::LocalGb { .. } => "local-gb",
            Self::LocalInput { .. } => "local-input",
            Self::TransferCost { .. } => "transfer-cost",
            Self::Chain { .. } => "chain",
            Self::Mixture { .. } => "mixture",
            Self::Nucleus { .. } => "nucleus",
            Self::PilotsSeen { .. } => "pilots-seen",
        }
    }

    /// Returns its value for a queue, larger is better, never below zero.
    pub(crate) fn value(&self, job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> f64 {
        let load = &candidate.load;
        let [assigned, activated, starting, running] =
            [load.assigned, load.activated, load.starting, load.running].map(as_f64);
        let boost_if = |holds: bool, worth: f64| if holds { 1.0 + worth } else { 1.0 };
        match self {
            Self::Generic {} => (running + 1.0) / (activated + assigned + 1.0) / (assigned + 1.0),
            Self::Production {} => {
                let waiting = activated + assigned + starting + PRODUCTION_OFFSET;
                let stuck = ((assigned + 1.0) / (activated + 1.0)).clamp(1.0, 2.0);
                (running + 1.0) / waiting / stuck
            }
            Self::FreeSlots {} => {
                let busy = starting + running;
                (busy + 1.0) / (busy + assigned + activated + 1.0)
            }
            Self::InputToMove {} => {
                let (local, moved) = (candidate.part_at_hand(job), to_move(job, candidate));
                let all = bytes(job.input).max(1.0);
                (all + bytes(local)) / all / (as_f64(moved.files) / FILES_SCALE + 1.0)
            }
            Self::LocalGb { gb } => 1.0 + bytes(candidate.part_at_hand(job)) / GB / gb,
            Self::LocalInput { worth } => 1.0 + worth * local_part(job, candidate),
            Self::TransferCost { half_at, unknown } => {
                1.0 / (1.0 + cost(job, candidate, *unknown) / half_at)
            }
            Self::Chain { worth } => boost_if(job.chain.contains(&candidate.queue.name), *worth),
            Self::Mixture { worth } => {
                boost_if(job.mixture.is_some() && candidate.mixture_jobs > 0, *worth)
            }
            Self::Nucleus {
                reads_much,
                io_intensity,
                urgent,
                priority_min,
            } => {
                if !job.nucleus.has(candidate.queue) {
                    return 1.0;
                }
                let own = match job.nucleus.weight {
                    0 if job.io_intensity > *io_intensity => *reads_much,
                    weight => as_f64(u64::try_from(weight).unwrap_or(0)).max(1.0),
                };
                let is_urgent = job.is_scout || job.priority >= *priority_min;
                if is_urgent { own.max(*urgent) } else { own }
            }
            Self::PilotsSeen { within, unseen } => {
                let is_seen = candidate.pilot_seen.is_some_and(|ago| ago <= *within);
                if is_seen { 1.0 } else { *unseen }
            }
        }
    }
}

/// What one factor came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactorValue {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// A queue's weight and the factors that make it. Larger is better.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weight {
    /// The product.
    pub total: f64,
    /// The factors in the order of the policy.
    pub factors: Vec<FactorValue>,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fits with weight {:.3}", self.total)?;
        for (nr, factor) in self.factors.iter().enumerate() {
            let before = if nr == 0 { " (" } else { ", " };
            write!(f, "{before}{} {:.3}", factor.name, factor.value)?;
        }
        f.write_str(if self.factors.is_empty() { "" } else { ")" })
    }
}

fn bytes(stored: StoredInputs) -> f64 {
    as_f64(stored.size.as_bytes())
}

fn to_move(job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> StoredInputs {
    let local = candidate.part_at_hand(job);
    StoredInputs {
        files: job.input.files - local.files,
        size: job.input.size.minus(local.size),
    }
}

/// By bytes where the sizes are known, else by files; nothing to read is nothing at hand.
fn local_part(job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> f64 {
    let local = candidate.part_at_hand(job);
    if bytes(job.input) > 0.0 {
        bytes(local) / bytes(job.input)
    } else {
        as_f64(local.files) / as_f64(job.input.files.max(1))
    }
}

/// The cost of what has to be moved, each file by the cheapest way that is known. A sample that
/// other jobs have brought there costs nothing any more.
fn cost(job: &JobNeeds<'_>, candidate: &Candidate<'_>, unknown: f64) -> f64 {
    let (mut gb, mut cost) = (0.0, 0.0);
    for (places, stored) in job.inputs {
        if places.iter().any(|from| candidate.has_at_hand(from)) {
            continue;
        }
        let ways = places.iter().filter_map(|from| {
            let known = candidate.costs.iter().find(|(place, _)| place == from);
            known.map(|(_, cost)| as_f64(*cost))
        });
        let per_gb = ways.reduce(f64::min).unwrap_or(unknown);
        gb += bytes(*stored) / GB;
        cost += bytes(*stored) / GB * per_gb;
    }
    if let Some(mixture) = job.mixture
        && candidate.mixture_jobs > 0
        && gb > 0.0
    {
        let brought = as_f64(mixture.size.as_bytes()) / GB;
        cost *= (1.0 - brought / gb).max(0.0);
    }
    cost
}
