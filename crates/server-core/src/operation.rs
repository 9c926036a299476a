//! One call's work: its context, its ledger, and what it has read and touched so far.
//!
//! The steps that operations share are methods of [`Operation`], each in the file of its subject:
//! queue choice in `broker`, release of jobs in `release`, ends of attempts in `attempt_end`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ailurus_model::{
    ByteCount, JobKind, JobStatus, PandaId, QueueName, TaskId, TaskSpec, TaskStatus,
};

use crate::{
    Context,
    broker::{QueueFacts, Wishes},
    ledger::{
        AttemptRecord, Changed, InputNeed, JobRecord, Ledger, LedgerError, PandaTaskRecord,
        StatusChange, TaskRecord,
    },
};

/// One call's work.
pub(crate) struct Operation<'a, L> {
    pub(crate) ctx: &'a Context<'a>,
    pub(crate) ledger: &'a mut L,
    /// How busy the queues are, once it was asked for; kept up to date with what is placed.
    pub(crate) facts: Option<QueueFacts>,
    /// Jobs for which a queue was looked for.
    pub(crate) chosen: u32,
    /// A queue that jobs are to leave just now.
    pub(crate) avoided: Option<QueueName>,
    /// Tasks whose status may have changed with those of their jobs.
    pub(crate) touched: BTreeSet<TaskId>,
    specs: BTreeMap<TaskId, Arc<TaskSpec>>,
    /// Tasks of PanDA as they are understood; none stands for a task of another kind.
    pub(crate) panda_tasks: BTreeMap<TaskId, Option<Arc<PandaTaskRecord>>>,
    /// What tasks wish of the places of their jobs.
    pub(crate) wishes: BTreeMap<TaskId, Arc<Wishes>>,
    /// Jobs that have a number and are not written yet.
    unwritten: BTreeSet<PandaId>,
}

impl<'a, L: Ledger> Operation<'a, L> {
    pub(crate) fn new(ctx: &'a Context<'a>, ledger: &'a mut L) -> Self {
        Self {
            ctx,
            ledger,
            facts: None,
            chosen: 0,
            avoided: None,
            touched: BTreeSet::new(),
            specs: BTreeMap::new(),
            panda_tasks: BTreeMap::new(),
            wishes: BTreeMap::new(),
            unwritten: BTreeSet::new(),
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

    /// Returns the working group of a task, empty if it has none.
    pub(crate) fn working_group(&mut self, id: TaskId) -> Result<String, LedgerError> {
        let task = self.panda_task(id)?;
        let group = task.and_then(|task| task.refined.as_ref()?.working_group.clone());
        Ok(group.unwrap_or_default())
    }

    /// Returns the class of cores and memory of a job with so much of both.
    pub(crate) fn class_of(&self, cores: u32, memory: ByteCount) -> &str {
        let types = &self.ctx.scheduling.resource_types;
        types.class_of(cores, memory)
    }

    /// Returns the working group of a job, empty if it has none: that of its task, or what was
    /// submitted with it.
    pub(crate) fn working_group_of(&mut self, job: &JobRecord) -> Result<String, LedgerError> {
        if job.kind == JobKind::Direct {
            return Ok(self
                .form_of(job)?
                .attributes
                .text("workingGroup")
                .to_owned());
        }
        self.working_group(job.task_id)
    }

    /// Reads the specification of a task anew when it is asked for next.
    pub(crate) fn forget_spec(&mut self, id: TaskId) {
        self.specs.remove(&id);
        self.wishes.remove(&id);
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

    /// Takes the number of a job that is about to be made. Until [`Self::insert_job`] its status
    /// may change without history: its first row says what it is when it is written.
    pub(crate) fn new_panda_id(&mut self) -> Result<PandaId, LedgerError> {
        let id = self.ledger.new_panda_id()?;
        self.unwritten.insert(id);
        Ok(id)
    }

    /// Writes a new job.
    pub(crate) fn insert_job(
        &mut self,
        job: &JobRecord,
        needs: &[InputNeed],
    ) -> Result<(), LedgerError> {
        self.ledger.insert_job(job, needs)?;
        self.unwritten.remove(&job.panda_id);
        self.add_job_change(job, None, &job.reason)
    }

    /// Changes a job's status, notes when, and adds the change to the history. `why` is for
    /// people, empty where the new status says it all. The caller writes the job.
    pub(crate) fn set_status(
        &mut self,
        job: &mut JobRecord,
        status: JobStatus,
        why: &str,
    ) -> Result<(), LedgerError> {
        job.modified = self.ctx.now;
        let old = job.status;
        if old == status {
            return Ok(());
        }
        job.status = status;
        job.state_changed = self.ctx.now;
        if self.unwritten.contains(&job.panda_id) {
            return Ok(());
        }
        self.add_job_change(job, Some(old), why)
    }

    fn add_job_change(
        &mut self,
        job: &JobRecord,
        old: Option<JobStatus>,
        why: &str,
    ) -> Result<(), LedgerError> {
        self.ledger.add_change(&StatusChange {
            time: self.ctx.now,
            task_id: job.task_id,
            changed: Changed::Job {
                panda_id: job.panda_id,
                attempt_nr: job.attempt_nr,
                old,
                new: job.status,
            },
            queue: job.queue.clone(),
            reason: why.to_owned(),
            source_label: job.source_label.clone(),
        })
    }

    /// Writes a new task.
    pub(crate) fn insert_task(&mut self, task: &TaskRecord) -> Result<(), LedgerError> {
        self.ledger.put_task(task)?;
        self.add_task_change(task, None, "")
    }

    /// Changes a task's status, notes when, and adds the change to the history. The caller writes
    /// the task.
    pub(crate) fn set_task_status(
        &mut self,
        task: &mut TaskRecord,
        status: TaskStatus,
        why: &str,
    ) -> Result<(), LedgerError> {
        let old = task.status;
        if old == status {
            return Ok(());
        }
        task.status = status;
        task.state_changed = self.ctx.now;
        if task.revision > 0 {
            self.wake_workflows(task.id)?;
        }
        self.add_task_change(task, Some(old), why)
    }

    fn add_task_change(
        &mut self,
        task: &TaskRecord,
        old: Option<TaskStatus>,
        why: &str,
    ) -> Result<(), LedgerError> {
        self.ledger.add_change(&StatusChange {
            time: self.ctx.now,
            task_id: task.id,
            changed: Changed::Task {
                old,
                new: task.status,
            },
            queue: None,
            reason: why.to_owned(),
            source_label: task.spec.source_label.clone(),
        })
    }
}
