//! Against the real Rucio server. One server answers several questions, because its start costs
//! seconds.

mod catalogue;
mod identity;
mod places;
mod traces;

use std::time::Duration;

use ailurus_http::Secret;
use ailurus_model::{ByteCount, Checksum, EndpointName, Lfn, Scope};
use ailurus_rucio::{Credential, Retries, RucioClient, RucioConfig};
use ailurus_testkit::rucio::{ACCOUNT, Endpoint, PASSWORD, RucioServer, USER};
use ailurus_wire::rucio::{
    Did,
    register::NewReplica,
    replicas::{ClientLocation, FileReplicas, ReplicaQuery},
};

/// A server and its folder.
struct Stand {
    // Dropped first: its files are in the folder.
    server: RucioServer,
    folder: tempfile::TempDir,
}

impl Stand {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("space");
        let server = RucioServer::start(folder.path()).expect("a server");
        Self { server, folder }
    }

    fn config(&self, password: &str) -> RucioConfig {
        let credential = Credential::UserPass {
            user: USER.into(),
            password: Secret::new(password),
        };
        RucioConfig {
            account: Some(ACCOUNT.into()),
            retries: Retries {
                pause_first: Duration::from_millis(10),
                ..Retries::default()
            },
            ..RucioConfig::new(self.server.url(), credential)
        }
    }

    fn client(&self) -> RucioClient {
        RucioClient::new(self.config(PASSWORD)).expect("a client")
    }

    /// Adds replicas of 5 bytes to the catalogue itself, which refuses no names. `names` is a
    /// Python expression.
    fn add(&self, endpoint: Endpoint, scope: &str, names: &str) {
        let code = format!(
            "from rucio.common.types import InternalAccount, InternalScope
from rucio.core.rse import get_rse_id
from rucio.db.sqla.constants import DatabaseOperationType, DIDType, ReplicaState
from rucio.db.sqla.models import DataIdentifier, RSEFileAssociation
from rucio.db.sqla.session import db_session
from sqlalchemy import insert
with db_session(DatabaseOperationType.WRITE) as session:
    rse_id = get_rse_id('{}', session=session)
    file = dict(scope=InternalScope('{scope}'), bytes=5, adler32='0a0b0c0d')
    did = dict(account=InternalAccount('{ACCOUNT}'), did_type=DIDType.FILE)
    replica = dict(rse_id=rse_id, state=ReplicaState.AVAILABLE)
    names = {names}
    session.execute(insert(DataIdentifier), [dict(file, name=name, **did) for name in names])
    session.execute(insert(RSEFileAssociation), [dict(file, name=name, **replica) for name in names])
",
            endpoint.name()
        );
        self.server.run_python(&code).expect("added");
    }
}

fn rse(endpoint: Endpoint) -> EndpointName {
    EndpointName::new(endpoint.name())
}

/// A file of 5 bytes.
fn file(scope: &str, name: &str) -> NewReplica {
    NewReplica {
        scope: Scope::new(scope),
        name: Lfn::new(name),
        size: ByteCount::from_bytes(5),
        adler32: Checksum::Adler32(0x0a0b_0c0d),
        md5: None,
        guid: None,
        pfn: None,
    }
}

/// Returns files that are known, and names that are not.
fn list(
    client: &RucioClient,
    files: &[Did],
    query: &ReplicaQuery,
) -> (Vec<FileReplicas>, Vec<Did>) {
    let mut found = Vec::new();
    let listing = client.list_replicas(files, query, |file| found.push(file));
    let listing = listing.expect("an answer");
    assert_eq!(listing.n_known, found.len());
    (found, listing.unknown)
}

/// What a pilot at JINR asks.
fn query() -> ReplicaQuery {
    ReplicaQuery {
        schemes: ["root", "davs", "https", "file"]
            .map(str::to_owned)
            .to_vec(),
        sort: Some("geoip".into()),
        location: ClientLocation {
            site: Some("JINR".into()),
            fqdn: Some("wn1.example.org".into()),
            ..ClientLocation::default()
        },
        signature_lifetime: Some(Duration::from_secs(86_400)),
        ..ReplicaQuery::default()
    }
}
