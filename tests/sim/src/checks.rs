//! What must hold, checked while a run goes on and at its end.

use std::{fmt, time::Duration};

use ailurus_harvester_core::{HarvesterCore, TrackedWorker};
use ailurus_model::{FileStatus, JobKind, JobStatus, JobUpdate, TaskStatus, WorkerId};
use ailurus_server_core::{
    Ledger as _,
    invariants::{check_state, check_step},
    ledger::{FileRecord, JobRecord},
};

use crate::{
    batch::BatchState,
    pilot::PilotNr,
    violation::{Invariant, Violation},
    world::World,
};

/// How much longer than stated a payload may run without the server: its end takes a while.
const SILENCE_SLACK: Duration = Duration::from_secs(60);

impl World {
    /// Notes a violation; the first one ends the run.
    pub(crate) fn violate(&mut self, invariant: Invariant, detail: fmt::Arguments<'_>) {
        let (now, seed) = (self.now, self.seed);
        self.say("check", format_args!("{invariant}: {detail}"));
        let recent = self.trace.recent();
        self.violation.get_or_insert_with(|| Violation {
            invariant,
            detail: detail.to_string(),
            seed,
            at: now,
            recent,
        });
    }

    // --- the server ---

    /// J1, J2, J5 and P3 for one update.
    pub(crate) fn check_update(
        &mut self,
        update: &JobUpdate,
        before: &JobRecord,
        after: &JobRecord,
    ) {
        let id = update.panda_id;
        if before.status.is_terminal() && before != after {
            self.violate(
                Invariant::J2,
                format_args!("job {id} was {before:?}, is {after:?}"),
            );
        }
        let is_old = update.attempt_nr.is_some_and(|nr| nr != before.attempt_nr);
        if is_old && before != after {
            self.violate(
                Invariant::J5,
                format_args!("job {id} was {before:?}, is {after:?}"),
            );
        }
        if after.status != JobStatus::Finished || before.status == JobStatus::Finished {
            return;
        }
        if after.attempt_nr != before.attempt_nr {
            let (from, to) = (before.attempt_nr, after.attempt_nr);
            let detail = format_args!("job {id} was in attempt {from}, {to} finished it");
            self.violate(Invariant::J1, detail);
        }
        self.check_outputs(after);
    }

    /// P3 for a finished job: each output is registered, and lies in storage as registered.
    fn check_outputs(&mut self, job: &JobRecord) {
        let id = job.panda_id;
        let Ok(Some(task)) = self.server.ledger.task(job.task_id) else {
            return self.violate(Invariant::J4, format_args!("job {id} has no task"));
        };
        if task.revision > 0 {
            let files = self.server.ledger.files();
            let own: Vec<FileRecord> = files
                .filter(|file| file.producer == Some(id))
                .cloned()
                .collect();
            return own.iter().for_each(|file| self.check_file(file));
        }
        for output in &task.spec.outputs {
            let dataset = &output.dataset;
            let part = job.part;
            match self.server.ledger.file_of_part(dataset, part) {
                Ok(Some(file)) => self.check_file(&file),
                Ok(None) | Err(_) => {
                    let detail =
                        format_args!("job {id} has no file for part {part} of `{dataset}`");
                    self.violate(Invariant::P3, detail);
                }
            }
        }
    }

    fn check_file(&mut self, file: &FileRecord) {
        let is_complete = file.size.is_some() && file.checksum.is_some();
        let checksum = file.checksum.as_ref();
        if !is_complete || !self.storage.holds(&file.surl, file.size, checksum) {
            let (lfn, stored) = (&file.lfn, self.storage.file(&file.surl).cloned());
            let registered = (file.size, checksum);
            self.violate(
                Invariant::P3,
                format_args!("`{lfn}` is registered as {registered:?} and stored as {stored:?}"),
            );
        }
    }

    /// All of the server's own invariants, also against the rows at the last look.
    pub(crate) fn check_rows(&mut self) {
        let ledger = &self.server.ledger;
        let checked = check_state(ledger).and_then(|()| check_step(&self.snapshot, ledger));
        if let Err(broken) = checked {
            let invariant = Invariant::of_number(broken.number).unwrap_or(Invariant::J4);
            self.violate(invariant, format_args!("{}", broken.detail));
        }
        self.take_snapshot();
    }

    /// Takes the rows as they are for the comparison of the next look.
    pub(crate) fn take_snapshot(&mut self) {
        self.snapshot.clone_from(&self.server.ledger);
    }

    // --- pilots ---

    /// P2 and P4 for one pilot.
    pub(crate) fn check_pilot(&mut self, nr: PilotNr) {
        let Some(pilot) = self.pilots.get(&nr) else {
            return;
        };
        if pilot.payloads.is_empty() {
            return;
        }
        let n_payloads = u32::try_from(pilot.payloads.len()).unwrap_or(u32::MAX);
        let used: u32 = pilot.payloads.values().map(|payload| payload.cores).sum();
        let (slots, cores) = (pilot.slots, pilot.cores);
        if used > cores || n_payloads > slots {
            let detail = format_args!(
                "pilot {nr} runs {n_payloads} payloads with {used} cores, {slots} in {cores} are allowed"
            );
            return self.violate(Invariant::P2, detail);
        }
        let limits = &self.scenario.profile.limits;
        let allowed = limits.lost_heartbeat + limits.kill_grace + SILENCE_SLACK;
        let silence = self.now.since(pilot.heard);
        if silence > allowed {
            let detail = format_args!(
                "pilot {nr} runs a payload and was not answered for {silence:?}, {allowed:?} are allowed"
            );
            self.violate(Invariant::P4, detail);
        }
    }

    /// P1 for a pilot that leaves.
    pub(crate) fn check_exit(&mut self, nr: PilotNr) {
        let Some(pilot) = self.pilots.get(&nr) else {
            return;
        };
        if let Some(ticket) = pilot.payloads.keys().next().copied() {
            self.violate(
                Invariant::P1,
                format_args!("pilot {nr} leaves, payload {ticket} runs"),
            );
        }
    }

    // --- workers ---

    /// F1 and F2 for all queues.
    pub(crate) fn check_workers(&mut self) {
        let mut broken = None;
        for (name, limits) in &self.scenario.worker_limits {
            let limits = limits.within(self.scenario.queues[name].worker_limit, None);
            let mut existing = 0;
            let mut waiting = 0;
            for job in self
                .batch
                .jobs
                .values()
                .filter(|job| job.exists() && job.queue == *name)
            {
                existing += 1;
                waiting += u32::from(job.state == BatchState::Queued);
                if !self.is_followed(job.worker) {
                    let detail = format!("worker {} exists and nobody counts it", job.worker);
                    broken = broken.or(Some((Invariant::F2, detail)));
                }
            }
            if existing > limits.workers || waiting > limits.waiting {
                let detail =
                    format!("queue {name} has {existing} workers, {waiting} wait: {limits:?}");
                broken = broken.or(Some((Invariant::F1, detail)));
            }
        }
        if let Some((invariant, detail)) = broken {
            self.violate(invariant, format_args!("{detail}"));
        }
    }

    /// Says whether Harvester counts a worker as existing: in its rows, and in its core if it runs.
    fn is_followed(&self, id: WorkerId) -> bool {
        let harvester = &self.harvester;
        let has_row = harvester
            .rows
            .get(&id)
            .is_some_and(|row| !row.status.is_terminal());
        let is_it =
            |tracked: &TrackedWorker| tracked.worker().worker_id == id && tracked.is_alive();
        has_row
            && harvester
                .core
                .as_ref()
                .is_none_or(|core| core.workers().any(is_it))
    }

    // --- the end ---

    /// Says whether nothing is left to be done.
    pub(crate) fn is_over(&self) -> bool {
        let mut tasks = self.server.ledger.tasks();
        let core = self.harvester.core.as_ref();
        let mut workflows = self.server.ledger.workflows();
        tasks.all(|task| task.status.is_terminal())
            && workflows.all(|workflow| workflow.status.is_final())
            && self.pilots.is_empty()
            && !self.batch.jobs.values().any(|job| job.exists())
            && core.is_some_and(HarvesterCore::all_have_ended)
    }

    /// L1, J3 at the time when everything must have ended.
    pub(crate) fn check_patience(&mut self) {
        let live = self
            .server
            .ledger
            .jobs()
            .find(|job| !job.status.is_terminal());
        if let Some(job) = live {
            let (id, status, reason) = (job.panda_id, job.status, job.reason.clone());
            let is_out = status.is_with_pilot() || status == JobStatus::Holding;
            let invariant = if is_out { Invariant::J3 } else { Invariant::L1 };
            return self.violate(
                invariant,
                format_args!("job {id} is still {status}: `{reason}`"),
            );
        }
        let live = self
            .server
            .ledger
            .workflows()
            .find(|workflow| !workflow.status.is_final());
        if let Some((id, status)) = live.map(|workflow| (workflow.id, workflow.status)) {
            return self.violate(
                Invariant::L1,
                format_args!("workflow {id} is still {status}"),
            );
        }
        let pilots: Vec<PilotNr> = self.pilots.keys().copied().collect();
        let workers = self.batch.jobs.values().filter(|job| job.exists()).count();
        let detail = format_args!("pilots {pilots:?} and {workers} workers are still there");
        self.violate(Invariant::L1, detail);
    }

    /// What must hold of a run that has ended.
    pub(crate) fn check_end(&mut self) {
        self.check_rows();
        let ended = self.server.ledger.jobs().cloned();
        let finished: Vec<JobRecord> = ended
            .filter(|job| job.status == JobStatus::Finished)
            .collect();
        for job in &finished {
            self.check_outputs(job);
        }
        self.check_inputs();
        self.check_killed();
        let is_done = |status| status == TaskStatus::Done;
        let undone = self
            .server
            .ledger
            .tasks()
            .find(|task| !is_done(task.status));
        if self.faults.counts().is_empty()
            && let Some(task) = undone
        {
            let (id, status) = (task.id, task.status);
            self.violate(
                Invariant::L2,
                format_args!("nothing went wrong, and task {id} is {status}"),
            );
        }
    }

    /// D1: every input is settled as its file is, and a closed job lacks one.
    fn check_inputs(&mut self) {
        let ledger = &self.server.ledger;
        let aborted = ledger.tasks_in(&[TaskStatus::Aborted]).unwrap_or_default();
        let mut broken = None;
        for job in ledger.jobs() {
            let id = job.panda_id;
            let needs = ledger.needs_of(id).unwrap_or_default();
            let wrong = needs.iter().find(|need| {
                let file = ledger.file_of_part(&need.dataset, need.part);
                let is_there = file.is_ok_and(|file| file.is_some());
                let expected = if is_there {
                    FileStatus::Ready
                } else {
                    FileStatus::Failed
                };
                // What a job wrote that was killed before it was merged is left out; once that job
                // is tried again, another one merges it.
                let is_left_out = job.kind == JobKind::Merge && need.status == FileStatus::Failed;
                need.status != expected && !is_left_out
            });
            if let Some(need) = wrong {
                let (dataset, part, status) = (&need.dataset, need.part, need.status);
                let detail = format!("job {id} has part {part} of `{dataset}` as {status}");
                broken = broken.or(Some(detail));
            }
            // What a person has ended is not opened again when its input comes after all.
            let is_aborted = aborted.contains(&job.task_id);
            let has_all = needs.iter().all(|need| need.status == FileStatus::Ready);
            // One of several jobs for the same work may not be needed.
            let is_spare = job.kind == JobKind::Consumer;
            if job.status == JobStatus::Closed && has_all && !is_aborted && !is_spare {
                broken = broken.or(Some(format!(
                    "job {id} is closed and has all of its inputs"
                )));
            }
        }
        if let Some(detail) = broken {
            self.violate(Invariant::D1, format_args!("{detail}"));
        }
    }

    /// K1 for all jobs that people killed.
    fn check_killed(&mut self) {
        let is_spared = |job: &&JobRecord| {
            self.killed.contains(&job.panda_id) && job.status != JobStatus::Cancelled
        };
        let spared = self.server.ledger.jobs().find(is_spared);
        if let Some((id, status)) = spared.map(|job| (job.panda_id, job.status)) {
            self.violate(
                Invariant::K1,
                format_args!("job {id} was killed and is {status}"),
            );
        }
    }
}
