//! A pilot asks that its job be watched: legacy `setDebugMode` and v1 `job/set_debug_mode`.
//!
//! The answer is not worth reading: the v1 server of August 2026 says the opposite of what it did.
//!
//! Source: Pilot 3, `pilot/control/job.py`, `update_server`; PanDA server,
//! `pandaserver/api/v1/job_api.py`, `set_debug_mode`.

use ailurus_model::PandaId;

use crate::{
    fields::Fields,
    table::{Dialect, Writer, field_table},
};

field_table!(_FIELDS {
    JOB_ID = id("pandaID", "job_id").required();
    MODE = flag("modeOn", "mode").required();
});

/// Returns the path of the call, below the server's address.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/setDebugMode",
        Dialect::V1 => "/api/v1/job/set_debug_mode",
    }
}

/// Writes the request to watch a job.
#[must_use]
pub fn encode_request(dialect: Dialect, job: PandaId) -> Fields {
    let mut out = Writer::new(dialect);
    out.whole(&JOB_ID, job.value());
    out.put(&MODE, true);
    out.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_text_in_the_legacy_dialect_only() {
        let job = PandaId::new(7);
        for (dialect, body) in [
            (Dialect::Legacy, json!({"pandaID": "7", "modeOn": true})),
            (Dialect::V1, json!({"job_id": 7, "mode": true})),
        ] {
            assert_eq!(encode_request(dialect, job).into_value(), body);
        }
    }
}
