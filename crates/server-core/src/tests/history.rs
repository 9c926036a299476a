//! The history of statuses: every change is there once, with its reason, in order.

use ailurus_model::{ChangeId, ErrorCode, JobStatus, PandaId, TaskId, TaskStatus};

use super::harness::*;
use crate::ledger::{Changed, HistoryRow, HistoryRows};

/// Attempt, new status and reason of each change of a job.
fn of_job(server: &Server, id: u64) -> Vec<(u32, JobStatus, String)> {
    let rows = server.ledger.changes_of_job(PandaId::new(id), 100);
    rows.unwrap()
        .into_iter()
        .filter_map(|row| match row.change.changed {
            Changed::Job {
                attempt_nr, new, ..
            } => Some((attempt_nr.value(), new, row.change.reason)),
            Changed::Task { .. } => None,
        })
        .collect()
}

#[test]
fn a_job_has_a_row_for_each_change_and_says_why_it_was_tried_again() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    let job = server.running_job();
    server.finish(&job);
    use JobStatus::{Activated, Defined, Finished, Running, Sent};
    let history = of_job(&server, 1);
    let steps: Vec<_> = history.iter().map(|(nr, new, _)| (*nr, *new)).collect();
    let expected = [
        (1, Activated),
        (1, Sent),
        (1, Running),
        (2, Defined),
        (2, Activated),
        (2, Sent),
        (2, Running),
        (2, Finished),
    ];
    assert_eq!(steps, expected);
    assert!(
        history[3].2.contains("attempt 1 of 3 failed"),
        "{history:?}"
    );
}

#[test]
fn a_task_has_its_own_rows() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.finish(&job);
    let rows = server.ledger.changes_of_task(TaskId::new(1), 100).unwrap();
    let steps: Vec<_> = rows.iter().map(|row| row.change.changed).collect();
    use TaskStatus::{Done, Ready, Running};
    let change = |old, new| Changed::Task { old, new };
    let expected = [
        change(None, Ready),
        change(Some(Ready), Running),
        change(Some(Running), Done),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_reader_with_a_cursor_sees_everything_once() {
    let mut server = Server::with([generation(3)]);
    let mut seen: Vec<HistoryRow> = Vec::new();
    let mut cursor = ChangeId::default();
    loop {
        if let Some(job) = server.next_job() {
            server.finish(&job);
        }
        let rows = server.ledger.changes_after(cursor, 2).unwrap();
        let Some(last) = rows.last() else { break };
        cursor = last.id;
        seen.extend(rows);
    }
    let all = server.ledger.changes_after(ChangeId::default(), 1000);
    assert_eq!(seen, all.unwrap());
    assert_eq!(server.ledger.last_change().unwrap(), cursor);
}
