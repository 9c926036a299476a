//! From samples to the summary that goes to the server.

use std::time::Duration;

use ailurus_model::{
    ByteCount, Moment,
    usage::{MemoryUse, UsageSample, UsageSummary},
};
use serde::{Deserialize, Serialize};

/// Gathers samples of one payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "UsageSummary", into = "UsageSummary")]
pub struct UsageMeter {
    summary: UsageSummary,
    sums: [u128; 4],
    first: Moment,
}

impl UsageMeter {
    /// Takes one sample.
    pub fn add(&mut self, now: Moment, sample: &UsageSample) {
        if self.summary.n_samples == 0 {
            self.first = now;
        }
        let memory = [sample.rss, sample.pss, sample.vmem, sample.swap];
        for (sum, size) in self.sums.iter_mut().zip(memory) {
            *sum += u128::from(size.as_bytes());
        }
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

/// A meter that is read back goes on from its summary, with mean values rounded down to bytes.
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
            first: Moment::START,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rss_mib: u64, read_mib: u64) -> UsageSample {
        UsageSample {
            rss: ByteCount::from_mib(rss_mib),
            read_bytes: ByteCount::from_mib(read_mib),
            cpu_user: Duration::from_secs(rss_mib),
            ..UsageSample::default()
        }
    }

    #[test]
    fn the_summary_has_largest_mean_and_total() {
        let mut meter = UsageMeter::default();
        meter.add(Moment::from_millis(1000), &sample(10, 1));
        meter.add(Moment::from_millis(3000), &sample(30, 5));
        meter.add(Moment::from_millis(4000), &sample(20, 3));
        let summary = meter.summary().expect("three samples");
        assert_eq!(summary.n_samples, 3);
        assert_eq!(summary.max.rss, ByteCount::from_mib(30));
        assert_eq!(summary.mean.rss, ByteCount::from_mib(20));
        assert_eq!(summary.read_bytes, ByteCount::from_mib(5));
        assert_eq!(summary.span, Duration::from_secs(3));
        assert_eq!(summary.cpu, Duration::from_secs(30));
    }

    #[test]
    fn a_meter_that_is_read_back_tells_the_same() {
        let mut meter = UsageMeter::default();
        meter.add(Moment::from_millis(1000), &sample(10, 1));
        meter.add(Moment::from_millis(3000), &sample(30, 5));
        let text = serde_json::to_string(&meter).expect("JSON");
        let read: UsageMeter = serde_json::from_str(&text).expect("the same");
        assert_eq!(read.summary(), meter.summary());
    }

    #[test]
    fn without_a_sample_nothing_is_known() {
        assert_eq!(UsageMeter::default().summary(), None);
    }
}
