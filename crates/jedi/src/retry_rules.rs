//! What is done about failed jobs, by their errors: PanDA's retry module as data.
//!
//! The main type is [`RetryBook`], read from a file of rules. It tells which actions a failed job
//! leads to ([`Decision`]) and whether its failure counts; [`effects`] works out what an action
//! changes. Writing the change is the business of others.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/retryModule.py`.

pub mod effects;
#[cfg(test)]
mod tests;

use ailurus_model::Timestamp;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Largest size of a compiled pattern, bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// The rules that a server has without a file of its own: none.
pub const DEFAULT_RULES: &str = include_str!("../retry-rules.toml");

/// Which component an error is of, by the name of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ErrorSource {
    /// The pilot.
    #[serde(rename = "pilotErrorCode")]
    Pilot,
    /// The payload, as the pilot understands it.
    #[serde(rename = "exeErrorCode")]
    Payload,
    /// Data management.
    #[serde(rename = "ddmErrorCode")]
    Data,
    /// The payload's exit code.
    #[serde(rename = "transExitCode")]
    ExitCode,
    /// The dispatcher and watchdogs of the server.
    #[serde(rename = "jobDispatcherErrorCode")]
    Dispatcher,
    /// The server's tables, ended by commands.
    #[serde(rename = "taskBufferErrorCode")]
    TaskBuffer,
    /// Harvester.
    #[serde(rename = "supErrorCode")]
    Harvester,
    /// Brokerage.
    #[serde(rename = "brokerageErrorCode")]
    Brokerage,
}

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RetryAction {
    /// The files of the job are not tried again.
    NoRetry,
    /// They are tried at most so often.
    LimitRetry {
        /// Attempts of a file.
        max_attempt: u32,
    },
    /// The next job gets the next amount of memory.
    IncreaseMemory,
    /// The next job gets memory by the task's rules `RX`, `RY`, `RZ`.
    IncreaseMemoryXtimes,
    /// The task's CPU time is worked out anew from this job.
    IncreaseCputime,
    /// Later jobs of the task get less input.
    ReduceInputPerJob {
        /// Attempts at which input is halved, quartered, and made least.
        #[serde(default = "default_steps")]
        steps: [u32; 3],
        /// Tasks with one of these rules are left alone.
        #[serde(default = "default_excluded")]
        excluded_rules: Vec<String>,
    },
}

fn default_steps() -> [u32; 3] {
    [2, 4, 7]
}

fn default_excluded() -> Vec<String> {
    vec!["nEventsPerJob".to_owned(), "nFilesPerJob".to_owned()]
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMatch {
    /// Which component.
    pub source: ErrorSource,
    /// Its error.
    pub code: i64,
    /// Pattern from the start of the message; all if absent.
    #[serde(default)]
    pub diag: Option<String>,
}

/// One rule of retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// Its name, for messages.
    pub id: String,
    /// Errors that it is about.
    #[serde(flatten)]
    pub error: ErrorMatch,
    /// Only jobs of this architecture (`cmtConfig`).
    #[serde(default)]
    pub architecture: Option<String>,
    /// Only jobs of this release (`AtlasRelease`).
    #[serde(default)]
    pub release: Option<String>,
    /// Only jobs of this work queue.
    #[serde(default)]
    pub work_queue: Option<i64>,
    /// What it asks for.
    #[serde(flatten)]
    pub action: RetryAction,
    /// Whether it is applied, or only reported.
    #[serde(default = "is_active_default")]
    pub is_active: bool,
    /// It is no longer applied from then on: `2027-01-31 00:00:00`, UTC.
    #[serde(default)]
    pub expires: Option<String>,
}

/// One rule about whose failure it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRule {
    /// Its name, for messages.
    pub id: String,
    /// Errors that it is about.
    #[serde(flatten)]
    pub error: ErrorMatch,
    /// Whose failure it is.
    pub class: ErrorClass,
    /// Whether it is applied, or only reported.
    #[serde(default = "is_active_default")]
    pub is_active: bool,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorClass {
    /// The system's: it does not count against the files of the job.
    System,
    /// The user's.
    User,
    /// Nobody knows.
    Unknown,
}

fn is_active_default() -> bool {
    true
}

/// The rules of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRules {
    /// Rules of retries, in order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RetryRule>,
    /// Rules of classes, in order.
    #[serde(default, rename = "class")]
    pub classes: Vec<ClassRule>,
}

/// Why a file of rules is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryRulesError {
    /// It is not of the form of such a file.
    #[error("retry rules cannot be read: {0}")]
    Form(String),
    /// A pattern of a rule is none.
    #[error("`diag` of retry rule `{id}` is no pattern: {reason}")]
    Pattern {
        /// The rule.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The time of a rule is none.
    #[error("`expires` of retry rule `{id}` is `{value}`: write `2027-01-31 00:00:00`")]
    Time {
        /// The rule.
        id: String,
        /// What is written.
        value: String,
    },
}

/// One error of a failed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError<'a> {
    /// Which component.
    pub source: ErrorSource,
    /// Its error; 0 is none.
    pub code: i64,
    /// Its message.
    pub diag: &'a str,
}

/// What of a failed job rules ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedJob<'a> {
    /// `cmtConfig`.
    pub architecture: &'a str,
    /// `AtlasRelease`.
    pub release: &'a str,
    /// Its work queue, if any.
    pub work_queue: Option<i64>,
}

/// What is to be done about a failed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rule.
    pub rule: String,
    /// What it asks for.
    pub action: RetryAction,
    /// Whether it is applied, or only reported.
    pub is_active: bool,
}

/// Rules that are ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct RetryBook {
    rules: Vec<(RetryRule, Option<Regex>, Option<Timestamp>)>,
    classes: Vec<(ClassRule, Option<Regex>)>,
}

impl RetryBook {
    /// Reads rules from TOML.
    ///
    /// # Errors
    ///
    /// [`RetryRulesError`] names what is wrong.
    pub fn from_toml(text: &str) -> Result<Self, RetryRulesError> {
        let rules: RetryRules =
            toml::from_str(text).map_err(|error| RetryRulesError::Form(error.to_string()))?;
        Self::new(rules)
    }

    /// Takes rules.
    ///
    /// # Errors
    ///
    /// [`RetryRulesError`] if a pattern or a time is none.
    pub fn new(rules: RetryRules) -> Result<Self, RetryRulesError> {
        let mut book = Self::default();
        for rule in rules.rules {
            let pattern = compile(&rule.id, rule.error.diag.as_deref())?;
            let time = rule.expires.as_deref().map(|text| {
                Timestamp::from_panda_text(text).map_err(|_| RetryRulesError::Time {
                    id: rule.id.clone(),
                    value: text.to_owned(),
                })
            });
            let expires = time.transpose()?;
            book.rules.push((rule, pattern, expires));
        }
        for rule in rules.classes {
            let pattern = compile(&rule.id, rule.error.diag.as_deref())?;
            book.classes.push((rule, pattern));
        }
        Ok(book)
    }

    /// Tells what is to be done about a failed job: by its first error that leads to anything.
    #[must_use]
    pub fn decide(
        &self,
        errors: &[JobError<'_>],
        job: &FailedJob<'_>,
        now: Timestamp,
    ) -> Vec<Decision> {
        let decisions = errors.iter().map(|error| self.decide_one(error, job, now));
        decisions
            .into_iter()
            .find(|decisions| !decisions.is_empty())
            .unwrap_or_default()
    }

    /// Tells whose failure it is: by the first rule for the first error that has one.
    #[must_use]
    pub fn classify(&self, errors: &[JobError<'_>]) -> Option<&ClassRule> {
        errors
            .iter()
            .filter(|error| error.code != 0)
            .find_map(|error| {
                let found = self
                    .classes
                    .iter()
                    .find(|(rule, pattern)| is_match(&rule.error, pattern, error));
                found.map(|(rule, _)| rule)
            })
    }

    /// Takes the first rule of each kind, and of those about attempts the strictest.
    fn decide_one(
        &self,
        error: &JobError<'_>,
        job: &FailedJob<'_>,
        now: Timestamp,
    ) -> Vec<Decision> {
        let applies = |rule: &RetryRule, pattern: &Option<Regex>, expires: &Option<Timestamp>| {
            let is_same = |wanted: &Option<String>, has: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == has)
            };
            error.code != 0
                && is_match(&rule.error, pattern, error)
                && is_same(&rule.architecture, job.architecture)
                && is_same(&rule.release, job.release)
                && rule
                    .work_queue
                    .is_none_or(|queue| job.work_queue == Some(queue))
                && expires.is_none_or(|expires| now < expires)
        };
        let mut chosen: Vec<&RetryRule> = Vec::new();
        let mut limit: Option<&RetryRule> = None;
        for (rule, pattern, expires) in &self.rules {
            if !applies(rule, pattern, expires) {
                continue;
            }
            if max_attempt(&rule.action).is_some() {
                limit = Some(limit.map_or(rule, |so_far| stricter(so_far, rule)));
            } else if chosen
                .iter()
                .all(|one| kind(&one.action) != kind(&rule.action))
            {
                chosen.push(rule);
            }
        }
        chosen.sort_by_key(|rule| kind(&rule.action));
        let decision = |rule: &RetryRule| Decision {
            rule: rule.id.clone(),
            action: rule.action.clone(),
            is_active: rule.is_active,
        };
        chosen.into_iter().chain(limit).map(decision).collect()
    }
}

/// The order in which actions are taken, one of each kind.
fn kind(action: &RetryAction) -> u8 {
    match action {
        RetryAction::IncreaseMemory => 0,
        RetryAction::IncreaseMemoryXtimes => 1,
        RetryAction::IncreaseCputime => 2,
        RetryAction::ReduceInputPerJob { .. } => 3,
        RetryAction::NoRetry | RetryAction::LimitRetry { .. } => 4,
    }
}

/// The attempts that an action leaves, if it is about attempts.
fn max_attempt(action: &RetryAction) -> Option<u32> {
    match action {
        RetryAction::NoRetry => Some(0),
        RetryAction::LimitRetry { max_attempt } => Some(*max_attempt),
        RetryAction::IncreaseMemory
        | RetryAction::IncreaseMemoryXtimes
        | RetryAction::IncreaseCputime
        | RetryAction::ReduceInputPerJob { .. } => None,
    }
}

/// Takes the rule that asks more about the job, or of two equal ones the one with fewer attempts.
fn stricter<'a>(one: &'a RetryRule, other: &'a RetryRule) -> &'a RetryRule {
    let weight = |rule: &RetryRule| {
        u8::from(rule.architecture.is_some())
            + u8::from(rule.release.is_some())
            + u8::from(rule.work_queue.is_some())
    };
    let is_fewer = max_attempt(&other.action) < max_attempt(&one.action);
    if weight(other) > weight(one) || (weight(other) == weight(one) && is_fewer) {
        other
    } else {
        one
    }
}

fn is_match(wanted: &ErrorMatch, pattern: &Option<Regex>, error: &JobError<'_>) -> bool {
    wanted.source == error.source
        && wanted.code == error.code
        && pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(error.diag))
}

/// Compiles a pattern that begins at the start of the message, where a dot is any character.
fn compile(id: &str, pattern: Option<&str>) -> Result<Option<Regex>, RetryRulesError> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
        return Ok(None);
    };
    RegexBuilder::new(&format!(r"\A(?:{pattern})"))
        .dot_matches_new_line(true)
        .size_limit(PATTERN_BYTES)
        .build()
        .map(Some)
        .map_err(|error| RetryRulesError::Pattern {
            id: id.to_owned(),
            reason: error.to_string(),
        })
}
