//! A payload that runs: when to look at it, what its samples mean, and its end.

use std::time::Duration;

use ailurus_experiment::Limits;
use ailurus_model::Moment;

use crate::{
    JobEffect, Problem,
    monitoring::{FilesSample, JobLimits, KillFile, Sample, SampleScope, check_slot},
    payload::ending::{EndReason, Ending, PayloadSignal, Step},
};

/// The first look comes early, so that also short payloads are measured, in milliseconds.
const FIRST_SAMPLE_MILLIS: u64 = 1000;
/// A sample that is taken so much too late tells that the pilot itself was stopped meanwhile.
///
/// Source: Pilot 3, `pilot/util/heartbeat.py`.
const SUSPENSION_MIN: Duration = Duration::from_secs(600);
/// Time between two lines of the log that say what the payload uses.
const USAGE_LINE_PERIOD: Duration = Duration::from_secs(600);

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
    next_usage_line: Moment,
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
            next_usage_line: now,
        }
    }

    /// Says whether the log should tell what the payload uses, once for each time it should.
    pub(crate) fn wants_usage_line(&mut self, now: Moment) -> bool {
        let is_due = self.next_usage_line <= now;
        if is_due {
            self.next_usage_line = now.after(USAGE_LINE_PERIOD);
        }
        is_due
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
            | EndReason::KillFile
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
        if let Sampling::At(due) = self.sampling
            && due <= now
        {
            self.sampling = Sampling::UnderWay;
            // What a stopped payload did not write is no sign of a loop.
            let late = now.since(due);
            if late > SUSPENSION_MIN {
                self.last_progress = self.last_progress.after(late);
            }
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

    /// Takes a sample, and returns why the payload must be ended, if it must.
    pub(crate) fn on_sample(
        &mut self,
        now: Moment,
        sample: &Sample,
        (limits, job_limits): (&Limits, &JobLimits),
    ) -> Option<EndReason> {
        self.sampling = Sampling::At(now.after(limits.sample));
        if self.is_ending() {
            return None;
        }
        let usage = sample.usage.as_ref();
        let over = |problem: Problem| Some(EndReason::Limit(problem));
        if let Some(Err(problem)) = usage.map(|usage| job_limits.check_usage(usage)) {
            return over(problem);
        }
        if let Some(files) = &sample.files {
            if files.kill_file == KillFile::Present {
                return Some(EndReason::KillFile);
            }
            if let Err(problem) = self.check_files(now, files, (limits, job_limits)) {
                return over(problem);
            }
        }
        check_slot(&sample.slot).err().and_then(over)
    }

    fn check_files(
        &mut self,
        now: Moment,
        files: &FilesSample,
        (limits, job_limits): (&Limits, &JobLimits),
    ) -> Result<(), Problem> {
        if let Some(idle) = files.idle {
            self.last_progress = self.last_progress.max(now.before(idle));
        }
        if self.next_progress_check <= now {
            self.next_progress_check = now.after(limits.looping_check);
            job_limits.check_progress(now.since(self.last_progress))?;
        }
        job_limits.check_files(files)
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        match (&self.ending, self.sampling) {
            (Some(ending), _) => ending.next_deadline(),
            (None, Sampling::At(due)) => Some(due),
            (None, Sampling::UnderWay) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::ErrorCode;

    use super::*;
    use crate::{
        control::testing::{job, site},
        monitoring::SlotSample,
    };

    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1000)
    }

    fn files() -> FilesSample {
        FilesSample {
            free_space: ailurus_model::ByteCount::from_gib(100),
            ..FilesSample::default()
        }
    }

    fn judge(running: &mut Running, second: u64, sample: &Sample) -> Option<EndReason> {
        let limits = Limits::default();
        let job_limits = JobLimits::of(&job(1), &site().queue, &limits, (None, None));
        running.on_sample(at(second), sample, (&limits, &job_limits))
    }

    fn with_files(files: FilesSample) -> Sample {
        Sample {
            files: Some(files),
            ..Sample::default()
        }
    }

    #[test]
    fn a_kill_file_ends_the_payload() {
        let mut running = Running::new(at(0), &Limits::default());
        let asked = with_files(FilesSample {
            kill_file: KillFile::Present,
            ..files()
        });
        assert_eq!(judge(&mut running, 10, &with_files(files())), None);
        assert_eq!(judge(&mut running, 70, &asked), Some(EndReason::KillFile));
    }

    #[test]
    fn the_end_of_the_slot_ends_the_payload() {
        let mut running = Running::new(at(0), &Limits::default());
        let sample = Sample {
            slot: SlotSample {
                shuts_down_in: Some(Duration::from_secs(60)),
                ends_in: None,
            },
            ..Sample::default()
        };
        let reason = judge(&mut running, 10, &sample);
        let code = reason.and_then(|reason| Some(reason.problem()?.code));
        assert_eq!(code, Some(ErrorCode::ReachedMaxTime));
    }

    #[test]
    fn time_in_which_the_pilot_was_stopped_is_no_loop() {
        let sample = with_files(files());
        let seconds_until_loop = |stopped: u64| {
            let mut running = Running::new(at(0), &Limits::default());
            running.on_timeout(at(1 + stopped), &Limits::default(), &mut Vec::new());
            (1..)
                .map(|step| 1 + stopped + step * 60)
                .find(|second| judge(&mut running, *second, &sample).is_some())
                .expect("a loop in the end")
                - stopped
        };
        let undisturbed = seconds_until_loop(0);
        assert!((7200..9000).contains(&undisturbed), "{undisturbed}");
        assert!(seconds_until_loop(500) < undisturbed);
        assert!(seconds_until_loop(36_000) + 60 >= undisturbed);
    }

    #[test]
    fn the_log_tells_now_and_then_what_the_payload_uses() {
        let mut running = Running::new(at(0), &Limits::default());
        let told: Vec<u64> = (0..1300)
            .filter(|it| running.wants_usage_line(at(*it)))
            .collect();
        assert_eq!(told, [0, 600, 1200]);
    }
}
