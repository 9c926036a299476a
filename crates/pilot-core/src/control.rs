//! The control room: the pilot's life, the job's life, and what the server is told of them.

pub mod exit_code;
pub(crate) mod job;
pub(crate) mod last_update;
pub mod phase;
pub mod pilot;
pub mod random;
pub(crate) mod reporting;
pub(crate) mod running;
pub(crate) mod update;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
