//! Which queues remain: every filter. Which of them is chosen is in `weights`.

mod weights;

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, EndpointName, Hardware, Queue, SourceLabel, queue::QueueStatus};

use super::*;
use crate::{
    candidate::{Load, TaskPast},
    needs::{Mixture, NetworkWish, NucleusWish, PlaceWish, SoftwareWish, StoredInputs},
    pattern::NamePatterns,
    policy::Policy,
};

/// A queue that takes everything.
fn queue(name: &str) -> Queue {
    Queue {
        core_count: 8,
        storages: BTreeMap::from([(
            "pr".to_owned(),
            vec![EndpointName::new(format!("{name}_DISK"))],
        )]),
        ..Queue::named(name)
    }
}

fn profile(filters: &str, weights: &str) -> Profile {
    let text = format!(
        "[labels]\n\"*\" = \"p\"\n[profiles.p]\nabout = \"x\"\ncandidates_max = 5\n\
         used_before = \"tie\"\nfilters = [{filters}]\nweights = [{weights}]\n"
    );
    let policy = Policy::parse(&text).unwrap();
    policy.profile_of(&SourceLabel::default()).clone()
}

fn built_in(name: &str) -> Profile {
    let text = include_str!("../../../../profiles/brokerage.toml")
        .replace("\"*\" = \"common\"", &format!("\"*\" = \"{name}\""));
    let policy = Policy::parse(&text).unwrap();
    policy.profile_of(&SourceLabel::default()).clone()
}

/// A job of one core with no further wishes, changed by `change`.
fn with_job<T>(change: impl FnOnce(&mut JobNeeds<'_>), then: impl FnOnce(&JobNeeds<'_>) -> T) -> T {
    let (label, inputs) = (SourceLabel::default(), BTreeMap::new());
    let mut job = JobNeeds {
        source_label: &label,
        processing_type: "simulation",
        working_group: "spd",
        share: "Production",
        resource_type: "SCORE",
        priority: 500,
        cores: 1,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        walltime: Duration::ZERO,
        disk_io: 0,
        io_intensity: 0,
        place: PlaceWish::default(),
        software: SoftwareWish::default(),
        network: NetworkWish::default(),
        nucleus: NucleusWish::default(),
        avoids_virtual_placement: false,
        is_scout: false,
        inputs: &inputs,
        input: StoredInputs::default(),
        mixture: None,
        chain: &[],
        banned: &[],
    };
    change(&mut job);
    then(&job)
}

/// What the rules say about the queue; nothing if it passes.
fn refused_at(
    rules: &str,
    candidate: &Candidate<'_>,
    change: impl FnOnce(&mut JobNeeds<'_>),
) -> String {
    let profile = profile(rules, "");
    with_job(change, |job| {
        let verdicts = judge(&profile, job, std::slice::from_ref(candidate));
        match &verdicts[0].finding {
            Ok(_) => String::new(),
            Err(dropped) => dropped.why.to_string(),
        }
    })
}

fn refused(rules: &str, queue: &Queue, change: impl FnOnce(&mut JobNeeds<'_>)) -> String {
    refused_at(rules, &Candidate::unknown(queue), change)
}

/// The name of the chosen queue; nothing if there is none.
fn chosen(
    profile: &Profile,
    candidates: &[Candidate<'_>],
    change: impl FnOnce(&mut JobNeeds<'_>),
) -> String {
    with_job(change, |job| {
        choose(profile, job, PandaId::new(1), &mut candidates.to_vec())
            .map_or_else(String::new, |name| name.to_string())
    })
}

#[test]
fn only_queues_in_use_are_taken() {
    let mut disabled = queue("A");
    disabled.state = "DISABLED".to_owned();
    assert_eq!(
        refused("{ is = \"state\" }", &disabled, |_| ()),
        "is in state `DISABLED`, only `ACTIVE` queues are used"
    );
}

#[test]
fn only_online_queues_take_new_jobs_and_queues_under_test_take_test_jobs() {
    let mut some = queue("A");
    let rule = "{ is = \"status\" }";
    for status in [
        QueueStatus::Brokeroff,
        QueueStatus::Paused,
        QueueStatus::Offline,
        QueueStatus::Test,
    ] {
        some.status = status;
        assert!(refused(rule, &some, |_| ()).starts_with(&format!("is {}", status.as_str())));
    }
    let test = SourceLabel::new("prod_test");
    let refusal = with_job(
        |_| (),
        |job| {
            let job = JobNeeds {
                source_label: &test,
                ..job.clone()
            };
            judge(&profile(rule, ""), &job, &[Candidate::unknown(&some)])
        },
    );
    assert!(refusal[0].finding.is_ok());
}

#[test]
fn a_task_can_name_leave_out_and_describe_its_queues() {
    let rule = "{ is = \"named\" }";
    let mut some = queue("JINR_CPU");
    some.site = "JINR".to_owned();
    some.options.terms.cloud = "RU".to_owned();
    let names: &'static [QueueName] = Box::leak(Box::new([QueueName::new("PNPI")]));
    let patterns = |text: &str| -> &'static NamePatterns {
        Box::leak(Box::new(NamePatterns::new(&[text]).unwrap().unwrap()))
    };
    let wish = |place: PlaceWish<'static>| refused(rule, &some, |job| job.place = place);
    let none = PlaceWish::default();
    let not_named = "is not among the queues that the task names";
    assert_eq!(
        wish(PlaceWish {
            queues: names,
            ..none
        }),
        not_named
    );
    assert_eq!(
        wish(PlaceWish {
            included: Some(patterns("PNPI.*")),
            ..none
        }),
        not_named
    );
    assert_eq!(
        wish(PlaceWish {
            included: Some(patterns("JINR.*")),
            ..none
        }),
        ""
    );
    assert_eq!(
        wish(PlaceWish {
            excluded: Some(patterns(".*_CPU")),
            ..none
        }),
        "is excluded by the task"
    );
    assert_eq!(
        wish(PlaceWish {
            site: "PNPI",
            ..none
        }),
        "is of site `JINR`, which the task does not name"
    );
    assert_eq!(
        wish(PlaceWish {
            cloud: "CERN",
            ..none
        }),
        "is of cloud `RU`, which the task does not name"
    );
    assert_eq!(
        wish(PlaceWish {
            cloud: "RU",
            site: "JINR",
            ..none
        }),
        ""
    );
}

#[test]
fn production_and_analysis_queues_take_their_labels() {
    let rules = profile("{ is = \"kind\" }", "");
    let accepts = |kind: &str, label: &str| {
        let mut some = queue("A");
        some.kind = kind.to_owned();
        let label = SourceLabel::new(label);
        with_job(
            |_| (),
            |job| {
                let job = JobNeeds {
                    source_label: &label,
                    ..job.clone()
                };
                judge(&rules, &job, &[Candidate::unknown(&some)])[0]
                    .finding
                    .is_ok()
            },
        )
    };
    assert!(accepts("production", "managed") && !accepts("production", "user"));
    assert!(accepts("analysis", "panda") && !accepts("analysis", "managed"));
    assert!(accepts("unified", "user") && accepts("unified", "managed"));
    assert!(accepts("production", "ptest") && accepts("analysis", "ptest"));
}

#[test]
fn cores_fit_the_slot() {
    let any = "{ is = \"cores\", narrow_jobs = \"any\" }";
    let own = "{ is = \"cores\", narrow_jobs = \"own-width\" }";
    let mut some = queue("A");
    assert_eq!(
        refused(any, &some, |job| job.cores = 16),
        "has slots of 8 cores, the job needs 16"
    );
    assert_eq!(refused(any, &some, |_| ()), "");
    assert_eq!(
        refused(own, &some, |_| ()),
        "has slots of 8 cores, the job fills only one"
    );
    assert_eq!(refused(own, &some, |job| job.cores = 4), "");
    some.options.terms.takes_any_cores = true;
    some.core_count = 1;
    assert_eq!(refused(own, &some, |job| job.cores = 64), "");
}

#[test]
fn memory_lies_between_the_least_and_the_most_of_a_slot_or_a_core() {
    let rule = "{ is = \"memory\" }";
    let gib = ByteCount::from_gib;
    let mut some = queue("A");
    some.memory = gib(2);
    some.options.terms.memory_min = gib(1);
    let at = |some: &Queue, cores, memory| {
        refused(rule, some, |job| {
            job.cores = cores;
            job.memory = memory;
        })
    };
    assert_eq!(
        at(&some, 1, gib(4)),
        "has slots of 2 GiB memory, the job needs 4 GiB"
    );
    assert_eq!(
        at(&some, 1, ByteCount::from_mib(512)),
        "takes jobs from 1 GiB memory on, the job needs 512 MiB"
    );
    assert_eq!(at(&some, 1, gib(2)), "");
    assert_eq!(at(&some, 1, ByteCount::ZERO), "");
    some.options.terms.memory_is_per_core = true;
    assert_eq!(at(&some, 4, gib(8)), "");
    assert_ne!(at(&some, 4, gib(9)), "");
}

#[test]
fn disk_time_input_and_storage_are_limited() {
    let mut some = queue("A");
    some.disk = ByteCount::from_gib(10);
    some.max_time = Duration::from_secs(3600);
    some.options.terms.time_min = Duration::from_secs(600);
    some.max_input_size = Some(ByteCount::from_gib(1));
    some.options.terms.storage_free_gb = 150;
    let hours = |n: u64| Duration::from_secs(n * 3600);
    for (rule, expected) in [
        (
            "scratch",
            "has slots of 10 GiB scratch space, the job needs 11 GiB",
        ),
        ("walltime", "runs pilots for 1h, the job needs 2h"),
        ("input-size", "takes 1 GiB of input, the job reads 2 GiB"),
    ] {
        let text = refused(&format!("{{ is = \"{rule}\" }}"), &some, |job| {
            job.disk = ByteCount::from_gib(11);
            job.walltime = hours(2);
            job.input.size = ByteCount::from_gib(2);
        });
        assert_eq!(text, expected);
    }
    let short = |job: &mut JobNeeds<'_>| job.walltime = Duration::from_secs(60);
    assert_eq!(
        refused("{ is = \"walltime\" }", &some, short),
        "takes jobs from 10m on, the job needs 1m"
    );
    let rule = "{ is = \"storage-space\", free_min = \"200 GB\" }";
    assert!(refused(rule, &some, |_| ()).starts_with("has 150 GB left on its storage"));
    some.options.terms.storage_free_gb = 200;
    assert_eq!(refused(rule, &some, |_| ()), "");
}

#[test]
fn kinds_of_processing_software_and_hardware_are_looked_at() {
    let mut some = queue("A");
    let terms = &mut some.options.terms;
    terms.processing_excluded = vec!["simulation".to_owned()];
    terms.releases = vec!["spdroot-4.1".to_owned()];
    terms.hardware = vec![Hardware {
        arch: vec!["aarch64".to_owned()],
        ..Hardware::default()
    }];
    terms.disk_io_max = 100;
    terms.io_intensity_max = 200;
    for (rule, expected) in [
        (
            "processing-type",
            "does not take processing type `simulation`",
        ),
        ("software", "does not have release `spdroot-5`"),
        ("hardware", "has no nodes for architecture `#x86_64`"),
        (
            "disk-io",
            "takes 100 kB/s of disk I/O a core, the job needs 101",
        ),
        (
            "io-intensity",
            "takes 200 kB/s of I/O intensity, the job needs 300",
        ),
    ] {
        let text = refused(&format!("{{ is = \"{rule}\" }}"), &some, |job| {
            job.software.release = "spdroot-5";
            job.software.architecture = "#x86_64";
            job.disk_io = 101;
            job.io_intensity = 300;
        });
        assert_eq!(text, expected);
    }
    let image = "/cvmfs/spd.jinr.ru/x.sif";
    let text = refused("{ is = \"software\" }", &some, |job| {
        job.software.container = image
    });
    assert_eq!(
        text,
        format!("has no CVMFS, where container `{image}` lies")
    );
    some.options.terms.processing_allowed = Some(vec!["simulation".to_owned()]);
    some.options.terms.processing_excluded.clear();
    assert_eq!(refused("{ is = \"processing-type\" }", &some, |_| ()), "");
}

#[test]
fn a_policy_of_the_queue_can_give_a_kind_of_job_nothing() {
    let at = |policy: &str| {
        let mut some = queue("A");
        some.options.terms.fair_share_policy = policy.to_owned();
        refused("{ is = \"zero-share\" }", &some, |_| ()).is_empty()
    };
    for (policy, takes) in [
        ("", true),
        ("type=simulation:0%", false),
        ("type=reco.*:0%,type=any:100%", true),
        ("type=any:group=spd:priority>400:0%", false),
        ("type=any:group=spd:priority>=900:0%", true),
        ("type=anyhigh:0%", true),
        ("type=simulation:50%;type=any:0%", true),
        ("moon=full:0%", true),
    ] {
        assert_eq!(at(policy), takes, "{policy}");
    }
}

#[test]
fn what_goes_on_at_a_queue_can_close_it() {
    let mut some = queue("A");
    some.options.pledged_cpu = 10;
    let hours = |n: u64| Some(Duration::from_secs(n * 3600));
    let candidate = Candidate {
        load: Load {
            activated: 3,
            transferring: 2001,
            running_cores: 11,
            ..Load::default()
        },
        share_load: Load {
            activated: 21,
            running: 10,
            ..Load::default()
        },
        task: TaskPast {
            failed: 11,
            finished: 5,
            closed: 1,
            ..TaskPast::default()
        },
        pilot_seen: hours(4),
        job_started: hours(3),
        ..Candidate::unknown(&some)
    };
    for (rule, expected) in [
        (
            "is = \"pilots-seen\", within = \"3h\"",
            "has had no pilot for 3h",
        ),
        (
            "is = \"inactive\", within = \"2h\"",
            "has started no job for 2h although 3 wait",
        ),
        (
            "is = \"queue-cap\", least = 20, per_running = 2.0",
            "is full for share `Production`: 21 of 20 wait while 10 run",
        ),
        (
            "is = \"transferring\", least = 2000, per_running = 2.0",
            "has 2001 jobs with outputs on their way, 2000 may be",
        ),
        (
            "is = \"over-pledge\", ratio = 1.0",
            "uses 11 cores of 10 that are pledged",
        ),
        (
            "is = \"task-failures\", least = 10, per_finished = 2.0",
            "failed 11 jobs of this task and finished 5",
        ),
        ("is = \"task-closed\"", "gave 1 jobs of this task back"),
    ] {
        assert_eq!(
            refused_at(&format!("{{ {rule} }}"), &candidate, |_| ()),
            expected
        );
    }
    some.options.pledged_cpu = -1;
    let rule = "{ is = \"opportunistic\", priority_min = 900 }";
    assert_eq!(refused(rule, &some, |_| ()), "");
    assert!(refused(rule, &some, |job| job.priority = 900).starts_with("is opportunistic"));
}

#[test]
fn a_queue_is_overloaded_only_compared_with_others() {
    let rules = profile("{ is = \"overload\", least = 20, ratio = 1.2 }", "");
    let (a, b) = (queue("A"), queue("B"));
    let at = |queued, running| Load {
        activated: queued,
        running,
        ..Load::default()
    };
    let verdicts = |a_load, b_load| {
        let candidates = [
            Candidate {
                share_load: a_load,
                ..Candidate::unknown(&a)
            },
            Candidate {
                share_load: b_load,
                ..Candidate::unknown(&b)
            },
        ];
        with_job(
            |_| (),
            |job| {
                let verdicts = judge(&rules, job, &candidates);
                verdicts
                    .iter()
                    .map(|it| it.finding.is_ok())
                    .collect::<Vec<_>>()
            },
        )
    };
    assert_eq!(verdicts(at(100, 10), at(30, 30)), [false, true]);
    assert_eq!(verdicts(at(20, 0), at(30, 30)), [true, true]);
    assert_eq!(verdicts(at(21, 0), at(30, 30)), [false, true]);
}

#[test]
fn a_wish_drops_queues_only_while_others_remain() {
    let banned = [QueueName::new("A")];
    let rules = profile(
        "{ is = \"banned\", if_others_remain = true }",
        "{ is = \"free-slots\" }",
    );
    let (a, b) = (queue("A"), queue("B"));
    let full = Candidate {
        load: Load {
            activated: 1000,
            ..Load::default()
        },
        ..Candidate::unknown(&b)
    };
    with_job(
        |_| (),
        |job| {
            let job = JobNeeds {
                banned: &banned,
                ..job.clone()
            };
            let at = |candidates: &[Candidate<'_>]| {
                choose(&rules, &job, PandaId::new(1), &mut candidates.to_vec())
            };
            assert_eq!(
                at(&[Candidate::unknown(&a), full.clone()]),
                Some(b.name.clone())
            );
            assert_eq!(at(&[Candidate::unknown(&a)]), Some(a.name.clone()));
        },
    );
}
