//! Chooses a queue for a job, with the reason for each queue.
//!
//! [`choose()`] takes what a job needs and the queues there are, and gives the best queue that can
//! run it together with one sentence about every queue. It reads no table and no clock: the same
//! job and the same queues always give the same choice.
//!
//! A queue must first pass every [`filter`]; the queues that pass are compared by [`weight`].

mod choose;
pub mod filter;
pub mod weight;

pub use choose::{Candidate, Choice, JobNeeds, StoredInputs, Verdict, choose};
pub use filter::{Refusal, refusal};
