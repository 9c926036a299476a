//! A whole production on this machine: server, Harvester, queues with storage of their own, and
//! the Python environment of the payloads.
//!
//! The demo, the end-to-end tests and the benches all start from here, so what people see first
//! is what the tests prove. Everything runs on loopback with free ports below one folder, and
//! only processes that were started here are ever ended.
//!
//! Tests of single programs take from here the other side of an HTTP connection: [`stand_in`] for
//! a program that asks, [`connection`] for one that answers. With the feature `storage` there are
//! real storage servers and ones that misbehave.

#[cfg(feature = "activemq")]
pub mod activemq;
pub mod child;
pub mod connection;
pub mod deployment;
pub mod front;
pub mod http;
pub mod listener;
#[cfg(feature = "oidc")]
pub mod oidc;
#[cfg(feature = "panda")]
pub mod panda;
#[cfg(feature = "panda-clients")]
pub mod panda_clients;
pub mod place;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod python;
#[cfg(feature = "rucio")]
pub mod rucio;
pub mod schemathesis;
#[cfg(feature = "servers")]
pub mod server;
#[cfg(feature = "servers")]
pub mod small_disk;
pub mod stand_in;
#[cfg(feature = "storage")]
pub mod storage;
#[cfg(feature = "panda")]
pub mod tls;
pub mod wait;

pub use child::Child;
pub use connection::Connection;
pub use deployment::{Deployment, QueueSettings, Settings};
