//! What must hold for ranges of events.

use std::collections::BTreeMap;

use ailurus_model::{AttemptNr, EventStatus, JobKind, JobStatus, PandaId, job_tags};

use super::holds;
use crate::{
    ledger::{EventKey, EventRangeRecord, EventRows, JobRecord},
    memory::MemoryLedger,
};

/// Finds the job that leads each set of ranges: jobs that are alone lead their own.
fn leaders(ledger: &MemoryLedger) -> BTreeMap<PandaId, &JobRecord> {
    let leaders = ledger.jobs().filter(|job| job.kind != JobKind::Consumer);
    leaders
        .filter_map(|job| {
            let set = ledger.event_set_of(job.panda_id).ok()?;
            Some((set.unwrap_or(job.panda_id), job))
        })
        .collect()
}

/// E1: a range that somebody has is of the attempt that its job is in, and of no other.
pub fn ranges_are_of_the_current_attempt(ledger: &MemoryLedger) -> Result<(), String> {
    let jobs: BTreeMap<PandaId, _> = ledger.jobs().map(|job| (job.panda_id, job)).collect();
    ledger.event_ranges().try_for_each(|range| {
        let nobody = AttemptNr::new(0);
        let is_right = if range.status.is_held() && range.held_by != nobody {
            jobs.get(&range.named_by()).is_some_and(|job| {
                let is_out = job.status.is_with_pilot()
                    || matches!(job.status, JobStatus::Holding | JobStatus::Transferring);
                let set = ledger.event_set_of(job.panda_id).ok().flatten();
                let is_of_set = set.unwrap_or(job.panda_id) == range.panda_id;
                is_out && is_of_set && job.attempt_nr == range.held_by
            })
        } else {
            range.status != EventStatus::Ready || range.held_by == nobody
        };
        holds(is_right, || {
            format!("{range:?} is of no attempt that goes on")
        })
    })
}

/// E2: when a job has ended, so have all of its ranges, and all jobs that take them.
pub fn ranges_end_with_their_job(ledger: &MemoryLedger) -> Result<(), String> {
    let leaders = leaders(ledger);
    ledger.event_ranges().try_for_each(|range| {
        let Some(job) = leaders.get(&range.panda_id) else {
            return Err(format!("{range:?} is of a job that is not there"));
        };
        let is_open = range.status == EventStatus::Ready || range.status.is_held();
        holds(!job.status.is_terminal() || !is_open, || {
            format!("job {} is {}, but {range:?}", job.panda_id, job.status)
        })
    })?;
    let consumers = ledger.jobs().filter(|job| job.kind == JobKind::Consumer);
    consumers
        .filter(|job| !job.status.is_terminal())
        .try_for_each(|job| {
            let set = ledger.event_set_of(job.panda_id).ok().flatten();
            let leader = set.and_then(|set| leaders.get(&set));
            let is_led = leader.is_some_and(|leader| !leader.status.is_terminal());
            holds(is_led, || {
                format!("job {} is {} without a leader", job.panda_id, job.status)
            })
        })
}

/// E3: what is done stays done, until its job ends badly, or an attempt at the merge does that could
/// not read it; what is merged stays merged. Attempts at a range only rise.
pub fn what_is_done_stays_done(before: &MemoryLedger, after: &MemoryLedger) -> Result<(), String> {
    let name = |range: &EventRangeRecord| -> (PandaId, EventKey) { (range.panda_id, range.key()) };
    let now: BTreeMap<_, _> = after
        .event_ranges()
        .map(|range| (name(range), range))
        .collect();
    let (led_before, led_now) = (leaders(before), leaders(after));
    let has_failed_to_merge = |set: PandaId| {
        let (Some(job), Some(now)) = (led_before.get(&set), led_now.get(&set)) else {
            return false;
        };
        let is_over = now.attempt_nr > job.attempt_nr || now.status.is_terminal();
        job.tags.has(job_tags::EVENT_MERGE) && is_over
    };
    before.event_ranges().try_for_each(|range| {
        let Some(after) = now.get(&name(range)) else {
            let is_dropped = after.is_dropped(range.panda_id);
            return holds(is_dropped, || format!("{range:?} is gone"));
        };
        let is_right = match range.status {
            EventStatus::Done => {
                let stays = matches!(
                    after.status,
                    EventStatus::Done | EventStatus::Merged | EventStatus::Discarded
                );
                stays || has_failed_to_merge(range.panda_id)
            }
            EventStatus::Merged => after.status == EventStatus::Merged,
            EventStatus::Ready
            | EventStatus::Sent
            | EventStatus::Running
            | EventStatus::Finished
            | EventStatus::Failed
            | EventStatus::Discarded
            | EventStatus::Cancelled
            | EventStatus::Fatal
            | EventStatus::Corrupted => true,
        };
        holds(is_right && after.attempt_nr >= range.attempt_nr, || {
            format!("{range:?} became {after:?}")
        })
    })
}
