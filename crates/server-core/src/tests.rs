//! Operations together, one behaviour a test, on a server with two queues.

mod archiving;
mod chains;
mod direct;
mod dispatching;
mod events;
mod explaining;
pub(crate) mod harness;
mod history;
mod killing;
mod mixtures;
mod panda_tasks;
mod people;
mod random;
mod retries;
mod retry_rules;
mod sharing;
mod signing;
mod submitting;
mod updates;
mod watching;
mod workers;
mod workflows;
