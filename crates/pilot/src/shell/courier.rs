//! Sends updates: those of one job one after the other, those of several jobs together.
//!
//! Whatever waits when a courier sets out travels with it, so the busier the server, the fewer the
//! calls. A courier that finds nothing to carry ends; an idle pilot has none.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc::SyncSender},
};

use ailurus_model::{JobUpdate, UpdateAnswer};
use ailurus_pilot_core::{
    Input, JobInput, JobTicket,
    input::{UpdateFailure, UpdateNr},
};

use super::{Message, activity::Activities, lock};
use crate::link::Link;

/// Most couriers at once. The second goes on while the first waits for a server that hangs.
const COURIERS_MAX: usize = 2;
/// Most updates in one call, as many as Harvester sends.
const UPDATES_PER_CALL_MAX: usize = 100;
/// What is said of an update whose courier ended badly.
const BAD_END: &str = "this activity of the pilot ended badly: see its log";

/// The updates on their way.
#[derive(Debug, Clone)]
pub(super) struct Couriers {
    link: Arc<dyn Link>,
    sender: SyncSender<Message>,
    activities: Activities,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: VecDeque<Letter>,
    n_couriers: usize,
}

#[derive(Debug)]
struct Letter {
    ticket: JobTicket,
    nr: UpdateNr,
    update: Box<JobUpdate>,
}

impl Couriers {
    pub(super) fn new(
        link: Arc<dyn Link>,
        sender: SyncSender<Message>,
        activities: Activities,
    ) -> Self {
        Self {
            link,
            sender,
            activities,
            desk: Arc::default(),
        }
    }

    /// Sends an update. Its answer reaches the loop as [`JobInput::UpdateAnswered`].
    pub(super) fn send(&self, ticket: JobTicket, nr: UpdateNr, update: Box<JobUpdate>) {
        let mut desk = lock(&self.desk);
        desk.waiting.push_back(Letter { ticket, nr, update });
        if desk.n_couriers >= COURIERS_MAX {
            return;
        }
        desk.n_couriers += 1;
        drop(desk);
        let own = self.clone();
        if let Err(error) = self.activities.run("update", move || own.carry_all()) {
            tracing::error!("no room for thread `update`: {error}");
            let letters = {
                let mut desk = lock(&self.desk);
                desk.n_couriers -= 1;
                std::mem::take(&mut desk.waiting)
            };
            for letter in letters {
                let why = UpdateFailure::Unreachable(format!("no room for a thread: {error}"));
                // The loop itself calls this, so it must not wait for room in its own channel.
                if let Err(error) = self.sender.try_send(letter.answered(Err(why))) {
                    tracing::error!("an input is lost: {error}");
                }
            }
        }
    }

    fn carry_all(&self) {
        while let Some(letters) = self.take() {
            let updates: Vec<&JobUpdate> = letters.iter().map(|letter| &*letter.update).collect();
            let answers = catch_unwind(AssertUnwindSafe(|| self.link.update_all(&updates)));
            let mut answers = answers.unwrap_or_default().into_iter();
            for letter in letters {
                let missing = || Err(UpdateFailure::Unreachable(BAD_END.into()));
                let result = answers.next().unwrap_or_else(missing);
                // The loop may have ended meanwhile; then nobody needs the answer.
                let _ = self.sender.send(letter.answered(result));
            }
        }
    }

    /// Takes what waits, or takes leave.
    fn take(&self) -> Option<Vec<Letter>> {
        let mut desk = lock(&self.desk);
        if desk.waiting.is_empty() {
            desk.n_couriers -= 1;
            return None;
        }
        let n_letters = desk.waiting.len().min(UPDATES_PER_CALL_MAX);
        Some(desk.waiting.drain(..n_letters).collect())
    }
}

impl Letter {
    fn answered(&self, result: Result<UpdateAnswer, UpdateFailure>) -> Message {
        let answered = JobInput::UpdateAnswered {
            nr: self.nr,
            result,
        };
        Message::Input(Input::Job(self.ticket, answered))
    }
}
