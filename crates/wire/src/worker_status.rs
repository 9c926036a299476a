//! A pilot tells the server that it has begun or ended in its worker: legacy
//! `updateWorkerPilotStatus` and v1 `pilot/update_worker_status`.
//!
//! Source: Pilot 3, `pilot/util/harvester.py` and `pilot/control/job.py`,
//! `send_update("updateWorkerPilotStatus")`; PanDA server, `pandaserver/api/v1/pilot_api.py`,
//! `update_worker_status`.

use ailurus_model::{HarvesterId, NodeName, QueueName, WorkerId};

use crate::{
    fields::Fields,
    table::{Dialect, Reader, Writer, field_table},
    v1::RequestError,
};

/// The longest name of a node that is kept, in characters.
pub const NODE_MAX: usize = 80;

/// Returns the path of the call, below the server's address.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/updateWorkerPilotStatus",
        Dialect::V1 => "/api/v1/pilot/update_worker_status",
    }
}

// The v1 call demands no types; workers are text in both dialects.
field_table!(FIELDS {
    WORKER_ID = any("workerID", "worker_id").required();
    HARVESTER_ID = any("harvesterID", "harvester_id").required();
    PHASE = any("status", "status").required();
    _TIMEOUT = any("timeout", "timeout");
    NODE = any("node_id", "node_id").at_most(NODE_MAX);
    SITE = text("site", "");
});

/// Whether a pilot has begun or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PilotPhase {
    /// It has begun.
    Started,
    /// It is about to end.
    Finished,
}

impl PilotPhase {
    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Finished => "finished",
        }
    }
}

/// What a pilot says about itself and its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PilotReport {
    /// The worker in which the pilot runs.
    pub worker_id: WorkerId,
    /// The Harvester instance that started it.
    pub harvester_id: HarvesterId,
    /// Whether it has begun or ended.
    pub phase: PilotPhase,
    /// The worker node, empty if unknown.
    pub node: NodeName,
    /// The site of the queue, which only the legacy dialect tells.
    pub site: QueueName,
}

/// Writes a report. The answer is [`crate::Answer::done`].
#[must_use]
pub fn encode_request(dialect: Dialect, report: &PilotReport) -> Fields {
    let mut out = Writer::new(dialect);
    out.put(&WORKER_ID, report.worker_id.to_string());
    out.put(&HARVESTER_ID, report.harvester_id.as_str());
    out.put(&PHASE, report.phase.as_str());
    out.text(&NODE, report.node.as_str());
    out.text(&SITE, report.site.as_str());
    out.finish()
}

/// Reads a report.
///
/// # Errors
///
/// [`RequestError`] if worker or phase make no sense.
pub fn decode_request(dialect: Dialect, fields: &Fields) -> Result<PilotReport, RequestError> {
    let message = Reader::of_request(dialect, FIELDS, fields)?;
    let phase = [PilotPhase::Started, PilotPhase::Finished]
        .into_iter()
        .find(|phase| phase.as_str() == message.text(&PHASE))
        .ok_or_else(|| message.error(&PHASE, "started or finished"))?;
    Ok(PilotReport {
        worker_id: WorkerId::new(message.must_be_whole(&WORKER_ID)?),
        harvester_id: message
            .text_if_any(&HARVESTER_ID)
            .map(HarvesterId::new)
            .ok_or_else(|| message.error(&HARVESTER_ID, "the name of a Harvester instance"))?,
        phase,
        node: NodeName::new(message.text(&NODE)),
        site: QueueName::new(message.text(&SITE)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_measured_body_of_pilot_3_is_read_and_written() {
        let body = json!({"workerID": "42", "harvesterID": "h1", "status": "started",
            "site": "SITE", "node_id": "wn1"});
        let fields = Fields::from_value(body).expect("an object");
        let report = decode_request(Dialect::Legacy, &fields).expect("a report");
        assert_eq!(report.worker_id, WorkerId::new(42));
        assert_eq!(encode_request(Dialect::Legacy, &report), fields);
    }

    #[test]
    fn another_phase_is_refused_with_the_allowed_ones() {
        let body = json!({"worker_id": 42, "harvester_id": "h1", "status": "running"});
        let fields = Fields::from_value(body).expect("an object");
        let error = decode_request(Dialect::V1, &fields).expect_err("no phase");
        assert_eq!(
            error.to_string(),
            "field `status` is `running`: it must be started or finished"
        );
    }
}
