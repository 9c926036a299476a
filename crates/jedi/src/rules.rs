//! The rules of a task (`splitRule`): how it is cut into jobs, and how it behaves.
//!
//! The main type is [`SplitRules`], a list of rules with values that is written
//! `NF=5,US=2,AN=1,3` and read back. Typed readings give a rule's value with its unit; a rule that
//! is absent reads as its default. What the rules do is not here: see [`crate::split`],
//! [`crate::merge`] and [`crate::scouts`].

mod table;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use table::Rule;

/// Rules with their values, in the order in which they were set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SplitRules(Vec<(Rule, String)>);

/// A text was no list of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no rule of a task: write two letters of a known rule, `=` and a number")]
pub struct ParseRulesError {
    /// The part of the text that was not understood.
    pub part: String,
}

/// How many files of one boundary go together (rule `GB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoundaryRule {
    /// A job stays within one boundary, and may be smaller than it.
    Within,
    /// A job is one whole boundary.
    Whole,
    /// A job may hold several boundaries; master files are cut as if there were none.
    Across,
}

/// What the first few jobs of a task are for (rule `US`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScoutRule {
    /// They are as all others.
    None,
    /// They measure what the others need.
    Wanted,
    /// They have measured.
    Over,
}

impl SplitRules {
    /// Returns a rule's value as it is written.
    #[must_use]
    pub fn text(&self, rule: Rule) -> Option<&str> {
        self.0
            .iter()
            .find(|(one, _)| *one == rule)
            .map(|(_, value)| value.as_str())
    }

    /// Returns a rule's number, if it is set and is one.
    #[must_use]
    pub fn number(&self, rule: Rule) -> Option<i64> {
        self.text(rule)?.parse().ok()
    }

    /// Returns a rule's number, if it is one of at least 1.
    #[must_use]
    pub fn positive(&self, rule: Rule) -> Option<u64> {
        u64::try_from(self.number(rule)?)
            .ok()
            .filter(|number| *number > 0)
    }

    /// Says whether a rule is set, whatever its number is, as PanDA asks.
    #[must_use]
    pub fn is_set(&self, rule: Rule) -> bool {
        self.number(rule).is_some_and(|number| number >= 0)
    }

    /// Sets a rule to a number; an earlier value is replaced in its place.
    pub fn set(&mut self, rule: Rule, number: i64) {
        self.put(rule, number.to_string());
    }

    /// Sets a rule to a word or a list.
    ///
    /// # Errors
    ///
    /// [`ParseRulesError`] if the value could not be read back.
    pub fn set_text(&mut self, rule: Rule, value: &str) -> Result<(), ParseRulesError> {
        if !is_value(rule, value) {
            return Err(ParseRulesError {
                part: format!("{rule}={value}"),
            });
        }
        self.put(rule, value.to_owned());
        Ok(())
    }

    /// Removes a rule.
    pub fn remove(&mut self, rule: Rule) {
        self.0.retain(|(one, _)| *one != rule);
    }

    /// Returns only some of the rules.
    #[must_use]
    pub fn only(&self, kept: &[Rule]) -> Self {
        let kept = self.0.iter().filter(|(rule, _)| kept.contains(rule));
        Self(kept.cloned().collect())
    }

    /// Gives the rules with their values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, &str)> {
        self.0.iter().map(|(rule, value)| (*rule, value.as_str()))
    }

    /// Writes the rules with their names and words: `nFilesPerJob=5,useScout=will_update_requirements`.
    #[must_use]
    pub fn to_named_text(&self) -> String {
        let named: Vec<String> = self
            .iter()
            .map(|(rule, value)| {
                let label = rule
                    .label(value)
                    .map_or_else(|| value.replace(',', "_"), str::to_owned);
                format!("{}={label}", rule.name())
            })
            .collect();
        named.join(",")
    }

    fn put(&mut self, rule: Rule, value: String) {
        match self.0.iter_mut().find(|(one, _)| *one == rule) {
            Some(entry) => entry.1 = value,
            None => self.0.push((rule, value)),
        }
    }
}

/// Typed readings.
impl SplitRules {
    /// Returns how many files go into a job (`NF`); with pieces of events (`DY`), how many pieces.
    #[must_use]
    pub fn files_per_job(&self) -> Option<u64> {
        let files = self.positive(Rule::NFilesPerJob)?;
        match (
            self.positive(Rule::DynamicNumEvents),
            self.positive(Rule::NEventsPerInput),
        ) {
            (Some(piece), Some(events)) if events > piece => {
                Some(files.saturating_mul(events / piece))
            }
            _ => Some(files),
        }
    }

    /// Returns how many events go into a job (`NE`).
    #[must_use]
    pub fn events_per_job(&self) -> Option<u64> {
        self.positive(Rule::NEventsPerJob)
    }

    /// Returns the most bytes of input and output of a job (`NG`).
    #[must_use]
    pub fn bytes_per_job(&self) -> Option<u64> {
        self.positive(Rule::NGbPerJob)
            .map(|gib| gib.saturating_mul(1 << 30))
    }

    /// Returns the most wall time of a job in seconds (`MW`).
    #[must_use]
    pub fn walltime_max_s(&self) -> Option<u64> {
        self.positive(Rule::MaxWalltime)
            .map(|hours| hours.saturating_mul(3600))
    }

    /// Returns the number that is added to random seeds (`RS`), if jobs get seeds.
    #[must_use]
    pub fn seed_offset(&self) -> Option<u64> {
        self.number(Rule::RandomSeed)
            .and_then(|offset| u64::try_from(offset).ok())
    }

    /// Returns the fields of the input's name that go into `${MIDDLENAME}`, numbered from 1 (`AN`).
    #[must_use]
    pub fn middle_name_fields(&self) -> Vec<usize> {
        let text = self.text(Rule::AddNthFieldToLfn).unwrap_or_default();
        text.split(',')
            .filter_map(|field| field.parse().ok())
            .collect()
    }

    /// Returns how files of one boundary go together (`GB`).
    #[must_use]
    pub fn boundary(&self) -> Option<BoundaryRule> {
        match self.number(Rule::GroupBoundaryId)? {
            1 | 2 => Some(BoundaryRule::Within),
            _ => Some(BoundaryRule::Whole),
        }
    }

    /// Returns what the first few jobs are for (`US`).
    #[must_use]
    pub fn scouts(&self) -> ScoutRule {
        match self.number(Rule::UseScout) {
            Some(2) => ScoutRule::Wanted,
            Some(3) => ScoutRule::Over,
            Some(_) | None => ScoutRule::None,
        }
    }

    /// Says whether inputs are always copied to the node (`LI`); 0 says that they are not.
    #[must_use]
    pub fn is_local_io(&self) -> bool {
        self.positive(Rule::UseLocalIo).is_some()
    }
}

fn is_value(rule: Rule, value: &str) -> bool {
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if rule == Rule::AddNthFieldToLfn {
        return value.split(',').all(is_number);
    }
    let is_word = [Rule::DdmBackEnd, Rule::RetryModuleRules].contains(&rule);
    if is_word {
        !value.is_empty() && !value.contains([',', '='])
    } else {
        is_number(value)
    }
}

impl fmt::Display for SplitRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (rule, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{rule}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for SplitRules {
    type Err = ParseRulesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts: Vec<String> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match parts.last_mut() {
                // The list of `AN` is the only value with commas in it.
                Some(last) if last.starts_with("AN=") && !part.contains('=') => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => parts.push(part.to_owned()),
            }
        }
        let mut rules = Self::default();
        for part in parts {
            let bad = || ParseRulesError { part: part.clone() };
            let (tag, value) = part.split_once('=').ok_or_else(bad)?;
            rules.set_text(Rule::from_tag(tag).ok_or_else(bad)?, value)?;
        }
        Ok(rules)
    }
}

impl Serialize for SplitRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SplitRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
