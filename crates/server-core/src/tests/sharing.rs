//! Global shares in dispatch, and commands of pilot streaming.

use std::{collections::BTreeMap, time::Duration};

use ailurus_brokerage::{ShareEntry, ShareTree};

use super::harness::{FAR, NEAR, Server, generation};
use crate::{
    ledger::{CommandRows, WorkerStatisticsRecord, WorkerStatisticsRows},
    refresh_shares, share_lines, stream_pilots,
};

/// Half for simulation, half for reconstruction, told by the processing type.
fn shared() -> Server {
    let entry = |name: &str, kind: &str| ShareEntry {
        name: name.to_owned(),
        value: 50.0,
        processingtype: Some(kind.to_owned()),
        ..ShareEntry::default()
    };
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    let entries = vec![entry("Simulation", "simul"), entry("Reco", "reco")];
    server.scheduling.shares = ShareTree::new(entries).unwrap();
    server.scheduling.sloppy_percent = 0;
    let task = |name: &str, kind: &str, priority| {
        let mut spec = generation(10);
        spec.name = name.to_owned();
        spec.processing_type = kind.to_owned();
        spec.priority = priority;
        spec.outputs.clear();
        spec.parameters.clear();
        spec
    };
    server.submit([task("sim", "simulation", 900), task("rec", "reco", 100)]);
    server
}

#[test]
fn jobs_go_by_the_need_of_their_share_before_their_priority() {
    let mut server = shared();
    let mut kinds = Vec::new();
    for _ in 0..8 {
        server.run(refresh_shares).unwrap();
        // A request in a hundred gets the oldest job; this is none of them.
        server.pass(Duration::from_millis(7));
        let job = server.acquire(NEAR).remove(0);
        kinds.push(job.processing_type);
    }
    let simulations = kinds.iter().filter(|kind| *kind == "simulation").count();
    assert!((3..=5).contains(&simulations), "{kinds:?}");
}

#[test]
fn some_requests_get_the_oldest_job_so_that_no_share_waits_for_ever() {
    let mut server = shared();
    server.scheduling.sloppy_percent = 100;
    let ids: Vec<u64> = (0..12)
        .map(|_| server.acquire(NEAR).remove(0).panda_id.value())
        .collect();
    assert_eq!(ids, (1..=12).collect::<Vec<_>>());
}

#[test]
fn what_runs_is_counted_for_its_leaf_in_hs06() {
    let mut server = shared();
    server.queue(NEAR).options.terms.core_power_milli = 12_500;
    server.run(refresh_shares).unwrap();
    let job = server.running_job();
    assert_eq!(server.job(job.panda_id.value()).global_share, "Simulation");
    let lines = server.run(|ctx, ledger| share_lines(ctx, ledger)).unwrap();
    let of = |name: &str| lines.iter().find(|line| line.name == name).unwrap();
    assert_eq!(
        (of("Simulation").executing, of("Simulation").queued),
        (12.5, 112.5)
    );
    assert_eq!((of("Reco").executing, of("Reco").queued), (0.0, 125.0));
}

#[test]
fn a_streamed_queue_is_told_how_many_workers_to_get() {
    let mut server = shared();
    let terms = &mut server.queue(NEAR).options.terms;
    terms.capability = "ucore".to_owned();
    terms.workflow = "pull_ups".to_owned();
    terms.harvester = "h1".to_owned();
    assert_eq!(
        server.run(stream_pilots).unwrap(),
        0,
        "nothing was reported"
    );
    let mut report = WorkerStatisticsRecord {
        harvester: "h1".into(),
        queue: NEAR.into(),
        counts: BTreeMap::from([(
            "managed".to_owned(),
            BTreeMap::from([(
                "SCORE".to_owned(),
                BTreeMap::from([("submitted".to_owned(), 4)]),
            )]),
        )]),
        reported: server.now,
    };
    server.ledger.put_worker_statistics(&report).unwrap();
    for _ in 0..2 {
        assert_eq!(server.run(stream_pilots).unwrap(), 1);
    }
    let commands = server.ledger.new_commands(&"h1".into(), 10).unwrap();
    assert_eq!(commands.len(), 1, "the second took the place of the first");
    assert_eq!(commands[0].command, "SET_N_WORKERS_JOBTYPE:JINR_NEAR");
    // Twenty jobs wait for four workers; PanDA asks for one more.
    assert_eq!(commands[0].params, r#"{"managed":{"SCORE":17}}"#);
    report.reported = server.now;
    server.pass(Duration::from_secs(3601));
    assert_eq!(
        server.run(stream_pilots).unwrap(),
        0,
        "what was reported is old"
    );
}

#[test]
fn classes_of_jobs_are_those_of_the_operator() {
    let mut server = Server::new();
    let class = crate::ResourceType {
        name: "SMALL".to_owned(),
        cores_min: 1,
        cores_max: None,
        mb_per_core_min: 0,
        mb_per_core_max: Some(4000),
    };
    server.scheduling.resource_types = crate::ResourceTypes::new(vec![class]).expect("a table");
    server.submit([generation(1)]);
    assert_eq!(server.job(1).resource_type, "SMALL");
}
