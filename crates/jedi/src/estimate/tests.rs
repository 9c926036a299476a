//! What jobs need, against numbers that are worked out by hand.

use serde_json::{Value, json};

use super::*;
use crate::{RefineSettings, TaskParams, refine, split::Content};

fn task(changes: Value) -> RefinedTask {
    let mut map = json!({"taskName": "t", "noInput": true, "jobParameters": [], "coreCount": 8});
    for (key, value) in changes.as_object().expect("an object") {
        map[key] = value.clone();
    }
    refine(
        &TaskParams::from_value(map).expect("an object"),
        &RefineSettings::default(),
    )
    .expect("a good map")
}

const QUEUE: QueueOffer = QueueOffer {
    cores: 8,
    core_power_milli: 10_000,
    walltime_max_s: 345_600,
    scratch_mb: 0,
    ram_max_mb: 0,
    access: Access::Copied,
};
const RUN: JobKind = JobKind::Run(Phase::Bulk);

fn chunk(sizes_mib: &[u64], events: u64) -> Chunk {
    let content = |size: &u64| Content {
        size: size * MIB,
        events: Some(events),
        ..Content::default()
    };
    let master: Vec<Content> = sizes_mib.iter().map(content).collect();
    let mut chunk = Chunk {
        master,
        ..Chunk::default()
    };
    chunk.sums.input_bytes = sizes_mib.iter().sum::<u64>() * MIB;
    chunk
}

#[test]
fn walltime_follows_events_cores_power_and_efficiency() {
    let task = task(json!({"cpuTime": 100, "cpuTimeUnit": "HS06sPerEvent"}));
    let needs = job_needs(&task, &chunk(&[10, 10], 7200), RUN, &QUEUE, 0, None);
    // 100 HS06·s × 14400 events / (8 cores × 10 HS06 × 90 %) + 600 s.
    assert_eq!(needs.walltime_s, 20_600);
    assert_eq!(needs.cpu_time_s, 20_600);
    assert_eq!(needs.hs06_milli, 80_000);
}

#[test]
fn without_cpu_time_the_queue_bounds_the_job() {
    let needs = job_needs(&task(json!({})), &chunk(&[10], 1), RUN, &QUEUE, 0, None);
    assert_eq!((needs.walltime_s, needs.cpu_time_s), (345_600, 345_600));
}

#[test]
fn memory_is_per_core_with_a_base_and_nine_tenths_are_asked_for() {
    let per_core = task(json!({"ramCount": 1000, "ramUnit": "MBPerCore", "baseRamCount": 500}));
    let ram = |task: &RefinedTask, files| {
        job_needs(task, &chunk(&[1], 1), RUN, &QUEUE, files, None).ram_mb
    };
    assert_eq!(ram(&per_core, 0), 7650);
    assert_eq!(ram(&per_core, 2000), 14_850);
    assert_eq!(
        ram(&task(json!({"ramCount": 4000, "ramUnit": "MB"})), 0),
        3600
    );
}

#[test]
fn disk_is_output_scratch_and_copied_input() {
    let by_input = task(json!({"outDiskCount": 512, "outDiskUnit": "kB", "workDiskCount": 100}));
    let disk = |task: &RefinedTask, queue: &QueueOffer| {
        job_needs(task, &chunk(&[1000, 1000], 50), RUN, queue, 0, None).disk_mb
    };
    // 2000 MB × 0.5 + 100 + 300 of margin + 2000.
    assert_eq!(disk(&by_input, &QUEUE), 3400);
    assert_eq!(
        disk(
            &by_input,
            &QueueOffer {
                access: Access::Direct,
                ..QUEUE
            }
        ),
        1400
    );
    assert_eq!(
        disk(
            &by_input,
            &QueueOffer {
                scratch_mb: 3000,
                ..QUEUE
            }
        ),
        3000
    );
    let by_events = task(json!({"outDiskCount": 1, "outDiskUnit": "MBPerEvent"}));
    assert_eq!(disk(&by_events, &QUEUE), 100 + 300 + 2000);
}

#[test]
fn cores_are_the_queues_but_one_for_a_task_of_one() {
    let of = |wanted: u64, offered| {
        let queue = QueueOffer {
            cores: offered,
            ..QUEUE
        };
        cores(&task(json!({"coreCount": wanted})), RUN, &queue)
    };
    assert_eq!(of(1, 8), 1);
    assert_eq!(of(8, 0), 1);
    assert_eq!(of(4, -1), 4);
    assert_eq!(of(0, 8), 8);
    assert_eq!(of(0, -1), 1);
}

#[test]
fn merge_jobs_have_their_own_needs() {
    let merged = task(json!({"mergeOutput": true, "mergeSpec": {"jobParameters": "x"}}));
    let needs = job_needs(&merged, &chunk(&[1000], 1), JobKind::Merge, &QUEUE, 0, None);
    assert_eq!((needs.cores, needs.ram_mb), (1, 2000));
    // 1000 MB × 1.2 + 500 + 1000.
    assert_eq!(needs.disk_mb, 2700);
    assert_eq!((needs.walltime_s, needs.cpu_time_s), (345_600, 0));
    let bounded = job_needs(
        &merged,
        &chunk(&[1000], 1),
        JobKind::Merge,
        &QUEUE,
        0,
        Some(3600),
    );
    assert_eq!((bounded.walltime_s, bounded.cpu_time_s), (4200, 3600));
}

#[test]
fn priorities_lift_scouts_and_merges() {
    assert_eq!(priority(1000, RUN), 1000);
    assert_eq!(priority(1000, JobKind::Run(Phase::Scouts)), 1001);
    assert_eq!(priority(100, JobKind::Run(Phase::Scouts)), 901);
    assert_eq!(priority(100, JobKind::Merge), 5000);
}

#[test]
fn attempts_of_the_job_itself() {
    let merge = json!({"transPath": "merge.sh", "jobParameters": "-o ${OUT}"});
    assert_eq!(max_attempt(&task(json!({})), RUN, 2), 2);
    assert_eq!(
        max_attempt(&task(json!({"disableAutoRetry": true})), RUN, 2),
        -1
    );
    assert_eq!(
        max_attempt(
            &task(json!({"nEventsPerWorker": 5, "esmergeSpec": merge})),
            RUN,
            2
        ),
        5
    );
    assert_eq!(
        max_attempt(
            &task(json!({"nEventsPerWorker": 5, "maxAttemptEsJob": 9, "esmergeSpec": merge})),
            RUN,
            2
        ),
        11
    );
}

#[test]
fn releases_become_paths() {
    assert_eq!(home_package("AthAnalysis-21.2.3\r"), "AthAnalysis/21.2.3");
    assert_eq!(home_package("Some-Cache-1-x"), "Some-Cache-1-x");
}

#[test]
fn memory_of_retries_grows_in_steps_up_to_a_bound() {
    let task = task(json!({"retryRamOffset": 2000, "retryRamStep": 1000, "retryRamMax": 4500}));
    assert_eq!(retry_ram_mb(&task, 1000), Some(2000));
    assert_eq!(retry_ram_mb(&task, 2500), Some(3000));
    assert_eq!(retry_ram_mb(&task, 4200), Some(4500));
}

#[test]
fn build_jobs_stay_below_the_queues_memory() {
    let queue = QueueOffer {
        ram_max_mb: 9000,
        ..QUEUE
    };
    assert_eq!(build_needs(&task(json!({})), &queue), (8, 9000));
    assert_eq!(
        build_needs(&task(json!({"coreCount": 1})), &queue),
        (1, 2000)
    );
}

#[test]
fn a_negative_walltime_asks_for_no_check_of_progress() {
    let needs = job_needs(
        &task(json!({"walltime": -1})),
        &chunk(&[1], 1),
        RUN,
        &QUEUE,
        0,
        None,
    );
    assert!(!needs.is_progress_checked);
}
