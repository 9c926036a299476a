//! Batch systems behind one port: submit, query many, cancel.
//!
//! [`port`] says what every batch system must do and what Harvester relies on. [`local`] is the
//! one that comes without a batch system: processes on this machine.

pub mod local;
pub mod port;

pub use self::{
    local::{LocalBatch, LocalSettings},
    port::{
        BadWorkerName, BatchState, BatchSystem, CancelError, QueryError, SubmitError,
        SubmitOutcome, WorkerName, WorkerSubmission,
    },
};
