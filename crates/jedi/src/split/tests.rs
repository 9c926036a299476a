//! Each limit of a job for itself, and properties that hold for all of them.

use proptest::prelude::*;

use super::*;
use crate::refined::RefinedTask;

const MIB: u64 = 1 << 20;

fn free() -> JobLimits {
    JobLimits {
        files_per_job: None,
        files_max: 200,
        events_per_job: None,
        bytes_max: None,
        out_bytes_max: None,
        disk_bytes_max: None,
        walltime_max_s: None,
        total_files_max: 1000,
        boundary: None,
        respects_lumi_blocks: false,
        name_fields: None,
        has_pieces: false,
        growth: JobGrowth {
            out_bytes: 0,
            out_grows_with_events: false,
            out_per_mille_of_input: 0,
            work_bytes: 0,
            base_walltime_s: 0,
            walltime_us_per_event: None,
            walltime_us_per_mib: 0,
            access: Access::Copied,
        },
    }
}

fn file(id: u64, size: u64) -> Content {
    Content {
        id,
        lfn: format!("file.{id:04}.root"),
        size,
        ..Content::default()
    }
}

fn files(count: u64, size: u64) -> Vec<Content> {
    (0..count).map(|id| file(id, size)).collect()
}

/// The numbers of master files of each chunk.
fn cut(master: Vec<Content>, limits: &JobLimits) -> Vec<usize> {
    Splitter::new(master.into_iter(), Vec::new(), limits)
        .map(|chunk| chunk.master.len())
        .collect()
}

fn secondary(files: &[Content], rule: SecondaryRule) -> Secondary<'_> {
    Secondary {
        files,
        rule,
        is_reusable: false,
        is_repeated: false,
        position: 0,
    }
}

#[test]
fn a_number_of_files_is_kept_whatever_their_size() {
    let limits = JobLimits {
        files_per_job: Some(3),
        bytes_max: Some(1),
        ..free()
    };
    assert_eq!(cut(files(8, MIB), &limits), [3, 3, 2]);
    let last = Splitter::new(files(4, MIB).into_iter(), Vec::new(), &limits).last();
    assert!(last.is_some_and(|chunk| chunk.is_short));
}

#[test]
fn no_file_is_added_that_breaks_the_size() {
    let limits = JobLimits {
        bytes_max: Some(10_000 * MIB),
        ..free()
    };
    // 1500 MiB are kept free for output: 8500 MiB hold two files of 4000 MiB.
    assert_eq!(cut(files(5, 4000 * MIB), &limits), [2, 2, 1]);
    // A file that is too large alone is a job of its own.
    assert_eq!(cut(files(2, 20_000 * MIB), &limits), [1, 1]);
}

#[test]
fn output_counts_against_the_size_with_the_input() {
    let mut limits = JobLimits {
        bytes_max: Some(10_000 * MIB),
        ..free()
    };
    limits.growth.out_bytes = 2 * MIB;
    // 1000 MiB of input and 2000 MiB of output: three files are 9000 MiB.
    assert_eq!(cut(files(7, 1000 * MIB), &limits), [3, 3, 1]);
    limits.out_bytes_max = Some(4000 * MIB);
    assert_eq!(cut(files(5, 1000 * MIB), &limits), [2, 2, 1]);
}

#[test]
fn scratch_space_counts_copied_input_only() {
    let mut limits = JobLimits {
        disk_bytes_max: Some(3000 * MIB),
        ..free()
    };
    assert_eq!(cut(files(5, 1000 * MIB), &limits), [3, 2]);
    limits.growth.access = Access::Direct;
    assert_eq!(cut(files(5, 1000 * MIB), &limits), [5]);
}

#[test]
fn expected_walltime_bounds_a_job() {
    let mut limits = JobLimits {
        walltime_max_s: Some(3600),
        ..free()
    };
    limits.growth.base_walltime_s = 600;
    limits.growth.walltime_us_per_event = Some(1_000_000);
    let thousand = |id| Content {
        events: Some(1000),
        ..file(id, MIB)
    };
    assert_eq!(cut((0..7).map(thousand).collect(), &limits), [3, 3, 1]);
}

#[test]
fn ranges_of_events_are_joined_while_they_follow_each_other() {
    let range = |lfn: &str, start, end| Content {
        lfn: lfn.to_owned(),
        events: Some(150),
        range: Some(EventRange { start, end }),
        ..Content::default()
    };
    let ranges = vec![
        range("a", 0, 99),
        range("a", 100, 149),
        range("b", 0, 49),
        range("b", 50, 149),
    ];
    let limits = JobLimits {
        events_per_job: Some(100),
        ..free()
    };
    assert_eq!(cut(ranges.clone(), &limits), [1, 2, 1]);
    // A missing range ends the chunk.
    let limits = JobLimits {
        events_per_job: Some(1000),
        ..free()
    };
    assert_eq!(cut(ranges, &limits), [4]);
    assert_eq!(
        cut(vec![range("a", 0, 9), range("a", 20, 29)], &limits),
        [1, 1]
    );
}

#[test]
fn whole_files_count_their_events() {
    let limits = JobLimits {
        events_per_job: Some(1000),
        ..free()
    };
    let with_events = |id| Content {
        events: Some(400),
        ..file(id, MIB)
    };
    assert_eq!(cut((0..5).map(with_events).collect(), &limits), [2, 2, 1]);
}

#[test]
fn boundaries_and_lumi_blocks_and_names_end_a_chunk() {
    let with = |id: u64, boundary: i64| Content {
        boundary: Some(boundary),
        ..file(id, MIB)
    };
    let all = vec![with(0, 1), with(1, 1), with(2, 2), with(3, 2), with(4, 2)];
    let whole = JobLimits {
        boundary: Some(BoundaryRule::Whole),
        files_max: 1,
        ..free()
    };
    assert_eq!(cut(all.clone(), &whole), [2, 3]);
    let within = JobLimits {
        boundary: Some(BoundaryRule::Within),
        files_per_job: Some(2),
        ..free()
    };
    assert_eq!(cut(all.clone(), &within), [2, 2, 1]);
    let across = JobLimits {
        boundary: Some(BoundaryRule::Across),
        ..free()
    };
    assert_eq!(cut(all, &across), [5]);

    let block = |id: u64, block: i64| Content {
        lumi_block: Some(block),
        ..file(id, MIB)
    };
    let blocks = JobLimits {
        respects_lumi_blocks: true,
        files_per_job: Some(2),
        files_max: 2,
        ..free()
    };
    assert_eq!(
        cut(
            vec![block(0, 1), block(1, 1), block(2, 1), block(3, 2)],
            &blocks
        ),
        [2, 1, 1]
    );

    let named = |lfn: &str| Content {
        lfn: lfn.to_owned(),
        ..Content::default()
    };
    let names = JobLimits {
        name_fields: Some(vec![2]),
        ..free()
    };
    assert_eq!(
        cut(vec![named("a.x.1"), named("a.x.2"), named("a.y.1")], &names),
        [2, 1]
    );
}

#[test]
fn secondaries_go_along_by_their_rule() {
    let limits = JobLimits {
        files_per_job: Some(2),
        ..free()
    };
    let others = files(10, MIB);
    let chunks = |secondary| -> Vec<Vec<usize>> {
        let splitter = Splitter::new(files(6, MIB).into_iter(), vec![secondary], &limits);
        splitter
            .map(|mut chunk| chunk.secondaries.remove(0))
            .collect()
    };
    let half = secondary(&others, SecondaryRule::PerFile(1_500_000));
    assert_eq!(chunks(half), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]]);
    let four = secondary(&others, SecondaryRule::PerJob(4));
    assert_eq!(
        chunks(four),
        [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]
    );
    let reused = Secondary {
        is_reusable: true,
        ..secondary(&others, SecondaryRule::PerJob(4))
    };
    assert_eq!(
        chunks(reused),
        [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![0, 1, 2, 3]]
    );
    let whole = secondary(&others[..2], SecondaryRule::All);
    assert_eq!(chunks(whole), [vec![0, 1], vec![0, 1], vec![0, 1]]);
    let repeated = Secondary {
        is_repeated: true,
        ..secondary(&others[..2], SecondaryRule::PerJob(1))
    };
    assert_eq!(chunks(repeated), [vec![0], vec![1], vec![0]]);
}

#[test]
fn event_ratio_takes_files_until_their_events_reach_it() {
    let limits = JobLimits {
        files_per_job: Some(1),
        ..free()
    };
    let with_events = |id| Content {
        events: Some(100),
        ..file(id, MIB)
    };
    let master: Vec<Content> = (0..2).map(with_events).collect();
    let others: Vec<Content> = (0..9).map(with_events).collect();
    let by_events = secondary(&others, SecondaryRule::PerEvent(2_500_000));
    let taken: Vec<_> = Splitter::new(master.into_iter(), vec![by_events], &limits)
        .map(|chunk| chunk.secondaries)
        .collect();
    assert_eq!(taken, [vec![vec![0, 1, 2]], vec![vec![3, 4, 5]]]);
}

#[test]
fn merging_takes_outputs_of_the_jobs_whose_logs_it_takes() {
    let of_job = |id: u64, job: i64| Content {
        boundary: Some(job),
        ..file(id, 100 * MIB)
    };
    let logs: Vec<Content> = (0..4)
        .map(|id| of_job(id, i64::try_from(id).unwrap()))
        .collect();
    // The job 1 made no output, the job 2 made two.
    let outputs = vec![of_job(10, 0), of_job(11, 2), of_job(12, 2), of_job(13, 3)];
    let limits = JobLimits {
        boundary: Some(BoundaryRule::Across),
        files_max: 2,
        ..free()
    };
    let secondaries = vec![Secondary::by_boundary(&outputs, 0)];
    let taken: Vec<_> = Splitter::new(logs.into_iter(), secondaries, &limits)
        .map(|chunk| chunk.secondaries)
        .collect();
    assert_eq!(taken, [vec![vec![0]], vec![vec![1, 2, 3]]]);
}

#[test]
fn secondary_files_bound_a_job_too() {
    let limits = JobLimits {
        total_files_max: 9,
        ..free()
    };
    let others = files(100, MIB);
    let two = secondary(&others, SecondaryRule::PerFile(2_000_000));
    let chunks: Vec<Chunk> = Splitter::new(files(7, MIB).into_iter(), vec![two], &limits).collect();
    assert_eq!(
        chunks
            .iter()
            .map(|chunk| chunk.sums.files)
            .collect::<Vec<_>>(),
        [9, 9, 3]
    );
}

#[test]
fn pieces_count_a_file_once() {
    let piece = |lfn: &str, start| Content {
        lfn: lfn.to_owned(),
        size: 10 * MIB,
        events: Some(20),
        range: Some(EventRange {
            start,
            end: start + 9,
        }),
        ..Content::default()
    };
    let limits = JobLimits {
        has_pieces: true,
        files_max: 1,
        ..free()
    };
    let all = vec![piece("a", 0), piece("a", 10), piece("b", 0), piece("b", 10)];
    let chunks: Vec<Chunk> = Splitter::new(all.into_iter(), Vec::new(), &limits).collect();
    assert_eq!(
        chunks
            .iter()
            .map(|chunk| chunk.master.len())
            .collect::<Vec<_>>(),
        [2, 2]
    );
    assert_eq!(chunks[0].sums.input_bytes, 10 * MIB);
}

fn task(rules: &str, resources: serde_json::Value) -> RefinedTask {
    let mut map = serde_json::json!({"taskName": "t", "noInput": true, "jobParameters": []});
    for (key, value) in resources.as_object().expect("an object") {
        map[key] = value.clone();
    }
    let params = crate::TaskParams::from_value(map).expect("an object");
    let mut task = crate::refine(&params, &crate::RefineSettings::default()).expect("a task");
    for (rule, value) in rules.parse::<crate::SplitRules>().expect("rules").iter() {
        task.rules.set_text(rule, value).expect("a value");
    }
    task
}

const QUEUE: QueueSize = QueueSize {
    scratch_bytes: 30 << 30,
    walltime_max_s: 86_400,
    cores: 2,
    core_power_milli: 10_000,
    access: Access::Copied,
};

#[test]
fn limits_follow_the_rules_of_the_task() {
    let of = |rules: &str, queue: &QueueSize, phase| {
        JobLimits::for_task(&task(rules, serde_json::json!({})), queue, phase)
    };
    let scouts = of("US=2", &QUEUE, Phase::Scouts);
    assert_eq!(scouts.files_per_job, Some(1));
    let bulk = of("US=2,NG=10,MW=3,MF=50", &QUEUE, Phase::Bulk);
    assert_eq!(bulk.files_per_job, None);
    assert_eq!(bulk.files_max, 50);
    assert_eq!(bulk.walltime_max_s, Some(3 * 3600));
    assert_eq!(
        bulk.bytes_max,
        Some((10 << 30) + (1500 << 20) + (300 << 20))
    );
    let plain = of("", &QUEUE, Phase::Bulk);
    assert_eq!(plain.bytes_max, Some(30 << 30));
    let unknown = QueueSize {
        scratch_bytes: 0,
        ..QUEUE
    };
    assert_eq!(of("", &unknown, Phase::Bulk).bytes_max, Some(20 << 30));
    let direct = QueueSize {
        access: Access::Direct,
        ..QUEUE
    };
    assert_eq!(of("", &direct, Phase::Bulk).bytes_max, Some(500_000 << 20));
    assert_eq!(of("NF=5", &direct, Phase::Bulk).bytes_max, None);
}

#[test]
fn walltime_of_an_event_follows_cores_power_and_efficiency() {
    let wanted = serde_json::json!({"cpuTime": 90, "cpuTimeUnit": "HS06sPerEvent"});
    let limits = JobLimits::for_task(&task("", wanted), &QUEUE, Phase::Bulk);
    // 90 HS06·s / (2 cores · 10 HS06 · 90 %) = 5 s.
    assert_eq!(limits.growth.walltime_us_per_event, Some(5_000_000));
    assert_eq!(limits.growth.base_walltime_s, 600);
}

#[test]
fn merge_limits_have_their_own_defaults() {
    let limits = JobLimits::for_merge(&task("", serde_json::json!({})), &QUEUE);
    assert_eq!(limits.files_max, 50);
    assert_eq!(limits.out_bytes_max, Some(5 << 30));
    let told = JobLimits::for_merge(&task("ZG=2,ZF=7", serde_json::json!({})), &QUEUE);
    assert_eq!(
        (told.files_per_job, told.out_bytes_max),
        (Some(7), Some(2 << 30))
    );
}

#[test]
fn a_million_files_are_cut_one_by_one() {
    let limits = JobLimits {
        files_max: 100,
        ..free()
    };
    let master = (0..1_000_000).map(|id| Content {
        id,
        size: MIB,
        ..Content::default()
    });
    let chunks = Splitter::new(master, Vec::new(), &limits).count();
    assert_eq!(chunks, 10_000);
}

prop_compose! {
    fn any_limits()(
        files_per_job in proptest::option::of(1_u64..6),
        files_max in 1_u64..8,
        events in proptest::option::of(1_u64..400),
        bytes in proptest::option::of(1_u64..5000),
        walltime in proptest::option::of(1_u64..5000),
        boundary in proptest::option::of(prop_oneof![
            Just(BoundaryRule::Within), Just(BoundaryRule::Whole), Just(BoundaryRule::Across)
        ]),
        respects_lumi_blocks in any::<bool>(),
        out in 0_u64..3,
    ) -> JobLimits {
        let mut limits = free();
        limits.files_per_job = files_per_job;
        limits.files_max = files_per_job.unwrap_or(files_max);
        limits.events_per_job = events;
        limits.bytes_max = bytes.map(|mib| mib * MIB);
        limits.walltime_max_s = walltime;
        limits.boundary = boundary;
        limits.respects_lumi_blocks = respects_lumi_blocks;
        limits.growth.out_bytes = out * MIB;
        limits.growth.walltime_us_per_event = Some(1_000_000);
        limits
    }
}

prop_compose! {
    fn any_file()(
        size in 0_u64..2000,
        events in proptest::option::of(1_u64..300),
        boundary in proptest::option::of(0_i64..3),
        lumi_block in proptest::option::of(0_i64..3),
    ) -> Content {
        Content { size: size * MIB, events, boundary, lumi_block, ..Content::default() }
    }
}

proptest! {
    #[test]
    fn every_file_is_in_exactly_one_chunk_in_order_and_limits_hold(
        limits in any_limits(),
        mut master in proptest::collection::vec(any_file(), 0..60),
        others in proptest::collection::vec(any_file(), 0..60),
        ratio in 1_u64..3_000_000,
    ) {
        for (id, file) in master.iter_mut().enumerate() {
            file.id = u64::try_from(id).expect("few files");
            file.lfn = format!("f{id}");
        }
        let secondaries = vec![secondary(&others, SecondaryRule::PerFile(ratio))];
        let chunks: Vec<Chunk> =
            Splitter::new(master.clone().into_iter(), secondaries, &limits).collect();
        let seen: Vec<Content> = chunks.iter().flat_map(|chunk| chunk.master.clone()).collect();
        prop_assert_eq!(seen, master);
        let mut next = 0;
        for chunk in &chunks {
            prop_assert!(!chunk.master.is_empty());
            if chunk.master.len() > 1 && !limits.is_one_bunch() && limits.boundary != Some(BoundaryRule::Whole) {
                prop_assert!(!limits.are_broken_by(&chunk.sums), "{:?}", chunk.sums);
            }
            if let Some(files) = limits.files_per_job.filter(|_| limits.is_one_bunch()) {
                prop_assert!(chunk.sums.master_files <= files);
            }
            if limits.stays_in_boundary() {
                prop_assert!(chunk.master.windows(2).all(|pair| pair[0].boundary == pair[1].boundary));
            }
            for at in &chunk.secondaries[0] {
                prop_assert_eq!(*at, next);
                next += 1;
            }
        }
    }
}
