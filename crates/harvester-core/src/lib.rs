//! Decides how many workers each queue should have, and follows what became of them.
//!
//! Two things are kept apart: what is wanted (from activated jobs, limits and back-pressure, see
//! [`plan`]) and what is there (from the batch system's answers, see [`worker`]).
//! [`HarvesterCore`] brings the two together: it takes `(now, Input)` and gives [`Effect`]s. It
//! reads no clock and does no I/O.
//!
//! Two invariants hold whatever the world answers, and are tested with random worlds:
//!
//! * **F1** – the workers of a queue stay within its limits;
//! * **F2** – a submission of unknown fate counts as existing until it is proven gone.

pub mod core;
pub mod message;
pub mod plan;
pub mod pressure;
mod queue;
pub mod worker;

pub use self::{
    core::HarvesterCore,
    message::{Config, Effect, Input, QueueSettings, QueueStatistics, SubmissionAnswer, WorkerKey},
    plan::{Demand, JobCounts, Limits, Standing},
    pressure::{PauseRange, Pressure},
    worker::{Observation, Revision, TrackedWorker},
};
