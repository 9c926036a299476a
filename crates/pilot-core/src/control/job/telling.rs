//! What the server is told of a job, and what its answers mean.

use ailurus_model::{Command, ErrorCode, JobStatus, JobUpdate, Moment, UpdateAnswer};

use super::{JobLife, NextStep, Phase, Standing, Turn};
use crate::{
    JobEffect, Problem,
    control::{
        phase::PhaseName,
        reporting::Heard,
        update::{final_update, state_update},
    },
    effect::KeepReason,
    input::{UpdateFailure, UpdateNr},
    payload::ending::EndReason,
    recovery::black_hole::{Cause, JobEnd},
};

/// What a server says to end debug mode. Pilot 3 takes it for `debug`.
const DEBUG_OFF: &str = "debugoff";

impl JobLife {
    pub(super) fn on_answer(
        &mut self,
        turn: &mut Turn<'_>,
        nr: UpdateNr,
        result: Result<UpdateAnswer, UpdateFailure>,
    ) {
        match self
            .reporter
            .on_answer(turn.now, nr, result, turn.random, &mut turn.out)
        {
            Heard::Nothing => {}
            Heard::Failed(why) => turn.notes.push(format!("update {nr} failed: {why}")),
            Heard::FinalDelivered => self.clean_up(turn),
            Heard::FinalRefused(why) => {
                turn.notes
                    .push(format!("the final update is refused: {why}"));
                self.abandon_report(turn, KeepReason::Refused);
            }
            Heard::Answer(answer) => {
                for command in answer.commands {
                    self.on_command(turn, command);
                }
                self.reporter.send_next(&mut turn.out);
                self.go_on(turn);
            }
        }
    }

    fn on_command(&mut self, turn: &mut Turn<'_>, command: Command) {
        turn.notes.push(format!("the server commands {command:?}"));
        match command {
            Command::ToBeKilled => self.end(turn, EndReason::ServerKill),
            Command::SoftKill => self.end(turn, EndReason::SoftKill),
            Command::BadAttemptNr | Command::AlreadyDone => self.end(turn, EndReason::Superseded),
            Command::Debug(line) => self.debug(turn, line.as_deref()),
            Command::Other(text) if text == DEBUG_OFF => self.stop_debugging(),
            Command::Other(_) => {}
        }
    }

    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, status: JobStatus) {
        if self.standing == Standing::Superseded {
            return;
        }
        let update = state_update(&self.desk, &self.record, status);
        self.reporter.queue(turn.now, update, &mut turn.out);
    }

    pub(super) fn wire_status(&self) -> JobStatus {
        match self.phase() {
            PhaseName::Accepted | PhaseName::StagingIn | PhaseName::Starting => JobStatus::Starting,
            PhaseName::Resuming
            | PhaseName::Running
            | PhaseName::StagingOut
            | PhaseName::SavingLog
            | PhaseName::Reporting
            | PhaseName::CleaningUp
            | PhaseName::Over => JobStatus::Running,
        }
    }

    /// When the next heartbeat is due: never once the final update is on its way, and never for
    /// an attempt that the server has given up.
    pub(super) fn heartbeat_due(&self) -> Option<Moment> {
        let is_silent = match &self.phase {
            Phase::Resuming { .. }
            | Phase::Accepted
            | Phase::StagingIn { .. }
            | Phase::Starting { .. }
            | Phase::Running(_)
            | Phase::StagingOut { .. }
            | Phase::SavingLog { .. } => self.standing == Standing::Superseded,
            Phase::Reporting { .. } | Phase::CleaningUp { .. } | Phase::Over => true,
        };
        let usual = self.desk.config.profile.limits.heartbeat;
        let period = self.debugging.heartbeat();
        let period = period.map_or(usual, |period| period.min(usual));
        let due = self.reporter.last_queued().after(period);
        (!is_silent).then(|| self.debugging.delay(due))
    }

    // --- the end ---

    /// Sends the final update, the only place where that is done.
    pub(super) fn report(&mut self, turn: &mut Turn<'_>) {
        if matches!(
            self.phase,
            Phase::StagingOut { .. } | Phase::SavingLog { .. }
        ) && self.stop.save_until().is_some_and(|due| due <= turn.now)
            && self.record.problems.is_empty()
        {
            let detail = "the pilot had to stop before outputs and log were stored";
            let code = self.pilot_error.unwrap_or(ErrorCode::KillSignal);
            self.record.problems.push(Problem::new(code, detail));
        }
        self.judge_node(turn);
        let update = final_update(&self.desk, &self.record, turn.now);
        self.send_final(turn, Box::new(update));
    }

    /// Says whether this job's end is one too many for the node. The server hears of it with the job.
    fn judge_node(&mut self, turn: &mut Turn<'_>) {
        let first = self.record.problems.first();
        let end = JobEnd {
            task: self.desk.job.task_id,
            lasted: turn.now.since(self.record.taken),
            failure: first.map(|problem| Cause::of(problem.code, self.found_blame)),
        };
        let limits = &self.desk.config.profile.limits;
        let black_hole = turn.black_hole.as_deref_mut();
        let Some(warning) = black_hole.and_then(|it| it.on_job_end(end, limits)) else {
            return;
        };
        turn.notes.push(warning.clone());
        if let Some(problem) = self.record.problems.first_mut() {
            problem.detail = format!("{}; {warning}", problem.detail);
        }
        self.pilot_error = Some(ErrorCode::BlackHole);
        self.next = NextStep::Leave;
    }

    pub(super) fn send_final(&mut self, turn: &mut Turn<'_>, update: Box<JobUpdate>) {
        let patience = self.desk.config.profile.limits.final_update_patience;
        let give_up_at = self.stop.cut_short(turn.now.after(patience));
        let phase = Phase::Reporting {
            give_up_at,
            update: update.clone(),
        };
        self.enter(turn, phase);
        self.reporter.queue(turn.now, *update, &mut turn.out);
    }

    pub(super) fn abandon_report(&mut self, turn: &mut Turn<'_>, reason: KeepReason) {
        if let Some(update) = self.reporter.give_up() {
            turn.notes
                .push("the final update could not be delivered and is kept on disk".into());
            turn.out.push(JobEffect::KeepUpdate(update, reason));
            self.pilot_error
                .get_or_insert(ErrorCode::CommunicationFailure);
        }
        self.clean_up(turn);
    }
}
