//! Pilots that are killed, and what they leave to the next one in the same place.
//!
//! A place is a queue's scratch space: any later pilot of the queue may find what lies there.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{JobUpdate, QueueName};
use ailurus_pilot_core::{
    Input, JobTicket,
    input::{FoundJournals, JournalId},
    recovery::journal::{JobDirectory, Journal, JournalStep},
};

use super::{PilotNr, who};
use crate::{faults::Fault, world::World};

/// Exit code of a worker whose pilot was killed, as shells give it.
const KILLED_EXIT: u8 = 137;
/// How often what lies in a place is found by a pilot that looks there, in a thousand cases.
const FOUND_PER_MILLE: u32 = 800;

/// How often a killed pilot is started again in its slot, in a thousand cases.
const RESTARTED_PER_MILLE: u32 = 500;

/// What lies where dead pilots worked.
#[derive(Debug, Default)]
pub(crate) struct Place {
    left: Vec<Left>,
}

/// Something that a pilot left.
#[derive(Debug)]
enum Left {
    Job(Box<Journal>),
    Update(Box<JobUpdate>),
}

/// The journals of one pilot.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    held: BTreeMap<JobTicket, Left>,
    found: BTreeMap<JournalId, Left>,
}

impl World {
    /// Kills a pilot, perhaps; says whether it is dead.
    pub(super) fn dies(&mut self, nr: PilotNr) -> bool {
        if !self.pilots.contains_key(&nr) || !self.strikes(Fault::PilotKilled) {
            return false;
        }
        self.say(who(nr), format_args!("is killed"));
        if let Some(batch_id) = self.leave_journals(nr) {
            // Some wrappers start the pilot again in the same slot.
            if self.chance.says_yes(RESTARTED_PER_MILLE) {
                self.restart_pilot(batch_id);
            } else {
                self.end_worker(batch_id, KILLED_EXIT);
            }
        }
        true
    }

    /// Removes a pilot from its node; its journals stay. Returns the number of its worker.
    pub(super) fn leave_journals(&mut self, nr: PilotNr) -> Option<u64> {
        let pilot = self.pilots.remove(&nr)?;
        let Journals { held, found } = pilot.journals;
        let left = held.into_values().chain(found.into_values());
        self.place(pilot.queue).left.extend(left);
        Some(pilot.batch_id)
    }

    fn place(&mut self, queue: QueueName) -> &mut Place {
        self.places.entry(queue).or_default()
    }

    pub(super) fn find_journals(&mut self, nr: PilotNr) {
        let queue = self.pilots[&nr].queue.clone();
        let left = std::mem::take(&mut self.place(queue.clone()).left);
        let mut told = FoundJournals::default();
        for (id, left) in (0..).zip(left) {
            if !self.chance.says_yes(FOUND_PER_MILLE) {
                self.place(queue.clone()).left.push(left);
                continue;
            }
            match &left {
                Left::Job(journal) => told.jobs.push((id, Journal::clone(journal))),
                Left::Update(update) => told.updates.push((id, update.clone())),
            }
            if let Some(pilot) = self.pilots.get_mut(&nr) {
                pilot.journals.found.insert(id, left);
            }
        }
        let delay = Duration::from_millis(20);
        self.tell_pilot(nr, delay, Input::JournalsFound(told));
    }

    pub(super) fn take_over(&mut self, nr: PilotNr, ticket: JobTicket, id: JournalId) {
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        let Some(left) = pilot.journals.found.remove(&id) else {
            return;
        };
        if let Left::Job(journal) = &left {
            pilot.jobs.insert(ticket, (*journal.opening.job).clone());
        }
        pilot.journals.held.insert(ticket, left);
    }

    pub(super) fn write_journal(&mut self, nr: PilotNr, ticket: JobTicket, step: JournalStep) {
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        let held = &mut pilot.journals.held;
        match step {
            JournalStep::Open(opening) => {
                let journal = Journal {
                    opening,
                    last: None,
                    directory: JobDirectory::Absent,
                };
                held.insert(ticket, Left::Job(Box::new(journal)));
            }
            JournalStep::Append(snapshot) => {
                if let Some(Left::Job(journal)) = held.get_mut(&ticket) {
                    journal.last = Some(snapshot);
                }
            }
            JournalStep::Remove => {
                held.remove(&ticket);
            }
            JournalStep::Leave => {
                let left = held.remove(&ticket);
                let queue = pilot.queue.clone();
                self.place(queue).left.extend(left);
            }
        }
    }

    pub(super) fn note_directory(&mut self, nr: PilotNr, ticket: JobTicket) {
        let pilot = self.pilots.get_mut(&nr);
        let held = pilot.and_then(|pilot| pilot.journals.held.get_mut(&ticket));
        if let Some(Left::Job(journal)) = held {
            journal.directory = JobDirectory::Made;
        }
    }

    pub(super) fn keep_update(&mut self, nr: PilotNr, update: Box<JobUpdate>) {
        let id = update.panda_id;
        self.say(who(nr), format_args!("keeps the final update of job {id}"));
        let queue = self.pilots[&nr].queue.clone();
        self.place(queue).left.push(Left::Update(update));
    }
}
