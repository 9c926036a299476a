//! One job's life, from acceptance to clean-up. [`PhaseName`] has the drawing.

mod debugging;
mod fetching;
mod resume;
mod steps;
mod telling;

use std::{sync::Arc, time::Duration};

use ailurus_model::{
    Blame, ByteCount, ErrorCode, Job, JobStatus, JobUpdate, Moment, update::PilotTiming,
};

use debugging::Debugging;
use fetching::Scripts;

use super::{
    phase::PhaseName,
    random::Random,
    reporting::Reporter,
    running::Running,
    update::{Desk, Record},
};
use crate::{
    Effect, JobEffect, JobInput, JobTicket, PilotConfig, Problem,
    data::{LogPlan, StageOutPlan, StorageRecord},
    effect::KeepReason,
    input::{PayloadEnd, Site},
    monitoring::JobLimits,
    payload::{
        ending::{EndReason, Step},
        steps::Steps,
    },
    recovery::{
        black_hole::BlackHole,
        fault::is_fault_of_node,
        journal::{JobDirectory, Stage},
    },
    resource::{
        life_limit,
        slots::{Allotment, Need},
    },
};

/// One step: its time, chance, and what is to be done.
pub(crate) struct Turn<'a> {
    pub(crate) now: Moment,
    pub(crate) random: &'a mut Random,
    /// What the pilot thinks of its node, where the job is one of its own.
    pub(crate) black_hole: Option<&'a mut BlackHole>,
    /// What the pilot has seen of storages.
    pub(crate) storages: &'a StorageRecord,
    /// What other jobs leave of the disk, if it is known.
    pub(crate) free_space: Option<ByteCount>,
    pub(crate) out: Vec<JobEffect>,
    pub(crate) notes: Vec<String>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(now: Moment, random: &'a mut Random, storages: &'a StorageRecord) -> Self {
        Self {
            now,
            random,
            black_hole: None,
            storages,
            free_space: None,
            out: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Gives away what is to be done.
    pub(crate) fn hand_over(self, ticket: JobTicket, out: &mut Vec<Effect>) {
        out.extend(self.notes.into_iter().map(Effect::Note));
        let effects = self.out.into_iter();
        out.extend(effects.map(|effect| Effect::Job(ticket, effect)));
    }
}

/// One job's life.
#[derive(Debug)]
pub(crate) struct JobLife {
    desk: Desk,
    record: Record,
    limits: JobLimits,
    reporter: Reporter,
    phase: Phase,
    directory: JobDirectory,
    /// What the pilot itself will leave with.
    pilot_error: Option<ErrorCode>,
    next: NextStep,
    stop: Stop,
    standing: Standing,
    /// Since when the payload could start.
    ready_since: Option<Moment>,
    /// How long it had to wait for its part of the node, which does not count against its time.
    waited: Duration,
    /// The parts of its work and its part of the node, from the start of the first one.
    steps: Option<Box<(Steps, Allotment)>>,
    /// Whose fault the payload's failure is, by what was found in its output.
    found_blame: Option<Blame>,
    debugging: Debugging,
}

#[derive(Debug)]
enum Phase {
    Resuming {
        stage: Stage,
        give_up_at: Moment,
    },
    Accepted,
    StagingIn {
        since: Moment,
        inputs: Wait,
        script: Scripts,
    },
    Starting {
        since: Moment,
        ending: Option<EndReason>,
    },
    Running(Box<Running>),
    StagingOut {
        since: Moment,
        plan: StageOutPlan,
    },
    SavingLog {
        plan: Box<LogPlan>,
    },
    Reporting {
        give_up_at: Moment,
        update: Box<JobUpdate>,
    },
    CleaningUp {
        give_up_at: Moment,
    },
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The catalogue is asked.
    LookingUp,
    UnderWay,
    Done,
}

/// What the pilot does after the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// It may ask for another job.
    GoOn,
    /// It leaves.
    Leave,
}

/// What the server thinks of this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It counts.
    Current,
    /// Another one counts, or the job has its final state: nothing more is said.
    Superseded,
}

/// Whether the pilot was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotAsked,
    /// It was, but a payload is still there: time counts from that one's end.
    Asked,
    Counting {
        /// Outputs and log are given up then.
        save_until: Moment,
        /// The final update is given up then.
        leave_at: Moment,
    },
}

impl Stop {
    const fn save_until(self) -> Option<Moment> {
        match self {
            Self::Counting { save_until, .. } => Some(save_until),
            Self::NotAsked | Self::Asked => None,
        }
    }

    /// The earlier of a deadline and the time to leave.
    fn cut_short(self, deadline: Moment) -> Moment {
        match self {
            Self::Counting { leave_at, .. } => leave_at.min(deadline),
            Self::NotAsked | Self::Asked => deadline,
        }
    }
}

/// What became of a job that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobOutcome {
    pub(crate) pilot_error: Option<ErrorCode>,
    pub(crate) next: NextStep,
}

impl JobLife {
    /// A job of which nothing has been done yet.
    fn new(desk: Desk, record: Record, limits: JobLimits, now: Moment) -> Self {
        Self {
            desk,
            record,
            limits,
            reporter: Reporter::new(now),
            phase: Phase::Accepted,
            directory: JobDirectory::Absent,
            pilot_error: None,
            next: NextStep::GoOn,
            stop: Stop::NotAsked,
            standing: Standing::Current,
            ready_since: None,
            waited: Duration::ZERO,
            steps: None,
            found_blame: None,
            debugging: Debugging::default(),
        }
    }

    /// Takes a job: the server hears of it, and its directory is made.
    pub(crate) fn begin(
        turn: &mut Turn<'_>,
        job: Box<Job>,
        (config, site): (Arc<PilotConfig>, Arc<Site>),
        timing: PilotTiming,
    ) -> Self {
        let life_limit = life_limit(&config, &site.queue);
        let pilots = (life_limit, config.resource_type.as_deref());
        let limits = JobLimits::of(&job, &site.queue, &config.profile.limits, pilots);
        let record = Record::new(&config, turn.now, timing);
        let desk = Desk { job, config, site };
        let mut life = Self::new(desk, record, limits, turn.now);
        life.open_journal(turn);
        if life.desk.job.options.is_debug {
            let command = life.desk.job.options.debug_command.clone();
            life.debug(turn, Some(&command));
        }
        life.tell(turn, JobStatus::Starting);
        turn.out.push(JobEffect::MakeWorkDir(life.desk.job.clone()));
        life
    }

    pub(crate) fn phase(&self) -> PhaseName {
        match &self.phase {
            Phase::Resuming { .. } => PhaseName::Resuming,
            Phase::Accepted => PhaseName::Accepted,
            Phase::StagingIn { .. } => PhaseName::StagingIn,
            Phase::Starting { .. } => PhaseName::Starting,
            Phase::Running(_) => PhaseName::Running,
            Phase::StagingOut { .. } => PhaseName::StagingOut,
            Phase::SavingLog { .. } => PhaseName::SavingLog,
            Phase::Reporting { .. } => PhaseName::Reporting,
            Phase::CleaningUp { .. } => PhaseName::CleaningUp,
            Phase::Over => PhaseName::Over,
        }
    }

    /// Returns what became of the job, once it is over.
    pub(crate) fn outcome(&self) -> Option<JobOutcome> {
        matches!(self.phase, Phase::Over).then_some(JobOutcome {
            pilot_error: self.pilot_error,
            next: self.next,
        })
    }

    /// Returns what is known of the outcome of a job that waits for the server to take its final
    /// update, which failed at least once.
    pub(crate) fn outcome_unheard(&self) -> Option<JobOutcome> {
        let is_unheard =
            matches!(self.phase, Phase::Reporting { .. }) && self.reporter.is_unheard();
        is_unheard.then_some(JobOutcome {
            pilot_error: self.pilot_error,
            next: self.next,
        })
    }

    pub(crate) fn job(&self) -> &Job {
        &self.desk.job
    }

    /// Returns what the job takes of the node.
    pub(crate) fn need(&self) -> Need {
        Need::of(&self.desk.job)
    }

    /// Says whether all is there that the payload needs.
    pub(crate) fn is_ready_to_start(&self) -> bool {
        matches!(
            &self.phase,
            Phase::StagingIn { inputs: Wait::Done, script, .. } if script.are_there()
        )
    }

    /// Takes what happened. What does not belong to the phase is late, and ignored.
    pub(crate) fn on_input(&mut self, turn: &mut Turn<'_>, input: JobInput) {
        match input {
            JobInput::WorkDirReady(result) => self.on_work_dir(turn, result),
            JobInput::ReplicasFound(result) => self.on_replicas(turn, result),
            JobInput::TransfersSeen(seen) => self.on_transfers_seen(turn, &seen),
            JobInput::StageInEnded(result) => self.on_stage_in(turn, result),
            JobInput::ScriptReady(result) => self.on_script(turn, result),
            JobInput::PayloadStarted(result) => self.on_payload_started(turn, result),
            JobInput::PayloadEnded(end) => self.on_payload_ended(turn, *end),
            JobInput::Sampled(sample) => self.on_sample(turn, &sample),
            JobInput::StageOutEnded(results) => self.on_stage_out(turn, results),
            JobInput::LogSaved(result) => self.on_log_saved(turn, result),
            JobInput::Looked(answer) => self.on_looked(turn, &answer),
            JobInput::UpdateAnswered { nr, result } => self.on_answer(turn, nr, result),
            JobInput::CleanedUp => {
                if matches!(self.phase, Phase::CleaningUp { .. }) {
                    self.enter(turn, Phase::Over);
                }
            }
        }
    }

    /// Does what is due.
    pub(crate) fn on_timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.reporter.on_timeout(now, &mut turn.out);
        if self.heartbeat_due().is_some_and(|due| due <= now) && !self.look(turn) {
            self.tell(turn, self.wire_status());
        }
        if let Some((due, reason)) = self.next_limit()
            && due <= now
        {
            self.end(turn, reason);
        }
        let limits = &self.desk.config.profile.limits;
        match &mut self.phase {
            Phase::Running(running) => {
                if running.on_timeout(now, limits, &mut turn.out) == Step::GiveUp {
                    turn.notes
                        .push("the payload survives SIGKILL and is given up".into());
                    self.on_payload_ended(turn, PayloadEnd::default());
                }
            }
            Phase::StagingOut { .. } | Phase::SavingLog { .. } => {
                if self.stop.save_until().is_some_and(|due| due <= now) {
                    turn.out.push(JobEffect::StopTransfers);
                    self.report(turn);
                }
            }
            Phase::Resuming { give_up_at, .. } if *give_up_at <= now => self.leave_for_next(turn),
            Phase::Reporting { give_up_at, .. } if *give_up_at <= now => {
                self.abandon_report(turn, KeepReason::Undelivered);
            }
            Phase::CleaningUp { give_up_at } if *give_up_at <= now => self.enter(turn, Phase::Over),
            Phase::StagingIn { script, .. } => script.on_timeout(now, &mut turn.out),
            Phase::Resuming { .. }
            | Phase::Accepted
            | Phase::Starting { .. }
            | Phase::Reporting { .. }
            | Phase::CleaningUp { .. }
            | Phase::Over => {}
        }
    }

    /// Returns when `on_timeout` is due.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let of_phase = match &self.phase {
            Phase::Running(running) => running.next_deadline(),
            Phase::StagingOut { .. } | Phase::SavingLog { .. } => self.stop.save_until(),
            Phase::Resuming { give_up_at, .. }
            | Phase::Reporting { give_up_at, .. }
            | Phase::CleaningUp { give_up_at } => Some(*give_up_at),
            Phase::StagingIn { script, .. } => script.next_deadline(),
            Phase::Accepted | Phase::Starting { .. } | Phase::Over => None,
        };
        let of_limit = self.next_limit().map(|(due, _)| due);
        [
            of_phase,
            of_limit,
            self.heartbeat_due(),
            self.reporter.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends the job because the pilot got a signal.
    pub(crate) fn on_stop(&mut self, turn: &mut Turn<'_>, signal: i32) {
        self.next = NextStep::Leave;
        self.pilot_error.get_or_insert(ErrorCode::of_signal(signal));
        if self.stop == Stop::NotAsked {
            self.stop = Stop::Asked;
        }
        self.start_stop_clock(turn.now);
        match &mut self.phase {
            Phase::Resuming { .. } => self.leave_for_next(turn),
            Phase::Accepted
            | Phase::StagingIn { .. }
            | Phase::Starting { .. }
            | Phase::Running(_) => {
                self.end(turn, EndReason::Stop(signal));
            }
            Phase::Reporting { give_up_at, .. } | Phase::CleaningUp { give_up_at } => {
                *give_up_at = self.stop.cut_short(*give_up_at);
            }
            Phase::StagingOut { .. } | Phase::SavingLog { .. } | Phase::Over => {}
        }
    }

    /// Ends a job that still has its payload before it, or running, because a limit of the pilot is
    /// passed. What is stored and reported already goes on.
    pub(crate) fn on_limit(&mut self, turn: &mut Turn<'_>, problem: &Problem) {
        match &self.phase {
            Phase::Accepted
            | Phase::StagingIn { .. }
            | Phase::Starting { .. }
            | Phase::Running(_) => self.end(turn, EndReason::Limit(problem.clone())),
            Phase::Resuming { .. }
            | Phase::StagingOut { .. }
            | Phase::SavingLog { .. }
            | Phase::Reporting { .. }
            | Phase::CleaningUp { .. }
            | Phase::Over => {}
        }
    }

    // --- ends ---

    /// Ends the job for a reason that comes from outside of it.
    fn end(&mut self, turn: &mut Turn<'_>, reason: EndReason) {
        match &reason {
            EndReason::Limit(problem) => {
                self.pilot_error.get_or_insert(problem.code);
                self.next = NextStep::Leave;
            }
            EndReason::ServerLost(_) => {
                self.pilot_error
                    .get_or_insert(ErrorCode::ExceededMaxWaitTime);
                self.next = NextStep::Leave;
            }
            EndReason::ServerKill | EndReason::SoftKill => self.next = NextStep::Leave,
            EndReason::Stop(_) | EndReason::KillFile => {}
            EndReason::Superseded => {
                self.standing = Standing::Superseded;
                self.reporter.silence();
            }
        }
        let problem = reason.problem();
        match &mut self.phase {
            Phase::Starting { ending, .. } => {
                ending.get_or_insert(reason);
            }
            Phase::Running(running) => {
                let limits = &self.desk.config.profile.limits;
                running.end(turn.now, reason, limits, &mut turn.out);
            }
            Phase::Resuming { .. } => match problem {
                Some(problem) => self.fail(turn, problem),
                None => self.clean_up(turn),
            },
            Phase::Accepted | Phase::StagingIn { .. } => {
                turn.out.push(JobEffect::StopTransfers);
                match problem {
                    Some(problem) => self.fail(turn, problem),
                    None => self.clean_up(turn),
                }
            }
            Phase::StagingOut { .. } | Phase::SavingLog { .. } => match problem {
                Some(problem) => self.record.problems.push(problem),
                None => {
                    turn.out.push(JobEffect::StopTransfers);
                    self.clean_up(turn);
                }
            },
            Phase::Reporting { .. } => {
                if problem.is_none() {
                    self.clean_up(turn);
                }
            }
            Phase::CleaningUp { .. } | Phase::Over => {}
        }
    }

    fn fail(&mut self, turn: &mut Turn<'_>, problem: Problem) {
        turn.notes.push(format!("the job fails: {problem}"));
        self.record.problems.push(problem);
        self.save_log(turn);
    }

    /// Fails the job before its payload ran; if that is the node's fault, the pilot takes no further
    /// job.
    fn fail_early(&mut self, turn: &mut Turn<'_>, problem: Problem) {
        if is_fault_of_node(problem.code) {
            self.pilot_error.get_or_insert(problem.code);
            self.next = NextStep::Leave;
        }
        self.fail(turn, problem);
    }

    /// Starts to count the time of a stop, once no payload is there.
    fn start_stop_clock(&mut self, now: Moment) {
        if self.stop == Stop::Asked && !self.phase().has_payload() {
            let patience = self.desk.config.profile.limits.stop_patience;
            self.stop = Stop::Counting {
                save_until: now.after(patience / 2),
                leave_at: now.after(patience),
            };
        }
    }

    // --- what is due, and where it goes ---

    /// The next time limit of a job that still works towards its end, and what it means.
    fn next_limit(&self) -> Option<(Moment, EndReason)> {
        let is_limited = match &self.phase {
            Phase::Running(running) => !running.is_ending(),
            Phase::Accepted | Phase::StagingIn { .. } => true,
            Phase::Resuming { .. }
            | Phase::Starting { .. }
            | Phase::StagingOut { .. }
            | Phase::SavingLog { .. }
            | Phase::Reporting { .. }
            | Phase::CleaningUp { .. }
            | Phase::Over => false,
        };
        if !is_limited {
            return None;
        }
        let silence = self.desk.config.profile.limits.lost_heartbeat;
        let lost = (
            self.reporter.last_heard().after(silence),
            EndReason::ServerLost(silence),
        );
        // A job that only waits for its turn uses up nothing of its time.
        let limit = self.limits.walltime.filter(|_| !self.is_ready_to_start());
        let over = limit.map(|limit| {
            let problem = Problem::new(ErrorCode::ReachedMaxTime, format!("{} s", limit.as_secs()));
            let due = self.record.taken.after(limit + self.waited);
            (due, EndReason::Limit(problem))
        });
        [Some(lost), over]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
    }

    fn enter(&mut self, turn: &mut Turn<'_>, phase: Phase) {
        let from = self.phase();
        self.phase = phase;
        let to = self.phase();
        debug_assert!(from.may_become(to), "a job goes from {from} to {to}");
        self.write_journal(turn);
        self.start_stop_clock(turn.now);
        turn.notes
            .push(format!("job {}: {from} -> {to}", self.desk.job.panda_id));
    }
}
