//! A whole production on this machine: server, Harvester, queues with storage of their own, and
//! the Python environment of the payloads.
//!
//! The demo, the end-to-end tests and the benches all start from here, so what people see first
//! is what the tests prove. Everything runs on loopback with free ports below one folder, and
//! only processes that were started here are ever ended.

pub mod child;
pub mod deployment;
pub mod place;
pub mod python;
pub mod wait;

pub use child::Child;
pub use deployment::{Deployment, QueueSettings, Settings};
