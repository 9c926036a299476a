//! The job metrics: one line of `key=value` that goes with every update.
//!
//! Keys and their order are Pilot 3's; the server and the monitors of experiments read some of
//! them. `energy` is our own.
//!
//! Source: Pilot 3, `pilot/user/atlas/jobmetrics.py`.

use std::{fmt::Write as _, time::Duration};

use ailurus_model::ByteCount;

use super::{UsageMeter, leak::Tails};

/// Longest line that the server keeps, in bytes.
pub const METRICS_LENGTH_MAX: usize = 500;

/// What job metrics are made from, besides what was measured.
#[derive(Debug, Clone, Copy)]
pub struct MetricsInput {
    /// How long the payload has run.
    pub payload_time: Duration,
    /// Cores of the job.
    pub core_count: u32,
    /// Size of all inputs.
    pub input_size: ByteCount,
    /// Events that were processed, if known.
    pub n_events: Option<u64>,
    /// Whether the payload still runs.
    pub tails: Tails,
}

/// Makes the line; empty if nothing is known.
#[must_use]
pub fn job_metrics(meter: &UsageMeter, input: &MetricsInput) -> String {
    let mut line = Line(String::new());
    let cpu = meter.cpu();
    if !cpu.is_zero() && !input.payload_time.is_zero() {
        let cores = cpu.as_secs_f64() / input.payload_time.as_secs_f64();
        line.add("actualCoreCount", format_args!("{cores:.2}"));
    }
    if let Some(events) = input.n_events.filter(|it| *it > 0) {
        line.add("nEvents", events);
    }
    let directory = meter.directory_max();
    if input.tails == Tails::LeftOut && directory > ByteCount::ZERO {
        line.add("workDirSize", directory.as_bytes());
    }
    let machine = meter.machine();
    if let Some(rating) = machine.and_then(|machine| hs06(machine, input.core_count)) {
        line.add("hs06", format_args!("{rating:.2}"));
    }
    if let Some(leak) = meter.leak(input.tails) {
        line.add("leak", format_args!("{:.2}", leak.slope));
        line.add("chi2", format_args!("{:.2}", leak.chi2));
        line.add("intersect", format_args!("{:.2}", leak.intersect));
    }
    if let Some(event) = meter.event_number() {
        line.add("eventnumber", event);
    }
    let read = meter.summary().map(|summary| summary.read_bytes);
    if let Some(part) = read.and_then(|read| ratio(read, input.input_size)) {
        line.add("readbyterate", format_args!("{part:.2}"));
    }
    if let Some(machine) = machine.filter(|it| it.n_gpus > 0) {
        line.add(
            "GPU_name",
            machine.gpu_name.replace(char::is_whitespace, "_"),
        );
        line.add("nGPU", machine.n_gpus);
    }
    if let Some(joules) = meter.energy_joules() {
        line.add("energy", joules);
    }
    line.finish()
}

/// Finds the number of the event that a payload wrote down last.
///
/// Source: Pilot 3, `pilot/user/atlas/jobmetrics.py`, `get_number_in_string`.
#[must_use]
pub fn event_number(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(" done processing event #")?;
    rest.split_once(',')?.0.parse().ok()
}

/// The rating of the cores of a job.
#[expect(clippy::cast_precision_loss, reason = "ratings are small numbers")]
fn hs06(machine: &super::Machine, core_count: u32) -> Option<f64> {
    if machine.hs06_hundredths == 0 || machine.n_processors == 0 {
        return None;
    }
    // Whole ratings, as Pilot 3 takes them.
    let rating = (machine.hs06_hundredths / 100) as f64;
    Some(rating * f64::from(core_count) / f64::from(machine.n_processors))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio to two decimals")]
fn ratio(part: ByteCount, whole: ByteCount) -> Option<f64> {
    (whole > ByteCount::ZERO).then(|| part.as_bytes() as f64 / whole.as_bytes() as f64)
}

struct Line(String);

impl Line {
    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let blank = if self.0.is_empty() { "" } else { " " };
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{blank}{key}={value}");
    }

    /// Cuts the line before the first entry that does not fit whole.
    fn finish(mut self) -> String {
        if self.0.len() > METRICS_LENGTH_MAX {
            let kept = self.0.floor_char_boundary(METRICS_LENGTH_MAX + 1);
            let end = self.0[..kept].rfind(' ').unwrap_or(0);
            self.0.truncate(end);
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::{Moment, Timestamp, usage::UsageSample};

    use super::*;
    use crate::monitoring::{FilesSample, Machine, Sample};

    const INPUT: MetricsInput = MetricsInput {
        payload_time: Duration::from_secs(900),
        core_count: 4,
        input_size: ByteCount::from_mib(10),
        n_events: Some(250),
        tails: Tails::LeftOut,
    };

    /// A payload that is looked at for 15 minutes.
    fn meter() -> UsageMeter {
        let mut meter = UsageMeter::default();
        for minute in 0..16_u64 {
            let sample = Sample {
                usage: Some(UsageSample {
                    pss: ByteCount::from_kib(1000 + 30 * minute),
                    cpu_user: Duration::from_secs(180 * minute),
                    read_bytes: ByteCount::from_mib(minute),
                    ..UsageSample::default()
                }),
                energy_joules: Some(100 * minute),
                files: Some(FilesSample {
                    total: ByteCount::from_mib(7),
                    transferred: ByteCount::from_mib(2),
                    event_number: Some(minute),
                    ..FilesSample::default()
                }),
                machine: (minute == 0).then(|| {
                    Box::new(Machine {
                        hs06_hundredths: 16_050,
                        n_processors: 16,
                        gpu_name: "Tesla T4".into(),
                        n_gpus: 2,
                    })
                }),
                ..Sample::default()
            };
            let millis = minute * 60_000;
            let time = Timestamp::from_millis(i64::try_from(millis).expect("small"));
            meter.add(Moment::from_millis(millis), time, &sample);
        }
        meter
    }

    #[test]
    fn everything_that_is_known_stands_in_pilot_3s_order() {
        assert_eq!(
            job_metrics(&meter(), &INPUT),
            "actualCoreCount=3.00 nEvents=250 workDirSize=5242880 hs06=40.00 leak=0.50 chi2=0.00 \
             intersect=1000.00 eventnumber=15 readbyterate=1.50 GPU_name=Tesla_T4 nGPU=2 energy=1500"
        );
    }

    #[test]
    fn the_directorys_size_waits_for_the_end() {
        let input = MetricsInput {
            tails: Tails::Kept,
            ..INPUT
        };
        assert!(!job_metrics(&meter(), &input).contains("workDirSize"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let input = MetricsInput {
            input_size: ByteCount::ZERO,
            n_events: None,
            ..INPUT
        };
        assert_eq!(job_metrics(&UsageMeter::default(), &input), "");
    }

    #[test]
    fn the_last_event_that_was_written_down_is_found() {
        let text = " done processing event #1, run #2\n done processing event #20166959, run #2\n";
        assert_eq!(event_number(text), Some(20_166_959));
        assert_eq!(event_number(" done processing event #x, run"), None);
        assert_eq!(event_number(""), None);
    }

    #[test]
    fn a_long_line_is_cut_between_two_entries() {
        let mut line = Line(String::new());
        for _ in 0..60 {
            line.add("key", "value");
        }
        let text = line.finish();
        assert!(text.len() <= METRICS_LENGTH_MAX && text.ends_with("key=value"));
        assert_eq!(text.len() % 10, 9);
    }
}
