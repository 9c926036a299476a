//! The pilot's shell: it carries out what a [`PilotCore`] wants, and tells it what came of it.
//!
//! What is done for a job is in `pilot/job.rs`, calls of the server in `pilot/calls.rs`, what becomes
//! of a killed pilot's jobs in `pilot/death.rs`.

mod calls;
mod death;
mod job;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
    time::Duration,
};

use ailurus_model::{
    ByteCount, ErrorCode, Job, JobRequest, Moment, NodeName, QueueName, SourceLabel, Timestamp,
    WorkerId,
};
use ailurus_pilot_core::{
    Effect, Input, JobInput, JobTicket, PilotConfig, PilotCore, PilotExit, Problem,
    config::{Cleanup, Identity, NextJob, Purpose, Slots},
    data::{LogPlan, StageInPlan, StageOutPlan},
    effect::WorkerPhase,
    input::{Site, UpdateNr},
    monitoring::SampleScope,
    recovery::PayloadExit,
    resource::NodeFacts,
};
use ailurus_wire::{
    Dialect, get_job,
    worker_status::{self, PilotPhase, PilotReport},
};

use death::Journals;
pub(crate) use death::Place;

use crate::{
    chance::Chance,
    faults::Fault,
    payload::Payload,
    scenario::{SCRIPT_URL, wall_clock},
    world::{Event, World},
};

/// How far the clock of a node is off, in milliseconds, either way.
const OFFSET_MILLIS_MAX: u64 = 600_000;
/// Pause of a pilot that got no job.
const REQUEST_PAUSE: Duration = Duration::from_secs(60);

/// Counts the pilots of a run.
pub(crate) type PilotNr = u64;

/// One pilot on its node.
#[derive(Debug)]
pub(crate) struct Pilot {
    pub(crate) core: PilotCore,
    pub(crate) queue: QueueName,
    /// Its worker's number in the batch system.
    pub(crate) batch_id: u64,
    /// Most payloads at once.
    pub(crate) slots: u32,
    /// Cores of its part of the node.
    pub(crate) cores: u32,
    report: PilotReport,
    dialect: Dialect,
    started: Moment,
    /// When the core is to be woken, so that it is asked for only once.
    wake: Option<Moment>,
    pub(crate) jobs: BTreeMap<JobTicket, Job>,
    /// Jobs whose transfers were given up.
    stopped: BTreeSet<JobTicket>,
    pub(crate) payloads: BTreeMap<JobTicket, Payload>,
    journals: Journals,
    /// When the server last gave or answered something.
    pub(crate) heard: Moment,
}

/// What happens to a pilot.
#[derive(Debug)]
pub(crate) enum PilotEvent {
    Told(Box<Input>),
    Wakes,
    StagedIn(JobTicket, StageInPlan),
    Spawned(JobTicket),
    PayloadEnds(JobTicket, PayloadExit),
    Sampled(JobTicket, SampleScope),
    StagedOut(JobTicket, StageOutPlan),
    LogSaved(JobTicket, Box<LogPlan>),
}

/// What a pilot asked the server for.
#[derive(Debug)]
pub(crate) enum PilotPurpose {
    GetJob,
    Update(JobTicket, UpdateNr),
    Report,
}

impl Pilot {
    /// Returns the core's own time.
    const fn moment(&self, now: Moment) -> Moment {
        Moment::from_millis(now.as_millis() - self.started.as_millis())
    }
}

impl World {
    /// Starts a pilot in a worker's slot and returns its number.
    pub(crate) fn start_pilot(
        &mut self,
        batch_id: u64,
        worker_id: WorkerId,
        queue: QueueName,
    ) -> PilotNr {
        self.last_pilot += 1;
        let nr = self.last_pilot;
        let now = self.now;
        let offset = self.chance.millis(0, 2 * OFFSET_MILLIS_MAX);
        let start_time = wall_clock(now)
            .after(offset)
            .before(Duration::from_millis(OFFSET_MILLIS_MAX));
        let report = PilotReport {
            worker_id,
            harvester_id: self.scenario.harvester.harvester_id.clone(),
            phase: PilotPhase::Started,
            node: NodeName::new(format!("slot1@node{batch_id}")),
            site: queue.clone(),
        };
        let config = self.draw_pilot_config(&report, batch_id, start_time);
        let queue_cores = self.scenario.queues[&report.site].core_count;
        let cores = queue_cores * config.slots.payloads.get();
        let pilot = Pilot {
            slots: config.slots.payloads.get(),
            cores,
            core: PilotCore::new(config),
            queue,
            batch_id,
            report,
            dialect: *self.chance.one_of(&Dialect::ALL),
            started: now,
            wake: None,
            jobs: BTreeMap::new(),
            stopped: BTreeSet::new(),
            payloads: BTreeMap::new(),
            journals: Journals::default(),
            heard: now,
        };
        self.say(
            who(nr),
            format_args!("starts in worker {worker_id}, {:?}", pilot.dialect),
        );
        self.pilots.insert(nr, pilot);
        self.tell_pilot(nr, Duration::from_millis(100), Input::Started);
        nr
    }

    fn draw_pilot_config(
        &mut self,
        report: &PilotReport,
        batch_id: u64,
        start_time: Timestamp,
    ) -> PilotConfig {
        let chance = &mut self.chance;
        // Some do not know their worker, as those that a site starts by itself.
        let worker = chance
            .says_yes(850)
            .then(|| (report.harvester_id.clone(), report.worker_id));
        let (harvester_id, worker_id) = worker.unzip();
        PilotConfig {
            purpose: Purpose::Serve,
            profile: self.scenario.profile.clone(),
            queue: report.site.clone(),
            request: ailurus_model::RequestDetails::default(),
            log_stream: ailurus_pilot_core::payload::log_stream::StreamSettings::default(),
            source_label: SourceLabel::new(*chance.one_of(&["managed", "unified"])),
            version_tag: "PR".to_owned(),
            job_requests_max: chance.count(1, 3),
            job_failures_max: chance.count(2, 5),
            slots: draw_slots(chance),
            job_request_pause: REQUEST_PAUSE,
            lifetime: Duration::from_secs(12 * 3600),
            resource_type: None,
            next_job: *chance.one_of(&[NextJob::Any, NextJob::SameTask]),
            script_urls: vec![SCRIPT_URL.to_owned()],
            input_dir: None,
            input_places: Vec::new(),
            output_dir: None,
            data: ailurus_pilot_core::config::DataSettings::default(),
            cleanup: *chance.one_of(&[Cleanup::Remove, Cleanup::Keep]),
            variables: BTreeMap::new(),
            identity: Identity {
                node: report.node.clone(),
                scheduler_id: "sim-harvester".to_owned(),
                pilot_id: format!("unknown|Batch|PR|{batch_id}"),
                batch_id: batch_id.to_string(),
                harvester_id,
                worker_id,
                cpu_unit: String::new(),
                cpu_level: String::new(),
                source_site: String::new(),
                destination_site: String::new(),
            },
            start_time,
            seed: chance.bytes(),
        }
    }

    /// Gives an input to a pilot, some time later.
    fn tell_pilot(&mut self, nr: PilotNr, delay: Duration, input: Input) {
        self.pilot_event(nr, delay, PilotEvent::Told(Box::new(input)));
    }

    fn tell_job(&mut self, nr: PilotNr, ticket: JobTicket, delay: Duration, input: JobInput) {
        self.tell_pilot(nr, delay, Input::Job(ticket, input));
    }

    fn pilot_event(&mut self, nr: PilotNr, delay: Duration, event: PilotEvent) {
        self.after(delay, Event::Pilot { nr, event });
    }

    /// The batch system sends the pilot a signal.
    pub(crate) fn signal_pilot(&mut self, nr: PilotNr, signal: i32) {
        self.tell_pilot(nr, Duration::ZERO, Input::StopRequested(signal));
    }

    pub(crate) fn on_pilot_event(&mut self, nr: PilotNr, event: PilotEvent) {
        if !self.pilots.contains_key(&nr) {
            return;
        }
        match event {
            PilotEvent::Told(input) => self.give_pilot(nr, *input),
            PilotEvent::Wakes => self.wake_pilot(nr),
            PilotEvent::StagedIn(ticket, plan) => self.on_staged_in(nr, ticket, &plan),
            PilotEvent::Spawned(ticket) => self.on_spawned(nr, ticket),
            PilotEvent::PayloadEnds(ticket, exit) => self.on_payload_end(nr, ticket, exit),
            PilotEvent::Sampled(ticket, scope) => self.on_sampled(nr, ticket, scope),
            PilotEvent::StagedOut(ticket, plan) => self.on_staged_out(nr, ticket, &plan),
            PilotEvent::LogSaved(ticket, plan) => self.on_log_saved(nr, ticket, &plan),
        }
        self.check_pilot(nr);
    }

    fn give_pilot(&mut self, nr: PilotNr, input: Input) {
        let now = self.now;
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        let effects = pilot.core.handle(pilot.moment(now), input);
        self.carry_out_all(nr, effects);
    }

    fn wake_pilot(&mut self, nr: PilotNr) {
        let now = self.now;
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        // A wake-up that an earlier one has replaced.
        if pilot.wake != Some(now) {
            return;
        }
        pilot.wake = None;
        let effects = pilot.core.handle_timeout(pilot.moment(now));
        self.carry_out_all(nr, effects);
    }

    fn carry_out_all(&mut self, nr: PilotNr, effects: Vec<Effect>) {
        for effect in effects {
            // Nothing is done after an exit or a death.
            if self.pilots.contains_key(&nr) && !self.dies(nr) {
                self.carry_out_for(nr, effect);
            }
        }
        let now = self.now;
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        let Some(deadline) = pilot.core.next_deadline() else {
            return;
        };
        let due = pilot.started.after(deadline.since(Moment::START)).max(now);
        if pilot.wake.is_none_or(|wake| due < wake) {
            pilot.wake = Some(due);
            self.agenda.put(
                due,
                Event::Pilot {
                    nr,
                    event: PilotEvent::Wakes,
                },
            );
        }
    }

    fn carry_out_for(&mut self, nr: PilotNr, effect: Effect) {
        match effect {
            Effect::FindJournals => self.find_journals(nr),
            Effect::LoadSite => self.load_site(nr),
            Effect::MeasureNode => {
                let memory = self.scenario.queues[&self.pilots[&nr].queue].memory;
                let facts = NodeFacts {
                    memory,
                    free_space: ByteCount::from_gib(200),
                    cores: self.pilots[&nr].cores,
                    gpus: 0,
                    proxy_left: None,
                    slot_left: None,
                    missing_software: None,
                };
                self.tell_pilot(nr, Duration::from_millis(50), Input::NodeMeasured(facts));
            }
            Effect::AcquireJob(request) => self.ask_for_job(nr, &request),
            Effect::ReportWorker(phase) => {
                let phase = match phase {
                    WorkerPhase::Started => PilotPhase::Started,
                    WorkerPhase::Finished => PilotPhase::Finished,
                };
                let pilot = &self.pilots[&nr];
                let report = PilotReport {
                    phase,
                    ..pilot.report.clone()
                };
                let fields = worker_status::encode_request(pilot.dialect, &report);
                let path = worker_status::path(pilot.dialect);
                self.pilot_call(nr, PilotPurpose::Report, path, &fields);
            }
            Effect::Job(ticket, effect) => self.carry_out_for_job(nr, ticket, effect),
            Effect::Note(text) => self.say(who(nr), format_args!("{text}")),
            Effect::Exit(exit) => self.on_exit(nr, exit),
        }
    }

    fn load_site(&mut self, nr: PilotNr) {
        let result = if self.strikes(Fault::SiteDataMissing) {
            Err(Problem::new(ErrorCode::QueueData, "no such page"))
        } else {
            Ok(Box::new(Site {
                queue: self.scenario.queues[&self.pilots[&nr].queue].clone(),
                storages: self.scenario.storages.clone(),
            }))
        };
        let delay = self.chance.millis(10, 5000);
        self.tell_pilot(nr, delay, Input::SiteLoaded(result));
    }

    fn ask_for_job(&mut self, nr: PilotNr, request: &JobRequest) {
        let dialect = self.pilots[&nr].dialect;
        let fields = get_job::encode_request(dialect, request);
        self.pilot_call(nr, PilotPurpose::GetJob, get_job::path(dialect), &fields);
    }

    fn on_exit(&mut self, nr: PilotNr, exit: PilotExit) {
        let code = exit.code();
        self.say(who(nr), format_args!("leaves with exit code {code}"));
        self.check_exit(nr);
        if let Some(batch_id) = self.leave_journals(nr) {
            self.end_worker(batch_id, code);
        }
    }
}

/// Names a pilot in the trace.
pub(crate) struct Who(PilotNr);

pub(crate) const fn who(nr: PilotNr) -> Who {
    Who(nr)
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pilot {}", self.0)
    }
}

/// Most pilots run one job at a time, some share their node among several.
fn draw_slots(chance: &mut Chance) -> Slots {
    if chance.says_yes(700) {
        return Slots::default();
    }
    Slots {
        payloads: NonZeroU32::MIN.saturating_add(chance.count(0, 3)),
        ahead: chance.count(0, 2),
        cores: None,
    }
}
