//! A job whose pilot has died: how this pilot continues it.
//!
//! Nothing is stored before the server has said that this attempt still counts: meanwhile another
//! one may have stored files under the same names.

use std::sync::Arc;

use ailurus_model::{ErrorCode, JobStatus, Moment};

use super::{JobLife, Phase, Turn};
use crate::{
    JobEffect, PilotConfig, Problem,
    control::update::Desk,
    data::stage_out::Beginning,
    monitoring::JobLimits,
    recovery::journal::{JobDirectory, Journal, JournalStep, Opening, Snapshot, Stage},
};

impl JobLife {
    /// Takes over the job of a pilot that has died.
    pub(crate) fn resume(turn: &mut Turn<'_>, journal: Journal, config: &Arc<PilotConfig>) -> Self {
        let directory = journal.directory;
        let (opening, record, stage) = journal.into_parts();
        let limits = &config.profile.limits;
        let give_up_at = turn.now.after(limits.final_update_patience);
        let limits = JobLimits::of(&opening.job, &opening.site.queue, limits, (None, None));
        // The job belongs to the pilot, and to the worker, that took it.
        let config = PilotConfig {
            identity: opening.identity,
            ..PilotConfig::clone(config)
        };
        let desk = Desk {
            job: opening.job,
            config: Arc::new(config),
            site: Arc::new(opening.site),
        };
        let mut life = Self::new(desk, record, limits, turn.now);
        life.directory = directory;
        life.take_up(turn, stage, give_up_at);
        life
    }

    fn take_up(&mut self, turn: &mut Turn<'_>, stage: Stage, give_up_at: Moment) {
        let id = self.desk.job.panda_id;
        let status = match stage {
            Stage::Preparing => JobStatus::Starting,
            Stage::Payload | Stage::StagingOut(_) | Stage::SavingLog(_) => JobStatus::Running,
            Stage::Reporting(update) => {
                turn.notes
                    .push(format!("job {id}: its final update is sent again"));
                return self.send_final(turn, update);
            }
            Stage::CleaningUp => return self.clean_up(turn),
        };
        turn.notes.push(format!(
            "job {id}: the server is asked whether attempt {} still counts",
            self.desk.job.attempt_nr
        ));
        self.phase = Phase::Resuming { stage, give_up_at };
        self.tell(turn, status);
    }

    /// Goes on once the server has answered that the attempt counts.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) {
        let Phase::Resuming { stage, .. } = &self.phase else {
            return;
        };
        let has_directory = self.directory == JobDirectory::Made;
        match stage.clone() {
            Stage::StagingOut(plan) if has_directory => {
                self.stage_out(turn, plan.beginning_at(Beginning::Resumed));
            }
            Stage::SavingLog(plan) if has_directory => self.store_log(turn, plan),
            Stage::Preparing => self.fail(turn, lost("before the payload ran")),
            Stage::Payload => self.fail(
                turn,
                lost("while the payload ran, which was ended with the pilot"),
            ),
            Stage::StagingOut(_) => self.fail(
                turn,
                lost("before all outputs were stored, and the job's directory is gone"),
            ),
            Stage::SavingLog(_) | Stage::Reporting(_) | Stage::CleaningUp => self.report(turn),
        }
    }

    // --- the journal ---

    pub(super) fn open_journal(&self, turn: &mut Turn<'_>) {
        let Desk { job, config, site } = &self.desk;
        let opening = Opening {
            job: job.clone(),
            site: site.narrowed_to(job),
            identity: config.identity.clone(),
            record: self.record.clone(),
        };
        let step = JournalStep::Open(Box::new(opening));
        turn.out.push(JobEffect::Journal(step));
    }

    /// Writes down the phase that has been entered, if a successor must know it.
    pub(super) fn write_journal(&self, turn: &mut Turn<'_>) {
        let stage = match &self.phase {
            // What is there already says as much.
            Phase::Resuming { .. } | Phase::Accepted | Phase::StagingIn { .. } => return,
            Phase::Running(_) => return,
            Phase::Starting { .. } => Stage::Payload,
            Phase::StagingOut { plan, .. } => Stage::StagingOut(plan.clone()),
            Phase::SavingLog { plan } => Stage::SavingLog(plan.clone()),
            Phase::Reporting { update, .. } => Stage::Reporting(update.clone()),
            Phase::CleaningUp { .. } => Stage::CleaningUp,
            Phase::Over => {
                return turn.out.push(JobEffect::Journal(JournalStep::Remove));
            }
        };
        let record = self.record.clone();
        let snapshot = Snapshot { record, stage };
        let step = JournalStep::Append(Box::new(snapshot));
        turn.out.push(JobEffect::Journal(step));
    }

    /// Gives the job up for now: its journal stays for the next pilot.
    pub(super) fn leave_for_next(&mut self, turn: &mut Turn<'_>) {
        turn.notes.push(format!(
            "job {} is left to the next pilot in this place",
            self.desk.job.panda_id
        ));
        self.reporter.silence();
        self.pilot_error = Some(ErrorCode::CommunicationFailure);
        self.phase = Phase::Over;
        turn.out.push(JobEffect::Journal(JournalStep::Leave));
    }
}

fn lost(when: &str) -> Problem {
    Problem::new(ErrorCode::KillSignal, format!("the pilot died {when}"))
}
