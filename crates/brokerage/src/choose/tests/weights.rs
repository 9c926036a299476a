//! Which of the queues that remain is chosen: every weight, ties, and jobs that are spread.

use super::*;

/// Endpoints with commas between them, files and GiB.
fn stored(rows: &[(&str, u64, u64)]) -> (BTreeMap<Vec<EndpointName>, StoredInputs>, StoredInputs) {
    let mut all = StoredInputs::default();
    let rows = rows
        .iter()
        .map(|(endpoint, files, gib)| {
            let stored = StoredInputs {
                files: *files,
                size: ByteCount::from_gib(*gib),
            };
            all.files += stored.files;
            all.size = all.size.plus(stored.size);
            (endpoint.split(',').map(EndpointName::new).collect(), stored)
        })
        .collect();
    (rows, all)
}

#[test]
fn a_job_goes_where_most_of_its_input_lies() {
    let (a, b) = (queue("A"), queue("B"));
    let common = built_in("common");
    for rows in [
        [("A_DISK", 5, 1), ("B_DISK", 1, 9)],
        [("A_DISK", 1, 0), ("B_DISK", 5, 0)],
    ] {
        let (inputs, input) = stored(&rows);
        let queue = with_job(
            |_| (),
            |job| {
                let job = JobNeeds {
                    inputs: &inputs,
                    input,
                    ..job.clone()
                };
                let mut candidates = [Candidate::unknown(&a), Candidate::unknown(&b)];
                choose(&common, &job, PandaId::new(1), &mut candidates)
            },
        );
        assert_eq!(queue, Some(b.name.clone()), "{rows:?}");
    }
}

#[test]
fn a_cheap_way_is_preferred_to_a_dear_one() {
    let (a, b) = (queue("A"), queue("B"));
    let (inputs, input) = stored(&[("C_DISK", 10, 10)]);
    let (dear, cheap) = ([("C_DISK".into(), 50)], [("C_DISK".into(), 2)]);
    let queue = with_job(
        |_| (),
        |job| {
            let job = JobNeeds {
                inputs: &inputs,
                input,
                ..job.clone()
            };
            let mut candidates = [
                Candidate {
                    costs: &dear,
                    ..Candidate::unknown(&a)
                },
                Candidate {
                    costs: &cheap,
                    ..Candidate::unknown(&b)
                },
            ];
            choose(&built_in("common"), &job, PandaId::new(1), &mut candidates)
        },
    );
    assert_eq!(queue, Some(b.name.clone()));
}

#[test]
fn a_chain_stays_together_until_the_queue_is_full() {
    let (a, b) = (queue("A"), queue("B"));
    let chain = [b.name.clone()];
    let at = |activated: u64| {
        with_job(
            |_| (),
            |job| {
                let job = JobNeeds {
                    chain: &chain,
                    ..job.clone()
                };
                let mut candidates = [
                    Candidate::unknown(&a),
                    Candidate {
                        load: Load {
                            activated,
                            running: 10,
                            ..Load::default()
                        },
                        ..Candidate::unknown(&b)
                    },
                ];
                choose(&built_in("common"), &job, PandaId::new(1), &mut candidates)
            },
        )
    };
    assert_eq!(at(0), Some(b.name.clone()));
    assert_eq!(at(10), Some(a.name.clone()));
}

#[test]
fn a_mixture_stays_together_also_where_others_wait_less() {
    let (a, b) = (queue("A"), queue("B"));
    let with = Candidate {
        load: Load {
            activated: 10,
            running: 1,
            ..Load::default()
        },
        mixture_jobs: 3,
        ..Candidate::unknown(&b)
    };
    let mixture = Some(Mixture {
        sample: "minbias",
        size: ByteCount::from_gib(100),
    });
    let at = |mixture| {
        let candidates = [Candidate::unknown(&a), with.clone()];
        chosen(&built_in("common"), &candidates, |job| {
            job.mixture = mixture
        })
    };
    assert_eq!(at(mixture), "B");
    assert_eq!(at(None), "A");
}

#[test]
fn the_generic_weight_is_pandas() {
    let a = queue("A");
    let candidate = Candidate {
        load: Load {
            assigned: 1,
            activated: 3,
            running: 9,
            ..Load::default()
        },
        ..Candidate::unknown(&a)
    };
    let rules = profile("", "{ is = \"generic\" }, { is = \"production\" }");
    with_job(
        |_| (),
        |job| {
            let verdicts = judge(&rules, job, std::slice::from_ref(&candidate));
            let text = verdicts[0].to_string();
            // 10 / 5 / 2 and 10 / 14.
            assert_eq!(
                text,
                "`A` fits with weight 0.714 (generic 1.000, production 0.714)"
            );
        },
    );
}

#[test]
fn the_generic_broker_prefers_queues_that_the_task_used() {
    let (a, b) = (queue("A"), queue("B"));
    let seen = Some(Duration::ZERO);
    let candidates = [
        Candidate {
            pilot_seen: seen,
            ..Candidate::unknown(&a)
        },
        Candidate {
            pilot_seen: seen,
            load: Load {
                activated: 50,
                ..Load::default()
            },
            task: TaskPast {
                jobs: 1,
                ..TaskPast::default()
            },
            ..Candidate::unknown(&b)
        },
    ];
    let mut generic = built_in("generic");
    // The queues of these tests have slots of eight cores.
    assert_eq!(chosen(&generic, &candidates, |job| job.cores = 8), "B");
    generic.used_before = UsedBefore::Tie;
    assert_eq!(chosen(&generic, &candidates, |job| job.cores = 8), "A");
}

fn spread(profile: &Profile, candidates: &mut [Candidate<'_>], jobs: u64) -> Vec<u64> {
    let mut placed = vec![0; candidates.len()];
    with_job(
        |_| (),
        |job| {
            let mut spread = Spread::new(profile, job);
            for id in 1..=jobs {
                if let Some(index) = spread.place(PandaId::new(id), candidates) {
                    placed[index] += 1;
                }
            }
        },
    );
    placed
}

#[test]
fn jobs_that_are_alike_spread_over_equal_queues() {
    let queues = [queue("A"), queue("B"), queue("C")];
    let mut candidates: Vec<_> = queues.iter().map(Candidate::unknown).collect();
    assert_eq!(
        spread(&built_in("common"), &mut candidates, 300),
        [100, 100, 100]
    );
}

#[test]
fn at_most_so_many_of_the_best_queues_are_used_at_a_time() {
    let queues: Vec<Queue> = (0..9).map(|nr| queue(&format!("Q{nr}"))).collect();
    let mut candidates: Vec<_> = queues.iter().map(Candidate::unknown).collect();
    let placed = spread(&profile("", "{ is = \"generic\" }"), &mut candidates, 50);
    assert_eq!(placed.iter().filter(|n| **n > 0).count(), 5);
}

#[test]
fn a_cap_stops_the_spreading_at_each_queue() {
    let queues = [queue("A"), queue("B")];
    let mut candidates: Vec<_> = queues.iter().map(Candidate::unknown).collect();
    let rules = profile(
        "{ is = \"queue-cap\", least = 20, per_running = 2.0 }",
        "{ is = \"free-slots\" }",
    );
    assert_eq!(spread(&rules, &mut candidates, 100), [21, 21]);
}

#[test]
fn the_same_jobs_go_to_the_same_queues_again_and_nothing_goes_nowhere() {
    let queues = [queue("A"), queue("B"), queue("C")];
    let fresh = || queues.iter().map(Candidate::unknown).collect::<Vec<_>>();
    let common = built_in("common");
    assert_eq!(
        spread(&common, &mut fresh(), 47),
        spread(&common, &mut fresh(), 47)
    );
    assert_eq!(chosen(&common, &[], |_| ()), "");
}

#[test]
fn any_replica_at_the_site_counts_and_each_file_takes_its_cheapest_way() {
    let (a, b) = (queue("A"), queue("B"));
    let (inputs, input) = stored(&[("A_DISK,B_DISK", 3, 30), ("C_DISK,D_DISK", 1, 10)]);
    let dear: [(EndpointName, u64); 2] = [("C_DISK".into(), 50), ("D_DISK".into(), 40)];
    let cheap: [(EndpointName, u64); 2] = [("C_DISK".into(), 50), ("D_DISK".into(), 2)];
    with_job(
        |_| (),
        |job| {
            let job = JobNeeds {
                inputs: &inputs,
                input,
                ..job.clone()
            };
            for queue in [&a, &b] {
                let candidate = Candidate::unknown(queue);
                let at_hand = candidate.part_at_hand(&job);
                assert_eq!((at_hand.files, at_hand.size), (3, ByteCount::from_gib(30)));
            }
            let rules = profile("{ is = \"local-input\" }", "");
            let verdicts = judge(&rules, &job, &[Candidate::unknown(&a)]);
            let why = "has 3 of the job's 4 input files at hand";
            assert_eq!(verdicts[0].reason(), why);
            let mut candidates = [
                Candidate {
                    costs: &dear,
                    ..Candidate::unknown(&a)
                },
                Candidate {
                    costs: &cheap,
                    ..Candidate::unknown(&b)
                },
            ];
            let common = built_in("common");
            let best = choose(&common, &job, PandaId::new(1), &mut candidates);
            assert_eq!(best, Some(b.name.clone()));
        },
    );
}

#[test]
fn nodes_must_reach_the_network_as_the_task_wants_it() {
    let mut some = queue("A");
    let rule = "{ is = \"network\" }";
    for (connectivity, stack, access, wanted, expected) in [
        ("", "", "", "", true),
        ("", "", "http", "", false),
        ("http", "", "http", "", true),
        ("full", "", "http", "", true),
        ("http", "", "full", "", false),
        ("full", "IPv6", "full", "IPv6", true),
        ("full", "ipv4", "full", "IPv6", false),
        ("full", "", "", "IPv4", false),
    ] {
        connectivity.clone_into(&mut some.options.terms.connectivity);
        stack.clone_into(&mut some.options.terms.ip_stack);
        let why = refused(rule, &some, |job| {
            job.network = NetworkWish {
                access,
                stack: wanted,
            };
        });
        assert_eq!(why.is_empty(), expected, "{connectivity} {access}: {why}");
    }
    "none".clone_into(&mut some.options.terms.connectivity);
    some.options.terms.ip_stack.clear();
    assert_eq!(
        refused(rule, &some, |job| job.network.access = "full"),
        "reaches the network by `none`, the task wants `full`"
    );
}

#[test]
fn a_virtual_placement_is_avoided_by_who_says_so() {
    let rule = "{ is = \"virtual-placement\" }";
    let virtual_queue = queue("A_VP");
    assert_eq!(refused(rule, &virtual_queue, |_| ()), "");
    assert_eq!(
        refused(rule, &virtual_queue, |job| job.avoids_virtual_placement =
            true),
        "reads through a virtual placement, which the job avoids"
    );
    assert_eq!(
        refused(rule, &queue("A"), |job| job.avoids_virtual_placement = true),
        ""
    );
}

#[test]
fn the_nucleus_counts_by_weight_intensity_and_urgency() {
    let (inside, outside) = (queue("A"), queue("B"));
    let nucleus = |weight| NucleusWish { site: "A", weight };
    let rule = "{ is = \"nucleus\" }";
    assert_eq!(
        refused(rule, &outside, |job| job.nucleus = nucleus(-1)),
        "is not of nucleus `A`, where the task is to stay"
    );
    assert_eq!(refused(rule, &inside, |job| job.nucleus = nucleus(-1)), "");
    assert_eq!(refused(rule, &outside, |job| job.nucleus = nucleus(5)), "");
    let weights = "{ is = \"nucleus\", reads_much = 4.0, io_intensity = 500, urgent = 100.0, \
                   priority_min = 900 }";
    let profile = profile("", weights);
    let value = |weight: i64, io: u64, priority: i64, is_scout: bool, at: &Queue| {
        let change = |job: &mut JobNeeds<'_>| {
            job.nucleus = nucleus(weight);
            job.io_intensity = io;
            job.priority = priority;
            job.is_scout = is_scout;
        };
        with_job(change, |job| {
            let verdicts = judge(&profile, job, &[Candidate::unknown(at)]);
            verdicts[0]
                .finding
                .clone()
                .map_or(0.0, |weight| weight.total)
        })
    };
    for (weight, io, priority, is_scout, expected) in [
        (0, 0, 100, false, 1.0),
        (0, 501, 100, false, 4.0),
        (7, 501, 100, false, 7.0),
        (-1, 0, 100, false, 1.0),
        (0, 0, 900, false, 100.0),
        (0, 0, 100, true, 100.0),
    ] {
        let inside = value(weight, io, priority, is_scout, &inside);
        assert!((inside - expected).abs() < 1e-9, "{weight} {io}: {inside}");
        let outside = value(weight, io, priority, is_scout, &outside);
        assert!((outside - 1.0).abs() < 1e-9, "{outside}");
    }
}
