//! What the first jobs tell, and when a person is asked.

use serde_json::{Value, json};

use super::*;
use crate::{RefineSettings, Rule, TaskParams, refine};

fn task(changes: Value) -> RefinedTask {
    let mut map = json!({"taskName": "t", "noInput": true, "jobParameters": []});
    for (key, value) in changes.as_object().expect("an object") {
        map[key] = value.clone();
    }
    refine(
        &TaskParams::from_value(map).expect("an object"),
        &RefineSettings::default(),
    )
    .expect("a good map")
}

fn report() -> ScoutReport {
    ScoutReport {
        input_bytes: 100 << 20,
        events: 1000,
        output_bytes: 50 << 20,
        cpu_time_s: 7000,
        walltime_s: 7800,
        cores: 1,
        core_power_milli: 10_000,
        max_pss_kb: 1_000_000,
        ..ScoutReport::default()
    }
}

const MANY: ExpectedJobs = ExpectedJobs {
    new: 100,
    by_files: 100,
    by_events: 0,
};

fn settings() -> ScoutSettings {
    ScoutSettings::default()
}

#[test]
fn needs_follow_from_what_was_used() {
    let estimate = estimate(&task(json!({})), &[report()], &settings());
    // (7800 − 600) s × 10 HS06 × 90 % / 1000 events = 64.8 HS06·s, and a half more.
    assert_eq!(estimate.cpu_time, Some(98));
    assert_eq!(estimate.cpu_time_unit, Some(CpuTimeUnit::PerEvent));
    assert_eq!(estimate.ram_mb, Some(1074));
    assert_eq!(estimate.out_disk_kib, Some(512));
    assert_eq!(estimate.walltime_s_per_mb, Some(105));
    assert_eq!(estimate.io_intensity, Some(20));
    assert_eq!(estimate.cpu_efficiency, Some(90));
}

#[test]
fn short_events_are_counted_in_thousandths() {
    let quick = ScoutReport {
        events: 100_000,
        ..report()
    };
    let estimate = estimate(&task(json!({})), &[quick], &settings());
    assert_eq!(
        (estimate.cpu_time, estimate.cpu_time_unit),
        (Some(972), Some(CpuTimeUnit::MilliPerEvent))
    );
}

#[test]
fn memory_is_a_percentile_per_core_without_the_base() {
    let reports: Vec<ScoutReport> = [1, 2, 3, 4, 5]
        .map(|gib| ScoutReport {
            max_pss_kb: (gib * 4 + 1) << 20,
            cores: 4,
            ..report()
        })
        .to_vec();
    let per_core = task(json!({"ramCount": 2000, "ramUnit": "MBPerCore", "baseRamCount": 1024}));
    // The fourth of five is 4 GiB per core, and a tenth more.
    assert_eq!(
        estimate(&per_core, &reports, &settings()).ram_mb,
        Some(4505)
    );
    let fixed = task(json!({"ramCount": 2000, "ramUnit": "MBPerCoreFixed"}));
    assert_eq!(estimate(&fixed, &reports, &settings()).ram_mb, None);
    let least = ScoutSettings {
        ram_min_mb: 9000,
        ..settings()
    };
    assert_eq!(estimate(&per_core, &reports, &least).ram_mb, Some(9000));
}

#[test]
fn few_events_say_nothing_unless_the_job_ran_long() {
    let few = ScoutReport {
        events: 5,
        ..report()
    };
    let none = estimate(&task(json!({})), &[few], &settings());
    assert_eq!((none.cpu_time, none.out_disk_kib), (None, None));
    let long = ScoutReport {
        walltime_s: 7 * 3600,
        ..few
    };
    assert!(
        estimate(&task(json!({})), &[long], &settings())
            .cpu_time
            .is_some()
    );
}

#[test]
fn percentiles_lie_between_values() {
    assert_eq!(percentile(vec![10, 20, 30, 40], 75), Some(32));
    assert_eq!(percentile(vec![7], 95), Some(7));
    assert_eq!(percentile(Vec::new(), 95), None);
}

#[test]
fn an_estimate_ends_the_first_phase() {
    let mut task = task(json!({"workDiskCount": 500}));
    let scouts = estimate(
        &task,
        &[ScoutReport {
            work_dir_bytes: Some(300 << 20),
            ..report()
        }],
        &settings(),
    );
    scouts.apply(&mut task);
    assert_eq!(task.rules.text(Rule::UseScout), Some("3"));
    assert_eq!(
        (task.resources.ram_mb, task.resources.work_disk),
        (1074, 500)
    );
    assert_eq!(task.resources.out_bytes(), 512 << 10);
}

#[test]
fn enough_scouts_must_succeed() {
    assert!(has_succeeded(5, 5, Some(5)));
    assert!(!has_succeeded(4, 6, Some(5)));
    assert!(has_succeeded(1, 9, None));
    assert!(!has_succeeded(0, 0, None));
}

fn asks(
    changes: Value,
    reports: &[ScoutReport],
    expected: ExpectedJobs,
    settings: &ScoutSettings,
) -> Option<Exhausted> {
    let stated = task(changes);
    let mut changed = stated.clone();
    let scouts = estimate(&stated, reports, settings);
    exhausted(&stated, &mut changed, &scouts, reports, expected, settings)
}

#[test]
fn a_person_is_asked_for_much_more_memory_or_cpu_time_than_stated() {
    let large = ScoutReport {
        max_pss_kb: 6 << 20,
        ..report()
    };
    assert!(matches!(
        asks(json!({}), &[large], MANY, &settings()),
        Some(Exhausted::Ram { .. })
    ));
    assert_eq!(
        asks(
            json!({}),
            &[large],
            ExpectedJobs { new: 20, ..MANY },
            &settings()
        ),
        None
    );
    assert_eq!(
        asks(
            json!({"ramCount": 5000, "ramUnit": "MBPerCore"}),
            &[large],
            MANY,
            &settings()
        ),
        None
    );
    let wanted = json!({"cpuTime": 1, "cpuTimeUnit": "HS06sPerEvent"});
    let slow = ScoutReport {
        walltime_s: 25 * 3600,
        ..report()
    };
    assert!(matches!(
        asks(wanted.clone(), &[slow], MANY, &settings()),
        Some(Exhausted::CpuTime { .. })
    ));
    assert_eq!(asks(wanted, &[report()], MANY, &settings()), None);
}

#[test]
fn a_person_is_asked_for_idle_and_for_overused_cores() {
    let idle = ScoutReport {
        cpu_time_s: 700,
        ..report()
    };
    assert!(matches!(
        asks(json!({"minCpuEfficiency": 50}), &[idle], MANY, &settings()),
        Some(Exhausted::LowEfficiency {
            median: 9,
            wanted: 50
        })
    ));
    assert_eq!(asks(json!({}), &[idle], MANY, &settings()), None);
    let busy = ScoutReport {
        cpu_time_s: 80_000,
        ..report()
    };
    assert!(matches!(
        asks(json!({}), &[busy], MANY, &settings()),
        Some(Exhausted::OverCpuConsumption { .. })
    ));
}

#[test]
fn short_jobs_lose_their_rules_before_a_person_is_asked() {
    let strict = ScoutSettings {
        short_minutes: 10,
        short_tenths: 5,
        short_jobs_min: 50,
        ..settings()
    };
    let short = ScoutReport {
        walltime_s: 30,
        cpu_time_s: 20,
        ..report()
    };
    let asked = asks(json!({}), &[short], MANY, &strict);
    assert!(
        matches!(
            asked,
            Some(Exhausted::ManyShortJobs {
                short: 1,
                all: 1,
                minutes: 10
            })
        ),
        "{asked:?}"
    );
    let few = ExpectedJobs {
        by_files: 40,
        ..MANY
    };
    assert_eq!(asks(json!({}), &[short], few, &strict), None);
    let copied = ScoutReport {
        was_forced_to_copy: true,
        ..short
    };
    assert_eq!(asks(json!({}), &[copied], MANY, &strict), None);
    // Ten times the input makes these long enough.
    let growing = ScoutReport {
        walltime_s: 120,
        ..short
    };
    assert_eq!(asks(json!({}), &[growing], MANY, &strict), None);

    let mending = ScoutSettings {
        removes_short_rules: true,
        ..strict
    };
    let stated = task(json!({"nFilesPerJob": 1, "nMaxFilesPerJob": 5}));
    let mut changed = stated.clone();
    let scouts = estimate(&stated, &[short], &mending);
    assert_eq!(
        exhausted(&stated, &mut changed, &scouts, &[short], MANY, &mending),
        None
    );
    assert_eq!(changed.rules.files_per_job(), None);
    assert_eq!(changed.rules.positive(Rule::NMaxFilesPerJob), Some(200));
}

#[test]
fn the_largest_output_decides_how_much_a_job_takes() {
    let mut task = task(json!({"tgtMaxOutputForNG": 5, "outDiskCount": 512, "outDiskUnit": "kB"}));
    // 5 GiB in the largest of two equal outputs are 10 GiB, from 20 GiB of input.
    assert_eq!(gib_per_job(&task, 200, 100), Some(28));
    task.rules.remove(Rule::TgtMaxOutputForNg);
    assert_eq!(gib_per_job(&task, 200, 100), None);
}
