//! Whom the client believes, and how it proves who it is.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use ailurus_http::{
    Client, ClientCertificate, ClientConfig, ConfigError, HttpError, Response, Trust, Verification,
};
use ailurus_testkit::{
    http::{Answer, Reply},
    stand_in::{Entrance, HttpStandIn},
    tls::{Authority, ClientProof as Proof},
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// Whether the server asks for a certificate.
#[derive(Clone, Copy)]
enum ClientProof {
    None,
    Demanded,
}

/// Starts a server that answers `hello` to everybody it believes, and returns its port.
fn start_server(proof: ClientProof) -> u16 {
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("supported");
    let builder = match proof {
        ClientProof::None => builder.with_no_client_auth(),
        ClientProof::Demanded => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(testdata("ca.pem")).expect("there"))
                .expect("a CA");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("has a root"))
        }
    };
    let certificate = CertificateDer::from_pem_file(testdata("server.pem")).expect("there");
    let key = PrivateKeyDer::from_pem_file(testdata("server.pem")).expect("there");
    let config = builder
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("valid");
            let mut stream = StreamOwned::new(connection, stream);
            // A client that refuses, or is refused, ends here.
            if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            }
        }
    });
    port
}

fn get(config: ClientConfig, host: &str, port: u16) -> Result<Response, HttpError> {
    let client = Client::new(config).expect("valid configuration");
    client.get(&format!("https://{host}:{port}/"), &[])
}

fn trusting(trust: Trust) -> ClientConfig {
    ClientConfig {
        trust,
        ..ClientConfig::default()
    }
}

fn assert_refused(outcome: Result<Response, HttpError>) {
    let error = outcome.expect_err("no trust");
    assert!(matches!(error, HttpError::TlsRefused { .. }), "{error:?}");
    assert!(!error.may_have_arrived());
}

#[test]
fn a_server_of_a_known_ca_is_believed() {
    let port = start_server(ClientProof::None);
    let answer = get(trusting(Trust::File(testdata("ca.pem"))), "localhost", port);
    assert_eq!(answer.expect("answers").text(), "hello");
}

#[test]
fn a_ca_directory_may_hold_other_things_too() {
    let dir = tempfile::tempdir().expect("space");
    fs::copy(testdata("ca.pem"), dir.path().join("1a2b3c4d.0")).expect("space");
    fs::copy(testdata("ca.pem"), dir.path().join("again.pem")).expect("space");
    fs::write(dir.path().join("1a2b3c4d.signing_policy"), "access_id_CA").expect("space");
    fs::create_dir(dir.path().join("sub")).expect("space");
    let port = start_server(ClientProof::None);
    let trust = Trust::Directory(dir.path().to_owned());
    let answer = get(trusting(trust), "localhost", port);
    assert_eq!(answer.expect("answers").text(), "hello");
}

#[test]
fn a_server_of_an_unknown_ca_is_refused() {
    let port = start_server(ClientProof::None);
    assert_refused(get(trusting(Trust::BuiltIn), "localhost", port));
}

#[test]
fn a_server_of_another_name_is_refused() {
    let port = start_server(ClientProof::None);
    let trust = Trust::File(testdata("ca.pem"));
    assert_refused(get(trusting(trust), "127.0.0.1", port));
}

#[test]
fn verification_can_be_switched_off() {
    let port = start_server(ClientProof::None);
    let config = ClientConfig {
        verification: Verification::Off,
        ..ClientConfig::default()
    };
    get(config, "127.0.0.1", port).expect("believes everybody");
}

#[test]
fn a_client_proves_itself_by_its_certificate() {
    let port = start_server(ClientProof::Demanded);
    let trust = Trust::File(testdata("ca.pem"));
    let mut config = trusting(trust);
    assert_refused(get(config.clone(), "localhost", port));
    config.certificate = Some(ClientCertificate {
        chain_file: testdata("client.pem"),
        key_file: testdata("client.pem"),
    });
    let answer = get(config, "localhost", port);
    assert_eq!(answer.expect("answers").text(), "hello");
}

#[test]
fn files_without_certificates_or_keys_are_refused_at_once() {
    let empty = tempfile::NamedTempFile::new().expect("space");
    let refused = |config| Client::new(config).expect_err("refused");
    let error = refused(trusting(Trust::File(empty.path().to_owned())));
    assert!(
        matches!(error, ConfigError::NoCertificate { .. }),
        "{error}"
    );
    let error = refused(trusting(Trust::File("/no/such/file".into())));
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    let error = refused(ClientConfig {
        certificate: Some(ClientCertificate {
            chain_file: testdata("client.pem"),
            key_file: testdata("ca.pem"),
        }),
        ..ClientConfig::default()
    });
    assert!(matches!(error, ConfigError::NoKey { .. }), "{error}");
}

#[test]
fn a_certificate_that_is_replaced_is_read_again_and_a_broken_one_is_not_taken() {
    let dir = tempfile::tempdir().expect("space");
    let file = dir.path().join("proxy.pem");
    // A server's certificate proves nothing about a client.
    fs::copy(testdata("server.pem"), &file).expect("space");
    let port = start_server(ClientProof::Demanded);
    let mut config = trusting(Trust::File(testdata("ca.pem")));
    config.certificate = Some(ClientCertificate {
        chain_file: file.clone(),
        key_file: file.clone(),
    });
    let client = Client::new(config).expect("valid configuration");
    let ask = || client.get(&format!("https://localhost:{port}/"), &[]);
    assert_refused(ask());
    fs::copy(testdata("client.pem"), &file).expect("space");
    assert_eq!(ask().expect("answers").text(), "hello");
    fs::write(&file, "-----BEGIN CERT").expect("space");
    assert_eq!(ask().expect("answers").text(), "hello");
}

#[test]
fn a_directory_beside_the_built_in_list_still_refuses_strangers() {
    let (known, other) = (tempfile::tempdir(), tempfile::tempdir());
    let (known, other) = (known.expect("space"), other.expect("space"));
    fs::copy(testdata("ca.pem"), known.path().join("ca.pem")).expect("space");
    // A certificate, but nobody's authority here.
    fs::copy(testdata("client.pem"), other.path().join("ca.pem")).expect("space");
    let port = start_server(ClientProof::None);
    let trust = |dir: &tempfile::TempDir| Trust::DirectoryAndBuiltIn(dir.path().to_owned());
    let answer = get(trusting(trust(&known)), "localhost", port);
    assert_eq!(answer.expect("answers").text(), "hello");
    assert_refused(get(trusting(trust(&other)), "localhost", port));
    assert_refused(get(trusting(trust(&known)), "127.0.0.1", port));
}

#[test]
fn a_server_whose_certificate_has_ended_is_refused() {
    let authority = Authority::new().expect("random bytes");
    let dir = tempfile::tempdir().expect("space");
    let trust = authority.write_directory(dir.path()).expect("space");
    let doors = [
        (authority.door(&["localhost"], Proof::NotAsked), true),
        (authority.expired_door(&["localhost"]), false),
    ];
    for (door, is_valid) in doors {
        let entrance = Entrance {
            address: None,
            door: Some(door.expect("a name")),
        };
        let server = HttpStandIn::start_at(entrance, |_| Reply::Whole(Answer::new(200, "hello")));
        let port = server.as_ref().expect("a server").address().port();
        for trust in [
            Trust::Directory(trust.clone()),
            Trust::DirectoryAndBuiltIn(trust.clone()),
        ] {
            let answer = get(trusting(trust), "localhost", port);
            if is_valid {
                assert_eq!(answer.expect("answers").text(), "hello");
            } else {
                assert_refused(answer);
            }
        }
    }
}
