//! What surrounds a `PostgreSQL` server: the network that others may read, and a disk that is full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ailurus_model::{DatasetName, TaskId};
use ailurus_server_core::ledger::{DatasetRecord, Ledger};
use ailurus_store::{Database, DatabaseLedger, Writer};
use ailurus_testkit::{
    postgres::{self, Durability, PostgresServer},
    small_disk::SmallDisk,
    wait::wait_for,
};

/// How long the database may take until it does as it is told.
const LIMIT: Duration = Duration::from_secs(60);
/// Size of the small disk: an empty database takes a fourth of it.
const DISK_MIB: u32 = 40;
/// Changes after which the small disk must be full.
const CHANGES_MAX: u32 = 200_000;
/// Changes that are tried on the full disk.
const REFUSALS: u32 = 5;

fn run(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

// --- TLS ---

/// Makes an authority and a certificate for `localhost`, and returns the folder's path with them.
fn certificates(dir: &Path, authority: &str) -> PathBuf {
    let folder = dir.join(authority);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for words in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN={authority}"),
        format!("req {key} -keyout host.key -out host.csr -subj /CN=localhost"),
        "x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out host.pem \
         -extfile ext"
            .to_owned(),
    ] {
        let words = words.split_whitespace();
        assert!(run(Command::new("openssl")
            .args(words)
            .current_dir(&folder)));
    }
    folder
}

/// Has the server write a file of its own, which only it can read, in its folder.
fn give(server: &PostgresServer, text: &str, name: &str) {
    let lines = format!("unnest(string_to_array('{}', E'\\n'))", text.trim_end());
    let program = format!("umask 077; cat > {name}");
    let copy = format!("COPY (SELECT {lines}) TO PROGRAM '{program}'");
    server.ask("postgres", &copy).unwrap();
}

#[test]
fn the_database_is_reached_encrypted_and_only_by_its_certified_name() {
    if !postgres::is_there().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = PostgresServer::start(&dir.path().join("server"), Durability::Fast).unwrap();
    let (ours, other) = (
        certificates(dir.path(), "ours"),
        certificates(dir.path(), "other"),
    );
    for (file, name) in [("host.pem", "server.crt"), ("host.key", "server.key")] {
        give(&server, &fs::read_to_string(ours.join(file)).unwrap(), name);
    }
    server.new_database().unwrap();
    server.ask("postgres", "ALTER SYSTEM SET ssl = on").unwrap();
    server.ask("postgres", "SELECT pg_reload_conf()").unwrap();
    let (port, name) = (server.port(), server.last_database());
    let open = |host: &str, authority: &Path| {
        let url = format!(
            "postgres://ailurus@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={}",
            authority.join("ca.pem").display()
        );
        DatabaseLedger::open(url.parse::<Database>().unwrap())
    };
    let ledger = wait_for("TLS", LIMIT, || Ok(open("localhost", &ours).ok())).unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'ailurus-server'";
    assert_eq!(server.ask("postgres", encrypted).unwrap().trim(), "t");
    drop(ledger);
    for (host, authority) in [("127.0.0.1", &ours), ("localhost", &other)] {
        let error = open(host, authority).expect_err("not the certified one");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        assert!(text.contains("certificate"), "{host}: {text}");
    }
}

// --- a full disk ---

fn put(writer: &Writer, nr: u32) -> bool {
    let dataset = DatasetRecord {
        name: name(nr),
        producer: Some(TaskId::new(5)),
        n_parts: 1,
    };
    writer
        .run(move |ledger| ledger.put_dataset(&dataset))
        .is_ok()
}

fn name(nr: u32) -> DatasetName {
    DatasetName::new(format!("spd.mc:set{nr}"))
}

#[test]
fn a_full_disk_refuses_changes_and_loses_none_of_those_before() {
    if !postgres::is_there().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = PostgresServer::start(dir.path(), Durability::Durable).unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("small"), DISK_MIB).unwrap() else {
        return;
    };
    let place = disk.path().join("data").display().to_string();
    for sql in [
        format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir {place}'"),
        format!("CREATE TABLESPACE small LOCATION '{place}'"),
        "CREATE DATABASE small TEMPLATE template0 TABLESPACE small".to_owned(),
    ] {
        server.ask("postgres", &sql).unwrap();
    }
    let database: Database = server.url("small").parse().unwrap();
    let writer = Writer::start(DatabaseLedger::open(database.clone()).unwrap()).unwrap();
    assert!(put(&writer, 0));
    disk.fill().unwrap();
    let (mut kept, mut refused) = (vec![0], 0);
    for nr in 1..CHANGES_MAX {
        if put(&writer, nr) {
            kept.push(nr);
        } else {
            refused += 1;
        }
        if refused == REFUSALS {
            break;
        }
    }
    assert_eq!(refused, REFUSALS, "the disk was not full");
    disk.relieve().unwrap();
    wait_for("a change after there is space again", LIMIT, || {
        Ok(put(&writer, CHANGES_MAX).then_some(()))
    })
    .unwrap();
    kept.push(CHANGES_MAX);
    drop(writer);
    let ledger = DatabaseLedger::open(database).unwrap();
    for nr in kept {
        assert!(ledger.dataset(&name(nr)).unwrap().is_some(), "set {nr}");
    }
    drop(ledger);
    drop(server);
}
