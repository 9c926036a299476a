//! What happened, one line each: the last lines for a violation, all of them when asked for, and
//! a fingerprint of all in any case.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
};

use ailurus_model::Moment;

/// Lines that a violation shows.
const RECENT_LINES: usize = 30;
/// FNV-1a, 64 bits.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_FACTOR: u64 = 0x0100_0000_01b3;

/// Whether the whole trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last lines and the fingerprint.
    Recent,
    /// Every line.
    All,
}

/// The lines of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    keep: Keep,
    fingerprint: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) const fn new(keep: Keep) -> Self {
        Self {
            keep,
            fingerprint: FNV_START,
            lines: VecDeque::new(),
        }
    }

    /// Adds a line: when, who, what.
    pub(crate) fn say(&mut self, now: Moment, who: impl fmt::Display, what: fmt::Arguments<'_>) {
        let is_full = self.keep == Keep::Recent && self.lines.len() >= RECENT_LINES;
        let mut line = if is_full {
            self.lines.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        write!(line, "{now} {who}: {what}").expect("writing to a text never fails");
        for byte in line.bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(FNV_FACTOR);
        }
        self.lines.push_back(line);
    }

    /// Returns a number that two runs share only if they did the same.
    pub(crate) const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Returns the last lines.
    pub(crate) fn recent(&self) -> Vec<String> {
        let skipped = self.lines.len().saturating_sub(RECENT_LINES);
        self.lines.iter().skip(skipped).cloned().collect()
    }

    /// Returns all lines that were kept.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(keep: Keep, last: u64) -> Trace {
        let mut trace = Trace::new(keep);
        for nr in 0..100 {
            trace.say(
                Moment::from_millis(nr),
                "pilot 1",
                format_args!("line {nr}"),
            );
        }
        trace.say(
            Moment::from_millis(100),
            "pilot 1",
            format_args!("line {last}"),
        );
        trace
    }

    #[test]
    fn the_last_lines_are_kept_in_any_case_and_all_of_them_when_asked_for() {
        assert_eq!(
            trace(Keep::Recent, 100).recent(),
            trace(Keep::All, 100).recent()
        );
        assert_eq!(trace(Keep::Recent, 100).recent().len(), RECENT_LINES);
        assert_eq!(trace(Keep::All, 100).into_lines().len(), 101);
    }

    #[test]
    fn one_other_word_gives_another_fingerprint() {
        let fingerprint = |last| trace(Keep::Recent, last).fingerprint();
        assert_eq!(fingerprint(100), trace(Keep::All, 100).fingerprint());
        assert_ne!(fingerprint(100), fingerprint(101));
    }
}
