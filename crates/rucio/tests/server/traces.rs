//! Traces.

use std::time::Duration;

use ailurus_http::ClientConfig;
use ailurus_model::{ByteCount, DatasetName, Guid, Lfn, PandaId, Scope, TaskId, Timestamp};
use ailurus_rucio::TraceSender;
use ailurus_testkit::rucio::Endpoint;
use ailurus_wire::rucio::trace::{self, TraceTimes, TransferTrace};

use super::{Stand, rse};

fn trace(event: &str) -> TransferTrace {
    TransferTrace {
        event: event.into(),
        version: "ailurus-0.1.0+41.5.1".into(),
        protocol: "root".into(),
        state: "DONE".into(),
        reason: String::new(),
        local_site: "JINR".into(),
        remote_site: rse(Endpoint::Disk),
        times: TraceTimes {
            start: Some(Timestamp::from_millis(1_795_406_267_508)),
            ..TraceTimes::default()
        },
        dataset: DatasetName::new("ds"),
        scope: Scope::new("spd.mc"),
        file: Lfn::new("f.root"),
        size: Some(ByteCount::from_bytes(5)),
        guid: Some(Guid::new("2C4A5C3A-1D3B-4D6F-8A9B-ACBDCEDFE0F1")),
        url: "root://se.example.org:1094//spd/disk/f.root".into(),
        user: "alice".into(),
        panda_id: PandaId::new(4711),
        task_id: TaskId::new(77),
        request_id: "f8c3853836e36727fe659da74d80f5e1".into(),
        host: "wn1.example.org".into(),
        ip: "10.0.0.1".into(),
        queue: "JINR_CICC".into(),
    }
}

#[test]
fn traces_keep_the_rules_of_the_server() {
    let stand = Stand::start();
    let url = format!("{}{}", stand.server.url(), trace::PATH);
    let sender = TraceSender::start(&url, &ClientConfig::default()).expect("a sender");
    let events = ["get_sm", "get_sm_a", "put_sm", "put_sm_a"];
    for event in events {
        sender.send(&trace(event));
        // One that knows as little as possible.
        sender.send(&TransferTrace {
            state: "NO_REPLICA".into(),
            reason: "no \\replica\nat all ä".into(),
            times: TraceTimes::default(),
            size: None,
            guid: None,
            url: String::new(),
            protocol: String::new(),
            ..trace(event)
        });
    }
    let summary = sender.finish(Duration::from_secs(60));
    assert_eq!((summary.n_sent, summary.n_refused), (8, 0));
    let written = stand.server.traces();
    let lines = written.lines().filter(|line| line.starts_with('{'));
    assert_eq!(lines.count(), 8, "{written}");
    // What breaks a rule is written down with a remark.
    assert!(!written.contains("Problem"), "{written}");
}
