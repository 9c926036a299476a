//! One run: the world with all that is in it, and the loop that lets it happen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::LazyLock,
    time::Duration,
};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{
    AttemptNr, ByteCount, JobStatus, Lfn, Moment, PandaId, QueueName, Timestamp, file::Checksum,
};
use ailurus_pilot_core::data::{
    StoredFile,
    place::{Direction, place_file},
};
use ailurus_server_core::MemoryLedger;

use crate::{
    agenda::Agenda,
    batch::{Batch, BatchEvent},
    chance::Chance,
    faults::{Fault, Faults},
    harvester::{Harvester, HarvesterEvent, HarvesterPurpose},
    network::{CallNr, Request},
    people::PEOPLE_PERIOD,
    pilot::{Pilot, PilotEvent, PilotNr, PilotPurpose, Place},
    run::Summary,
    scenario::{Scenario, wall_clock},
    server::{Server, ServerEvent},
    storage::Storage,
    trace::{Keep, Trace},
    violation::{Invariant, Violation},
};

/// Events between two looks at all of the server's rows.
const EVENTS_PER_LOOK: u64 = 500;
/// Time between two looks whether everything has ended.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Arrives {
        call: CallNr,
        request: Rc<Request>,
    },
    Answered {
        call: CallNr,
        life: u32,
        body: Vec<u8>,
    },
    /// The server is down.
    Refused(CallNr),
    TimedOut(CallNr),
    Server(ServerEvent),
    Harvester {
        life: u32,
        event: HarvesterEvent,
    },
    Batch(BatchEvent),
    Pilot {
        nr: PilotNr,
        event: PilotEvent,
    },
    People,
    /// Look whether everything has ended.
    Look,
}

/// Who waits for an answer, and what for.
#[derive(Debug)]
pub(crate) enum Reply {
    Pilot(PilotNr, PilotPurpose),
    Harvester {
        life: u32,
        purpose: HarvesterPurpose,
    },
}

/// Everything in one run. What its parts do is in their files.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) now: Moment,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    pub(crate) scenario: Scenario,
    pub(crate) catalogue: &'static Catalogue,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    pub(crate) server: Server,
    pub(crate) snapshot: MemoryLedger,
    pub(crate) harvester: Harvester,
    pub(crate) batch: Batch,
    pub(crate) storage: Storage,
    pub(crate) pilots: BTreeMap<PilotNr, Pilot>,
    pub(crate) last_pilot: PilotNr,
    /// What dead pilots left, by queue.
    pub(crate) places: BTreeMap<QueueName, Place>,
    /// What payloads wrote, by attempt and name.
    pub(crate) outputs: BTreeMap<(PandaId, AttemptNr, Lfn), StoredFile>,
    pub(crate) open_calls: BTreeMap<CallNr, Reply>,
    pub(crate) last_call: CallNr,
    /// Jobs that people killed while they were alive.
    pub(crate) killed: BTreeSet<PandaId>,
    /// Final updates that were sent lately.
    pub(crate) finals: VecDeque<Request>,
    n_events: u64,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    GoesOn,
    Over,
}

impl World {
    /// Makes the world of a seed, and lets people submit their tasks.
    pub(crate) fn new(seed: u64, keep: Keep) -> Self {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::draw(&mut chance);
        let mut world = Self {
            seed,
            now: Moment::START,
            agenda: Agenda::new(),
            faults: Faults::draw(&mut chance, scenario.faults_end),
            chance,
            server: Server::new(scenario.queues.clone(), scenario.server_limits.clone()),
            scenario,
            catalogue: &CATALOGUE,
            trace: Trace::new(keep),
            violation: None,
            snapshot: MemoryLedger::new(),
            harvester: Harvester::new(),
            batch: Batch::default(),
            storage: Storage::default(),
            pilots: BTreeMap::new(),
            last_pilot: 0,
            places: BTreeMap::new(),
            outputs: BTreeMap::new(),
            open_calls: BTreeMap::new(),
            last_call: 0,
            killed: BTreeSet::new(),
            finals: VecDeque::new(),
            n_events: 0,
        };
        world.store_listed_files();
        world.begin_server();
        world.begin_harvester();
        world.after(PEOPLE_PERIOD, Event::People);
        world.after(LOOK_PERIOD, Event::Look);
        world
    }

    /// Lets the next event happen.
    ///
    /// # Errors
    ///
    /// The first violation.
    pub(crate) fn step(&mut self) -> Result<Step, Violation> {
        let Some((at, event)) = self.agenda.take() else {
            return Ok(Step::Over);
        };
        self.now = at;
        self.n_events += 1;
        if self.n_events.is_multiple_of(EVENTS_PER_LOOK) {
            self.check_rows();
        }
        let step = self.guarded(event);
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(step),
        }
    }

    /// Lets an event happen; a core that panics is a violation like any other, with its seed.
    fn guarded(&mut self, event: Event) -> Step {
        let happened = panic::catch_unwind(AssertUnwindSafe(|| self.let_happen(event)));
        happened.unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
            self.violate(
                Invariant::C1,
                format_args!("{}", text.unwrap_or("no message")),
            );
            Step::Over
        })
    }

    fn let_happen(&mut self, event: Event) -> Step {
        match event {
            Event::Arrives { call, request } => self.on_arrival(call, &request),
            Event::Answered { call, life, body } => self.on_answered(call, life, body),
            Event::Refused(call) => self.close_call(call, Err("connection refused")),
            Event::TimedOut(call) => self.close_call(call, Err("no answer in time")),
            Event::Server(event) => self.on_server_event(event),
            Event::Harvester { life, event } => {
                self.on_harvester_event(life, event);
                self.check_workers();
            }
            Event::Batch(event) => {
                self.on_batch_event(event);
                self.check_workers();
            }
            Event::Pilot { nr, event } => self.on_pilot_event(nr, event),
            Event::People => self.on_people(),
            Event::Look => return self.look(),
        }
        Step::GoesOn
    }

    fn look(&mut self) -> Step {
        self.after(LOOK_PERIOD, Event::Look);
        self.batch.forget_ended(self.now);
        let pilots: Vec<PilotNr> = self.pilots.keys().copied().collect();
        for nr in pilots {
            self.check_pilot(nr);
        }
        if self.now >= self.faults.end() && self.is_over() {
            self.check_end();
            return Step::Over;
        }
        if self.now >= self.scenario.give_up {
            self.check_patience();
        }
        Step::GoesOn
    }

    /// Puts an event a while after now.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.agenda.put(self.now.after(delay), event);
    }

    /// Adds a line to the trace.
    pub(crate) fn say(&mut self, who: impl fmt::Display, what: fmt::Arguments<'_>) {
        self.trace.say(self.now, who, what);
    }

    /// Draws whether a fault strikes now.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults.strikes(fault, self.now, &mut self.chance);
        if strikes {
            self.say("fault", format_args!("{fault}"));
        }
        strikes
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        wall_clock(self.now)
    }

    /// What a run came to.
    pub(crate) fn summary(&self) -> Summary {
        let finished = self.count_jobs(|status| status == JobStatus::Finished);
        Summary {
            seeds: 1,
            virtual_time: self.now.since(Moment::START),
            events: self.n_events,
            faults: self.faults.counts().clone(),
            finished,
            unfinished: self.count_jobs(|_| true) - finished,
        }
    }

    /// Datasets that people list exist already.
    fn store_listed_files(&mut self) {
        let datasets = self.scenario.submission.datasets.iter();
        for file in datasets.flat_map(|dataset| &dataset.files) {
            let storages = &self.scenario.storages;
            let url = place_file(
                storages,
                &file.endpoint,
                &file.scope,
                &file.lfn,
                Direction::Read,
            );
            let stored = StoredFile::new(
                file.size.unwrap_or(ByteCount::ZERO),
                file.checksum.clone().unwrap_or(Checksum::Adler32(1)),
            );
            match url {
                Ok(url) => self.storage.store(&url, stored),
                Err(problem) => {
                    let detail = problem.to_string();
                    self.violation.get_or_insert_with(|| Violation {
                        invariant: Invariant::W1,
                        detail,
                        seed: self.seed,
                        at: self.now,
                        recent: Vec::new(),
                    });
                }
            }
        }
    }
}
