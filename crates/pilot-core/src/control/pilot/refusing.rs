//! Jobs that never begin: the server must hear that they failed.

use ailurus_model::{AttemptNr, Moment, PandaId};

use super::{Activity, PilotCore, State, collect, stop_exit};
use crate::{
    Effect, JobEffect, JobInput, PilotExit, Problem,
    control::{
        reporting::{Heard, Reporter},
        update::refusal_update,
    },
};

impl PilotCore {
    pub(super) fn on_bad_job(
        &mut self,
        now: Moment,
        id: (PandaId, Option<AttemptNr>),
        problem: &Problem,
        out: &mut Vec<Effect>,
    ) {
        let Some((serving, asked)) = self.answered() else {
            return;
        };
        serving.counts.has_answer = true;
        // Each refused job counts as a failure, so that a server that sends only such cannot hold
        // the pilot for ever.
        serving.counts.failed += 1;
        self.refuse(now, id, problem, asked.signal.map(stop_exit), out);
    }

    /// Tells the server that a job failed that never began.
    pub(super) fn refuse(
        &mut self,
        now: Moment,
        id: (PandaId, Option<AttemptNr>),
        problem: &Problem,
        exit: Option<PilotExit>,
        out: &mut Vec<Effect>,
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        out.push(Effect::Note(format!("job {} is refused: {problem}", id.0)));
        self.last_ticket = self.last_ticket.next();
        let ticket = self.last_ticket;
        let update = refusal_update(&self.config, &serving.site, id, problem, now);
        let limits = &self.config.profile.limits;
        let patience = match exit {
            Some(_) => limits.stop_patience,
            None => limits.final_update_patience,
        };
        let mut reporter = Reporter::new(now);
        let mut job_out = Vec::new();
        reporter.queue(now, update, &mut job_out);
        serving.activity = Activity::Refusing {
            ticket,
            reporter,
            give_up_at: now.after(patience),
            exit,
        };
        collect(ticket, job_out, Vec::new(), out);
    }

    pub(super) fn on_refusal_answer(
        &mut self,
        now: Moment,
        input: JobInput,
        out: &mut Vec<Effect>,
    ) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let Activity::Refusing {
            ticket, reporter, ..
        } = &mut serving.activity
        else {
            return;
        };
        let JobInput::UpdateAnswered { nr, result } = input else {
            return;
        };
        let mut job_out = Vec::new();
        let heard = reporter.on_answer(now, nr, result, &mut self.random, &mut job_out);
        collect(*ticket, job_out, Vec::new(), out);
        match heard {
            Heard::Nothing | Heard::Answer(_) | Heard::Failed(_) => {}
            Heard::FinalDelivered | Heard::FinalRefused(_) => self.end_refusal(now, out),
        }
    }

    pub(super) fn on_refusal_timeout(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let Activity::Refusing {
            ticket,
            reporter,
            give_up_at,
            ..
        } = &mut serving.activity
        else {
            return;
        };
        if *give_up_at <= now {
            return self.end_refusal(now, out);
        }
        let mut job_out = Vec::new();
        reporter.on_timeout(now, &mut job_out);
        collect(*ticket, job_out, Vec::new(), out);
    }

    fn end_refusal(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let Activity::Refusing {
            ticket,
            reporter,
            exit,
            ..
        } = &mut serving.activity
        else {
            return;
        };
        if let Some(update) = reporter.give_up() {
            out.push(Effect::Job(*ticket, JobEffect::KeepUpdate(update)));
        }
        match *exit {
            Some(exit) => self.leave(now, exit, out),
            None => self.ask_again(now, out),
        }
    }
}
