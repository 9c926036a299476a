//! What a pilot says about an attempt beyond what the server decides on, by PanDA's column names.
//!
//! It is kept as one JSON object for each attempt, shown to people, and put into the descriptions
//! of jobs that clients ask for.
//!
//! Source: PanDA server, `pandaserver/api/v1/pilot_api.py`, `update_job`, and
//! `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `updateJobStatus`.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, JobUpdate, Timestamp, UsageSummary};
use serde_json::Value;

use crate::text::{DIAG_CHARS_MAX, clipped};

/// The batch system's id of the worker.
pub(crate) const BATCH_ID: &str = "batchID";
/// PanDA's number of an error that neither pilot nor payload nor dispatcher made.
pub(crate) const SUP_ERROR_CODE: &str = "supErrorCode";
/// Its text.
pub(crate) const SUP_ERROR_DIAG: &str = "supErrorDiag";
/// What the dispatcher notes of a job that is `holding` or `transferring` at the pilot's word.
pub(crate) const DISPATCHER_DIAG: &str = "jobDispatcherErrorDiag";
/// How many events an attempt has done that takes ranges of them.
pub(crate) const N_EVENTS: &str = "nEvents";
/// Inputs that could not be read, joined by commas.
pub(crate) const CORRUPTED_FILES: &str = "corruptedFiles";
/// Inputs that the pilot reported as not read; our own name.
pub(crate) const SKIPPED_INPUTS: &str = "skippedInputs";

/// Longest list of inputs that could not be read, in characters.
const CORRUPTED_CHARS_MAX: usize = 20_000;
/// Longest batch id that is kept, in characters.
const BATCH_ID_CHARS_MAX: usize = 80;
/// Longest name of a submitter and longest CPU model that are kept, in characters.
const UNIT_CHARS_MAX: usize = 128;
/// Longest level of a processor's architecture that is kept, in characters.
const CPU_LEVEL_CHARS_MAX: usize = 20;
/// Longest name of a grid that is kept, in characters.
const GRID_CHARS_MAX: usize = 50;
/// Longest name of a site that is kept, in characters.
const SITE_CHARS_MAX: usize = 36;
/// The largest total or rate that PanDA keeps.
const TOTAL_MAX: u64 = 9_999_999_999;
/// The largest measure of a fit that PanDA keeps.
const CHI2_MAX: f64 = 99_999_999_999.0;

/// What pilots said about one attempt.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Report(BTreeMap<String, Value>);

impl Report {
    /// Reads what was kept; what cannot be read is as if nothing was said.
    pub(crate) fn of_text(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    /// Returns the JSON text to keep, empty if there is nothing.
    pub(crate) fn into_text(self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.0).expect("a map of JSON values is JSON")
    }

    /// Returns a text, empty if it was not said.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns a whole number that was said.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Notes a value in place of the one before.
    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Forgets a value.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Says whether a list has a text in it.
    pub(crate) fn lists(&self, name: &str, text: &str) -> bool {
        let list = self.0.get(name).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(text)))
    }

    /// Lists what was said, by name.
    pub(crate) fn into_values(self) -> BTreeMap<String, Value> {
        self.0
    }

    fn put_text(&mut self, name: &str, text: &str, chars_max: usize) {
        if !text.is_empty() {
            self.put(name, clipped(text, chars_max));
        }
    }

    fn put_number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.put(name, number);
        }
    }

    fn put_time(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.put(name, time.to_panda_text());
        }
    }

    /// Notes what an update says; what it does not say stays.
    pub(crate) fn note(&mut self, update: &JobUpdate) {
        for (name, text, chars_max) in [
            (BATCH_ID, &update.batch_id, BATCH_ID_CHARS_MAX),
            ("schedulerID", &update.scheduler_id, UNIT_CHARS_MAX),
            ("cpuConsumptionUnit", &update.cpu_unit, UNIT_CHARS_MAX),
            (
                "cpu_architecture_level",
                &update.cpu_level,
                CPU_LEVEL_CHARS_MAX,
            ),
            ("grid", &update.grid, GRID_CHARS_MAX),
            ("sourceSite", &update.source_site, SITE_CHARS_MAX),
            ("destinationSite", &update.destination_site, SITE_CHARS_MAX),
            ("jobMetrics", &update.job_metrics, DIAG_CHARS_MAX),
        ] {
            self.put_text(name, text, chars_max);
        }
        self.put_number("actualCoreCount", update.core_count.map(u64::from));
        self.put_number("meanCoreCount", update.mean_core_count.map(u64::from));
        self.put_number("nEvents", update.n_events);
        self.put_number("nInputFiles", update.n_input_files.map(u64::from));
        self.put_time("startTime", update.start_time);
        self.put_time("endTime", update.end_time);
        if let Some(usage) = update.usage.filter(|usage| usage.n_samples > 0) {
            self.note_usage(&usage);
        }
        self.note_leak(&update.job_metrics);
        if !update.corrupted_files.is_empty() {
            let names = update.corrupted_files.iter().map(|lfn| lfn.as_str());
            let names: Vec<&str> = names.collect();
            self.put_text(CORRUPTED_FILES, &names.join(","), CORRUPTED_CHARS_MAX);
        }
    }

    /// Memory is in kB already; PanDA divides totals and rates alike by 1024.
    fn note_usage(&mut self, usage: &UsageSummary) {
        for (prefix, memory) in [("max", &usage.max), ("avg", &usage.mean)] {
            for (suffix, size) in [
                ("RSS", memory.rss),
                ("VMEM", memory.vmem),
                ("SWAP", memory.swap),
                ("PSS", memory.pss),
            ] {
                self.put(&format!("{prefix}{suffix}"), size.as_kib());
            }
        }
        for (suffix, total) in [
            ("RCHAR", usage.read_chars),
            ("WCHAR", usage.write_chars),
            ("RBYTES", usage.read_bytes),
            ("WBYTES", usage.write_bytes),
        ] {
            self.put(&format!("tot{suffix}"), total.as_kib().min(TOTAL_MAX));
            let per_1000_s = u128::from(total.as_bytes()) * 1000;
            if let Some(rate) = per_1000_s.checked_div(usage.span.as_millis()) {
                let rate = u64::try_from(rate).unwrap_or(u64::MAX);
                let rate = ByteCount::from_bytes(rate).as_kib();
                self.put(&format!("rate{suffix}"), rate.min(TOTAL_MAX));
            }
        }
    }

    /// Memory that the payload loses, and how well that was measured, stand in `jobMetrics`.
    fn note_leak(&mut self, metrics: &str) {
        if let Some(leak) = metric(metrics, "leak=") {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the column holds whole bytes a second"
            )]
            self.put("memory_leak", leak as i64);
        }
        if let Some(chi2) = metric(metrics, "chi2=") {
            self.put("memory_leak_x2", chi2.min(CHI2_MAX));
        }
    }
}

/// Finds a number behind its name, which may stand anywhere.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    let start = metrics.find(name)? + name.len();
    let rest = &metrics[start..];
    let is_digit = |(index, c): (usize, char)| {
        let belongs = c.is_ascii_digit() || c == '.' || (index == 0 && c == '-');
        (!belongs).then_some(index)
    };
    let end = rest.char_indices().find_map(is_digit).unwrap_or(rest.len());
    rest[..end]
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ailurus_model::{JobStatus, PandaId};

    use super::*;

    fn update() -> JobUpdate {
        JobUpdate::new(PandaId::new(1), None, JobStatus::Running)
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_said_replaces() {
        let mut report = Report::default();
        let mut first = update();
        first.batch_id = "4711.0".to_owned();
        first.core_count = Some(8);
        report.note(&first);
        let mut second = update();
        second.core_count = Some(4);
        report.note(&second);
        let kept = Report::of_text(&report.into_text());
        assert_eq!(kept.text(BATCH_ID), "4711.0");
        assert_eq!(kept.0["actualCoreCount"], 4);
        assert_eq!(Report::of_text("").into_text(), "");
    }

    #[test]
    fn totals_and_rates_are_divided_by_1024_and_bounded() {
        let mut report = Report::default();
        let mut update = update();
        let mut usage = UsageSummary {
            n_samples: 2,
            span: Duration::from_secs(10),
            ..UsageSummary::default()
        };
        usage.max.rss = ByteCount::from_kib(2048);
        usage.read_chars = ByteCount::from_kib(1000);
        usage.write_chars = ByteCount::from_bytes(u64::MAX);
        update.usage = Some(usage);
        report.note(&update);
        assert_eq!(report.0["maxRSS"], 2048);
        assert_eq!(report.0["totRCHAR"], 1000);
        assert_eq!(report.0["rateRCHAR"], 100);
        assert_eq!(report.0["totWCHAR"], TOTAL_MAX);
    }

    #[test]
    fn leaks_are_read_from_the_metrics() {
        let mut report = Report::default();
        let mut update = update();
        update.job_metrics = "nEvents=5 leak=-12.75 chi2=1e9 x".to_owned();
        report.note(&update);
        assert_eq!(report.0["memory_leak"], -12);
        assert_eq!(report.0["memory_leak_x2"], 1.0);
        assert_eq!(metric("leak=", "leak="), None);
        assert_eq!(metric("leak=1.2.3", "leak="), None);
    }
}
