//! How much memory a job may use.
//!
//! The rule depends on the pilot's memory class (`--resource-type`), where it has one, and else on
//! the queue. A site's grace comes on top of all of it.

use ailurus_model::{ByteCount, Job, Queue};

/// MiB a core for each class that limits it by core.
///
/// Source: Pilot 3, `pilot/user/atlas/memory.py`, `get_memory_limit`.
const CLASSES: [(&str, u64); 6] = [
    ("MCORE", 2000),
    ("MCORE_HIMEM", 3000),
    ("MCORE_LOMEM", 1000),
    ("SCORE", 2000),
    ("SCORE_HIMEM", 3000),
    ("SCORE_LOMEM", 1000),
];
/// MiB a core for a class that is not known.
const UNKNOWN_CLASS: u64 = 4001;
/// Part of the names of classes that get what the queue has.
const VERY_HIGH: &str = "VHIMEM";
/// Beginning of the names of classes for jobs of one core.
const ONE_CORE: &str = "SCORE";
/// What a job wants is rounded up to a multiple of this, in MiB.
const STEP: u64 = 1000;

/// Works out the memory limit of a job with the queue's grace; none if nothing says one.
///
/// Source: Pilot 3, `pilot/user/atlas/memory.py`, `calculate_memory_limit_kb`; without a class its
/// `get_ucore_scale_factor`.
#[must_use]
pub fn memory_limit(job: &Job, queue: &Queue, class: Option<&str>) -> Option<ByteCount> {
    let cores = u64::from(job.core_count.max(1));
    let queue_cores = u64::from(queue.core_count.max(1));
    let share = ByteCount::from_bytes(queue.memory.as_bytes() / queue_cores * cores);
    let base = match class {
        Some(class) if !class.contains(VERY_HIGH) => {
            let of_class = CLASSES.iter().find(|(name, _)| *name == class);
            let mib = of_class.map_or(UNKNOWN_CLASS, |(_, mib)| *mib);
            ByteCount::from_mib(mib.saturating_mul(cores))
        }
        Some(class) if class.starts_with(ONE_CORE) => share,
        Some(_) => queue.memory,
        // A job may use what the server was told that it needs.
        None if queue.memory > ByteCount::ZERO => {
            share.min(queue.memory).max(wanted(job)).min(queue.memory)
        }
        None => ByteCount::ZERO,
    };
    let base = if base == ByteCount::ZERO {
        wanted(job)
    } else {
        base
    };
    with_grace(base, queue.memory_grace_percent)
}

/// What the job says that it needs, rounded up as for pilots that pull.
fn wanted(job: &Job) -> ByteCount {
    let mib = job.memory.as_bytes().div_ceil(1 << 20);
    ByteCount::from_mib(mib.div_ceil(STEP).saturating_mul(STEP))
}

/// Adds a grace in percent to a limit; zero means that there is no limit.
pub(super) fn with_grace(limit: ByteCount, percent: u32) -> Option<ByteCount> {
    if limit == ByteCount::ZERO {
        return None;
    }
    let bytes = u128::from(limit.as_bytes()) * (100 + u128::from(percent)) / 100;
    Some(ByteCount::from_bytes(
        u64::try_from(bytes).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{job, site};

    /// The limit in MiB for a job on a queue: (cores, wanted MiB), (cores, MiB, grace), class.
    fn limit(
        (job_cores, wanted_mib): (u32, u64),
        (queue_cores, queue_mib, grace): (u32, u64, u32),
        class: Option<&str>,
    ) -> Option<u64> {
        let (mut job, mut queue) = (job(1), site().queue);
        (job.core_count, job.memory) = (job_cores, ByteCount::from_mib(wanted_mib));
        (queue.core_count, queue.memory) = (queue_cores, ByteCount::from_mib(queue_mib));
        queue.memory_grace_percent = grace;
        memory_limit(&job, &queue, class).map(ByteCount::as_mib)
    }

    #[test]
    fn a_class_limits_memory_by_core() {
        let queue = (8, 16_000, 100);
        assert_eq!(limit((1, 0), queue, Some("SCORE")), Some(4000));
        assert_eq!(limit((8, 0), queue, Some("MCORE_LOMEM")), Some(16_000));
        assert_eq!(limit((1, 0), queue, Some("SCORE_HIMEM")), Some(6000));
        assert_eq!(limit((1, 0), queue, Some("SCORE_ODD")), Some(8002));
    }

    #[test]
    fn the_largest_classes_get_what_the_queue_has() {
        let queue = (8, 16_000, 50);
        assert_eq!(limit((1, 0), queue, Some("SCORE_VHIMEM")), Some(3000));
        assert_eq!(limit((8, 0), queue, Some("MCORE_VHIMEM")), Some(24_000));
    }

    #[test]
    fn without_a_class_a_job_gets_its_cores_share_or_what_it_needs() {
        let queue = (8, 16_000, 0);
        assert_eq!(limit((1, 0), queue, None), Some(2000));
        assert_eq!(limit((1, 3500), queue, None), Some(4000));
        assert_eq!(limit((8, 0), queue, None), Some(16_000));
        assert_eq!(limit((16, 0), queue, None), Some(16_000));
        assert_eq!(limit((1, 99_000), queue, None), Some(16_000));
    }

    #[test]
    fn where_the_queue_says_nothing_the_job_does() {
        assert_eq!(limit((1, 1500), (1, 0, 100), None), Some(4000));
        assert_eq!(
            limit((1, 1500), (1, 0, 0), Some("MCORE_VHIMEM")),
            Some(2000)
        );
        assert_eq!(limit((1, 0), (1, 0, 100), None), None);
    }
}
