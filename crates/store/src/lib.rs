//! Rows that survive: the server's ledger and Harvester's workers in a database.
//!
//! [`DatabaseLedger`] keeps the server's rows, [`Writer`] lets many operations share one commit, and
//! [`Readers`] answer questions of people without standing in the way. Nothing is decided here.

mod backup;
mod database;
mod job_counts;
mod ledger;
mod readers;
mod schema;
mod session;
mod sql;
pub mod workers;
mod writer;

pub use backup::BackupError;
pub use database::{Database, ParseDatabaseError, Server};
pub use job_counts::{Counted, JobCount, TaskJobCount};
pub use ledger::{DatabaseLedger, Hint};
pub use readers::{JobFilter, JobPast, JobRow, ReadError, Reader, Readers, TaskRow, WorkerCounts};
pub use schema::OpenError;
pub use writer::{OPERATIONS_PER_COMMIT, OPERATIONS_WAITING, WriteError, Writer};
