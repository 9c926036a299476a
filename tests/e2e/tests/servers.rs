//! Servers under load while they, their database and their disk fail: no acknowledged update is
//! missing, and no job is given out or finished twice.
//!
//! The clients behave as pilots do: a call without an answer is made again, at another server if
//! there is one. They note what was acknowledged, and at the end every job's row must say so.

#[cfg(test)]
#[path = "servers/clients.rs"]
mod clients;
#[cfg(test)]
#[path = "servers/house.rs"]
mod house;

use std::time::Duration;

use clients::{Clients, Ended};
use house::{DatabaseKind, House};

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
