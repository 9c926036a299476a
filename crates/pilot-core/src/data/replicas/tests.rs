//! Which replicas are tried, in which order, and why the others are not.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, Scope, StorageEndpoint, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{
    control::testing::{config, input_file, job, site},
    data::{
        FailureKind, Replica, StorageRecord, SwitchedOff, catalogue::replica_query,
        copy_tools::choose_tools, storage_record::Move,
    },
    input::Site,
};

/// A queue that reads from `NEAR` by `tools` and may read from far away.
fn far_site(tools: &[&str]) -> Site {
    let mut site = site();
    let tools = tools.iter().map(|it| (*it).to_owned()).collect();
    site.queue.copy_tools = BTreeMap::from([("default".to_owned(), tools)]);
    let near = ["NEAR", "NEAR2"].map(EndpointName::new).to_vec();
    site.queue.storages.insert("read_lan".to_owned(), near);
    site.queue.options.allows_wan = true;
    let of_site = |name: &str, of: &str| {
        let name = EndpointName::new(name);
        let storage = StorageEndpoint {
            name: name.clone(),
            site: of.into(),
            ..site.storages[&EndpointName::new("EP")].clone()
        };
        (name, storage)
    };
    site.storages = [
        of_site("NEAR", "SITE"),
        of_site("NEAR2", "SITE"),
        of_site("FAR", "ELSE"),
    ]
    .into();
    site
}

fn found(replicas: &[(&str, &str, u32)]) -> CatalogueFile {
    let replica = |(endpoint, url, priority): &(&str, &str, u32)| Replica {
        endpoint: EndpointName::new(*endpoint),
        url: (*url).to_owned(),
        priority: *priority,
        medium: Medium::Disk,
    };
    CatalogueFile {
        scope: Scope::new("user.alice"),
        lfn: Lfn::new("f"),
        size: None,
        checksums: Vec::new(),
        replicas: replicas.iter().map(replica).collect(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn ways(site: &Site, replicas: &[(&str, &str, u32)], record: &StorageRecord) -> Ways {
    let job = job(1);
    let tools = choose_tools(&site.queue, Purpose::StageIn, &[]).expect("tools");
    let chooser = Chooser::new(&job, site, &config(), &tools, &known(record));
    choose(&chooser, &found(replicas))
}

fn known(record: &StorageRecord) -> Known<'_> {
    Known {
        catalogue: None,
        record,
        now: now(),
    }
}

fn choose(chooser: &Chooser<'_>, found: &CatalogueFile) -> Ways {
    let (candidates, ways) = chooser.candidates(PandaId::new(1), &input_file("f"), Some(found));
    chooser.choose(&candidates, ways)
}

fn order(site: &Site, replicas: &[(&str, &str, u32)]) -> Vec<String> {
    let ways = ways(site, replicas, &StorageRecord::default());
    ways.tries.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_near_comes_first_whatever_the_catalogues_priority() {
    let site = far_site(&["rucio"]);
    let tried = order(
        &site,
        &[
            ("FAR", "root://far//f", 1),
            ("NEAR2", "davs://near2/f", 2),
            ("NEAR", "davs://near/f", 3),
        ],
    );
    let expected = [
        "http davs://near/f",
        "http davs://near2/f",
        "xrdcp root://far//f",
    ];
    assert_eq!(tried, expected);
}

#[test]
fn tools_come_in_the_order_of_the_queue_and_share_a_replica() {
    let site = far_site(&["gfal", "rucio", "xrdcp"]);
    let tried = order(
        &site,
        &[("NEAR", "root://near//f", 1), ("NEAR", "davs://near/f", 2)],
    );
    let expected = [
        "gfal root://near//f",
        "gfal davs://near/f",
        "xrdcp root://near//f",
        "http davs://near/f",
    ];
    assert_eq!(tried, expected);
}

#[test]
fn what_fails_now_comes_last_and_what_is_slow_comes_later() {
    let site = far_site(&["rucio"]);
    let replicas = [
        ("NEAR", "root://near//f", 1),
        ("NEAR2", "root://near2//f", 2),
        ("FAR", "root://far//f", 3),
    ];
    let way = |url: &str| Try::in_directory(url.to_owned());
    let mut record = StorageRecord::default();
    for _ in 0..2 {
        let failed = Move::new(
            &way("root://near//x"),
            ByteCount::ZERO,
            Duration::ZERO,
            Some(FailureKind::TimedOut),
        );
        record.note(now(), &failed);
    }
    let names = |record: &StorageRecord| {
        let ways = ways(&site, &replicas, record);
        ways.tries
            .iter()
            .map(|it| it.endpoint.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&record), ["NEAR2", "FAR", "NEAR"]);
    let mut record = StorageRecord::default();
    for (url, seconds) in [("root://near//x", 100), ("root://near2//x", 1)] {
        let size = ByteCount::from_mib(100);
        let moved = Move::new(&way(url), size, Duration::from_secs(seconds), None);
        record.note(now(), &moved);
    }
    assert_eq!(names(&record), ["NEAR2", "NEAR", "FAR"]);
}

#[test]
fn every_replica_that_is_left_out_has_its_reason() {
    let mut site = far_site(&["xrdcp"]);
    site.queue.options.allows_wan = false;
    let tape = site
        .storages
        .get_mut(&EndpointName::new("NEAR2"))
        .expect("there");
    tape.options.is_tape = true;
    let replicas = [
        ("NEAR", "root://near//f", 1),
        ("NEAR", "davs://near/f?sig=secret", 2),
        ("NEAR2", "root://near2//f", 3),
        ("FAR", "root://far//f", 4),
    ];
    let ways = ways(&site, &replicas, &StorageRecord::default());
    assert_eq!(ways.tries.len(), 1);
    let mut reasons: Vec<String> = ways.left_out.iter().map(ToString::to_string).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "`FAR` root://far//f: the queue does not allow WAN access (`allow_wan`)",
            "`NEAR2` root://near2//f: it is on tape",
            "`NEAR` davs://near/f: no copy tool of the queue takes `davs`",
        ]
    );
    site.queue.options.allows_lan = false;
    let none = Ways {
        tries: Vec::new(),
        ..self::ways(&site, &replicas[..1], &StorageRecord::default())
    };
    let problem = none.nothing(&Lfn::new("f"), Source::Catalogue);
    assert_eq!(problem.code, ErrorCode::NoReplicas);
    assert!(problem.detail.contains("allow_lan"), "{problem}");
}

#[test]
fn a_file_with_very_many_replicas_is_tried_in_bounds() {
    let site = far_site(&["rucio", "xrdcp"]);
    let urls: Vec<String> = (0..50_000).map(|nr| format!("root://h{nr}//f")).collect();
    let replicas: Vec<(&str, &str, u32)> =
        urls.iter().map(|url| ("NEAR", url.as_str(), 1)).collect();
    let ways = ways(&site, &replicas, &StorageRecord::default());
    assert_eq!(
        (ways.tries.len(), ways.left_out.len()),
        (TRIES_MAX, LEFT_OUT_MAX)
    );
}

#[test]
fn a_library_may_come_from_far_away_where_catchall_says_so() {
    let mut queue = far_site(&["rucio"]).queue;
    queue.options.allows_wan = false;
    queue.catchall = "x,allow_wan_for_lib".into();
    assert!(allows_wan(&queue, &Lfn::new("user.a.lib.tgz")));
    assert!(!allows_wan(&queue, &Lfn::new("user.a.root")));
}

#[test]
fn from_far_away_only_some_schemes_are_used() {
    let site = far_site(&["rucio"]);
    let tried = order(
        &site,
        &[("FAR", "http://far/f", 1), ("FAR", "davs://far/f", 2)],
    );
    assert_eq!(tried, ["http davs://far/f"]);
}

#[test]
fn the_catalogue_is_asked_only_where_a_tool_looks_there_and_virtual_placement_reads_by_xrootd() {
    let mut job = job(1);
    let tools = |names: &[&str]| {
        let site = far_site(names);
        choose_tools(&site.queue, Purpose::StageIn, &[]).expect("tools")
    };
    assert_eq!(replica_query(&job, &tools(&["rucio"])), None, "no inputs");
    job.inputs = vec![input_file("f")];
    assert_eq!(replica_query(&job, &tools(&["mv", "s3"])), None);
    let query = replica_query(&job, &tools(&["mv", "xrdcp"])).expect("a look-up");
    assert_eq!(query.files.len(), 1);
    assert_eq!(query.rse_expression, None);
    job.options.is_virtual_placement = true;
    let query = replica_query(&job, &tools(&["rucio"])).expect("a look-up");
    assert_eq!(query.schemes, ["root"]);
    assert_eq!(
        query.rse_expression.as_deref(),
        Some(r"istape=False\type=SPECIAL")
    );
    assert_eq!(query.switched_off, SwitchedOff::LeftOut);
}

fn replicas() -> impl Strategy<Value = Vec<(usize, usize, u32, bool)>> {
    prop::collection::vec((0_usize..4, 0_usize..5, 0_u32..4, any::<bool>()), 0..24)
}

proptest! {
    #[test]
    fn the_order_does_not_depend_on_that_of_the_answer_and_nothing_is_lost(
        drawn in replicas(), allows_wan in any::<bool>(), allows_lan in any::<bool>(),
        turn in 0_usize..24,
    ) {
        let mut site = far_site(&["rucio"]);
        site.queue.options.allows_wan = allows_wan;
        site.queue.options.allows_lan = allows_lan;
        let endpoints = ["NEAR", "NEAR2", "FAR", "UNKNOWN"];
        let schemes = ["root", "davs", "srm", "file", "dcap"];
        let mut file = found(&[]);
        file.replicas = drawn.iter().map(|(endpoint, scheme, priority, is_tape)| Replica {
            endpoint: EndpointName::new(endpoints[*endpoint]),
            url: format!("{}://{}/f", schemes[*scheme], endpoints[*endpoint]),
            priority: *priority,
            medium: if *is_tape { Medium::Tape } else { Medium::Disk },
        }).collect();
        let job = job(1);
        let tools = choose_tools(&site.queue, Purpose::StageIn, &[]).expect("tools");
        let record = StorageRecord::default();
        let chooser = Chooser::new(&job, &site, &config(), &tools, &known(&record));
        let ways = choose(&chooser, &file);
        for it in &ways.tries {
            prop_assert!(it.domain == Domain::Lan && allows_lan || it.domain == Domain::Wan && allows_wan);
            prop_assert_eq!(it.tool.mover(it.scheme()), Some(it.tool));
        }
        for replica in &file.replicas {
            let is_tried = ways.tries.iter().any(|it| it.url == replica.url);
            let is_told = ways.left_out.iter().any(|it| it.place == place_of(&replica.url));
            prop_assert!(is_tried || is_told, "{} is lost", replica.url);
        }
        let mut distinct = ways.tries.clone();
        distinct.dedup_by(|a, b| is_same_way(a, b));
        prop_assert_eq!(distinct.len(), ways.tries.len());
        // Equal URLs with unequal priorities are one way, so only distinct ones may change places.
        let mut urls = std::collections::BTreeSet::new();
        file.replicas.retain(|it| urls.insert(it.url.clone()));
        let one = choose(&chooser, &file);
        if !file.replicas.is_empty() {
            let by = turn % file.replicas.len();
            file.replicas.rotate_left(by);
        }
        let other = choose(&chooser, &file);
        prop_assert_eq!(one.tries, other.tries);
    }
}
