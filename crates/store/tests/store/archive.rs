//! The archive of jobs, on each kind of ledger: all of a job is read as before, and comes back.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, ChangeId, DatasetName, EventStatus, FileStatus, JobKind, JobStatus, PandaId, TaskId,
    TaskStatus, Timestamp,
};
use ailurus_server_core::ledger::{
    ArchiveRows, Changed, Cursor, EndedPlace, EndedTask, JobText, Ledger, LedgerError, StatusChange,
};
use ailurus_store::{DatabaseLedger, JobFilter, Readers};

use crate::contract::on_each_ledger;
use crate::events::range;
use crate::postgresql;
use crate::rows::{NOW, attempt, job, need, task};

const TASK: TaskId = TaskId::new(5);
const FIRST: AttemptNr = AttemptNr::new(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Writes a task with three jobs: two have ended, the second earlier than the first.
fn write_jobs(ledger: &mut dyn Ledger) {
    let mut written = task(TASK, "sim");
    written.n_jobs = 3;
    ledger.put_task(&written).unwrap();
    for (id, status, minutes) in [
        (1, JobStatus::Finished, 10),
        (2, JobStatus::Failed, 20),
        (3, JobStatus::Activated, 30),
    ] {
        let id = PandaId::new(id);
        let mut written = job(id, TASK);
        let needs = [need(id, "spd.gen", 0), need(id, "spd.gen", 1)];
        ledger.insert_job(&written, &needs).unwrap();
        written.status = status;
        written.state_changed = NOW.before(MINUTE * minutes);
        ledger.put_job(&written).unwrap();
        let mut tried = attempt(id, 1, status);
        tried.ended = Some(NOW);
        ledger.put_attempt(&tried).unwrap();
        ledger
            .put_job_text(id, FIRST, JobText::Metadata, "{}")
            .unwrap();
    }
    let gen_files = DatasetName::new("spd.gen");
    for part in [0, 1] {
        ledger
            .settle_needs(&gen_files, part, FileStatus::Ready)
            .unwrap();
    }
}

/// All that the ledger tells of a job and its task.
fn told(ledger: &dyn Ledger, id: u64) -> String {
    let id = PandaId::new(id);
    let all: Result<_, LedgerError> = (|| {
        Ok((
            ledger.job(id)?,
            ledger.attempt(id, FIRST)?,
            ledger.attempt(id, FIRST.next())?,
            ledger.needs_of(id)?,
            ledger.job_text(id, FIRST, JobText::Metadata)?,
            ledger.jobs_of_task(TASK, JobStatus::ALL)?,
            ledger.task_counts(TASK)?,
            ledger.kind_counts(TASK)?,
            ledger.input_counts(TASK)?,
        ))
    })();
    format!("{:?}", all.unwrap())
}

fn places(ledger: &dyn Ledger, before: Timestamp, after: EndedPlace, limit: usize) -> Vec<u64> {
    let found = ledger.ended_before(before, after, limit).unwrap();
    let ids = found.iter().map(|job| job.place.panda_id.value());
    ids.collect()
}

#[test]
fn jobs_that_ended_are_listed_from_place_to_place() {
    on_each_ledger(|ledger| {
        write_jobs(ledger);
        let start = EndedPlace::START;
        assert_eq!(places(ledger, NOW, start, 10), [2, 1]);
        assert_eq!(places(ledger, NOW.before(MINUTE * 15), start, 10), [2]);
        assert_eq!(places(ledger, NOW, start, 1), [2]);
        let first = ledger.ended_before(NOW, start, 1).unwrap()[0];
        assert_eq!(first.task_id, TASK);
        assert_eq!(places(ledger, NOW, first.place, 10), [1]);
    });
}

#[test]
fn an_archived_job_is_read_as_before_and_counts() {
    on_each_ledger(|ledger| {
        write_jobs(ledger);
        let before = told(ledger, 1);
        let ids = [PandaId::new(1), PandaId::new(2)];
        ledger.archive_jobs(&ids).unwrap();
        assert!(ledger.is_archived(ids[0]).unwrap());
        assert!(!ledger.is_archived(PandaId::new(3)).unwrap());
        assert_eq!(told(ledger, 1), before);
        assert!(places(ledger, NOW, EndedPlace::START, 10).is_empty());
        // A step that is done again changes nothing.
        ledger.archive_jobs(&ids).unwrap();
        assert_eq!(told(ledger, 1), before);
        let kinds = ledger.kind_counts(TASK).unwrap();
        assert_eq!(kinds.get(&(JobKind::Run, JobStatus::Finished)), Some(&1));
    });
}

#[test]
fn what_changes_an_archived_job_takes_it_out_whole() {
    let take_out: [fn(&mut dyn Ledger, PandaId); 4] = [
        |ledger, id| {
            let mut job = ledger.job(id).unwrap().unwrap();
            job.status = JobStatus::Activated;
            ledger.put_job(&job).unwrap();
        },
        |ledger, id| {
            let mut attempt = ledger.attempt(id, FIRST).unwrap().unwrap();
            attempt.log_surl = "file:///late.log".to_owned();
            ledger.put_attempt(&attempt).unwrap();
        },
        |ledger, id| {
            ledger
                .put_job_text(id, FIRST, JobText::Metadata, "{\"late\": 1}")
                .unwrap();
        },
        |ledger, _| {
            let gen_files = DatasetName::new("spd.gen");
            ledger
                .settle_needs(&gen_files, 1, FileStatus::Failed)
                .unwrap();
        },
    ];
    for change in take_out {
        on_each_ledger(|ledger| {
            let id = PandaId::new(2);
            write_jobs(ledger);
            ledger.archive_jobs(&[id]).unwrap();
            change(ledger, id);
            assert!(!ledger.is_archived(id).unwrap());
            // As if it had never been archived.
            let mut other = ailurus_server_core::MemoryLedger::default();
            write_jobs(&mut other);
            change(&mut other, id);
            assert_eq!(told(ledger, 2), told(&other, 2));
        });
    }
}

fn ended_tasks(ledger: &dyn Ledger, before: Timestamp, limit: usize) -> Vec<u64> {
    let found = ledger
        .tasks_to_drop(before, EndedTask::START, limit)
        .unwrap();
    found.iter().map(|task| task.id.value()).collect()
}

#[test]
fn tasks_that_ended_are_listed_until_all_of_their_jobs_are_dropped() {
    on_each_ledger(|ledger| {
        write_jobs(ledger);
        assert!(ended_tasks(ledger, NOW, 10).is_empty(), "it has not ended");
        for (id, status, minutes) in [
            (5, TaskStatus::Done, 10),
            (6, TaskStatus::Broken, 20),
            (7, TaskStatus::Aborted, 30),
        ] {
            let mut ended = task(TaskId::new(id), &format!("task{id}"));
            ended.status = status;
            ended.state_changed = NOW.before(MINUTE * minutes);
            ledger.put_task(&ended).unwrap();
        }
        assert_eq!(ended_tasks(ledger, NOW, 10), [7, 6, 5]);
        assert_eq!(ended_tasks(ledger, NOW, 2), [7, 6]);
        assert_eq!(ended_tasks(ledger, NOW.before(MINUTE * 15), 10), [7, 6]);
        let second = EndedTask {
            ended: NOW.before(MINUTE * 20),
            id: TaskId::new(6),
        };
        let rest = ledger.tasks_to_drop(NOW, second, 10).unwrap();
        assert_eq!(rest.iter().map(|task| task.id).collect::<Vec<_>>(), [TASK]);
        assert!(!ledger.are_jobs_dropped(TaskId::new(6)).unwrap());
        assert_eq!(ledger.drop_jobs(TaskId::new(6), 1).unwrap(), 0);
        assert!(ledger.are_jobs_dropped(TaskId::new(6)).unwrap());
        assert_eq!(ended_tasks(ledger, NOW, 10), [7, 5]);
    });
}

#[test]
fn a_dropped_job_is_gone_whole_and_still_counts() {
    on_each_ledger(|ledger| {
        write_jobs(ledger);
        let mut ranges = range(7, 1, EventStatus::Done);
        ranges.panda_id = PandaId::new(1);
        ledger.put_event_ranges(&[ranges]).unwrap();
        let counts = ledger.task_counts(TASK).unwrap();
        let (first, second) = (PandaId::new(1), PandaId::new(2));
        ledger.archive_jobs(&[first, second]).unwrap();
        assert!(ledger.has_jobs_at_work(TASK).unwrap());
        assert_eq!(ledger.drop_jobs(TASK, 1).unwrap(), 1);
        let left: Vec<PandaId> = [first, second]
            .into_iter()
            .filter(|id| ledger.job(*id).unwrap().is_some())
            .collect();
        assert_eq!(left.len(), 1);
        assert!(ledger.attempt(left[0], FIRST).unwrap().is_some());
        assert_eq!(ledger.drop_jobs(TASK, 2).unwrap(), 1);
        for id in [first, second] {
            assert_eq!(ledger.job(id).unwrap(), None);
            assert_eq!(ledger.attempt(id, FIRST).unwrap(), None);
            assert!(ledger.needs_of(id).unwrap().is_empty());
            let text = ledger.job_text(id, FIRST, JobText::Metadata).unwrap();
            assert_eq!(text, None);
            assert!(ledger.event_counts(id).unwrap().is_empty());
            assert!(!ledger.is_archived(id).unwrap());
        }
        assert_eq!(ledger.task_counts(TASK).unwrap(), counts);
        let ended = [JobStatus::Finished, JobStatus::Failed];
        assert!(ledger.jobs_of_task(TASK, &ended).unwrap().is_empty());
        // The one outside of the archive is still there.
        assert!(ledger.job(PandaId::new(3)).unwrap().is_some());
        assert!(ledger.attempt(PandaId::new(3), FIRST).unwrap().is_some());
    });
}

#[test]
fn old_history_goes_as_far_as_all_cursors_have_come() {
    on_each_ledger(|ledger| {
        for n in 0..6 {
            let change = StatusChange {
                time: NOW.before(MINUTE * (60 - n)),
                task_id: TASK,
                changed: Changed::Task {
                    old: None,
                    new: TaskStatus::Ready,
                },
                queue: None,
                reason: String::new(),
                source_label: job(PandaId::new(1), TASK).source_label,
            };
            ledger.add_change(&change).unwrap();
        }
        let left = |ledger: &dyn Ledger| -> Vec<u64> {
            let rows = ledger.changes_after(ChangeId::default(), 10).unwrap();
            rows.iter().map(|row| row.id.value()).collect()
        };
        assert_eq!(ledger.least_cursor().unwrap(), None);
        for (name, last) in [("far", 6), ("near", 2)] {
            let cursor = Cursor {
                name: name.to_owned(),
                last: ChangeId::new(last),
                holder: String::new(),
                held_until: NOW,
            };
            ledger.put_cursor(&cursor).unwrap();
        }
        let least = ledger.least_cursor().unwrap().unwrap();
        assert_eq!(least, ChangeId::new(2));
        assert_eq!(ledger.forget_changes(NOW, least, 1).unwrap(), 1);
        assert_eq!(left(ledger), [2, 3, 4, 5, 6]);
        assert_eq!(ledger.forget_changes(NOW, least, 10).unwrap(), 1);
        assert_eq!(ledger.forget_changes(NOW, least, 10).unwrap(), 0);
        let last = ledger.last_change().unwrap();
        let before = NOW.before(MINUTE * 56);
        assert_eq!(ledger.forget_changes(before, last, 10).unwrap(), 2);
        assert_eq!(left(ledger), [5, 6]);
        assert_eq!(ledger.last_change().unwrap(), ChangeId::new(6));
    });
}

#[test]
fn readers_show_archived_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let database = postgresql::new_database()
        .unwrap_or_else(|| ailurus_store::Database::File(dir.path().join("server.db")));
    let mut ledger = DatabaseLedger::open(database.clone()).unwrap();
    ledger.transact(|ledger| write_jobs(ledger)).unwrap();
    let readers = Readers::new(database);
    let shown = || {
        readers
            .read(|reader| {
                Ok((
                    reader.show_job(PandaId::new(2))?,
                    reader.list_jobs(JobFilter::default(), 10)?,
                    reader.failed_attempts(TASK)?,
                ))
            })
            .unwrap()
    };
    let before = shown();
    assert_eq!((before.1.len(), before.2), (3, 1));
    ledger
        .transact(|ledger| ledger.archive_jobs(&[PandaId::new(1), PandaId::new(2)]))
        .unwrap()
        .unwrap();
    assert_eq!(shown(), before);
}

#[test]
fn a_step_that_is_given_up_leaves_every_row_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let database = postgresql::new_database()
        .unwrap_or_else(|| ailurus_store::Database::File(dir.path().join("server.db")));
    let mut ledger = DatabaseLedger::open(database.clone()).unwrap();
    ledger.transact(|ledger| write_jobs(ledger)).unwrap();
    let before = told(&ledger, 2);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        ledger.transact(|ledger| {
            ledger.archive_jobs(&[PandaId::new(2)]).unwrap();
            // Has what was moved so far go to the database.
            assert!(places(ledger, NOW, EndedPlace::START, 10) == [1]);
            panic!("killed between two statements");
        })
    }));
    assert!(died.is_err());
    let ledger = DatabaseLedger::open(database).unwrap();
    assert!(!ledger.is_archived(PandaId::new(2)).unwrap());
    assert_eq!(told(&ledger, 2), before);
}

#[test]
fn postgresql_keeps_the_archive() {
    const CHECKS: &[fn()] = &[
        jobs_that_ended_are_listed_from_place_to_place,
        an_archived_job_is_read_as_before_and_counts,
        tasks_that_ended_are_listed_until_all_of_their_jobs_are_dropped,
        a_dropped_job_is_gone_whole_and_still_counts,
        what_changes_an_archived_job_takes_it_out_whole,
        old_history_goes_as_far_as_all_cursors_have_come,
        readers_show_archived_jobs,
        a_step_that_is_given_up_leaves_every_row_where_it_was,
    ];
    let here = include_str!("archive.rs");
    assert_eq!(here.matches("\n#[test]\n").count(), CHECKS.len() + 1);
    postgresql::with_server(|| CHECKS.iter().for_each(|check| check()));
}
