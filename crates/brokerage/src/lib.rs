//! Chooses a queue for a job, with the reason for each queue.
//!
//! [`Spread`] takes what a job needs and the queues there are, and gives the best queue that can
//! run it; [`judge`] says one sentence about every queue. Neither reads a table or a clock: the same
//! job and the same queues always give the same choice.
//!
//! A queue must first pass every [`filter`]; the queues that pass are compared by [`weight`]. Which
//! filters and weights, in which order and with which constants, is the [`Policy`].

pub mod architecture;
pub mod candidate;
mod choose;
mod fair_share;
pub mod filter;
pub mod needs;
pub mod pattern;
pub mod policy;
pub mod shares;
pub mod weight;

pub use candidate::{Candidate, IsOfMixture, Load, TaskPast};
pub use choose::{Dropped, Spread, Verdict, choose, judge};
pub use filter::{Filter, Refusal};
pub use needs::{
    JobNeeds, Mixture, NetworkWish, NucleusWish, PlaceWish, SoftwareWish, StoredInputs,
};
pub use pattern::{NamePatterns, PatternError};
pub use policy::{Policy, PolicyError, Profile};
pub use shares::{ShareEntry, ShareError, ShareLine, ShareTraits, ShareTree};
pub use weight::{Factor, FactorValue, Weight};
