//! Messages of the real Rucio server (41.5.1) are understood, and ours are as it takes them.

use std::time::Duration;

use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, Guid, Lfn, PandaId, Scope, TaskId, Timestamp,
};
use ailurus_wire::rucio::{
    Did, RucioAnswerError, refusal,
    refusal::RefusalKind,
    register::{self, Attachment, NewReplica, ReplicaState},
    replicas::{
        self, ClientLocation, Domain, Doors, FileReplicas, Medium, Replica, ReplicaQuery,
        SwitchedOff,
    },
    rse::{self, Naming, Operation},
    trace::{self, TraceTimes, TransferTrace},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::samples::sample;

fn value(name: &str) -> Value {
    serde_json::from_slice(sample(name)).expect("JSON")
}

fn decode_all(bytes: &[u8]) -> Result<Vec<FileReplicas>, RucioAnswerError> {
    let mut files = Vec::new();
    replicas::decode_answer(bytes, |file| files.push(file))?;
    Ok(files)
}

#[test]
fn replicas_are_read_in_the_servers_order_with_tape_and_domain() {
    let files = decode_all(sample("rucio/replicas.ndjson")).expect("files");
    let [file] = files.as_slice() else {
        panic!("one file: {files:?}");
    };
    assert_eq!(file.did().to_string(), "spd.mc:f1.root");
    assert_eq!(file.size, Some(ByteCount::from_bytes(5)));
    assert_eq!(file.adler32, Some(Checksum::Adler32(0x0a0b_0c0d)));
    assert!(file.md5.is_some());
    let first = &file.replicas[0];
    assert_eq!((first.scheme(), first.domain), ("davs", Domain::Lan));
    let priorities: Vec<u32> = file.replicas.iter().map(|it| it.priority).collect();
    assert!(priorities.is_sorted(), "{priorities:?}");
    let tape = file.replicas.iter().find(|it| it.medium == Medium::Tape);
    assert_eq!(tape.expect("on tape").rse, EndpointName::new("TAPE"));
}

#[test]
fn an_answer_that_ends_in_the_middle_or_is_a_page_is_no_answer() {
    let whole = sample("rucio/replicas.ndjson");
    for cut in [1, 10, whole.len() / 2, whole.len() - 2] {
        assert!(decode_all(&whole[..cut]).is_err(), "{cut}");
    }
    let page = decode_all(b"<html>\nSorry</html>").expect_err("a page");
    assert!(page.to_string().contains("<html>"), "{page}");
    let refused = decode_all(sample("rucio/refusal.json")).expect_err("a refusal");
    assert!(matches!(refused, RucioAnswerError::Refused(_)), "{refused}");
    assert_eq!(decode_all(b"\n\n").expect("nothing"), []);
}

#[test]
fn ways_without_an_endpoint_and_checksums_that_are_none_are_left_out() {
    let line = br#"{"scope": "s", "name": "f", "bytes": "7", "adler32": "xyz", "md5": null,
        "pfns": {"root://a/f": {}, "root://b/f": {"rse": "B", "priority": "2"}}}"#;
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
    let files = decode_all(&line).expect("a file");
    assert_eq!(files[0].size, Some(ByteCount::from_bytes(7)));
    assert_eq!((&files[0].adler32, &files[0].md5), (&None, &None));
    let replica = &files[0].replicas[0];
    assert_eq!((replica.priority, replica.domain), (2, Domain::Wan));
    assert_eq!(files[0].replicas.len(), 1);
}

#[test]
fn replicas_are_asked_for_as_by_pilot_3() {
    let schemes = ["srm", "root", "davs", "gsiftp", "https", "storm", "file"];
    let query = ReplicaQuery {
        schemes: schemes.map(str::to_owned).to_vec(),
        sort: Some("geoip".into()),
        location: ClientLocation {
            ip: Some("10.0.0.1".into()),
            fqdn: Some("wn1.example.org".into()),
            site: Some("JINR".into()),
            latitude: Some(56.75),
            longitude: Some(37.19),
        },
        signature_lifetime: Some(Duration::from_secs(86_400)),
        rse_expression: None,
        doors: Doors::BySite,
        switched_off: SwitchedOff::LeftOut,
    };
    let files = [Did::new(Scope::new("spd.mc"), "f1.root")];
    assert_eq!(
        replicas::encode_query(&files, &query),
        value("rucio/list_replicas.json")
    );
}

#[test]
fn an_endpoint_is_read_with_its_protocols_by_rank() {
    let rse = rse::decode_rse(sample("rucio/rse.json")).expect("an endpoint");
    assert_eq!(rse.name, EndpointName::new("DISK"));
    assert_eq!(rse.naming, Some(Naming::Hash));
    assert!(rse.is_readable && rse.is_writable);
    let urls = rse.urls(
        (&Scope::new("spd.mc"), &Lfn::new("f1.root")),
        Domain::Wan,
        Operation::Read,
    );
    let told = decode_all(sample("rucio/replicas.ndjson")).expect("files");
    let of_disk = told[0].replicas.iter().filter(|it| it.rse == rse.name);
    let of_disk: Vec<String> = of_disk.map(|it| it.pfn.clone()).collect();
    assert_eq!(urls, of_disk);
    let protocols = rse::decode_protocols(sample("rucio/protocols.json")).expect("protocols");
    assert_eq!(protocols[0].scheme, "root");
    let attributes = rse::decode_attributes(sample("rucio/attributes.json")).expect("attributes");
    assert_eq!(attributes["site"], "JINR");
}

#[test]
fn a_refusal_is_read_from_its_body() {
    let refusal = refusal::decode(|_| None, sample("rucio/refusal.json")).expect("a refusal");
    assert_eq!(refusal.class, "RSENotFound");
    assert_eq!(refusal.kind(), RefusalKind::Unknown);
}

#[test]
fn what_was_not_declared_bad_is_read() {
    let left = register::decode_not_declared(sample("rucio/not_declared.json")).expect("a list");
    assert_eq!(left[&EndpointName::new("TAPE")].len(), 2);
    assert!(
        register::decode_not_declared(b"{}")
            .expect("nothing")
            .is_empty()
    );
    assert!(register::decode_not_declared(b"\"x\"").is_err());
}

#[test]
fn replicas_are_registered_with_size_checksum_and_guid() {
    let file = NewReplica {
        scope: Scope::new("spd.mc"),
        name: Lfn::new("f1.root"),
        size: ByteCount::from_bytes(5),
        adler32: Checksum::Adler32(0x0a0b_0c0d),
        md5: Some(Checksum::Md5("0123456789abcdef0123456789abcdef".into())),
        guid: Some(Guid::new("2C4A5C3A-1D3B-4D6F-8A9B-ACBDCEDFE0F1")),
        pfn: Some("root://nd.example.org:1094/nd/some/where/f1.root".into()),
    };
    let rse = EndpointName::new("NONDET");
    let did = file.did();
    assert_eq!(
        register::encode_new(&rse, &[file], SwitchedOff::LeftOut),
        value("rucio/add_replicas.json")
    );
    let one = json!({"scope": "spd.mc", "name": "f1.root"});
    assert_eq!(
        register::encode_attachments(&[Attachment {
            dataset: Did::new(Scope::new("spd.mc"), "ds1"),
            files: vec![did.clone()],
        }]),
        json!({
            "attachments": [{"scope": "spd.mc", "name": "ds1", "dids": [one]}],
            "ignore_duplicate": true,
        })
    );
    assert_eq!(
        register::encode_states(&rse, &[(did.clone(), ReplicaState::Unavailable)])["files"][0],
        json!({"scope": "spd.mc", "name": "f1.root", "state": "U"})
    );
    assert_eq!(
        register::encode_bad(&[(did, rse)], "checksum")["replicas"][0],
        json!({"scope": "spd.mc", "name": "f1.root", "rse": "NONDET"})
    );
}

fn the_trace() -> TransferTrace {
    let time = |millis| Some(Timestamp::from_millis(millis));
    TransferTrace {
        event: "get_sm_a".into(),
        version: "ailurus-0.1.0+41.5.1".into(),
        protocol: "root".into(),
        state: "AD_MISMATCH".into(),
        reason: "`f1.root` has checksum ad:1 \\instead of ad:2".into(),
        local_site: "JINR_DISK".into(),
        remote_site: EndpointName::new("PNPI_DISK"),
        times: TraceTimes {
            start: time(1_795_406_267_508),
            catalogue: time(1_795_406_267_600),
            relative: time(1_795_406_268_000),
            transfer: time(1_795_406_268_250),
            validate: None,
            end: time(1_795_406_270_000),
        },
        dataset: DatasetName::new("spd.mc.ds1"),
        scope: Scope::new("spd.mc"),
        file: Lfn::new("f1.root"),
        size: Some(ByteCount::from_bytes(5)),
        guid: Some(Guid::new("2C4A5C3A-1D3B-4D6F-8A9B-ACBDCEDFE0F1")),
        url: "root://se.example.org:1094//spd/disk/spd.mc/c0/00/f1.root".into(),
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
fn a_trace_has_every_field_of_pilot_3() {
    let written = trace::encode(&the_trace()).expect("a trace");
    assert_eq!(written, value("rucio/trace.json"));
    let mut good = the_trace();
    good.reason.clear();
    good.state = "DONE".into();
    let good = trace::encode(&good).expect("a trace");
    assert_eq!(
        (&good["clientState"], &good["stateReason"]),
        (&json!("DONE"), &json!("OK"))
    );
}

#[test]
fn a_trace_without_a_site_is_not_sent() {
    for change in [
        (|trace: &mut TransferTrace| trace.local_site.clear()) as fn(&mut TransferTrace),
        |trace| trace.event.clear(),
        |trace| trace.remote_site = EndpointName::new(""),
    ] {
        let mut trace = the_trace();
        change(&mut trace);
        assert_eq!(trace::encode(&trace), None);
    }
}

fn replica() -> impl Strategy<Value = Replica> {
    (
        ("[A-Z]{1,6}", "[a-z]{2,5}://[^\\\\\"]{1,30}", any::<u32>()),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |((rse, pfn, priority), (is_lan, is_tape, is_in_archive))| Replica {
                rse: EndpointName::new(rse),
                pfn,
                domain: if is_lan { Domain::Lan } else { Domain::Wan },
                priority,
                medium: if is_tape { Medium::Tape } else { Medium::Disk },
                is_in_archive,
            },
        )
        // The one text that stands for nothing.
        .prop_filter("a name", |replica| replica.rse.as_str() != "NULL")
}

proptest! {
    #[test]
    fn an_answer_says_what_was_written(
        size in option::of(any::<u64>()),
        adler32 in option::of(any::<u32>()),
        name in select(vec!["f", "a b", "100%.root", "ä/ö", "x\ny", "\"q\"", "{}"]),
        mut ways in vec(replica(), 0..4),
    ) {
        ways.sort_by(|one, other| (one.priority, &one.pfn).cmp(&(other.priority, &other.pfn)));
        ways.dedup_by(|one, other| one.pfn == other.pfn);
        let file = FileReplicas {
            scope: Scope::new("s"),
            name: Lfn::new(name),
            size: size.map(ByteCount::from_bytes),
            adler32: adler32.map(Checksum::Adler32),
            md5: None,
            replicas: ways,
        };
        let files = [file.clone(), file];
        let text = replicas::encode_answer(&files);
        prop_assert_eq!(decode_all(text.as_bytes()).expect("files"), files);
    }
}
