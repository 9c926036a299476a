//! A blocking client of Rucio's REST API: replicas, endpoints, registration, traces.
//!
//! * [`RucioClient`] proves who it is, asks and tells; it renews its token by itself.
//! * [`TraceSender`] tells what became of transfers, without ever holding one up.
//!
//! It repeats what can be repeated without harm, with growing pauses, and decides nothing else:
//! which replica to take, and whether a job can do without the catalogue, is up to the caller.
//! The messages are in [`ailurus_wire::rucio`].

mod client;
mod config;
mod dids;
mod error;
mod register;
mod replicas;
mod token;
mod trace;

pub use client::RucioClient;
pub use config::{Credential, Retries, RucioConfig};
pub use error::{Call, RucioError};
pub use replicas::Listing;
pub use trace::{TraceSender, TraceSummary};
