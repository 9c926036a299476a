//! Carries out what the core plans for data: inputs, outputs, script, log archive.

mod check;
mod courses;
mod failure;
mod log_archive;
mod mover;
mod script;
mod stage_in;
mod stage_out;
mod tools;

use std::{path::PathBuf, sync::Arc};

use ailurus_transfer::{StopSwitch, TransferReport};

use crate::traces::JobTracer;
pub(crate) use mover::Mover;
pub(crate) use tools::{Setups, mover};

/// A job's directory, what moves its files, and the switch that gives up its transfers.
#[derive(Debug, Clone)]
pub(crate) struct JobPlace {
    pub(crate) dir: PathBuf,
    pub(crate) stop: StopSwitch,
    mover: Arc<Mover>,
    /// Tells Rucio what becomes of the job's files, if it is to know.
    tracer: Option<JobTracer>,
    /// Where the pilot's log was when the job began, in bytes.
    log_begin: u64,
}

impl JobPlace {
    pub(crate) fn new(dir: PathBuf, mover: Arc<Mover>, log_begin: u64) -> Self {
        Self {
            dir,
            mover,
            stop: StopSwitch::new(),
            tracer: None,
            log_begin,
        }
    }

    /// Returns the same place with somebody who tells what becomes of files.
    pub(crate) fn with_tracer(self, tracer: Option<JobTracer>) -> Self {
        Self { tracer, ..self }
    }

    /// Returns who tells what becomes of files that are moved from now on.
    fn tracer(&self) -> Option<JobTracer> {
        self.tracer.as_ref().map(JobTracer::starting_now)
    }

    /// Returns the same place for transfers that are not given up.
    pub(crate) fn with_new_stop(&self) -> Self {
        Self {
            stop: StopSwitch::new(),
            ..self.clone()
        }
    }
}

fn tell_moved(what: &str, name: &str, report: &TransferReport) {
    let millis = report.duration.as_millis();
    tracing::info!(
        "{what} `{name}`: {} in {millis} ms, {}",
        report.size,
        report.checksum
    );
}
