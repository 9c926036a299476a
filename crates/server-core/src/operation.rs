//! One call's work: its context, its ledger, and what it has read and touched so far.
//!
//! The steps that operations share are methods of [`Operation`], each in the file of its subject:
//! queue choice in `broker`, release of jobs in `release`, ends of attempts in `attempt_end`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ailurus_model::{JobStatus, PandaId, QueueName, TaskId, TaskSpec};

use crate::{
    Context,
    broker::Load,
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError, TaskRecord},
};

/// One call's work.
pub(crate) struct Operation<'a, L> {
    pub(crate) ctx: &'a Context<'a>,
    pub(crate) ledger: &'a mut L,
    /// How busy the queues are, once it was asked for; kept up to date with what is placed.
    pub(crate) loads: Option<BTreeMap<QueueName, Load>>,
    /// Tasks whose status may have changed with those of their jobs.
    pub(crate) touched: BTreeSet<TaskId>,
    specs: BTreeMap<TaskId, Arc<TaskSpec>>,
}

impl<'a, L: Ledger> Operation<'a, L> {
    pub(crate) fn new(ctx: &'a Context<'a>, ledger: &'a mut L) -> Self {
        Self {
            ctx,
            ledger,
            loads: None,
            touched: BTreeSet::new(),
            specs: BTreeMap::new(),
        }
    }

    /// Ends the call: brings the status of every touched task up to date.
    pub(crate) fn finish(mut self) -> Result<(), LedgerError> {
        for task in std::mem::take(&mut self.touched) {
            self.refresh_task(task)?;
        }
        Ok(())
    }

    /// Reads a job that another row refers to.
    pub(crate) fn job(&self, id: PandaId) -> Result<JobRecord, LedgerError> {
        let job = self.ledger.job(id)?;
        job.ok_or_else(|| LedgerError::contradiction(format!("job {id} is named but not there")))
    }

    /// Reads a task that another row refers to.
    pub(crate) fn task(&self, id: TaskId) -> Result<TaskRecord, LedgerError> {
        let task = self.ledger.task(id)?;
        task.ok_or_else(|| LedgerError::contradiction(format!("task {id} is named but not there")))
    }

    /// Reads what was submitted as a task, once a call.
    pub(crate) fn spec(&mut self, id: TaskId) -> Result<Arc<TaskSpec>, LedgerError> {
        if let Some(spec) = self.specs.get(&id) {
            return Ok(Arc::clone(spec));
        }
        let spec = self.task(id)?.spec;
        self.specs.insert(id, Arc::clone(&spec));
        Ok(spec)
    }

    /// Reads the current attempt of a job that was dispatched.
    pub(crate) fn attempt(&self, job: &JobRecord) -> Result<AttemptRecord, LedgerError> {
        let attempt = self.ledger.attempt(job.panda_id, job.attempt_nr)?;
        attempt.ok_or_else(|| {
            LedgerError::contradiction(format!(
                "job {} is {}, but its attempt {} is not there",
                job.panda_id, job.status, job.attempt_nr
            ))
        })
    }

    /// Changes a job's status, and notes when.
    pub(crate) fn set_status(&self, job: &mut JobRecord, status: JobStatus) {
        job.modified = self.ctx.now;
        if job.status != status {
            job.status = status;
            job.state_changed = self.ctx.now;
        }
    }
}
