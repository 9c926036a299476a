//! Finds out which files a task reads.
//!
//! Datasets that are known here are read from the rows: those that tasks write, also while they
//! are being written, and those that were listed. Others wait for the `catalogue`.

use ailurus_jedi::{InputKind, InputStream, Rule};
use ailurus_model::{DatasetName, TaskStatus};
use regex::Regex;

use crate::{
    ledger::{
        CatalogueView, DatasetRecord, Generation, InputProgress, InputState, Ledger, LedgerError,
        PartList,
    },
    operation::Operation,
    tasks::record::{PandaTask, is_of_files, plain_name},
};

/// Whether a task waits for files that may still come to the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    UntilClosed,
}

impl<L: Ledger> Operation<'_, L> {
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
