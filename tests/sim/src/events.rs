//! Payloads that take ranges of events: some while the job runs, the rest before it ends.
//!
//! What the payload says about ranges does not go through the pilot's core; here it happens with the
//! pilot's own updates. Ranges fail, and what was done is lost on its way.

use ailurus_model::{
    EventItem, EventMessage, EventReport, GivenRange, JobStatus, JobUpdate, event::EventOutcome,
    job_tags,
};
use ailurus_server_core::{EventVersion, acquire_event_ranges, update_event_ranges};

use crate::{faults::Fault, world::World};

/// Ranges that a payload takes at most at a time.
const RANGES_MAX: u32 = 3;
/// How often it asks before the job ends: more often than any job has ranges.
const ROUNDS_MAX: u32 = 100;

impl World {
    /// Has the payload of a job take and do ranges, if the job is one that does.
    pub(crate) fn do_events(&mut self, update: &JobUpdate) {
        let is_last = update.status == JobStatus::Finished;
        let rounds = if is_last { ROUNDS_MAX } else { 1 };
        let id = update.panda_id;
        for _ in 0..rounds {
            let job = self.job_row(id).filter(|job| {
                let is_current = update.attempt_nr.is_none_or(|nr| nr == job.attempt_nr);
                job.tags.has(job_tags::EVENT_SERVICE) && is_current
            });
            if job.is_none() {
                return;
            }
            let n = self.chance.count(1, RANGES_MAX);
            let n = usize::try_from(n).unwrap_or(1);
            let now = self.wall_clock();
            let (ctx, ledger) = self.server.parts(now, self.catalogue);
            let given = acquire_event_ranges(&ctx, ledger, id, None, n);
            let ranges = self.expect_rows(given).unwrap_or_default();
            if ranges.is_empty() {
                return;
            }
            self.report_events(&ranges);
        }
    }

    fn report_events(&mut self, ranges: &[GivenRange]) {
        let mut message = EventMessage::default();
        for range in ranges {
            if self.strikes(Fault::RequestLost) {
                continue;
            }
            let outcome = if self.strikes(Fault::PayloadFails) {
                EventOutcome::Failed
            } else {
                EventOutcome::Finished
            };
            message.items.push(EventItem::Outcome(EventReport {
                id: range.id,
                outcome,
                object_store: "1".to_owned(),
                path_convention: None,
                error_code: None,
                error_diag: String::new(),
                archive: None,
            }));
        }
        let (id, n) = (ranges[0].id.panda_id, ranges.len());
        self.say("payload", format_args!("job {id} has done {n} ranges"));
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let told = update_event_ranges(&ctx, ledger, &message, EventVersion::AfterDispatch);
        self.expect_rows(told);
    }
}
