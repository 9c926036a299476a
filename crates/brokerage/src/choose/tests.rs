//! Every filter, every weight, and ties.

use ailurus_model::queue::QueueStatus;

use super::*;

/// A queue that takes everything.
fn queue(name: &str) -> Queue {
    Queue {
        name: name.into(),
        resource: name.into(),
        site: name.to_owned(),
        kind: "unified".to_owned(),
        state: "ACTIVE".to_owned(),
        status: QueueStatus::Online,
        resource_type: "grid".to_owned(),
        core_count: 8,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        max_time: Duration::ZERO,
        time_floor: Duration::ZERO,
        max_input_size: None,
        platform: String::new(),
        environ: String::new(),
        catchall: String::new(),
        copy_tools: BTreeMap::new(),
        storages: BTreeMap::from([(
            "pr".to_owned(),
            vec![EndpointName::new(format!("{name}_DISK"))],
        )]),
        has_cvmfs: false,
        walltime_grace_percent: 0,
        memory_grace_percent: 0,
        disk_grace_percent: 0,
        job_walltime_is_limit: false,
        worker_queue_limit: None,
        worker_limit: None,
        options: ailurus_model::QueueOptions::default(),
    }
}

/// A job of one core with no further wishes, changed by `change`.
fn with_job<T>(change: impl FnOnce(&mut JobNeeds<'_>), then: impl FnOnce(&JobNeeds<'_>) -> T) -> T {
    let (label, inputs) = (SourceLabel::default(), BTreeMap::new());
    let mut job = JobNeeds {
        panda_id: PandaId::new(0),
        source_label: &label,
        cores: 1,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        walltime: Duration::ZERO,
        allowed: &[],
        inputs: &inputs,
        chain: &[],
        avoid: None,
    };
    change(&mut job);
    then(&job)
}

fn idle(queue: &Queue) -> Candidate<'_> {
    Candidate {
        queue,
        backlog: 0,
        running: 0,
    }
}

/// The reason for which the queue refuses the job, empty if it takes it.
fn refused(queue: &Queue, change: impl FnOnce(&mut JobNeeds<'_>)) -> String {
    with_job(change, |job| {
        refusal(job, queue).map_or_else(String::new, |refusal| refusal.to_string())
    })
}

fn chosen(candidates: &[Candidate<'_>], change: impl FnOnce(&mut JobNeeds<'_>)) -> String {
    with_job(change, |job| {
        choose(job, candidates)
            .queue
            .map_or_else(String::new, |name| name.to_string())
    })
}

#[test]
fn only_queues_in_use_are_taken() {
    let mut disabled = queue("A");
    disabled.state = "DISABLED".to_owned();
    assert_eq!(
        refused(&disabled, |_| ()),
        "is in state `DISABLED`, only `ACTIVE` queues are used"
    );
}

#[test]
fn only_online_queues_take_new_jobs() {
    let mut some = queue("A");
    for status in [
        QueueStatus::Brokeroff,
        QueueStatus::Paused,
        QueueStatus::Offline,
    ] {
        some.status = status;
        assert!(refused(&some, |_| ()).starts_with(&format!("is {}", status.as_str())));
    }
}

#[test]
fn a_queue_under_test_takes_test_jobs_only() {
    let mut some = queue("A");
    some.status = QueueStatus::Test;
    assert_eq!(
        refused(&some, |_| ()),
        "is test, it takes no new jobs of label `managed`"
    );
    let test = SourceLabel::new("prod_test");
    let refusal = with_job(
        |_| (),
        |job| {
            refusal(
                &JobNeeds {
                    source_label: &test,
                    ..job.clone()
                },
                &some,
            )
        },
    );
    assert_eq!(refusal, None);
}

#[test]
fn a_task_can_name_its_queues() {
    let allowed = [QueueName::new("B")];
    let refuse = |name: &str| {
        with_job(
            |_| (),
            |job| {
                refusal(
                    &JobNeeds {
                        allowed: &allowed,
                        ..job.clone()
                    },
                    &queue(name),
                )
            },
        )
    };
    assert_eq!(refuse("A"), Some(Refusal::NotNamed));
    assert_eq!(refuse("B"), None);
}

#[test]
fn production_and_analysis_queues_take_their_labels() {
    let accepts = |kind: &str, label: &str| {
        let mut some = queue("A");
        some.kind = kind.to_owned();
        let label = SourceLabel::new(label);
        with_job(
            |_| (),
            |job| {
                refusal(
                    &JobNeeds {
                        source_label: &label,
                        ..job.clone()
                    },
                    &some,
                )
                .is_none()
            },
        )
    };
    assert!(accepts("production", "managed") && !accepts("production", "user"));
    assert!(accepts("analysis", "panda") && !accepts("analysis", "managed"));
    assert!(accepts("unified", "user") && accepts("unified", "managed"));
    assert!(accepts("production", "ptest") && accepts("analysis", "ptest"));
}

#[test]
fn cores_are_limited_by_the_slot() {
    assert_eq!(
        refused(&queue("A"), |job| job.cores = 16),
        "has slots of 8 cores, the job needs 16"
    );
}

#[test]
fn memory_is_limited_by_the_slot() {
    let mut some = queue("A");
    some.memory = ByteCount::from_gib(2);
    assert_eq!(
        refused(&some, |job| job.memory = ByteCount::from_gib(4)),
        "has slots of 2 GiB memory, the job needs 4 GiB"
    );
    assert_eq!(
        refused(&some, |job| job.memory = ByteCount::from_gib(2)),
        ""
    );
}

#[test]
fn scratch_space_is_limited_by_the_slot() {
    let mut some = queue("A");
    some.disk = ByteCount::from_gib(10);
    assert_eq!(
        refused(&some, |job| job.disk = ByteCount::from_gib(11)),
        "has slots of 10 GiB scratch space, the job needs 11 GiB"
    );
}

#[test]
fn wall_time_is_limited_by_the_pilots_life() {
    let mut some = queue("A");
    some.max_time = Duration::from_secs(3600);
    assert_eq!(
        refused(&some, |job| job.walltime = Duration::from_secs(7200)),
        "runs pilots for 1h, the job needs 2h"
    );
}

#[test]
fn input_size_is_limited_by_the_queue() {
    let mut some = queue("A");
    some.max_input_size = Some(ByteCount::from_gib(1));
    let inputs = stored(&[("B_DISK", 1, 2)]);
    let text = with_job(
        |_| (),
        |job| {
            refusal(
                &JobNeeds {
                    inputs: &inputs,
                    ..job.clone()
                },
                &some,
            )
            .expect("too much")
            .to_string()
        },
    );
    assert_eq!(text, "takes 1 GiB of input, the job reads 2 GiB");
}

/// Endpoint, files and GiB.
fn stored(rows: &[(&str, u64, u64)]) -> BTreeMap<EndpointName, StoredInputs> {
    rows.iter()
        .map(|(endpoint, files, gib)| {
            let stored = StoredInputs {
                files: *files,
                size: ByteCount::from_gib(*gib),
            };
            (EndpointName::new(*endpoint), stored)
        })
        .collect()
}

#[test]
fn a_job_goes_where_most_of_its_bytes_lie() {
    let (a, b) = (queue("A"), queue("B"));
    let inputs = stored(&[("A_DISK", 5, 1), ("B_DISK", 1, 9)]);
    with_job(
        |_| (),
        |job| {
            let choice = choose(
                &JobNeeds {
                    inputs: &inputs,
                    ..job.clone()
                },
                &[idle(&a), idle(&b)],
            );
            assert_eq!(choice.queue, Some(b.name.clone()));
        },
    );
}

#[test]
fn files_count_where_sizes_are_unknown() {
    let (a, b) = (queue("A"), queue("B"));
    let inputs = stored(&[("A_DISK", 1, 0), ("B_DISK", 5, 0)]);
    with_job(
        |_| (),
        |job| {
            let choice = choose(
                &JobNeeds {
                    inputs: &inputs,
                    ..job.clone()
                },
                &[idle(&a), idle(&b)],
            );
            assert_eq!(choice.queue, Some(b.name.clone()));
        },
    );
}

#[test]
fn a_job_goes_where_less_waits_for_what_runs() {
    let (a, b) = (queue("A"), queue("B"));
    let busy = Candidate {
        backlog: 10,
        running: 10,
        ..idle(&a)
    };
    let wide = Candidate {
        backlog: 20,
        running: 200,
        ..idle(&b)
    };
    assert_eq!(chosen(&[busy, wide], |_| ()), "B");
}

#[test]
fn a_chain_stays_together_until_the_queue_is_full() {
    let (a, b) = (queue("A"), queue("B"));
    let chain = [b.name.clone()];
    let at = |backlog: u64| {
        let candidates = [
            idle(&a),
            Candidate {
                backlog,
                running: 10,
                ..idle(&b)
            },
        ];
        with_job(
            |_| (),
            |job| {
                choose(
                    &JobNeeds {
                        chain: &chain,
                        ..job.clone()
                    },
                    &candidates,
                )
                .queue
            },
        )
    };
    assert_eq!(at(0), Some(b.name.clone()));
    assert_eq!(at(10), Some(a.name.clone()));
}

#[test]
fn the_queue_of_a_failure_is_the_last_resort() {
    let (a, b) = (queue("A"), queue("B"));
    let full = Candidate {
        backlog: 1000,
        ..idle(&b)
    };
    let avoided = a.name.clone();
    with_job(
        |_| (),
        |job| {
            let job = JobNeeds {
                avoid: Some(&avoided),
                ..job.clone()
            };
            assert_eq!(choose(&job, &[idle(&a), full]).queue, Some(b.name.clone()));
            assert_eq!(choose(&job, &[idle(&a)]).queue, Some(a.name.clone()));
        },
    );
}

#[test]
fn equal_queues_take_turns() {
    let queues = [queue("A"), queue("B"), queue("C")];
    let candidates: Vec<Candidate<'_>> = queues.iter().map(idle).collect();
    let turns: Vec<String> = (0..6)
        .map(|id| chosen(&candidates, |job| job.panda_id = PandaId::new(id)))
        .collect();
    assert_eq!(turns, ["A", "B", "C", "A", "B", "C"]);
}

#[test]
fn the_order_of_the_candidates_does_not_matter() {
    let (a, b) = (queue("A"), queue("B"));
    assert_eq!(
        chosen(&[idle(&a), idle(&b)], |_| ()),
        chosen(&[idle(&b), idle(&a)], |_| ())
    );
}

#[test]
fn every_queue_gets_a_verdict() {
    let (mut a, b) = (queue("A"), queue("B"));
    a.status = QueueStatus::Offline;
    let texts: Vec<String> = with_job(|_| (), |job| choose(job, &[idle(&a), idle(&b)]))
        .verdicts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "`A` is offline, it takes no new jobs of label `managed`",
            "`B` fits with weight 100 (local data 0, free 100, chain 0)",
        ]
    );
}

#[test]
fn nothing_is_chosen_among_no_queues() {
    assert_eq!(chosen(&[], |_| ()), "");
}
