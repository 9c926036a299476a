//! From a configuration to a running Harvester: lock, rows, spools, server, core.

use std::{
    fs::{File, TryLockError},
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::Duration,
};

use ailurus_batch::{LocalBatch, SubmitError};
use ailurus_harvester_core::HarvesterCore;
use ailurus_model::{Worker, WorkerId};
use ailurus_store::{
    OpenError,
    workers::{BookError, WorkerBook},
};

use crate::{
    clock::wall_clock,
    config::Config,
    courier::Courier,
    error_text::chain,
    panda::PandaServer,
    shell::{Event, QueueRuntime, Shell},
    signals,
};

/// Events that may wait. Whoever has more to say waits too.
const EVENTS_WAITING: usize = 256;
/// Pauses between questions for the first worker's number.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Harvester could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another process has the database.
    #[error("`{}` is locked: another Harvester runs with this database, stop it first", path.display())]
    Locked { path: PathBuf },
    /// The lock file cannot be made.
    #[error("lock file `{}` cannot be made: does its folder exist?", path.display())]
    LockFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The rows cannot be read.
    #[error(transparent)]
    Book(#[from] BookError),
    /// A spool cannot be made.
    #[error(transparent)]
    Spool(#[from] SubmitError),
    /// Credentials cannot be used.
    #[error(transparent)]
    Client(#[from] ailurus_http::ConfigError),
    /// The system gives no thread or signal.
    #[error("a thread or signal handler cannot be set up")]
    System(#[from] io::Error),
    /// A signal came before everything was ready.
    #[error("stopped before the start was complete")]
    Stopped,
}

/// Opens everything and finds the workers of the run before.
pub(crate) fn open(config: Config) -> Result<Shell, StartError> {
    let lock = lock(&config)?;
    let harvester_id = config.core.harvester_id.clone();
    let book = WorkerBook::open(&config.database, harvester_id.clone())?;
    let mut queues = std::collections::BTreeMap::new();
    let mut settings = Vec::new();
    for queue in config.queues {
        let runtime = QueueRuntime {
            cancel_grace: queue.batch.cancel_grace,
            batch: Box::new(LocalBatch::open(queue.batch)?),
            command: queue.command,
            environment: queue.environment,
        };
        queues.insert(queue.settings.name.clone(), runtime);
        settings.push(queue.settings);
    }
    let (sender, events) = sync_channel(EVENTS_WAITING);
    signals::listen(sender.clone())?;
    let server = PandaServer::new(&config.server, harvester_id.clone())?;
    let workers = book.live()?;
    let last_id = last_worker_id(&book, &server, &events)?;
    tracing::info!(
        harvester.id = harvester_id.as_str(),
        "Harvester is up: {} queues, {} workers of earlier runs, server {}",
        queues.len(),
        workers.len(),
        config.server.url,
    );
    warn_of_strangers(&workers, &queues);
    let server_url = config.server.url.clone();
    let (courier, courier_end) = Courier::start(server, config.server, sender)?;
    let now = wall_clock();
    Ok(Shell {
        core: HarvesterCore::resume(config.core, settings, workers, last_id, now),
        book,
        queues,
        harvester_id,
        server_url,
        courier,
        courier_end,
        events,
        _lock: lock,
    })
}

/// Takes the lock that keeps a second Harvester from the same rows. It goes with the process.
fn lock(config: &Config) -> Result<File, StartError> {
    let mut name = config.database.clone().into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = File::create(&path).map_err(|source| StartError::LockFile {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(StartError::LockFile { path, source }),
    }
}

/// Returns the largest worker number ever used. With an empty database only the server knows: a
/// number that is used twice would mix up two workers there.
fn last_worker_id(
    book: &WorkerBook,
    server: &PandaServer,
    events: &Receiver<Event>,
) -> Result<WorkerId, StartError> {
    let recorded = book.last_id()?;
    let mut pause = PAUSE_MIN;
    while recorded == WorkerId::default() {
        match server.last_worker_id() {
            Ok(known) => return Ok(known),
            Err(error) if error.source.is_away() => {
                tracing::warn!("{}: is the server running? Trying again", chain(&error));
            }
            Err(error) => {
                tracing::warn!("{}: worker numbers begin at 1", chain(&error));
                return Ok(recorded);
            }
        }
        match events.recv_timeout(pause) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                return Err(StartError::Stopped);
            }
            Ok(Event::Input(_)) | Err(RecvTimeoutError::Timeout) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(recorded)
}

fn warn_of_strangers(
    workers: &[Worker],
    queues: &std::collections::BTreeMap<ailurus_model::QueueName, QueueRuntime>,
) {
    for worker in workers {
        if !queues.contains_key(&worker.queue) {
            tracing::warn!(
                worker.id = worker.worker_id.value(),
                queue = worker.queue.as_str(),
                "the worker's queue is not configured any more: nobody looks after it"
            );
        }
    }
}
