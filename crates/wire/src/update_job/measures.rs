//! Usage and timing within an update: memory in KiB, totals in bytes, rates in bytes a second,
//! phases in whole seconds.

use std::time::Duration;

use ailurus_model::{ByteCount, UsageSummary, update::PilotTiming, usage::MemoryUse};

use super::{
    AVG_PSS, AVG_RSS, AVG_SWAP, AVG_VMEM, MAX_PSS, MAX_RSS, MAX_SWAP, MAX_VMEM, RATE_RBYTES,
    RATE_RCHAR, RATE_WBYTES, RATE_WCHAR, TOT_RBYTES, TOT_RCHAR, TOT_WBYTES, TOT_WCHAR,
};
use crate::table::{Field, Reader, Writer};

const MEMORY_MAX: [&Field; 4] = [&MAX_RSS, &MAX_PSS, &MAX_VMEM, &MAX_SWAP];
const MEMORY_MEAN: [&Field; 4] = [&AVG_RSS, &AVG_PSS, &AVG_VMEM, &AVG_SWAP];
const RATES: [(&Field, &Field); 4] = [
    (&TOT_RCHAR, &RATE_RCHAR),
    (&TOT_WCHAR, &RATE_WCHAR),
    (&TOT_RBYTES, &RATE_RBYTES),
    (&TOT_WBYTES, &RATE_WBYTES),
];

/// Writes what was measured, with rates where the time between the samples is known.
pub(super) fn encode_usage(out: &mut Writer, usage: &UsageSummary) {
    for (memory, fields) in [(&usage.max, MEMORY_MAX), (&usage.mean, MEMORY_MEAN)] {
        let sizes = [memory.rss, memory.pss, memory.vmem, memory.swap];
        for (field, size) in fields.into_iter().zip(sizes) {
            out.whole(field, size.as_kib());
        }
    }
    let span_millis = u64::try_from(usage.span.as_millis()).unwrap_or(u64::MAX);
    let totals = [
        usage.read_chars,
        usage.write_chars,
        usage.read_bytes,
        usage.write_bytes,
    ];
    for ((total_field, rate_field), total) in RATES.into_iter().zip(totals) {
        out.whole(total_field, total.as_bytes());
        let rate = total
            .as_bytes()
            .saturating_mul(1000)
            .checked_div(span_millis);
        out.whole_if_any(rate_field, rate);
    }
}

/// The usage, if any of it is told. How many samples it is made from is not on the wire, and how
/// long they span only in what the rates are of the totals.
pub(super) fn decode_usage(
    message: &Reader<'_>,
    cpu_time: Option<Duration>,
) -> Option<UsageSummary> {
    let mut is_known = false;
    // Pilot 3 writes -1 where it could not measure.
    let mut number = |field: &Field| -> u64 {
        let number = message.whole_if_any(field);
        is_known |= number.is_some();
        number.unwrap_or(0)
    };
    let [max, mean] = [MEMORY_MAX, MEMORY_MEAN].map(|fields| {
        let [rss, pss, vmem, swap] = fields.map(|field| ByteCount::from_kib(number(field)));
        MemoryUse {
            rss,
            pss,
            vmem,
            swap,
        }
    });
    let [read_chars, write_chars, read_bytes, write_bytes] =
        RATES.map(|(total, _)| ByteCount::from_bytes(number(total)));
    is_known.then_some(UsageSummary {
        n_samples: 1,
        max,
        mean,
        read_chars,
        write_chars,
        read_bytes,
        write_bytes,
        span: decode_span(message),
        cpu: cpu_time.unwrap_or_default(),
    })
}

/// The time in which the totals came together, by the largest rate since it is the least rounded;
/// zero if no rate is told.
fn decode_span(message: &Reader<'_>) -> Duration {
    let measured = RATES.into_iter().filter_map(|(total, rate)| {
        let total = message.number_if_any(total).filter(|total| *total > 0.0)?;
        let rate = message.number_if_any(rate).filter(|rate| *rate > 0.0)?;
        Some((rate, total / rate))
    });
    let surest = measured.max_by(|one, other| one.0.total_cmp(&other.0));
    surest
        .and_then(|(_, secs)| Duration::try_from_secs_f64(secs).ok())
        .unwrap_or_default()
}

/// Whole seconds of get job, stage-in, payload, stage-out, initial set-up and set-up.
pub(super) fn timing_text(timing: &PilotTiming) -> String {
    let phases = [
        timing.get_job,
        timing.stage_in,
        timing.payload,
        timing.stage_out,
        timing.initial_setup,
        timing.setup,
    ];
    phases.map(|phase| phase.as_secs().to_string()).join("|")
}

/// Older pilots wrote fewer phases; a phase that is no number counts as zero.
pub(super) fn decode_timing(text: &str) -> Option<PilotTiming> {
    if text.is_empty() {
        return None;
    }
    let mut phases = text
        .split('|')
        .map(|phase| Duration::from_secs(phase.trim().parse().unwrap_or(0)));
    let mut next = || phases.next().unwrap_or_default();
    Some(PilotTiming {
        get_job: next(),
        stage_in: next(),
        payload: next(),
        stage_out: next(),
        initial_setup: next(),
        setup: next(),
    })
}
