//! PanDA's classes of cores and memory.

use ailurus_model::ByteCount;

/// Memory a core up to which a job is not a high-memory one, in PanDA's MB.
const NORMAL_MIB_PER_CORE: u64 = 2000;

/// Returns the class of a job with so many cores and so much memory: `SCORE`, `MCORE`,
/// `SCORE_HIMEM` or `MCORE_HIMEM`. Memory that is not stated counts as little.
///
/// Source: PanDA server's default table of resource types; memory a core is rounded.
#[must_use]
pub fn resource_type(cores: u32, memory: ByteCount) -> &'static str {
    let cores = u64::from(cores.max(1));
    let per_core = memory.as_mib().saturating_add(cores / 2) / cores;
    match (cores > 1, per_core > NORMAL_MIB_PER_CORE) {
        (false, false) => "SCORE",
        (false, true) => "SCORE_HIMEM",
        (true, false) => "MCORE",
        (true, true) => "MCORE_HIMEM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_table() {
        let class = |cores, mib| resource_type(cores, ByteCount::from_mib(mib));
        assert_eq!(class(1, 0), "SCORE");
        assert_eq!(class(1, 2000), "SCORE");
        assert_eq!(class(1, 2001), "SCORE_HIMEM");
        assert_eq!(class(8, 16_000), "MCORE");
        assert_eq!(class(8, 16_004), "MCORE_HIMEM");
        assert_eq!(class(0, 1), "SCORE");
    }
}
