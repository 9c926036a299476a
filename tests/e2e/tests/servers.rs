//! Servers under load while they, their database and their disk fail: no acknowledged update is
//! missing, and no job is given out or finished twice.
//!
//! The clients behave as pilots do: a call without an answer is made again, at another server if
//! there is one. They note what was acknowledged, and at the end every job's row must say so.

#[cfg(test)]
#[path = "servers/clients.rs"]
mod clients;
#[cfg(test)]
#[path = "servers/consumers.rs"]
mod consumers;
#[cfg(test)]
#[path = "servers/event_service.rs"]
mod event_service;
#[cfg(test)]
#[path = "servers/house.rs"]
mod house;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};

use ailurus_testkit::{Connection, http::Answer, wait::wait_for};
use clients::{Clients, Ended};
use house::{DatabaseKind, House, OnSmallDisk};

/// Jobs in each test.
const JOBS: u32 = 600;
/// Clients at a time.
const CLIENTS: usize = 12;

/// Lets clients work while `trouble` is made again and again; returns what they were told.
fn under_load(house: &mut House, rounds: usize, trouble: impl Fn(&mut House, usize)) -> Ended {
    house.submit("load", JOBS);
    let clients = Clients::start(house.addresses(), CLIENTS);
    for round in 0..rounds {
        // Trouble comes in the middle of work, not before or after it.
        clients.wait_for_progress(20);
        trouble(house, round);
        clients.tell(house.addresses());
    }
    let ended = clients.finish(Duration::from_secs(120));
    house.check(&ended, JOBS);
    ended
}

#[test]
fn a_server_on_sqlite_loses_nothing_when_it_is_killed_under_load() {
    let Some(mut house) = House::build(DatabaseKind::Sqlite, 1) else {
        return;
    };
    under_load(&mut house, 5, |house, _| house.kill_and_restart(0));
}

#[test]
fn of_two_servers_on_postgresql_one_goes_on_when_the_other_is_killed() {
    let Some(mut house) = House::build(DatabaseKind::Postgres, 2) else {
        return;
    };
    under_load(&mut house, 4, |house, round| {
        house.kill_and_restart(round % 2)
    });
    // One stays down, and the other does all of the work.
    house.kill(0);
    house.submit("alone", 50);
    let clients = Clients::start(house.addresses(), CLIENTS);
    let ended = clients.finish(Duration::from_secs(60));
    assert_eq!(ended.finished.len(), 50);
}

#[test]
fn servers_live_through_the_death_of_postgresql() {
    let Some(mut house) = House::build(DatabaseKind::Postgres, 2) else {
        return;
    };
    under_load(&mut house, 3, |house, _| house.kill_and_restart_database());
}

#[test]
fn a_full_disk_under_load_refuses_changes_and_loses_none_before() {
    for (kind, n_servers, on_disk) in [
        (DatabaseKind::Sqlite, 1, OnSmallDisk::Rows),
        (DatabaseKind::Postgres, 2, OnSmallDisk::Rows),
    ] {
        if let Some(mut house) = House::build_with(kind, n_servers, on_disk, "") {
            under_load(&mut house, 3, |house, _| house.fill_disk_for_a_while());
        }
    }
}

#[test]
fn servers_live_through_a_full_log_volume_of_postgresql() {
    let on_disk = OnSmallDisk::Log;
    let Some(mut house) = House::build_with(DatabaseKind::Postgres, 2, on_disk, "") else {
        return;
    };
    under_load(&mut house, 3, |house, _| house.fill_disk_for_a_while());
    // It was as bad as it can be: PostgreSQL itself gives up then.
    let log = house.postgres().log();
    assert!(
        log.contains("PANIC") && log.contains("No space left"),
        "{log}"
    );
}

/// Asks two at a time while a table is locked, and returns the answer that comes first.
fn first_of_two(address: &str, path: &'static str) -> Answer {
    let (sender, answers) = mpsc::channel();
    for _ in 0..2 {
        let (sender, address) = (sender.clone(), address.to_owned());
        thread::spawn(move || {
            let asked =
                Connection::open(&address).and_then(|mut one| one.send("GET", path, "", b""));
            // Nobody waits for the second one.
            drop(sender.send(asked));
        });
    }
    let first = answers.recv().expect("both answer");
    first.expect("the server answers")
}

#[test]
fn who_finds_all_readers_busy_is_told_to_try_again() {
    let lines = "readers = 1\nreader_wait = \"300ms\"";
    let Some(house) = House::build_with(DatabaseKind::Postgres, 1, OnSmallDisk::Nothing, lines)
    else {
        return;
    };
    house.submit("asked", 1);
    let address = house.addresses()[0].clone();
    let mut psql = house.postgres().command("psql");
    let psql = psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    let psql = psql.arg(house.postgres().last_database());
    let mut locker = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = locker.stdin.take().unwrap();
    let lock = "BEGIN; LOCK TABLE job, task IN ACCESS EXCLUSIVE MODE; SELECT 'locked';";
    writeln!(input, "{lock}").unwrap();
    let mut said = String::new();
    BufReader::new(locker.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said.trim(), "locked");
    for path in ["/ailurus/v1/tasks", "/api/v1/job/get_status?job_ids=1"] {
        let answer = first_of_two(&address, path);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{path}: {text}");
        assert!(text.contains("try again later"), "{path}: {text}");
    }
    // The end of its input ends the transaction.
    drop(input);
    locker.wait().unwrap();
    for path in ["/ailurus/v1/tasks", "/api/v1/job/get_status?job_ids=1"] {
        wait_for("an answer", Duration::from_secs(30), || {
            let answer = Connection::open(&address)?.send("GET", path, "", b"")?;
            Ok((answer.status == 200).then_some(()))
        })
        .unwrap();
    }
}
