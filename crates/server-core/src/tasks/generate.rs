//! Makes the jobs of a task, as many as one step may.

use std::sync::Arc;

use ailurus_jedi::{
    OutputKind, RefinedTask, estimate,
    refined::EventService,
    split::{Access, Chunk, Content, Phase},
};
use ailurus_model::{
    ByteCount, DatasetName, FileStatus, JobKind, JobStatus, TaskId, TaskStatus, job_tags,
};

use crate::{
    ledger::{
        DatasetRecord, Generation, InputNeed, InputState, JobRecord, Ledger, LedgerError,
        ScoutPhase,
    },
    operation::Operation,
    tasks::{
        chunk::{Cut, JobPlan},
        define::run_datasets,
        record::{PandaTask, is_of_files, plain_name, written_dataset},
        tags::tags_of,
    },
    text::{DIAG_CHARS_MAX, clipped},
};

/// HS06 of a core where queues do not tell, thousandths.
const CORE_POWER_MILLI: u64 = 10_000;

impl<L: Ledger> Operation<'_, L> {
    /// Makes up to `most` jobs of a task, and returns how many. The task moves to the status that
    /// follows, and is due again if it can go on at once.
    pub(super) fn generate(&mut self, task: &mut PandaTask, most: u32) -> Result<u32, LedgerError> {
        let phase = task.progress.scouts;
        if task.progress.generation != Generation::Open || phase == ScoutPhase::Made || most == 0 {
            return Ok(0);
        }
        let definition = Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(0);
        };
        if let Some(why) = self.throttled(task)? {
            task.progress.message = clipped(&why.to_string(), DIAG_CHARS_MAX);
            task.progress.due = Some(self.ctx.now.after(self.ctx.limits.tasks.retry_interval));
            return Ok(0);
        }
        self.write_datasets(task, refined)?;
        let (kind, most) = match phase {
            ScoutPhase::Wanted => (JobKind::Scout, most.min(self.ctx.limits.tasks.scouts_max)),
            ScoutPhase::None | ScoutPhase::Made | ScoutPhase::Over => (JobKind::Run, most),
        };
        let most = self.within_most_jobs(task, most);
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        let cut = if refined.master().is_some_and(|one| is_of_files(one.kind)) {
            self.cut_files(task, limit)?
        } else {
            cut_numbers(task, refined, limit)
        };
        if let Some(plan) = cut.jobs.first()
            && let Err(error) = self.try_parameters(task, plan)?
        {
            self.break_task(task, &error)?;
            return Ok(0);
        }
        if let Some(error) = unknown_events(refined, &cut) {
            self.break_task(task, &error)?;
            return Ok(0);
        }
        let n = u32::try_from(cut.jobs.len()).unwrap_or(u32::MAX);
        let mut homeless = Vec::new();
        for plan in &cut.jobs {
            homeless.extend(self.make_run(task, refined, kind, plan)?);
        }
        if !homeless.is_empty() {
            // Build jobs that are made for them change the rows.
            self.save_task(task)?;
            self.place_all(homeless)?;
            self.reload_progress(task)?;
        }
        self.write_datasets(task, refined)?;
        self.after_jobs(task, &cut, n)?;
        Ok(n)
    }

    /// Bounds jobs by the most that the task may have altogether.
    fn within_most_jobs(&self, task: &PandaTask, most: u32) -> u32 {
        let left = self
            .ctx
            .limits
            .jobs_per_task_max
            .saturating_sub(task.progress.next_part);
        most.min(left)
    }

    /// Moves a task on after jobs were made.
    fn after_jobs(&mut self, task: &mut PandaTask, cut: &Cut, n: u32) -> Result<(), LedgerError> {
        let now = self.ctx.now;
        if n > 0 {
            task.progress.started.get_or_insert(now);
            task.progress.message.clear();
        }
        let was_scouts = task.progress.scouts == ScoutPhase::Wanted;
        if was_scouts && n > 0 {
            task.progress.scouts = ScoutPhase::Made;
            task.progress.due = Some(now.after(self.ctx.limits.tasks.scouts_interval));
        } else if cut.has_more {
            task.progress.due = Some(now);
        }
        let mut inputs = task
            .progress
            .inputs
            .iter()
            .filter(|input| input.stream == 0);
        let is_all = inputs
            .all(|input| input.state == InputState::Closed && input.n_taken >= input.parts.len());
        let is_most = task.progress.next_part >= self.ctx.limits.jobs_per_task_max;
        if is_all || is_most {
            task.progress.generation = Generation::Complete;
            self.wake_children(task.id())?;
        } else if n > 0 {
            self.wake_children(task.id())?;
        }
        let status = match task.progress.scouts {
            ScoutPhase::Wanted | ScoutPhase::Made => TaskStatus::Scouting,
            ScoutPhase::None | ScoutPhase::Over => TaskStatus::Running,
        };
        if n > 0 && task.status() != status {
            self.move_task(task, status, "")?;
        }
        Ok(())
    }

    /// Has the tasks that come after one look at what it writes.
    pub(super) fn wake_children(&mut self, id: TaskId) -> Result<(), LedgerError> {
        for child in self.ledger.tasks_after(id)? {
            self.wake_task(child)?;
        }
        Ok(())
    }

    /// Writes how many parts a task's datasets have.
    fn write_datasets(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
    ) -> Result<(), LedgerError> {
        let id = task.id();
        // A job may have written more files than it was to: they have parts, too.
        for dataset in run_datasets(refined, id) {
            let known = self.ledger.dataset(&dataset)?.map_or(0, |one| one.n_parts);
            task.progress.next_part = task.progress.next_part.max(known);
        }
        for dataset in run_datasets(refined, id) {
            self.put_written(dataset, id, task.progress.next_part)?;
        }
        for output in &refined.outputs {
            let name = written_dataset(&output.dataset, id);
            if refined.merge.is_some() && output.kind == OutputKind::Output {
                self.put_written(name.clone(), id, task.progress.n_merges)?;
            }
            let named = output.container.as_deref().unwrap_or(&output.dataset);
            for container in [named, &output.dataset] {
                let container = DatasetName::new(plain_name(container));
                self.ledger.add_to_container(&container, &name)?;
            }
        }
        Ok(())
    }

    pub(super) fn put_written(
        &mut self,
        name: DatasetName,
        producer: TaskId,
        n_parts: u32,
    ) -> Result<(), LedgerError> {
        if let Some(known) = self.ledger.dataset(&name)?
            && known.n_parts == n_parts
        {
            return Ok(());
        }
        self.ledger.put_dataset(&DatasetRecord {
            name,
            producer: Some(producer),
            n_parts,
        })
    }

    /// Makes a job that does the task's work, and those that take from the same events. Those are
    /// returned that only lack a queue, and that of their build job.
    fn make_run(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
        kind: JobKind,
        plan: &JobPlan,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        let mut job = self.blank_job(task, kind)?;
        job.part = task.progress.next_part;
        task.progress.next_part += 1;
        job.first_event = plan.first_event;
        job.n_events = plan.n_events;
        let phase = match kind {
            JobKind::Scout => Phase::Scouts,
            JobKind::Run
            | JobKind::Build
            | JobKind::Merge
            | JobKind::Direct
            | JobKind::Consumer => Phase::Bulk,
        };
        if phase == Phase::Scouts {
            job.tags.insert(job_tags::SCOUT);
        }
        let kind = estimate::JobKind::Run(phase);
        job.priority = estimate::priority(job.priority, kind);
        set_needs(&mut job, refined, kind, &plan.chunk);
        self.class_of(job.cores, job.memory)
            .clone_into(&mut job.resource_type);
        let needs: Vec<InputNeed> = plan
            .reads
            .iter()
            .map(|(input, dataset, part, status)| InputNeed {
                panda_id: job.panda_id,
                input: *input,
                dataset: dataset.clone(),
                part: *part,
                status: *status,
            })
            .collect();
        let leader = job.panda_id;
        let mut homeless: Vec<JobRecord> = self
            .insert_run(task, refined, job, &needs)?
            .into_iter()
            .collect();
        homeless.extend(self.recruit(task, refined, leader, &needs)?);
        Ok(homeless)
    }

    /// Writes a new job that does a task's work; it is returned if it only lacks a queue, and that
    /// of its build job.
    pub(super) fn insert_run(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
        mut job: JobRecord,
        needs: &[InputNeed],
    ) -> Result<Option<JobRecord>, LedgerError> {
        let waits = needs.iter().any(|need| need.status == FileStatus::Expected);
        let can_run = needs.is_empty() || !self.usable_needs(&job, needs)?.is_empty();
        if refined.build.is_some() && !waits && can_run {
            task.record.n_jobs += 1;
            self.set_status(&mut job, JobStatus::Defined, "")?;
            self.insert_job(&job, needs)?;
            return Ok(Some(job));
        }
        self.insert_made(task, job, needs.to_vec())?;
        Ok(None)
    }

    /// Returns a job of a task with what all of its jobs have in common.
    pub(super) fn blank_job(
        &mut self,
        task: &mut PandaTask,
        kind: JobKind,
    ) -> Result<JobRecord, LedgerError> {
        let panda_id = self.new_panda_id()?;
        let spec = &task.record.spec;
        let refined = task.refined()?;
        let tags = tags_of(refined, kind);
        let max_attempts = attempts_of(refined, kind, spec.max_attempts);
        let global_share = refined.global_share.clone().unwrap_or_default();
        let source_label = spec.source_label.clone();
        let serial = match kind {
            JobKind::Merge => &mut task.progress.next_merge_serial,
            JobKind::Run
            | JobKind::Scout
            | JobKind::Build
            | JobKind::Direct
            | JobKind::Consumer => &mut task.progress.next_serial,
        };
        let job_serial = *serial;
        if kind != JobKind::Build {
            *serial += 1;
        }
        Ok(JobRecord {
            serial: job_serial,
            max_attempts,
            priority: task.progress.priority,
            source_label,
            tags,
            global_share,
            ..JobRecord::new(panda_id, task.id(), kind, self.ctx.now)
        })
    }

    /// Writes a new job: it waits, gets a queue, or is closed if its input cannot come.
    pub(super) fn insert_made(
        &mut self,
        task: &mut PandaTask,
        mut job: JobRecord,
        needs: Vec<InputNeed>,
    ) -> Result<(), LedgerError> {
        task.record.n_jobs += 1;
        if needs.iter().any(|need| need.status == FileStatus::Expected) {
            "waits for its inputs".clone_into(&mut job.reason);
            return self.insert_job(&job, &needs);
        }
        let can_run = needs.is_empty() || !self.usable_needs(&job, &needs)?.is_empty();
        if can_run {
            self.choose_queue(&mut job, &needs)?;
            return self.insert_job(&job, &needs);
        }
        "its input will not come".clone_into(&mut job.reason);
        self.insert_job(&job, &needs)?;
        self.end_without_outputs(job, JobStatus::Closed)
    }

    /// Gives a job that is tried again the next serial number, so that what it writes has another
    /// name than what an earlier attempt may have left.
    pub(crate) fn renumber(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        if job.serial == 0 || job.kind == JobKind::Build {
            return Ok(());
        }
        let Some(mut progress) = self.ledger.task_progress(job.task_id)? else {
            return Ok(());
        };
        let next = match job.kind {
            JobKind::Merge => &mut progress.next_merge_serial,
            JobKind::Run
            | JobKind::Scout
            | JobKind::Build
            | JobKind::Direct
            | JobKind::Consumer => &mut progress.next_serial,
        };
        job.serial = *next;
        *next += 1;
        self.ledger.put_task_progress(&progress)
    }
}

/// Says which file has events to be shared out of which nobody knows the number.
fn unknown_events(refined: &RefinedTask, cut: &Cut) -> Option<String> {
    let has_files = refined.master().is_some_and(|one| is_of_files(one.kind));
    if refined.event_service != EventService::Ranges || !has_files {
        return None;
    }
    let mut files = cut.jobs.iter().flat_map(|plan| &plan.chunk.master);
    let file = files.find(|file| file.events.is_none() && file.range.is_none())?;
    Some(format!(
        "ranges of events cannot be cut, as nobody knows how many events `{}` has: give \
         nEventsPerFile",
        file.lfn
    ))
}

/// Returns how many attempts a job has. One that shares events out has as many as all jobs of PanDA
/// together that would work on its files.
fn attempts_of(refined: &RefinedTask, kind: JobKind, per_file: u32) -> u32 {
    let takes_ranges = refined.event_service == EventService::Ranges
        && matches!(kind, JobKind::Run | JobKind::Scout | JobKind::Consumer);
    if !takes_ranges {
        return per_file;
    }
    let further = estimate::max_attempt(refined, estimate::JobKind::Run(Phase::Bulk), 0);
    let each = u32::try_from(further.saturating_add(1)).unwrap_or(1);
    per_file.saturating_mul(each.max(1))
}

/// Cuts a task without files: its numbers one by one, or so many of them into each job.
fn cut_numbers(task: &mut PandaTask, refined: &RefinedTask, most: usize) -> Cut {
    let per_job = numbers_per_job(refined);
    let (events, per_events) = (refined.amount.events, refined.rules.events_per_job());
    let mut cut = Cut::default();
    let mut inputs = task.progress.inputs.iter_mut();
    let Some(input) = inputs.find(|input| input.stream == 0) else {
        return cut;
    };
    let n = input.parts.len();
    while input.n_taken < n {
        if cut.jobs.len() >= most {
            cut.has_more = true;
            break;
        }
        let mut plan = JobPlan::default();
        let mut events_of_job = 0;
        plan.first_event = u64::from(input.n_taken);
        if let (Some(events), Some(per_events)) = (events, per_events) {
            plan.first_event = u64::from(input.n_taken).saturating_mul(per_events);
            plan.n_events = per_events.min(events.saturating_sub(plan.first_event));
        } else if let Some(per_file) = refined.amount.events_per_file {
            events_of_job = per_file.saturating_mul(u64::from(per_job));
        }
        plan.chunk.master.push(Content {
            events: Some(plan.n_events.max(events_of_job)).filter(|events| *events > 0),
            ..Content::default()
        });
        cut.jobs.push(plan);
        input.n_taken = input.n_taken.saturating_add(per_job).min(n);
    }
    cut
}

/// How many numbers of a stream without files go into a job.
pub(super) fn numbers_per_job(refined: &RefinedTask) -> u32 {
    let is_by_events = refined.amount.events.is_some() && refined.rules.events_per_job().is_some();
    let files = refined.rules.files_per_job().filter(|_| !is_by_events);
    u32::try_from(files.unwrap_or(1).max(1)).unwrap_or(u32::MAX)
}

/// Sets what a job needs, from what it reads.
fn set_needs(job: &mut JobRecord, refined: &RefinedTask, kind: estimate::JobKind, chunk: &Chunk) {
    let queue = estimate::QueueOffer {
        cores: i64::from(refined.resources.cores),
        core_power_milli: CORE_POWER_MILLI,
        walltime_max_s: 0,
        scratch_mb: 0,
        ram_max_mb: 0,
        access: Access::Copied,
    };
    let needs = estimate::job_needs(refined, chunk, kind, &queue, 0, None);
    job.cores = needs.cores.max(1);
    job.memory = ByteCount::from_mib(needs.ram_mb);
    job.disk = ByteCount::from_mib(needs.disk_mb);
    job.walltime_secs = needs.walltime_s;
}
