//! Proving who one is.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use ailurus_http::{ClientCertificate, ClientConfig, Trust};
use ailurus_model::{Blame, ErrorCode};
use ailurus_rucio::{Credential, RucioClient, RucioConfig};
use ailurus_testkit::{
    http::{Reply, Request},
    rucio::{ACCOUNT, CERTIFICATE_NAME, Endpoint, NAME_HEADER},
    stand_in::{Entrance, HttpStandIn},
    tls::{Authority, ClientProof},
};

use super::{Stand, rse};

/// Ends every token, and makes the server forget those that it remembers.
fn end_tokens(stand: &mut Stand) {
    let code = "from sqlalchemy import delete
from rucio.db.sqla import models
from rucio.db.sqla.constants import DatabaseOperationType
from rucio.db.sqla.session import db_session
with db_session(DatabaseOperationType.WRITE) as session:
    session.execute(delete(models.Token))
";
    stand.server.run_python(code).expect("ended");
    stand.server.restart().expect("a server");
}

#[test]
fn a_wrong_password_is_told_and_a_token_that_ended_is_replaced() {
    let mut stand = Stand::start();
    let wrong = RucioClient::new(stand.config("wr0ng")).expect("a client");
    let error = wrong.rse(&rse(Endpoint::Disk)).expect_err("not believed");
    assert!(error.is_disbelief(), "{error}");
    assert_eq!(error.blame(), Blame::Credentials);
    assert_eq!(error.code(), ErrorCode::RucioListReplicasFailed);
    assert!(!format!("{wrong:?}{error:?}").contains("wr0ng"));

    let client = stand.client();
    client.rse(&rse(Endpoint::Disk)).expect("an endpoint");
    end_tokens(&mut stand);
    client.rse(&rse(Endpoint::Disk)).expect("an endpoint");
}

/// Passes a request on as Apache does: what comes in has a certificate that is believed, and the
/// server is told whose.
fn pass_on(host: &str, request: &Request) -> std::io::Result<Vec<u8>> {
    let name = format!("{NAME_HEADER}: {CERTIFICATE_NAME}/CN=1234567\r\nConnection: close\r\n");
    let first_line = request.head.find('\n').map_or(0, |end| end + 1);
    let (line, headers) = request.head.split_at(first_line);
    let mut behind = TcpStream::connect(host)?;
    behind.write_all([line, &name, headers].concat().as_bytes())?;
    behind.write_all(&request.body)?;
    let mut answer = Vec::new();
    behind.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_grid_proxy_gives_a_token_where_a_front_checks_it() {
    let stand = Stand::start();
    let authority = Authority::new().expect("an authority");
    let door = authority.door(&["localhost"], ClientProof::Demanded);
    let entrance = Entrance {
        address: None,
        door: Some(door.expect("a door")),
    };
    let host = stand.server.host();
    let front = HttpStandIn::start_at(entrance, move |request| {
        pass_on(&host, request).map_or(Reply::HangUp, Reply::Raw)
    });
    let front = front.expect("a front");
    let place = |name: &str| stand.folder.path().join(name);
    let trusted = authority.write_directory(&place("ca")).expect("space");
    let pem = authority.proxy("ddmlab").expect("a proxy");
    fs::write(place("proxy.pem"), pem).expect("space");
    let credential = Credential::Proxy(ClientCertificate {
        chain_file: place("proxy.pem"),
        key_file: place("proxy.pem"),
    });
    let url = format!("https://localhost:{}", front.address().port());
    let config = RucioConfig::new(url, credential);
    let client = RucioClient::new(RucioConfig {
        account: Some(ACCOUNT.into()),
        http: ClientConfig {
            trust: Trust::Directory(trusted),
            ..config.http.clone()
        },
        ..config
    });
    let described = client.expect("a client").rse(&rse(Endpoint::Disk));
    assert_eq!(described.expect("an endpoint").protocols.len(), 4);
    let requests = front.requests();
    let asked: Vec<&str> = requests.iter().map(Request::target).collect();
    assert_eq!(asked, ["/auth/x509_proxy", "/rses/JINR_DISK"]);
}
