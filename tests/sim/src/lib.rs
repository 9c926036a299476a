//! The simulator: the cores of server, Harvester and pilots in one process, under a fake clock,
//! from one seed, with messages lost, doubled and late, and programs and nodes that die.
//!
//! [`run_seed`] runs one seed. Everything is drawn from it: the tasks that people submit, the
//! queues, how long things take, and every fault. So the same seed does the same, and a
//! [`Violation`] can be replayed. Messages go through the real codecs of `ailurus-wire`.
//!
//! All faults stop at a drawn time; from then on everything must come to its end. What is checked
//! is in `checks.rs`, what goes wrong in `faults.rs`. `docs/simulator.md` tells more.

mod agenda;
mod batch;
mod chance;
mod checks;
mod events;
mod faults;
mod harvester;
mod network;
mod panda_tasks;
mod payload;
mod people;
mod pilot;
mod run;
mod scenario;
mod server;
mod storage;
mod trace;
mod violation;
mod world;

#[cfg(test)]
mod broken_rules;

pub use faults::{Fault, FaultCounts};
pub use run::{Run, Summary, run_seed, run_seeds};
pub use trace::Keep;
pub use violation::{Invariant, Violation};
