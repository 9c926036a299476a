//! The life of each job as the server sees it: states in order, one end, one attempt.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

use super::{Dialect, check::Fields};

/// One update that reached the server.
#[derive(Debug, Clone)]
pub struct Update {
    /// The job.
    pub panda_id: u64,
    /// How it was sent.
    pub dialect: Dialect,
    /// PanDA's word for the state.
    pub status: String,
    /// Whether the server acted on it. One that was answered with an error it did not see.
    pub is_taken: bool,
    /// All fields, as they came.
    pub fields: Value,
    /// When it came.
    pub at: Instant,
}

impl Update {
    /// Returns a field by its v1 or its legacy name, `null` if it is not there.
    #[must_use]
    pub fn field(&self, v1: &str, legacy: &str) -> &Value {
        match self.dialect {
            Dialect::V1 => &self.fields[v1],
            Dialect::Legacy => &self.fields[legacy],
        }
    }

    /// Returns a whole number, also where it came as text.
    #[must_use]
    pub fn whole(&self, v1: &str, legacy: &str) -> Option<i64> {
        whole(self.field(v1, legacy))
    }

    /// Returns the pilot's error code, zero if there is none.
    #[must_use]
    pub fn pilot_error_code(&self) -> i64 {
        self.whole("pilot_error_code", "pilotErrorCode")
            .unwrap_or(0)
    }

    /// Returns the pilot's error text.
    #[must_use]
    pub fn pilot_error_diag(&self) -> &str {
        let text = self.field("pilot_error_diag", "pilotErrorDiag");
        text.as_str().unwrap_or_default()
    }

    /// Returns what was stored, by file name.
    #[must_use]
    pub fn report(&self) -> Value {
        let text = self.field("job_output_report", "xml").as_str();
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Says whether it is the last word on its job.
    #[must_use]
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }
}

/// What the server knows of a job.
#[derive(Debug, Default)]
struct Life {
    attempt_nr: i64,
    /// Names of outputs and log.
    files: Vec<String>,
    /// The last state that was taken.
    status: Option<String>,
    /// Whether the pilot cannot but know that the last update was taken.
    is_clear: bool,
    /// Whether an update went astray, so that the next may skip a state.
    has_lost: bool,
    /// The pilot was told to leave this job alone.
    is_closed: bool,
}

/// All jobs that pilots know of.
#[derive(Debug, Default)]
pub(super) struct Lives(BTreeMap<u64, Life>);

/// What becomes of an update.
pub(super) struct Fate<'a> {
    pub(super) is_taken: bool,
    pub(super) is_clear: bool,
    pub(super) command: Option<&'a str>,
}

impl Lives {
    /// A pilot gets this job. What has no number is the test's business.
    pub(super) fn give(&mut self, job: &Value) {
        let Some(panda_id) = whole(&job["PandaID"]).and_then(|id| u64::try_from(id).ok()) else {
            return;
        };
        let names = job["outFiles"].as_str().unwrap_or_default().split(',');
        let life = Life {
            attempt_nr: whole(&job["attemptNr"]).unwrap_or(0),
            // What pilots pass over: see the reference on lists of files.
            files: names
                .map(str::trim)
                .filter(|name| !name.is_empty() && *name != "NULL")
                .map(str::to_owned)
                .collect(),
            ..Life::default()
        };
        self.0.insert(panda_id, life);
    }

    /// A job was reported on while the server was away or misbehaved.
    pub(super) fn on_lost_all(&mut self) {
        for life in self.0.values_mut() {
            life.has_lost = true;
        }
    }

    /// Notes what is wrong with an update, and takes it if it is to be taken.
    pub(super) fn on_update(
        &mut self,
        dialect: Dialect,
        fields: &Fields,
        fate: &Fate<'_>,
        found: &mut Vec<String>,
    ) -> Option<Update> {
        let update = Update {
            panda_id: whole(fields.get(name(dialect, "job_id", "jobId"))?)?
                .try_into()
                .ok()?,
            dialect,
            status: fields
                .get(name(dialect, "job_status", "state"))?
                .as_str()?
                .to_owned(),
            is_taken: fate.is_taken,
            fields: Value::Object(fields.clone()),
            at: Instant::now(),
        };
        let Some(life) = self.0.get_mut(&update.panda_id) else {
            found.push("the job was not given to this pilot".to_owned());
            return Some(update);
        };
        life.check(&update, found);
        if fate.is_taken {
            life.status = Some(update.status.clone());
            life.is_clear = fate.is_clear;
        } else {
            life.has_lost = true;
        }
        if let Some("badattemptnr" | "alreadydone") = fate.command {
            life.is_closed = true;
        }
        Some(update)
    }
}

impl Life {
    fn check(&self, update: &Update, found: &mut Vec<String>) {
        if update.whole("attempt_nr", "attemptNr") != Some(self.attempt_nr) {
            found.push(format!("the attempt is {}", self.attempt_nr));
        }
        if self.is_closed {
            found.push("the pilot was told to leave this job alone".to_owned());
        }
        let new = update.status.as_str();
        match self.status.as_deref() {
            None if !self.has_lost && new != "starting" && !is_final(new) => {
                found.push(format!("the first state is `{new}`"));
            }
            Some(old) if is_final(old) && (old != new || self.is_clear) => {
                found.push(format!("`{new}` after the end, which was `{old}`"));
            }
            Some(old) if rank(new) < rank(old) => {
                found.push(format!("the job goes back from `{old}` to `{new}`"));
            }
            None | Some(_) => {}
        }
        if is_final(new) {
            self.check_end(update, found);
        }
    }

    fn check_end(&self, update: &Update, found: &mut Vec<String>) {
        let codes = [
            ("pilot_error_code", "pilotErrorCode"),
            ("exe_error_code", "exeErrorCode"),
            ("trans_exit_code", "transExitCode"),
        ]
        .map(|(v1, legacy)| update.whole(v1, legacy));
        let has_error = codes.iter().flatten().any(|code| *code != 0);
        if update.status == "failed" {
            if !has_error {
                found.push("a failed job without an error code".to_owned());
            }
            if codes[0].unwrap_or(0) != 0 && update.pilot_error_diag().is_empty() {
                found.push("a pilot's error code without its text".to_owned());
            }
            return;
        }
        if has_error || codes.contains(&None) {
            found.push(format!("a finished job with the error codes {codes:?}"));
        }
        if update.field("pilot_timing", "pilotTiming").is_null() {
            found.push("a finished job without its timing".to_owned());
        }
        let report = update.report();
        for file in self.files.iter().filter(|file| report[*file].is_null()) {
            found.push(format!("a finished job whose report lacks `{file}`"));
        }
    }
}

fn is_final(status: &str) -> bool {
    matches!(status, "finished" | "failed")
}

fn rank(status: &str) -> u8 {
    match status {
        "starting" => 1,
        "running" => 2,
        "holding" | "transferring" => 3,
        _ => 4,
    }
}

fn whole(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

const fn name(dialect: Dialect, v1: &'static str, legacy: &'static str) -> &'static str {
    match dialect {
        Dialect::V1 => v1,
        Dialect::Legacy => legacy,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HONEST: Fate<'_> = Fate {
        is_taken: true,
        is_clear: true,
        command: None,
    };

    fn breaches(statuses: &[(&str, Fate<'_>)]) -> Vec<String> {
        let mut lives = Lives::default();
        lives.give(&json!({"PandaID": 1, "attemptNr": 1, "outFiles": ""}));
        let mut found = Vec::new();
        for (status, fate) in statuses {
            let update = json!({"job_id": 1, "attempt_nr": 1, "job_status": status,
                "pilot_error_code": 0, "exe_error_code": 0, "trans_exit_code": 0,
                "pilot_timing": "0|0|0|0|0|0"});
            let fields = update.as_object().expect("an object");
            lives.on_update(Dialect::V1, fields, fate, &mut found);
        }
        found
    }

    fn lost() -> Fate<'static> {
        Fate {
            is_taken: false,
            is_clear: false,
            command: None,
        }
    }

    fn doubled() -> Fate<'static> {
        Fate {
            is_taken: true,
            is_clear: false,
            command: None,
        }
    }

    #[test]
    fn a_life_in_order_is_without_fault() {
        let life = ["starting", "running", "running", "finished"].map(|status| (status, HONEST));
        assert_eq!(breaches(&life), Vec::<String>::new());
        let life = [
            ("starting", lost()),
            ("running", HONEST),
            ("finished", HONEST),
        ];
        assert_eq!(breaches(&life), Vec::<String>::new());
        let life = [
            ("starting", HONEST),
            ("finished", doubled()),
            ("finished", HONEST),
        ];
        assert_eq!(breaches(&life), Vec::<String>::new());
    }

    #[test]
    fn each_step_out_of_order_is_found() {
        let cases = [
            vec![("running", HONEST)],
            vec![
                ("starting", HONEST),
                ("running", HONEST),
                ("starting", HONEST),
            ],
            vec![
                ("starting", HONEST),
                ("finished", HONEST),
                ("finished", HONEST),
            ],
            vec![
                ("starting", HONEST),
                ("finished", doubled()),
                ("failed", HONEST),
            ],
            vec![
                (
                    "starting",
                    Fate {
                        command: Some("badattemptnr"),
                        ..HONEST
                    },
                ),
                ("running", HONEST),
            ],
        ];
        for life in cases {
            assert!(!breaches(&life).is_empty());
        }
    }
}
