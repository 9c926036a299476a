//! What every handler has at hand: the way to the rows, for writing and for reading.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use ailurus_server_core::{Context, ledger::LedgerError};
use ailurus_store::{DatabaseLedger, Hint, Reader, WriteError, Writer};
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    cache_folder::CacheFolder,
    identities::Identities,
    knowledge::Knowledge,
    metrics::Metrics,
    panda::statistics::Counts,
    reads::{AskError, Reads},
};

/// Where files lie that are being uploaded, in the folder of uploaded files.
const INCOMING: &str = ".incoming";

/// The running server, without its sockets.
#[derive(Debug)]
pub(crate) struct App {
    /// What the server is told by files, as they were read last.
    knowledge: RwLock<Arc<Knowledge>>,
    /// Who calls.
    pub(crate) identities: Arc<Identities>,
    /// Folder of payload scripts.
    pub(crate) transforms: Option<PathBuf>,
    /// Largest body of a request, in bytes.
    pub(crate) body_limit: usize,
    /// Counts of jobs that are kept for a while.
    pub(crate) counts: Counts,
    /// What is told to Prometheus.
    pub(crate) metrics: Metrics,
    /// Files that users send and jobs fetch.
    pub(crate) cache: CacheFolder,
    /// Folder of files that are being uploaded; on the file system where they will stay.
    pub(crate) uploads: PathBuf,
    // Readers go before the writer: whoever closes the database last folds its log into it, which
    // a reader cannot.
    reads: Reads,
    writer: Writer,
    /// Counts what this server has written, for those who wait for changes.
    written: watch::Sender<u64>,
    is_stopping: watch::Sender<bool>,
    /// Wakes who chooses queues.
    jobs_made: Notify,
}

impl App {
    /// Puts the parts together.
    pub(crate) fn new(
        knowledge: Arc<Knowledge>,
        identities: Arc<Identities>,
        transforms: Option<PathBuf>,
        body_limit: usize,
        cache: PathBuf,
        writer: Writer,
        reads: Reads,
    ) -> Self {
        Self {
            knowledge: RwLock::new(knowledge),
            identities,
            transforms,
            body_limit,
            uploads: cache.join(INCOMING),
            cache: CacheFolder::new(cache),
            counts: Counts::default(),
            metrics: Metrics::new(),
            writer,
            reads,
            written: watch::Sender::new(0),
            is_stopping: watch::Sender::new(false),
            jobs_made: Notify::new(),
        }
    }

    /// What the server is told by files. Who answers one request takes it once.
    ///
    /// Operations hold this and not the whole app: they run on the writer's thread, which must
    /// never be the one that drops the writer.
    pub(crate) fn knowledge(&self) -> Arc<Knowledge> {
        // It is replaced in one step, so it is whole whatever happened to a thread.
        let knowledge = self.knowledge.read();
        Arc::clone(&knowledge.unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with what the files say now. Operations under way end with what they began with.
    pub(crate) fn replace_knowledge(&self, knowledge: Knowledge) {
        let new = Arc::new(knowledge);
        *self
            .knowledge
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// As [`App::write_with`] of an operation that cannot say what it will read.
    pub(crate) async fn write<T, E>(
        &self,
        operation: impl FnOnce(&Context<'_>, &mut DatabaseLedger) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.write_with(Hint::Nothing, operation).await
    }

    /// Runs an operation that changes rows, and says what it will read. Once this returns `Ok`,
    /// the change is on disk.
    pub(crate) async fn write_with<T, E>(
        &self,
        hint: Hint,
        operation: impl FnOnce(&Context<'_>, &mut DatabaseLedger) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let knowledge = self.knowledge();
        self.writer.submit_with(
            hint,
            move |ledger| operation(&knowledge.context(), ledger),
            // Nobody listens any more if the client has gone.
            move |result| drop(sender.send(result)),
        );
        let result = receiver.await.unwrap_or(Err(WriteError::Stopped));
        if result.is_ok() && self.written.receiver_count() > 0 {
            self.written.send_modify(|n_writes| *n_writes += 1);
        }
        result
    }

    /// Something that changes with what this server writes. Other servers' changes do not show.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Says that jobs were made, of which some may have no queue yet.
    pub(crate) fn note_new_jobs(&self) {
        self.jobs_made.notify_one();
    }

    /// Waits until jobs were made.
    pub(crate) async fn new_jobs(&self) {
        self.jobs_made.notified().await;
    }

    /// Has everything that goes on by itself come to its end.
    pub(crate) fn stop(&self) {
        self.is_stopping.send_replace(true);
        self.written.send_modify(|n_writes| *n_writes += 1);
    }

    /// Says whether the server is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    /// Waits until the server is about to stop.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as the app.
        drop(
            self.is_stopping
                .subscribe()
                .wait_for(|is_stopping| *is_stopping)
                .await,
        );
    }

    /// Asks the rows something, as they were committed last.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, AskError> {
        self.reads.ask(move |readers| readers.read(question)).await
    }

    /// Has an operation look at the rows that changes nothing, beside the writer.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Context<'_>, &mut DatabaseLedger) -> Result<T, LedgerError>
        + Send
        + 'static,
    ) -> Result<T, AskError> {
        let knowledge = self.knowledge();
        self.reads
            .ask(move |readers| readers.look(|ledger| operation(&knowledge.context(), ledger)))
            .await
    }
}
