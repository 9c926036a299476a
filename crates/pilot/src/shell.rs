//! The shell around the core: one loop, one channel, a named thread for each thing that blocks.
//!
//! It waits for an input or the core's next deadline, lets the core decide, and carries out the
//! effects. The channel holds [`BACKLOG`] messages; an activity that finds it full waits, which
//! loses nothing. An activity that ends badly still sends its input, so the core never waits for
//! one that cannot come.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use ailurus_http::{Client, ClientConfig, ConfigError};
use ailurus_model::{ByteCount, ErrorCode, Moment, PandaId};
use ailurus_pilot_core::{
    Effect, Input, JobInput, JobTicket, PilotCore, PilotExit, Problem,
    config::Cleanup,
    input::{AcquireFailure, JournalId},
    resource::NodeFacts,
};
use ailurus_process::{PayloadControl, StartError};
use signal_hook::{
    consts::{SIGBUS, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU},
    iterator::Signals,
};

use crate::{
    credentials,
    data::{self, JobPlace, Mover, Setups},
    hooks::Hooks,
    journal::FoundJournal,
    link::{self, Link},
    log,
    log_stream::RunningStream,
    node_view::NodeView,
    payload::Starter,
    recorder::Recorder,
    replicas::Catalogue,
    settings::{Settings, VERSION},
    site, software,
    timing::{Mark, Timing},
    traces::TraceDesk,
    watch::{JobFiles, Watch, WatchPlace},
    work_dir,
};

mod activity;
mod courier;
mod job;
mod rescue;

use activity::Activities;
use courier::Couriers;
use rescue::Journals;

/// Messages that the channel holds.
const BACKLOG: usize = 64;
/// Time between two writes of the file that shows that the pilot is alive.
const HEARTBEAT_FILE_PERIOD: Duration = Duration::from_secs(60);
/// Every how many of these the log gets a line too: wrappers end a pilot whose log stays unchanged
/// for an hour.
const BEATS_PER_LOG_LINE: u64 = 15;
/// Every how many of these the grid proxy is looked at: Pilot 3's ten minutes are its whole margin
/// here.
const BEATS_PER_PROXY_LOOK: u64 = 5;
/// Time between two looks whether a pilot without work is still needed.
const STAY_PERIOD: Duration = Duration::from_secs(1);
/// Signals that end the pilot. SIGSEGV, which Pilot 3 catches too, cannot be caught safely.
const STOP_SIGNALS: [i32; 8] = [
    SIGINT, SIGTERM, SIGQUIT, SIGXCPU, SIGUSR1, SIGUSR2, SIGBUS, SIGHUP,
];

/// The pilot cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShellError {
    /// There is no directory to work in.
    #[error(transparent)]
    Home(#[from] work_dir::HomeError),
    /// The log cannot be written.
    #[error("the log cannot be written")]
    Log(#[source] io::Error),
    /// Signals cannot be caught, or there is no room for threads.
    #[error("the node gives no {what}")]
    Node {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// There is no room for the process that starts payloads.
    #[error("no payload can be started on this node")]
    Guard(#[from] StartError),
    /// Certificates or proxy cannot be used.
    #[error("no HTTP client can be made")]
    Client(#[from] ConfigError),
}

impl ShellError {
    /// Returns a word that scripts can rely on, and the exit code.
    pub(crate) const fn code(&self) -> (&'static str, u8) {
        match self {
            Self::Home(_) | Self::Log(_) => ("no-directory", 66),
            Self::Node { .. } | Self::Guard(_) => ("bad-node", 65),
            Self::Client(_) => ("bad-credentials", 68),
        }
    }
}

/// What reaches the loop.
#[derive(Debug)]
enum Message {
    Input(Input),
    /// What dead pilots left, locked. The input that tells of it follows.
    JournalsLocked(Vec<(JournalId, FoundJournal)>),
    /// A payload runs; it is signalled and watched by these from now on.
    PayloadRuns {
        ticket: JobTicket,
        control: PayloadControl,
        /// The payload's first process.
        pid: u32,
    },
}

/// Runs a pilot to its end, and returns its exit code.
pub(crate) fn run(mut settings: Settings) -> Result<u8, ShellError> {
    let home = work_dir::make_home(&settings)?;
    let home_text = home.display().to_string();
    settings
        .core
        .variables
        .insert("PILOT_HOME".to_owned(), home_text);
    log::start(&settings.log, &home).map_err(ShellError::Log)?;
    tracing::info!(
        "{VERSION} on queue {}, in {}",
        settings.core.queue,
        home.display()
    );
    let (sender, receiver) = sync_channel(BACKLOG);
    watch_signals(sender.clone())?;
    let mut shell = Shell::new(settings, home, sender)?;
    let exit = shell.live(&receiver);
    if !exit.is_by_signal() {
        shell.stay(&receiver);
    }
    if let Some(traces) = &shell.traces {
        traces.close();
    }
    Ok(shell.leave(exit))
}

/// Turns signals into inputs.
fn watch_signals(sender: SyncSender<Message>) -> Result<(), ShellError> {
    let node = |what| move |source| ShellError::Node { what, source };
    let mut signals = Signals::new(STOP_SIGNALS).map_err(node("signals"))?;
    let forward = move || {
        for signal in signals.forever() {
            if sender
                .send(Message::Input(Input::StopRequested(signal)))
                .is_err()
            {
                return;
            }
        }
    };
    ailurus_process::spawn_named("signals", activity::STACK_BYTES, forward)
        .map(drop)
        .map_err(node("room for a thread"))
}

/// The state of the shell: only what is needed to carry out effects.
struct Shell {
    core: PilotCore,
    settings: Settings,
    home: PathBuf,
    activities: Activities,
    link: Arc<dyn Link>,
    couriers: Couriers,
    /// Without a token, for servers that are not the PanDA server.
    public: Client,
    starter: Starter,
    mover: Arc<Mover>,
    /// The set-up scripts that the copy tools were made for.
    setups: Setups,
    /// Who knows where files are, if anybody.
    catalogue: Option<Arc<Catalogue>>,
    /// Tells Rucio of transfers, if it is to know.
    traces: Option<Arc<TraceDesk>>,
    node_view: Arc<NodeView>,
    jobs: BTreeMap<JobTicket, JobTools>,
    journals: Journals,
    timing: Timing,
    has_left: Option<PilotExit>,
}

/// What a job needs.
struct JobTools {
    panda_id: PandaId,
    /// None for a job that another pilot began: its hooks have run.
    hooks: Option<Hooks>,
    /// Sends the payload's output while it runs.
    stream: Option<RunningStream>,
    place: Arc<JobPlace>,
    payload: Option<(PayloadControl, Arc<Mutex<Watch>>)>,
    /// What it moves.
    files: JobFiles,
    /// Writes down what its payload uses.
    recorder: Option<Arc<Recorder>>,
}

impl Shell {
    fn new(
        settings: Settings,
        home: PathBuf,
        sender: SyncSender<Message>,
    ) -> Result<Self, ShellError> {
        let client = Client::new(settings.client.clone())?;
        let public = if settings.client.token.is_none() {
            client.clone()
        } else {
            Client::new(ClientConfig {
                token: None,
                ..settings.client.clone()
            })?
        };
        let link = link::make(&settings, client, &home);
        let node_view = NodeView::new(
            settings.node.clone(),
            settings.node_facts.clone(),
            settings.core.start_time,
            &settings.client,
        );
        let activities = Activities::new(sender.clone());
        Ok(Self {
            core: PilotCore::new(settings.core.clone()),
            timing: Timing::new(settings.begin),
            mover: Arc::new(data::mover(&settings, &Setups::new())),
            setups: Setups::new(),
            catalogue: settings.rucio.as_ref().map(|rucio| {
                let node = &settings.node_facts.host_name;
                Arc::new(Catalogue::new(rucio, node))
            }),
            traces: settings.rucio.as_ref().and_then(|rucio| {
                let node = &settings.node_facts.host_name;
                let traces = rucio.traces.clone()?;
                Some(Arc::new(TraceDesk::new(traces, node)))
            }),
            settings,
            home,
            couriers: Couriers::new(link.clone(), sender.clone(), activities.clone()),
            activities,
            link,
            public,
            starter: Starter::new()?,
            node_view: Arc::new(node_view),
            jobs: BTreeMap::new(),
            journals: Journals::default(),
            has_left: None,
        })
    }

    /// Lets the core decide until the pilot leaves.
    fn live(&mut self, receiver: &Receiver<Message>) -> PilotExit {
        let effects = self.core.handle(self.now(), Input::Started);
        self.carry_out_all(effects);
        let mut next_beat = Instant::now();
        let mut next_look = self.link.look_period().map(|_| Instant::now());
        let mut n_beats = 0;
        loop {
            if let Some(exit) = self.has_left {
                return exit;
            }
            if next_beat <= Instant::now() {
                work_dir::write_heartbeat(&self.home);
                self.link.beat();
                if n_beats % BEATS_PER_PROXY_LOOK == BEATS_PER_PROXY_LOOK - 1 {
                    self.look_at_proxy();
                }
                if n_beats % BEATS_PER_LOG_LINE == BEATS_PER_LOG_LINE - 1 {
                    self.tell_alive();
                }
                n_beats += 1;
                next_beat = Instant::now() + HEARTBEAT_FILE_PERIOD;
            }
            self.look_if_due(&mut next_look);
            let wake = next_look.map_or(next_beat, |look| look.min(next_beat));
            let message = self.wait(receiver, wake);
            let effects = message.and_then(|message| self.take(message));
            self.carry_out_all(effects.unwrap_or_default());
            if self
                .core
                .next_deadline()
                .is_some_and(|due| due <= self.now())
            {
                let effects = self.core.handle_timeout(self.now());
                self.carry_out_all(effects);
            }
        }
    }

    fn look_at_proxy(&self) {
        let Some(file) = self.settings.proxy_file.clone() else {
            return;
        };
        self.activities
            .start("proxy", Input::ProxyLooked(None), move |_| {
                Input::ProxyLooked(credentials::proxy_left(&file))
            });
    }

    /// Looks whether somebody ends the pilot in another way than by a signal.
    fn look_if_due(&mut self, next: &mut Option<Instant>) {
        if next.is_none_or(|due| due > Instant::now()) {
            return;
        }
        *next = self
            .link
            .look_period()
            .map(|period| Instant::now() + period);
        if let Some(signal) = self.link.look() {
            let effects = self.core.handle(self.now(), Input::StopRequested(signal));
            self.carry_out_all(effects);
        }
    }

    /// Stays without work as long as other pilots need this one, unless a signal comes.
    fn stay(&self, receiver: &Receiver<Message>) {
        while self.link.must_stay() {
            if self.link.look().is_some() {
                return;
            }
            let message = receiver.recv_timeout(STAY_PERIOD);
            if let Ok(Message::Input(Input::StopRequested(_))) = message {
                return;
            }
        }
    }

    fn tell_alive(&self) {
        let jobs = self.core.jobs();
        let jobs = jobs.map(|(_, job, phase)| format!("job {} is {phase}", job.panda_id));
        let jobs: Vec<String> = jobs.collect();
        if jobs.is_empty() {
            tracing::info!("alive: without a job");
        } else {
            tracing::info!("alive: {}", jobs.join(", "));
        }
    }

    /// Waits for a message, the core's next deadline or `wake`. Nothing else here blocks.
    fn wait(&self, receiver: &Receiver<Message>, wake: Instant) -> Option<Message> {
        let until_beat = wake.saturating_duration_since(Instant::now());
        let until_deadline = self.core.next_deadline().map(|due| due.since(self.now()));
        let limit = until_deadline.map_or(until_beat, |due| due.min(until_beat));
        // The shell itself has a sender, so the only error is that the time is over.
        receiver.recv_timeout(limit).ok()
    }

    fn take(&mut self, message: Message) -> Option<Vec<Effect>> {
        match message {
            Message::Input(input) => {
                self.note_time(&input);
                self.note_setups(&input);
                self.complete_record(&input);
                Some(self.core.handle(self.now(), input))
            }
            Message::JournalsLocked(locked) => {
                self.keep_found(locked);
                None
            }
            Message::PayloadRuns {
                ticket,
                control,
                pid,
            } => {
                let job = self.jobs.get_mut(&ticket)?;
                let place = WatchPlace {
                    dir: job.place.dir.clone(),
                    home: self.home.clone(),
                    files: job.files.clone(),
                    ignored: self.settings.core.profile.progress.ignored.clone(),
                };
                let recorder = Arc::new(Recorder::new(&place.dir));
                job.recorder = Some(recorder.clone());
                let watch = Watch::new(pid, place, self.node_view.clone(), recorder);
                job.payload = Some((control, Arc::new(Mutex::new(watch))));
                None
            }
        }
    }

    /// Completes what was written down of a payload, before its log is packed.
    fn complete_record(&self, input: &Input) {
        if let Input::Job(ticket, JobInput::PayloadEnded(end)) = input
            && let Some(job) = self.jobs.get(ticket)
            && let Some(recorder) = &job.recorder
        {
            recorder.end(end.cpu);
        }
    }

    /// Makes the copy tools anew once the queue says how they are set up.
    fn note_setups(&mut self, input: &Input) {
        if let Input::SiteLoaded(Ok(site)) = input
            && self.setups != site.queue.options.copy_tool_setups
        {
            self.setups.clone_from(&site.queue.options.copy_tool_setups);
            self.mover = Arc::new(data::mover(&self.settings, &self.setups));
        }
    }

    fn note_time(&mut self, input: &Input) {
        if let Input::Job(_, JobInput::PayloadStarted(Ok(()))) = input {
            self.timing.set(Mark::PayloadStart);
        } else if let Input::Job(_, JobInput::PayloadEnded(_)) = input {
            self.timing.set(Mark::PayloadEnd);
        }
    }

    fn now(&self) -> Moment {
        let millis = self.settings.begin.elapsed().as_millis();
        Moment::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn carry_out_all(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Note(text) => tracing::info!("{text}"),
            Effect::Exit(exit) => self.has_left = Some(exit),
            Effect::FindJournals => self.find_journals(),
            Effect::LoadSite => self.load_site(),
            Effect::MeasureNode => self.measure_node(),
            Effect::AcquireJob(request) => {
                self.timing.set(Mark::RequestSent);
                let link = self.link.clone();
                let why = AcquireFailure::NoAnswer("the request ended badly".into());
                let fallback = Input::AcquireFailed(why);
                self.activities
                    .start("ask", fallback, move |_| link.acquire(&request));
            }
            Effect::ReportWorker(phase) => {
                let identity = &self.settings.core.identity;
                let Some(ids) = identity.harvester_id.clone().zip(identity.worker_id) else {
                    return;
                };
                let link = self.link.clone();
                let place = (self.settings.core.queue.clone(), identity.node.clone());
                self.activities
                    .start("worker", Input::WorkerReported, move |_| {
                        link.report_worker(phase, ids, place);
                        Input::WorkerReported
                    });
            }
            Effect::Job(ticket, effect) => self.carry_out_for_job(ticket, effect),
        }
    }

    fn load_site(&self) {
        let client = self.public.clone();
        let link = self.link.clone();
        let queue = self.settings.core.queue.clone();
        let places = self.settings.places.clone();
        let home = self.home.clone();
        let bad_end = Problem::new(ErrorCode::QueueData, "loading them ended badly");
        self.activities
            .start("site", Input::SiteLoaded(Err(bad_end)), move |_| {
                let mut loaded = site::load(&client, &queue, &places, &home);
                if let Ok(site) = &mut loaded {
                    link.complete(site);
                    link.learn(site);
                }
                Input::SiteLoaded(loaded)
            });
    }

    fn measure_node(&self) {
        let home = self.home.clone();
        let proxy_file = self.settings.proxy_file.clone();
        let memory = self.settings.memory;
        let view = self.node_view.clone();
        let is_single = self.settings.core.slots.is_single();
        let software = self.settings.software.clone();
        let unknown = Input::NodeMeasured(NodeFacts::default());
        self.activities.start("measure", unknown, move |_| {
            let free_space = ailurus_node::free_space(&home);
            Input::NodeMeasured(NodeFacts {
                memory,
                free_space: free_space
                    .map(|space| view.writable(space.available, ByteCount::ZERO))
                    .unwrap_or_default(),
                cores: usable_cores(),
                // Only payloads side by side share GPUs out.
                gpus: if is_single {
                    0
                } else {
                    u32::try_from(view.gpus().cards.len()).unwrap_or(u32::MAX)
                },
                proxy_left: proxy_file.as_deref().and_then(credentials::proxy_left),
                slot_left: view.slot_left(),
                missing_software: software::first_missing(&software),
            })
        });
    }

    /// Removes the pilot's directory if that is wanted, and returns the exit code.
    fn leave(&self, exit: PilotExit) -> u8 {
        let code = exit.code();
        let error = exit.error.map_or(0, ErrorCode::number);
        self.link.close(exit);
        if exit.error.is_some() && code == 1 {
            tracing::warn!("no translation to shell exit code for error code {error}");
        }
        tracing::info!("pilot has finished (exit code={error}, shell exit code={code})");
        if self.home != self.settings.launch_dir && self.settings.core.cleanup == Cleanup::Remove {
            if let Err(error) = std::env::set_current_dir(&self.settings.launch_dir) {
                tracing::warn!("the launch directory is gone: {error}");
            }
            work_dir::remove(&self.home);
        }
        code
    }
}

/// Returns how many logical cores the pilot may use; zero if the node does not say.
fn usable_cores() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// The input of a payload whose end was missed.
fn missed_end(ticket: JobTicket) -> Input {
    Input::Job(ticket, JobInput::PayloadEnded(Box::default()))
}

impl Drop for JobTools {
    /// Nothing goes on for a job that is over.
    fn drop(&mut self) {
        self.place.stop.stop();
        if let Some((control, _)) = &self.payload {
            // It fails if the payload has ended, which is what is wanted.
            let _ = control.kill();
        }
    }
}

/// Locks what only ever holds plain data, which a panic cannot have left half-written.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
