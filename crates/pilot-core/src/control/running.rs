//! A payload that runs: when to look at it, what its samples mean, and its end.

use ailurus_experiment::Limits;
use ailurus_model::Moment;

use crate::{
    JobEffect, Problem,
    monitoring::{JobLimits, Sample, SampleScope, UsageMeter},
    payload::ending::{EndReason, Ending, PayloadSignal, Step},
};

/// The first look comes early, so that also short payloads are measured, in milliseconds.
const FIRST_SAMPLE_MILLIS: u64 = 1000;

/// A payload that runs.
#[derive(Debug)]
pub(crate) struct Running {
    started: Moment,
    ending: Option<Ending>,
    sampling: Sampling,
    next_files: Moment,
    next_progress_check: Moment,
    /// The last sign of progress.
    last_progress: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    /// The next sample is to be taken then.
    At(Moment),
    /// A sample is being taken.
    UnderWay,
}

impl Running {
    pub(crate) fn new(now: Moment, limits: &Limits) -> Self {
        let first = Moment::from_millis(now.as_millis().saturating_add(FIRST_SAMPLE_MILLIS));
        Self {
            started: now,
            ending: None,
            sampling: Sampling::At(first.min(now.after(limits.sample))),
            next_files: now.after(limits.disk_check),
            next_progress_check: now.after(limits.looping_check),
            last_progress: now,
        }
    }

    pub(crate) const fn started(&self) -> Moment {
        self.started
    }

    pub(crate) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn end_reason(&self) -> Option<&EndReason> {
        self.ending.as_ref().map(Ending::reason)
    }

    /// Begins to end the payload. A second request skips the grace period.
    pub(crate) fn end(
        &mut self,
        now: Moment,
        reason: EndReason,
        limits: &Limits,
        out: &mut Vec<JobEffect>,
    ) {
        if let Some(ending) = &mut self.ending {
            // Only who has a say in how fast the node must be free may hurry.
            if matches!(reason, EndReason::Stop(_))
                && let Step::Signal(signal) = ending.hurry(now)
            {
                out.push(JobEffect::SignalPayload(signal));
            }
            return;
        }
        let grace = match reason {
            EndReason::SoftKill => limits.soft_kill_grace,
            EndReason::Stop(_)
            | EndReason::ServerKill
            | EndReason::Limit(_)
            | EndReason::ServerLost(_)
            | EndReason::Superseded => limits.kill_grace,
        };
        self.ending = Some(Ending::begin(now, reason, grace));
        out.push(JobEffect::SignalPayload(PayloadSignal::Terminate));
    }

    /// Does what is due; says whether the payload must be given up.
    pub(crate) fn on_timeout(
        &mut self,
        now: Moment,
        limits: &Limits,
        out: &mut Vec<JobEffect>,
    ) -> Step {
        if let Some(ending) = &mut self.ending {
            let step = ending.on_timeout(now);
            if let Step::Signal(signal) = step {
                out.push(JobEffect::SignalPayload(signal));
            }
            return step;
        }
        if matches!(self.sampling, Sampling::At(due) if due <= now) {
            self.sampling = Sampling::UnderWay;
            let scope = if self.next_files <= now {
                self.next_files = now.after(limits.disk_check);
                SampleScope::UsageAndFiles
            } else {
                SampleScope::Usage
            };
            out.push(JobEffect::TakeSample(scope));
        }
        Step::Wait
    }

    /// Takes a sample, and returns the limit that it shows to be passed.
    pub(crate) fn on_sample(
        &mut self,
        now: Moment,
        sample: &Sample,
        (limits, job_limits): (&Limits, &JobLimits),
        meter: &mut UsageMeter,
    ) -> Result<(), Problem> {
        self.sampling = Sampling::At(now.after(limits.sample));
        if let Some(usage) = &sample.usage {
            meter.add(now, usage);
        }
        if self.is_ending() {
            return Ok(());
        }
        if let Some(usage) = &sample.usage {
            job_limits.check_usage(usage)?;
        }
        if let Some(files) = &sample.files {
            job_limits.check_files(files)?;
            if let Some(idle) = files.idle {
                self.last_progress = self.last_progress.max(now.before(idle));
            }
            if self.next_progress_check <= now {
                self.next_progress_check = now.after(limits.looping_check);
                job_limits.check_progress(now.since(self.last_progress))?;
            }
        }
        Ok(())
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        match (&self.ending, self.sampling) {
            (Some(ending), _) => ending.next_deadline(),
            (None, Sampling::At(due)) => Some(due),
            (None, Sampling::UnderWay) => None,
        }
    }
}
