//! Searches a buffer for the rules of many entries in one pass.
//!
//! One automaton over the literals of all rules runs over the whole buffer; only on a line where
//! it stops are precise patterns tried. The work is linear in the buffer's length whatever its
//! bytes are: a piece of a line is bounded, and on each piece each rule is tried once.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range, sync::OnceLock};

use regex::bytes::{Regex, RegexBuilder};

use crate::{entry::Entry, schema::Rule};

/// The longest line that a [`Finding`] quotes, in characters.
pub const LINE_CHARS_MAX: usize = 256;

/// How much of a line before the place where something was found is looked at, in bytes.
const BEFORE_BYTES_MAX: usize = 1024;
/// How much of a line from there on is looked at, in bytes.
const AFTER_BYTES_MAX: usize = 4096;
/// How much of a long line is quoted before the place, in bytes.
const QUOTED_BEFORE_BYTES: usize = 100;

/// A known error in some output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What is known about it.
    pub entry: &'a Entry,
    /// The first line that has it, trimmed, without control characters and with at most
    /// [`LINE_CHARS_MAX`] characters; of a longer line, the part around the place.
    pub line: String,
}

/// The rules of one scope.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// Index of its entry, and the rule itself.
    rules: Vec<(usize, Rule)>,
    /// Made for the first search.
    literals: OnceLock<Literals>,
}

/// The literals of all rules of a scanner.
#[derive(Debug)]
struct Literals {
    /// Finds any of them, at one place the longest; none if there are no rules.
    automaton: Option<Regex>,
    /// For each literal, the rules to be tried where it is: its own and those of its parts.
    rules: BTreeMap<Vec<u8>, Vec<usize>>,
}

impl Scanner {
    /// Takes rules, each with the index of its entry.
    pub(crate) fn new(rules: Vec<(usize, Rule)>) -> Self {
        Self {
            rules,
            literals: OnceLock::new(),
        }
    }

    /// Returns what is found, by rising index of the entry, each entry once.
    pub(crate) fn scan<'a>(
        &self,
        entries: &'a [Entry],
        buffer: &[u8],
        limit: usize,
    ) -> Vec<Finding<'a>> {
        let literals = self.literals.get_or_init(|| Literals::new(&self.rules));
        let Some(automaton) = &literals.automaton else {
            return Vec::new();
        };
        let mut found: BTreeMap<usize, String> = BTreeMap::new();
        // For each rule, where the last piece begins on which it was tried.
        let mut tried: Vec<Option<usize>> = vec![None; self.rules.len()];
        let mut piece = 0..0;
        let mut at = 0;
        while let Some(hit) = automaton.find_at(buffer, at) {
            // The next byte, not the hit's end: literals may overlap.
            at = hit.start() + 1;
            if hit.end() > piece.end {
                piece = piece_around(buffer, hit.range());
            }
            let line = &buffer[piece.clone()];
            for index in &literals.rules[hit.as_bytes()] {
                let (entry, rule) = &self.rules[*index];
                if found.contains_key(entry) || tried[*index] == Some(piece.start) {
                    continue;
                }
                tried[*index] = Some(piece.start);
                if rule
                    .pattern
                    .as_ref()
                    .is_none_or(|pattern| pattern.is_match(line))
                {
                    found.insert(*entry, quote(line, hit.start() - piece.start));
                }
            }
        }
        let best = found.into_iter().take(limit);
        best.map(|(index, line)| Finding {
            entry: &entries[index],
            line,
        })
        .collect()
    }
}

impl Literals {
    fn new(rules: &[(usize, Rule)]) -> Self {
        let mut literals: Vec<&str> = rules.iter().map(|(_, rule)| &*rule.literal).collect();
        literals.sort_unstable_by_key(|literal| (Reverse(literal.len()), *literal));
        literals.dedup();
        let rules_at = |literal: &str| {
            let all = rules.iter().enumerate();
            let parts = all.filter(|(_, (_, rule))| literal.contains(&rule.literal));
            parts.map(|(index, _)| index).collect()
        };
        let by_literal = literals
            .iter()
            .map(|it| (it.as_bytes().to_vec(), rules_at(it)));
        Self {
            automaton: alternation(&literals),
            rules: by_literal.collect(),
        }
    }
}

/// Makes one automaton of the literals.
fn alternation(literals: &[&str]) -> Option<Regex> {
    if literals.is_empty() {
        return None;
    }
    let escaped: Vec<String> = literals
        .iter()
        .map(|literal| regex::escape(literal))
        .collect();
    let all = RegexBuilder::new(&escaped.join("|")).unicode(false).build();
    Some(all.expect("escaped literals are a regular expression"))
}

/// Returns the line around a place, cut where it is too long.
fn piece_around(buffer: &[u8], place: Range<usize>) -> Range<usize> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let first = place.start.saturating_sub(BEFORE_BYTES_MAX);
    let before = &buffer[first..place.start];
    let start = before
        .iter()
        .rposition(is_end)
        .map_or(first, |end| first + end + 1);
    let last = buffer.len().min(place.end + AFTER_BYTES_MAX);
    let after = &buffer[place.end..last];
    let end = after
        .iter()
        .position(is_end)
        .map_or(last, |end| place.end + end);
    start..end
}

/// Returns a line as text that fits into a report.
fn quote(line: &[u8], place: usize) -> String {
    let start = if line.len() > LINE_CHARS_MAX {
        place.saturating_sub(QUOTED_BEFORE_BYTES)
    } else {
        0
    };
    let text = String::from_utf8_lossy(&line[start..]);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let cut: String = printable
        .skip_while(|c| c.is_whitespace())
        .take(LINE_CHARS_MAX)
        .collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
