//! The updates of one job: one under way at a time, in order, the latest state first.
//!
//! A final update is never dropped for another one. Each try has a number, so that a late answer
//! to an old try is known for what it is.

use ailurus_model::{JobUpdate, Moment, UpdateAnswer};

use crate::{
    JobEffect,
    control::random::Random,
    input::{UpdateFailure, UpdateNr},
    recovery::Backoff,
};

/// How often an update that the server refuses is tried.
const REFUSALS_MAX: u32 = 3;

/// Sends the updates of one job.
#[derive(Debug)]
pub(crate) struct Reporter {
    last_nr: UpdateNr,
    lane: Lane,
    /// Waits for the one under way. A newer one takes its place.
    pending: Option<Box<JobUpdate>>,
    /// Failures since the last answer.
    failures: u32,
    refusals: u32,
    last_heard: Moment,
    last_queued: Moment,
}

/// The update that is under way.
#[derive(Debug)]
enum Lane {
    Free,
    Sent {
        nr: UpdateNr,
        update: Box<JobUpdate>,
    },
    Waiting {
        until: Moment,
        update: Box<JobUpdate>,
    },
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An answer to an old try, or to none.
    Nothing,
    /// The server took an update that is not final, and answered this.
    Answer(UpdateAnswer),
    /// The server has the final update.
    FinalDelivered,
    /// The server refused the final update for good.
    FinalRefused(String),
    /// No answer; the try is repeated.
    Failed(String),
}

impl Reporter {
    pub(crate) const fn new(now: Moment) -> Self {
        Self {
            last_nr: 0,
            lane: Lane::Free,
            pending: None,
            failures: 0,
            refusals: 0,
            last_heard: now,
            last_queued: now,
        }
    }

    /// Says whether the last try got no answer.
    pub(crate) const fn is_unheard(&self) -> bool {
        self.failures > 0
    }

    /// When the server answered last, or the job began.
    pub(crate) const fn last_heard(&self) -> Moment {
        self.last_heard
    }

    /// When an update was queued last.
    pub(crate) const fn last_queued(&self) -> Moment {
        self.last_queued
    }

    /// Takes an update. It is sent at once, unless another one is under way or a pause after a
    /// failure lasts; a final one waits for no pause.
    pub(crate) fn queue(&mut self, now: Moment, update: JobUpdate, out: &mut Vec<JobEffect>) {
        let update = Box::new(update);
        self.last_queued = now;
        // Whatever waited is older.
        self.pending = None;
        match std::mem::replace(&mut self.lane, Lane::Free) {
            Lane::Free => self.send(update, out),
            Lane::Waiting { .. } if update.is_final() => self.send(update, out),
            Lane::Waiting { until, .. } => self.lane = Lane::Waiting { until, update },
            sent @ Lane::Sent { .. } => {
                self.lane = sent;
                self.pending = Some(update);
            }
        }
    }

    /// Takes an answer. What waits is sent by [`Self::send_next`], once the answer's commands are
    /// obeyed: they may forbid it.
    pub(crate) fn on_answer(
        &mut self,
        now: Moment,
        nr: UpdateNr,
        result: Result<UpdateAnswer, UpdateFailure>,
        random: &mut Random,
        out: &mut Vec<JobEffect>,
    ) -> Heard {
        let update = match std::mem::replace(&mut self.lane, Lane::Free) {
            Lane::Sent { nr: sent, update } if sent == nr => update,
            other @ (Lane::Free | Lane::Sent { .. } | Lane::Waiting { .. }) => {
                self.lane = other;
                return Heard::Nothing;
            }
        };
        match result {
            Ok(answer) => {
                self.last_heard = now;
                (self.failures, self.refusals) = (0, 0);
                if update.is_final() {
                    return Heard::FinalDelivered;
                }
                Heard::Answer(answer)
            }
            Err(failure) => self.on_failure(now, update, &failure, random, out),
        }
    }

    /// Sends what waits, if nothing is under way.
    pub(crate) fn send_next(&mut self, out: &mut Vec<JobEffect>) {
        if matches!(self.lane, Lane::Free)
            && let Some(next) = self.pending.take()
        {
            self.send(next, out);
        }
    }

    /// Repeats what is due.
    pub(crate) fn on_timeout(&mut self, now: Moment, out: &mut Vec<JobEffect>) {
        match std::mem::replace(&mut self.lane, Lane::Free) {
            Lane::Waiting { until, update } if until <= now => self.send(update, out),
            other @ (Lane::Free | Lane::Sent { .. } | Lane::Waiting { .. }) => self.lane = other,
        }
    }

    /// When `on_timeout` is due.
    pub(crate) const fn next_deadline(&self) -> Option<Moment> {
        match self.lane {
            Lane::Waiting { until, .. } => Some(until),
            Lane::Free | Lane::Sent { .. } => None,
        }
    }

    /// Forgets everything: nothing more is to be sent.
    pub(crate) fn silence(&mut self) {
        self.lane = Lane::Free;
        self.pending = None;
    }

    /// Gives up, and returns the final update if it was not delivered.
    pub(crate) fn give_up(&mut self) -> Option<Box<JobUpdate>> {
        let pending = self.pending.take();
        let update = match std::mem::replace(&mut self.lane, Lane::Free) {
            Lane::Free => None,
            Lane::Sent { update, .. } | Lane::Waiting { update, .. } => Some(update),
        };
        pending.or(update).filter(|update| update.is_final())
    }

    fn on_failure(
        &mut self,
        now: Moment,
        update: Box<JobUpdate>,
        failure: &UpdateFailure,
        random: &mut Random,
        out: &mut Vec<JobEffect>,
    ) -> Heard {
        self.failures += 1;
        let is_refused = match failure {
            UpdateFailure::Refused(_) => {
                self.refusals += 1;
                // A refusal is an answer too: the server is alive.
                self.last_heard = now;
                self.refusals >= REFUSALS_MAX
            }
            UpdateFailure::Unreachable(_) => false,
        };
        if let Some(next) = self.pending.take() {
            self.refusals = 0;
            if next.is_final() {
                self.send(next, out);
            } else {
                self.wait(now, next, random);
            }
        } else if is_refused && update.is_final() {
            self.lane = Lane::Waiting { until: now, update };
            return Heard::FinalRefused(failure.to_string());
        } else if is_refused {
            // Dropped: the next state or heartbeat says what is true then.
            self.refusals = 0;
        } else {
            self.wait(now, update, random);
        }
        Heard::Failed(failure.to_string())
    }

    fn wait(&mut self, now: Moment, update: Box<JobUpdate>, random: &mut Random) {
        let until = now.after(Backoff::UPDATE.pause(self.failures, random));
        self.lane = Lane::Waiting { until, update };
    }

    fn send(&mut self, update: Box<JobUpdate>, out: &mut Vec<JobEffect>) {
        self.last_nr += 1;
        let nr = self.last_nr;
        out.push(JobEffect::SendUpdate {
            nr,
            update: update.clone(),
        });
        self.lane = Lane::Sent { nr, update };
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::{JobStatus, PandaId};

    use super::*;

    /// A reporter with its effects, and short verbs.
    struct Bench {
        reporter: Reporter,
        random: Random,
        out: Vec<JobEffect>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                reporter: Reporter::new(Moment::START),
                random: Random::new([0; 16]),
                out: Vec::new(),
            }
        }

        fn queue(&mut self, second: u64, status: JobStatus) -> &mut Self {
            let update = JobUpdate::new(PandaId::new(1), None, status);
            self.reporter.queue(at(second), update, &mut self.out);
            self
        }

        fn answer(&mut self, second: u64, nr: UpdateNr) -> Heard {
            let answer = Ok(UpdateAnswer::default());
            self.reporter
                .on_answer(at(second), nr, answer, &mut self.random, &mut self.out)
        }

        fn fail(&mut self, second: u64, nr: UpdateNr, failure: UpdateFailure) -> Heard {
            self.reporter.on_answer(
                at(second),
                nr,
                Err(failure),
                &mut self.random,
                &mut self.out,
            )
        }

        fn timeout(&mut self, second: u64) -> &mut Self {
            self.reporter.on_timeout(at(second), &mut self.out);
            self
        }

        fn sent(&mut self) -> Vec<(UpdateNr, JobStatus)> {
            let sent = std::mem::take(&mut self.out);
            sent.into_iter()
                .map(|effect| {
                    let JobEffect::SendUpdate { nr, update } = effect else {
                        panic!("a reporter only sends");
                    };
                    (nr, update.status)
                })
                .collect()
        }
    }

    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1000)
    }

    fn unreachable() -> UpdateFailure {
        UpdateFailure::Unreachable("refused".into())
    }

    #[test]
    fn one_update_is_under_way_and_the_latest_of_the_waiting_ones_follows() {
        let mut bench = Bench::new();
        bench
            .queue(0, JobStatus::Starting)
            .queue(1, JobStatus::Running)
            .queue(2, JobStatus::Finished);
        assert_eq!(bench.sent(), [(1, JobStatus::Starting)]);
        assert!(matches!(bench.answer(3, 1), Heard::Answer(_)));
        assert!(bench.sent().is_empty());
        bench.reporter.send_next(&mut bench.out);
        assert_eq!(bench.sent(), [(2, JobStatus::Finished)]);
        assert_eq!(bench.answer(4, 2), Heard::FinalDelivered);
    }

    #[test]
    fn a_final_update_takes_the_place_of_what_waits() {
        let mut bench = Bench::new();
        bench
            .queue(0, JobStatus::Starting)
            .queue(1, JobStatus::Running);
        bench.answer(2, 1);
        bench.queue(2, JobStatus::Failed);
        assert_eq!(
            bench.sent(),
            [(1, JobStatus::Starting), (2, JobStatus::Failed)]
        );
        assert_eq!(bench.answer(3, 2), Heard::FinalDelivered);
        bench.reporter.send_next(&mut bench.out);
        assert!(bench.sent().is_empty());
    }

    #[test]
    fn an_answer_to_an_old_try_is_nothing() {
        let mut bench = Bench::new();
        bench.queue(0, JobStatus::Running);
        bench.fail(1, 1, unreachable());
        bench.timeout(10);
        assert_eq!(
            bench.sent(),
            [(1, JobStatus::Running), (2, JobStatus::Running)]
        );
        assert_eq!(bench.answer(11, 1), Heard::Nothing);
        assert!(matches!(bench.answer(12, 2), Heard::Answer(_)));
    }

    #[test]
    fn a_failed_try_is_repeated_after_its_pause_and_not_before() {
        let mut bench = Bench::new();
        bench.queue(0, JobStatus::Finished);
        bench.fail(5, 1, unreachable());
        let due = bench.reporter.next_deadline().expect("a pause");
        assert!(due >= at(6) && due < at(7));
        bench.timeout(5);
        assert_eq!(bench.sent().len(), 1);
        bench.timeout(7);
        assert_eq!(bench.sent(), [(2, JobStatus::Finished)]);
    }

    #[test]
    fn a_final_update_waits_for_no_pause() {
        let mut bench = Bench::new();
        bench.queue(0, JobStatus::Running);
        bench.fail(1, 1, unreachable());
        bench.queue(1, JobStatus::Failed);
        assert_eq!(
            bench.sent(),
            [(1, JobStatus::Running), (2, JobStatus::Failed)]
        );
    }

    #[test]
    fn a_final_update_that_is_refused_again_and_again_is_given_up_but_not_lost() {
        let mut bench = Bench::new();
        bench.queue(0, JobStatus::Failed);
        let refused = || UpdateFailure::Refused("no such job".into());
        assert!(matches!(bench.fail(1, 1, refused()), Heard::Failed(_)));
        bench.timeout(100);
        assert!(matches!(bench.fail(101, 2, refused()), Heard::Failed(_)));
        bench.timeout(200);
        assert!(matches!(
            bench.fail(201, 3, refused()),
            Heard::FinalRefused(_)
        ));
        assert!(bench.reporter.give_up().is_some());
    }

    #[test]
    fn a_heartbeat_that_is_refused_again_and_again_is_dropped() {
        let mut bench = Bench::new();
        bench.queue(0, JobStatus::Running);
        for nr in 1..=REFUSALS_MAX {
            bench.fail(
                u64::from(nr) * 100,
                nr,
                UpdateFailure::Refused("odd".into()),
            );
            bench.timeout(u64::from(nr) * 100 + 90);
        }
        assert_eq!(bench.sent().len(), 3);
        assert_eq!(bench.reporter.next_deadline(), None);
    }
}
