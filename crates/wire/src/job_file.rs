//! Job definition files: what Harvester, a wrapper or a person puts where a pilot looks.
//!
//! They are read tolerantly: a JSON object keyed by `PandaID` with any number of jobs, one JSON
//! job alone, an answer to `getJob` in either dialect, or a form. Harvester writes them without a
//! rename, so a reader may find half of one: [`JobFileError::may_be_incomplete`] tells that.
//!
//! Source: Pilot 3, `pilot/control/job.py`, `get_job_definition_from_file`; Harvester,
//! `pandaharvester/harvestermessenger/shared_file_messenger.py`, `feed_jobs`.

use std::collections::BTreeMap;

use ailurus_model::{Blame, ErrorCode, Job, PandaId, Retry};
use serde_json::Value;

use crate::{
    AnswerError, Dialect,
    body::{self, BodyError},
    fields::{FieldError, Fields},
    get_job::{self, OfferedJobs},
    job_text::{self, JobError},
};

/// The most jobs that one file may hold.
pub const JOBS_MAX: usize = 10_000;

const PANDA_ID: &str = "PandaID";

/// A file with job definitions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// It cannot be read at all.
    #[error("job definition file cannot be read")]
    Body(#[from] BodyError),
    /// It is an answer of a server that gives no job.
    #[error("job definition file holds a refusal")]
    Answer(#[from] AnswerError),
    /// It has no job.
    #[error("job definition file has no job: its writer must put one into it")]
    Empty,
    /// It has too many.
    #[error("job definition file has {n_jobs} jobs: at most {JOBS_MAX} are taken")]
    TooMany {
        /// How many.
        n_jobs: usize,
    },
    /// Its list of jobs makes no sense.
    #[error("job definition file makes no sense")]
    Field(#[from] FieldError),
}

impl JobFileError {
    /// Says whether the rest of the file may still come.
    #[must_use]
    pub fn may_be_incomplete(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Body(error) => match error {
                BodyError::Json(source) => source.is_eof(),
                BodyError::Compressed(_) => true,
                BodyError::TooLarge | BodyError::NotAnObject => false,
            },
            Self::Answer(_) | Self::TooMany { .. } | Self::Field(_) => false,
        }
    }

    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ConversionFailure
    }

    /// Says whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        Blame::Server
    }
}

/// Reads all jobs of a file, in its order.
///
/// A job whose number differs from the one under which it stands belongs to somebody else: it is
/// among the broken ones, without a number.
///
/// # Errors
///
/// [`JobFileError`].
pub fn decode(bytes: &[u8]) -> Result<OfferedJobs, JobFileError> {
    let plain = body::decompress(bytes)?;
    let text = plain.trim_ascii();
    if text.is_empty() {
        return Err(JobFileError::Empty);
    }
    if !text.starts_with(b"{") {
        if text.starts_with(b"[") || !text.contains(&b'=') {
            return Err(BodyError::NotAnObject.into());
        }
        return Ok(offered([job_text::decode(&body::decode_form(text))]));
    }
    let fields = body::decode_json(text)?;
    if fields.has(PANDA_ID) {
        return Ok(offered([job_text::decode(&fields)]));
    }
    for (mark, dialect) in [("success", Dialect::V1), ("StatusCode", Dialect::Legacy)] {
        if fields.has(mark) {
            return Ok(get_job::decode_answer(dialect, text)?);
        }
    }
    let n_jobs = fields.iter().count();
    match n_jobs {
        0 => Err(JobFileError::Empty),
        1..=JOBS_MAX => Ok(offered(fields.iter().map(keyed_job))),
        _ => Err(JobFileError::TooMany { n_jobs }),
    }
}

/// Writes one job as Harvester does: a JSON object keyed by `PandaID`.
#[must_use]
pub fn encode(job: &Job) -> Vec<u8> {
    let members: BTreeMap<String, Value> =
        BTreeMap::from([(job.panda_id.to_string(), job_text::encode(job).into_value())]);
    body::encode_value(&members)
}

fn offered(jobs: impl IntoIterator<Item = Result<Job, JobError>>) -> OfferedJobs {
    let mut offered = OfferedJobs::default();
    for job in jobs {
        match job {
            Ok(job) => offered.jobs.push(job),
            Err(error) => offered.broken.push(error),
        }
    }
    offered
}

/// Reads a job that stands under its number.
fn keyed_job((key, value): (&str, &Value)) -> Result<Job, JobError> {
    let nobodys = |source| JobError {
        panda_id: None,
        attempt_nr: None,
        source,
    };
    let number: PandaId = key
        .parse()
        .map_err(|_| nobodys(FieldError::of_text(PANDA_ID, key, "the number of a job")))?;
    let mut fields = Fields::from_value(value.clone())
        .map_err(|value| nobodys(FieldError::new(key, Some(&value), "a job as an object")))?;
    let own = fields.whole_if_any(PANDA_ID).map(PandaId::new);
    if let Some(own) = own.filter(|own| *own != number) {
        let allowed = format!("`{number}`, the number under which it stands");
        return Err(nobodys(FieldError::of_text(
            PANDA_ID,
            &own.to_string(),
            allowed,
        )));
    }
    fields.put(PANDA_ID, number.value());
    job_text::decode(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u64> {
        let offered = decode(text.as_bytes()).expect("jobs");
        offered
            .jobs
            .iter()
            .map(|job| job.panda_id.value())
            .collect()
    }

    #[test]
    fn every_form_of_the_file_is_read() {
        assert_eq!(ids(r#"{"12": {"PandaID": 12}, "13": {}}"#), [12, 13]);
        assert_eq!(ids(r#"{"PandaID": "12"}"#), [12]);
        assert_eq!(ids("PandaID=12&jobPars=-x+1"), [12]);
        assert_eq!(ids(r#"{"StatusCode": 0, "PandaID": 12}"#), [12]);
        assert_eq!(
            ids(r#"{"success": true, "data": {"StatusCode": 0, "jobs": [{"PandaID": 1}]}}"#),
            [1]
        );
        assert_eq!(ids(r#"{"StatusCode": 20}"#), Vec::<u64>::new());
    }

    #[test]
    fn a_job_under_the_number_of_another_is_nobodys() {
        let offered = decode(br#"{"12": {"PandaID": 13}, "14": {"PandaID": 14}}"#).expect("jobs");
        assert_eq!((offered.jobs.len(), offered.broken.len()), (1, 1));
        assert_eq!(offered.broken[0].panda_id, None);
        let text = offered.broken[0].source.to_string();
        assert!(text.contains("`13`") && text.contains("`12`"), "{text}");
    }

    #[test]
    fn half_a_file_may_still_be_completed_and_nonsense_not() {
        let is_incomplete = |text: &str| {
            let error = decode(text.as_bytes()).expect_err(text);
            error.may_be_incomplete()
        };
        assert!(is_incomplete("") && is_incomplete(" \n"));
        assert!(is_incomplete(r#"{"12": {"Pand"#));
        assert!(!is_incomplete("<html>no</html>"));
        assert!(!is_incomplete("[1]"));
        assert!(!is_incomplete(r#"{"12": }"#));
        assert!(!is_incomplete(
            r#"{"success": false, "message": "no", "data": null}"#
        ));
        assert!(is_incomplete("{}"));
    }
}
