//! Debug mode: the server sees of a running job what it asks for, more often than else.

use std::time::Duration;

use ailurus_model::{ErrorCode, Moment};

use super::{JobLife, Phase, Turn};
use crate::{
    JobEffect, Problem,
    control::update::Desk,
    input::DebugAnswer,
    payload::{
        debug::{DebugRequest, newest_part},
        ending::EndReason,
        log_stream::plan_stream,
    },
};

/// Time between two heartbeats in debug mode.
///
/// Source: Pilot 3, `[Pilot] debug_heartbeat`.
const DEBUG_HEARTBEAT: Duration = Duration::from_secs(60);
/// Time after which a look that gave no answer is taken for lost.
const LOOK_PATIENCE: Duration = Duration::from_secs(300);
/// What a job fails with once its core file is there.
const CORE_IS_THERE: &str = "payload was killed after gdb produced requested core file";

/// What the server wants to see of a job.
#[derive(Debug, Default)]
pub(super) struct Debugging {
    request: Option<DebugRequest>,
    /// When the look began that is under way.
    looking_since: Option<Moment>,
    /// Whether the job's output is streamed, or cannot be.
    stream: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stream {
    #[default]
    NotAsked,
    Settled,
}

impl Debugging {
    /// The time between two heartbeats, if it is another one than usual.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        self.request.as_ref().map(|_| DEBUG_HEARTBEAT)
    }

    /// A heartbeat waits for the look that is under way.
    pub(super) fn delay(&self, due: Moment) -> Moment {
        match self.looking_since {
            Some(since) => due.max(since.after(LOOK_PATIENCE)),
            None => due,
        }
    }

    fn is_looking(&self, now: Moment) -> bool {
        self.looking_since
            .is_some_and(|since| now.since(since) < LOOK_PATIENCE)
    }
}

impl JobLife {
    /// Takes what the server asks for. What is not allowed switches the mode off, as in Pilot 3.
    pub(super) fn debug(&mut self, turn: &mut Turn<'_>, command: Option<&str>) {
        match DebugRequest::read(command) {
            Ok(request) => {
                self.debugging.request = Some(request);
                self.stream_log(turn);
                self.look(turn);
            }
            Err(error) => {
                let command = command.unwrap_or_default();
                turn.notes
                    .push(format!("debug command `{command}` is refused: {error}"));
                self.stop_debugging();
            }
        }
    }

    /// Begins to show the payload's output, once it runs and if that is wanted.
    pub(super) fn stream_log(&mut self, turn: &mut Turn<'_>) {
        let is_running = matches!(self.phase, Phase::Running(_));
        if !is_running || self.debugging.stream == Stream::Settled {
            return;
        }
        let Desk { job, config, site } = &self.desk;
        let debug = self.debugging.request.as_ref();
        match plan_stream(config, &site.queue, job, debug) {
            Ok(None) => return,
            Ok(Some(stream)) => turn.out.push(JobEffect::StreamLog(Box::new(stream))),
            Err(why) => turn
                .notes
                .push(format!("its output is not streamed: {why}")),
        }
        self.debugging.stream = Stream::Settled;
    }

    pub(super) fn stop_debugging(&mut self) {
        self.debugging.request = None;
        self.record.stdout.clear();
    }

    /// Looks for a heartbeat that is due, which then waits for the answer; says whether it does.
    pub(super) fn look(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.debugging.is_looking(turn.now) {
            return true;
        }
        let is_running = matches!(&self.phase, Phase::Running(running) if !running.is_ending());
        let Some(request) = self.debugging.request.clone().filter(|_| is_running) else {
            return false;
        };
        self.debugging.looking_since = Some(turn.now);
        turn.out.push(JobEffect::Look(request));
        true
    }

    pub(super) fn on_looked(&mut self, turn: &mut Turn<'_>, answer: &DebugAnswer) {
        if self.debugging.looking_since.take().is_none() {
            return;
        }
        if self.debugging.request.is_some() {
            newest_part(&answer.text).clone_into(&mut self.record.stdout);
            self.tell(turn, self.wire_status());
        }
        if matches!(self.debugging.request, Some(DebugRequest::CoreFile(_))) {
            // Asked for once, not at every heartbeat.
            self.debugging.request = None;
            if answer.has_core_file {
                let problem = Problem::new(ErrorCode::PandaKill, CORE_IS_THERE);
                self.end(turn, EndReason::Limit(problem));
            }
        }
    }
}
