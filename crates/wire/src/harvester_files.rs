//! The files by which a pilot and Harvester talk over a shared directory, the *access point*.
//!
//! Names are Harvester's defaults. What is written here is read by Harvester's shared-file
//! messenger; the job definitions that it writes are the business of [`crate::job_file`].
//!
//! Source: Harvester, `pandaharvester/harvestermessenger/shared_file_messenger.py` and
//! `base_messenger.py`; Pilot 3, `pilot/util/harvester.py` and `pilot/control/job.py`,
//! `publish_harvester_reports`.

use ailurus_model::{Checksum, FileReport, JobUpdate, Lfn, PandaId, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    Dialect,
    body::{self, BodyError},
    fields::{FieldError, Fields, whole_of},
    update_job,
};

/// Jobs for the pilot, as JSON or as a form.
pub const JOB_SPEC: &str = "HPCJobs.json";
/// The same under the name that is the default of Harvester's code and of Pilot 3's own files.
pub const JOB_SPEC_OLD: &str = "pandaJobData.out";
/// The numbers of the worker's jobs, a list.
pub const PANDA_IDS: &str = "worker_pandaids.json";
/// Asks Harvester for jobs.
pub const JOB_REQUEST: &str = "worker_requestjob.json";
/// What a job is: its heartbeats and its final report.
pub const ATTRIBUTES: &str = "worker_attributes.json";
/// Files that Harvester is to stage out.
pub const OUTPUTS: &str = "event_status.dump.json";
/// The payload's own report.
pub const JOB_REPORT: &str = "jobReport.json";
/// That it is there asks Harvester to end the batch job.
pub const KILL_WORKER: &str = "kill_worker.json";
/// The same under the name that Pilot 3 has in its configuration.
pub const KILL_WORKER_OLD: &str = "kill_worker";
/// Its change time shows that the worker is alive.
pub const HEARTBEAT: &str = "worker_heartbeat.json";

/// The most numbers that are read from one list.
const IDS_MAX: usize = 10_000;

/// Writes a request for jobs.
#[must_use]
pub fn encode_request(n_jobs: u32) -> Vec<u8> {
    body::encode_value(&json!({ "nJobs": n_jobs }))
}

/// Writes a list of jobs.
#[must_use]
pub fn encode_ids(ids: &[PandaId]) -> Vec<u8> {
    let ids: Vec<u64> = ids.iter().map(|id| id.value()).collect();
    body::encode_value(&ids)
}

/// A list of jobs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// It is not JSON, perhaps only half of it.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is something else than a list of numbers.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Reads a list of jobs: numbers, or texts of numbers.
///
/// # Errors
///
/// [`IdsError`].
pub fn decode_ids(bytes: &[u8]) -> Result<Vec<PandaId>, IdsError> {
    let value = body::decode_value(bytes)?;
    let wrong = |value: &Value| FieldError::new(PANDA_IDS, Some(value), "a list of job numbers");
    let list = value
        .as_array()
        .filter(|list| list.len() <= IDS_MAX)
        .ok_or_else(|| wrong(&value))?;
    let number = |value: &Value| {
        let number = whole_of(value).and_then(|number| u64::try_from(number).ok());
        Ok(PandaId::new(number.ok_or_else(|| wrong(value))?))
    };
    list.iter().map(number).collect()
}

/// Writes the sign of life of a worker. Harvester looks only at when it was written.
#[must_use]
pub fn encode_heartbeat(now: Timestamp) -> Vec<u8> {
    body::encode_value(&json!({ "timestamp": now.as_secs() }))
}

/// Who tells the PanDA server about the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputsBy {
    /// Harvester stages them out, and reports where it put them.
    Harvester,
    /// The pilot did, and its report must reach the server.
    Pilot,
}

/// Writes the attributes of a job: the legacy update with Pilot 3's additions. Harvester takes
/// what it knows of them and ignores the rest.
#[must_use]
pub fn encode_attributes(update: &JobUpdate, now: Timestamp, outputs: OutputsBy) -> Vec<u8> {
    let mut fields = Map::new();
    for (name, value) in update_job::encode_request(Dialect::Legacy, update).iter() {
        if name != "xml" || outputs == OutputsBy::Pilot {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    fields.insert("jobStatus".into(), update.status.as_str().into());
    fields.insert("timestamp".into(), now.to_panda_text().into());
    body::encode_value(&fields)
}

/// Writes what Harvester is to stage out for one job. `log` is the name of the log among the
/// files. Files that are not on a disk of this site are left out.
#[must_use]
pub fn encode_outputs(panda_id: PandaId, log: Option<&Lfn>, files: &[FileReport]) -> Vec<u8> {
    let entry = |file: &FileReport| {
        let path = local_path(file)?;
        let checksum = match &file.checksum {
            Checksum::Adler32(value) => Some(format!("{value:08x}")),
            Checksum::Md5(_) => Some(file.checksum.to_string()),
            // PanDA has no form for it.
            Checksum::Sha256(_) => None,
        };
        let kind = if log == Some(&file.lfn) {
            "log"
        } else {
            "output"
        };
        let mut entry = json!({
            "type": kind,
            "path": path,
            "guid": file.guid,
            "fsize": file.size.as_bytes(),
        });
        if let Some(checksum) = checksum {
            entry["chksum"] = checksum.into();
        }
        Some(entry)
    };
    let entries: Vec<Value> = files.iter().filter_map(entry).collect();
    body::encode_value(&json!({ panda_id.to_string(): entries }))
}

/// Returns the path of a file that lies on a mounted disk.
#[must_use]
pub fn local_path(file: &FileReport) -> Option<&str> {
    file.surl
        .strip_prefix("file://")
        .filter(|path| path.starts_with('/'))
}

/// Makes a payload's report shorter for Harvester, as Pilot 3 does: without the reports about log
/// files. None if it is no JSON object.
#[must_use]
pub fn shrink_job_report(text: &str) -> Option<Vec<u8>> {
    let fields = body::decode_json(text.as_bytes()).ok()?;
    let mut report = Fields::into_value(fields);
    let executors = report.get_mut("executor").and_then(Value::as_array_mut);
    for executor in executors.into_iter().flatten() {
        if let Some(log) = executor.get_mut("logfileReport") {
            *log = json!({});
        }
    }
    Some(body::encode_value(&report))
}

#[cfg(test)]
mod tests {
    use ailurus_model::{ByteCount, EndpointName, Guid, JobStatus};

    use super::*;

    fn file(lfn: &str, surl: &str, checksum: &str) -> FileReport {
        FileReport {
            lfn: Lfn::new(lfn),
            guid: Guid::new("G"),
            size: ByteCount::from_bytes(5),
            checksum: checksum.parse().expect("a checksum"),
            surl: surl.to_owned(),
            endpoint: EndpointName::default(),
        }
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn harvester_learns_of_files_on_disk_only() {
        let files = [
            file("o", "file:///a/o", "ad:00000001"),
            file(
                "l.tgz",
                "file:///a/l.tgz",
                "md:d41d8cd98f00b204e9800998ecf8427e",
            ),
            file("far", "root://x//far", "ad:00000001"),
        ];
        let dump = encode_outputs(PandaId::new(12), Some(&Lfn::new("l.tgz")), &files);
        assert_eq!(
            parsed(&dump),
            json!({"12": [
                {"type": "output", "path": "/a/o", "guid": "G", "fsize": 5, "chksum": "00000001"},
                {"type": "log", "path": "/a/l.tgz", "guid": "G", "fsize": 5,
                 "chksum": "md:d41d8cd98f00b204e9800998ecf8427e"},
            ]})
        );
    }

    #[test]
    fn the_attributes_have_harvesters_status_and_the_outputs_only_if_the_pilot_stored_them() {
        let mut update = JobUpdate::new(PandaId::new(12), None, JobStatus::Finished);
        update.outputs = vec![file("o", "root://x//o", "ad:00000001")];
        update.payload_exit_code = Some(0);
        let now = Timestamp::from_millis(0);
        let by = |outputs| parsed(&encode_attributes(&update, now, outputs));
        let plain = by(OutputsBy::Harvester);
        assert_eq!(
            (&plain["jobStatus"], &plain["state"], &plain["jobId"]),
            (&json!("finished"), &json!("finished"), &plain["jobId"])
        );
        assert_eq!(plain["timestamp"], "1970-01-01 00:00:00");
        assert!(plain.get("xml").is_none());
        assert!(by(OutputsBy::Pilot)["xml"].is_string());
    }

    #[test]
    fn lists_of_jobs_have_numbers_or_texts() {
        let read = |text: &str| decode_ids(text.as_bytes());
        let ids = [PandaId::new(1), PandaId::new(2)];
        assert_eq!(read("[1, \"2\"]").expect("a list"), ids);
        assert_eq!(decode_ids(&encode_ids(&ids)).expect("own words"), ids);
        for wrong in ["[1", "{}", "[-1]", "[[1]]", "7"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_job_report_loses_its_log_file_reports_only() {
        let report =
            r#"{"exitCode": 0, "executor": [{"name": "x", "logfileReport": {"n": 1}}, 5]}"#;
        let shrunk = shrink_job_report(report).expect("a report");
        assert_eq!(
            parsed(&shrunk),
            json!({"exitCode": 0, "executor": [{"name": "x", "logfileReport": {}}, 5]})
        );
        assert_eq!(shrink_job_report("[1]"), None);
        assert_eq!(shrink_job_report("{"), None);
    }
}
