//! The monitoring room: what a payload used, and whether that is within its limits.
//!
//! [`Sample`] is what was seen at one moment. [`JobLimits`] judges it, [`UsageMeter`] gathers it
//! for the updates and [`metrics`], and [`prmon`] is its form in files.

pub mod leak;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod prmon;
pub mod sample;
pub mod usage;

pub use limits::{JobLimits, check_slot};
pub use sample::{FilesSample, GpuUse, KillFile, Machine, Sample, SampleScope, SlotSample};
pub use usage::UsageMeter;
