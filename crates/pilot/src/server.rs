//! The conversation with the PanDA server: v1 first, the legacy dialect where that is all it has.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU8, Ordering},
};

use ailurus_http::{Client, gzipped};
use ailurus_model::{HarvesterId, JobRequest, JobUpdate, QueueName, UpdateAnswer, WorkerId};
use ailurus_pilot_core::{
    Input, Problem,
    effect::WorkerPhase,
    input::{Offer, RefusedJob, UpdateFailure},
};
use ailurus_wire::{
    AnswerError, Dialect, Fields, StatusCode,
    body::{JSON_TYPE, encode_json},
    get_job,
    get_job::OfferedJobs,
    update_job, worker_status,
    worker_status::{PilotPhase, PilotReport},
};

use crate::{log, settings::ServerUse};

/// The file with the last update of a pilot that sends none.
const HEARTBEAT_FILE: &str = "heartbeat.json";
/// The name of a job definition that a wrapper or Harvester put in place.
pub(crate) const JOB_FILE: &str = "pandaJobData.out";

/// What is known about the server's dialect.
const UNKNOWN: u8 = 0;
const V1: u8 = 1;
const LEGACY: u8 = 2;

/// The way to the server. Shared by all activities; connections are kept open.
#[derive(Debug)]
pub(crate) struct ServerLink {
    pub(crate) client: Client,
    /// Scheme, host and port.
    pub(crate) address: String,
    pub(crate) server_use: ServerUse,
    /// The pilot's directory.
    pub(crate) home: PathBuf,
    /// Where a job definition may lie, looked at before the server is asked.
    pub(crate) job_files: Vec<PathBuf>,
    dialect: AtomicU8,
}

/// A call has no usable answer.
#[derive(Debug)]
enum CallError {
    Unreachable(String),
    Refused(String),
}

impl From<CallError> for UpdateFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(text) => Self::Unreachable(text),
            CallError::Refused(text) => Self::Refused(text),
        }
    }
}

impl ServerLink {
    pub(crate) fn new(
        client: Client,
        address: String,
        server_use: ServerUse,
        (home, job_files): (PathBuf, Vec<PathBuf>),
    ) -> Self {
        Self {
            client,
            address,
            server_use,
            home,
            job_files,
            dialect: AtomicU8::new(UNKNOWN),
        }
    }

    /// Asks for a job.
    pub(crate) fn acquire(&self, request: &JobRequest) -> Input {
        let offered = match self.job_from_file() {
            Some(offered) => offered,
            None => self
                .call(get_job::path, |dialect| {
                    get_job::encode_request(dialect, request)
                })
                .map_err(|error| match error {
                    CallError::Unreachable(text) | CallError::Refused(text) => text,
                })
                .and_then(|(dialect, bytes)| {
                    get_job::decode_answer(dialect, &bytes).map_err(|error| log::chain(&error))
                }),
        };
        match offered.and_then(offer_of) {
            Err(why) => Input::AcquireFailed(why),
            Ok(offer) => Input::JobsOffered(offer),
        }
    }

    /// Sends an update; the report of a failed job gets the end of the log.
    pub(crate) fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure> {
        let mut update = update.clone();
        if update.is_final() && update.pilot_error.is_some() {
            update.pilot_log = log::extract(&self.home);
        }
        if self.server_use == ServerUse::FileOnly {
            let bytes = encode_json(&update_job::encode_request(Dialect::Legacy, &update));
            return fs::write(self.home.join(HEARTBEAT_FILE), bytes)
                .map(|()| UpdateAnswer::default())
                .map_err(|error| UpdateFailure::Unreachable(error.to_string()));
        }
        let encode = |dialect| update_job::encode_request(dialect, &update);
        let (dialect, bytes) = self.call(update_job::path, encode)?;
        update_job::decode_answer(dialect, &bytes).map_err(|error| {
            let text = log::chain(&error);
            if is_passing(&error) {
                UpdateFailure::Unreachable(text)
            } else {
                UpdateFailure::Refused(text)
            }
        })
    }

    /// Tells that the worker starts or ends. Whether the server hears it changes nothing.
    pub(crate) fn report_worker(
        &self,
        phase: WorkerPhase,
        (harvester_id, worker_id): (HarvesterId, WorkerId),
        (site, node): (QueueName, ailurus_model::NodeName),
    ) {
        let report = PilotReport {
            worker_id,
            harvester_id,
            phase: match phase {
                WorkerPhase::Started => PilotPhase::Started,
                WorkerPhase::Finished => PilotPhase::Finished,
            },
            node,
            site,
        };
        let encode = |dialect| worker_status::encode_request(dialect, &report);
        match self.call(worker_status::path, encode) {
            Ok(_) => tracing::info!("worker status reported: {}", report.phase.as_str()),
            Err(CallError::Unreachable(why) | CallError::Refused(why)) => {
                tracing::warn!("worker status not reported: {why}");
            }
        }
    }

    /// Takes a job definition that somebody put in place, and removes the file.
    fn job_from_file(&self) -> Option<Result<OfferedJobs, String>> {
        let file = self.job_files.iter().find(|file| file.is_file())?;
        tracing::info!("job definition from `{}`", file.display());
        let read = || -> Result<OfferedJobs, String> {
            let text = fs::read(file).map_err(|error| error.to_string())?;
            fs::remove_file(file).map_err(|error| error.to_string())?;
            get_job::decode_answer(Dialect::Legacy, &text).map_err(|error| log::chain(&error))
        };
        Some(read().map_err(|why| format!("`{}`: {why}", file.display())))
    }

    /// Calls the server in the dialect that it is known to speak. A server of which nothing is
    /// known is tried in v1, and in the legacy dialect where it has no such call.
    fn call(
        &self,
        path_of: fn(Dialect) -> &'static str,
        encode: impl Fn(Dialect) -> Fields,
    ) -> Result<(Dialect, Vec<u8>), CallError> {
        let known = self.dialect.load(Ordering::Relaxed);
        let first = if known == LEGACY {
            Dialect::Legacy
        } else {
            Dialect::V1
        };
        match self.post(path_of(first), first, &encode(first)) {
            Ok(bytes) => {
                self.remember(first);
                Ok((first, bytes))
            }
            Err(PostError::NoSuchCall(_)) if known == UNKNOWN => {
                let second = Dialect::Legacy;
                let bytes = self.post(path_of(second), second, &encode(second))?;
                tracing::info!("the server speaks the legacy dialect");
                self.remember(second);
                Ok((second, bytes))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn remember(&self, dialect: Dialect) {
        let known = match dialect {
            Dialect::V1 => V1,
            Dialect::Legacy => LEGACY,
        };
        self.dialect.store(known, Ordering::Relaxed);
    }

    fn post(&self, path: &str, dialect: Dialect, fields: &Fields) -> Result<Vec<u8>, PostError> {
        let body = gzipped(&encode_json(fields));
        // Legacy servers decompress JSON whatever the headers say, and answer as to Pilot 3 only
        // without these.
        let headers: &[(&str, &str)] = match dialect {
            Dialect::V1 => &[("Content-Encoding", "gzip"), ("Accept", JSON_TYPE)],
            Dialect::Legacy => &[],
        };
        let url = format!("{}{path}", self.address);
        let answer = self
            .client
            .post(&url, &body, JSON_TYPE, headers)
            .map_err(|error| PostError::Unreachable(log::chain(&error)))?;
        match answer.status {
            200..=299 => Ok(answer.body),
            403 | 404 => Err(PostError::NoSuchCall(describe(
                answer.status,
                &answer.text(),
            ))),
            500..=599 => Err(PostError::Unreachable(describe(
                answer.status,
                &answer.text(),
            ))),
            status => Err(PostError::Refused(describe(status, &answer.text()))),
        }
    }
}

/// Why a request brought no answer.
#[derive(Debug)]
enum PostError {
    NoSuchCall(String),
    Unreachable(String),
    Refused(String),
}

impl From<PostError> for CallError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Unreachable(text) => Self::Unreachable(text),
            PostError::NoSuchCall(text) | PostError::Refused(text) => Self::Refused(text),
        }
    }
}

/// Says whether the server may well take the same message later: its database was busy, or a proxy
/// answered in its place.
const fn is_passing(error: &AnswerError) -> bool {
    match error {
        AnswerError::Body(_) => true,
        AnswerError::Refused { status, .. } => {
            matches!(status, StatusCode::TimedOut | StatusCode::Failed)
        }
        AnswerError::Field(_) => false,
    }
}

/// Longest part of an error page that is repeated, in bytes.
const PAGE_SHOWN_MAX: usize = 200;

fn describe(status: u16, page: &str) -> String {
    let shown = &page[..page.floor_char_boundary(PAGE_SHOWN_MAX)];
    format!("HTTP status {status}: {}", shown.trim())
}

/// Tells jobs that can be run from those that must be refused.
///
/// # Errors
///
/// Nothing in the answer says which job it is about.
fn offer_of(offered: OfferedJobs) -> Result<Offer, String> {
    let mut offer = Offer {
        jobs: offered.jobs,
        refused: Vec::new(),
    };
    for broken in offered.broken {
        match broken.panda_id {
            Some(panda_id) => offer.refused.push(RefusedJob {
                panda_id,
                attempt_nr: broken.attempt_nr,
                problem: Problem::new(broken.code(), log::chain(&broken)),
            }),
            None if offer.jobs.is_empty() => return Err(log::chain(&broken)),
            None => tracing::warn!("a job of the answer is left out: {}", log::chain(&broken)),
        }
    }
    Ok(offer)
}

#[cfg(test)]
mod tests {
    use ailurus_http::ClientConfig;

    use super::*;

    #[test]
    fn a_job_definition_in_place_that_cannot_be_read_is_named() {
        let place = tempfile::tempdir().expect("space");
        let file = place.path().join(JOB_FILE);
        fs::write(&file, "{\"Pan").expect("space");
        let link = ServerLink::new(
            Client::new(ClientConfig::default()).expect("a client"),
            String::new(),
            ServerUse::FileOnly,
            (place.path().to_owned(), vec![file.clone()]),
        );
        let why = link.job_from_file().expect("a file").expect_err("no job");
        assert!(why.starts_with(&format!("`{}`: ", file.display())), "{why}");
        assert!(link.job_from_file().is_none());
    }
}
