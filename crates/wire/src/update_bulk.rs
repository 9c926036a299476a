//! Several updates in one message: v1 `pilot/update_jobs_bulk`, Harvester's way.
//!
//! Each update is read, taken and answered by itself, as if it had come alone.
//!
//! Source: PanDA server, `pandaserver/api/v1/pilot_api.py`, `update_jobs_bulk`; Harvester,
//! `pandaharvester/harvestercommunicator/panda_communicator.py`, `update_jobs`.

use ailurus_model::{HarvesterId, JobUpdate, UpdateAnswer};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerError},
    fields::{FieldError, Fields},
    table::{Dialect, Reader, Writer, field_table},
    update_job::{self, UpdateError},
    v1::{Envelope, RequestError},
};

/// The most jobs that one message may hold. Harvester sends a hundred.
pub const JOBS_MAX: usize = 1000;

/// Several updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkUpdate {
    /// The Harvester instance, if it is told.
    pub harvester_id: Option<HarvesterId>,
    /// The updates in order; each is answered by itself.
    pub updates: Vec<Result<JobUpdate, UpdateError>>,
}

/// The path of the call, below the server's address.
pub const PATH: &str = "/api/v1/pilot/update_jobs_bulk";

field_table!(FIELDS {
    JOB_LIST = list("", "job_list").required();
    HARVESTER_ID = text("", "harvester_id");
});

/// Reads several updates.
///
/// # Errors
///
/// [`RequestError`] if the message as a whole breaks the rules, or holds more than [`JOBS_MAX`].
pub fn decode_request(fields: &Fields) -> Result<BulkUpdate, RequestError> {
    let message = Reader::of_request(Dialect::V1, FIELDS, fields)?;
    let items = message.list(&JOB_LIST, JOBS_MAX)?;
    let harvester_id = message.text_if_any(&HARVESTER_ID).map(HarvesterId::new);
    let updates = items.iter().map(|item| {
        let fields = Fields::from_value(item.clone())
            .map_err(|value| FieldError::new(JOB_LIST.v1, Some(&value), "a list of objects"))?;
        let update = update_job::decode_request(Dialect::V1, &fields)?;
        Ok(JobUpdate {
            harvester_id: harvester_id.clone(),
            ..update
        })
    });
    Ok(BulkUpdate {
        updates: updates.collect(),
        harvester_id,
    })
}

/// Writes several updates.
#[must_use]
pub fn encode_request(harvester_id: &HarvesterId, updates: &[JobUpdate]) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    let list = updates
        .iter()
        .map(|update| update_job::encode_request(Dialect::V1, update).into_value());
    out.put(&JOB_LIST, list.collect::<Value>());
    out.text(&HARVESTER_ID, harvester_id.as_str());
    out.finish()
}

/// Writes the answer to several updates: one envelope for each, in order.
#[must_use]
pub fn encode_answer(answers: &[Answer]) -> Answer {
    let list = answers.iter().map(|answer| match answer {
        Answer::V1(envelope) => json!(envelope),
        Answer::Legacy(fields) => json!(Envelope::success(fields.clone().into_value())),
    });
    Answer::V1(Envelope::success(list.collect::<Value>()))
}

/// Reads the answer to several updates.
///
/// # Errors
///
/// [`AnswerError`] unless the server took the message as a whole.
pub fn decode_answer(bytes: &[u8]) -> Result<Vec<Result<UpdateAnswer, AnswerError>>, AnswerError> {
    let data = Answer::parse(Dialect::V1, bytes)?.into_data()?;
    let envelopes: Vec<Envelope> = serde_json::from_value(data)
        .map_err(|_| FieldError::of_text("data", "something else", "a list of envelopes"))?;
    let answers = envelopes.into_iter().map(Answer::V1);
    Ok(answers.map(update_job::answer_of).collect())
}
