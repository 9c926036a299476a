//! Operations together, one behaviour a test, on a server with two queues.

mod chains;
mod direct;
mod dispatching;
pub(crate) mod harness;
mod history;
mod killing;
mod panda_tasks;
mod people;
mod random;
mod retries;
mod submitting;
mod updates;
mod watching;
mod workers;
