//! Transfer traces: what Rucio is told of each try to move a file.
//!
//! What a trace says is decided here, how Rucio spells it elsewhere. Times are those of the wall
//! clock, because people and Rucio read them.
//!
//! Source: Pilot 3, `pilot/util/tracereport.py`, `TraceReport`; the states: `pilot/common/errorcodes.py`,
//! `pilot/copytool/common.py`, `resolve_common_transfer_errors`.

use ailurus_model::{
    ByteCount, DatasetName, EndpointName, ErrorCode, Guid, Job, Lfn, PandaId, QueueName, Scope,
    TaskId, Timestamp,
};

use super::{
    Direction, Failure, FailureKind, Try, direct_access::is_analysis, place::md5_hex,
    tries::place_of,
};

/// Longest text of a state, in bytes.
const REASON_MAX: usize = 500;

/// What is the same in all traces of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTraces {
    /// The job (`appid`).
    pub panda_id: PandaId,
    /// Its task.
    pub task_id: TaskId,
    /// Who asked for it (`usrdn`), empty if nobody knows.
    pub user: String,
    /// The queue (`pq`).
    pub queue: QueueName,
    /// One for all traces of a job (`uuid`), 32 digits.
    pub uuid: String,
    /// Rucio's name of the site (`RUCIO_LOCAL_SITE_ID`), if the environment has one.
    pub local_site: Option<String>,
    /// Whether the job is a user's.
    pub is_analysis: bool,
}

/// A trace: what became of one try, or of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was done, for example `get_sm_a`.
    pub event: &'static str,
    /// How it ended (`clientState`).
    pub state: &'static str,
    /// `OK`, or why not (`stateReason`), without backslashes.
    pub reason: String,
    /// The scheme of the URL.
    pub protocol: String,
    /// The site that the pilot is at, or else the endpoint.
    pub local_site: String,
    /// The endpoint (`remoteSite`).
    pub remote_site: EndpointName,
    /// The file.
    pub file: TracedFile,
    /// The URL, without signatures.
    pub url: String,
    /// When what happened.
    pub times: TraceTimes,
}

/// The file of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedFile {
    /// Its name.
    pub lfn: Lfn,
    /// Its scope.
    pub scope: Scope,
    /// Its dataset.
    pub dataset: DatasetName,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its GUID without dashes, empty if it has none.
    pub guid: String,
}

impl TracedFile {
    /// Describes a file.
    #[must_use]
    pub fn new(
        (scope, lfn): (&Scope, &Lfn),
        dataset: &DatasetName,
        guid: Option<&Guid>,
        size: Option<ByteCount>,
    ) -> Self {
        Self {
            lfn: lfn.clone(),
            scope: scope.clone(),
            dataset: dataset.clone(),
            size,
            guid: guid.map_or_else(String::new, |guid| guid.as_str().replace('-', "")),
        }
    }
}

/// When what happened in a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceTimes {
    /// The stage-in or stage-out began.
    pub start: Timestamp,
    /// The try began (`relativeStart`, `transferStart`).
    pub transfer: Timestamp,
    /// The bytes were there, and were verified (`validateStart`).
    pub validate: Timestamp,
    /// It was over.
    pub end: Timestamp,
}

/// How a try, or a file without one, ended.
#[derive(Debug, Clone, Copy)]
pub enum TraceEnd<'a> {
    /// It was moved.
    Moved,
    /// The payload reads it from where it lies.
    Remote,
    /// The try failed.
    Failed(&'a Failure),
    /// It has no replica.
    NoReplica(&'a str),
    /// The queue has no copy tool for it.
    BadCopyTool(&'a str),
}

impl JobTraces {
    /// Describes a job. `random` makes the id of a job that has no number of its submission.
    #[must_use]
    pub fn new(job: &Job, queue: QueueName, local_site: Option<String>, random: [u8; 16]) -> Self {
        let uuid = match job.jobset_id {
            0 => random.iter().map(|byte| format!("{byte:02x}")).collect(),
            number => md5_hex(&format!("ppilot_{number}")),
        };
        Self {
            panda_id: job.panda_id,
            task_id: job.task_id,
            user: job.user.clone(),
            queue,
            uuid,
            local_site: local_site.filter(|site| !site.is_empty()),
            is_analysis: is_analysis(job),
        }
    }

    /// Returns the MD5 of the user's name (`usr`).
    #[must_use]
    pub fn user_digest(&self) -> String {
        md5_hex(&self.user)
    }

    /// Returns the trace of a try; none if it would say too little for Rucio to take it.
    #[must_use]
    pub fn of_try(
        &self,
        direction: Direction,
        (way, file): (&Try, TracedFile),
        times: TraceTimes,
        end: TraceEnd<'_>,
    ) -> Option<Trace> {
        let endpoint = &way.endpoint;
        if endpoint.is_empty() {
            return None;
        }
        let local_site = self.local_site.clone();
        Some(Trace {
            event: self.event(direction),
            state: state_of(direction, end),
            reason: reason_of(end),
            protocol: way.scheme().to_owned(),
            local_site: local_site.unwrap_or_else(|| endpoint.to_string()),
            remote_site: endpoint.clone(),
            file,
            url: place_of(&way.url),
            times,
        })
    }

    const fn event(&self, direction: Direction) -> &'static str {
        match (direction, self.is_analysis) {
            (Direction::Read, false) => "get_sm",
            (Direction::Read, true) => "get_sm_a",
            (Direction::Write, false) => "put_sm",
            (Direction::Write, true) => "put_sm_a",
        }
    }
}

/// Returns Rucio's word for how a try ended.
const fn state_of(direction: Direction, end: TraceEnd<'_>) -> &'static str {
    match end {
        TraceEnd::Moved => "DONE",
        TraceEnd::Remote => "FOUND_ROOT",
        TraceEnd::NoReplica(_) => "NO_REPLICA",
        TraceEnd::BadCopyTool(_) => "BAD_COPYTOOL",
        TraceEnd::Failed(failure) => failed_state(direction, failure),
    }
}

const fn failed_state(direction: Direction, failure: &Failure) -> &'static str {
    let attempt_failed = match direction {
        Direction::Read => "STAGEIN_ATTEMPT_FAILED",
        Direction::Write => "STAGEOUT_ATTEMPT_FAILED",
    };
    match failure.kind {
        FailureKind::Missing => match direction {
            Direction::Read => "MISSING_INPUT",
            Direction::Write => "MISSINGOUTPUTFILE",
        },
        FailureKind::Mismatch => {
            let code = failure.problem.code;
            if matches!(code, ErrorCode::GetMd5Mismatch | ErrorCode::PutMd5Mismatch) {
                "MD_MISMATCH"
            } else if matches!(code, ErrorCode::GetAdMismatch | ErrorCode::PutAdMismatch) {
                "AD_MISMATCH"
            } else {
                attempt_failed
            }
        }
        FailureKind::TimedOut => "CP_TIMEOUT",
        FailureKind::NoLocalSpace | FailureKind::NoRemoteSpace => "NO_SPACE",
        FailureKind::Busy { .. } => "SERVICE_ERROR",
        FailureKind::Unreachable => "NETWORK_UNREACHABLE",
        FailureKind::Denied => "CONTEXT_FAIL",
        FailureKind::ToolMissing => "BAD_COPYTOOL",
        FailureKind::BadAtOrigin
        | FailureKind::Refused
        | FailureKind::Broken
        | FailureKind::Stopped
        | FailureKind::Other => attempt_failed,
    }
}

fn reason_of(end: TraceEnd<'_>) -> String {
    let text = match end {
        TraceEnd::Moved => "OK".to_owned(),
        TraceEnd::Remote => "direct_access".to_owned(),
        TraceEnd::NoReplica(why) | TraceEnd::BadCopyTool(why) => why.to_owned(),
        TraceEnd::Failed(failure) => failure.problem.detail.clone(),
    };
    crate::problem::cut(&text.replace('\\', ""), REASON_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Problem, control::testing::job};

    fn traces(job: &Job) -> JobTraces {
        JobTraces::new(job, QueueName::new("Q"), None, [1; 16])
    }

    fn file() -> TracedFile {
        let name = (&Scope::new("s"), &Lfn::new("f"));
        let guid = Guid::new("AB-CD");
        TracedFile::new(name, &DatasetName::new("d"), Some(&guid), None)
    }

    fn times() -> TraceTimes {
        let now = Timestamp::from_millis(1_800_000_000_000);
        TraceTimes {
            start: now,
            transfer: now,
            validate: now,
            end: now,
        }
    }

    fn way() -> Try {
        Try {
            endpoint: EndpointName::new("EP"),
            ..Try::in_directory("davs://h/f?sig=s".into())
        }
    }

    fn failed(kind: FailureKind, code: ErrorCode) -> Failure {
        Failure {
            kind,
            problem: Problem::new(code, r"a\b"),
            kept: ByteCount::ZERO,
        }
    }

    #[test]
    fn a_trace_says_what_was_done_where_and_how_it_ended() {
        let traces = traces(&job(1));
        let trace = traces.of_try(Direction::Read, (&way(), file()), times(), TraceEnd::Moved);
        let trace = trace.expect("a trace");
        assert_eq!(
            (trace.event, trace.state, trace.reason.as_str()),
            ("get_sm_a", "DONE", "OK")
        );
        assert_eq!(
            (trace.url.as_str(), trace.protocol.as_str()),
            ("davs://h/f", "davs")
        );
        assert_eq!(
            (trace.local_site.as_str(), trace.file.guid.as_str()),
            ("EP", "ABCD")
        );
    }

    #[test]
    fn a_failure_has_pilot_3s_state_and_no_backslashes() {
        let mut job = job(1);
        job.transformation = "Reco_tf.py".into();
        let traces = traces(&job);
        let state = |direction, kind, code| {
            let failure = failed(kind, code);
            let end = TraceEnd::Failed(&failure);
            let trace = traces.of_try(direction, (&way(), file()), times(), end);
            let trace = trace.expect("a trace");
            assert_eq!(trace.reason, "ab");
            assert!(!trace.event.ends_with("_a"));
            trace.state
        };
        let (read, write) = (Direction::Read, Direction::Write);
        let mismatch = FailureKind::Mismatch;
        assert_eq!(
            state(read, mismatch, ErrorCode::GetAdMismatch),
            "AD_MISMATCH"
        );
        assert_eq!(
            state(write, mismatch, ErrorCode::PutMd5Mismatch),
            "MD_MISMATCH"
        );
        assert_eq!(
            state(read, mismatch, ErrorCode::StageInFailed),
            "STAGEIN_ATTEMPT_FAILED"
        );
        let missing = FailureKind::Missing;
        assert_eq!(
            state(write, missing, ErrorCode::MissingOutputFile),
            "MISSINGOUTPUTFILE"
        );
        assert_eq!(
            state(write, FailureKind::Other, ErrorCode::StageOutFailed),
            "STAGEOUT_ATTEMPT_FAILED"
        );
    }

    #[test]
    fn a_directory_that_the_pilot_was_given_is_nothing_to_tell_rucio() {
        let way = Try::in_directory("file:///in/f".into());
        let trace =
            traces(&job(1)).of_try(Direction::Read, (&way, file()), times(), TraceEnd::Moved);
        assert_eq!(trace, None);
    }

    #[test]
    fn all_traces_of_a_submission_have_one_id() {
        let mut job = job(1);
        assert_eq!(traces(&job).uuid, md5_hex("ppilot_5"));
        job.jobset_id = 0;
        assert_eq!(traces(&job).uuid, "01".repeat(16));
        assert_eq!(traces(&job).user_digest(), md5_hex("me"));
    }
}
