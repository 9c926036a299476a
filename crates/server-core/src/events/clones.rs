//! Copies of one job at several queues, one of which counts (PanDA's job cloning).
//!
//! With `runonce` the first copy that runs is the one, with `storeonce` the first that has written
//! its outputs; all others are closed then. A copy that fails before leaves it to the others; the
//! last one is tried again as any job, with new copies.
//!
//! The one that counts is the set's leader from then on: it does the part of the task's work.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`,
//! `updateJobStatus` and `checkClonedJob`; `pandaserver/dataservice/adder_gen.py`.

use ailurus_model::{JobKind, JobStatus, JobTags, job_tags};

use super::set::is_out;
use crate::{
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// The sub-status of a copy that does not count.
const UNLOCKED: &str = "jc_unlock";
/// PanDA's number for it.
const UNLOCKED_CODE: u32 = 200;
/// The tag's value for copies of which the first that runs counts.
const RUN_ONCE: &str = "1";

/// Says whether a job is one of several copies, or the last that is left.
pub(crate) fn is_clone(tags: &JobTags) -> bool {
    tags.value_of(job_tags::CLONING).is_some()
}

impl<L: Ledger> Operation<'_, L> {
    /// Has a copy that begins to run be the one that counts, if that is how copies are told apart.
    /// The caller writes the job.
    pub(crate) fn first_to_run(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        if job.tags.value_of(job_tags::CLONING) != Some(RUN_ONCE)
            || self.ledger.event_set_of(job.panda_id)?.is_none()
        {
            return Ok(());
        }
        self.take_ranges(job, 1)?;
        self.be_the_one(job)
    }

    /// Has a copy be the one that counts. The caller writes the job.
    pub(crate) fn be_the_one(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        if !is_clone(&job.tags) {
            return Ok(());
        }
        let mates = self.mates_of(job)?;
        let mut leader = self.leader_of(job)?;
        if leader.panda_id != job.panda_id {
            job.kind = leader.kind;
            leader.kind = JobKind::Consumer;
            self.ledger.put_job(&leader)?;
        }
        for mate in mates {
            // Its row may just have changed.
            let mate = self.job(mate.panda_id)?;
            let why = format!("copy {} of it counts", job.panda_id);
            self.close_copy(mate, &why)?;
        }
        Ok(())
    }

    /// A copy has got the range that stands for all of its work.
    pub(super) fn note_taken(&mut self, mut job: JobRecord) -> Result<(), LedgerError> {
        if job.tags.value_of(job_tags::CLONING) != Some(RUN_ONCE) {
            return Ok(());
        }
        self.be_the_one(&mut job)?;
        self.ledger.put_job(&job)
    }

    /// Closes a copy that ends without success while others may still do the work, and says
    /// whether it did.
    pub(crate) fn leave_it_to_others(
        &mut self,
        job: &JobRecord,
        why: &str,
    ) -> Result<bool, LedgerError> {
        if !is_clone(&job.tags) {
            return Ok(false);
        }
        let mates = self.mates_of(job)?;
        let running = mates.iter().find(|mate| is_out(mate.status));
        let Some(next) = running.or(mates.first()) else {
            return Ok(false);
        };
        let mut job = job.clone();
        if job.kind != JobKind::Consumer {
            let next = JobRecord {
                kind: job.kind,
                ..next.clone()
            };
            job.kind = JobKind::Consumer;
            self.ledger.put_job(&next)?;
        }
        self.close_copy(job, why)?;
        Ok(true)
    }

    fn close_copy(&mut self, mut job: JobRecord, why: &str) -> Result<(), LedgerError> {
        self.settle_ranges(&job)?;
        if self.end_if_killed(&job)? {
            return Ok(());
        }
        self.end_attempt_as(&job, JobStatus::Closed)?;
        UNLOCKED.clone_into(&mut job.sub_status);
        job.server_code = UNLOCKED_CODE;
        job.reason = clipped(why, DIAG_CHARS_MAX);
        job.command = None;
        self.set_status(&mut job, JobStatus::Closed, why)?;
        self.touched.insert(job.task_id);
        self.ledger.put_job(&job)
    }
}
