//! Registering and finding files.

use std::collections::BTreeSet;

use ailurus_model::{ByteCount, Checksum, EndpointName, ErrorCode, Guid, Retry, Scope};
use ailurus_rucio::{RucioClient, RucioError};
use ailurus_testkit::rucio::Endpoint;
use ailurus_wire::rucio::{
    Did,
    register::{NewReplica, ReplicaState},
    replicas::{Domain, Doors, Medium, ReplicaQuery, SwitchedOff},
};

use super::{Stand, file, list, query, rse};

/// Registers a file at two disks, on tape, and where its place does not follow from its name.
fn register_everywhere(client: &RucioClient) -> NewReplica {
    let mut new = file("spd.mc", "f.root");
    new.md5 = Some(Checksum::Md5("0123456789abcdef0123456789abcdef".into()));
    new.guid = Some(Guid::new("2C4A5C3A-1D3B-4D6F-8A9B-ACBDCEDFE0F1"));
    let one = std::slice::from_ref(&new);
    // Once more changes nothing.
    for endpoint in [
        Endpoint::Disk,
        Endpoint::OtherDisk,
        Endpoint::Tape,
        Endpoint::Disk,
    ] {
        client.register(&rse(endpoint), one).expect("registered");
    }
    let raw = NewReplica {
        pfn: Some("root://raw.example.org:1094//raw/run7/f.root".into()),
        ..new.clone()
    };
    let endpoint = rse(Endpoint::NonDeterministic);
    client.register(&endpoint, &[raw]).expect("registered");
    new
}

#[test]
fn what_is_registered_is_found_again_and_nothing_else() {
    let stand = Stand::start();
    let client = stand.client();
    let new = register_everywhere(&client);
    let unknown = Did::new(Scope::new("spd.mc"), "unknown");
    let nothing = Did::new(Scope::new("spd.mc"), "...");
    let asked = [new.did(), unknown.clone(), nothing.clone(), new.did()];
    let (found, missing) = list(&client, &asked, &query());
    assert_eq!(missing, [unknown, nothing]);
    let [found] = found.as_slice() else {
        panic!("one file: {found:?}");
    };
    assert_eq!(found.size, Some(new.size));
    assert_eq!(found.adler32.as_ref(), Some(&new.adler32));
    assert_eq!(found.md5, new.md5);
    let ways = found.replicas.iter();
    let ways: Vec<_> = ways
        .map(|it| (it.rse.as_str(), it.scheme(), it.domain, it.medium))
        .collect();
    let expected = [
        ("JINR_DISK", "davs", Domain::Lan, Medium::Disk),
        ("JINR_DISK", "root", Domain::Lan, Medium::Disk),
        ("JINR_DISK", "https", Domain::Lan, Medium::Disk),
        ("JINR_DISK", "file", Domain::Lan, Medium::Disk),
        ("JINR_RAW", "root", Domain::Lan, Medium::Disk),
        ("JINR_TAPE", "root", Domain::Lan, Medium::Tape),
        ("PNPI_DISK", "root", Domain::Wan, Medium::Disk),
    ];
    let all: BTreeSet<_> = ways.iter().copied().collect();
    assert_eq!(all, expected.into_iter().collect());
    assert_eq!(ways.last(), expected.last(), "what is far comes last");

    questions_can_be_narrowed(&client, &new);
    states_and_bad_replicas(&client, &new);
}

fn questions_can_be_narrowed(client: &RucioClient, new: &NewReplica) {
    let elsewhere = ReplicaQuery {
        rse_expression: Some("site=PNPI".into()),
        doors: Doors::Lan,
        ..query()
    };
    let (found, _) = list(client, &[new.did()], &elsewhere);
    let [replica] = found[0].replicas.as_slice() else {
        panic!("one replica: {found:?}");
    };
    assert_eq!(replica.rse, rse(Endpoint::OtherDisk));
    assert_eq!(replica.domain, Domain::Lan);
    let senseless = ReplicaQuery {
        rse_expression: Some("=".into()),
        ..query()
    };
    let error = client.list_replicas(&[new.did()], &senseless, drop);
    let error = error.expect_err("no expression");
    assert_eq!(error.code(), ErrorCode::RucioListReplicasFailed);
    assert_eq!(error.retry(), Retry::Never);
}

fn states_and_bad_replicas(client: &RucioClient, new: &NewReplica) {
    let endpoint = rse(Endpoint::OtherDisk);
    let ways = || list(client, &[new.did()], &query()).0.remove(0).replicas;
    for (state, count) in [(ReplicaState::Unavailable, 6), (ReplicaState::Available, 7)] {
        let changed = client.set_states(&endpoint, &[(new.did(), state)]);
        changed.expect("changed");
        assert_eq!(ways().len(), count, "{state:?}");
    }
    let unknown = Did::new(Scope::new("spd.mc"), "unknown");
    let bad = [(new.did(), endpoint.clone()), (unknown, endpoint.clone())];
    let left = client.declare_bad(&bad, "checksum").expect("declared");
    assert_eq!(left[&endpoint].len(), 1, "{left:?}");
    let ways = ways();
    assert!(ways.iter().all(|replica| replica.rse != endpoint));
    // Two schemes at once, which the server itself refuses.
    let suspicious: Vec<String> = ways.iter().take(2).map(|it| it.pfn.clone()).collect();
    client
        .declare_suspicious(&suspicious, "cut")
        .expect("declared");
}

#[test]
fn what_is_against_the_rules_is_refused_for_good() {
    let stand = Stand::start();
    let client = stand.client();
    let disk = rse(Endpoint::Disk);
    let known = file("spd.mc", "f");
    client
        .register(&disk, std::slice::from_ref(&known))
        .expect("registered");
    // The server itself says that all is well.
    let larger = NewReplica {
        size: ByteCount::from_bytes(6),
        ..known.clone()
    };
    let other = NewReplica {
        adler32: Checksum::Adler32(1),
        ..known.clone()
    };
    for (file, difference) in [
        (larger, "with 5 bytes instead of 6 bytes"),
        (other, "with ad:0a0b0c0d instead of ad:00000001"),
    ] {
        let error = client.register(&rse(Endpoint::OtherDisk), &[file]);
        let error = error.expect_err("another file").to_string();
        assert!(error.contains(difference), "{error}");
    }
    // Where Pilot 3 would store it.
    let elsewhere = NewReplica {
        pfn: Some("davs://se.example.org:2880/spd/disk/spd/mc/00/00/g".into()),
        ..file("spd.mc", "g")
    };
    let refusals = [
        (disk.clone(), elsewhere, "InvalidPath"),
        (disk.clone(), file("spd.mc", "a b"), "InvalidObject"),
        (disk.clone(), file("nobody", "g"), "ScopeNotFound"),
        (
            EndpointName::new("NOWHERE"),
            file("spd.mc", "g"),
            "RSENotFound",
        ),
        (
            rse(Endpoint::NonDeterministic),
            file("spd.mc", "g"),
            "UnsupportedOperation",
        ),
    ];
    for (endpoint, file, class) in refusals {
        let error = client.register(&endpoint, &[file]).expect_err(class);
        let RucioError::Refused { refusal, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(refusal.class, class);
        assert_eq!(error.code(), ErrorCode::StageOutFailed);
        assert_eq!(error.retry(), Retry::Never, "{error}");
    }
    let dataset = Did::new(Scope::new("spd.mc"), "nowhere");
    let error = client.attach(&dataset, &[known.did()]).expect_err("none");
    assert_eq!(error.retry(), Retry::Never);
    make_dataset(&stand, "ds");
    let dataset = Did::new(Scope::new("spd.mc"), "ds");
    for _ in 0..2 {
        client.attach(&dataset, &[known.did()]).expect("attached");
    }
    let unknown = Did::new(Scope::new("spd.mc"), "unknown");
    client.attach(&dataset, &[unknown]).expect_err("no file");
}

fn make_dataset(stand: &Stand, name: &str) {
    let code = format!(
        "from rucio.common.types import InternalAccount, InternalScope
from rucio.core.did import add_did
from rucio.db.sqla.constants import DatabaseOperationType, DIDType
from rucio.db.sqla.session import db_session
with db_session(DatabaseOperationType.WRITE) as session:
    add_did(InternalScope('spd.mc'), '{name}', DIDType.DATASET, InternalAccount('root'), session=session)
"
    );
    stand.server.run_python(&code).expect("made");
}

#[test]
fn replicas_at_an_endpoint_that_is_off_are_told_only_when_asked_for() {
    let stand = Stand::start();
    let client = stand.client();
    let error = client.register(&rse(Endpoint::Off), &[file("plain", "f")]);
    let error = error.expect_err("switched off");
    assert!(
        matches!(error, RucioError::Refused { status: 503, .. }),
        "{error}"
    );
    assert_eq!(error.retry(), Retry::Later);
    stand.add(Endpoint::Off, "plain", "['f']");
    let did = [Did::new(Scope::new("plain"), "f")];
    let (found, missing) = list(&client, &did, &query());
    assert_eq!((found[0].replicas.len(), missing.len()), (0, 0));
    let told = ReplicaQuery {
        switched_off: SwitchedOff::Told,
        ..query()
    };
    let (found, _) = list(&client, &did, &told);
    assert_eq!(found[0].replicas[0].rse, rse(Endpoint::Off));

    names_that_servers_may_allow(&stand, &client);
}

fn names_that_servers_may_allow(stand: &Stand, client: &RucioClient) {
    let names = ["a b", "ä.root", "100%.root", "a+b&c=d?e#f", "x\"y", "t\tab"];
    stand.add(Endpoint::Disk, "plain", &format!("{names:?}"));
    let asked = names.map(|name| Did::new(Scope::new("plain"), name));
    let (found, missing) = list(client, &asked, &query());
    assert_eq!(missing, []);
    for file in &found {
        // The server does not encode names in URLs.
        let end = format!("/{}", file.name);
        assert_eq!(file.replicas.len(), 4);
        assert!(
            file.replicas.iter().all(|it| it.pfn.ends_with(&end)),
            "{file:?}"
        );
    }
}

#[test]
fn thousands_of_files_are_found_in_pieces() {
    const N_FILES: usize = 5000;
    let stand = Stand::start();
    let client = stand.client();
    let names = format!("[f'f{{nr}}.root' for nr in range({N_FILES})]");
    stand.add(Endpoint::OtherDisk, "spd.mc", &names);
    let named = (0..N_FILES).map(|nr| Did::new(Scope::new("spd.mc"), format!("f{nr}.root")));
    let asked: Vec<Did> = named.collect();
    let (found, missing) = list(&client, &asked, &query());
    assert_eq!((found.len(), missing.len()), (asked.len(), 0));
    assert!(found.iter().all(|file| file.replicas.len() == 1));
}
