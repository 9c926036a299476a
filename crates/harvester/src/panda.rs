//! Harvester's calls to the PanDA server, one function each.

use std::{fs, path::PathBuf};

use ailurus_harvester_core::{QueueStatistics, Revision};
use ailurus_http::{Client, ConfigError, HttpError, Response};
use ailurus_model::{HarvesterId, Queue, QueueName, Timestamp, Worker, WorkerId};
use ailurus_wire::{
    Answer, AnswerError, Dialect, Fields, body,
    harvester_call::{self, Heartbeat, WorkerStatistics},
    queue_data::{self, QueueDataError},
    system_call::{self, JobStatistics},
    worker_text,
};

use crate::config::ServerConfig;

const ACCEPT: (&str, &str) = ("Accept", "application/json");
const JSON: &str = "application/json";

/// A call to the server brought nothing.
#[derive(Debug, thiserror::Error)]
#[error("server cannot be asked to {action}")]
pub(crate) struct CallError {
    /// What it was to do.
    action: &'static str,
    /// Why.
    #[source]
    pub(crate) source: CallFailure,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    /// No answer: is the server running?
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer with an HTTP status of failure.
    #[error("`{url}` answered with HTTP status {status}")]
    Status { url: String, status: u16 },
    /// A refusal, or an answer that makes no sense.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Queue data that cannot be used.
    #[error(transparent)]
    QueueData(#[from] QueueDataError),
    /// A file with queue data that cannot be read.
    #[error("file `{}` cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl CallFailure {
    /// Says whether there is a server at all.
    pub(crate) const fn is_away(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Answer(_) | Self::QueueData(_) | Self::File { .. } => false,
        }
    }
}

/// The PanDA server.
#[derive(Debug)]
pub(crate) struct PandaServer {
    client: Client,
    url: String,
    harvester_id: HarvesterId,
}

impl PandaServer {
    pub(crate) fn new(
        config: &ServerConfig,
        harvester_id: HarvesterId,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            client: Client::new(config.client.clone())?,
            url: config.url.clone(),
            harvester_id,
        })
    }

    /// Counts the jobs of all queues.
    pub(crate) fn job_statistics(&self) -> Result<JobStatistics, CallError> {
        self.get(system_call::JOB_STATISTICS_PATH, &Fields::new())
            .and_then(|bytes| Ok(system_call::decode_job_statistics(&bytes)?))
            .map_err(failed("count jobs"))
    }

    /// Returns the largest worker number of this instance that the server has heard of.
    pub(crate) fn last_worker_id(&self) -> Result<WorkerId, CallError> {
        let request = harvester_call::encode_worker_id_request(&self.harvester_id);
        self.get(harvester_call::WORKER_ID_PATH, &request)
            .and_then(|bytes| Ok(harvester_call::decode_worker_id(&bytes)?))
            .map_err(failed("tell the last worker's number"))
    }

    /// Reads a queue's data from a URL or a file.
    pub(crate) fn queue(&self, name: &QueueName, location: &str) -> Result<Queue, CallError> {
        let read = || {
            let bytes = if location.starts_with("http://") || location.starts_with("https://") {
                successful(location, self.client.get(location, &[ACCEPT])?)?
            } else {
                let path = PathBuf::from(location);
                fs::read(&path).map_err(|source| CallFailure::File { path, source })?
            };
            Ok(queue_data::decode(&bytes, name)?)
        };
        read().map_err(failed("give queue data"))
    }

    /// Reports workers. Returns for each, in order, whether the server took it.
    pub(crate) fn update_workers(
        &self,
        workers: &[(Revision, Worker)],
    ) -> Result<Vec<bool>, CallError> {
        let workers: Vec<Worker> = workers.iter().map(|(_, worker)| worker.clone()).collect();
        let request = worker_text::encode_request(&self.harvester_id, &workers);
        self.post(worker_text::PATH, &request)
            .and_then(|bytes| Ok(worker_text::decode_answer(&bytes)?))
            .map_err(failed("take workers"))
    }

    /// Reports how many workers a queue has.
    pub(crate) fn report_statistics(&self, statistics: &QueueStatistics) -> Result<(), CallError> {
        let by_status = statistics
            .workers
            .iter()
            .map(|(status, count)| (status.to_string(), u64::from(*count)))
            .collect();
        let by_resource = [(statistics.resource_type.clone(), by_status)].into();
        let request = harvester_call::encode_statistics(&WorkerStatistics {
            harvester_id: self.harvester_id.clone(),
            queue: statistics.queue.clone(),
            counts: [(statistics.job_type.clone(), by_resource)].into(),
        });
        self.post_for_nothing(harvester_call::STATISTICS_PATH, &request)
            .map_err(failed("take worker statistics"))
    }

    /// Tells the server that this instance lives. The start is told once.
    pub(crate) fn heartbeat(&self, started: Option<Timestamp>) -> Result<(), CallError> {
        let request = harvester_call::encode_heartbeat(&Heartbeat {
            harvester_id: self.harvester_id.clone(),
            start_time: started,
            version: started.map_or("", |_| env!("CARGO_PKG_VERSION")).to_owned(),
            commit: String::new(),
        });
        self.post_for_nothing(harvester_call::HEARTBEAT_PATH, &request)
            .map_err(failed("take a heartbeat"))
    }

    fn post_for_nothing(&self, path: &str, request: &Fields) -> Result<(), CallFailure> {
        let bytes = self.post(path, request)?;
        Answer::parse(Dialect::V1, &bytes)
            .map_err(AnswerError::from)?
            .into_data()?;
        Ok(())
    }

    fn get(&self, path: &str, query: &Fields) -> Result<Vec<u8>, CallFailure> {
        let query = body::encode_form(query);
        let url = match query.as_str() {
            "" => format!("{}{path}", self.url),
            query => format!("{}{path}?{query}", self.url),
        };
        successful(&url, self.client.get(&url, &[ACCEPT])?)
    }

    fn post(&self, path: &str, request: &Fields) -> Result<Vec<u8>, CallFailure> {
        let url = format!("{}{path}", self.url);
        let body = body::encode_json(request);
        successful(&url, self.client.post(&url, &body, JSON, &[ACCEPT])?)
    }
}

fn successful(url: &str, response: Response) -> Result<Vec<u8>, CallFailure> {
    if response.is_success() {
        return Ok(response.body);
    }
    Err(CallFailure::Status {
        url: url.to_owned(),
        status: response.status,
    })
}

fn failed(action: &'static str) -> impl FnOnce(CallFailure) -> CallError {
    move |source| CallError { action, source }
}
