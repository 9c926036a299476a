//! Tells a message broker of changes of status, by STOMP.
//!
//! What to tell is found by `server-core` in the history. One server at a time holds the cursor and
//! tells; a change is done with once the broker has taken its messages, so each arrives at least
//! once, in order. While the broker is away, the cursor waits.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ailurus_model::ChangeId;
use ailurus_server_core::{
    ledger::{HistoryRows as _, LedgerError},
    news::{News, TaskEnd, hold_cursor, move_cursor, news_of, release_cursor},
};
use ailurus_stomp::{Connection, StompError};
use ailurus_wire::message::{self, ErrorOf, JobStatusMessage};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{app::App, config::MessagesConfig, knowledge::chain, reads::AskError};

/// The name of the cursor.
const CURSOR: &str = "stomp";
/// Changes that are told at a time.
const BATCH: usize = 500;
/// How long to wait at most before looking for changes that other servers made.
const OTHERS_INTERVAL: Duration = Duration::from_secs(1);
/// Changes of that time are read at once.
const GATHERING: Duration = Duration::from_millis(50);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A message and where it goes.
#[derive(Debug, PartialEq)]
struct Parcel {
    destination: String,
    /// The header `type`, by which pilots find their job.
    kind: Option<String>,
    body: Value,
}

/// Why a round told nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Broker(#[from] StompError),
    #[error("the history cannot be read")]
    Read(#[from] AskError),
    #[error("the cursor cannot be kept")]
    Write(#[from] ailurus_store::WriteError<LedgerError>),
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Something was told; there may be more.
    Told,
    /// There was nothing to tell.
    Nothing,
    /// Another server tells.
    NotOurs,
}

/// Tells messages until the future is dropped.
pub(crate) struct Teller {
    app: Arc<App>,
    config: MessagesConfig,
    /// A name that no other server has.
    holder: String,
    connection: Option<Connection>,
}

impl Teller {
    /// Makes one that holds nothing yet.
    pub(crate) fn new(app: Arc<App>, config: MessagesConfig) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = now.map_or(0, |time| time.as_nanos());
        Self {
            app,
            config,
            holder: format!("{}-{nanos}", std::process::id()),
            connection: None,
        }
    }

    /// Tells until the server stops, then lets go of the cursor.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSES.0;
        while !self.app.is_stopping() {
            let mut changes = self.app.changes();
            match self.round().await {
                Ok(Round::Told) => pause = PAUSES.0,
                Ok(Round::Nothing) => {
                    pause = PAUSES.0;
                    drop(timeout(OTHERS_INTERVAL, changes.changed()).await);
                }
                Ok(Round::NotOurs) => {
                    drop(timeout(self.config.lease / 2, self.app.stopped()).await)
                }
                Err(error) => {
                    self.connection = None;
                    self.app.metrics.message_failures.inc();
                    tracing::warn!(
                        error = chain(&error),
                        ?pause,
                        "messages wait for their broker"
                    );
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.app.stopped() => {}
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        let holder = self.holder;
        let released = self
            .app
            .write(move |_, ledger| release_cursor(ledger, CURSOR, &holder));
        if let Err(error) = released.await {
            tracing::warn!(
                error = chain(&error),
                "the cursor of messages stays held for a while"
            );
        }
    }

    async fn round(&mut self) -> Result<Round, RoundError> {
        let (holder, lease) = (self.holder.clone(), self.config.lease);
        let held = self
            .app
            .write(move |ctx, ledger| hold_cursor(ctx, ledger, CURSOR, &holder, lease));
        let Some(after) = held.await? else {
            return Ok(Round::NotOurs);
        };
        // Renewed well before its end, but not each time: that would be a change by itself.
        let mut last = after;
        let mut is_told = false;
        let until = tokio::time::Instant::now() + lease / 3;
        while tokio::time::Instant::now() < until && !self.app.is_stopping() {
            let mut changes = self.app.changes();
            let (parcels, reached) = self.parcels_after(last).await?;
            if reached == last {
                drop(timeout(OTHERS_INTERVAL, changes.changed()).await);
                sleep(GATHERING).await;
                continue;
            }
            self.deliver(parcels).await?;
            (last, is_told) = (reached, true);
            let (holder, lease) = (self.holder.clone(), lease);
            let moved = self
                .app
                .write(move |ctx, ledger| move_cursor(ctx, ledger, CURSOR, &holder, last, lease));
            moved.await?;
        }
        Ok(if is_told { Round::Told } else { Round::Nothing })
    }

    /// Reads what comes next, and up to which change that is.
    async fn parcels_after(&self, after: ChangeId) -> Result<(Vec<Parcel>, ChangeId), RoundError> {
        let config = self.config.clone();
        let read = self.app.read(move |reader| {
            let ledger = reader.ledger();
            let rows = ledger.changes_after(after, BATCH)?;
            let mut parcels = Vec::new();
            for row in &rows {
                for news in news_of(ledger, row, config.audience)? {
                    parcels.extend(parcel(&config, &news));
                }
            }
            Ok((parcels, rows.last().map_or(after, |row| row.id)))
        });
        Ok(read.await?)
    }

    /// Sends and waits for the broker's word that it has everything.
    async fn deliver(&mut self, parcels: Vec<Parcel>) -> Result<(), RoundError> {
        if parcels.is_empty() {
            return Ok(());
        }
        let (connection, broker) = (self.connection.take(), self.config.broker.clone());
        let n_messages = parcels.len();
        let sent = tokio::task::spawn_blocking(move || {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&broker)?,
            };
            for parcel in &parcels {
                let kind = parcel.kind.as_ref().map(|kind| ("type", kind.as_str()));
                let headers: Vec<_> = kind.into_iter().collect();
                let body = parcel.body.to_string();
                connection.send(&parcel.destination, &headers, body.as_bytes())?;
            }
            connection.confirm()?;
            Ok::<_, StompError>(connection)
        });
        let sent = sent.await;
        let sent = sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        self.connection = Some(sent?);
        self.app.metrics.messages.inc_by(n_messages as u64);
        Ok(())
    }
}

/// Writes news down, for each destination that wants them.
fn parcel(config: &MessagesConfig, news: &News) -> Vec<Parcel> {
    let to = |destinations: &[String], kind: Option<String>, body: &Value| {
        let parcels = destinations.iter().map(|destination| Parcel {
            destination: destination.clone(),
            kind: kind.clone(),
            body: body.clone(),
        });
        parcels.collect()
    };
    match news {
        News::Job(job) => {
            let errors = [
                (ErrorOf::Pilot, &job.pilot_error),
                (ErrorOf::Payload, &job.payload_error),
                (ErrorOf::Server, &job.server_error),
            ];
            let message = JobStatusMessage {
                panda_id: job.panda_id,
                task_id: job.task_id,
                status: job.status.as_str(),
                time: job.time,
                queue: job.queue.as_ref().map_or("", |queue| queue.as_str()),
                inputs: job.inputs.clone(),
                errors: errors
                    .into_iter()
                    .filter_map(|(source, error)| Some((source, error.clone()?)))
                    .collect(),
            };
            to(&config.job_status, None, &message.to_json())
        }
        News::Task {
            task_id,
            status,
            time,
        } => {
            let body = message::task_status(*task_id, status.as_str(), *time);
            to(&config.task_status, None, &body)
        }
        News::JobWaits {
            task_id,
            panda_id,
            time,
        } => {
            let body = message::get_job(*task_id, *panda_id, *time);
            to(&config.pilots, Some(panda_id.to_string()), &body)
        }
        News::TaskEnds { task_id, how, time } => {
            let word = match how {
                TaskEnd::Kill => "kill_task",
                TaskEnd::Finish => "finish_task",
            };
            to(
                &config.pilots,
                None,
                &message::end_task(*task_id, word, *time),
            )
        }
    }
}
