//! From the list of a stream's files to what jobs are made of: which files count, in which order,
//! and the ranges of events into which they fall apart.
//!
//! [`select()`] picks and orders the files of a catalogue, [`made_contents()`] makes the entries of
//! streams that no catalogue has (pseudo input, running numbers, physical names), and [`Ranges`]
//! cuts files into ranges of events, one by one. Rows for them are kept by others.
//!
//! Source: PanDA server, `pandajedi/jediorder/ContentsFeeder.py`, `task_complex_module.py`
//! (`insertFilesForDataset_JEDI`).

mod ranges;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::{
    refined::{InputKind, InputStream, ListedName, RefinedTask},
    split::Content,
};

pub use ranges::{RangeRules, Ranges};

/// Most entries of one stream (`maxFileRecords`); more make the task `broken`.
pub const RECORDS_MAX: u64 = 200_000;
/// Running numbers of a stream when nothing is told.
pub const SEQUENCE_DEFAULT: u64 = 10_000;
/// Chunks of files that the first few jobs get (`nChunksForScout`).
pub const SCOUT_CHUNKS: u64 = 10;
/// Name of the entry that stands for a job without input.
pub const PSEUDO_LFN: &str = "pseudo_lfn";
/// Largest size of a compiled pattern, bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// Why the files of a stream cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// A pattern of names is none.
    #[error("`{pattern}` is no pattern of names: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too many entries.
    #[error(
        "stream `{stream}` has {count} entries, more than {RECORDS_MAX}: set `nFiles`, or more events per job"
    )]
    TooMany {
        /// The stream, or its dataset.
        stream: String,
        /// How many there are.
        count: u64,
    },
}

/// Picks the files of a stream and puts them in order.
///
/// `seed` orders streams that are taken at random; the same seed gives the same order.
///
/// # Errors
///
/// [`FeedError::BadPattern`] if a pattern of `include` or `exclude` is none.
pub fn select(
    files: Vec<Content>,
    stream: &InputStream,
    seed: u64,
) -> Result<Vec<Content>, FeedError> {
    let include = patterns(&stream.include)?;
    let exclude = patterns(&stream.exclude)?;
    let is_match = |patterns: &[Regex], lfn: &str| patterns.iter().any(|one| one.is_match(lfn));
    let listed: BTreeMap<&str, &ListedName> = stream
        .files
        .iter()
        .map(|file| (without_scope_of_file(&file.lfn), file))
        .collect();
    let mut picked: Vec<Content> = files
        .into_iter()
        .filter(|file| include.is_empty() || is_match(&include, &file.lfn))
        .filter(|file| !is_match(&exclude, &file.lfn))
        .filter(|file| listed.is_empty() || listed.contains_key(file.lfn.as_str()))
        .collect();
    for file in &mut picked {
        if let Some(told) = listed.get(file.lfn.as_str()) {
            file.events = told.events.or(file.events);
            file.boundary = told.boundary.or(file.boundary);
        }
    }
    picked.sort_by(|one, other| one.lfn.cmp(&other.lfn));
    if !stream.has_duplicates {
        picked.dedup_by(|one, other| one.lfn == other.lfn);
    }
    let offset = usize::try_from(stream.offset)
        .unwrap_or(usize::MAX)
        .min(picked.len());
    picked.drain(..offset);
    if stream.is_random {
        shuffle(&mut picked, seed);
    }
    Ok(picked)
}

/// Puts files whose events fill whole jobs first, the others after them, largest first (rule `OI`).
pub fn align_events(files: &mut [Content], events_per_job: u64) {
    let rest = |file: &Content| {
        file.events
            .unwrap_or(0)
            .checked_rem(events_per_job)
            .unwrap_or(0)
    };
    let key = |file: &Content| {
        let is_rest = file.events.is_none() || rest(file) != 0;
        let events = if is_rest { file.events.unwrap_or(0) } else { 0 };
        (is_rest, std::cmp::Reverse(events))
    };
    files.sort_by(|one, other| {
        key(one)
            .cmp(&key(other))
            .then_with(|| one.lfn.cmp(&other.lfn))
    });
}

fn without_scope_of_file(lfn: &str) -> &str {
    lfn.rsplit(':').next().unwrap_or(lfn)
}

fn patterns(texts: &[String]) -> Result<Vec<Regex>, FeedError> {
    let compile = |text: &String| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|error| FeedError::BadPattern {
                pattern: text.clone(),
                reason: error.to_string(),
            })
    };
    texts.iter().map(compile).collect()
}

/// Shuffles in place with numbers of a simple generator, so that one seed gives one order.
fn shuffle(files: &mut [Content], seed: u64) {
    let mut state = seed;
    for at in (1..files.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(at + 1).unwrap_or(u64::MAX);
        files.swap(at, usize::try_from(mixed % bound).unwrap_or(0));
    }
}

/// Makes the entries of a stream that no catalogue has; none for a stream of datasets.
///
/// `master_files` is how many entries the master has, for numbers that go along with it.
///
/// # Errors
///
/// [`FeedError::TooMany`] if there are more than [`RECORDS_MAX`].
pub fn made_contents(
    task: &RefinedTask,
    stream: &InputStream,
    master_files: u64,
) -> Result<Vec<Content>, FeedError> {
    let named = |lfn: String| Content {
        lfn,
        ..Content::default()
    };
    let count = match stream.kind {
        InputKind::Dataset | InputKind::RandomSeed => return Ok(Vec::new()),
        InputKind::Pseudo => return Ok(vec![named(PSEUDO_LFN.to_owned())]),
        InputKind::Sequence => sequence_length(task, stream, master_files),
        InputKind::PhysicalNames => {
            let listed = u64::try_from(task.pfns.len()).unwrap_or(u64::MAX);
            task.amount.files.map_or(listed, |files| files.min(listed))
        }
    };
    if count > RECORDS_MAX {
        let name = stream
            .stream
            .clone()
            .unwrap_or_else(|| stream.datasets.join(","));
        return Err(FeedError::TooMany {
            stream: name,
            count,
        });
    }
    if stream.kind == InputKind::Sequence {
        let first = stream.offset.saturating_add(1);
        return Ok((first..first.saturating_add(count))
            .map(|number| named(number.to_string()))
            .collect());
    }
    let names = task
        .pfns
        .iter()
        .take(usize::try_from(count).unwrap_or(usize::MAX))
        .enumerate();
    Ok(names.map(|(at, pfn)| physical_entry(at, pfn)).collect())
}

/// Makes the entry of a physical name: `000003:name`, with its events if the name tells them.
fn physical_entry(at: usize, pfn: &str) -> Content {
    let base = pfn.rsplit('/').next().unwrap_or(pfn);
    let (name, events) = base
        .split_once('^')
        .map_or((base, None), |(name, events)| (name, events.parse().ok()));
    Content {
        lfn: format!("{at:06}:{name}"),
        events,
        ..Content::default()
    }
}

/// Works out how many running numbers a task needs.
fn sequence_length(task: &RefinedTask, stream: &InputStream, master_files: u64) -> u64 {
    let amount = &task.amount;
    let per_job = task.rules.events_per_job();
    if let Some(records) = stream.records {
        return records;
    }
    if let Some(files) = amount.files {
        let per_file = match (amount.events_per_file, amount.events_per_piece, per_job) {
            (Some(events), Some(piece), _) => events / piece,
            (Some(events), None, Some(job)) if events > job => events.div_ceil(job),
            _ => 1,
        };
        return files.saturating_mul(per_file);
    }
    match (
        amount.events,
        per_job,
        amount.events_per_file,
        task.rules.files_per_job(),
    ) {
        (Some(events), Some(job), ..) => events.div_ceil(job),
        (Some(events), None, Some(file), Some(files)) => {
            events.div_ceil(file.saturating_mul(files).max(1))
        }
        _ => master_files.max(SEQUENCE_DEFAULT),
    }
}

/// Returns how many files of a stream are used at most, if that is told (`nFiles`).
#[must_use]
pub fn files_max(task: &RefinedTask, stream: &InputStream) -> Option<u64> {
    let files = task.amount.files?;
    let is_master = task.master().is_some_and(|master| master == stream);
    if is_master {
        return Some(files);
    }
    if stream.is_whole {
        return None;
    }
    let ratio = u128::from(files) * u128::from(stream.ratio_millionths);
    let along = match stream
        .files_per_job
        .filter(|_| stream.kind == InputKind::Dataset)
    {
        Some(per_job) => files.saturating_mul(per_job),
        None => u64::try_from(ratio.div_ceil(1_000_000)).unwrap_or(u64::MAX),
    };
    // Each file of the master may make several jobs.
    let step = task.amount.events_per_piece.or(task.rules.events_per_job());
    match (task.amount.events_per_file, step) {
        (Some(events), Some(step)) if events > step => {
            let jobs = u128::from(along) * u128::from(events);
            Some(u64::try_from(jobs.div_ceil(u128::from(step))).unwrap_or(u64::MAX))
        }
        _ => Some(along),
    }
}
