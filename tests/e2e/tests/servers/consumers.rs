//! Consumers of events that speak as Pilot 3 and Harvester do, over HTTP.
//!
//! Source: Pilot 3, `pilot/eventservice/communicationmanager/plugins/pandacommunicator.py` and
//! `workexecutor/plugins/genericexecutor.py`; Harvester,
//! `pandaharvester/harvestercommunicator/panda_communicator.py`.

use std::time::Duration;

use ailurus_testkit::{
    Connection,
    wait::{look_every, wait_for},
};
use serde_json::{Map, Value, json};

use crate::house::{House, QUEUE};

/// How long a job, a task or a server may be waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(120);
/// Pause between two requests for a job.
const PAUSE: Duration = Duration::from_millis(100);

/// How a consumer talks to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As Pilot 3 does.
    Legacy,
    /// As Harvester does.
    V1,
}

/// A consumer that has a job.
pub(crate) struct Consumer {
    dialect: Dialect,
    address: String,
    pub(crate) job: Value,
}

/// Posts JSON to one of the servers.
pub(crate) fn post(address: &str, path: &str, body: &Value) -> Value {
    let mut connection = Connection::open(address).unwrap();
    connection
        .post(path, body)
        .unwrap_or_else(|error| panic!("{path} with {body}: {error:#}"))
}

/// Submits a task as clients do, and returns its number.
pub(crate) fn submit_task(house: &House, params: &Value) -> u64 {
    let body = json!({"task_parameters": params});
    let answer = post(&house.addresses()[0], "/api/v1/task/submit", &body);
    assert_eq!(answer["success"], true, "{answer}");
    answer["data"].as_u64().unwrap()
}

/// Waits until a task is in a status.
pub(crate) fn wait_for_task(house: &House, task: u64, wanted: &str) {
    let path = format!("/api/v1/task/get_status?task_id={task}");
    let mut last = Value::Null;
    let found = wait_for("the task's end", WAIT_LIMIT, || {
        last = house.get_any(&path)["data"].clone();
        Ok((last == wanted).then_some(()))
    });
    found.unwrap_or_else(|error| panic!("task {task} is {last}, not {wanted}: {error:#}"));
}

/// Returns what the ranges of a job are, by name.
pub(crate) fn range_statuses(house: &House, task: u64, job: u64) -> Map<String, Value> {
    // Brackets and quotes are not for addresses.
    let pairs = format!("%5B%7B%22task_id%22%3A{task}%2C%22job_id%22%3A{job}%7D%5D");
    let path = format!("/api/v1/event/get_event_range_statuses?job_task_ids={pairs}");
    let answer = house.get_any(&path);
    let ranges = answer["data"][job.to_string()].as_object();
    ranges.unwrap_or_else(|| panic!("{answer}")).clone()
}

impl Consumer {
    /// Asks until there is a job, and says that it runs.
    pub(crate) fn start(address: &str, dialect: Dialect) -> Self {
        let consumer = Self::take(address, dialect);
        let told = consumer.update("running", &[]);
        assert_eq!(told, Value::Null, "{told}");
        consumer
    }

    /// Asks until there is a job.
    pub(crate) fn take(address: &str, dialect: Dialect) -> Self {
        let job = look_every(PAUSE, "a job", WAIT_LIMIT, || Ok(ask(address, dialect)));
        Self {
            dialect,
            address: address.to_owned(),
            job: job.expect("a job is there in the end"),
        }
    }

    /// The server is somewhere else now.
    pub(crate) fn follow(&mut self, address: &str) {
        self.address = address.to_owned();
    }

    pub(crate) fn id(&self) -> u64 {
        self.job["PandaID"].as_u64().unwrap()
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.job["attemptNr"].as_u64().unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        post(&self.address, path, body)
    }

    /// Ends a merge that cannot read some of its inputs, because their checksums differ.
    pub(crate) fn fail_to_read(&self, files: &[&str]) {
        let files = files.join(",");
        let (path, body) = match self.dialect {
            Dialect::Legacy => {
                let body = json!({"jobId": self.id(), "attemptNr": self.job["attemptNr"],
                    "state": "failed", "siteName": QUEUE, "pilotErrorCode": 1171,
                    "pilotErrorDiag": "checksums differ", "corruptedFiles": files});
                ("/server/panda/updateJob", body)
            }
            Dialect::V1 => {
                let body = json!({"job_id": self.id(), "attempt_nr": self.job["attemptNr"],
                    "job_status": "failed", "site_name": QUEUE, "pilot_error_code": 1171,
                    "pilot_error_diag": "checksums differ", "corrupted_files": files});
                ("/api/v1/pilot/update_job", body)
            }
        };
        self.post(path, &body);
    }

    /// Says what the job is, with outputs that were stored; returns the command.
    pub(crate) fn update(&self, state: &str, outputs: &[&str]) -> Value {
        let mut report = Map::new();
        for lfn in outputs {
            let entry = json!({"guid": "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF", "fsize": 1000,
                "adler32": "0a0b0c0d", "surl": format!("file:///x/{lfn}"), "endpoint": ["DISK"]});
            report.insert((*lfn).to_owned(), entry);
        }
        let report = Value::Object(report).to_string();
        let command = match self.dialect {
            Dialect::Legacy => {
                let body = json!({"jobId": self.id(), "attemptNr": self.job["attemptNr"],
                    "state": state, "siteName": QUEUE, "xml": report});
                let answer = self.post("/server/panda/updateJob", &body);
                assert_eq!(answer["StatusCode"], 0, "{answer}");
                answer["command"].clone()
            }
            Dialect::V1 => {
                let body = json!({"job_id": self.id(), "attempt_nr": self.job["attemptNr"],
                    "job_status": state, "site_name": QUEUE, "job_output_report": report});
                let answer = self.post("/api/v1/pilot/update_job", &body);
                assert_eq!(answer["data"]["StatusCode"], 0, "{answer}");
                answer["data"]["command"].clone()
            }
        };
        if command == "NULL" {
            Value::Null
        } else {
            command
        }
    }

    /// Ends an attempt that took ranges: only its log is stored.
    pub(crate) fn end(&self) {
        let log = self.job["logFile"].as_str().unwrap();
        self.update("finished", &[log]);
    }

    /// Asks for ranges.
    pub(crate) fn ranges(&self, n: u32) -> Vec<Value> {
        let (id, set, task) = (self.id(), &self.job["jobsetID"], &self.job["taskID"]);
        let answer = match self.dialect {
            Dialect::Legacy => {
                let body = json!({"pandaID": id, "jobsetID": set, "taskID": task, "nRanges": n});
                self.post("/server/panda/getEventRanges", &body)
            }
            Dialect::V1 => {
                let body = json!({"job_id": id, "jobset_id": set, "task_id": task, "n_ranges": n});
                self.post("/api/v1/event/acquire_event_ranges", &body)["data"].clone()
            }
        };
        assert_eq!(answer["StatusCode"], 0, "{answer}");
        answer["eventRanges"].as_array().unwrap().clone()
    }

    /// Reports on ranges in a version of the message; returns whether each is known now, and the
    /// command.
    pub(crate) fn report(&self, version: u32, message: &Value) -> (Value, Value) {
        let text = message.to_string();
        let (mut returns, mut commands) = match self.dialect {
            Dialect::Legacy => {
                let body = json!({"version": version, "eventRanges": text});
                let answer = self.post("/server/panda/updateEventRanges", &body);
                assert_eq!(answer["StatusCode"], 0, "{answer}");
                (answer["Returns"].clone(), answer["Command"].clone())
            }
            Dialect::V1 => {
                let body = json!({"version": version, "event_ranges": text});
                let answer = self.post("/api/v1/event/update_event_ranges", &body);
                assert_eq!(answer["data"]["StatusCode"], 0, "{answer}");
                let data = &answer["data"];
                (data["Returns"].clone(), data["Commands"].clone())
            }
        };
        // Version 0 has texts in the legacy dialect.
        for value in [&mut returns, &mut commands] {
            if let Some(text) = value.as_str() {
                *value = serde_json::from_str(text).unwrap();
            }
        }
        (returns, commands[self.id().to_string()].clone())
    }
}

fn ask(address: &str, dialect: Dialect) -> Option<Value> {
    match dialect {
        Dialect::Legacy => {
            let body = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1",
                "mem": 4000, "diskSpace": 20000, "computingElement": QUEUE});
            let answer = post(address, "/server/panda/getJob", &body);
            (answer["StatusCode"] == 0).then_some(answer)
        }
        Dialect::V1 => {
            let body = json!({"site_name": QUEUE, "prod_source_label": "managed", "node": "wn2",
                "memory": 4000, "disk_space": 20000, "computing_element": QUEUE});
            let answer = post(address, "/api/v1/pilot/acquire_jobs", &body);
            answer["data"]["jobs"].get(0).cloned()
        }
    }
}

/// Version 1: an archive with the outputs of ranges that are done.
pub(crate) fn archived(ranges: &[Value]) -> Value {
    let id = ranges[0]["eventRangeID"].as_str().unwrap();
    let done = ranges
        .iter()
        .map(|range| json!({"eventRangeID": range["eventRangeID"], "eventStatus": "finished"}));
    json!([{
        "zipFile": {"numEvents": ranges.len(), "objstoreID": 117, "fsize": 2000,
                    "lfn": format!("EventService_premerge_{id}.tar"), "pathConvention": 1000,
                    "adler32": "0cc737eb"},
        "eventRanges": done.collect::<Vec<_>>(),
    }])
}

/// Version 0: ranges that failed.
pub(crate) fn failed(ranges: &[Value]) -> Value {
    let failures = ranges.iter().map(|range| {
        json!({"errorCode": 1220, "eventRangeID": range["eventRangeID"], "eventStatus": "failed"})
    });
    json!(failures.collect::<Vec<_>>())
}
