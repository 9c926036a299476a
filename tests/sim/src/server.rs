//! The server's shell: its rows, its API over the real codecs, its timers, and its crashes.
//!
//! Rows are durable: a crash loses only what is under way. Each operation is one transaction that
//! is committed before the answer leaves.

use std::{collections::BTreeMap, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{JobStatus, PandaId, Queue, QueueName, TaskStatus, Timestamp};
use ailurus_server_core::{
    ActionError, Context, Ledger as _, LedgerError, Limits, MemoryLedger, PilotPhase, acquire_jobs,
    broker, kill_job, kill_task, ledger::JobRecord, note_worker_pilot, retry_task, submit,
    update_job, update_workers, watch,
};
use ailurus_wire::{
    Answer, Dialect, Fields, LegacyForm, StatusCode, body, get_job, harvester_call, system_call,
    update_job as update_message, worker_status, worker_text,
};

use crate::{
    faults::Fault,
    network::{CallNr, Request},
    violation::Invariant,
    world::{Event, World},
};

/// Who acts in the trace.
const SERVER: &str = "server";
/// Time between two rounds of the watchdogs.
const WATCH_PERIOD: Duration = Duration::from_secs(60);
/// Time between two rounds of brokerage.
const BROKER_PERIOD: Duration = Duration::from_secs(30);
/// Time between two looks for steps of PanDA's tasks.
const STEP_PERIOD: Duration = Duration::from_secs(60);
/// Time between two occasions for a crash.
const CRASH_PERIOD: Duration = Duration::from_secs(600);
/// How long the server is down after a crash, in seconds.
const DOWN_SECS: (u64, u64) = (5, 1800);

/// One server: what lasts and what does not.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) ledger: MemoryLedger,
    pub(crate) is_up: bool,
    /// Counts its starts, so that answers of an earlier run are known.
    pub(crate) life: u32,
    queues: BTreeMap<QueueName, Queue>,
    limits: Limits,
}

/// What the server does by itself, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServerEvent {
    Watch,
    Broker,
    /// Steps of PanDA's tasks may be due.
    Step,
    /// It may crash.
    Occasion,
    Start,
}

impl Server {
    pub(crate) fn new(queues: BTreeMap<QueueName, Queue>, limits: Limits) -> Self {
        Self {
            ledger: MemoryLedger::new(),
            is_up: true,
            life: 0,
            queues,
            limits,
        }
    }

    /// Splits into what operations read and what they write.
    pub(crate) fn parts<'a>(
        &'a mut self,
        now: Timestamp,
        catalogue: &'a Catalogue,
    ) -> (Context<'a>, &'a mut MemoryLedger) {
        let context = Context {
            now,
            queues: &self.queues,
            catalogue,
            limits: &self.limits,
            scheduling: ailurus_server_core::Scheduling::built_in(),
        };
        (context, &mut self.ledger)
    }
}

impl World {
    pub(crate) fn begin_server(&mut self) {
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        if let Err(error) = submit(&ctx, ledger, &self.scenario.submission) {
            self.violate(
                Invariant::W1,
                format_args!("the submission is refused: {error}"),
            );
        }
        self.submit_panda_tasks();
        for (period, event) in [
            (STEP_PERIOD, ServerEvent::Step),
            (WATCH_PERIOD, ServerEvent::Watch),
            (BROKER_PERIOD, ServerEvent::Broker),
            (CRASH_PERIOD, ServerEvent::Occasion),
        ] {
            self.after(period, Event::Server(event));
        }
    }

    pub(crate) fn on_server_event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Watch => {
                self.after(WATCH_PERIOD, Event::Server(event));
                if self.server.is_up {
                    self.watch();
                }
            }
            ServerEvent::Broker => {
                self.after(BROKER_PERIOD, Event::Server(event));
                if self.server.is_up {
                    let now = self.wall_clock();
                    let (ctx, ledger) = self.server.parts(now, self.catalogue);
                    let done = broker(&ctx, ledger);
                    self.expect_rows(done);
                }
            }
            ServerEvent::Step => {
                self.after(STEP_PERIOD, Event::Server(event));
                if self.server.is_up {
                    self.step_tasks();
                }
            }
            ServerEvent::Occasion => {
                self.after(CRASH_PERIOD, Event::Server(event));
                if self.server.is_up && self.strikes(Fault::ServerCrash) {
                    self.say(SERVER, format_args!("crashes"));
                    self.server.is_up = false;
                    self.server.life += 1;
                    let down = self.chance.seconds(DOWN_SECS.0, DOWN_SECS.1);
                    self.after(down, Event::Server(ServerEvent::Start));
                }
            }
            ServerEvent::Start => {
                self.say(SERVER, format_args!("starts"));
                self.server.is_up = true;
            }
        }
    }

    fn watch(&mut self) {
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let report = watch(&ctx, ledger);
        if let Some(report) = self.expect_rows(report)
            && report != Default::default()
        {
            self.say(SERVER, format_args!("watch {report:?}"));
        }
    }

    /// Serves one request and returns the answer's body.
    pub(crate) fn serve(&mut self, call: CallNr, request: &Request) -> Vec<u8> {
        let fields = match body::decode_request(Some(request.content_type), &request.body) {
            Ok(fields) => fields,
            Err(error) => {
                self.violate(Invariant::W1, format_args!("call {call}: {error}"));
                return Vec::new();
            }
        };
        let served = match request.path {
            worker_text::PATH => self.serve_workers(&fields),
            harvester_call::STATISTICS_PATH => harvester_call::decode_statistics(&fields)
                .map(|_| Answer::done(Dialect::V1))
                .map_err(|error| error.to_string()),
            system_call::JOB_STATISTICS_PATH => self.serve_counts(),
            path => self.serve_pilot(call, path, &fields),
        };
        match served {
            Ok(answer) => answer.to_body(LegacyForm::Urlencoded),
            Err(error) => {
                self.violate(
                    Invariant::W1,
                    format_args!("call {call} {}: {error}", request.path),
                );
                Vec::new()
            }
        }
    }

    fn serve_pilot(&mut self, call: CallNr, path: &str, fields: &Fields) -> Result<Answer, String> {
        for dialect in Dialect::ALL {
            if path == get_job::path(dialect) {
                return self.serve_get_job(call, dialect, fields);
            }
            if path == update_message::path(dialect) {
                return self.serve_update(call, dialect, fields);
            }
            if path == worker_status::path(dialect) {
                return self.serve_pilot_report(dialect, fields);
            }
        }
        Err("no such call".to_owned())
    }

    fn serve_get_job(
        &mut self,
        call: CallNr,
        dialect: Dialect,
        fields: &Fields,
    ) -> Result<Answer, String> {
        let request =
            get_job::decode_request(dialect, fields).map_err(|error| error.to_string())?;
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        match acquire_jobs(&ctx, ledger, &request) {
            Ok(jobs) => {
                for job in &jobs {
                    let (id, nr) = (job.panda_id, job.attempt_nr);
                    self.say(
                        SERVER,
                        format_args!("call {call}: gives job {id} attempt {nr}"),
                    );
                }
                Ok(get_job::encode_answer(
                    get_job::JobsForm::of_request(dialect, fields),
                    &jobs,
                ))
            }
            Err(error) => {
                // No queue of this world ever stops serving.
                self.violate(Invariant::W1, format_args!("{error}"));
                Ok(Answer::failure(
                    dialect,
                    StatusCode::Failed,
                    &error.to_string(),
                ))
            }
        }
    }

    fn serve_update(
        &mut self,
        call: CallNr,
        dialect: Dialect,
        fields: &Fields,
    ) -> Result<Answer, String> {
        let update =
            update_message::decode_request(dialect, fields).map_err(|error| error.to_string())?;
        let id = update.panda_id;
        if update.status == JobStatus::Finished {
            self.do_events(&update);
        }
        let before = self.job_row(id);
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let answer = update_job(&ctx, ledger, &update);
        let Some(answer) = self.expect_rows(answer) else {
            return Ok(Answer::failure(
                dialect,
                StatusCode::Failed,
                "the ledger failed",
            ));
        };
        let after = self.job_row(id);
        if let Some((before, after)) = before.zip(after) {
            let (from, to) = (before.status, after.status);
            let nr = update.attempt_nr.unwrap_or_default();
            self.say(
                SERVER,
                format_args!(
                    "call {call}: job {id} attempt {nr} says {}, {from} -> {to}, {:?}",
                    update.status, answer.commands
                ),
            );
            self.check_update(&update, &before, &after);
        }
        if update.status == JobStatus::Running {
            self.do_events(&update);
        }
        Ok(update_message::encode_answer(dialect, &answer))
    }

    fn serve_pilot_report(&mut self, dialect: Dialect, fields: &Fields) -> Result<Answer, String> {
        let report =
            worker_status::decode_request(dialect, fields).map_err(|error| error.to_string())?;
        let phase = match report.phase {
            worker_status::PilotPhase::Started => PilotPhase::Started,
            worker_status::PilotPhase::Finished => PilotPhase::Finished,
        };
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let (harvester, worker) = (&report.harvester_id, report.worker_id);
        let noted = note_worker_pilot(&ctx, ledger, harvester, worker, phase, &report.node);
        self.expect_rows(noted);
        Ok(Answer::done(dialect))
    }

    fn serve_workers(&mut self, fields: &Fields) -> Result<Answer, String> {
        let message = worker_text::decode_request(fields).map_err(|error| error.to_string())?;
        let workers: Result<Vec<_>, _> = message.workers.into_iter().collect();
        let workers = workers.map_err(|error| error.to_string())?;
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let taken = update_workers(&ctx, ledger, &workers);
        let taken = self.expect_rows(taken).unwrap_or_default();
        Ok(worker_text::encode_answer(&taken))
    }

    fn serve_counts(&mut self) -> Result<Answer, String> {
        let counts = self.server.ledger.queue_counts();
        let counts = self.expect_rows(counts).unwrap_or_default();
        Ok(system_call::encode_job_statistics(&counts))
    }

    // --- people ---

    /// A person kills some job.
    pub(crate) fn kill_some_job(&mut self) {
        let ids: Vec<PandaId> = self.server.ledger.jobs().map(|job| job.panda_id).collect();
        let id = *self.chance.one_of(&ids);
        self.say("person", format_args!("kills job {id}"));
        self.note_killed(|job| job.panda_id == id);
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let done = kill_job(&ctx, ledger, id, "alice");
        self.expect_action(done);
    }

    /// A person kills some task.
    pub(crate) fn kill_some_task(&mut self) {
        let ids: Vec<_> = self.server.ledger.tasks().map(|task| task.id).collect();
        let id = *self.chance.one_of(&ids);
        self.say("person", format_args!("kills task {id}"));
        // PanDA's tasks end their jobs step by step, and some may finish before.
        if !self.is_of_panda(id) {
            self.note_killed(|job| job.task_id == id);
        }
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let done = kill_task(&ctx, ledger, id, "alice");
        self.expect_action(done);
    }

    fn note_killed(&mut self, is_meant: impl Fn(&JobRecord) -> bool) {
        let live = self
            .server
            .ledger
            .jobs()
            .filter(|job| !job.status.is_terminal());
        let killed = live.filter(|job| is_meant(job)).map(|job| job.panda_id);
        self.killed.extend(killed);
    }

    /// A person retries some task that was not aborted.
    pub(crate) fn retry_some_task(&mut self) {
        let is_aborted = |status| matches!(status, TaskStatus::Aborting | TaskStatus::Aborted);
        let tasks = self.server.ledger.tasks();
        let ids: Vec<_> = tasks
            .filter(|task| !is_aborted(task.status))
            .map(|task| task.id)
            .collect();
        if ids.is_empty() {
            return;
        }
        let id = *self.chance.one_of(&ids);
        self.say("person", format_args!("retries task {id}"));
        // The one way in which jobs that have ended change.
        self.check_rows();
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let done = retry_task(&ctx, ledger, id, "alice");
        self.expect_action(done);
        if self.is_of_panda(id) {
            self.forget_killed_of_panda();
        }
        self.take_snapshot();
    }

    /// A retry of a task of PanDA has jobs try again that people had killed, also of the tasks that
    /// come after it.
    fn forget_killed_of_panda(&mut self) {
        let ledger = &self.server.ledger;
        self.killed.retain(|id| {
            let job = ledger.job(*id).ok().flatten();
            let task = job.and_then(|job| ledger.task(job.task_id).ok().flatten());
            task.is_some_and(|task| task.revision == 0)
        });
    }

    // --- what must not happen ---

    fn expect_action(&mut self, done: Result<u64, ActionError>) {
        if let Err(error) = done {
            self.violate(
                Invariant::W1,
                format_args!("a person's action failed: {error}"),
            );
        }
    }

    /// Rows in memory are never out of reach: a failure means that they contradict each other.
    pub(crate) fn expect_rows<T>(&mut self, done: Result<T, LedgerError>) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                let source = error.source.to_string();
                self.violate(Invariant::R1, format_args!("{error}: {source}"));
                None
            }
        }
    }

    pub(crate) fn job_row(&self, id: PandaId) -> Option<JobRecord> {
        self.server.ledger.job(id).ok().flatten()
    }

    /// Counts jobs by how they ended.
    pub(crate) fn count_jobs(&self, is_meant: impl Fn(JobStatus) -> bool) -> u64 {
        let jobs = self.server.ledger.jobs();
        let n = jobs.filter(|job| is_meant(job.status)).count();
        u64::try_from(n).unwrap_or(u64::MAX)
    }
}
