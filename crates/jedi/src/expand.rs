//! Puts a job's files and numbers into the arguments of its task.
//!
//! [`run_parameters()`] and [`merge_parameters()`] take the template, and [`JobValues`] tell which
//! files and numbers the job has. A placeholder is `${STREAM}` with decorators (`${IN/L}`), a slice
//! (`${IN[0:2]}`), several streams (`${IN,SECDS}`) or a number (`${SN}`). What is not known stays as
//! it is, but for inputs: a job whose arguments still ask for input is an error.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py` (`makeJobParameters`).

mod compact;
mod formula;
mod merging;
mod streams;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::{
    names::without_scope,
    refine::UNMERGED_MARK,
    refined::{EventService, MergeSpec, RefinedTask},
    rules::Rule,
    split::Content,
};

pub use formula::FormulaError;
use streams::Streams;

/// Why a job's arguments cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The arguments ask for input that the job does not have.
    #[error(
        "`{placeholder}` has no file in this job: add an input of that name, or remove it from `jobParameters`"
    )]
    Unresolved {
        /// The placeholder.
        placeholder: String,
    },
    /// The formula of a placeholder cannot be worked out.
    #[error("`{placeholder}` cannot be worked out: {error}")]
    Formula {
        /// The placeholder.
        placeholder: String,
        /// What is wrong.
        error: FormulaError,
    },
    /// An entry of the list of physical names is not there.
    #[error("`{lfn}` is no entry of `pfnList`, which has {count}")]
    NoPhysicalName {
        /// The entry's name in the list of files.
        lfn: String,
        /// How many physical names there are.
        count: usize,
    },
}

/// The files of one input stream of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputValue<'a> {
    /// Name of the stream; none if the arguments do not refer to it.
    pub stream: Option<&'a str>,
    /// The container that was asked for, or the dataset.
    pub dataset: &'a str,
    /// Names and sizes in bytes, in the order of the chunk.
    pub files: Vec<(&'a str, u64)>,
    /// Whether the entries stand for physical names that the task lists.
    pub are_physical: bool,
}

/// What a job has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobValues<'a> {
    /// The task's number, for `$JEDITASKID`; none leaves it to be put in later.
    pub task: Option<u64>,
    /// Input streams, the master first.
    pub inputs: Vec<InputValue<'a>>,
    /// Output streams with the names of their files, in order.
    pub outputs: Vec<(&'a str, &'a str)>,
    /// Serial number of the job's outputs.
    pub serial: u64,
    /// Its random seed, without the task's offset.
    pub seed: Option<u64>,
    /// Its events.
    pub events: EventNumbers,
    /// Its attempt.
    pub attempt: u32,
    /// Further values: `LIB`, `MIDDLENAME`, `SEGMENT_ID`, `SEGMENT_NAME`.
    pub extra: Vec<(&'a str, String)>,
}

/// Events of a job, as its arguments tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventNumbers {
    /// Events of the first file that are passed over.
    pub skip: u64,
    /// Events altogether, none if files are taken whole.
    pub count: Option<u64>,
    /// Number of the first event in the task, if events are numbered.
    pub first: Option<u64>,
}

impl EventNumbers {
    /// Adds up the ranges of a job's master files.
    #[must_use]
    pub fn of(master: &[Content]) -> Self {
        let ranges = || master.iter().filter_map(|content| content.range);
        let count: u64 = ranges().map(crate::split::EventRange::count).sum();
        Self {
            skip: ranges().next().map_or(0, |range| range.start),
            count: (count > 0).then_some(count),
            first: master.iter().find_map(|content| content.first_event),
        }
    }
}

/// A job's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The arguments.
    pub text: String,
    /// Names of outputs that the job does not make after all (merge jobs only).
    pub dropped_outputs: Vec<String>,
}

/// Makes the arguments of a job that is no merge job.
///
/// # Errors
///
/// [`ExpandError`] if an input that the arguments ask for is not there.
pub fn run_parameters(task: &RefinedTask, values: &JobValues<'_>) -> Result<Expanded, ExpandError> {
    let streams = Streams::of_run(task, values)?;
    let numbers = numbers(task, values, Seeds::Used);
    let mut text = fill(
        &with_task(&task.payload.command, values),
        &streams,
        &numbers,
    )?;
    if task.merge.is_some() {
        text = name_unmerged(&text, values);
    }
    let text = strip_event_service(&text, task.event_service);
    check_leftovers(&text)?;
    Ok(Expanded {
        text,
        dropped_outputs: Vec::new(),
    })
}

/// Makes the arguments of a merge job. Input streams are called as the streams whose files they are.
///
/// # Errors
///
/// [`ExpandError`] if an input that the arguments ask for is not there.
pub fn merge_parameters(
    task: &RefinedTask,
    merge: &MergeSpec,
    values: &JobValues<'_>,
) -> Result<Expanded, ExpandError> {
    let mut streams = Streams::of_merge(values);
    let pairs = merging::Pairs::of(&mut streams, values);
    let mut numbers = numbers(task, values, Seeds::Unused);
    numbers.extend(pairs.arguments());
    let template = pairs.without_deleted(&merge.command);
    let text = fill(&with_task(&template, values), &streams, &numbers)?;
    let text = strip_event_service(&text, EventService::None);
    check_leftovers(&text)?;
    Ok(Expanded {
        text,
        dropped_outputs: pairs.dropped_outputs(&merge.command),
    })
}

/// Adds the steps of a job to its arguments, as the pilot looks for them.
#[must_use]
pub fn with_steps(text: &str, steps: &Value, transformation: &str) -> String {
    let filled = fill_steps(steps, text, transformation);
    format!("{text}<MULTI_STEP_EXEC>{filled}</MULTI_STEP_EXEC>")
}

fn fill_steps(value: &Value, arguments: &str, transformation: &str) -> Value {
    match value {
        Value::String(text) => Value::String(
            text.replace("${TRF_ARGS}", arguments)
                .replace("${TRF}", transformation),
        ),
        Value::Array(values) => values
            .iter()
            .map(|value| fill_steps(value, arguments, transformation))
            .collect(),
        Value::Object(map) => {
            let filled = map
                .iter()
                .map(|(key, value)| (key.clone(), fill_steps(value, arguments, transformation)));
            Value::Object(filled.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether jobs get random seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seeds {
    Used,
    Unused,
}

fn numbers(task: &RefinedTask, values: &JobValues<'_>, seeds: Seeds) -> Vec<(String, String)> {
    let offset = task.rules.seed_offset().unwrap_or(0);
    let seed = match seeds {
        Seeds::Used => values
            .seed
            .map(|seed| seed.saturating_add(offset).to_string()),
        Seeds::Unused => None,
    };
    let events = values.events;
    let known = [
        ("SN", Some(values.serial.to_string())),
        ("SN/P", Some(format!("{:06}", values.serial))),
        ("RNDMSEED", seed),
        // Programs take -1 for all events.
        (
            "MAXEVENTS",
            Some(
                events
                    .count
                    .map_or("-1".to_owned(), |count| count.to_string()),
            ),
        ),
        ("SKIPEVENTS", Some(events.skip.to_string())),
        ("FIRSTEVENT", events.first.map(|first| first.to_string())),
        ("SURL", task.payload.source_url.clone()),
        ("ATTEMPTNR", Some(values.attempt.to_string())),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let extra = values
        .extra
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    known.chain(extra).collect()
}

/// Puts the task's number into a template.
fn with_task(template: &str, values: &JobValues<'_>) -> String {
    match values.task {
        Some(task) => template.replace("$JEDITASKID", &task.to_string()),
        None => template.to_owned(),
    }
}

/// Fills in every placeholder that is known.
fn fill(
    template: &str,
    streams: &Streams<'_>,
    numbers: &[(String, String)],
) -> Result<String, ExpandError> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let inner = &from[2..];
        let Some(end) = inner.find('}').filter(|end| *end > 0) else {
            text.push_str("${");
            rest = inner;
            continue;
        };
        let name = &inner[..end];
        let placeholder = &from[..end + 3];
        let number = || {
            numbers
                .iter()
                .find(|(one, _)| one == name)
                .map(|(_, value)| value.clone())
        };
        match streams.resolve(name, placeholder)?.or_else(number) {
            Some(value) => text.push_str(&value),
            None => text.push_str(placeholder),
        }
        rest = &inner[end + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

/// Names outputs that wait for a merge by their name until then, where the text has the final one.
fn name_unmerged(text: &str, values: &JobValues<'_>) -> String {
    let mark = format!("{UNMERGED_MARK}.");
    let mut text = text.to_owned();
    for (_, lfn) in &values.outputs {
        if let Some(merged) = lfn.strip_prefix(&mark) {
            text = text.replace(merged, lfn);
        }
    }
    text.replace(&format!("{mark}{mark}"), &mark)
}

/// Removes what only jobs that share events read, or the marks around it.
fn strip_event_service(text: &str, event_service: EventService) -> String {
    const START: &str = "<PANDA_ES_ONLY>";
    const END: &str = "</PANDA_ES_ONLY>";
    if !text.contains("<PANDA_ES") {
        return text.to_owned();
    }
    match event_service {
        EventService::Ranges | EventService::Cloning => text.replace(START, "").replace(END, ""),
        EventService::None | EventService::FineGrained => {
            let text = without_between(text, START, END);
            match (text.find("<PANDA_ESMERGE"), text.rfind("</PANDA_ESMERGE")) {
                (Some(start), Some(last)) if start < last => {
                    let end = text[last..]
                        .find('>')
                        .map_or(text.len(), |at| last + at + 1);
                    format!("{}{}", &text[..start], &text[end..])
                }
                _ => text,
            }
        }
    }
}

fn without_between(text: &str, start: &str, end: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let Some(length) = rest[at..].find(end) else {
            break;
        };
        kept.push_str(&rest[..at]);
        rest = &rest[at + length + end.len()..];
    }
    kept.push_str(rest);
    kept
}

/// Refuses arguments that still ask for input.
fn check_leftovers(text: &str) -> Result<(), ExpandError> {
    for start in ["${IN", "${SEQNUMBER}"] {
        if let Some(at) = text.find(start)
            && let Some(end) = text[at..].find('}')
        {
            return Err(ExpandError::Unresolved {
                placeholder: text[at..=at + end].to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the name of the file that lists a stream's files on the node (`${IN/F}`, rule `WF`).
#[must_use]
pub fn list_file(dataset: &str) -> String {
    format!("tmpin_{}", without_scope(dataset.trim_end_matches('/')))
}

/// Says in which order a job's input files are listed.
fn is_order_kept(task: &RefinedTask) -> bool {
    task.rules.is_set(Rule::OrderInputBy)
}
