//! The files of a job by the name of their stream, and the forms in which placeholders show them.

use std::borrow::Cow;

use super::{ExpandError, JobValues, compact, formula, is_order_kept, list_file};
use crate::{refined::RefinedTask, rules::Rule};

/// What comes before the name of a stream whose files are merged.
pub(super) const UNMERGED_PREFIX: &str = "TRN_";

/// Files by stream, in the order of inputs and outputs.
#[derive(Debug, Default)]
pub(super) struct Streams<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Debug)]
struct Entry<'a> {
    stream: String,
    dataset: &'a str,
    files: Vec<Cow<'a, str>>,
}

impl<'a> Streams<'a> {
    pub(super) fn of_run(
        task: &'a RefinedTask,
        values: &JobValues<'a>,
    ) -> Result<Self, ExpandError> {
        let mut streams = Self::default();
        for input in &values.inputs {
            let stream = if input.are_physical {
                Some("IN")
            } else {
                input.stream
            };
            let Some(stream) = stream else { continue };
            let mut names: Vec<&str> = input.files.iter().map(|(lfn, _)| *lfn).collect();
            if task.rules.is_set(Rule::DynamicNumEvents) {
                names = without_repeats(names);
            } else if !is_order_kept(task) {
                names.sort_unstable();
                names.dedup();
            }
            let files = if input.are_physical {
                physical_names(task, &names)?
            } else {
                names.into_iter().map(Cow::Borrowed).collect()
            };
            streams.put(stream.to_owned(), input.dataset, files);
        }
        streams.put_outputs(values);
        Ok(streams)
    }

    pub(super) fn of_merge(values: &JobValues<'a>) -> Self {
        let mut streams = Self::default();
        for input in &values.inputs {
            let Some(stream) = input.stream else { continue };
            // Empty files come last, so that programs do not begin with one.
            let mut files: Vec<&(&str, u64)> = input.files.iter().collect();
            files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            let names = files
                .into_iter()
                .map(|(lfn, _)| Cow::Borrowed(*lfn))
                .collect();
            streams.put(unmerged_name(stream), input.dataset, names);
        }
        streams.put_outputs(values);
        streams
    }

    fn put_outputs(&mut self, values: &JobValues<'a>) {
        for (stream, lfn) in &values.outputs {
            let stream = stream.split('|').next().unwrap_or_default();
            match self.entries.iter_mut().find(|entry| entry.stream == stream) {
                Some(entry) => entry.files.push(Cow::Borrowed(lfn)),
                None => self.put(stream.to_owned(), "", vec![Cow::Borrowed(lfn)]),
            }
        }
    }

    fn put(&mut self, stream: String, dataset: &'a str, files: Vec<Cow<'a, str>>) {
        match self.entries.iter_mut().find(|entry| entry.stream == stream) {
            Some(entry) => entry.files.extend(files),
            None => self.entries.push(Entry {
                stream,
                dataset,
                files,
            }),
        }
    }

    /// Returns the files of a stream, if the job has the stream.
    pub(super) fn files(&self, stream: &str) -> Option<&[Cow<'a, str>]> {
        let entry = self.entries.iter().find(|entry| entry.stream == stream)?;
        Some(&entry.files)
    }

    /// Returns the names of all streams, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|entry| entry.stream.clone())
            .collect()
    }

    pub(super) fn remove(&mut self, stream: &str) {
        self.entries.retain(|entry| entry.stream != stream);
    }

    /// Works out a placeholder, if it is one of files and there are any.
    pub(super) fn resolve(
        &self,
        inner: &str,
        placeholder: &str,
    ) -> Result<Option<String>, ExpandError> {
        let (names, decorators) = inner.split_at(decorators_start(inner));
        let mut files: Vec<&str> = Vec::new();
        let mut dataset = "";
        for part in names.split(',') {
            if let Some((entry, wanted)) = self.part(part) {
                files.extend(wanted.iter().map(AsRef::as_ref));
                dataset = entry.dataset;
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        let text = match Form::of(decorators) {
            Form::Long { quote, separator } => {
                let quoted: Vec<String> = files
                    .iter()
                    .map(|lfn| format!("{quote}{lfn}{quote}"))
                    .collect();
                quoted.join(separator)
            }
            Form::List => python_list(&files),
            Form::File => list_file(dataset),
            Form::Decoded => percent_decoded(&files.join(",")),
            Form::Plain => match files[..] {
                [only] => only.to_owned(),
                _ => compact::names(&files),
            },
            Form::Formula(formula) => match files[..] {
                [only] => formula::evaluate(&formula.replace('#', only)).map_err(|error| {
                    ExpandError::Formula {
                        placeholder: placeholder.to_owned(),
                        error,
                    }
                })?,
                _ => return Ok(None),
            },
            Form::Unknown => return Ok(None),
        };
        Ok(Some(text))
    }

    /// Finds the files of one part of a placeholder: a stream, or a slice of one.
    fn part(&self, part: &str) -> Option<(&Entry<'a>, &[Cow<'a, str>])> {
        let find = |name: &str| self.entries.iter().find(|entry| entry.stream == name);
        if let Some(entry) = find(part) {
            return Some((entry, &entry.files));
        }
        let (name, slice) = part.split_once('[')?;
        let entry = find(name)?;
        Some((entry, slice_of(&entry.files, slice.strip_suffix(']')?)?))
    }
}

/// Returns where the decorators of a placeholder begin; a slash in a formula is not one of them.
fn decorators_start(inner: &str) -> usize {
    inner.find('/').unwrap_or(inner.len())
}

fn unmerged_name(stream: &str) -> String {
    if stream.starts_with(UNMERGED_PREFIX) {
        stream.to_owned()
    } else {
        format!("{UNMERGED_PREFIX}{stream}")
    }
}

fn without_repeats(names: Vec<&str>) -> Vec<&str> {
    let mut seen = std::collections::BTreeSet::new();
    names
        .into_iter()
        .filter(|name| seen.insert(*name))
        .collect()
}

/// Looks up physical names: an entry is `INDEX:NAME`, a physical name may end with `^EVENTS`.
fn physical_names<'a>(
    task: &'a RefinedTask,
    names: &[&str],
) -> Result<Vec<Cow<'a, str>>, ExpandError> {
    let find = |lfn: &str| {
        let index: usize = lfn.split(':').next()?.parse().ok()?;
        let physical = task.pfns.get(index)?;
        Some(Cow::Borrowed(
            physical.split('^').next().unwrap_or_default(),
        ))
    };
    let missing = |lfn: &str| ExpandError::NoPhysicalName {
        lfn: lfn.to_owned(),
        count: task.pfns.len(),
    };
    names
        .iter()
        .map(|lfn| find(lfn).ok_or_else(|| missing(lfn)))
        .collect()
}

/// How a placeholder shows files.
enum Form<'a> {
    Long {
        quote: &'static str,
        separator: &'static str,
    },
    List,
    File,
    Decoded,
    Plain,
    Formula(&'a str),
    Unknown,
}

impl<'a> Form<'a> {
    fn of(decorators: &'a str) -> Self {
        if let Some((_, rest)) = decorators.split_once("/M[")
            && let Some((formula, _)) = rest.split_once(']')
        {
            return Self::Formula(formula);
        }
        if decorators.contains("/L") {
            return Self::Long {
                quote: if decorators.contains("/A") { "'" } else { "" },
                separator: if decorators.contains("/S") { " " } else { "," },
            };
        }
        match decorators {
            "" => Self::Plain,
            "/E" => Self::Decoded,
            _ if decorators.contains("/T") => Self::List,
            _ if decorators.contains("/F") => Self::File,
            _ => Self::Unknown,
        }
    }
}

/// Takes a slice as Python does: `a:b`, `:b`, `a:`, `i`; negative numbers count from the end.
fn slice_of<'a, T>(all: &'a [T], slice: &str) -> Option<&'a [T]> {
    let place = |text: &str, default: usize| {
        let text = text.trim();
        if text.is_empty() {
            return Some(default);
        }
        let number: i64 = text.parse().ok()?;
        let from_end = usize::try_from(number.unsigned_abs()).ok()?;
        Some(if number < 0 {
            all.len().saturating_sub(from_end)
        } else {
            from_end.min(all.len())
        })
    };
    let (start, end) = match slice.split_once(':') {
        Some((start, end)) => (place(start, 0)?, place(end, all.len())?),
        None => {
            let start = place(slice, all.len())?;
            (start, (start + 1).min(all.len()))
        }
    };
    all.get(start..end.max(start))
}

/// Writes names as Python writes a list of texts.
fn python_list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| python_text(name)).collect();
    format!("[{}]", quoted.join(", "))
}

fn python_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\");
    if text.contains('\'') && !text.contains('"') {
        format!("\"{escaped}\"")
    } else {
        format!("'{}'", escaped.replace('\'', "\\'"))
    }
}

/// Replaces `%41` by `A` and so on; bytes that are no UTF-8 become replacement marks.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1).zip(bytes.get(at + 2));
        match pair.and_then(|(high, low)| Some(hex(*high)? * 16 + hex(*low)?)) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            Some(_) | None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
