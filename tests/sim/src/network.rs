//! Between programs: requests are lost, doubled, late and out of order, and answers get lost.

use std::{fmt, rc::Rc, time::Duration};

use ailurus_model::Moment;

use crate::{
    faults::Fault,
    world::{Event, Reply, World},
};

/// How long clients wait for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);
/// How late a request can come after its client has given up, in seconds.
const LATE_SECS_MAX: u64 = 1800;
/// How much later than the first the second copy of a request can come, in milliseconds.
const DOUBLE_MILLIS_MAX: u64 = 120_000;

/// Counts the calls of all clients.
pub(crate) type CallNr = u64;

/// One request on its way: what a server sees of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl World {
    /// Sends a request. Exactly one reply comes back to the purpose, unless its client is gone.
    pub(crate) fn call(&mut self, who: impl fmt::Display, reply: Reply, request: Request) {
        self.last_call += 1;
        let nr = self.last_call;
        let now = self.now;
        self.say(&who, format_args!("call {nr} {}", request.path));
        self.open_calls.insert(nr, reply);
        self.agenda
            .put(now.after(CLIENT_PATIENCE), Event::TimedOut(nr));
        if self.strikes(Fault::RequestLost) {
            return;
        }
        let request = Rc::new(request);
        let delay = if self.strikes(Fault::RequestLate) {
            CLIENT_PATIENCE + self.chance.seconds(0, LATE_SECS_MAX)
        } else {
            self.travel()
        };
        let mut arrive = |at: Moment| {
            let request = Rc::clone(&request);
            self.agenda.put(at, Event::Arrives { call: nr, request });
        };
        arrive(now.after(delay));
        if self.strikes(Fault::RequestDoubled) {
            let again = delay + self.chance.millis(0, DOUBLE_MILLIS_MAX);
            let request = Rc::clone(&request);
            self.agenda
                .put(now.after(again), Event::Arrives { call: nr, request });
        }
    }

    /// A request reaches the server, or the place where it should be.
    pub(crate) fn on_arrival(&mut self, call: CallNr, request: &Request) {
        let back = self.now.after(self.travel());
        if !self.server.is_up {
            self.agenda.put(back, Event::Refused(call));
            return;
        }
        let body = self.serve(call, request);
        if !self.strikes(Fault::AnswerLost) {
            let life = self.server.life;
            self.agenda.put(back, Event::Answered { call, life, body });
        }
    }

    /// An answer reaches its client, unless the server died before it was out.
    pub(crate) fn on_answered(&mut self, call: CallNr, life: u32, body: Vec<u8>) {
        if life == self.server.life {
            self.close_call(call, Ok(body));
        } else {
            self.close_call(call, Err("connection reset"));
        }
    }

    /// Gives the first outcome of a call to its client; further ones come too late.
    pub(crate) fn close_call(&mut self, call: CallNr, outcome: Result<Vec<u8>, &'static str>) {
        let Some(reply) = self.open_calls.remove(&call) else {
            return;
        };
        match reply {
            Reply::Pilot(pilot, purpose) => self.on_pilot_reply(pilot, purpose, outcome),
            Reply::Harvester { life, purpose } => self.on_harvester_reply(life, purpose, outcome),
        }
    }

    fn travel(&mut self) -> Duration {
        // Mostly fast, at times slow: enough for requests to overtake each other.
        if self.chance.says_yes(50) {
            self.chance.millis(500, 20_000)
        } else {
            self.chance.millis(1, 200)
        }
    }
}
