//! Where a task's jobs may run: one queue, lists of names with `*`, a cloud, a nucleus.
//!
//! The main type is [`SiteSelection`]. It only says whether a queue's name is allowed; whether the
//! queue can run the job is the business of the brokerage.
//!
//! Source: PanDA server, `pandajedi/jedibrokerage/AtlasBrokerUtils.py` (`isMatched`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where jobs may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SiteSelection {
    /// Only these queues (`site`, a list with commas); names may hold `*`. Empty means all.
    pub site: Vec<String>,
    /// Only these queues (`includedSite`); names may hold `*`. Empty means all.
    pub included: Vec<String>,
    /// Not these queues (`excludedSite`); names may hold `*`.
    pub excluded: Vec<String>,
    /// Only queues of this cloud.
    pub cloud: Option<String>,
    /// Outputs are collected at this place.
    pub nucleus: Option<String>,
}

/// Why the task's own wish rules a queue out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteRefusal {
    /// It is not the queue that the task names.
    NotTheSite,
    /// It is not in the list of allowed queues.
    NotIncluded,
    /// It is in the list of refused queues, by this pattern.
    Excluded(String),
}

impl fmt::Display for SiteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheSite => f.write_str("the task names another queue"),
            Self::NotIncluded => f.write_str("the task's list of queues does not have it"),
            Self::Excluded(pattern) => write!(f, "the task excludes `{pattern}`"),
        }
    }
}

impl SiteSelection {
    /// Says why a queue is ruled out by its name, if it is.
    #[must_use]
    pub fn refusal(&self, queue: &str) -> Option<SiteRefusal> {
        let is_listed = |list: &[String]| list.iter().any(|pattern| matches(pattern, queue));
        if !self.site.is_empty() && !is_listed(&self.site) {
            return Some(SiteRefusal::NotTheSite);
        }
        if let Some(pattern) = self.excluded.iter().find(|pattern| matches(pattern, queue)) {
            return Some(SiteRefusal::Excluded(pattern.clone()));
        }
        if !self.included.is_empty() && !is_listed(&self.included) {
            return Some(SiteRefusal::NotIncluded);
        }
        None
    }
}

/// Says whether a name fits a pattern in which `*` stands for any text.
///
/// PanDA searches a pattern with `*` anywhere in the name, and compares one without whole.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == name;
    }
    let mut rest = name;
    for piece in pattern.split('*') {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(site: &[&str], included: &[&str], excluded: &[&str]) -> SiteSelection {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        SiteSelection {
            site: texts(site),
            included: texts(included),
            excluded: texts(excluded),
            ..SiteSelection::default()
        }
    }

    #[test]
    fn a_star_is_searched_anywhere_in_the_name() {
        assert!(matches("DUBNA*", "SPD_DUBNA_MCORE"));
        assert!(matches("SPD*MCORE", "SPD_DUBNA_MCORE"));
        assert!(!matches("MCORE*SPD", "SPD_DUBNA_MCORE"));
        assert!(!matches("DUBNA", "SPD_DUBNA"));
    }

    #[test]
    fn the_reason_names_the_list() {
        let wanted = selection(&[], &["A*"], &["*B"]);
        assert_eq!(wanted.refusal("A1"), None);
        assert_eq!(
            wanted.refusal("AB"),
            Some(SiteRefusal::Excluded("*B".to_owned()))
        );
        assert_eq!(wanted.refusal("C"), Some(SiteRefusal::NotIncluded));
        assert_eq!(
            selection(&["X"], &[], &[]).refusal("Y"),
            Some(SiteRefusal::NotTheSite)
        );
    }

    #[test]
    fn no_wish_allows_every_queue() {
        assert_eq!(SiteSelection::default().refusal("anything"), None);
    }
}
