//! Jobs that take from one set of ranges side by side (PanDA's event service consumers).
//!
//! ```text
//! leader    ─ takes ─ ends ─ rests ─ merges ─► finished
//! consumer  ─ takes ─ ends ─ rests ──────────► ends with its leader
//! ```
//!
//! The *leader* does a part of its task's work, and is the one that merges. Its *consumers* are jobs
//! of [`JobKind::Consumer`]. Each has attempts of its own. One that has nothing to take while others
//! still hold ranges *rests*: it is pending, and goes on if ranges come back that nobody else will
//! take. All of them end with the leader, and whoever ends one of them ends all.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`, `increaseEventServiceConsumers`;
//! `task_event_module.py`, `killEventServiceConsumers`, `killUnusedEventServiceConsumers`. There one
//! that rests is `merging` with the same sub-status.

use ailurus_model::{AttemptNr, EventStatus, JobKind, JobStatus, PandaId};

use super::{EventRole, set_of};
use crate::{
    ledger::{EventCounts, JobRecord, Ledger, LedgerError},
    operation::Operation,
    report::{N_EVENTS, Report},
    text::{DIAG_CHARS_MAX, clipped},
};

/// The sub-status of a job that rests.
const RESTING: &str = "es_wait";
/// What a consumer is told by when its leader ends: sub-status and PanDA's number.
const MERGED: (&str, u32) = ("es_merge", 112);
const UNUSED: (&str, u32) = ("es_unused", 116);
const KILLED_WITH: (&str, u32) = ("es_killed", 120);
const ABORTED_WITH: (&str, u32) = ("es_aborted", 121);

/// Says whether a job waits for others that hold ranges of its set.
pub(crate) fn is_resting(job: &JobRecord) -> bool {
    job.status == JobStatus::Pending && job.sub_status == RESTING
}

impl<L: Ledger> Operation<'_, L> {
    /// Lists the other jobs of a set that have not ended.
    pub(crate) fn mates_of(&self, job: &JobRecord) -> Result<Vec<JobRecord>, LedgerError> {
        let Some(set) = self.ledger.event_set_of(job.panda_id)? else {
            return Ok(Vec::new());
        };
        let mut mates = Vec::new();
        for id in self.ledger.event_members(set)? {
            if id == job.panda_id {
                continue;
            }
            let mate = self.job(id)?;
            if !mate.status.is_terminal() {
                mates.push(mate);
            }
        }
        Ok(mates)
    }

    /// Returns the job that does the part of its task's work, whatever has become of it.
    pub(super) fn leader_of(&self, job: &JobRecord) -> Result<JobRecord, LedgerError> {
        if job.kind != JobKind::Consumer {
            return Ok(job.clone());
        }
        let set = set_of(self.ledger, job.panda_id)?;
        for id in self.ledger.event_members(set)? {
            let member = self.job(id)?;
            if member.kind != JobKind::Consumer {
                return Ok(member);
            }
        }
        Err(LedgerError::contradiction(format!(
            "job {} takes ranges of set {set}, which has no leader",
            job.panda_id
        )))
    }

    /// Says whether another job of the set is with a pilot.
    pub(crate) fn has_mate_at_work(&self, job: &JobRecord) -> Result<bool, LedgerError> {
        let mates = self.mates_of(job)?;
        Ok(mates.iter().any(|mate| is_out(mate.status)))
    }

    /// Says whether a job may still take ranges, now or when it is woken.
    pub(super) fn may_take(&self, job: &JobRecord) -> Result<bool, LedgerError> {
        if EventRole::of(&job.tags) != EventRole::Takes {
            return Ok(false);
        }
        let has_next = job.attempt_nr.value() < job.max_attempts;
        Ok(!is_resting(job) || has_next || !self.has_used_attempt(job)?)
    }

    /// Says whether the attempt that a job is in was given out.
    pub(super) fn has_used_attempt(&self, job: &JobRecord) -> Result<bool, LedgerError> {
        let attempt = self.ledger.attempt(job.panda_id, job.attempt_nr)?;
        Ok(attempt.is_some())
    }

    /// Has a job wait for the others of its set.
    pub(super) fn rest(&mut self, mut job: JobRecord, why: &str) -> Result<(), LedgerError> {
        if job.status == JobStatus::Activated {
            self.take_back(&mut job)?;
        }
        RESTING.clone_into(&mut job.sub_status);
        job.reason = clipped(why, DIAG_CHARS_MAX);
        job.queue = None;
        job.command = None;
        job.worker = None;
        self.set_status(&mut job, JobStatus::Pending, why)?;
        self.touched.insert(job.task_id);
        self.ledger.put_job(&job)
    }

    /// Has those jobs rest that no pilot has.
    pub(super) fn rest_waiting(
        &mut self,
        mates: Vec<JobRecord>,
        why: &str,
    ) -> Result<(), LedgerError> {
        for mate in mates {
            let is_waiting = !is_out(mate.status) && !is_resting(&mate);
            if is_waiting && EventRole::of(&mate.tags) == EventRole::Takes {
                self.rest(mate, why)?;
            }
        }
        Ok(())
    }

    /// Has one job go on that rests, if ranges are left which nobody else will take.
    pub(super) fn wake_one(
        &mut self,
        counts: &EventCounts,
        mates: Vec<JobRecord>,
    ) -> Result<(), LedgerError> {
        if !counts.contains_key(&EventStatus::Ready) || !mates.iter().all(is_resting) {
            return Ok(());
        }
        for mut mate in mates {
            if self.may_take(&mate)? {
                mate.sub_status.clear();
                let why = "another job left ranges of events";
                return self.go_on_again(&mut mate, why);
            }
        }
        Ok(())
    }

    /// Has a job wait for a pilot again, by its next attempt if it has used the one that it is in.
    pub(super) fn go_on_again(
        &mut self,
        job: &mut JobRecord,
        why: &str,
    ) -> Result<(), LedgerError> {
        if job.status == JobStatus::Activated {
            self.take_back(job)?;
        }
        if self.has_used_attempt(job)? {
            job.attempt_nr = job.attempt_nr.next();
            self.renumber(job)?;
        }
        job.command = None;
        job.worker = None;
        self.set_status(job, JobStatus::Defined, why)?;
        self.place(job)?;
        self.touched.insert(job.task_id);
        Ok(())
    }

    /// Ends the leader of a consumer that somebody has ended, and with it all others.
    pub(crate) fn end_with_consumer(&mut self, consumer: &JobRecord) -> Result<(), LedgerError> {
        let mut leader = self.leader_of(consumer)?;
        if leader.status.is_terminal() {
            return Ok(());
        }
        let id = consumer.panda_id;
        let why = format!(
            "job {id}, which took from the same events, was {}",
            consumer.status
        );
        leader.reason = clipped(&why, DIAG_CHARS_MAX);
        leader.server_code = KILLED_WITH.1;
        self.end_attempt_as(&leader, consumer.status)?;
        self.end_without_outputs(leader, consumer.status)
    }

    /// Ends all consumers of a leader that has ended.
    pub(crate) fn end_consumers(&mut self, leader: &JobRecord) -> Result<(), LedgerError> {
        for mut mate in self.mates_of(leader)? {
            if self.end_if_killed(&mate)? {
                continue;
            }
            let (status, (sub_status, code), why) = self.end_of_consumer(leader, &mate)?;
            self.end_attempt_as(&mate, status)?;
            sub_status.clone_into(&mut mate.sub_status);
            mate.server_code = code;
            mate.reason = clipped(&why, DIAG_CHARS_MAX);
            mate.command = None;
            self.set_status(&mut mate, status, &why)?;
            self.ledger.put_job(&mate)?;
            self.touched.insert(mate.task_id);
        }
        Ok(())
    }

    /// Says how a consumer ends with its leader.
    fn end_of_consumer(
        &self,
        leader: &JobRecord,
        mate: &JobRecord,
    ) -> Result<(JobStatus, (&'static str, u32), String), LedgerError> {
        let id = leader.panda_id;
        Ok(match leader.status {
            JobStatus::Finished | JobStatus::Merging if self.has_done_events(mate)? => {
                let why = format!("what it did was merged by job {id}");
                (JobStatus::Finished, MERGED, why)
            }
            JobStatus::Finished | JobStatus::Merging => {
                let why = "other jobs did all of the events".to_owned();
                (JobStatus::Closed, UNUSED, why)
            }
            JobStatus::Failed => {
                let why = format!("job {id}, which took from the same events, failed");
                (JobStatus::Failed, ABORTED_WITH, why)
            }
            JobStatus::Cancelled
            | JobStatus::Closed
            | JobStatus::Pending
            | JobStatus::Defined
            | JobStatus::Assigned
            | JobStatus::Activated
            | JobStatus::Sent
            | JobStatus::Starting
            | JobStatus::Running
            | JobStatus::Holding
            | JobStatus::Transferring => {
                let status = leader.status;
                let why = format!("job {id}, which took from the same events, was {status}");
                (status, KILLED_WITH, why)
            }
        })
    }

    /// Says whether any attempt of a job has done events.
    fn has_done_events(&self, job: &JobRecord) -> Result<bool, LedgerError> {
        for nr in (1..=job.attempt_nr.value()).rev() {
            let attempt = self.ledger.attempt(job.panda_id, AttemptNr::new(nr))?;
            let n = attempt.and_then(|one| Report::of_text(&one.report).number(N_EVENTS));
            if n.is_some_and(|n| n > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What follows when a job has asked for ranges.
    pub(super) fn after_taking(
        &mut self,
        job: JobRecord,
        got_some: bool,
    ) -> Result<(), LedgerError> {
        let Some(set) = self.ledger.event_set_of(job.panda_id)? else {
            return Ok(());
        };
        if EventRole::of(&job.tags) != EventRole::Takes {
            return if got_some {
                self.note_taken(job)
            } else {
                Ok(())
            };
        }
        let ready = [EventStatus::Ready];
        if !self
            .ledger
            .event_ranges_in(set, &ready, None, 1)?
            .is_empty()
        {
            return Ok(());
        }
        let mates = self.mates_of(&job)?;
        self.rest_waiting(mates, "other jobs have taken all ranges of events")
    }

    /// Lists all jobs that took from a set of ranges, a job itself if it is alone.
    pub(crate) fn takers_of(&self, job: PandaId) -> Result<Vec<PandaId>, LedgerError> {
        Ok(match self.ledger.event_set_of(job)? {
            Some(set) => self.ledger.event_members(set)?,
            None => vec![job],
        })
    }
}

/// Says whether an attempt of a job with this status is under way.
pub(super) const fn is_out(status: JobStatus) -> bool {
    status.is_with_pilot() || matches!(status, JobStatus::Holding | JobStatus::Transferring)
}
