//! Task files: what people write to submit a chain of tasks, read into a
//! [`Submission`].
//!
//! ```toml
//! chain = "spd-minbias-27gev"
//! scope = "spd"
//!
//! [[task]]
//! name = "generation"
//! transformation = "generate.py"
//! parameters = "--seed {seed} --events {events} --output {output.gen}"
//! events = 20000
//! events_per_job = 1000
//! memory = "1 GiB"
//!
//! [[task.output]]
//! name = "gen"
//! dataset = "spd.mc.gen"
//! lfn = "gen_{seed}.root"
//! ```
//!
//! Everything that can be judged from the file alone is judged here, and the first problem is
//! told with file, line, entry and key. Whether datasets and queues exist is the server's to say.

mod error;
mod section;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{
    ByteCount, ChainName, DatasetName, EndpointName, Guid, Lfn, QueueName, Scope, SourceLabel,
    TaskSpec,
    task::{ListedDataset, ListedFile, Resources, Split, Submission, TaskInput, TaskOutput},
    units::parse_duration,
};
use toml::de::DeTable;

pub use self::error::{TaskFileError, TaskFileProblem};
use self::section::{NameKind, Section, Source};

/// Who submits, if neither the file nor the caller says.
pub const ANONYMOUS: &str = "anonymous";
/// Priority of a task that names none.
pub const DEFAULT_PRIORITY: i64 = 100;
/// How often a job is tried if its task does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Longest task file in bytes.
pub const MAX_FILE_BYTES: usize = 8 << 20;

const MAX_CORES: u32 = 4096;
const MAX_PRIORITY: i64 = 1_000_000;
const MAX_ATTEMPTS: u32 = 100;
const MAX_EVENTS: u64 = 1_000_000_000_000_000;
const MAX_FILES_PER_JOB: u32 = 100_000;

const FILE_KEYS: &[&str] = &["chain", "user", "scope", "dataset", "task"];
const DATASET_KEYS: &[&str] = &["name", "file"];
const LISTED_FILE_KEYS: &[&str] = &["lfn", "endpoint", "size", "checksum", "scope", "guid"];
const TASK_KEYS: &[&str] = &[
    "name",
    "processing_type",
    "label",
    "transformation",
    "parameters",
    "events",
    "events_per_job",
    "files_per_job",
    "all_files",
    "cores",
    "memory",
    "disk",
    "walltime",
    "priority",
    "max_attempts",
    "queues",
    "input",
    "output",
];
const INPUT_KEYS: &[&str] = &["name", "dataset"];
const OUTPUT_KEYS: &[&str] = &["name", "dataset", "lfn"];

const SIZE: &str = "a size with a unit, for example \"2 GiB\"";
const DURATION: &str = "a duration with a unit, for example \"10m\"";

/// Reads a task file. Tasks whose file names no user are [`ANONYMOUS`]'s.
///
/// `file_name` is only for messages.
///
/// # Errors
///
/// [`TaskFileError`] with the first problem.
pub fn parse(file_name: &str, text: &str) -> Result<Submission, TaskFileError> {
    parse_for(file_name, text, ANONYMOUS)
}

/// Reads a task file. Tasks whose file names no user are `default_user`'s.
///
/// # Errors
///
/// [`TaskFileError`] with the first problem.
pub fn parse_for(
    file_name: &str,
    text: &str,
    default_user: &str,
) -> Result<Submission, TaskFileError> {
    let source = Source {
        file: file_name,
        text,
    };
    if text.len() > MAX_FILE_BYTES {
        let problem = TaskFileProblem::FileTooLarge {
            bytes: text.len(),
            allowed: MAX_FILE_BYTES,
        };
        return Err(source.error(None, String::new(), problem));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().to_owned();
        source.error(
            error.span(),
            String::new(),
            TaskFileProblem::NotToml { message },
        )
    })?;
    let root = Section::root(source, &table, FILE_KEYS)?;
    let datasets = root.sections("dataset", "name", DATASET_KEYS)?;
    let tasks = root.sections("task", "name", TASK_KEYS)?;
    if datasets.is_empty() && tasks.is_empty() {
        return Err(root.problem(TaskFileProblem::NothingToSubmit));
    }
    let common = Common {
        chain: root.name("chain", NameKind::Plain)?.map(ChainName::new),
        user: (root.text("user", "a user's name")?.unwrap_or(default_user)).to_owned(),
        scope: Scope::new(root.required_name("scope", NameKind::Plain)?),
    };
    let submission = Submission {
        datasets: (datasets.iter())
            .map(|section| read_dataset(section, &common))
            .collect::<Result<_, _>>()?,
        tasks: (tasks.iter())
            .map(|section| read_task(section, &common))
            .collect::<Result<_, _>>()?,
    };
    check_order(&submission, &datasets, &tasks)?;
    Ok(submission)
}

/// What all entries of a file share.
struct Common {
    chain: Option<ChainName>,
    user: String,
    scope: Scope,
}

fn read_dataset(section: &Section<'_>, common: &Common) -> Result<ListedDataset, TaskFileError> {
    let files = section.sections("file", "lfn", LISTED_FILE_KEYS)?;
    let mut names = Names::new("file");
    let dataset = ListedDataset {
        name: DatasetName::new(section.required_name("name", NameKind::Plain)?),
        files: (files.iter())
            .map(|file| read_listed_file(file, common, &mut names))
            .collect::<Result<_, _>>()?,
    };
    if dataset.files.is_empty() {
        return Err(section.missing("file", "at least one `[[dataset.file]]`"));
    }
    Ok(dataset)
}

fn read_listed_file(
    section: &Section<'_>,
    common: &Common,
    names: &mut Names,
) -> Result<ListedFile, TaskFileError> {
    Ok(ListedFile {
        lfn: Lfn::new(names.take(section, "lfn", NameKind::Plain)?),
        scope: (section.name("scope", NameKind::Plain)?)
            .map_or_else(|| common.scope.clone(), Scope::new),
        guid: section.name("guid", NameKind::Plain)?.map(Guid::new),
        size: section.parsed("size", SIZE)?,
        checksum: section.parsed("checksum", "a checksum, for example \"ad:0000001f\"")?,
        endpoint: EndpointName::new(section.required_name("endpoint", NameKind::Plain)?),
    })
}

fn read_task(section: &Section<'_>, common: &Common) -> Result<TaskSpec, TaskFileError> {
    const TRANSFORMATION: &str = "the payload script's URL or name";
    const LABEL: &str = "a source label, for example \"managed\"";
    let inputs = read_inputs(section)?;
    let outputs = read_outputs(section)?;
    let parameters = (section.text("parameters", "the payload's arguments")?)
        .unwrap_or_default()
        .to_owned();
    check_placeholders(section, &parameters, &inputs, &outputs)?;
    Ok(TaskSpec {
        name: section.required_name("name", NameKind::Plain)?.to_owned(),
        chain: common.chain.clone(),
        user: common.user.clone(),
        scope: common.scope.clone(),
        source_label: (section.text("label", LABEL)?)
            .map_or_else(SourceLabel::default, SourceLabel::new),
        processing_type: (section.text("processing_type", "a word")?)
            .unwrap_or_default()
            .to_owned(),
        transformation: (section.text("transformation", TRANSFORMATION)?)
            .ok_or_else(|| section.missing("transformation", TRANSFORMATION))?
            .to_owned(),
        parameters,
        split: read_split(section, &inputs)?,
        inputs,
        outputs,
        resources: Resources {
            cores: section.number("cores", 1..=MAX_CORES)?.unwrap_or(1),
            memory: section.parsed("memory", SIZE)?.unwrap_or(ByteCount::ZERO),
            disk: section.parsed("disk", SIZE)?.unwrap_or(ByteCount::ZERO),
            walltime: (section.parsed_with("walltime", DURATION, parse_duration)?)
                .unwrap_or(Duration::ZERO),
        },
        priority: (section.number("priority", -MAX_PRIORITY..=MAX_PRIORITY)?)
            .unwrap_or(DEFAULT_PRIORITY),
        max_attempts: (section.number("max_attempts", 1..=MAX_ATTEMPTS)?)
            .unwrap_or(DEFAULT_MAX_ATTEMPTS),
        queues: section
            .texts("queues")?
            .into_iter()
            .map(QueueName::new)
            .collect(),
    })
}

fn read_inputs(task: &Section<'_>) -> Result<Vec<TaskInput>, TaskFileError> {
    let mut names = Names::new("input");
    let read = |section: &Section<'_>| {
        Ok(TaskInput {
            name: names.take(section, "name", NameKind::Plain)?.to_owned(),
            dataset: DatasetName::new(section.required_name("dataset", NameKind::Plain)?),
        })
    };
    let sections = task.sections("input", "name", INPUT_KEYS)?;
    sections.iter().map(read).collect()
}

fn read_outputs(task: &Section<'_>) -> Result<Vec<TaskOutput>, TaskFileError> {
    let mut names = Names::new("output");
    let mut lfns = Names::new("output file");
    let read = |section: &Section<'_>| {
        Ok(TaskOutput {
            name: names.take(section, "name", NameKind::Plain)?.to_owned(),
            dataset: DatasetName::new(section.required_name("dataset", NameKind::Plain)?),
            lfn: lfns.take(section, "lfn", NameKind::Template)?.to_owned(),
        })
    };
    let sections = task.sections("output", "name", OUTPUT_KEYS)?;
    sections.iter().map(read).collect()
}

fn read_split(task: &Section<'_>, inputs: &[TaskInput]) -> Result<Split, TaskFileError> {
    let by_events = task.has("events") || task.has("events_per_job");
    let ways: Vec<&'static str> = [
        (by_events, "events"),
        (task.has("files_per_job"), "files_per_job"),
        (task.has("all_files"), "all_files"),
    ]
    .into_iter()
    .filter_map(|(is_written, key)| is_written.then_some(key))
    .collect();
    let way = match ways.as_slice() {
        [] => return Err(task.problem(TaskFileProblem::NoSplit)),
        [way] => *way,
        several => {
            let keys = several.join(", ");
            return Err(task.problem(TaskFileProblem::SeveralSplits { keys }));
        }
    };
    let split = if by_events {
        let number = |key| {
            task.number(key, 1..=MAX_EVENTS)?
                .ok_or_else(|| task.missing(key, "a number of events"))
        };
        Split::Events {
            total: number("events")?,
            per_job: number("events_per_job")?,
        }
    } else if let Some(per_job) = task.number("files_per_job", 1..=MAX_FILES_PER_JOB)? {
        Split::Files { per_job }
    } else {
        task.switched_on("all_files")?;
        Split::AllFiles
    };
    match (split, inputs.is_empty()) {
        (Split::Events { .. }, false) => {
            Err(task.problem_at("input", TaskFileProblem::SplitTakesNoInput))
        }
        (Split::Files { .. } | Split::AllFiles, true) => {
            Err(task.problem_at(way, TaskFileProblem::SplitNeedsInput { split: way }))
        }
        (Split::Events { .. }, true) | (Split::Files { .. } | Split::AllFiles, false) => Ok(split),
    }
}

/// Refuses `{input.NAME}` and `{output.NAME}` of names that the task does not have. Braces of
/// other kinds may be the payload's own and are left to the server.
fn check_placeholders(
    task: &Section<'_>,
    parameters: &str,
    inputs: &[TaskInput],
    outputs: &[TaskOutput],
) -> Result<(), TaskFileError> {
    let known: Vec<String> = (inputs.iter().map(|input| format!("input.{}", input.name)))
        .chain(
            outputs
                .iter()
                .map(|output| format!("output.{}", output.name)),
        )
        .collect();
    for piece in parameters.split('{').skip(1) {
        let Some((placeholder, _)) = piece.split_once('}') else {
            continue;
        };
        let names_a_file = placeholder.starts_with("input.") || placeholder.starts_with("output.");
        if names_a_file && !known.iter().any(|name| name == placeholder) {
            let allowed = match known.as_slice() {
                [] => "no inputs or outputs".to_owned(),
                names => names.join(", "),
            };
            let problem = TaskFileProblem::UnknownPlaceholder {
                placeholder: placeholder.to_owned(),
                allowed,
            };
            return Err(task.problem_at("parameters", problem));
        }
    }
    Ok(())
}

/// Refuses doubled names, datasets filled twice, and tasks that stand before what they read.
fn check_order(
    submission: &Submission,
    dataset_sections: &[Section<'_>],
    task_sections: &[Section<'_>],
) -> Result<(), TaskFileError> {
    let mut dataset_names = Names::new("dataset");
    let mut filled: BTreeMap<&DatasetName, &str> = BTreeMap::new();
    for (dataset, section) in submission.datasets.iter().zip(dataset_sections) {
        dataset_names.take(section, "name", NameKind::Plain)?;
        filled.insert(&dataset.name, "[[dataset]]");
    }
    let mut task_names = Names::new("task");
    for (task, section) in submission.tasks.iter().zip(task_sections) {
        task_names.take(section, "name", NameKind::Plain)?;
        for output in &task.outputs {
            if let Some(first) = filled.insert(&output.dataset, &task.name) {
                let problem = TaskFileProblem::DatasetFilledTwice {
                    dataset: output.dataset.to_string(),
                    first: first.to_owned(),
                };
                return Err(section.problem_at("output", problem));
            }
        }
    }
    for (index, (task, section)) in submission.tasks.iter().zip(task_sections).enumerate() {
        let own_and_later = &submission.tasks[index..];
        for input in &task.inputs {
            let is_output = |writer: &&TaskSpec| {
                (writer.outputs.iter()).any(|output| output.dataset == input.dataset)
            };
            if let Some(writer) = own_and_later.iter().find(is_output) {
                let problem = TaskFileProblem::ReadBeforeWritten {
                    dataset: input.dataset.to_string(),
                    writer: writer.name.clone(),
                };
                return Err(section.problem_at("input", problem));
            }
        }
    }
    Ok(())
}

/// Names of one kind that must differ.
struct Names {
    kind: &'static str,
    taken: std::collections::BTreeSet<String>,
}

impl Names {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            taken: std::collections::BTreeSet::new(),
        }
    }

    /// Reads a name that must be there and must be new.
    fn take<'a>(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        kind: NameKind,
    ) -> Result<&'a str, TaskFileError> {
        let name = section.required_name(key, kind)?;
        if self.taken.insert(name.to_owned()) {
            return Ok(name);
        }
        let problem = TaskFileProblem::DuplicateName {
            kind: self.kind,
            name: name.to_owned(),
        };
        Err(section.problem_at(key, problem))
    }
}
