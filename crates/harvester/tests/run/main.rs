//! The real `ailurus-harvester` with shell scripts as pilots and a stand-in server.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

mod site;
mod stand_in;

use site::{Site, wait_until};

#[test]
fn every_activated_job_gets_one_pilot() {
    let site = Site::new(5);
    site.server.set_jobs(2, 0);
    let _harvester = site.start();
    site.wait_for_starts(2);
    site.let_cycles_pass(5);
    assert_eq!(site.starts().len(), 2);
    assert_eq!(
        site.starts(),
        ["1", "2"],
        "the worker's number is in its environment"
    );
}

#[test]
fn pilots_never_exceed_the_limit_however_many_jobs_wait() {
    let site = Site::new(2);
    site.server.set_jobs(50, 0);
    let _harvester = site.start();
    site.wait_for_starts(2);
    site.let_cycles_pass(10);
    assert_eq!(site.starts().len(), 2);
    // Two end: two more may come.
    site.server.set_jobs(50, 2);
    site.release(2);
    site.wait_for_starts(4);
    site.let_cycles_pass(5);
    assert_eq!(site.starts().len(), 4);
}

#[test]
fn ended_workers_are_reported_with_their_exit_code_and_statistics() {
    let site = Site::new(2);
    site.server.set_jobs(1, 0);
    let _harvester = site.start();
    wait_until("the worker runs", || {
        site.server.worker(1)["status"] == "running"
    });
    wait_until("statistics", || {
        site.server.statistics()["managed"]["ANY"]["running"] == 1
    });
    site.server.set_jobs(0, 0);
    site.release(1);
    wait_until("the worker ended", || {
        site.server.worker(1)["status"] == "failed"
    });
    let worker = site.server.worker(1);
    assert_eq!(worker["nativeExitCode"], 3);
    assert_eq!(worker["computingSite"], "JINR");
    for key in ["batchID", "nodeID", "submitTime", "startTime", "endTime"] {
        assert!(worker[key].is_string(), "{key} of {worker}");
    }
    wait_until("nothing runs any more", || {
        site.server.statistics()["managed"]["ANY"]["running"].is_null()
    });
    assert!(site.server.calls("/api/v1/harvester/heartbeat") >= 1);
}

#[test]
fn a_harvester_that_was_killed_finds_its_workers_again() {
    let site = Site::new(4);
    site.server.set_jobs(2, 0);
    let mut harvester = site.start();
    site.wait_for_starts(2);
    harvester.kill();
    site.server.forget_workers();
    let _harvester = site.start();
    site.let_cycles_pass(5);
    assert_eq!(site.starts().len(), 2, "no pilot is started twice");
    site.server.set_jobs(0, 0);
    site.release(2);
    for number in [1, 2] {
        wait_until("the worker's end is reported", || {
            site.server.worker(number)["nativeExitCode"] == 3
        });
    }
}

#[test]
fn workers_that_end_while_harvester_is_dead_are_reported_by_the_next_one() {
    let site = Site::new(1);
    site.server.set_jobs(1, 0);
    let mut harvester = site.start();
    site.wait_for_starts(1);
    harvester.kill();
    site.release(1);
    site.wait_for_exit_files(1);
    site.server.set_jobs(0, 0);
    let _harvester = site.start();
    wait_until("the end is reported", || {
        site.server.worker(1)["nativeExitCode"] == 3
    });
}

#[test]
fn a_server_that_is_away_stops_nothing_and_hears_everything_later() {
    let site = Site::new(2);
    site.server.set_jobs(2, 0);
    let harvester = site.start();
    site.wait_for_starts(2);
    site.server.set_away(true);
    site.release(2);
    wait_until("both ends are seen", || {
        harvester.log().matches("worker is failed").count() == 2
    });
    site.server.set_jobs(0, 0);
    site.server.set_away(false);
    for number in [1, 2] {
        wait_until("the end is reported", || {
            site.server.worker(number)["nativeExitCode"] == 3
        });
    }
    assert!(harvester.log().contains("the server answers again"));
}

#[test]
fn a_report_that_the_server_refuses_is_made_again() {
    let site = Site::new(1);
    site.server.set_jobs(1, 0);
    site.server.set_refusing(true);
    let _harvester = site.start();
    site.wait_for_starts(1);
    site.let_cycles_pass(3);
    assert!(site.server.worker(1).is_null());
    site.server.set_refusing(false);
    wait_until("the worker is reported", || {
        site.server.worker(1)["status"] == "running"
    });
}

#[test]
fn a_new_database_goes_on_after_the_numbers_that_the_server_knows() {
    let site = Site::new(1);
    site.server.set_jobs(1, 0);
    site.server.set_last_worker_id(41);
    let _harvester = site.start();
    site.wait_for_starts(1);
    assert_eq!(site.starts(), ["42"]);
}

#[test]
fn a_stop_leaves_the_workers() {
    let site = Site::new(1);
    site.server.set_jobs(1, 0);
    let mut harvester = site.start();
    site.wait_for_starts(1);
    assert_eq!(harvester.terminate(), Some(0));
    assert_eq!(site.exit_files(), 0, "the worker goes on");
}

#[test]
fn a_stop_with_cancelled_workers_ends_and_reports_them() {
    let site = Site::new(2);
    site.server.set_jobs(2, 0);
    let mut harvester = site.start_with(&["--cancel-workers"]);
    site.wait_for_starts(2);
    assert_eq!(harvester.terminate(), Some(0));
    site.wait_for_exit_files(2);
    for number in [1, 2] {
        assert_eq!(site.server.worker(number)["status"], "cancelled");
    }
}

#[test]
fn a_second_harvester_with_the_same_database_is_refused() {
    let site = Site::new(1);
    let _first = site.start();
    wait_until("the first is up", || {
        site.server.calls("/api/v1/harvester/heartbeat") > 0
    });
    let mut second = site.start();
    assert_eq!(second.wait(), Some(1));
    assert!(
        second
            .log()
            .contains("another Harvester runs with this database"),
        "{}",
        second.log()
    );
}

#[test]
fn a_wrong_configuration_ends_with_its_own_code() {
    let site = Site::new(1);
    site.write_configuration("harvester_id = 5");
    let mut harvester = site.start();
    assert_eq!(harvester.wait(), Some(2));
    assert!(
        harvester.log().contains("harvester.toml"),
        "{}",
        harvester.log()
    );
}

#[test]
fn a_batch_system_that_refuses_pauses_the_queue_and_says_why() {
    let site = Site::new(1);
    site.server.set_jobs(1, 0);
    let harvester = site.start();
    site.wait_for_starts(1);
    site.break_spool();
    wait_until("the reason is shown", || {
        let log = harvester.log();
        log.contains("no submission until") && log.contains("spool")
    });
    site.let_cycles_pass(3);
    assert_eq!(
        site.starts().len(),
        1,
        "workers out of sight count as there"
    );
}
