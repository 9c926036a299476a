//! Jobs beside those that the pilot works on: taken over from pilots that died, or done but for a
//! final update that the server has not taken yet. They hold up no other job, only the pilot's end.

use std::collections::BTreeMap;

use ailurus_model::{ErrorCode, Job, Moment};

use super::PilotCore;
use crate::{
    Effect, JobEffect, JobInput, JobTicket,
    config::Purpose,
    control::{
        job::{JobLife, Turn},
        last_update::LastUpdate,
        phase::PhaseName,
        reporting::Heard,
    },
    effect::KeepReason,
    input::FoundJournals,
    recovery::journal::JournalStep,
};

/// Jobs beside, above which a pilot that cannot report takes no further one: a server that takes no
/// reports gets no further jobs to lose.
const HELD_MAX: usize = 16;

/// The jobs beside, and whether more of them are looked for.
#[derive(Debug, Default)]
pub(super) struct Beside {
    held: BTreeMap<JobTicket, Other>,
    search: Search,
    /// What is wrong with the rescue, for a pilot that does nothing else.
    rescue_error: Option<ErrorCode>,
    /// What is wrong with the pilot's own jobs.
    own_error: Option<ErrorCode>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Search {
    #[default]
    Over,
    UnderWay,
}

/// Where a job beside comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The pilot ran it itself.
    Own,
    /// From a pilot that died.
    Rescued,
}

#[derive(Debug)]
enum Other {
    /// A job.
    Life(Box<JobLife>, Origin),
    /// Nothing is left of the job but its final update.
    Update(LastUpdate),
}

impl Other {
    fn next_deadline(&self) -> Option<Moment> {
        match self {
            Self::Life(life, _) => life.next_deadline(),
            Self::Update(update) => Some(update.next_deadline()),
        }
    }
}

impl Beside {
    /// Says whether another job of the pilot may wait here for its final update to be taken.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < HELD_MAX
    }

    /// Puts a job here.
    pub(super) fn put(&mut self, ticket: JobTicket, life: Box<JobLife>) {
        self.held.insert(ticket, Other::Life(life, Origin::Own));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.search == Search::Over
    }

    /// Returns the jobs beside that still live, and their phases.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (JobTicket, &Job, PhaseName)> {
        self.held.iter().filter_map(|(ticket, other)| match other {
            Other::Life(life, _) => Some((*ticket, life.job(), life.phase())),
            Other::Update(_) => None,
        })
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.held.values().filter_map(Other::next_deadline).min()
    }
}

impl PilotCore {
    /// Looks for what dead pilots left.
    pub(super) fn look_for_journals(&mut self, out: &mut Vec<Effect>) {
        self.beside.search = Search::UnderWay;
        out.push(Effect::FindJournals);
    }

    /// Takes over what was found.
    pub(super) fn on_journals(&mut self, now: Moment, found: FoundJournals, out: &mut Vec<Effect>) {
        if self.beside.search == Search::Over {
            // The pilot was told to stop; what it found stays for the next one.
            return;
        }
        self.beside.search = Search::Over;
        if found.n_left > 0 {
            self.beside.rescue_error = Some(ErrorCode::FileHandlingFailure);
        }
        for (id, journal) in found.jobs {
            let ticket = self.new_ticket();
            out.push(Effect::Job(ticket, JobEffect::TakeOver(id)));
            let config = self.config.clone();
            let life = self.turn(now, ticket, out, |turn| {
                JobLife::resume(turn, journal, &config)
            });
            self.beside
                .held
                .insert(ticket, Other::Life(Box::new(life), Origin::Rescued));
            self.forget_if_over(ticket);
        }
        for (id, update) in found.updates {
            let ticket = self.new_ticket();
            out.push(Effect::Job(ticket, JobEffect::TakeOver(id)));
            let patience = self.config.profile.limits.final_update_patience;
            let update = self.turn(now, ticket, out, |turn| {
                LastUpdate::send(turn, *update, patience)
            });
            self.beside.held.insert(ticket, Other::Update(update));
        }
    }

    /// Gives an input to a job beside; gives it back if there is none with this ticket.
    pub(super) fn on_input_beside(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        input: JobInput,
        out: &mut Vec<Effect>,
    ) -> Option<JobInput> {
        let Some(mut other) = self.beside.held.remove(&ticket) else {
            return Some(input);
        };
        match (&mut other, input) {
            (Other::Life(life, _), input) => {
                self.turn(now, ticket, out, |turn| life.on_input(turn, input));
                self.beside.held.insert(ticket, other);
                self.forget_if_over(ticket);
            }
            (Other::Update(update), JobInput::UpdateAnswered { nr, result }) => {
                let heard = self.turn(now, ticket, out, |turn| update.on_answer(turn, nr, result));
                match heard {
                    Heard::Nothing | Heard::Answer(_) | Heard::Failed(_) => {
                        self.beside.held.insert(ticket, other);
                    }
                    Heard::FinalDelivered => end_update(ticket, JournalStep::Remove, out),
                    Heard::FinalRefused(_) => {
                        let keep = update.give_up().map(|update| {
                            Effect::Job(ticket, JobEffect::KeepUpdate(update, KeepReason::Refused))
                        });
                        out.extend(keep);
                        end_update(ticket, JournalStep::Remove, out);
                    }
                }
            }
            (Other::Update(_), _) => {
                self.beside.held.insert(ticket, other);
            }
        }
        None
    }

    /// Does what is due beside.
    pub(super) fn on_timeouts_beside(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let is_due = |other: &Other| other.next_deadline().is_some_and(|due| due <= now);
        let due = self.beside.held.iter().filter(|(_, other)| is_due(other));
        let due: Vec<JobTicket> = due.map(|(ticket, _)| *ticket).collect();
        for ticket in due {
            let Some(mut other) = self.beside.held.remove(&ticket) else {
                continue;
            };
            match &mut other {
                Other::Life(life, _) => self.turn(now, ticket, out, |turn| life.on_timeout(turn)),
                Other::Update(update) if update.is_late(now) => {
                    self.beside.rescue_error = Some(ErrorCode::CommunicationFailure);
                    end_update(ticket, JournalStep::Leave, out);
                    continue;
                }
                Other::Update(update) => {
                    self.turn(now, ticket, out, |turn| update.on_timeout(turn));
                }
            }
            self.beside.held.insert(ticket, other);
            self.forget_if_over(ticket);
        }
    }

    /// Ends everything beside soon: the pilot got a signal.
    pub(super) fn stop_beside(&mut self, now: Moment, signal: i32, out: &mut Vec<Effect>) {
        self.beside.search = Search::Over;
        let leave_at = now.after(self.config.profile.limits.stop_patience);
        for ticket in self.beside.held.keys().copied().collect::<Vec<_>>() {
            let Some(mut other) = self.beside.held.remove(&ticket) else {
                continue;
            };
            match &mut other {
                Other::Life(life, _) => {
                    self.turn(now, ticket, out, |turn| life.on_stop(turn, signal));
                }
                Other::Update(update) => update.hurry(leave_at),
            }
            self.beside.held.insert(ticket, other);
            self.forget_if_over(ticket);
        }
    }

    /// Lets something have its turn, and hands over what it wants done.
    fn turn<T>(
        &mut self,
        now: Moment,
        ticket: JobTicket,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> T {
        let mut turn = Turn::new(now, &mut self.random, &self.storages);
        let result = step(&mut turn);
        turn.hand_over(ticket, out);
        result
    }

    fn forget_if_over(&mut self, ticket: JobTicket) {
        let Some(Other::Life(life, origin)) = self.beside.held.get(&ticket) else {
            return;
        };
        let Some(outcome) = life.outcome() else {
            return;
        };
        let error = match origin {
            Origin::Own => &mut self.beside.own_error,
            Origin::Rescued => &mut self.beside.rescue_error,
        };
        *error = error.or(outcome.pilot_error);
        self.beside.held.remove(&ticket);
    }

    /// Returns what the jobs beside let the pilot leave with.
    pub(super) fn error_beside(&self) -> Option<ErrorCode> {
        match self.config.purpose {
            Purpose::Serve => self.beside.own_error,
            Purpose::Recover => self.beside.rescue_error,
        }
    }
}

fn end_update(ticket: JobTicket, step: JournalStep, out: &mut Vec<Effect>) {
    out.push(Effect::Job(ticket, JobEffect::Journal(step)));
}
