//! Small calls about the server itself: whether it is there, and how many jobs its queues have.
//!
//! Source: PanDA server, `pandaserver/server/panda.py`, `isAlive` (0.8.1),
//! `pandaserver/api/v1/system_api.py` and `pandaserver/api/v1/statistics_api.py`.

use std::collections::BTreeMap;

use ailurus_model::{JobStatus, QueueName};
use serde_json::{Map, Value};

use crate::{
    answer::{Answer, AnswerError, StatusCode},
    body,
    fields::FieldError,
    table::Dialect,
    v1::Envelope,
};

/// The text by which a legacy server says that it is there.
const ALIVE: &[u8] = b"alive=yes";

/// The path of the job statistics (GET, v1 only).
pub const JOB_STATISTICS_PATH: &str = "/api/v1/statistics/active_job_stats_by_site";

/// The statuses that Harvester wants to see, also with no jobs in them.
pub const ALWAYS_COUNTED: [JobStatus; 3] = [
    JobStatus::Assigned,
    JobStatus::Activated,
    JobStatus::Running,
];

/// Returns the path of the question whether the server is there (GET).
#[must_use]
pub const fn is_alive_path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/isAlive",
        Dialect::V1 => "/api/v1/system/is_alive",
    }
}

/// Writes that the server is there.
#[must_use]
pub fn encode_is_alive(dialect: Dialect) -> Vec<u8> {
    match dialect {
        Dialect::Legacy => ALIVE.to_vec(),
        Dialect::V1 => body::encode_value(&Envelope::success(Value::Null)),
    }
}

/// Reads whether the server is there.
///
/// # Errors
///
/// [`AnswerError`] if something else answered.
pub fn decode_is_alive(dialect: Dialect, bytes: &[u8]) -> Result<(), AnswerError> {
    match dialect {
        Dialect::Legacy if bytes.trim_ascii() == ALIVE => Ok(()),
        Dialect::Legacy => Err(AnswerError::Refused {
            status: StatusCode::Failed,
            message: "no sign of life".to_owned(),
        }),
        Dialect::V1 => Answer::parse(dialect, bytes)?.into_data().map(drop),
    }
}

/// Numbers of jobs that have not ended, by queue and status.
pub type JobStatistics = BTreeMap<QueueName, BTreeMap<JobStatus, u64>>;

/// Writes the job statistics.
#[must_use]
pub fn encode_job_statistics(statistics: &JobStatistics) -> Answer {
    let queues = statistics.iter().map(|(queue, counts)| {
        let mut members: Map<String, Value> = counts
            .iter()
            .map(|(status, count)| (status.to_string(), Value::from(*count)))
            .collect();
        for status in ALWAYS_COUNTED {
            members.entry(status.as_str()).or_insert(Value::from(0));
        }
        (queue.to_string(), Value::Object(members))
    });
    Answer::V1(Envelope::success(Value::Object(queues.collect())))
}

/// Reads the job statistics. Statuses that Ailurus does not know are passed over.
///
/// # Errors
///
/// [`AnswerError`] if the server refused, or the data are no numbers by queue and status.
pub fn decode_job_statistics(bytes: &[u8]) -> Result<JobStatistics, AnswerError> {
    let data = Answer::parse(Dialect::V1, bytes)?.into_data()?;
    let bad = |_| FieldError::new("data", Some(&data), "numbers by queue and status");
    let queues: BTreeMap<QueueName, BTreeMap<String, u64>> =
        serde_json::from_value(data.clone()).map_err(bad)?;
    let known = |(word, count): (String, u64)| Some((word.parse().ok()?, count));
    Ok(queues
        .into_iter()
        .map(|(queue, counts)| (queue, counts.into_iter().filter_map(known).collect()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LegacyForm;

    #[test]
    fn a_sign_of_life_is_read_in_both_dialects() {
        for dialect in Dialect::ALL {
            assert!(decode_is_alive(dialect, &encode_is_alive(dialect)).is_ok());
            assert!(decode_is_alive(dialect, b"<html>").is_err());
        }
    }

    #[test]
    fn statistics_always_tell_what_harvester_wants_to_see() {
        let counts = BTreeMap::from([(JobStatus::Sent, 2)]);
        let statistics = JobStatistics::from([(QueueName::new("Q"), counts)]);
        let bytes = encode_job_statistics(&statistics).to_body(LegacyForm::Json);
        let read = decode_job_statistics(&bytes).expect("statistics");
        let counts: Vec<_> = read[&QueueName::new("Q")].values().copied().collect();
        assert_eq!(counts, [0, 0, 2, 0]);
    }
}
