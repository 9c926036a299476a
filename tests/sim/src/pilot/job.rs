//! What a pilot's shell does for one job: directory, transfers, payload, samples, updates.

use std::time::Duration;

use ailurus_experiment::PayloadPlan;
use ailurus_model::{ByteCount, ErrorCode, JobStatus, JobUpdate, Lfn};
use ailurus_pilot_core::{
    Input, JobEffect, JobInput, JobTicket, Problem,
    data::{Beginning, LogPlan, StageInPlan, StageOutFile, StageOutPlan, StoredFile},
    effect::KeepReason,
    input::UpdateNr,
    monitoring::{FilesSample, Sample, SampleScope},
    payload::ending::PayloadSignal,
    recovery::PayloadExit,
};
use ailurus_wire::update_job;

use super::{PilotEvent, PilotNr, PilotPurpose, who};
use crate::{
    batch::SIGTERM,
    faults::Fault,
    payload::{Course, Payload},
    storage::draw_file,
    violation::Invariant,
    world::World,
};

/// How long a slow transfer takes, in seconds.
const SLOW_SECS: (u64, u64) = (300, 5400);
/// What can go wrong with a payload.
const PAYLOAD_FAULTS: [Fault; 4] = [
    Fault::PayloadFails,
    Fault::PayloadSignalled,
    Fault::PayloadLoops,
    Fault::PayloadGrows,
];
/// Final updates that are kept, to be repeated later.
const FINALS_MAX: usize = 20;
/// SIGKILL's number.
const SIGKILL: i32 = 9;

impl World {
    pub(super) fn carry_out_for_job(&mut self, nr: PilotNr, ticket: JobTicket, effect: JobEffect) {
        match effect {
            JobEffect::Journal(step) => self.write_journal(nr, ticket, step),
            JobEffect::TakeOver(id) => self.take_over(nr, ticket, id),
            JobEffect::MakeWorkDir(job) => {
                if let Some(pilot) = self.pilots.get_mut(&nr) {
                    pilot.jobs.insert(ticket, *job);
                }
                self.note_directory(nr, ticket);
                let delay = self.chance.millis(1, 500);
                self.tell_job(nr, ticket, delay, JobInput::WorkDirReady(Ok(())));
            }
            // No pilot of the simulation has a catalogue.
            JobEffect::FindReplicas(_) => {
                let none = Problem::new(ErrorCode::RucioListReplicasFailed, "no catalogue");
                let delay = self.chance.millis(1, 500);
                self.tell_job(nr, ticket, delay, JobInput::ReplicasFound(Err(none)));
            }
            JobEffect::StageIn(plan) => {
                let delay = self.transfer_time();
                self.pilot_event(nr, delay, PilotEvent::StagedIn(ticket, plan));
            }
            JobEffect::FetchScript(_) => {
                let delay = self.chance.millis(10, 5000);
                self.tell_job(nr, ticket, delay, JobInput::ScriptReady(Ok(())));
            }
            JobEffect::StreamLog(_) => {}
            JobEffect::Look(_) => {
                let delay = self.chance.millis(5, 2000);
                self.tell_job(nr, ticket, delay, JobInput::Looked(Box::default()));
            }
            JobEffect::StartPayload(plan, _) => self.spawn_payload(nr, ticket, &plan),
            JobEffect::SignalPayload(signal) => self.signal_payload(nr, ticket, signal),
            JobEffect::TakeSample(scope) => {
                let delay = self.chance.millis(5, 2000);
                self.pilot_event(nr, delay, PilotEvent::Sampled(ticket, scope));
            }
            JobEffect::StageOut(plan) => {
                let delay = self.transfer_time();
                self.pilot_event(nr, delay, PilotEvent::StagedOut(ticket, plan));
            }
            JobEffect::SaveLog(plan) => {
                let delay = self.transfer_time();
                self.pilot_event(nr, delay, PilotEvent::LogSaved(ticket, plan));
            }
            JobEffect::StopTransfers => {
                if let Some(pilot) = self.pilots.get_mut(&nr) {
                    pilot.stopped.insert(ticket);
                }
            }
            JobEffect::SendUpdate {
                nr: update_nr,
                update,
            } => {
                self.send_update(nr, (ticket, update_nr), *update);
            }
            JobEffect::KeepUpdate(update, KeepReason::Undelivered) => self.keep_update(nr, update),
            JobEffect::KeepUpdate(update, KeepReason::Refused) => {
                let id = update.panda_id;
                self.say(
                    who(nr),
                    format_args!("the final update of job {id} is refused"),
                );
            }
            JobEffect::CleanUp => {
                let delay = self.chance.millis(10, 5000);
                self.tell_job(nr, ticket, delay, JobInput::CleanedUp);
            }
        }
    }

    fn send_update(
        &mut self,
        nr: PilotNr,
        (ticket, update_nr): (JobTicket, UpdateNr),
        mut update: JobUpdate,
    ) {
        if update.status == JobStatus::Finished && self.strikes(Fault::ReportIncomplete) {
            update.outputs.truncate(update.outputs.len() / 2);
        }
        let dialect = self.pilots[&nr].dialect;
        let fields = update_job::encode_request(dialect, &update);
        let purpose = PilotPurpose::Update(ticket, update_nr);
        let request = self.pilot_call(nr, purpose, update_job::path(dialect), &fields);
        if update.is_final() {
            self.finals.push_back(request);
            if self.finals.len() > FINALS_MAX {
                self.finals.pop_front();
            }
        }
    }

    // --- transfers ---

    fn transfer_time(&mut self) -> Duration {
        if self.strikes(Fault::TransferSlow) {
            self.chance.seconds(SLOW_SECS.0, SLOW_SECS.1)
        } else {
            self.chance.millis(50, 60_000)
        }
    }

    pub(super) fn on_staged_in(&mut self, nr: PilotNr, ticket: JobTicket, plan: &StageInPlan) {
        for file in &plan.files {
            let (size, checksum) = (file.size, file.checksum.as_ref());
            let mut sources = file.sources();
            // What is written of ranges of events is nowhere registered.
            if size.is_none() && checksum.is_none() {
                continue;
            }
            if !sources.any(|url| self.storage.holds(url, size, checksum)) {
                let detail = format_args!("input `{}` is not in storage as registered", file.lfn);
                self.violate(Invariant::P3, detail);
            }
        }
        let result = if self.strikes(Fault::StageInFailed) {
            let code = *self.chance.one_of(&[
                ErrorCode::StageInFailed,
                ErrorCode::StageInTimeout,
                ErrorCode::GetAdMismatch,
            ]);
            Err(Problem::new(code, "as drawn"))
        } else {
            Ok(())
        };
        self.give_job(nr, ticket, JobInput::StageInEnded(result));
    }

    pub(super) fn on_staged_out(&mut self, nr: PilotNr, ticket: JobTicket, plan: &StageOutPlan) {
        let results = plan
            .files
            .iter()
            .map(|file| match plan.beginning {
                Beginning::Fresh => self.store_output(nr, ticket, file),
                Beginning::Resumed => self.restore_output(nr, ticket, file),
            })
            .collect();
        self.give_job(nr, ticket, JobInput::StageOutEnded(results));
    }

    pub(super) fn on_log_saved(&mut self, nr: PilotNr, ticket: JobTicket, plan: &LogPlan) {
        let result = self.store(nr, ticket, &plan.file, None);
        self.give_job(nr, ticket, JobInput::LogSaved(result));
    }

    /// Stores an output: the same content, whichever pilot does it.
    fn store_output(
        &mut self,
        nr: PilotNr,
        ticket: JobTicket,
        file: &StageOutFile,
    ) -> Result<StoredFile, Problem> {
        let content = self.output(nr, ticket, &file.lfn);
        self.store(nr, ticket, file, content)
    }

    /// Stores an output only if it is not there, whole.
    fn restore_output(
        &mut self,
        nr: PilotNr,
        ticket: JobTicket,
        file: &StageOutFile,
    ) -> Result<StoredFile, Problem> {
        match self.output(nr, ticket, &file.lfn) {
            Some(content) if self.storage.file(&file.destination) == Some(&content) => Ok(content),
            _ => self.store_output(nr, ticket, file),
        }
    }

    /// Returns what a job's payload wrote, drawn once for each attempt.
    fn output(&mut self, nr: PilotNr, ticket: JobTicket, lfn: &Lfn) -> Option<StoredFile> {
        let job = self.pilots.get(&nr)?.jobs.get(&ticket)?;
        let key = (job.panda_id, job.attempt_nr, lfn.clone());
        let chance = &mut self.chance;
        let content = self.outputs.entry(key).or_insert_with(|| draw_file(chance));
        Some(content.clone())
    }

    fn store(
        &mut self,
        nr: PilotNr,
        ticket: JobTicket,
        file: &StageOutFile,
        content: Option<StoredFile>,
    ) -> Result<StoredFile, Problem> {
        if self.pilots[&nr].stopped.contains(&ticket) {
            return Err(Problem::new(ErrorCode::StageOutFailed, "given up"));
        }
        if self.strikes(Fault::OutputMissing) {
            return Err(Problem::new(ErrorCode::MissingOutputFile, "as drawn"));
        }
        if self.strikes(Fault::StageOutFailed) {
            let codes = [ErrorCode::StageOutFailed, ErrorCode::StageOutTimeout];
            return Err(Problem::new(*self.chance.one_of(&codes), "as drawn"));
        }
        let stored = content.unwrap_or_else(|| draw_file(&mut self.chance));
        self.storage.store(&file.destination, stored.clone());
        Ok(stored)
    }

    fn give_job(&mut self, nr: PilotNr, ticket: JobTicket, input: JobInput) {
        self.give_pilot(nr, Input::Job(ticket, input));
    }

    // --- the payload ---

    fn spawn_payload(&mut self, nr: PilotNr, ticket: JobTicket, plan: &PayloadPlan) {
        let delay = self.chance.millis(10, 20_000);
        if self.strikes(Fault::PayloadUnstartable) {
            let detail = format!("`{}`", plan.argv.join(" "));
            let problem = Problem::new(ErrorCode::SetupFailure, detail);
            self.tell_job(nr, ticket, delay, JobInput::PayloadStarted(Err(problem)));
        } else {
            self.pilot_event(nr, delay, PilotEvent::Spawned(ticket));
        }
    }

    pub(super) fn on_spawned(&mut self, nr: PilotNr, ticket: JobTicket) {
        let fault = PAYLOAD_FAULTS
            .into_iter()
            .find(|fault| self.strikes(*fault));
        let queue = &self.scenario.queues[&self.pilots[&nr].queue];
        let Some(job) = self.pilots[&nr].jobs.get(&ticket) else {
            return;
        };
        let (now, catalogue) = (self.now, self.catalogue);
        let of = (job, queue.memory);
        let payload = Payload::draw(&mut self.chance, catalogue, now, of, fault);
        self.say(
            who(nr),
            format_args!("payload {ticket} starts: {:?}", payload.course),
        );
        if let Course::Ends(after, exit) = payload.course {
            self.pilot_event(nr, after, PilotEvent::PayloadEnds(ticket, exit));
        }
        if let Some(pilot) = self.pilots.get_mut(&nr) {
            pilot.payloads.insert(ticket, payload);
        }
        self.give_job(nr, ticket, JobInput::PayloadStarted(Ok(())));
    }

    fn signal_payload(&mut self, nr: PilotNr, ticket: JobTicket, signal: PayloadSignal) {
        let Some(payload) = self.pilots[&nr].payloads.get(&ticket) else {
            return;
        };
        let obeys = payload.obeys;
        let (delay, exit) = match signal {
            PayloadSignal::Kill => (self.chance.millis(1, 500), PayloadExit::Signal(SIGKILL)),
            PayloadSignal::Terminate if obeys => {
                let exits = [
                    PayloadExit::Signal(SIGTERM),
                    PayloadExit::Code(143),
                    PayloadExit::Code(0),
                ];
                (self.chance.millis(1, 15_000), *self.chance.one_of(&exits))
            }
            PayloadSignal::Terminate => return,
        };
        self.pilot_event(nr, delay, PilotEvent::PayloadEnds(ticket, exit));
    }

    pub(super) fn on_payload_end(&mut self, nr: PilotNr, ticket: JobTicket, exit: PayloadExit) {
        let (now, catalogue) = (self.now, self.catalogue);
        let pilot = self.pilots.get_mut(&nr);
        // The first end counts: its own, or that by a signal.
        let Some(payload) = pilot.and_then(|pilot| pilot.payloads.remove(&ticket)) else {
            return;
        };
        self.say(who(nr), format_args!("payload {ticket} ends: {exit:?}"));
        let end = Box::new(payload.end(now, exit, catalogue));
        self.give_job(nr, ticket, JobInput::PayloadEnded(end));
    }

    pub(super) fn on_sampled(&mut self, nr: PilotNr, ticket: JobTicket, scope: SampleScope) {
        let now = self.now;
        let pilot = &self.pilots[&nr];
        let payload = pilot.payloads.get(&ticket);
        let files = || FilesSample {
            total: ByteCount::from_mib(100),
            free_space: ByteCount::from_gib(200),
            stdout: ByteCount::from_kib(10),
            idle: payload.map(|payload| now.since(payload.last_progress(now))),
            ..FilesSample::default()
        };
        let sample = Sample {
            usage: payload.map(|payload| payload.usage(now)),
            files: (scope == SampleScope::UsageAndFiles).then(files),
            ..Sample::default()
        };
        self.give_job(nr, ticket, JobInput::Sampled(Box::new(sample)));
    }
}
