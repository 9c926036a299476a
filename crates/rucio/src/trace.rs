//! Sends traces from a thread of its own, so that no transfer waits for a statistics server.
//!
//! Traces that find the queue full are counted and forgotten, as are those that the server does
//! not take: statistics must not cost a job anything.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use ailurus_http::{Client, ClientConfig, Redirects, Timeouts};
use ailurus_wire::{
    body::JSON_TYPE,
    rucio::trace::{self, TransferTrace},
};

use crate::RucioError;

/// Traces that wait, about 1 KiB each.
const QUEUE_MAX: usize = 2048;
/// Time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time until a trace is answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer: it says `Created`.
const ANSWER_MAX_BYTES: u64 = 64 << 10;
/// Traces in a row that a server may refuse before it is left alone: it takes none.
const REFUSALS_MAX: u32 = 10;
/// Stack of the thread, in bytes.
const STACK_BYTES: usize = 512 << 10;

/// Takes traces and sends them one after another.
#[derive(Debug)]
pub struct TraceSender {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
    /// Behind a lock only so that threads can share the sender.
    done: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    gives_up: AtomicBool,
}

/// What became of the traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceSummary {
    /// The server took them.
    pub n_sent: u64,
    /// The server did not take them, or did not answer.
    pub n_refused: u64,
    /// There was no room, or they lacked what the server needs.
    pub n_dropped: u64,
}

impl TraceSender {
    /// Starts the thread. `url` is the whole address, for example
    /// `https://rucio.example.org/traces/`; of `http`, only trust, proxy and agent are used.
    ///
    /// # Errors
    ///
    /// [`RucioError::Config`] if the CA certificates cannot be read; the caller goes on without
    /// traces.
    pub fn start(url: &str, http: &ClientConfig) -> Result<Self, RucioError> {
        let client = Client::new(ClientConfig {
            timeouts: Timeouts {
                connect: CONNECT_TIMEOUT,
                whole: ANSWER_TIMEOUT,
                download: ANSWER_TIMEOUT,
            },
            certificate: None,
            token: None,
            redirects: Redirects::Followed,
            response_max_bytes: ANSWER_MAX_BYTES,
            ..http.clone()
        })?;
        let (queue, traces) = sync_channel::<Vec<u8>>(QUEUE_MAX);
        let (finished, done) = sync_channel(1);
        let counts = Arc::new(Counts::default());
        let (url, of_thread) = (url.to_owned(), Arc::clone(&counts));
        let activity = move || {
            send_all(&client, &url, &traces, &of_thread);
            // Nobody may be waiting any more.
            let _ = finished.send(());
        };
        if let Err(error) = ailurus_process::spawn_named("rucio-traces", STACK_BYTES, activity) {
            tracing::warn!("no traces are sent: {error}");
        }
        Ok(Self {
            queue,
            counts,
            done: Mutex::new(done),
        })
    }

    /// Takes a trace. Never waits.
    pub fn send(&self, trace: &TransferTrace) {
        let taken = trace::encode(trace)
            .is_some_and(|body| self.queue.try_send(body.to_string().into_bytes()).is_ok());
        if !taken {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all traces are sent, but no longer than `limit`; the rest is forgotten.
    #[must_use]
    pub fn finish(self, limit: Duration) -> TraceSummary {
        let Self {
            queue,
            counts,
            done,
        } = self;
        drop(queue);
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if done.recv_timeout(limit).is_err() {
            counts.gives_up.store(true, Ordering::Relaxed);
        }
        TraceSummary {
            n_sent: counts.sent.load(Ordering::Relaxed),
            n_refused: counts.refused.load(Ordering::Relaxed),
            n_dropped: counts.dropped.load(Ordering::Relaxed),
        }
    }
}

fn send_all(client: &Client, url: &str, traces: &Receiver<Vec<u8>>, counts: &Counts) {
    let mut refusals_in_a_row = 0;
    for body in traces {
        if counts.gives_up.load(Ordering::Relaxed) {
            return;
        }
        if refusals_in_a_row == REFUSALS_MAX {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let refusal = match client.post(url, &body, JSON_TYPE, &[]) {
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => Some(format!("HTTP status {}", answer.status)),
            Err(error) => Some(error.to_string()),
        };
        let Some(refusal) = refusal else {
            refusals_in_a_row = 0;
            counts.sent.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        tracing::debug!("a trace was not taken: {refusal}");
        counts.refused.fetch_add(1, Ordering::Relaxed);
        refusals_in_a_row += 1;
        if refusals_in_a_row == REFUSALS_MAX {
            tracing::warn!("no more traces are sent: {refusal}");
        }
    }
}
