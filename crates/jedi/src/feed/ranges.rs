//! Cuts files into ranges of events.

use crate::{
    refined::{InputKind, InputStream, RefinedTask},
    rules::Rule,
    split::{Content, EventRange},
};

/// How files fall apart into ranges, and where their list ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeRules {
    /// Events of each file, whatever the catalogue says.
    pub events_per_file: Option<u64>,
    /// Events of a range; a range may be filled up by the next file.
    pub events_per_range: Option<u64>,
    /// Events that a range should have about, so that all ranges of a file are equal.
    pub target_events: Option<u64>,
    /// Whether the catalogue's numbers of events are trusted.
    pub trusts_catalogue: bool,
    /// Number of the first event, if events are numbered.
    pub first_event: Option<u64>,
    /// Most files.
    pub files_max: Option<u64>,
    /// No further file when so many events are reached.
    pub events_max: Option<u64>,
    /// Whether each lumi block begins a range of its own.
    pub respects_lumi_blocks: bool,
    /// Whether files with too few events are left out (`skipShortInput`).
    pub skips_short: bool,
}

impl RangeRules {
    /// Works out the rules of a task's stream.
    #[must_use]
    pub fn of(task: &RefinedTask, stream: &InputStream) -> Self {
        let is_master = task.master().is_some_and(|master| master == stream);
        let is_pseudo = matches!(stream.kind, InputKind::Pseudo | InputKind::PhysicalNames);
        let trusts_catalogue = is_master && task.rules.is_set(Rule::UseRealNumEvents);
        let events = task.amount.events;
        let has_ranges = (is_master && (task.amount.events_per_file.is_some() || trusts_catalogue))
            || (is_pseudo && events.is_some());
        let mut rules = Self {
            trusts_catalogue,
            first_event: is_master.then(|| {
                let offset = task.rules.number(Rule::FirstEvent).unwrap_or(0);
                u64::try_from(offset).unwrap_or(0).saturating_add(1)
            }),
            files_max: super::files_max(task, stream),
            events_max: events.filter(|_| is_master),
            respects_lumi_blocks: task.rules.is_set(Rule::RespectLb),
            ..Self::default()
        };
        if has_ranges {
            // A pseudo input is one file that has all events.
            let whole = events.filter(|_| is_master && is_pseudo);
            rules.events_per_file = task.amount.events_per_file.or(whole);
            rules.target_events = task.amount.target_events;
            rules.events_per_range = match task.amount.events_per_piece {
                Some(piece) => Some(piece),
                None if rules.target_events.is_some() => None,
                None => task.rules.events_per_job(),
            };
            rules.skips_short = task.amount.skips_short_input && stream.kind == InputKind::Dataset;
        }
        rules
    }
}

/// Gives the ranges of files, one after the other.
#[derive(Debug)]
pub struct Ranges<I: Iterator<Item = Content>> {
    files: I,
    rules: RangeRules,
    /// The file that is being cut, with where its next range begins.
    current: Option<(Content, u64)>,
    /// Events that the range begun in the file before still takes.
    rest: u64,
    /// Events of a range of the current file.
    size: u64,
    next_event: Option<u64>,
    lumi_block: Option<i64>,
    files_seen: u64,
    events_seen: u64,
    last_lfn: String,
}

impl<I: Iterator<Item = Content>> Ranges<I> {
    /// Starts with the first file. Files that are used already must be left out before.
    pub fn new(files: I, rules: RangeRules) -> Self {
        let size = rules.events_per_range.unwrap_or(0);
        Self {
            files,
            current: None,
            rest: size,
            size,
            next_event: rules.first_event,
            lumi_block: None,
            files_seen: 0,
            events_seen: 0,
            last_lfn: String::new(),
            rules,
        }
    }

    /// Takes the next file, if the bounds allow one.
    fn next_file(&mut self) -> Option<Content> {
        loop {
            if self
                .rules
                .events_max
                .is_some_and(|limit| self.events_seen >= limit)
            {
                return None;
            }
            let mut file = self.files.next()?;
            if self.files_seen == 0 || file.lfn != self.last_lfn {
                self.files_seen += 1;
                self.last_lfn.clone_from(&file.lfn);
            }
            if self
                .rules
                .files_max
                .is_some_and(|limit| self.files_seen > limit)
            {
                return None;
            }
            if self.set_events(&mut file) {
                self.events_seen = self.events_seen.saturating_add(file.events.unwrap_or(0));
                return Some(file);
            }
        }
    }

    /// Sets how many events a file has; says no for a file that is left out.
    fn set_events(&self, file: &mut Content) -> bool {
        let Some(told) = self.rules.events_per_file else {
            return true;
        };
        if let (true, Some(known), Some(size)) = (
            self.rules.skips_short,
            file.events,
            self.rules.events_per_range,
        ) && known < told
        {
            let whole = known / size.max(1) * size;
            file.events = Some(whole);
            return whole > 0;
        }
        file.events = Some(told);
        true
    }

    /// Says whether a file falls apart into ranges.
    fn has_ranges(&self, file: &Content) -> bool {
        let is_cut = self.rules.events_per_range.is_some_and(|size| size > 0)
            || self.rules.target_events.is_some_and(|size| size > 0);
        let is_known = self.rules.events_per_file.is_some() || self.rules.trusts_catalogue;
        is_cut && is_known && file.events.is_some_and(|events| events > 0)
    }

    /// Gives the number of the first of some events, and counts them.
    fn number(&mut self, events: u64) -> Option<u64> {
        let first = self.next_event?;
        self.next_event = Some(first.saturating_add(events));
        Some(first)
    }

    /// Prepares to cut a file.
    fn begin(&mut self, file: &Content) {
        let events = file.events.unwrap_or(0);
        if let Some(target) = self.rules.target_events.filter(|target| *target > 0) {
            let pieces = events.div_ceil(target).max(1);
            self.size = events.div_ceil(pieces).max(1);
            self.rest = self.size;
        }
        if self.rules.respects_lumi_blocks
            && (self.lumi_block.is_none() || self.lumi_block != file.lumi_block)
        {
            self.lumi_block = file.lumi_block;
            self.rest = self.size;
        }
    }
}

impl<I: Iterator<Item = Content>> Iterator for Ranges<I> {
    type Item = Content;

    fn next(&mut self) -> Option<Content> {
        let (file, start) = match self.current.take() {
            Some(current) => current,
            None => {
                let mut file = self.next_file()?;
                if !self.has_ranges(&file) {
                    if self.rules.events_per_file.is_some() {
                        file.first_event = self.number(file.events.unwrap_or(0));
                    }
                    return Some(file);
                }
                self.begin(&file);
                (file, 0)
            }
        };
        let events = file.events.unwrap_or(1).max(1);
        let end = start.saturating_add(self.rest.max(1)).min(events);
        let taken = end - start;
        let mut content = file.clone();
        content.range = Some(EventRange {
            start,
            end: end - 1,
        });
        content.first_event = self.number(taken);
        self.rest = self.rest.saturating_sub(taken);
        if self.rest == 0 {
            self.rest = self.size;
        }
        if end < events {
            self.current = Some((file, end));
        }
        Some(content)
    }
}
