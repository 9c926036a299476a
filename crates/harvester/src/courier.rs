//! The thread that talks to the server, so that a server that hangs never holds up the batch
//! systems.
//!
//! It asks for what the core wants to know, each at its interval, and carries reports. When the
//! server is away it waits, longer each time, and drops reports meanwhile: the core makes them
//! again until they are acknowledged.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

use ailurus_harvester_core::{Input, JobCounts, QueueStatistics, Revision};
use ailurus_model::{JobStatus, QueueName, Timestamp, Worker};
use ailurus_wire::system_call::JobStatistics;

use crate::{
    clock::wall_clock,
    config::ServerConfig,
    error_text::chain,
    panda::{CallError, PandaServer},
    shell::Event,
};

/// Reports that wait for the thread. More are dropped, and made again by the core.
const LETTERS_WAITING: usize = 64;
/// The first and the longest pause while the server is away.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Pause between two reads of queue data that failed.
const QUEUE_DATA_RETRY: Duration = Duration::from_secs(10);

/// Something to be told to the server.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Workers that are new or changed.
    Workers(Vec<(Revision, Worker)>),
    /// How many workers a queue has.
    Statistics(QueueStatistics),
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Courier {
    /// None once it is closed.
    letters: Option<SyncSender<Letter>>,
}

/// Tells when the thread has ended.
#[derive(Debug)]
pub(crate) struct CourierEnd(Receiver<()>);

impl Courier {
    /// Starts the thread `courier`.
    pub(crate) fn start(
        server: PandaServer,
        config: ServerConfig,
        events: SyncSender<Event>,
    ) -> std::io::Result<(Self, CourierEnd)> {
        let (letters, inbox) = sync_channel(LETTERS_WAITING);
        let (end, ended) = sync_channel(1);
        let rounds = Rounds::new(server, config, events);
        std::thread::Builder::new()
            .name("courier".to_owned())
            .spawn(move || {
                rounds.run(&inbox);
                drop(end);
            })?;
        let letters = Some(letters);
        Ok((Self { letters }, CourierEnd(ended)))
    }

    /// Hands over a letter, or drops it if too many wait.
    pub(crate) fn send(&self, letter: Letter) {
        let Some(letters) = &self.letters else {
            return;
        };
        match letters.try_send(letter) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::debug!("report dropped: too many wait"),
            Err(TrySendError::Disconnected(_)) => tracing::error!("the courier has ended"),
        }
    }

    /// Lets the thread carry what waits, and end.
    pub(crate) fn close(&mut self) {
        self.letters = None;
    }
}

impl CourierEnd {
    /// Says whether the thread has ended.
    pub(crate) fn has_come(&self) -> bool {
        matches!(
            self.0.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Disconnected)
        )
    }
}

/// Something asked for again and again.
#[derive(Debug)]
struct Timer {
    interval: Duration,
    due: Instant,
}

impl Timer {
    fn new(interval: Duration) -> Self {
        let due = Instant::now();
        Self { interval, due }
    }

    /// Says whether it is due, and if so sets the next time.
    fn strikes(&mut self, now: Instant) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.due = now + self.interval;
        }
        is_due
    }
}

#[derive(Debug)]
struct Rounds {
    server: PandaServer,
    config: ServerConfig,
    events: SyncSender<Event>,
    jobs: Timer,
    queue_data: Timer,
    heartbeat: Timer,
    started: Option<Timestamp>,
    /// While the server is away: how long the next pause is, and when the server is tried again.
    outage: Option<(Duration, Instant)>,
}

impl Rounds {
    fn new(server: PandaServer, config: ServerConfig, events: SyncSender<Event>) -> Self {
        Self {
            jobs: Timer::new(config.jobs_interval),
            queue_data: Timer::new(config.queue_data_interval),
            heartbeat: Timer::new(config.heartbeat_interval),
            started: Some(wall_clock()),
            outage: None,
            server,
            config,
            events,
        }
    }

    fn run(mut self, inbox: &Receiver<Letter>) {
        loop {
            let now = Instant::now();
            match inbox.recv_timeout(self.next_due().saturating_duration_since(now)) {
                Ok(letter) => {
                    if !self.is_pausing(Instant::now()) {
                        self.carry(letter);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.ask(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next_due(&self) -> Instant {
        let due = self
            .jobs
            .due
            .min(self.queue_data.due)
            .min(self.heartbeat.due);
        self.outage.map_or(due, |(_, again)| due.max(again))
    }

    fn is_pausing(&self, now: Instant) -> bool {
        self.outage.is_some_and(|(_, again)| now < again)
    }

    /// Asks for everything that is due, until the server proves to be away.
    fn ask(&mut self) {
        let now = Instant::now();
        if self.queue_data.strikes(now) {
            self.read_queues(now);
        }
        if !self.is_pausing(now) && self.jobs.strikes(now) {
            let answer = self.server.job_statistics();
            if let Some(statistics) = self.heard(answer) {
                self.tell(Input::JobsCounted(job_counts(&statistics)));
            }
        }
        if !self.is_pausing(now) && self.heartbeat.strikes(now) {
            let answer = self.server.heartbeat(self.started);
            if self.heard(answer).is_some() {
                self.started = None;
            }
        }
    }

    fn read_queues(&mut self, now: Instant) {
        let locations: Vec<(QueueName, String)> =
            self.config.queue_data.clone().into_iter().collect();
        for (name, location) in locations {
            let answer = self.server.queue(&name, &location);
            match self.heard(answer) {
                Some(queue) => self.tell(Input::QueueRead(Box::new(queue))),
                None => self.queue_data.due = now + QUEUE_DATA_RETRY.min(self.queue_data.interval),
            }
            if self.is_pausing(now) {
                // It has not been asked, really.
                self.queue_data.due = now;
                return;
            }
        }
    }

    fn carry(&mut self, letter: Letter) {
        match letter {
            Letter::Workers(workers) => {
                let answer = self.server.update_workers(&workers);
                let Some(taken) = self.heard(answer) else {
                    return;
                };
                let acknowledged = workers
                    .iter()
                    .zip(taken)
                    .filter(|(_, is_taken)| *is_taken)
                    .map(|((revision, worker), _)| (worker.worker_id, *revision))
                    .collect();
                self.tell(Input::WorkersAcknowledged(acknowledged));
            }
            Letter::Statistics(statistics) => {
                let answer = self.server.report_statistics(&statistics);
                self.heard(answer);
            }
        }
    }

    /// Notes whether the server is there, and logs its failure once.
    fn heard<T>(&mut self, answer: Result<T, CallError>) -> Option<T> {
        let error = match answer {
            Ok(value) => {
                if self.outage.take().is_some() {
                    tracing::info!("the server answers again");
                }
                return Some(value);
            }
            Err(error) => error,
        };
        if !error.source.is_away() {
            self.outage = None;
            tracing::warn!("{}", chain(&error));
            return None;
        }
        let pause = self
            .outage
            .map_or(PAUSE_MIN, |(pause, _)| (pause * 2).min(PAUSE_MAX));
        if self.outage.is_none() {
            tracing::warn!(
                "{}: workers go on, the server is tried again",
                chain(&error)
            );
        } else {
            tracing::debug!(pause_ms = pause.as_millis(), "{}", chain(&error));
        }
        self.outage = Some((pause, Instant::now() + pause));
        None
    }

    fn tell(&self, input: Input) {
        if self.events.send(Event::Input(input)).is_err() {
            tracing::debug!("nobody listens any more");
        }
    }
}

fn job_counts(statistics: &JobStatistics) -> BTreeMap<QueueName, JobCounts> {
    let sum = |counts: &BTreeMap<JobStatus, u64>, is_meant: fn(JobStatus) -> bool| {
        let jobs = counts.iter().filter(|(status, _)| is_meant(**status));
        u32::try_from(jobs.map(|(_, count)| *count).sum::<u64>()).unwrap_or(u32::MAX)
    };
    statistics
        .iter()
        .map(|(queue, counts)| {
            let jobs = JobCounts {
                activated: sum(counts, |status| status == JobStatus::Activated),
                with_pilots: sum(counts, JobStatus::is_with_pilot),
            };
            (queue.clone(), jobs)
        })
        .collect()
}
