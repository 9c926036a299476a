//! A final update that is all that is left of a job, on its way until it is given up.

use std::time::Duration;

use ailurus_model::{JobUpdate, Moment, UpdateAnswer};

use super::{
    job::Turn,
    reporting::{Heard, Reporter},
};
use crate::input::{UpdateFailure, UpdateNr};

/// A final update without a job.
#[derive(Debug)]
pub(crate) struct LastUpdate {
    reporter: Reporter,
    give_up_at: Moment,
}

impl LastUpdate {
    /// Sends it.
    pub(crate) fn send(turn: &mut Turn<'_>, update: JobUpdate, patience: Duration) -> Self {
        let mut reporter = Reporter::new(turn.now);
        reporter.queue(turn.now, update, &mut turn.out);
        Self {
            reporter,
            give_up_at: turn.now.after(patience),
        }
    }

    pub(crate) fn next_deadline(&self) -> Moment {
        let due = self.reporter.next_deadline();
        due.map_or(self.give_up_at, |due| due.min(self.give_up_at))
    }

    /// Says whether its time is over.
    pub(crate) fn is_late(&self, now: Moment) -> bool {
        self.give_up_at <= now
    }

    /// Gives it up at this time, if that is earlier.
    pub(crate) fn hurry(&mut self, give_up_at: Moment) {
        self.give_up_at = self.give_up_at.min(give_up_at);
    }

    pub(crate) fn on_timeout(&mut self, turn: &mut Turn<'_>) {
        self.reporter.on_timeout(turn.now, &mut turn.out);
    }

    pub(crate) fn on_answer(
        &mut self,
        turn: &mut Turn<'_>,
        nr: UpdateNr,
        result: Result<UpdateAnswer, UpdateFailure>,
    ) -> Heard {
        self.reporter
            .on_answer(turn.now, nr, result, turn.random, &mut turn.out)
    }

    /// Returns what could not be delivered.
    pub(crate) fn give_up(&mut self) -> Option<Box<JobUpdate>> {
        self.reporter.give_up()
    }
}
