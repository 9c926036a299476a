//! Reads what the worker node is and uses: `/proc`, control groups, disks, GPUs, batch system.
//!
//! * [`Sampler`] measures a payload's processes, [`GpuTool`] what they use of GPUs, and
//!   [`EnergyMeter`] what the processors consume.
//! * [`look_at_dir`] sizes a directory and finds its newest change, [`free_space`] asks its disk.
//! * [`node_facts`] describes the node, [`MachineFeatures`] and [`JobFeatures`] say what the site
//!   says of it.
//! * [`batch_of`] recognises the batch system from the environment, and [`slot_end`] finds when it
//!   ends the slot.
//!
//! Texts are read by pure functions; limits and what follows from them are the core's.

mod batch;
pub mod cgroup;
mod cpus;
mod devices;
mod dir;
mod energy;
mod facts;
mod features;
pub mod gpu;
mod proc_reader;
pub mod process_text;
mod sampler;
pub mod slot;
pub mod text;

pub use batch::{BatchIdentity, BatchSystem, batch_of, condor_job_id};
pub use cgroup::GroupUse;
pub use cpus::{CpuPlace, usable_cpus};
pub use devices::{Interface, NetworkCounters};
pub use dir::{Coverage, DirBounds, DirLook, FreeSpace, free_space, look_at_dir};
pub use energy::EnergyMeter;
pub use facts::{NodeFacts, node_facts};
pub use features::{JobFeatures, MachineFeatures};
pub use gpu::{GpuCard, GpuFacts, GpuTool, GpuUse};
pub use sampler::Sampler;
pub use slot::{SlotEnd, SlotTexts, ask_slot_end, slot_end};
