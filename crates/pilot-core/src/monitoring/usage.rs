//! From samples to the summary that goes to the server.

use std::time::Duration;

use ailurus_model::{
    ByteCount, Moment, Timestamp,
    units::format_duration,
    usage::{MemoryUse, UsageSample, UsageSummary},
};
use serde::{Deserialize, Serialize};

use super::{
    Machine, Sample,
    leak::{Leak, MemoryCurve, Tails},
};

/// Gathers samples of one payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "UsageSummary", into = "UsageSummary")]
pub struct UsageMeter {
    summary: UsageSummary,
    sums: [u128; 4],
    first: Moment,
    last: UsageSample,
    curve: MemoryCurve,
    processes_max: u32,
    directory_max: ByteCount,
    event_number: Option<u64>,
    energy_joules: Option<u64>,
    machine: Option<Box<Machine>>,
}

impl UsageMeter {
    /// Takes one sample. `time` is the wall-clock time of `now`.
    pub fn add(&mut self, now: Moment, time: Timestamp, sample: &Sample) {
        if let Some(usage) = &sample.usage {
            self.add_usage(now, usage);
            self.curve.add(time, usage.pss.plus(usage.swap));
        }
        if let Some(files) = &sample.files {
            let own = files.total.as_bytes();
            let own = own.saturating_sub(files.transferred.as_bytes());
            self.directory_max = self.directory_max.max(ByteCount::from_bytes(own));
            self.event_number = files.event_number.or(self.event_number);
        }
        self.energy_joules = sample.energy_joules.max(self.energy_joules);
        if let Some(machine) = &sample.machine {
            self.machine = Some(machine.clone());
        }
    }

    fn add_usage(&mut self, now: Moment, sample: &UsageSample) {
        if self.summary.n_samples == 0 {
            self.first = now;
        }
        let memory = [sample.rss, sample.pss, sample.vmem, sample.swap];
        for (sum, size) in self.sums.iter_mut().zip(memory) {
            *sum += u128::from(size.as_bytes());
        }
        self.last = *sample;
        self.processes_max = self.processes_max.max(sample.n_processes);
        let summary = &mut self.summary;
        summary.n_samples += 1;
        let max = &mut summary.max;
        max.rss = max.rss.max(sample.rss);
        max.pss = max.pss.max(sample.pss);
        max.vmem = max.vmem.max(sample.vmem);
        max.swap = max.swap.max(sample.swap);
        // Counters of ended processes may be missing from a sample, so a total never falls.
        summary.read_chars = summary.read_chars.max(sample.read_chars);
        summary.write_chars = summary.write_chars.max(sample.write_chars);
        summary.read_bytes = summary.read_bytes.max(sample.read_bytes);
        summary.write_bytes = summary.write_bytes.max(sample.write_bytes);
        summary.span = now.since(self.first);
        summary.cpu = summary
            .cpu
            .max(sample.cpu_user.saturating_add(sample.cpu_system));
    }

    /// Takes the CPU time that the system counted at the payload's end.
    pub fn set_cpu(&mut self, cpu: Duration) {
        self.summary.cpu = self.summary.cpu.max(cpu);
    }

    /// Returns the CPU time so far, zero if unknown.
    #[must_use]
    pub const fn cpu(&self) -> Duration {
        self.summary.cpu
    }

    /// Returns the largest size of the job's directory without inputs and outputs.
    #[must_use]
    pub const fn directory_max(&self) -> ByteCount {
        self.directory_max
    }

    /// Returns the event that the payload worked on last, if it writes that down.
    #[must_use]
    pub const fn event_number(&self) -> Option<u64> {
        self.event_number
    }

    /// Returns what the node's processors used since the payload's start in joules, if known.
    #[must_use]
    pub const fn energy_joules(&self) -> Option<u64> {
        self.energy_joules
    }

    /// Returns what the machine is, once that was told.
    #[must_use]
    pub fn machine(&self) -> Option<&Machine> {
        self.machine.as_deref()
    }

    /// Fits memory against time.
    #[must_use]
    pub fn leak(&self, tails: Tails) -> Option<Leak> {
        self.curve.leak(tails)
    }

    /// Says in one line for people what the payload uses; none without any sample.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        if self.summary.n_samples == 0 {
            return None;
        }
        let (now, max) = (&self.last, &self.summary.max);
        Some(format!(
            "memory {} (largest {}), CPU time {}, {} processes (most {}), read {}, written {}",
            now.pss,
            max.pss,
            format_duration(Duration::from_secs(self.summary.cpu.as_secs())),
            now.n_processes,
            self.processes_max,
            self.summary.read_bytes,
            self.summary.write_bytes,
        ))
    }

    /// Returns the summary; none without any sample.
    #[must_use]
    pub fn summary(&self) -> Option<UsageSummary> {
        let n_samples = u128::from(self.summary.n_samples);
        let mean = |sum: u128| -> Option<ByteCount> {
            let bytes = sum.checked_div(n_samples)?;
            Some(ByteCount::from_bytes(
                u64::try_from(bytes).unwrap_or(u64::MAX),
            ))
        };
        let [rss, pss, vmem, swap] = self.sums.map(mean);
        Some(UsageSummary {
            mean: MemoryUse {
                rss: rss?,
                pss: pss?,
                vmem: vmem?,
                swap: swap?,
            },
            ..self.summary
        })
    }
}

/// What is written of a meter is its summary.
impl From<UsageMeter> for UsageSummary {
    fn from(meter: UsageMeter) -> Self {
        meter.summary().unwrap_or(meter.summary)
    }
}

/// A meter that is read back goes on from its summary, with mean values rounded down to bytes. What
/// only its own samples tell begins anew.
impl From<UsageSummary> for UsageMeter {
    fn from(summary: UsageSummary) -> Self {
        let n_samples = u128::from(summary.n_samples);
        let MemoryUse {
            rss,
            pss,
            vmem,
            swap,
        } = summary.mean;
        let sums = [rss, pss, vmem, swap].map(|mean| u128::from(mean.as_bytes()) * n_samples);
        Self {
            summary,
            sums,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::FilesSample;

    fn sample(rss_mib: u64, read_mib: u64) -> Sample {
        Sample {
            usage: Some(UsageSample {
                rss: ByteCount::from_mib(rss_mib),
                read_bytes: ByteCount::from_mib(read_mib),
                cpu_user: Duration::from_secs(rss_mib),
                ..UsageSample::default()
            }),
            ..Sample::default()
        }
    }

    fn add(meter: &mut UsageMeter, millis: u64, sample: &Sample) {
        let time = Timestamp::from_millis(i64::try_from(millis).expect("small"));
        meter.add(Moment::from_millis(millis), time, sample);
    }

    #[test]
    fn the_summary_has_largest_mean_and_total() {
        let mut meter = UsageMeter::default();
        add(&mut meter, 1000, &sample(10, 1));
        add(&mut meter, 3000, &sample(30, 5));
        add(&mut meter, 4000, &sample(20, 3));
        let summary = meter.summary().expect("three samples");
        assert_eq!(summary.n_samples, 3);
        assert_eq!(summary.max.rss, ByteCount::from_mib(30));
        assert_eq!(summary.mean.rss, ByteCount::from_mib(20));
        assert_eq!(summary.read_bytes, ByteCount::from_mib(5));
        assert_eq!(summary.span, Duration::from_secs(3));
        assert_eq!(summary.cpu, Duration::from_secs(30));
        assert!(
            meter
                .line()
                .is_some_and(|line| line.contains("CPU time 30s"))
        );
    }

    #[test]
    fn a_meter_that_is_read_back_tells_the_same() {
        let mut meter = UsageMeter::default();
        add(&mut meter, 1000, &sample(10, 1));
        add(&mut meter, 3000, &sample(30, 5));
        let text = serde_json::to_string(&meter).expect("JSON");
        let read: UsageMeter = serde_json::from_str(&text).expect("the same");
        assert_eq!(read.summary(), meter.summary());
    }

    #[test]
    fn without_a_sample_nothing_is_known() {
        assert_eq!(UsageMeter::default().summary(), None);
        assert_eq!(UsageMeter::default().line(), None);
    }

    #[test]
    fn inputs_and_outputs_do_not_count_as_the_directorys_size() {
        let mut meter = UsageMeter::default();
        for (total, transferred) in [(10, 9), (10, 2), (10, 20)] {
            let files = FilesSample {
                total: ByteCount::from_mib(total),
                transferred: ByteCount::from_mib(transferred),
                ..FilesSample::default()
            };
            let seen = Sample {
                files: Some(files),
                ..Sample::default()
            };
            add(&mut meter, 0, &seen);
        }
        assert_eq!(meter.directory_max(), ByteCount::from_mib(8));
    }
}
