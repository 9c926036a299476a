//! Files of other streams that go along with the master's.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Content, Growing, JobLimits, Sums};
use crate::{refined::InputStream, rules::BoundaryRule};

const MILLION: u128 = 1_000_000;

/// How many files of a secondary go with those of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondaryRule {
    /// All, into each job (`nosplit`).
    All,
    /// So many into each job (`nFilesPerJob`).
    PerJob(u64),
    /// So many for each file of the master, millionths, rounded up for the job (`ratio`).
    PerFile(u64),
    /// So many events for each event of the master, millionths (`eventRatio`).
    PerEvent(u64),
}

/// A secondary stream: its files, and how far they are used.
#[derive(Debug, Clone)]
pub struct Secondary<'a> {
    /// Its files, in order.
    pub files: &'a [Content],
    /// How many go with the master.
    pub rule: SecondaryRule,
    /// It starts again when too few files are left (`reusable`).
    pub is_reusable: bool,
    /// It starts again when all files are used (`repeat`).
    pub is_repeated: bool,
    /// How many files are used already.
    pub position: usize,
}

impl<'a> Secondary<'a> {
    /// Makes a secondary of a stream of a task.
    #[must_use]
    pub fn new(stream: &InputStream, files: &'a [Content], position: usize) -> Self {
        let rule = match (
            stream.is_whole,
            stream.files_per_job,
            stream.event_ratio_millionths,
        ) {
            (true, _, _) => SecondaryRule::All,
            (false, Some(files), _) => SecondaryRule::PerJob(files),
            (false, None, Some(ratio)) => SecondaryRule::PerEvent(ratio),
            (false, None, None) => SecondaryRule::PerFile(stream.ratio_millionths),
        };
        Self {
            files,
            rule,
            is_reusable: stream.is_reusable,
            is_repeated: stream.is_repeated,
            position: position.min(files.len()),
        }
    }

    /// Makes a secondary whose files belong to the master's by their boundary: outputs to merge.
    #[must_use]
    pub fn by_boundary(files: &'a [Content], position: usize) -> Self {
        Self {
            files,
            rule: SecondaryRule::PerFile(1_000_000),
            is_reusable: false,
            is_repeated: false,
            position: position.min(files.len()),
        }
    }

    /// Returns the files that come with the first bunch of a chunk.
    pub(super) fn first_range(
        &mut self,
        at: usize,
        growing: &Growing,
        limits: &JobLimits,
    ) -> Range<usize> {
        match self.rule {
            SecondaryRule::All => {
                // Its place is not used: every job starts at the first file.
                self.position = 0;
                0..self.files.len()
            }
            SecondaryRule::PerJob(files) => {
                let wanted = usize::try_from(files).unwrap_or(usize::MAX);
                self.start_again_for(wanted);
                self.bounded(wanted, growing, limits)
            }
            SecondaryRule::PerFile(_) | SecondaryRule::PerEvent(_) => {
                self.next_range(at, growing, limits)
            }
        }
    }

    /// Returns the files that come with what the chunk has now; this is its secondary `at`.
    pub(super) fn next_range(
        &mut self,
        at: usize,
        growing: &Growing,
        limits: &JobLimits,
    ) -> Range<usize> {
        let taken = growing.chunk.secondaries[at].len();
        match self.rule {
            SecondaryRule::All | SecondaryRule::PerJob(_) => self.position..self.position,
            SecondaryRule::PerFile(ratio) => {
                let wanted = if follows_boundary(limits) {
                    self.files.len()
                } else {
                    let wanted =
                        files_for(ratio, growing.chunk.sums.master_files).saturating_sub(taken);
                    self.start_again_for(wanted);
                    wanted
                };
                self.bounded(wanted, growing, limits)
            }
            SecondaryRule::PerEvent(ratio) => {
                self.start_again_for(1);
                let has = growing.secondary_events[at];
                let wanted = self.files_for_events(ratio, growing.chunk.sums.master_events, has);
                self.bounded(wanted, growing, limits)
            }
        }
    }

    /// Returns the files that would come with `next`.
    pub(super) fn peek_range(
        &self,
        at: usize,
        sums: &Sums,
        next: &Content,
        growing: &Growing,
        limits: &JobLimits,
    ) -> Range<usize> {
        let none = self.position..self.position;
        let taken = growing.chunk.secondaries[at].len();
        let wanted = match self.rule {
            SecondaryRule::All | SecondaryRule::PerJob(_) => return none,
            SecondaryRule::PerFile(_) if follows_boundary(limits) => self.files.len(),
            SecondaryRule::PerFile(ratio) => {
                files_for(ratio, sums.master_files).saturating_sub(taken)
            }
            SecondaryRule::PerEvent(ratio) => {
                self.files_for_events(ratio, sums.master_events, growing.secondary_events[at])
            }
        };
        self.range_while(wanted, |boundary| {
            limits.boundary.is_none()
                || next.boundary.is_none()
                || boundary == next.boundary
                || boundary.is_some_and(|boundary| growing.boundaries.contains(&boundary))
        })
    }

    /// Starts again at the first file when all are used and the stream is a repeated one.
    pub(super) fn wrap(&mut self) {
        if self.is_repeated && !self.files.is_empty() {
            self.position %= self.files.len();
        }
    }

    fn start_again_for(&mut self, wanted: usize) {
        if self.is_reusable && self.position.saturating_add(wanted) > self.files.len() {
            self.position = 0;
        }
    }

    fn bounded(&self, wanted: usize, growing: &Growing, limits: &JobLimits) -> Range<usize> {
        self.range_while(wanted, |boundary| {
            limits.boundary.is_none()
                || growing.boundary.is_none()
                || boundary == growing.boundary
                || boundary.is_some_and(|boundary| growing.boundaries.contains(&boundary))
        })
    }

    fn range_while(&self, wanted: usize, belongs: impl Fn(Option<i64>) -> bool) -> Range<usize> {
        let rest = &self.files[self.position..];
        let count = rest
            .iter()
            .take(wanted)
            .take_while(|file| belongs(file.boundary))
            .count();
        self.position..self.position + count
    }

    /// Counts the files until their events reach the ratio.
    fn files_for_events(&self, ratio: u64, master_events: u64, mut has: u64) -> usize {
        let wanted = u128::from(ratio) * u128::from(master_events);
        let rest = &self.files[self.position..];
        rest.iter()
            .take_while(|file| {
                let is_short = u128::from(has) * MILLION < wanted;
                has = has.saturating_add(file.known_events().unwrap_or(0));
                is_short
            })
            .count()
    }
}

/// Says whether secondary files are found by their boundary instead of by number.
fn follows_boundary(limits: &JobLimits) -> bool {
    match limits.boundary {
        Some(BoundaryRule::Within | BoundaryRule::Whole | BoundaryRule::Across) => true,
        None => false,
    }
}

/// Returns how many files go with `master` files of the master, rounded up.
fn files_for(ratio: u64, master: u64) -> usize {
    let files = (u128::from(ratio) * u128::from(master)).div_ceil(MILLION);
    usize::try_from(files).unwrap_or(usize::MAX)
}
