//! The recovery room: what failed, with which code, and when to try again.

pub mod backoff;
pub mod black_hole;
pub mod classify;
pub mod fault;
pub mod journal;

pub use backoff::Backoff;
pub use classify::{MemoryShortage, PayloadExit, Symptom, Verdict, judge};
