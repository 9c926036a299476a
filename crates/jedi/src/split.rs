//! Cuts the files of a task into chunks, one for each job.
//!
//! The main type is [`Splitter`]: an iterator that takes the files of the master one by one, so a
//! million files need no more memory than one chunk, and gives [`Chunk`]s. A chunk grows file by
//! file while the next one, with the secondary files that go with it, breaks no limit of
//! [`JobLimits`]; its first file is taken whatever its size. Where chunks run is not decided here.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/InputChunk.py` (`getSubChunk`).

pub mod limits;
mod secondary;
#[cfg(test)]
mod tests;

use std::{iter::Peekable, ops::Range};

use serde::{Deserialize, Serialize};

use crate::rules::BoundaryRule;

pub use limits::{Access, JobGrowth, JobLimits, Phase, QueueSize};
pub use secondary::{Secondary, SecondaryRule};

/// One file, or one range of events of a file, that a job may read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// The caller's number of it.
    pub id: u64,
    /// Logical name.
    pub lfn: String,
    /// Size of the whole file in bytes, 0 if not known.
    pub size: u64,
    /// Events of the whole file, if known.
    pub events: Option<u64>,
    /// The part of the file that is meant, if not all of it.
    pub range: Option<EventRange>,
    /// Number of its first event in the whole task, if events are numbered.
    pub first_event: Option<u64>,
    /// What it must stay together with, if anything.
    pub boundary: Option<i64>,
    /// Lumi block that it belongs to, if known.
    pub lumi_block: Option<i64>,
}

/// Events of a file, numbered from 0; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRange {
    /// First event.
    pub start: u64,
    /// Last event, at least `start`.
    pub end: u64,
}

impl EventRange {
    /// Returns how many events it has, at least 1.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.start).saturating_add(1)
    }
}

impl Content {
    /// Returns the events that are meant, if they are known.
    #[must_use]
    pub fn known_events(&self) -> Option<u64> {
        self.range
            .map(EventRange::count)
            .or(self.events.filter(|events| *events > 0))
    }

    /// Returns the events that are meant; one where nothing is known.
    #[must_use]
    pub fn effective_events(&self) -> u64 {
        self.known_events().unwrap_or(1)
    }

    /// Returns the bytes that are meant: the share of a range, and 1 MiB where nothing is known.
    #[must_use]
    pub fn effective_bytes(&self) -> u64 {
        let share = match (self.range, self.events) {
            (Some(range), Some(events)) if events > 0 => {
                let share = u128::from(self.size) * u128::from(range.count()) / u128::from(events);
                u64::try_from(share).unwrap_or(u64::MAX)
            }
            _ => self.size,
        };
        if share == 0 { 1 << 20 } else { share }
    }

    /// Returns the fields of the name that are asked for (numbered from 1), each after a dot.
    ///
    /// A name falls apart at dots and at `_tid` with digits. Fields that are not there are left out.
    #[must_use]
    pub fn name_fields(&self, fields: &[usize]) -> String {
        crate::names::fields_of(&self.lfn, fields)
    }
}

/// What one job reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chunk {
    /// Files of the master, in order.
    pub master: Vec<Content>,
    /// For each secondary: its files, as positions in its list.
    pub secondaries: Vec<Vec<usize>>,
    /// What it adds up to.
    pub sums: Sums,
    /// It has fewer files or events than a job should have.
    pub is_short: bool,
}

/// What files add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Files of the master.
    pub master_files: u64,
    /// Files of all streams.
    pub files: u64,
    /// Events, where they are known.
    pub events: u64,
    /// Input and expected output, with what every job needs besides, bytes.
    pub bytes: u64,
    /// Scratch space for input that is copied and output, bytes.
    pub disk_bytes: u64,
    /// Bytes of all input files.
    pub input_bytes: u64,
    /// Expected wall time, seconds.
    pub walltime_s: u64,
    /// Events of the master; one for a file of which nothing is known.
    master_events: u64,
    /// Whether events of the master are known.
    master_has_events: bool,
    /// Files of the master, those with several ranges once.
    distinct_files: u64,
    /// Expected output from the master.
    master_out_bytes: u64,
    /// Expected output from each secondary.
    secondary_out_bytes: Vec<u64>,
}

impl Sums {
    /// Returns the largest output that is expected from one stream, bytes.
    #[must_use]
    pub fn largest_out_bytes(&self) -> u64 {
        let secondary = self.secondary_out_bytes.iter().copied().max().unwrap_or(0);
        self.master_out_bytes.max(secondary)
    }
}

/// Cuts files into chunks.
#[derive(Debug)]
pub struct Splitter<'a, I: Iterator<Item = Content>> {
    master: Peekable<I>,
    secondaries: Vec<Secondary<'a>>,
    limits: &'a JobLimits,
}

impl<'a, I: Iterator<Item = Content>> Splitter<'a, I> {
    /// Starts to cut. Secondaries go on from where their last job ended.
    pub fn new(master: I, secondaries: Vec<Secondary<'a>>, limits: &'a JobLimits) -> Self {
        Self {
            master: master.peekable(),
            secondaries,
            limits,
        }
    }

    /// Returns how far each secondary is used, to go on from later.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        self.secondaries
            .iter()
            .map(|secondary| secondary.position)
            .collect()
    }

    /// Takes the files of one bunch: one, or as many as a job has when that is told.
    fn take_bunch(&mut self, growing: &mut Growing) -> bool {
        let wanted = self.limits.bunch();
        for _ in 0..wanted {
            let Some(next) = self.master.peek() else {
                return false;
            };
            if growing.is_broken_by(next, self.limits) {
                return false;
            }
            if let Some(content) = self.master.next() {
                growing.add_master(content, self.limits);
            }
        }
        self.master.peek().is_some()
    }

    /// Takes the secondary files that go with the master files so far.
    fn take_secondaries(&mut self, growing: &mut Growing, round: Round) {
        for (at, secondary) in self.secondaries.iter_mut().enumerate() {
            let range = match round {
                Round::First => secondary.first_range(at, growing, self.limits),
                Round::Later => secondary.next_range(at, growing, self.limits),
            };
            secondary.position = range.end;
            growing.add_secondary(at, secondary, range, self.limits);
        }
        for secondary in &mut self.secondaries {
            secondary.wrap();
        }
    }

    /// Says whether the next file would break a limit.
    fn is_full(&mut self, growing: &Growing) -> bool {
        let Some(next) = self.master.peek() else {
            return true;
        };
        if growing.is_broken_by(next, self.limits) {
            return true;
        }
        if self.limits.boundary == Some(BoundaryRule::Whole) {
            return growing.chunk.sums.files >= self.limits.total_files_max;
        }
        let mut sums = growing.chunk.sums.clone();
        let is_new_file = !growing.has_file(&next.lfn, self.limits);
        sums.add_master(next, is_new_file, self.limits);
        for (at, secondary) in self.secondaries.iter().enumerate() {
            let range = secondary.peek_range(at, &sums, next, growing, self.limits);
            sums.add_secondary(at, &secondary.files[range], self.limits);
        }
        self.limits.are_broken_by(&sums)
    }
}

/// Whether secondary files are taken for the first time in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Later,
}

impl<I: Iterator<Item = Content>> Iterator for Splitter<'_, I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        self.master.peek()?;
        let mut growing = Growing::new(self.secondaries.len());
        let mut round = Round::First;
        loop {
            let may_go_on = self.take_bunch(&mut growing);
            self.take_secondaries(&mut growing, round);
            round = Round::Later;
            if !may_go_on || self.limits.is_one_bunch() || self.is_full(&growing) {
                break;
            }
        }
        Some(growing.finish(self.limits))
    }
}

/// A chunk that grows.
#[derive(Debug)]
struct Growing {
    chunk: Chunk,
    /// Where the next range of events must start, if that matters.
    next_event: Option<u64>,
    boundary: Option<i64>,
    /// Boundaries of all master files so far, in order, each once.
    boundaries: Vec<i64>,
    fields: Option<String>,
    /// For each secondary: the events of its files so far.
    secondary_events: Vec<u64>,
}

impl Growing {
    fn new(secondaries: usize) -> Self {
        Self {
            chunk: Chunk {
                secondaries: vec![Vec::new(); secondaries],
                sums: Sums {
                    secondary_out_bytes: vec![0; secondaries],
                    ..Sums::default()
                },
                ..Chunk::default()
            },
            next_event: None,
            boundary: None,
            boundaries: Vec::new(),
            fields: None,
            secondary_events: vec![0; secondaries],
        }
    }

    /// Says whether a file may not be in this chunk, whatever the limits are.
    fn is_broken_by(&self, next: &Content, limits: &JobLimits) -> bool {
        let Some(last) = self.chunk.master.last() else {
            return false;
        };
        let is_other_boundary = limits.stays_in_boundary() && next.boundary != self.boundary;
        let is_other_block = limits.respects_lumi_blocks && next.lumi_block != last.lumi_block;
        let is_other_name = match (&self.fields, &limits.name_fields) {
            (Some(so_far), Some(fields)) => next.name_fields(fields) != *so_far,
            (None, _) | (_, None) => false,
        };
        let is_jump = limits.counts_events()
            && match (self.next_event, next.range) {
                (Some(0), Some(range)) => range.start != 0,
                (Some(expected), Some(range)) => range.start != expected || next.lfn != last.lfn,
                (None, _) | (_, None) => false,
            };
        is_other_boundary || is_other_block || is_other_name || is_jump
    }

    /// Says whether a file is in the chunk already; only pieces of files come several times.
    fn has_file(&self, lfn: &str, limits: &JobLimits) -> bool {
        limits.has_pieces
            && self
                .chunk
                .master
                .iter()
                .rev()
                .any(|content| content.lfn == lfn)
    }

    fn add_master(&mut self, content: Content, limits: &JobLimits) {
        if self.fields.is_none()
            && let Some(fields) = &limits.name_fields
        {
            self.fields = Some(content.name_fields(fields));
        }
        let is_new_file = !self.has_file(&content.lfn, limits);
        self.chunk.sums.add_master(&content, is_new_file, limits);
        if let Some(range) = content.range {
            let next = range.end.saturating_add(1);
            self.next_event = Some(if Some(next) == content.events {
                0
            } else {
                next
            });
        }
        self.boundary = content.boundary;
        if let Some(boundary) = content.boundary
            && self.boundaries.last() != Some(&boundary)
        {
            self.boundaries.push(boundary);
        }
        self.chunk.master.push(content);
    }

    fn add_secondary(
        &mut self,
        at: usize,
        secondary: &Secondary<'_>,
        range: Range<usize>,
        limits: &JobLimits,
    ) {
        let files = &secondary.files[range.clone()];
        let events: u64 = files
            .iter()
            .map(|file| file.known_events().unwrap_or(0))
            .sum();
        self.secondary_events[at] = self.secondary_events[at].saturating_add(events);
        self.chunk.sums.add_secondary(at, files, limits);
        self.chunk.secondaries[at].extend(range);
    }

    fn finish(mut self, limits: &JobLimits) -> Chunk {
        let sums = &self.chunk.sums;
        let lacks_events = limits
            .events_per_job
            .is_some_and(|events| sums.events < events);
        let lacks_files = limits
            .files_per_job
            .is_some_and(|files| sums.master_files < files);
        self.chunk.is_short = if limits.events_per_job.is_some() {
            lacks_events
        } else {
            lacks_files
        };
        self.chunk
    }
}
