//! What a payload says about itself: `jobReport.json` and `payload_error_report.json`.
//!
//! Both are written by the user's program, so nothing in them is trusted: what cannot be read is
//! as good as absent.

use std::collections::BTreeMap;

use ailurus_model::{Guid, Lfn, update::ReportedError};
use serde_json::Value;

/// Largest report that is read, in bytes; a larger one is left alone.
pub const REPORT_LENGTH_MAX: usize = 1 << 20;

/// What the pilot takes from a payload's reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PayloadReport {
    /// The payload's own error, if it named one.
    pub error: Option<ReportedError>,
    /// Whether that error comes from the error report, which fails a job also if it exits with 0.
    pub is_fatal: bool,
    /// Events processed, if stated.
    pub n_events: Option<u64>,
    /// GUIDs that the payload gave to its outputs.
    pub guids: BTreeMap<Lfn, Guid>,
}

impl PayloadReport {
    /// Reads both reports.
    ///
    /// Source: Pilot 3, `pilot/user/atlas/diagnose.py` and `pilot/control/payload.py`.
    #[must_use]
    pub fn read(job_report: Option<&str>, error_report: Option<&str>) -> Self {
        let mut report = job_report
            .and_then(parse)
            .map_or_else(Self::default, |json| Self {
                error: job_report_error(&json),
                is_fatal: false,
                n_events: json
                    .pointer("/resource/transform/processedEvents")
                    .and_then(Value::as_u64),
                guids: output_guids(&json),
            });
        if let Some(error) = error_report
            .and_then(parse)
            .as_ref()
            .and_then(error_report_error)
        {
            report.error = Some(error);
            report.is_fatal = true;
        }
        report
    }
}

fn parse(text: &str) -> Option<Value> {
    (text.len() <= REPORT_LENGTH_MAX)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

fn text_of(json: &Value, key: &str) -> Option<String> {
    json.get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}

fn job_report_error(json: &Value) -> Option<ReportedError> {
    let code = json.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    let message = text_of(json, "exitMsg").filter(|text| text != "OK");
    if code == 0 && message.is_none() {
        return None;
    }
    let diag = text_of(json, "exeErrorDiag").or(message);
    Some(ReportedError {
        code,
        diag: diag.unwrap_or_default(),
    })
}

fn error_report_error(json: &Value) -> Option<ReportedError> {
    let code = json.get("error_code").and_then(Value::as_i64)?;
    (code != 0).then(|| ReportedError {
        code,
        diag: text_of(json, "error_diag").unwrap_or_default(),
    })
}

fn output_guids(json: &Value) -> BTreeMap<Lfn, Guid> {
    let outputs = json.pointer("/files/output").and_then(Value::as_array);
    outputs
        .into_iter()
        .flatten()
        .filter_map(|output| output.get("subFiles").and_then(Value::as_array))
        .flatten()
        .filter_map(|file| {
            let name = text_of(file, "name")?;
            let guid = text_of(file, "file_guid")?;
            Some((Lfn::new(name), Guid::new(guid)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_and_guids_are_taken_from_the_job_report() {
        let text = r#"{"exitCode": 0, "exitMsg": "OK",
            "resource": {"transform": {"processedEvents": 250}},
            "files": {"output": [{"subFiles": [{"name": "o.root", "file_guid": "G1"}]}]}}"#;
        let report = PayloadReport::read(Some(text), None);
        assert_eq!((report.n_events, report.error.clone()), (Some(250), None));
        assert_eq!(report.guids[&Lfn::new("o.root")], Guid::new("G1"));
    }

    #[test]
    fn a_message_that_is_not_ok_is_the_payloads_error() {
        let text = r#"{"exitCode": 65, "exitMsg": "input is truncated"}"#;
        let error = PayloadReport::read(Some(text), None)
            .error
            .expect("an error");
        assert_eq!(
            (error.code, error.diag.as_str()),
            (65, "input is truncated")
        );
    }

    #[test]
    fn the_error_report_wins_and_is_fatal() {
        let job_report = r#"{"exitCode": 65, "exitMsg": "x"}"#;
        let error_report = r#"{"error_code": 7, "error_diag": "y"}"#;
        let report = PayloadReport::read(Some(job_report), Some(error_report));
        assert_eq!(report.error.map(|error| error.code), Some(7));
        assert!(report.is_fatal);
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(one in any::<String>(), two in any::<String>()) {
            let _ = PayloadReport::read(Some(&one), Some(&two));
        }
    }
}
