//! Merge jobs: what they are called, and which outputs they take together.
//!
//! Jobs of a task with `mergeOutput` write to streams of their own ([`crate::refined::Unmerged`]).
//! [`chunks()`] groups their logs and the outputs that belong to each log; the arguments of a merge
//! job are made by [`crate::expand::merge_parameters()`], its needs by [`crate::estimate`].
//!
//! Source: PanDA server, `pandajedi/jediorder/JobSplitter.py`, `JobGenerator.py`.

use crate::split::{Chunk, Content, JobLimits, Secondary, Splitter};

/// Kind of processing of merge jobs (`processingType`).
pub const PROCESSING_TYPE: &str = "pmerge";
/// Storage token of outputs that wait for a merge.
pub const UNMERGED_TOKEN: &str = "TOMERGE";
/// Further attempts of an output that is to be merged.
pub const MERGE_ATTEMPTS: u32 = 3;

/// Groups what is to be merged: the logs, and for each output stream its files.
///
/// Logs and outputs carry the number of the job that wrote them as their boundary, and come in the
/// order of these numbers. The positions in a chunk are those of each stream's list.
pub fn chunks<'a, I: Iterator<Item = Content> + 'a>(
    logs: I,
    outputs: &[&'a [Content]],
    limits: &'a JobLimits,
) -> impl Iterator<Item = Chunk> + 'a {
    let secondaries = outputs
        .iter()
        .map(|files| Secondary::by_boundary(files, 0))
        .collect();
    Splitter::new(logs, secondaries, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RefineSettings, TaskParams, refine,
        split::{Access, QueueSize},
    };

    fn limits(rules: &str) -> JobLimits {
        let map = serde_json::json!({"taskName": "t", "noInput": true, "jobParameters": []});
        let params = TaskParams::from_value(map).expect("an object");
        let mut task = refine(&params, &RefineSettings::default()).expect("a good map");
        task.rules = rules.parse().expect("rules");
        let queue = QueueSize {
            scratch_bytes: 0,
            walltime_max_s: 0,
            cores: 1,
            core_power_milli: 0,
            access: Access::Copied,
        };
        JobLimits::for_merge(&task, &queue)
    }

    fn written(count: u64, size: u64, events: u64) -> Vec<Content> {
        (1..=count)
            .map(|job| Content {
                id: job,
                lfn: format!("panda.um.{job}"),
                size,
                events: Some(events).filter(|events| *events > 0),
                boundary: i64::try_from(job).ok(),
                ..Content::default()
            })
            .collect()
    }

    fn sizes(rules: &str, outputs: &[&[Content]]) -> Vec<usize> {
        let limits = limits(rules);
        let logs = written(10, 1 << 20, 0);
        chunks(logs.into_iter(), outputs, &limits)
            .map(|chunk| chunk.secondaries[0].len())
            .collect()
    }

    #[test]
    fn files_go_together_by_number_size_and_events() {
        let outputs = written(10, 1 << 30, 100);
        assert_eq!(sizes("ZF=4", &[&outputs]), [4, 4, 2]);
        assert_eq!(sizes("ZM=3", &[&outputs]), [3, 3, 3, 1]);
        // 1.2 GiB of output for each GiB of input.
        assert_eq!(sizes("ZG=3", &[&outputs]), [2, 2, 2, 2, 2]);
        assert_eq!(sizes("ZE=300", &[&outputs]), [3, 3, 3, 1]);
        assert_eq!(sizes("", &[&outputs]), [4, 4, 2]);
    }

    #[test]
    fn the_largest_stream_bounds_a_merge() {
        let large = written(10, 2 << 30, 0);
        let small = written(10, 1 << 20, 0);
        assert_eq!(sizes("", &[&small, &large]), [2, 2, 2, 2, 2]);
    }
}
