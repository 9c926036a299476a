//! Debian's XRootD and Apache, over HTTP and over HTTPS with a certificate or a grid proxy.
//!
//! Where they cannot be had the tests say so and pass.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    num::NonZeroU32,
    panic::{self, AssertUnwindSafe},
    path::Path,
    thread,
    time::Duration,
};

use ailurus_http::{ClientCertificate, ClientConfig, Trust};
use ailurus_model::{ByteCount, Checksum};
use ailurus_testkit::storage::{Apache, Certificates, XRootD, apache, xrootd};
use ailurus_transfer::{
    Cause, Direction, Tool as _, Transfer,
    checksum::adler32,
    http::{HttpOptions, HttpTool, Mode, ThirdPartyCopy, encode_path},
};

use super::{PATIENCE, data, known, run, tool, transfer, watch};

/// Most tries of what may pass, and the pause between them.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// Servers that may crash or hang before a test gives up.
const SERVERS_MAX: u32 = 3;
/// Longest wait for an answer of a server that is sound.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Options with parts so small that files of tests have several.
fn in_parts() -> HttpOptions {
    HttpOptions {
        part: ByteCount::from_bytes(300_000),
        ranges: NonZeroU32::new(3).expect("not zero"),
        ..HttpOptions::default()
    }
}

/// Stores, looks, fetches, replaces and removes files below a URL; `served` is their directory.
fn round_trips(tool: &HttpTool, base: &str, served: &Path, names: &[&str]) {
    let dir = tempfile::tempdir().expect("space");
    for (nr, name) in names.iter().enumerate() {
        let url = format!("{base}/spd/{}/{}", nr % 3, encode_path(name));
        let stored = served.join(format!("spd/{}/{name}", nr % 3));
        for length in [1_000_000, 0, 1, 70_000] {
            let content = data(length);
            let file = dir.path().join("out");
            fs::write(&file, &content).expect("space");
            let send = Transfer {
                checksum: Some(Checksum::Adler32(adler32(&content))),
                ..transfer(Direction::StageOut, &url, &file)
            };
            move_at_last(tool, &send);
            assert_eq!(fs::read(&stored).expect(name), content, "{url}");

            let found = tool.look(&url, &watch(PATIENCE)).expect("there");
            assert_eq!(found.size.map(ByteCount::as_bytes), Some(length as u64));

            for fetch in [
                transfer(Direction::StageIn, &url, &dir.path().join("in")),
                known(
                    transfer(Direction::StageIn, &url, &dir.path().join("in")),
                    &content,
                ),
            ] {
                move_at_last(tool, &fetch);
                assert_eq!(fs::read(&fetch.path).expect("there"), content, "{url}");
            }
        }
        let mut wrong = transfer(Direction::StageIn, &url, &dir.path().join("wrong"));
        wrong.size = Some(ByteCount::from_bytes(1_000_001));
        let error = run(tool, &wrong).expect_err("another size");
        assert!(
            matches!(error.cause, Cause::SizeMismatch { .. }),
            "{}",
            error.cause
        );

        tool.remove(&url, &watch(PATIENCE)).expect("removed");
        assert!(!stored.exists());
        let gone = transfer(Direction::StageIn, &url, &dir.path().join("gone"));
        let error = run(tool, &gone).expect_err("gone");
        assert!(matches!(error.cause, Cause::Missing), "{}", error.cause);
    }
    let left: Vec<_> = walk(served);
    assert!(left.is_empty(), "{left:?} is left");
    super::assert_clean(dir.path());
}

/// Moves a file, and tries again what may pass, as a pilot does. XRootD 5.5 does not replace a file
/// as long as it has not noticed that its last reader has gone.
fn move_at_last(tool: &HttpTool, transfer: &Transfer) {
    for _ in 0..TRIES_MAX {
        match run(tool, transfer) {
            Ok(_) => return,
            Err(error) if may_pass(&error.cause) => thread::sleep(PAUSE),
            Err(error) => panic!("{}: {}", transfer.url, error.cause),
        }
    }
    panic!("{} cannot be moved", transfer.url);
}

fn may_pass(cause: &Cause) -> bool {
    matches!(cause, Cause::Busy { .. } | Cause::Broken { .. })
}

/// All files below a directory.
fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut found = Vec::new();
    for path in entries.map(|it| it.path()) {
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn xrootd_stores_and_gives_files() {
    for _ in 0..SERVERS_MAX {
        let dir = tempfile::tempdir().expect("space");
        let Some(server) = XRootD::start(dir.path()).expect("it starts") else {
            return;
        };
        // XRootD takes what is behind a `?` for its own, however it is encoded.
        let names = ["a.root", "with blank", "λ.root", "hash#1", "50%", "a%20b"];
        let base = server.http_endpoint() + server.export();
        let trips = || round_trips(&tool(in_parts()), &base, &server.dir(), &names);
        match panic::catch_unwind(AssertUnwindSafe(trips)) {
            Ok(()) => return,
            Err(fault) if is_sound(&server, &names) => panic::resume_unwind(fault),
            // Version 5.5 does, once in some ten thousand requests: a fault in its own library, or a
            // file of which it tells nobody anything any more, over whatever connection.
            Err(_) => eprintln!("XRootD has crashed or hangs: once more with a new one"),
        }
    }
    panic!("{SERVERS_MAX} servers in a row have crashed or hung");
}

/// Says whether a server answers everybody, about all that it has and all that the test names. It is
/// asked without any of our code, so that a fault of ours is not taken for the server's.
fn is_sound(server: &XRootD, names: &[&str]) -> bool {
    let served = server.dir();
    let meant = (0..names.len()).map(|nr| served.join(format!("spd/{}/{}", nr % 3, names[nr])));
    walk(&served).into_iter().chain(meant).all(|path| {
        let below = path.strip_prefix(&served).expect("below it");
        let path = encode_path(&below.display().to_string());
        ["HEAD", "GET"]
            .iter()
            .all(|method| answers(server.http_address(), method, &path))
    })
}

/// Says whether there is any answer to a request over a connection of its own.
#[expect(clippy::print_stderr, reason = "what a failed test wants to know")]
fn answers(address: SocketAddr, method: &str, path: &str) -> bool {
    let ask = || -> io::Result<usize> {
        let mut connection = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        connection.set_read_timeout(Some(ANSWER_LIMIT))?;
        let request = format!("{method} /data/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        connection.read(&mut [0; 16])
    };
    let answer = ask();
    let has_come = answer.as_ref().is_ok_and(|n_bytes| *n_bytes > 0);
    if !has_come {
        eprintln!("no answer to {method} {path}: {answer:?}");
    }
    has_come
}

#[test]
fn apache_stores_and_gives_files() {
    let dir = tempfile::tempdir().expect("space");
    let Some(server) = Apache::start(dir.path()).expect("it starts") else {
        return;
    };
    let names = [
        "a.root",
        "with blank",
        "λ.root",
        "hash#1",
        "what?",
        "50%",
        "a%20b",
        "a\nb",
    ];
    round_trips(&tool(in_parts()), &server.endpoint(), &server.dir(), &names);
}

#[test]
fn xrootd_believes_a_grid_proxy_over_https() {
    let dir = tempfile::tempdir().expect("space");
    let Some(certificates) = Certificates::make(&dir.path().join("ca")).expect("openssl") else {
        return;
    };
    let user = certificates.user("Some User").expect("made");
    let proxy = certificates.proxy(&user).expect("made");
    let settings = xrootd::Settings {
        access: xrootd::Access::Proxies(&certificates),
        ..xrootd::Settings::default()
    };
    let folder = dir.path().join("server");
    fs::create_dir(&folder).expect("space");
    let Some(server) = XRootD::start_with(&folder, settings).expect("it starts") else {
        return;
    };
    let base = server.http_endpoint() + server.export();
    let with = |certificate| {
        tool(HttpOptions {
            client: ClientConfig {
                trust: Trust::Directory(certificates.directory()),
                certificate,
                ..ClientConfig::default()
            },
            ..in_parts()
        })
    };
    let own = Some(ClientCertificate {
        chain_file: proxy.file.clone(),
        key_file: proxy.file.clone(),
    });
    round_trips(&with(own), &base, &server.dir(), &["a.root"]);
    let fetch = transfer(
        Direction::StageIn,
        &format!("{base}/f"),
        &dir.path().join("x"),
    );
    let error = run(&with(None), &fetch).expect_err("nobody knows who asks");
    assert!(
        matches!(
            error.cause,
            Cause::Denied { .. } | Cause::NoPermission { .. }
        ),
        "{}",
        error.cause
    );
    let stranger = HttpTool::new(
        in_parts(),
        ailurus_transfer::Budget::new(1 << 20),
        ailurus_transfer::Budget::new(0),
    );
    let error = run(&stranger.expect("valid"), &fetch).expect_err("no trust");
    assert!(
        matches!(error.cause, Cause::Unreachable { .. }),
        "{}",
        error.cause
    );
}

#[test]
fn apache_believes_a_certificate_over_https() {
    let dir = tempfile::tempdir().expect("space");
    let Some(certificates) = Certificates::make(&dir.path().join("ca")).expect("openssl") else {
        return;
    };
    let folder = dir.path().join("server");
    fs::create_dir(&folder).expect("space");
    let access = apache::Access::ClientCertificates(&certificates);
    let Some(server) = Apache::start_with(&folder, access).expect("it starts") else {
        return;
    };
    let user = certificates.user("Some User").expect("made");
    let certificate = Some(ClientCertificate {
        chain_file: user.certificate.clone(),
        key_file: user.key.clone(),
    });
    let client = |certificate| ClientConfig {
        trust: Trust::Directory(certificates.directory()),
        certificate,
        ..ClientConfig::default()
    };
    let own = tool(HttpOptions {
        client: client(certificate),
        ..in_parts()
    });
    round_trips(&own, &server.endpoint(), &server.dir(), &["a.root"]);
    let nobody = tool(HttpOptions {
        client: client(None),
        ..HttpOptions::default()
    });
    let url = format!("{}/f", server.endpoint());
    let fetch = transfer(Direction::StageIn, &url, &dir.path().join("x"));
    let error = run(&nobody, &fetch).expect_err("nobody knows who asks");
    assert!(
        matches!(error.cause, Cause::Denied { .. }),
        "{}",
        error.cause
    );
}

#[test]
fn one_xrootd_copies_from_another() {
    let dirs = [tempfile::tempdir(), tempfile::tempdir()].map(|it| it.expect("space"));
    let Some(source) = XRootD::start(dirs[0].path()).expect("it starts") else {
        return;
    };
    let Some(target) = XRootD::start(dirs[1].path()).expect("it starts") else {
        return;
    };
    let content = data(3_000_000);
    fs::write(source.dir().join("f"), &content).expect("space");
    let tool = tool(HttpOptions::default());
    let order = |mode| ThirdPartyCopy {
        from: source.http_url("f"),
        to: target.http_url("copied"),
        mode,
        other_authorization: None,
    };
    for mode in [Mode::Pull, Mode::Push] {
        tool.third_party_copy(&order(mode), &watch(PATIENCE))
            .unwrap_or_else(|error| panic!("{mode:?}: {}", error.cause));
        let copied = target.dir().join("copied");
        assert_eq!(fs::read(&copied).expect("there"), content, "{mode:?}");
        fs::remove_file(&copied).expect("there");
    }
    fs::remove_file(source.dir().join("f")).expect("there");
    tool.third_party_copy(&order(Mode::Pull), &watch(PATIENCE))
        .expect_err("nothing to copy");
}
