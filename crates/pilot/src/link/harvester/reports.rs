//! Reports what becomes of jobs by files.

use std::io;

use ailurus_model::{JobStatus, JobUpdate};
use ailurus_pilot_core::resource::allocation::ClaimEnd;
use ailurus_wire::harvester_files::{self, OutputsBy};

use super::{HarvesterLink, OwnJob};
use crate::settings::wall_now;

impl HarvesterLink {
    /// Writes attributes, and at the end outputs and the payload's report.
    pub(super) fn write_report(&self, update: &JobUpdate) -> io::Result<()> {
        let own = self.lock_jobs().get(&update.panda_id).cloned();
        let own = own.unwrap_or_else(|| self.continued(update));
        let mut outputs = OutputsBy::Harvester;
        if update.is_final() {
            let is_local = |file| harvester_files::local_path(file).is_some();
            if !update.outputs.iter().all(is_local) {
                outputs = OutputsBy::Pilot;
            } else if !update.outputs.is_empty() {
                let dump = harvester_files::encode_outputs(
                    update.panda_id,
                    own.log.as_ref(),
                    &update.outputs,
                );
                self.point
                    .write(&own.dir.join(harvester_files::OUTPUTS), &dump)?;
            }
            let report = update.metadata.as_deref();
            if let Some(report) = report.and_then(harvester_files::shrink_job_report) {
                self.point
                    .write(&own.dir.join(harvester_files::JOB_REPORT), &report)?;
            }
        }
        // Last: who reads of the end finds all that belongs to it.
        let attributes = harvester_files::encode_attributes(update, wall_now(), outputs);
        self.point
            .write(&own.dir.join(harvester_files::ATTRIBUTES), &attributes)
    }

    /// What is known of a job that an earlier pilot took and this one ends.
    fn continued(&self, update: &JobUpdate) -> OwnJob {
        let point = self.point.dir();
        let own_dir = point.join(update.panda_id.to_string());
        let has_spec = own_dir.join(harvester_files::JOB_SPEC).exists();
        let is_one_of_many = has_spec || point.join(harvester_files::JOB_SPEC).exists();
        OwnJob {
            dir: if is_one_of_many {
                own_dir
            } else {
                point.to_owned()
            },
            attempt_nr: update.attempt_nr.unwrap_or_default(),
            log: None,
        }
    }

    pub(super) fn note_end(&self, update: &JobUpdate) {
        let own = self.lock_jobs().remove(&update.panda_id);
        let own_attempt = own.map(|own| own.attempt_nr);
        let Some(attempt_nr) = own_attempt.or(update.attempt_nr) else {
            return;
        };
        let end = if update.status == JobStatus::Finished {
            ClaimEnd::Finished
        } else {
            ClaimEnd::Failed
        };
        if let Err(error) = self.point.end(update.panda_id, attempt_nr, end) {
            tracing::warn!(
                "the claim of job {} cannot be closed: {error}",
                update.panda_id
            );
        }
    }
}
