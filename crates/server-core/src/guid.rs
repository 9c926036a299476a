//! Unique ids of files: those that pilots want with the job, and those that they do not make.

use ailurus_model::{Guid, job::guid_from_random};

use crate::ledger::AttemptRecord;

/// Returns the id of an attempt's log.
pub(crate) fn of_log(attempt: &AttemptRecord) -> Guid {
    of_file(attempt, 0)
}

/// Returns the id of an attempt's output, which is the `nr`th of its task, from 0.
pub(crate) fn of_output(attempt: &AttemptRecord, nr: usize) -> Guid {
    let nr = u64::try_from(nr).unwrap_or(u64::MAX);
    of_file(attempt, nr.saturating_add(1))
}

/// Made from what is unique here (job, attempt, file) and elsewhere (time), mixed so that
/// neighbours differ in all digits.
fn of_file(attempt: &AttemptRecord, nr: u64) -> Guid {
    let time = u64::from_ne_bytes(attempt.sent.as_millis().to_ne_bytes());
    let job = attempt.panda_id.value() ^ (u64::from(attempt.attempt_nr.value()) << 48);
    let high = mixed(time ^ mixed(job ^ mixed(nr)));
    let low = mixed(high ^ job);
    guid_from_random((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// Spreads the bits of a number over all bits, one to one.
///
/// Source: the finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
const fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
