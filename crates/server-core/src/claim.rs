//! Which of the waiting jobs that fit a pilot are given out first, and what a request says of its
//! queue.

use std::time::Duration;

use ailurus_model::{ByteCount, JobRequest, PandaId, Queue, QueueName};

use crate::{
    ledger::{ClaimFilter, ClaimOrder, Ledger, LedgerError},
    operation::Operation,
};

/// How often it is noted that a queue lives: more often would cost a write for each request.
const PULSE_INTERVAL: Duration = Duration::from_secs(60);
/// How the workflows of queues begin whose jobs come before their workers.
const PUSH: &str = "push";

impl<L: Ledger> Operation<'_, L> {
    /// Lists the jobs to give out: share by share, those that need it most first. Now and then,
    /// where there are shares, it is the oldest jobs instead.
    ///
    /// Source: PanDA server, `getJobs` and `SLOPPY_DISPATCH_RATIO`.
    pub(crate) fn claim(
        &self,
        filter: ClaimFilter<'_>,
        request: &JobRequest,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let scheduling = self.ctx.scheduling;
        let percent = u64::from(scheduling.sloppy_percent);
        if !scheduling.shares.is_empty() && self.dice(request) % 100 <= percent {
            return self.ledger.claimable(&filter, limit);
        }
        let mut shares = self.ledger.waiting_shares(filter.queue)?;
        if shares.len() > 1 {
            let order = self.ledger.share_order()?;
            // What no share is for comes last.
            let place = |share: &String| {
                let place = order.iter().position(|leaf| leaf == share);
                place.unwrap_or(usize::MAX)
            };
            shares.sort_by_key(place);
        }
        let mut ids = Vec::new();
        for share in &shares {
            if ids.len() >= limit {
                break;
            }
            let of_share = ClaimFilter {
                order: ClaimOrder::ByNeed { share },
                ..filter.clone()
            };
            ids.extend(self.ledger.claimable(&of_share, limit - ids.len())?);
        }
        Ok(ids)
    }

    /// Returns how much memory a core of a new job may have: on push queues what the queue wants on
    /// average, once its running jobs have more than that; zero for no limit.
    ///
    /// Source: PanDA server, `getJobs`, and `IGNORE_MEANRSS`.
    pub(crate) fn core_memory_left(&self, queue: &Queue) -> Result<ByteCount, LedgerError> {
        let terms = &queue.options.terms;
        let wanted = terms.memory_mean;
        if wanted == ByteCount::ZERO
            || !terms.workflow.starts_with(PUSH)
            || self.ctx.scheduling.streaming.ignores_mean_memory
        {
            return Ok(ByteCount::ZERO);
        }
        let (memory, cores) = self.ledger.running_memory(&queue.name)?;
        let is_above = memory.as_bytes() > wanted.as_bytes().saturating_mul(cores);
        Ok(if is_above { wanted } else { ByteCount::ZERO })
    }

    /// A number that follows from time and request, and looks random.
    fn dice(&self, request: &JobRequest) -> u64 {
        let text = request
            .queue
            .as_str()
            .bytes()
            .chain(request.node.as_str().bytes());
        let millis = self.ctx.now.as_millis().unsigned_abs();
        // FNV-1a, then mixed once more so that neighbouring times differ.
        let hash = millis
            .to_le_bytes()
            .into_iter()
            .chain(text)
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }

    /// Notes that a pilot asked at a queue, and whether jobs start there.
    pub(crate) fn note_pulse(
        &mut self,
        queue: &QueueName,
        given: &[PandaId],
    ) -> Result<(), LedgerError> {
        let now = self.ctx.now;
        let mut pulse = self.ledger.pulse(queue)?;
        let is_old = |time: Option<ailurus_model::Timestamp>| {
            time.is_none_or(|time| now.since(time) >= PULSE_INTERVAL)
        };
        let starts = !given.is_empty();
        let is_news = is_old(pulse.pilot_seen) || (starts && is_old(pulse.job_started));
        if !is_news {
            return Ok(());
        }
        pulse.pilot_seen = Some(now);
        if starts {
            pulse.job_started = Some(now);
        }
        self.ledger.put_pulse(queue, pulse)
    }
}
