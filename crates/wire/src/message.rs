//! What PanDA tells message brokers: statuses of jobs and tasks, and words to pilots.
//!
//! Times are whole seconds since 1970. Source: PanDA server,
//! `pandaserver/taskbuffer/db_proxy_mods/entity_module.py` (`push_job_status_message`) and
//! `pandaserver/srvcore/srv_msg_utils.py`.

use ailurus_model::{Lfn, PandaId, TaskId, Timestamp, update::ReportedError};
use serde_json::{Map, Value, json};

/// The sources of a job's errors, in PanDA's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorOf {
    /// The pilot.
    Pilot,
    /// The payload.
    Payload,
    /// The server.
    Server,
}

impl ErrorOf {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Pilot, "pilot"),
        (Self::Payload, "exe"),
        (Self::Server, "taskbuffer"),
    ];
}

/// A job's new status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatusMessage<'a> {
    /// The job.
    pub panda_id: PandaId,
    /// Its task.
    pub task_id: TaskId,
    /// Its status.
    pub status: &'a str,
    /// When it changed.
    pub time: Timestamp,
    /// Its queue, empty if it has none.
    pub queue: &'a str,
    /// Names of its inputs; none if they are not told.
    pub inputs: Option<Vec<Lfn>>,
    /// Its errors.
    pub errors: Vec<(ErrorOf, ReportedError)>,
}

impl JobStatusMessage<'_> {
    /// Returns the message.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut message = Map::new();
        message.insert("msg_type".into(), "job_status".into());
        message.insert("jobid".into(), self.panda_id.value().into());
        message.insert("taskid".into(), self.task_id.value().into());
        message.insert("status".into(), self.status.into());
        message.insert("timestamp".into(), seconds(self.time).into());
        message.insert("computingsite".into(), self.queue.into());
        let inputs = self.inputs.as_ref();
        let names = inputs.map(|names| names.iter().map(Lfn::as_str).collect::<Vec<_>>());
        message.insert("inputs".into(), json!(names));
        for (source, name) in ErrorOf::ALL {
            let found = self.errors.iter().find(|(of, _)| *of == source);
            let (code, diag) = found.map_or((0, ""), |(_, error)| (error.code, &error.diag));
            message.insert(format!("{name}errorcode"), code.into());
            message.insert(format!("{name}errordiag"), diag.into());
        }
        Value::Object(message)
    }
}

/// A task's new status.
#[must_use]
pub fn task_status(task: TaskId, status: &str, time: Timestamp) -> Value {
    json!({"msg_type": "task_status", "taskid": task.value(), "status": status,
        "timestamp": seconds(time)})
}

/// A job waits for any pilot that hears of it.
#[must_use]
pub fn get_job(task: TaskId, job: PandaId, time: Timestamp) -> Value {
    json!({"msg_type": "get_job", "taskid": task.value(), "jobid": job.value(),
        "timestamp": seconds(time)})
}

/// Pilots are to end all jobs of a task (`kill_task`), or to finish with what they have
/// (`finish_task`).
#[must_use]
pub fn end_task(task: TaskId, word: &str, time: Timestamp) -> Value {
    json!({"msg_type": word, "taskid": task.value(), "timestamp": seconds(time)})
}

fn seconds(time: Timestamp) -> i64 {
    time.as_millis() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_status_has_every_key_that_listeners_know() {
        let message = JobStatusMessage {
            panda_id: PandaId::new(7),
            task_id: TaskId::new(3),
            status: "failed",
            time: Timestamp::from_millis(1_700_000_000_999),
            queue: "JINR",
            inputs: Some(vec![Lfn::new("a.root")]),
            errors: vec![(
                ErrorOf::Pilot,
                ReportedError {
                    code: 1305,
                    diag: "payload failed".into(),
                },
            )],
        };
        assert_eq!(
            message.to_json(),
            json!({"msg_type": "job_status", "jobid": 7, "taskid": 3, "status": "failed",
                "timestamp": 1_700_000_000, "computingsite": "JINR", "inputs": ["a.root"],
                "piloterrorcode": 1305, "piloterrordiag": "payload failed",
                "exeerrorcode": 0, "exeerrordiag": "",
                "taskbuffererrorcode": 0, "taskbuffererrordiag": ""})
        );
    }

    #[test]
    fn words_to_pilots_name_what_they_are_about() {
        let time = Timestamp::from_millis(5000);
        let task = TaskId::new(3);
        assert_eq!(
            end_task(task, "kill_task", time),
            json!({"msg_type": "kill_task", "taskid": 3, "timestamp": 5})
        );
        assert_eq!(get_job(task, PandaId::new(9), time)["jobid"], 9);
        assert_eq!(task_status(task, "done", time)["status"], "done");
    }
}
