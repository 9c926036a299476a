//! People: they kill jobs and tasks, try failed tasks again, cancel workers, and send old messages.

use std::{rc::Rc, time::Duration};

use crate::{
    faults::Fault,
    world::{Event, World},
};

/// Time between two occasions for people to do something.
pub(crate) const PEOPLE_PERIOD: Duration = Duration::from_secs(300);

impl World {
    pub(crate) fn on_people(&mut self) {
        if self.now >= self.faults.end() {
            return;
        }
        self.after(PEOPLE_PERIOD, Event::People);
        if self.strikes(Fault::WorkersCancelled) {
            self.cancel_workers();
        }
        if self.strikes(Fault::FinalRepeated) {
            self.repeat_final_update();
        }
        if !self.server.is_up {
            return;
        }
        if self.strikes(Fault::JobKilled) {
            self.kill_some_job();
        }
        if self.strikes(Fault::TaskKilled) {
            self.kill_some_task();
        }
        if self.strikes(Fault::TaskRetried) {
            self.retry_some_task();
        }
    }

    /// A final update of some pilot comes once more; nobody waits for its answer.
    fn repeat_final_update(&mut self) {
        let n_finals = u64::try_from(self.finals.len()).unwrap_or(0);
        if n_finals == 0 {
            return;
        }
        let nr = usize::try_from(self.chance.number(0, n_finals - 1)).unwrap_or(0);
        self.last_call += 1;
        let call = self.last_call;
        let request = Rc::new(self.finals[nr].clone());
        self.say("person", format_args!("call {call} repeats a final update"));
        self.after(Duration::ZERO, Event::Arrives { call, request });
    }
}
