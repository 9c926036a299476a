//! What is special about a job: PanDA's short tags, which one column keeps joined by commas.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JobSpec.py`, `specialHandling`.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The payload's latest output is shown with each heartbeat.
pub const DEBUG: &str = "dm";
/// The job is one of a task's scouts.
pub const SCOUT: &str = "sj";
/// The job is announced by a message (push queues).
pub const PUSH_JOB: &str = "pj";
/// Changes of the job's status are announced by messages.
pub const PUSH_CHANGES: &str = "pc";
/// The job merges what others of its task wrote.
pub const MERGE: &str = "pm";
/// The job builds what others of its task need.
pub const BUILD: &str = "bj";
/// The payload is not watched for progress.
pub const NO_LOOPING_CHECK: &str = "lc";
/// The parameters are base64 on the wire.
pub const ENCODED_PARAMETERS: &str = "ej";
/// The job reads secrets of its user.
pub const SECRETS: &str = "us";
/// The job runs before others of its user's (`express`).
pub const EXPRESS: &str = "express";
/// The log goes to an object store.
pub const LOG_TO_OBJECT_STORE: &str = "po";
/// The parameters hold the set-up too.
pub const NO_STRING_CONVERSION: &str = "nc";
/// Event numbers are positions in files.
pub const IN_FILE_POSITION: &str = "if";
/// The prefetcher of events is used.
pub const PREFETCHER: &str = "up";
/// The job is one of a search for hyperparameters.
pub const HPO: &str = "ho";
/// Inputs are listed in files beside the payload.
pub const WRITE_INPUT_LIST: &str = "wf";
/// Outputs are merged where they are written.
pub const ON_SITE_MERGING: &str = "om";
/// The job is for slots in the background only (`jobExecutionID` 1). Ours: PanDA has a column.
pub const BACKGROUND: &str = "bg";
/// Before the mode of alternative stage-out: `ao:on`.
pub const ALTERNATIVE_STAGE_OUT: &str = "ao:";
/// Before the mode of cloning: `sc:1` (run once) or `sc:2` (store once).
pub const CLONING: &str = "sc:";
/// The job takes ranges of events, until none is left.
pub const EVENT_SERVICE: &str = "eventservice";
/// The job merges what was written of its ranges of events.
pub const EVENT_MERGE: &str = "esmerge";
/// Before what the ranges of a job are cut from, in a submission: `es:0:FILE/FIRST/LAST/SIZE/…^`.
pub const EVENT_HEADER: &str = "es:";
/// Ranges that cannot be done do not keep the others from being merged.
pub const ACCEPT_PARTIAL: &str = "ap";
/// Only failures of a range count as its attempts, not that its job ended.
pub const COUNT_FAILURES_ONLY: &str = "df";
/// What is done of a job that fails is kept for when it is tried again.
pub const KEEP_EVENTS: &str = "de";
/// The input of the job is worked on event by event. Ours: PanDA has a column.
pub const FINE_GRAINED: &str = "fg";

/// What is special about a job. Each tag is there once; their order is that of their setting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobTags(String);

impl JobTags {
    /// Takes tags as PanDA writes them: joined by commas.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut tags = Self::default();
        for tag in text.split(',') {
            tags.insert(tag.trim());
        }
        tags
    }

    /// Returns the tags joined by commas.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether nothing is special.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether the job has this very tag.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        self.iter().any(|one| one == tag)
    }

    /// Returns what follows a beginning such as `ao:`.
    #[must_use]
    pub fn value_of(&self, beginning: &str) -> Option<&str> {
        self.iter().find_map(|one| one.strip_prefix(beginning))
    }

    /// Adds a tag, if it is not there.
    pub fn insert(&mut self, tag: &str) {
        if tag.is_empty() || self.has(tag) {
            return;
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(tag);
    }

    /// Takes a tag away, if it is there.
    pub fn remove(&mut self, tag: &str) {
        let kept: Vec<&str> = self.iter().filter(|one| *one != tag).collect();
        self.0 = kept.join(",");
    }

    /// Lists the tags.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|tag| !tag.is_empty())
    }
}

impl fmt::Display for JobTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for JobTags {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_there_once_until_it_is_taken_away() {
        let mut tags = JobTags::new("sj, ao:on,,sj");
        tags.insert(DEBUG);
        tags.insert(DEBUG);
        assert_eq!(tags.as_str(), "sj,ao:on,dm");
        assert_eq!(tags.value_of(ALTERNATIVE_STAGE_OUT), Some("on"));
        assert!(tags.has(SCOUT) && !tags.has("ao"));
        tags.remove(SCOUT);
        tags.remove("nothing");
        assert_eq!(tags, JobTags::new("ao:on,dm"));
        assert_eq!(JobTags::new("").iter().count(), 0);
    }
}
