//! What follows when an attempt ends that took ranges of events.
//!
//! ```text
//! ranges are left and may be tried again ─► the next attempt takes them, if the job has one
//! none is left, others of its set hold some ─► it rests until they end
//! none is left, some are done ─┬─► the next attempt of the leader merges
//!                              └─► failed, if some cannot be done and all are wanted
//! none is done ─► failed
//! ```
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`,
//! `ppEventServiceJob` and `archiveJob`.

use ailurus_model::{ByteCount, EventStatus, JobStatus, PandaId, job_tags};

use super::{EventRole, NOBODY, make::release, redo::BeforeMerge, set::is_out, set_of};
use crate::{
    kill::is_killed,
    ledger::{AttemptRecord, EventCounts, EventRangeRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// PanDA's number for a job that ends with ranges that are not done (`taskBufferErrorCode`).
const LAST_UNPROCESSED: u32 = 118;
/// PanDA's number for a job of which no range could be done.
const ALL_FAILED: u32 = 119;
/// Priority of a merge.
const MERGE_PRIORITY: i64 = 5000;
/// Memory of a merge in MiB.
const MERGE_MEMORY_MIB: u64 = 2000;
/// The sub-status of a merge without the ranges that cannot be done.
const PARTIAL: &str = "partial";

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Another attempt takes what is left.
    Take { left: u64 },
    /// Others of its set hold ranges, or will take those that are left: why it waits for them.
    Rest(String),
    /// Another attempt merges what is done.
    Merge { lost: u64 },
    /// Nothing: PanDA's number of why, and why.
    Fail(u32, String),
}

/// Who else may take ranges of the same set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Nobody.
    None,
    /// Another job.
    Some,
}

fn next_of(counts: &EventCounts, job: &JobRecord, others: Others) -> Next {
    let count = |status| counts.get(&status).copied().unwrap_or(0);
    let left = count(EventStatus::Ready);
    let lost = count(EventStatus::Fatal) + count(EventStatus::Corrupted);
    let done = count(EventStatus::Done) + count(EventStatus::Merged);
    if left > 0 {
        return if job.attempt_nr.value() < job.max_attempts {
            Next::Take { left }
        } else if others == Others::Some {
            let why = format!("{left} ranges of events are left, for other jobs to take");
            Next::Rest(why)
        } else {
            let why = format!(
                "{left} ranges of events are not done after the last of {} attempts",
                job.max_attempts
            );
            Next::Fail(LAST_UNPROCESSED, why)
        };
    }
    let held: u64 = counts
        .iter()
        .filter_map(|(status, n)| status.is_held().then_some(n))
        .sum();
    if held > 0 {
        return Next::Rest(format!("other jobs work on {held} ranges of events"));
    }
    if done == 0 {
        let why = match lost {
            0 => "the job has no ranges of events".to_owned(),
            lost => format!("all {lost} ranges of events failed"),
        };
        return Next::Fail(ALL_FAILED, why);
    }
    if lost > 0 && !job.tags.has(job_tags::ACCEPT_PARTIAL) {
        let why = format!("{lost} ranges of events failed as often as they may be tried");
        return Next::Fail(LAST_UNPROCESSED, why);
    }
    Next::Merge { lost }
}

impl<L: Ledger> Operation<'_, L> {
    /// Ends an attempt that has taken ranges and says that all went well.
    pub(crate) fn end_taking_attempt(
        &mut self,
        job: JobRecord,
        mut attempt: AttemptRecord,
    ) -> Result<(), LedgerError> {
        self.note_place(&job, &attempt.queue, JobStatus::Finished)?;
        // Only the merge finishes the job.
        attempt.status = JobStatus::Closed;
        attempt.ended = Some(self.ctx.now);
        self.ledger.put_attempt(&attempt)?;
        self.go_on_with_events(job, "")
    }

    /// Settles the ranges of a job whose attempt has just ended, and has what follows happen.
    /// `why` says why the attempt ended, empty if it did well.
    pub(crate) fn go_on_with_events(
        &mut self,
        mut job: JobRecord,
        why: &str,
    ) -> Result<(), LedgerError> {
        self.settle_ranges(&job)?;
        let counts = self
            .ledger
            .event_counts(set_of(self.ledger, job.panda_id)?)?;
        let mates = self.mates_of(&job)?;
        let mut others = Others::None;
        for mate in &mates {
            if self.may_take(mate)? {
                others = Others::Some;
            }
        }
        let joined = |what: String| match why {
            "" => what,
            why => clipped(&format!("{what}; {why}"), DIAG_CHARS_MAX),
        };
        match next_of(&counts, &job, others) {
            Next::Fail(code, what) => self.fail_set(job, code, joined(what)),
            Next::Rest(what) => {
                self.rest(job, &joined(what))?;
                self.wake_one(&counts, mates)
            }
            Next::Take { left } => {
                job.priority = job.priority.saturating_add(1);
                job.sub_status.clear();
                let why = joined(format!("{left} ranges of events are left"));
                self.go_on_again(&mut job, &why)
            }
            Next::Merge { lost } => {
                let why = joined("all ranges of events are done".to_owned());
                self.rest_waiting(mates, &why)?;
                self.merge_set(job, lost, &why)
            }
        }
    }

    /// Ends the leader of a job, because no more of its ranges can be done, and all with it.
    fn fail_set(&mut self, job: JobRecord, code: u32, why: String) -> Result<(), LedgerError> {
        let mut leader = self.leader_of(&job)?;
        self.ledger.put_job(&job)?;
        leader.server_code = code;
        leader.reason = why;
        let status = if is_killed(&leader) {
            JobStatus::Cancelled
        } else {
            JobStatus::Failed
        };
        self.end_attempt_as(&leader, status)?;
        self.end_without_outputs(leader, status)
    }

    /// Has the leader of a job merge what is done. One that a pilot has does so when its attempt
    /// ends.
    fn merge_set(&mut self, job: JobRecord, lost: u64, why: &str) -> Result<(), LedgerError> {
        let leader = self.leader_of(&job)?;
        let mut leader = if leader.panda_id == job.panda_id {
            job
        } else {
            self.rest(job, why)?;
            leader
        };
        let is_under_way = is_out(leader.status) && self.attempt(&leader)?.ended.is_none();
        if is_under_way || EventRole::of(&leader.tags) != EventRole::Takes {
            return Ok(());
        }
        self.turn_into_merge(&mut leader)?;
        let why = if lost == 0 {
            leader.sub_status.clear();
            "all ranges of events are done, their outputs are merged".to_owned()
        } else {
            PARTIAL.clone_into(&mut leader.sub_status);
            format!("all ranges of events but {lost} are done, their outputs are merged")
        };
        self.go_on_again(&mut leader, &why)
    }

    fn turn_into_merge(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        let attempts = self.spec(job.task_id)?.max_attempts.max(1);
        self.keep_before_merge(job, &BeforeMerge::of(job))?;
        job.tags.remove(job_tags::EVENT_SERVICE);
        job.tags.insert(job_tags::EVENT_MERGE);
        job.max_attempts = job.attempt_nr.value().saturating_add(attempts);
        job.priority = MERGE_PRIORITY;
        job.cores = 1;
        job.memory = ByteCount::from_mib(MERGE_MEMORY_MIB);
        self.class_of(job.cores, job.memory)
            .clone_into(&mut job.resource_type);
        Ok(())
    }

    /// Takes back the ranges that a job has whose attempt has ended.
    pub(crate) fn settle_ranges(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        let counts_ends = !job.tags.has(job_tags::COUNT_FAILURES_ONLY);
        let give_back = |range: &mut EventRangeRecord, is_counted: bool| {
            if is_counted {
                range.attempts_left = range.attempts_left.saturating_sub(1);
            }
            if range.attempts_left == 0 {
                range.status = EventStatus::Fatal;
            } else {
                release(range);
            }
        };
        let id = job.panda_id;
        // What no attempt has was reported before it was given out.
        let is_its = |range: &EventRangeRecord| range.named_by() == id || range.held_by == NOBODY;
        let set = set_of(self.ledger, id)?;
        let held = [
            EventStatus::Sent,
            EventStatus::Running,
            EventStatus::Finished,
            EventStatus::Failed,
        ];
        self.change_ranges(set, &held, |range| {
            let is_its = is_its(range);
            match range.status {
                EventStatus::Finished if is_its => range.status = EventStatus::Done,
                EventStatus::Failed if is_its => give_back(range, true),
                EventStatus::Sent | EventStatus::Running if is_its => {
                    give_back(range, counts_ends);
                }
                EventStatus::Sent
                | EventStatus::Running
                | EventStatus::Finished
                | EventStatus::Failed
                | EventStatus::Ready
                | EventStatus::Done
                | EventStatus::Merged
                | EventStatus::Discarded
                | EventStatus::Cancelled
                | EventStatus::Fatal
                | EventStatus::Corrupted => {}
            }
            is_its
        })?;
        Ok(())
    }

    /// Ends the ranges of a job that has ended without outputs.
    pub(crate) fn end_ranges(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        let role = EventRole::of(&job.tags);
        if !role.takes_ranges() {
            // What a failed merge would have merged stays, for another one.
            return Ok(());
        }
        let open = [
            EventStatus::Ready,
            EventStatus::Sent,
            EventStatus::Running,
            EventStatus::Failed,
        ];
        let set = set_of(self.ledger, job.panda_id)?;
        self.become_in(set, &open, EventStatus::Cancelled)?;
        let kept = if job.tags.has(job_tags::KEEP_EVENTS) {
            EventStatus::Done
        } else {
            EventStatus::Discarded
        };
        let written = [EventStatus::Finished, EventStatus::Done];
        self.become_in(set, &written, kept)
    }

    /// Gives the ranges of a set that have one of these statuses another one.
    fn become_in(
        &mut self,
        set: PandaId,
        from: &[EventStatus],
        to: EventStatus,
    ) -> Result<(), LedgerError> {
        self.change_ranges(set, from, |range| {
            let is_other = range.status != to;
            range.status = to;
            is_other
        })?;
        Ok(())
    }

    /// Notes that the outputs of a job's ranges are part of its outputs.
    pub(crate) fn finish_ranges(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        match EventRole::of(&job.tags) {
            EventRole::None | EventRole::Takes => {}
            EventRole::Merges => {
                let set = set_of(self.ledger, job.panda_id)?;
                self.become_in(set, &[EventStatus::Done], EventStatus::Merged)?;
            }
            EventRole::TakesBeside => {
                self.settle_ranges(job)?;
                let set = set_of(self.ledger, job.panda_id)?;
                self.become_in(set, &[EventStatus::Ready], EventStatus::Cancelled)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::tests::job_with;

    fn counts(ready: u64, done: u64, fatal: u64) -> EventCounts {
        let all = [
            (EventStatus::Ready, ready),
            (EventStatus::Done, done),
            (EventStatus::Fatal, fatal),
        ];
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    #[test]
    fn what_is_left_is_taken_while_there_are_attempts() {
        let job = |attempt| job_with("eventservice", attempt, 3);
        let next = next_of(&counts(2, 5, 0), &job(2), Others::None);
        assert_eq!(next, Next::Take { left: 2 });
        let Next::Fail(code, why) = next_of(&counts(2, 5, 0), &job(3), Others::None) else {
            panic!("there are no more attempts");
        };
        assert_eq!(code, LAST_UNPROCESSED);
        assert_eq!(
            why,
            "2 ranges of events are not done after the last of 3 attempts"
        );
    }

    #[test]
    fn what_is_done_is_merged_without_the_rest_only_if_that_is_accepted() {
        let all = job_with("eventservice", 3, 3);
        let partial = job_with("eventservice,ap", 3, 3);
        assert_eq!(
            next_of(&counts(0, 5, 0), &all, Others::None),
            Next::Merge { lost: 0 }
        );
        assert!(matches!(
            next_of(&counts(0, 5, 1), &all, Others::None),
            Next::Fail(..)
        ));
        assert_eq!(
            next_of(&counts(0, 5, 1), &partial, Others::None),
            Next::Merge { lost: 1 }
        );
        let Next::Fail(code, _) = next_of(&counts(0, 0, 4), &partial, Others::None) else {
            panic!("nothing is done");
        };
        assert_eq!(code, ALL_FAILED);
    }
}
