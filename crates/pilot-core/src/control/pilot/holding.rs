//! The jobs that the pilot holds: some live, some only have to be refused.

use ailurus_model::{ByteCount, ErrorCode, Job, Moment};

use super::{PilotCore, State, asking::is_past_floor_or_worn_out};
use crate::{
    Effect, JobEffect, JobInput, JobTicket, PilotExit, Problem,
    control::{
        job::{JobLife, JobOutcome, NextStep, Turn},
        last_update::LastUpdate,
        phase::PhaseName,
        reporting::Heard,
        update::{refusal_update, wall_clock},
    },
    data::space::SpaceNeed,
    effect::KeepReason,
    input::RefusedJob,
    resource::slots::{Allotment, Need},
};

/// A job that the pilot holds.
#[derive(Debug)]
pub(super) enum Held {
    /// It lives.
    Life {
        life: Box<JobLife>,
        /// Its part of the node, from the payload's start on.
        allotment: Allotment,
    },
    /// The server must hear that it cannot be run here at all.
    Refusal(LastUpdate),
}

impl Held {
    pub(super) fn life(life: JobLife) -> Self {
        Self::Life {
            life: Box::new(life),
            allotment: Allotment::default(),
        }
    }

    /// Returns the job and its phase, if it lives.
    pub(super) fn job(&self) -> Option<(&Job, PhaseName)> {
        match self {
            Self::Life { life, .. } => Some((life.job(), life.phase())),
            Self::Refusal(_) => None,
        }
    }

    /// Returns what its payload has of the node, if that may exist.
    pub(super) fn running(&self) -> Option<(Need, &Allotment)> {
        match self {
            Self::Life { life, allotment } => {
                let has_payload = life.phase().has_payload();
                has_payload.then(|| (life.need(), allotment))
            }
            Self::Refusal(_) => None,
        }
    }

    /// Returns what its payload will need, if that is still to come.
    pub(super) fn coming(&self) -> Option<Need> {
        match self {
            Self::Life { life, .. } => match life.phase() {
                PhaseName::Accepted | PhaseName::StagingIn => Some(life.need()),
                PhaseName::Resuming
                | PhaseName::Starting
                | PhaseName::Running
                | PhaseName::StagingOut
                | PhaseName::SavingLog
                | PhaseName::Reporting
                | PhaseName::CleaningUp
                | PhaseName::Over => None,
            },
            Self::Refusal(_) => None,
        }
    }

    /// Returns the size of its inputs, if they may still have to be fetched.
    pub(super) fn coming_inputs(&self) -> Option<ByteCount> {
        self.coming()?;
        let (job, _) = self.job()?;
        Some(SpaceNeed::of(job).inputs)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        match self {
            Self::Life { life, .. } => life.next_deadline(),
            Self::Refusal(update) => Some(update.next_deadline()),
        }
    }
}

impl PilotCore {
    pub(super) fn on_job_input(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        input: JobInput,
        out: &mut Vec<Effect>,
    ) {
        if let JobInput::TransfersSeen(seen) = &input {
            let now = wall_clock(&self.config, now);
            for seen in &seen.moves {
                self.storages.note(now, seen);
            }
        }
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        match serving.held.get_mut(&ticket) {
            Some(Held::Life { .. }) => {
                self.with_life(now, ticket, out, |life, turn| life.on_input(turn, input));
            }
            Some(Held::Refusal(_)) => self.on_refusal_answer(now, ticket, input, out),
            None => {}
        }
    }

    /// Does what is due in every job.
    pub(super) fn on_job_timeouts(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &self.state else {
            return;
        };
        let is_due = |held: &Held| held.next_deadline().is_some_and(|due| due <= now);
        let due = serving.held.iter().filter(|(_, held)| is_due(held));
        let due: Vec<JobTicket> = due.map(|(ticket, _)| *ticket).collect();
        for ticket in due {
            self.with_life(now, ticket, out, JobLife::on_timeout);
            self.on_refusal_timeout(now, ticket, out);
        }
    }

    /// Ends every job because the pilot got a signal.
    pub(super) fn stop_jobs(&mut self, now: Moment, signal: i32, out: &mut Vec<Effect>) {
        let patience = self.config.profile.limits.stop_patience;
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        for held in serving.held.values_mut() {
            match held {
                Held::Life { .. } => {}
                Held::Refusal(update) => update.hurry(now.after(patience)),
            }
        }
        let tickets: Vec<JobTicket> = serving.held.keys().copied().collect();
        for ticket in tickets {
            self.with_life(now, ticket, out, |life, turn| life.on_stop(turn, signal));
        }
    }

    /// Ends every job because a limit of the pilot itself is passed.
    pub(super) fn limit_jobs(&mut self, now: Moment, problem: &Problem, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &self.state else {
            return;
        };
        let tickets: Vec<JobTicket> = serving.held.keys().copied().collect();
        for ticket in tickets {
            self.with_life(now, ticket, out, |life, turn| life.on_limit(turn, problem));
        }
    }

    /// Starts the payloads for which the node has room, in the order in which their jobs came: a
    /// large one is not passed by small ones for ever.
    pub(super) fn start_what_fits(&mut self, now: Moment, out: &mut Vec<Effect>) {
        loop {
            let State::Serving(serving) = &mut self.state else {
                return;
            };
            let is_ready = |held: &Held| match held {
                Held::Life { life, .. } => life.is_ready_to_start(),
                Held::Refusal(_) => false,
            };
            let Some((ticket, need)) = serving
                .held
                .iter()
                .find(|(_, held)| is_ready(held))
                .and_then(|(ticket, held)| held.coming().map(|need| (*ticket, need)))
            else {
                return;
            };
            let Some(part) = serving.besides_payloads(&self.config).allot(need) else {
                return;
            };
            if let Some(Held::Life { allotment, .. }) = serving.held.get_mut(&ticket) {
                *allotment = part.clone();
            }
            self.with_life(now, ticket, out, |life, turn| life.start(turn, part));
        }
    }

    /// Lets a job do a step, and forgets it if it is over then.
    fn with_life(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut JobLife, &mut Turn<'_>),
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let free_space = serving.free_space_for(ticket);
        let Some(Held::Life { life, .. }) = serving.held.get_mut(&ticket) else {
            return;
        };
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        turn.free_space = free_space;
        turn.black_hole = Some(&mut self.black_hole);
        step(life, &mut turn);
        turn.hand_over(ticket, out);
        if let Some(outcome) = life.outcome() {
            serving.held.remove(&ticket);
            self.after_job(now, outcome);
        } else if let Some(outcome) = life.outcome_unheard()
            && self.beside.has_room()
        {
            // A server that is away holds up no other job.
            if let Some(Held::Life { life, .. }) = serving.held.remove(&ticket) {
                self.beside.put(ticket, life);
            }
            self.after_job(now, outcome);
        }
    }

    fn after_job(&mut self, now: Moment, outcome: JobOutcome) {
        // A node that has become idle costs more than a request.
        if let State::Serving(serving) = &mut self.state
            && serving.held.is_empty()
        {
            serving.request.hurry();
        }
        match outcome.next {
            NextStep::GoOn if outcome.pilot_error.is_none() => self.after_anything(now),
            NextStep::GoOn | NextStep::Leave
                if outcome.pilot_error == Some(ErrorCode::BlackHole) =>
            {
                let error = outcome.pilot_error;
                self.say_last_word(PilotExit { error });
            }
            // What ends one of several jobs says nothing about the others.
            NextStep::GoOn | NextStep::Leave if !self.config.slots.is_single() => {}
            NextStep::GoOn | NextStep::Leave => {
                let error = outcome.pilot_error;
                self.say_last_word(PilotExit { error });
            }
        }
    }

    /// Decides whether a pilot with one slot asks for a further job: within the queue's time floor.
    fn after_anything(&mut self, now: Moment) {
        let State::Serving(serving) = &self.state else {
            return;
        };
        let is_single = self.config.slots.is_single();
        if is_single && is_past_floor_or_worn_out(&self.config, serving, now) {
            self.say_last_word(PilotExit::GOOD);
        }
    }

    fn say_last_word(&mut self, exit: PilotExit) {
        if let State::Serving(serving) = &mut self.state {
            serving.last_word.get_or_insert(exit);
        }
    }

    // --- jobs that never begin ---

    /// Tells the server that a job failed that never began.
    pub(super) fn refuse(&mut self, now: Moment, refused: &RefusedJob, out: &mut Vec<Effect>) {
        let ticket = self.new_ticket();
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let RefusedJob {
            panda_id,
            attempt_nr,
            problem,
        } = refused;
        out.push(Effect::Note(format!(
            "job {panda_id} is refused: {problem}"
        )));
        let id = (*panda_id, *attempt_nr);
        let update = refusal_update(&self.config, &serving.site, id, problem, now);
        let limits = &self.config.profile.limits;
        let patience = if serving.last_word.is_some() {
            limits.stop_patience
        } else {
            limits.final_update_patience
        };
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        let update = LastUpdate::send(&mut turn, update, patience);
        turn.hand_over(ticket, out);
        serving.held.insert(ticket, Held::Refusal(update));
    }

    fn on_refusal_answer(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        input: JobInput,
        out: &mut Vec<Effect>,
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let (Some(Held::Refusal(update)), JobInput::UpdateAnswered { nr, result }) =
            (serving.held.get_mut(&ticket), input)
        else {
            return;
        };
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        let heard = update.on_answer(&mut turn, nr, result);
        turn.hand_over(ticket, out);
        match heard {
            Heard::Nothing | Heard::Answer(_) | Heard::Failed(_) => {}
            Heard::FinalDelivered | Heard::FinalRefused(_) => {
                self.end_refusal(now, ticket, KeepReason::Refused, out);
            }
        }
    }

    fn on_refusal_timeout(&mut self, now: Moment, ticket: JobTicket, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let Some(Held::Refusal(update)) = serving.held.get_mut(&ticket) else {
            return;
        };
        if update.is_late(now) {
            return self.end_refusal(now, ticket, KeepReason::Undelivered, out);
        }
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        update.on_timeout(&mut turn);
        turn.hand_over(ticket, out);
    }

    fn end_refusal(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        reason: KeepReason,
        out: &mut Vec<Effect>,
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if let Some(Held::Refusal(mut update)) = serving.held.remove(&ticket)
            && let Some(update) = update.give_up()
        {
            out.push(Effect::Job(ticket, JobEffect::KeepUpdate(update, reason)));
        }
        self.after_anything(now);
    }
}
