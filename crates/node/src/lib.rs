//! Reads what the worker node is and uses: `/proc`, disks, batch system.
//!
//! * [`Sampler`] measures a payload's processes.
//! * [`look_at_dir`] sizes a directory and finds its newest change, [`free_space`] asks its disk.
//! * [`node_facts`] describes the node.
//! * [`batch_of`] recognises the batch system from the environment.
//!
//! Texts are read by pure functions in [`text`]; limits and what follows from them are the core's.

mod batch;
mod dir;
mod facts;
mod sampler;
pub mod text;

pub use batch::{BatchIdentity, BatchSystem, batch_of, condor_job_id};
pub use dir::{Coverage, DirBounds, DirLook, FreeSpace, free_space, look_at_dir};
pub use facts::{NodeFacts, node_facts};
pub use sampler::Sampler;
