//! Asking what jobs are: legacy `getStatus` and v1 `pilot/get_job_status`.
//!
//! Source: PanDA server, `pandaserver/jobdispatcher/JobDispatcher.py`, `getStatus` (0.8.1), and
//! `pandaserver/api/v1/pilot_api.py`, `get_job_status`.

use ailurus_model::{AttemptNr, JobStatus, PandaId};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerError},
    fields::{FieldError, Fields, text_of, whole_of},
    table::{Dialect, Reader, Writer, field_table},
    v1::{Envelope, RequestError},
};

/// The most jobs that one request may ask for.
pub const JOBS_MAX: usize = 5500;

/// The words for a job that the server does not know.
const NOT_FOUND: [&str; 2] = ["notfound", "not found"];

/// Returns the path of the call, below the server's address. The legacy one is a POST, the v1
/// one a GET with a query.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/getStatus",
        Dialect::V1 => "/api/v1/pilot/get_job_status",
    }
}

field_table!(FIELDS {
    IDS = any("ids", "job_ids").required();
    _TIMEOUT = any("timeout", "timeout");
});

/// What one job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobState {
    /// The job.
    pub panda_id: PandaId,
    /// Its status and current attempt; none if the server does not know it.
    pub found: Option<(JobStatus, AttemptNr)>,
}

/// Writes a request; that of v1 belongs into a query.
#[must_use]
pub fn encode_request(dialect: Dialect, jobs: &[PandaId]) -> Fields {
    let ids = jobs.iter().map(PandaId::to_string);
    let mut out = Writer::new(dialect);
    match dialect {
        Dialect::Legacy => out.put(&IDS, ids.collect::<Vec<_>>().join(" ")),
        Dialect::V1 => out.put(&IDS, ids.collect::<Vec<_>>()),
    }
    out.finish()
}

/// Reads a request.
///
/// # Errors
///
/// [`RequestError`] if an id is no number, or there are more than [`JOBS_MAX`].
pub fn decode_request(dialect: Dialect, fields: &Fields) -> Result<Vec<PandaId>, RequestError> {
    let message = Reader::of_query(dialect, FIELDS, fields)?;
    let text = match message.value(&IDS) {
        None => return Ok(Vec::new()),
        Some(Value::Array(ids)) => {
            let ids: Vec<_> = ids.iter().map(text_of).collect();
            ids.join(" ")
        }
        Some(value) => text_of(value).into_owned(),
    };
    if text.split_whitespace().nth(JOBS_MAX).is_some() {
        return Err(message
            .error(&IDS, format!("at most {JOBS_MAX} jobs"))
            .into());
    }
    text.split_whitespace()
        .map(|id| {
            let bad = || FieldError::of_text(IDS.name(dialect), id, "numbers of jobs");
            id.parse().map_err(|_| bad().into())
        })
        .collect()
}

/// Writes an answer, jobs in the order asked for.
#[must_use]
pub fn encode_answer(dialect: Dialect, states: &[JobState]) -> Answer {
    match dialect {
        Dialect::Legacy => {
            let join = |part: &dyn Fn(&JobState) -> String| {
                let parts: Vec<_> = states.iter().map(part).collect();
                parts.join("+")
            };
            let mut fields = Fields::new();
            fields.put("status", join(&|state| status_text(state, NOT_FOUND[0])));
            fields.put("attemptNr", join(&|state| attempt_of(state).to_string()));
            Answer::success(dialect, fields)
        }
        Dialect::V1 => {
            let list = states.iter().map(|state| {
                json!({
                    "job_id": state.panda_id,
                    "status": status_text(state, NOT_FOUND[1]),
                    "attempt_number": attempt_of(state),
                })
            });
            Answer::V1(Envelope::success(list.collect::<Value>()))
        }
    }
}

fn status_text(state: &JobState, not_found: &str) -> String {
    let word = state.found.map_or(not_found, |(status, _)| status.as_str());
    word.to_owned()
}

fn attempt_of(state: &JobState) -> u32 {
    state.found.map_or(0, |(_, attempt)| attempt.value())
}

/// Reads an answer to a request for these jobs.
///
/// # Errors
///
/// [`AnswerError`] if the server refused, answered about another number of jobs, or gave a status
/// that there is not.
pub fn decode_answer(
    dialect: Dialect,
    jobs: &[PandaId],
    bytes: &[u8],
) -> Result<Vec<JobState>, AnswerError> {
    let rows = match dialect {
        Dialect::Legacy => legacy_rows(&Answer::parse(dialect, bytes)?.into_fields()?),
        Dialect::V1 => v1_rows(&Answer::parse(dialect, bytes)?.into_data()?),
    };
    if rows.len() != jobs.len() {
        let found = rows.len().to_string();
        let allowed = format!("one entry for each of {} jobs", jobs.len());
        return Err(FieldError::of_text("status", &found, allowed).into());
    }
    jobs.iter()
        .zip(rows)
        .map(|(panda_id, (status, attempt))| {
            let found = match status.as_str() {
                word if NOT_FOUND.contains(&word) => None,
                word => Some((status_of(word)?, AttemptNr::new(attempt))),
            };
            Ok(JobState {
                panda_id: *panda_id,
                found,
            })
        })
        .collect()
}

fn status_of(word: &str) -> Result<JobStatus, FieldError> {
    word.parse()
        .map_err(|_| FieldError::of_text("status", word, "the status of a job"))
}

/// Status and attempt of each job, joined by plus signs.
fn legacy_rows(fields: &Fields) -> Vec<(String, u32)> {
    let [status, attempts] = ["status", "attemptNr"].map(|name| fields.text(name));
    let attempts = attempts
        .split('+')
        .map(|attempt| attempt.parse().unwrap_or(0));
    status
        .split('+')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .zip(attempts)
        .collect()
}

fn v1_rows(data: &Value) -> Vec<(String, u32)> {
    let items = data.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(|item| {
            let status = item.get("status").map(text_of).unwrap_or_default();
            let attempt = item.get("attempt_number").and_then(whole_of);
            let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok());
            (status.into_owned(), attempt.unwrap_or(0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LegacyForm, body};

    #[test]
    fn the_legacy_answer_joins_with_percent_encoded_plus_signs() {
        let states = [
            JobState {
                panda_id: PandaId::new(1),
                found: Some((JobStatus::Running, AttemptNr::new(2))),
            },
            JobState {
                panda_id: PandaId::new(2),
                found: None,
            },
        ];
        let jobs = states.map(|state| state.panda_id);
        let bytes = encode_answer(Dialect::Legacy, &states).to_body(LegacyForm::Urlencoded);
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "StatusCode=0&attemptNr=2%2B0&status=running%2Bnotfound"
        );
        for dialect in Dialect::ALL {
            let bytes = encode_answer(dialect, &states).to_body(LegacyForm::Urlencoded);
            let decoded = decode_answer(dialect, &jobs, &bytes).expect("an answer");
            assert_eq!(decoded, states);
        }
    }

    #[test]
    fn requests_survive_both_dialects() {
        let jobs = [PandaId::new(1), PandaId::new(7)];
        let legacy = encode_request(Dialect::Legacy, &jobs);
        assert_eq!(decode_request(Dialect::Legacy, &legacy), Ok(jobs.to_vec()));
        let query = body::encode_query(&encode_request(Dialect::V1, &jobs));
        assert_eq!(query, "job_ids=1&job_ids=7");
        let fields = body::decode_query(&query);
        assert_eq!(decode_request(Dialect::V1, &fields), Ok(jobs.to_vec()));
        let one = body::decode_query("job_ids=7");
        assert_eq!(decode_request(Dialect::V1, &one), Ok(vec![PandaId::new(7)]));
    }

    #[test]
    fn an_answer_about_fewer_jobs_is_refused() {
        let answer = b"StatusCode=0&status=running&attemptNr=1";
        let jobs = [PandaId::new(1), PandaId::new(2)];
        assert!(decode_answer(Dialect::Legacy, &jobs, answer).is_err());
    }
}
