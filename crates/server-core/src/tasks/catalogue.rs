//! What the catalogue of datasets is asked, and what becomes of its answers.
//!
//! The server asks outside of transactions: [`wanted_datasets`] and [`open_datasets`] say for
//! which datasets, [`answer_dataset`] takes an answer. Which files of a dataset a task then reads
//! is decided in `feed`.

use std::collections::BTreeSet;

use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, Guid, Lfn, Scope, TaskId, TaskStatus,
};

use crate::{
    Context,
    ledger::{
        CatalogueView, DatasetRecord, FileRecord, InputProgress, InputState, Ledger, LedgerError,
    },
    operation::Operation,
};

/// Datasets that one question names at most.
const WANTED_MAX: usize = 100;

/// A dataset that tasks wait for and that is not known here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedDataset {
    /// Its name as a task gives it, perhaps with a scope, perhaps a container.
    pub name: String,
    /// How many files of it are known already.
    pub n_known: u32,
}

/// Whether more files may come to a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    /// They may.
    Open,
    /// It has all that it will have.
    Closed,
}

/// What a catalogue says about a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetAnswer {
    /// It has these files, and others that come in the next answers.
    SomeFiles(Vec<FoundFile>),
    /// It has these files besides those of earlier answers, and no others yet, or ever.
    Files(Vec<FoundFile>, Openness),
    /// It does not exist.
    Unknown,
}

/// Whether more files of a dataset follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    Partial,
    Whole,
}

/// A file that a catalogue knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Logical name.
    pub lfn: Lfn,
    /// Its scope.
    pub scope: Scope,
    /// Its globally unique id, if known.
    pub guid: Option<Guid>,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksum, if known.
    pub checksum: Option<Checksum>,
    /// An endpoint that holds it, empty if none is known.
    pub endpoint: EndpointName,
    /// Further endpoints that hold it.
    pub replicas: Vec<EndpointName>,
    /// How many events it has, if known.
    pub n_events: Option<u64>,
}

/// Lists datasets that the catalogue is to be asked for, by name: those that tasks wait for and that
/// are not known here, or are to be listed again.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn wanted_datasets(ledger: &impl Ledger) -> Result<Vec<WantedDataset>, LedgerError> {
    let waiting = ledger.tasks_in(&[TaskStatus::Defined, TaskStatus::Pending])?;
    datasets_of(ledger, waiting, |input| {
        input.state == InputState::Unlisted && !input.named.is_empty()
    })
}

/// Lists datasets of the catalogue that were open when they were listed, for tasks that run until
/// they are closed, once it is time to list them again.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn open_datasets(
    ctx: &Context<'_>,
    ledger: &impl Ledger,
) -> Result<Vec<WantedDataset>, LedgerError> {
    let interval = ctx.limits.tasks.relist_interval;
    let growing = ledger.tasks_with_open_inputs()?;
    datasets_of(ledger, growing, |input| match input.catalogue {
        CatalogueView::Open(listed) => {
            input.state != InputState::Closed && ctx.now.since(listed) >= interval
        }
        CatalogueView::Settled | CatalogueView::Stale => false,
    })
}

/// The first datasets, by name, of those inputs of tasks that are asked for.
fn datasets_of(
    ledger: &impl Ledger,
    tasks: Vec<TaskId>,
    is_wanted: impl Fn(&InputProgress) -> bool,
) -> Result<Vec<WantedDataset>, LedgerError> {
    let mut wanted = BTreeSet::new();
    for id in tasks {
        let Some(progress) = ledger.task_progress(id)? else {
            continue;
        };
        let inputs = progress.inputs.into_iter();
        wanted.extend(inputs.filter(&is_wanted).map(|input| WantedDataset {
            name: input.named,
            n_known: input.n_looked_at,
        }));
        if wanted.len() >= WANTED_MAX {
            break;
        }
    }
    Ok(wanted.into_iter().take(WANTED_MAX).collect())
}

/// Takes what a catalogue says about a dataset. Files that are known stay as they are, so an
/// answer may come twice. The tasks that wait for it go on.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn answer_dataset(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    name: &str,
    answer: DatasetAnswer,
) -> Result<(), LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let view = match answer {
        DatasetAnswer::Unknown => CatalogueView::Settled,
        DatasetAnswer::SomeFiles(files) => {
            op.register_found(name, Completeness::Partial, files)?;
            return op.finish();
        }
        DatasetAnswer::Files(files, openness) => {
            op.register_found(name, Completeness::Whole, files)?;
            match openness {
                Openness::Open => CatalogueView::Open(ctx.now),
                Openness::Closed => CatalogueView::Settled,
            }
        }
    };
    let mut waiting = op
        .ledger
        .tasks_in(&[TaskStatus::Defined, TaskStatus::Pending])?;
    waiting.extend(op.ledger.tasks_with_open_inputs()?);
    for id in waiting {
        let Some(mut progress) = op.ledger.task_progress(id)? else {
            continue;
        };
        let mut is_answered = false;
        for input in progress.inputs.iter_mut().filter(|one| one.named == name) {
            if input.state == InputState::Unlisted || input.catalogue != CatalogueView::Settled {
                input.catalogue = view;
                is_answered = true;
            }
        }
        if is_answered {
            progress.due = Some(ctx.now);
            op.ledger.put_task_progress(&progress)?;
        }
    }
    op.finish()
}

impl<L: Ledger> Operation<'_, L> {
    /// Adds files to a dataset of the catalogue, those that are new.
    fn register_found(
        &mut self,
        name: &str,
        completeness: Completeness,
        files: Vec<FoundFile>,
    ) -> Result<(), LedgerError> {
        let name = &DatasetName::new(name.trim_end_matches('/'));
        let limit = self.ctx.limits.files_per_dataset_max;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let there = self.ledger.files_from(name, 0, limit)?;
        let n_parts = there.last().map_or(0, |last| last.part.saturating_add(1));
        let known: BTreeSet<Lfn> = there.into_iter().map(|file| file.lfn).collect();
        let mut dataset = DatasetRecord {
            name: name.clone(),
            producer: None,
            n_parts,
        };
        for file in files {
            if known.contains(&file.lfn) || dataset.n_parts >= self.ctx.limits.files_per_dataset_max
            {
                continue;
            }
            let id = self.ledger.new_file_id()?;
            self.ledger.insert_file(&FileRecord {
                id,
                dataset: name.clone(),
                part: dataset.n_parts,
                lfn: file.lfn,
                scope: file.scope,
                guid: file.guid,
                size: file.size,
                checksum: file.checksum,
                surl: String::new(),
                endpoint: file.endpoint,
                replicas: file.replicas,
                producer: None,
                n_events: file.n_events,
            })?;
            dataset.n_parts += 1;
        }
        // Until all files are there, nobody finds the dataset.
        match completeness {
            Completeness::Partial => Ok(()),
            Completeness::Whole => self.ledger.put_dataset(&dataset),
        }
    }
}
