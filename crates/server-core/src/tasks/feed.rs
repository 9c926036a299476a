//! Finds out which files a task reads.
//!
//! Datasets that are known here are read from the rows: those that tasks write, also while they
//! are being written, and those that were listed. Others are asked of the catalogue by an adapter,
//! outside of transactions: [`wanted_datasets`] says which, [`answer_dataset`] takes the answer.

use std::collections::BTreeSet;

use ailurus_jedi::{InputKind, InputStream, Rule};
use ailurus_model::{ByteCount, Checksum, DatasetName, EndpointName, Guid, Lfn, Scope, TaskStatus};

use regex::Regex;

use crate::{
    Context,
    ledger::{
        CatalogueView, DatasetRecord, FileRecord, Generation, InputProgress, InputState, Ledger,
        LedgerError, PartList,
    },
    operation::Operation,
    tasks::record::{PandaTask, is_of_files, plain_name},
};

/// Datasets that one call of [`wanted_datasets`] names at most.
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

/// Whether a task waits for files that may still come to the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    UntilClosed,
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
    let mut wanted = BTreeSet::new();
    for id in ledger.tasks_in(&[TaskStatus::Defined, TaskStatus::Pending])? {
        let Some(progress) = ledger.task_progress(id)? else {
            continue;
        };
        let unlisted = progress
            .inputs
            .into_iter()
            .filter(|input| input.state == InputState::Unlisted && !input.named.is_empty());
        wanted.extend(unlisted.map(|input| WantedDataset {
            name: input.named,
            n_known: input.n_looked_at,
        }));
        if wanted.len() >= WANTED_MAX {
            break;
        }
    }
    Ok(wanted.into_iter().take(WANTED_MAX).collect())
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
    let mut wanted = BTreeSet::new();
    for id in ledger.tasks_with_open_inputs()? {
        let Some(progress) = ledger.task_progress(id)? else {
            continue;
        };
        let is_due = |input: &InputProgress| match input.catalogue {
            CatalogueView::Open(listed) => {
                input.state != InputState::Closed && ctx.now.since(listed) >= interval
            }
            CatalogueView::Settled | CatalogueView::Stale => false,
        };
        wanted.extend(
            progress
                .inputs
                .into_iter()
                .filter(is_due)
                .map(|input| WantedDataset {
                    name: input.named,
                    n_known: input.n_looked_at,
                }),
        );
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

    /// Lists the inputs of a task as far as they are known, and has it wait or go on.
    pub(super) fn feed_task(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        let missing = self.list_inputs(task)?;
        let refined = task.refined()?;
        let may_be_empty = refined.rules.is_set(Rule::AllowEmptyInput);
        let may_come_later =
            refined.rules.is_set(Rule::WaitInput) || refined.rules.is_set(Rule::RunUntilClosed);
        if let Some(why) = missing {
            return self.have_task_wait(task, &why);
        }
        let master: Vec<&InputProgress> = task
            .progress
            .inputs
            .iter()
            .filter(|input| input.stream == 0)
            .collect();
        let is_open = master.iter().any(|input| input.state != InputState::Closed);
        let is_empty = master.iter().all(|input| input.parts.is_empty());
        if is_empty && (is_open || may_come_later) {
            return self.have_task_wait(task, "waits for the first file of its input");
        }
        if is_empty && !may_be_empty {
            return self.break_task(task, "its input has no files");
        }
        self.move_task(task, TaskStatus::Ready, "")?;
        task.progress.due = Some(self.ctx.now);
        Ok(())
    }

    /// Brings the list of a task's inputs up to date. Says for which dataset it waits, if any.
    pub(super) fn list_inputs(
        &mut self,
        task: &mut PandaTask,
    ) -> Result<Option<String>, LedgerError> {
        let definition = std::sync::Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(None);
        };
        let ignores_missing = refined.rules.is_set(Rule::IgnoreMissingInDs);
        let patience = if refined.rules.is_set(Rule::RunUntilClosed) {
            Patience::UntilClosed
        } else {
            Patience::None
        };
        let mut missing: Option<String> = None;
        for (stream_nr, stream) in (0..).zip(&refined.inputs) {
            if !is_of_files(stream.kind) {
                list_numbers(task, stream_nr, stream, refined);
                continue;
            }
            for named in &stream.datasets {
                let found = self.resolve(named)?;
                if found.is_empty() {
                    let input = entry_of(task, stream_nr, named, None);
                    if ignores_missing {
                        input.state = InputState::Closed;
                    } else if input.state == InputState::Unlisted {
                        missing.get_or_insert_with(|| {
                            format!("waits for dataset `{named}`, which is not known (yet)")
                        });
                    }
                }
                for dataset in found {
                    let input = entry_of(task, stream_nr, named, Some(&dataset.name));
                    if input.catalogue == CatalogueView::Stale && dataset.producer.is_none() {
                        missing.get_or_insert_with(|| {
                            format!("waits until dataset `{named}` is listed again")
                        });
                    } else if input.state != InputState::Closed {
                        self.look_at(input, stream, &dataset, patience)?;
                    }
                }
            }
        }
        if let Some(most) = refined.amount.files {
            keep_first(task, u32::try_from(most).unwrap_or(u32::MAX));
        }
        Ok(missing)
    }

    /// Finds the datasets behind a name: a container that tasks write, or one dataset.
    fn resolve(&self, named: &str) -> Result<Vec<DatasetRecord>, LedgerError> {
        let full = DatasetName::new(named.trim_end_matches('/'));
        let plain = DatasetName::new(plain_name(named));
        let mut datasets = Vec::new();
        for name in self.ledger.datasets_of(&plain)? {
            datasets.extend(self.ledger.dataset(&name)?);
        }
        for name in [&full, &plain, &DatasetName::new(named)] {
            if datasets.is_empty() {
                datasets.extend(self.ledger.dataset(name)?);
            }
        }
        Ok(datasets)
    }

    /// Adds the parts of a dataset that were not looked at yet.
    fn look_at(
        &self,
        input: &mut InputProgress,
        stream: &InputStream,
        dataset: &DatasetRecord,
        patience: Patience,
    ) -> Result<(), LedgerError> {
        let is_open = matches!(input.catalogue, CatalogueView::Open(_));
        let may_grow = is_open && patience == Patience::UntilClosed;
        let is_written = may_grow || self.is_being_written(dataset)?;
        if input.n_looked_at == 0 {
            input.n_looked_at = u32::try_from(stream.offset).unwrap_or(u32::MAX);
        }
        let is_chosen =
            !stream.include.is_empty() || !stream.exclude.is_empty() || !stream.files.is_empty();
        if is_chosen {
            self.choose_parts(input, stream, dataset)?;
        } else {
            for part in input.n_looked_at..dataset.n_parts {
                input.parts.push(part);
            }
            input.n_looked_at = input.n_looked_at.max(dataset.n_parts);
        }
        let is_all = input.n_looked_at >= dataset.n_parts;
        input.state = if is_all && !is_written {
            InputState::Closed
        } else {
            InputState::Open
        };
        Ok(())
    }

    /// Adds the parts whose files the task wants; a part without file is waited for.
    fn choose_parts(
        &self,
        input: &mut InputProgress,
        stream: &InputStream,
        dataset: &DatasetRecord,
    ) -> Result<(), LedgerError> {
        let is_live = match dataset.producer {
            Some(producer) => self
                .ledger
                .task(producer)?
                .is_some_and(|task| !task.status.is_terminal()),
            None => false,
        };
        let limit = usize::try_from(self.ctx.limits.tasks.files_per_step).unwrap_or(usize::MAX);
        let files = self
            .ledger
            .files_from(&dataset.name, input.n_looked_at, limit)?;
        let is_last = files.len() < limit;
        let choice = Choice::of(stream);
        for file in files {
            if is_live && file.part != input.n_looked_at {
                return Ok(());
            }
            if choice.wants(file.lfn.as_str()) {
                input.parts.push(file.part);
            }
            input.n_looked_at = file.part.saturating_add(1);
        }
        if is_last && !is_live {
            input.n_looked_at = input.n_looked_at.max(dataset.n_parts);
        }
        Ok(())
    }

    /// Says whether a dataset may get more parts.
    fn is_being_written(&self, dataset: &DatasetRecord) -> Result<bool, LedgerError> {
        let Some(producer) = dataset.producer else {
            return Ok(false);
        };
        let Some(progress) = self.ledger.task_progress(producer)? else {
            return Ok(false);
        };
        let task = self.task(producer)?;
        let merges = self
            .ledger
            .panda_task(producer, task.revision)?
            .and_then(|task| task.refined.as_ref().map(|refined| refined.merge.is_some()));
        let is_complete = progress.generation == Generation::Complete && merges == Some(false);
        Ok(!task.status.is_terminal() && !is_complete)
    }
}

/// Which files of a dataset a stream wants.
struct Choice<'a> {
    stream: &'a InputStream,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl<'a> Choice<'a> {
    /// What is no expression stands for itself.
    fn of(stream: &'a InputStream) -> Self {
        let compiled = |patterns: &[String]| {
            let patterns = patterns.iter();
            patterns
                .filter_map(|pattern| {
                    let literal = || Regex::new(&regex::escape(pattern));
                    Regex::new(pattern).or_else(|_| literal()).ok()
                })
                .collect()
        };
        Self {
            stream,
            include: compiled(&stream.include),
            exclude: compiled(&stream.exclude),
        }
    }

    fn wants(&self, lfn: &str) -> bool {
        let is_any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(lfn));
        let is_listed = |name: &str| plain_name(name) == lfn;
        let mut listed = self.stream.files.iter();
        (self.stream.files.is_empty() || listed.any(|file| is_listed(&file.lfn)))
            && (self.include.is_empty() || is_any(&self.include))
            && !is_any(&self.exclude)
    }
}

/// Lists what stands for jobs without files.
fn list_numbers(
    task: &mut PandaTask,
    stream_nr: u32,
    stream: &InputStream,
    refined: &ailurus_jedi::RefinedTask,
) {
    let n = match stream.kind {
        InputKind::PhysicalNames => u64::try_from(refined.pfns.len()).unwrap_or(u64::MAX),
        InputKind::Pseudo => numbers_of(stream, refined),
        // They are worked out for each job.
        InputKind::Sequence | InputKind::RandomSeed | InputKind::Dataset => match stream_nr {
            0 => numbers_of(stream, refined),
            _ => 0,
        },
    };
    let named = stream.datasets.first().cloned().unwrap_or_default();
    let input = entry_of(task, stream_nr, &named, None);
    input.parts = PartList::first(u32::try_from(n).unwrap_or(u32::MAX));
    input.state = InputState::Closed;
}

/// How many numbers stand for a task without files: one for each job where events are told.
fn numbers_of(stream: &InputStream, refined: &ailurus_jedi::RefinedTask) -> u64 {
    let by_events = match (refined.amount.events, refined.rules.events_per_job()) {
        (Some(events), Some(per_job)) => Some(events.div_ceil(per_job.max(1))),
        (Some(_), None) | (None, _) => None,
    };
    by_events
        .or(refined.amount.files)
        .or(stream.records)
        .or(
            match (refined.amount.events, refined.amount.events_per_file) {
                (Some(events), Some(per_file)) => Some(events.div_ceil(per_file.max(1))),
                (Some(_), None) | (None, _) => None,
            },
        )
        .unwrap_or(1)
        .max(1)
}

/// Finds or makes the entry of a dataset among a task's inputs. The entry that stood for a name
/// of which nothing was known becomes that of its first dataset.
fn entry_of<'t>(
    task: &'t mut PandaTask,
    stream: u32,
    named: &str,
    dataset: Option<&DatasetName>,
) -> &'t mut InputProgress {
    let inputs = &mut task.progress.inputs;
    let of_name = |input: &InputProgress| input.stream == stream && input.named == named;
    let wanted = dataset.cloned().unwrap_or_default();
    let found = inputs
        .iter()
        .position(|input| of_name(input) && (dataset.is_none() || input.dataset == wanted))
        .or_else(|| {
            inputs
                .iter()
                .position(|input| of_name(input) && input.dataset.is_empty())
        });
    let at = found.unwrap_or_else(|| {
        let last = inputs.iter().rposition(|input| input.stream <= stream);
        let at = last.map_or(0, |last| last + 1);
        inputs.insert(
            at,
            InputProgress {
                stream,
                named: named.to_owned(),
                ..InputProgress::default()
            },
        );
        at
    });
    let input = &mut inputs[at];
    if input.dataset.is_empty() {
        input.dataset = wanted;
    }
    input
}

/// Keeps the first files of the master, and closes it with the last of them.
fn keep_first(task: &mut PandaTask, most: u32) {
    let mut left = most;
    for input in &mut task.progress.inputs {
        if input.stream != 0 {
            continue;
        }
        input.parts.truncate(left);
        left -= input.parts.len();
        if left == 0 {
            input.state = InputState::Closed;
        }
    }
}
