//! Operations together, one behaviour a test, on a server with two queues.

mod chains;
mod dispatching;
mod harness;
mod history;
mod people;
mod random;
mod retries;
mod submitting;
mod updates;
mod watching;
mod workers;
