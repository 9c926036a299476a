//! Takes tasks in: judges them, cuts them into jobs, and lets those go whose inputs exist.
//!
//! All jobs of a task are made here, also those whose inputs other jobs have yet to write: how many
//! parts a dataset has is known once its task is cut. So a whole chain stands in the rows from the
//! beginning, and a job's life never depends on a daemon that makes it later.

mod check;
mod error;
mod value;

use std::sync::Arc;

use ailurus_model::{
    DatasetName, FileStatus, JobKind, JobStatus, PandaId, TaskId, TaskSpec, TaskStatus,
    task::{ListedDataset, Split, Submission},
};

pub use self::error::SubmitError;
use crate::{
    Context,
    input::usable,
    ledger::{DatasetRecord, FileRecord, InputNeed, JobRecord, Ledger, LedgerError, TaskRecord},
    naming::first_seed,
    operation::Operation,
};

/// A task that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its number.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// How many jobs it was cut into.
    pub jobs: u32,
}

/// Takes a submission in, all of it or nothing, and returns its tasks in their order.
///
/// # Errors
///
/// [`SubmitError`] with the first field that is not as it must be; nothing was written then, except
/// before [`SubmitError::Ledger`].
pub fn submit(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    submission: &Submission,
) -> Result<Vec<Submitted>, SubmitError> {
    let jobs = check::checked(ctx, ledger, submission)?;
    let mut op = Operation::new(ctx, ledger);
    for dataset in &submission.datasets {
        op.write_listed(dataset)?;
    }
    let mut submitted = Vec::new();
    for (spec, n_jobs) in submission.tasks.iter().zip(jobs) {
        submitted.push(op.write_task(spec, n_jobs)?);
    }
    op.finish()?;
    Ok(submitted)
}

/// A dataset that a task reads, and what is known of its parts.
struct InputParts<'a> {
    dataset: &'a DatasetName,
    parts: Vec<PartState>,
}

#[derive(Clone, Copy)]
enum PartState {
    Ready,
    Expected,
    LostBy(PandaId),
    /// Its job is no longer kept.
    Lost,
}

impl PartState {
    const fn status(self) -> FileStatus {
        match self {
            Self::Ready => FileStatus::Ready,
            Self::Expected => FileStatus::Expected,
            Self::LostBy(_) | Self::Lost => FileStatus::Failed,
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    fn write_listed(&mut self, dataset: &ListedDataset) -> Result<(), LedgerError> {
        let mut n_parts = 0;
        for file in &dataset.files {
            let id = self.ledger.new_file_id()?;
            self.ledger.insert_file(&FileRecord {
                id,
                dataset: dataset.name.clone(),
                part: n_parts,
                lfn: file.lfn.clone(),
                scope: file.scope.clone(),
                guid: file.guid.clone(),
                size: file.size,
                checksum: file.checksum.clone(),
                surl: String::new(),
                endpoint: file.endpoint.clone(),
                replicas: Vec::new(),
                producer: None,
                n_events: None,
            })?;
            n_parts += 1;
        }
        self.ledger.put_dataset(&DatasetRecord {
            name: dataset.name.clone(),
            producer: None,
            n_parts,
        })
    }

    fn write_task(&mut self, spec: &TaskSpec, n_jobs: u32) -> Result<Submitted, LedgerError> {
        let id = self.ledger.new_task_id()?;
        let inputs: Vec<InputParts<'_>> = spec
            .inputs
            .iter()
            .map(|input| self.input_parts(&input.dataset))
            .collect::<Result<_, _>>()?;
        self.insert_listed_task(id, spec.clone(), n_jobs)?;
        for output in &spec.outputs {
            self.ledger.put_dataset(&DatasetRecord {
                name: output.dataset.clone(),
                producer: Some(id),
                n_parts: n_jobs,
            })?;
        }
        for part in 0..n_jobs {
            self.write_job(id, spec, part, &inputs)?;
        }
        Ok(Submitted {
            id,
            name: spec.name.clone(),
            jobs: n_jobs,
        })
    }

    /// Writes a task that has all of its jobs from the beginning.
    pub(crate) fn insert_listed_task(
        &mut self,
        id: TaskId,
        spec: TaskSpec,
        n_jobs: u32,
    ) -> Result<(), LedgerError> {
        self.insert_task(&TaskRecord {
            id,
            spec: Arc::new(spec),
            revision: 0,
            status: TaskStatus::Ready,
            n_jobs,
            next_seed: first_seed(id),
            created: self.ctx.now,
            state_changed: self.ctx.now,
        })
    }

    /// Reads which parts of a dataset exist, which can still come and which cannot.
    fn input_parts<'d>(&self, name: &'d DatasetName) -> Result<InputParts<'d>, LedgerError> {
        let dataset = self.ledger.dataset(name)?;
        let dataset = dataset.ok_or_else(|| {
            LedgerError::contradiction(format!("dataset `{name}` was there and is gone"))
        })?;
        let n_parts = usize::try_from(dataset.n_parts).unwrap_or(usize::MAX);
        let is_dropped = match dataset.producer {
            Some(producer) => self.ledger.are_jobs_dropped(producer)?,
            None => false,
        };
        let unknown = if is_dropped {
            PartState::Lost
        } else {
            PartState::Expected
        };
        let mut parts = vec![unknown; n_parts];
        if let Some(producer) = dataset.producer {
            let without_output = [JobStatus::Failed, JobStatus::Cancelled, JobStatus::Closed];
            for id in self.ledger.jobs_of_task(producer, &without_output)? {
                let part = usize::try_from(self.job(id)?.part).unwrap_or(usize::MAX);
                if let Some(state) = parts.get_mut(part) {
                    *state = PartState::LostBy(id);
                }
            }
        }
        for (part, state) in (0..).zip(&mut parts) {
            let is_open = matches!(state, PartState::Expected | PartState::Lost);
            if is_open && self.ledger.file_of_part(name, part)?.is_some() {
                *state = PartState::Ready;
            }
        }
        Ok(InputParts {
            dataset: name,
            parts,
        })
    }

    fn write_job(
        &mut self,
        task: TaskId,
        spec: &TaskSpec,
        part: u32,
        inputs: &[InputParts<'_>],
    ) -> Result<(), LedgerError> {
        let id = self.new_panda_id()?;
        let mut job = self.new_job(id, task, spec, part);
        let (needs, lost) = needs_of(id, spec.split, part, inputs);
        let is_open = needs.iter().any(|need| need.status == FileStatus::Expected);
        if is_open {
            "waits for its inputs".clone_into(&mut job.reason);
            return self.insert_job(&job, &needs);
        }
        let can_run = needs.is_empty() || !usable(spec.split, &needs).is_empty();
        if can_run {
            self.choose_queue(&mut job, &needs)?;
            return self.insert_job(&job, &needs);
        }
        if let Some((dataset, part, producer)) = lost {
            job.reason = match producer {
                Some(producer) => self.why_lost(dataset, part, producer)?,
                None => format!(
                    "input part {part} of dataset `{dataset}` will not come: its job was dropped \
                     from the archive"
                ),
            };
        }
        self.insert_job(&job, &needs)?;
        self.end_without_outputs(job, JobStatus::Closed)
    }

    fn new_job(&self, panda_id: PandaId, task_id: TaskId, spec: &TaskSpec, part: u32) -> JobRecord {
        let (first_event, n_events) = events_of(spec.split, part);
        let resources = &spec.resources;
        JobRecord {
            part,
            max_attempts: spec.max_attempts,
            first_event,
            n_events,
            priority: spec.priority,
            source_label: spec.source_label.clone(),
            resource_type: self.class_of(resources.cores, resources.memory).to_owned(),
            cores: resources.cores,
            memory: resources.memory,
            disk: resources.disk,
            walltime_secs: resources.walltime.as_secs(),
            ..JobRecord::new(panda_id, task_id, JobKind::Run, self.ctx.now)
        }
    }
}

/// A part that will not come: dataset, part, and the job that ended without it, if it is kept.
type LostPart<'a> = (&'a DatasetName, u32, Option<PandaId>);

/// Returns what a job needs, and one of the parts that will not come, if there is one.
fn needs_of<'a>(
    job: PandaId,
    split: Split,
    part: u32,
    inputs: &[InputParts<'a>],
) -> (Vec<InputNeed>, Option<LostPart<'a>>) {
    let n_first = inputs.first().map_or(0, |input| input.parts.len());
    let mut needs = Vec::new();
    let mut lost = None;
    for (nr, input) in (0..).zip(inputs) {
        let is_common = input.parts.len() != n_first;
        let n_parts = input.parts.len();
        let wanted = match split {
            Split::Events { .. } => 0..0,
            Split::Files { per_job } if !is_common => {
                let per_job = usize::try_from(per_job).unwrap_or(usize::MAX);
                let first = usize::try_from(part)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(per_job);
                first.min(n_parts)..first.saturating_add(per_job).min(n_parts)
            }
            Split::Files { .. } | Split::AllFiles => 0..n_parts,
        };
        let first = u32::try_from(wanted.start).expect("parts are counted in 32 bits");
        for (part, state) in (first..).zip(&input.parts[wanted]) {
            needs.push(InputNeed {
                panda_id: job,
                input: nr,
                dataset: input.dataset.clone(),
                part,
                status: state.status(),
            });
            let producer = match state {
                PartState::Ready | PartState::Expected => continue,
                PartState::LostBy(producer) => Some(*producer),
                PartState::Lost => None,
            };
            lost.get_or_insert((input.dataset, part, producer));
        }
    }
    (needs, lost)
}

/// First event and number of events of a part.
fn events_of(split: Split, part: u32) -> (u64, u64) {
    match split {
        Split::Events { total, per_job } => {
            let first = u64::from(part).saturating_mul(per_job);
            (first, per_job.min(total.saturating_sub(first)))
        }
        Split::Files { .. } | Split::AllFiles => (0, 0),
    }
}
