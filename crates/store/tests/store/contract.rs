//! What the server's operations rely on, of every ledger: the same checks on each kind.

use ailurus_model::{
    AttemptNr, ByteCount, ChangeId, Command, DatasetName, FileStatus, HarvesterId, JobKind,
    JobStatus, PandaId, QueueName, SourceLabel, TaskId, TaskStatus, Timestamp, WorkerId,
    WorkerStatus,
};
use ailurus_server_core::{
    MemoryLedger,
    ledger::{
        Changed, ClaimFilter, DatasetRecord, JobText, Lasting, Ledger, Probes, StatusChange,
        Waiting,
    },
};
use ailurus_store::DatabaseLedger;

use crate::postgresql;
use crate::rows::{NOW, any_job, attempt, file, job, need, task, worker};

/// Runs a check on a new ledger of each kind; inside of [`postgresql_keeps_the_contract`] on one in
/// `PostgreSQL`.
pub(crate) fn on_each_ledger(check: impl Fn(&mut dyn Ledger)) {
    if let Some(database) = postgresql::new_database() {
        check(&mut DatabaseLedger::open(database).unwrap());
        let mut ledger = DatabaseLedger::open(postgresql::new_database().unwrap()).unwrap();
        return ledger.transact(|ledger| check(ledger)).unwrap();
    }
    check(&mut MemoryLedger::default());
    let dir = tempfile::tempdir().unwrap();
    check(&mut DatabaseLedger::open(&dir.path().join("server.db")).unwrap());
    let mut ledger = DatabaseLedger::open(&dir.path().join("batch.db")).unwrap();
    ledger.transact(|ledger| check(ledger)).unwrap();
}

#[test]
fn numbers_only_rise() {
    on_each_ledger(|ledger| {
        let first = ledger.new_panda_id().unwrap();
        assert!(ledger.new_panda_id().unwrap() > first);
        let first = ledger.new_task_id().unwrap();
        assert!(ledger.new_task_id().unwrap() > first);
        let first = ledger.new_file_id().unwrap();
        assert!(ledger.new_file_id().unwrap() > first);
    });
}

#[test]
fn a_task_is_read_as_it_was_written() {
    on_each_ledger(|ledger| {
        let mut written = task(TaskId::new(5), "sim");
        ledger.put_task(&written).unwrap();
        assert_eq!(ledger.task(written.id).unwrap(), Some(written.clone()));
        written.status = TaskStatus::Running;
        written.next_seed = written.next_seed.next();
        ledger.put_task(&written).unwrap();
        assert_eq!(ledger.task(written.id).unwrap(), Some(written));
        assert_eq!(ledger.task(TaskId::new(6)).unwrap(), None);
    });
}

#[test]
fn only_live_tasks_are_found_by_name_and_input() {
    on_each_ledger(|ledger| {
        let mut written = task(TaskId::new(5), "sim");
        ledger.put_task(&written).unwrap();
        let gen_files = DatasetName::new("spd.mc:gen");
        let find = |ledger: &dyn Ledger| ledger.live_task_named("alice", "sim").unwrap();
        assert_eq!(find(ledger), Some(written.id));
        assert_eq!(ledger.live_readers_of(&gen_files).unwrap(), [written.id]);
        assert_eq!(ledger.live_task_named("bob", "sim").unwrap(), None);
        written.status = TaskStatus::Done;
        ledger.put_task(&written).unwrap();
        assert_eq!(find(ledger), None);
        assert!(ledger.live_readers_of(&gen_files).unwrap().is_empty());
    });
}

#[test]
fn tasks_are_listed_by_status_in_rising_order() {
    on_each_ledger(|ledger| {
        for (id, status) in [
            (9, TaskStatus::Ready),
            (3, TaskStatus::Running),
            (4, TaskStatus::Done),
        ] {
            let mut written = task(TaskId::new(id), &format!("task{id}"));
            written.status = status;
            ledger.put_task(&written).unwrap();
        }
        let listed = ledger.tasks_in(&[TaskStatus::Ready, TaskStatus::Running]);
        assert_eq!(listed.unwrap(), [TaskId::new(3), TaskId::new(9)]);
    });
}

#[test]
fn a_part_of_a_dataset_has_one_file() {
    on_each_ledger(|ledger| {
        let dataset = DatasetRecord {
            name: DatasetName::new("spd.mc:gen"),
            producer: Some(TaskId::new(1)),
            n_parts: 2,
        };
        ledger.put_dataset(&dataset).unwrap();
        assert_eq!(
            ledger.dataset(&dataset.name).unwrap(),
            Some(dataset.clone())
        );
        let written = file(ledger.new_file_id().unwrap(), "spd.mc:gen", 1);
        ledger.insert_file(&written).unwrap();
        let read = |part| ledger.file_of_part(&dataset.name, part).unwrap();
        assert_eq!(read(1), Some(written));
        assert_eq!(read(0), None);
        let second = file(ledger.new_file_id().unwrap(), "spd.mc:gen", 1);
        assert!(ledger.insert_file(&second).is_err());
    });
}

#[test]
fn a_job_is_read_as_it_was_written() {
    on_each_ledger(|ledger| {
        let mut written = job(PandaId::new(8), TaskId::new(5));
        ledger.insert_job(&written, &[]).unwrap();
        assert_eq!(ledger.job(written.panda_id).unwrap(), Some(written.clone()));
        written.status = JobStatus::Running;
        written.command = Some(Command::Debug(Some("tail pilotlog.txt".to_owned())));
        written.worker = Some((HarvesterId::new("nica"), WorkerId::new(12)));
        written.queue = None;
        written.reason = "waits".to_owned();
        ledger.put_job(&written).unwrap();
        assert_eq!(ledger.job(written.panda_id).unwrap(), Some(written));
        assert_eq!(ledger.job(PandaId::new(9)).unwrap(), None);
    });
}

#[test]
fn claimable_jobs_come_by_priority_then_number() {
    on_each_ledger(|ledger| {
        ledger.put_task(&task(TaskId::new(5), "sim")).unwrap();
        for (id, priority) in [(1, 10), (2, 900), (3, 900), (4, 950)] {
            let mut written = job(PandaId::new(id), TaskId::new(5));
            written.priority = priority;
            ledger.insert_job(&written, &[]).unwrap();
        }
        let (queue, label) = (QueueName::new("JINR"), SourceLabel::default());
        let found = ledger.claimable(&any_job(&queue, &label), 3).unwrap();
        assert_eq!(found, [4, 2, 3].map(PandaId::new));
    });
}

#[test]
fn a_claim_for_probes_gets_them_whatever_their_label() {
    on_each_ledger(|ledger| {
        let mut probing = task(TaskId::new(5), "probe");
        let mut spec = (*probing.spec).clone();
        spec.processing_type = "gangarobot".to_owned();
        probing.spec = spec.into();
        ledger.put_task(&probing).unwrap();
        let id = PandaId::new(1);
        ledger.insert_job(&job(id, TaskId::new(5)), &[]).unwrap();
        let (queue, label) = (QueueName::new("JINR"), SourceLabel::new("test"));
        for (probes, found) in [
            (Probes::AsLabelled, vec![]),
            (Probes::Too, vec![id]),
            (Probes::Only, vec![id]),
        ] {
            let filter = ClaimFilter {
                probes,
                ..any_job(&queue, &label)
            };
            assert_eq!(ledger.claimable(&filter, 3).unwrap(), found, "{probes:?}");
        }
    });
}

#[test]
fn a_claim_gets_only_what_fits() {
    on_each_ledger(|ledger| {
        ledger.put_task(&task(TaskId::new(5), "sim")).unwrap();
        let id = PandaId::new(1);
        ledger.insert_job(&job(id, TaskId::new(5)), &[]).unwrap();
        let (queue, label) = (QueueName::new("JINR"), SourceLabel::default());
        let (other_queue, user_label) = (QueueName::new("CERN"), SourceLabel::new("user"));
        let fits = any_job(&queue, &label);
        let mut refused = vec![any_job(&other_queue, &label), any_job(&queue, &user_label)];
        for change in [
            |filter: &mut ClaimFilter<'_>| filter.memory = ByteCount::from_gib(1),
            |filter: &mut ClaimFilter<'_>| filter.disk = ByteCount::from_gib(9),
            |filter: &mut ClaimFilter<'_>| filter.core_memory = ByteCount::from_mib(1),
            |filter: &mut ClaimFilter<'_>| filter.is_background = true,
            |filter: &mut ClaimFilter<'_>| filter.probes = Probes::Only,
            |filter: &mut ClaimFilter<'_>| filter.remaining_secs = Some(3599),
            |filter: &mut ClaimFilter<'_>| filter.resource_type = Some("MCORE"),
            |filter: &mut ClaimFilter<'_>| filter.task_id = Some(TaskId::new(6)),
            |filter: &mut ClaimFilter<'_>| filter.user = Some("bob"),
        ] {
            let mut filter = fits.clone();
            change(&mut filter);
            refused.push(filter);
        }
        assert_eq!(ledger.claimable(&fits, 9).unwrap(), [id]);
        for filter in refused {
            let found = ledger.claimable(&filter, 9).unwrap();
            assert!(found.is_empty(), "{filter:?}");
        }
    });
}

#[test]
fn counts_equal_the_rows_they_count() {
    on_each_ledger(|ledger| {
        let moves = [
            JobStatus::Sent,
            JobStatus::Running,
            JobStatus::Running,
            JobStatus::Failed,
        ];
        for id in 1..=20_u32 {
            let mut moved = job(PandaId::new(u64::from(id)), TaskId::new(5));
            ledger.insert_job(&moved, &[]).unwrap();
            for status in moves.iter().take(id as usize % 5) {
                moved.status = *status;
                ledger.put_job(&moved).unwrap();
            }
        }
        let counts = ledger.task_counts(TaskId::new(5)).unwrap();
        for status in JobStatus::ALL {
            let rows = ledger.jobs_of_task(TaskId::new(5), &[*status]).unwrap();
            let counted = counts.get(status).copied();
            let expected = (!rows.is_empty()).then_some(rows.len() as u64);
            assert_eq!(counted, expected, "{status}");
        }
        let queues = ledger.queue_counts().unwrap();
        let queue = &queues[&QueueName::new("JINR")];
        assert_eq!(queue.get(&JobStatus::Running), Some(&8));
        assert_eq!(queue.get(&JobStatus::Failed), None);
    });
}

#[test]
fn jobs_of_a_task_come_in_rising_order() {
    on_each_ledger(|ledger| {
        for (id, status) in [
            (2, JobStatus::Running),
            (1, JobStatus::Sent),
            (3, JobStatus::Failed),
        ] {
            let mut written = job(PandaId::new(id), TaskId::new(5));
            written.status = status;
            ledger.insert_job(&written, &[]).unwrap();
        }
        let listed = ledger.jobs_of_task(TaskId::new(5), &[JobStatus::Running, JobStatus::Sent]);
        assert_eq!(listed.unwrap(), [1, 2].map(PandaId::new));
    });
}

#[test]
fn the_longest_silent_jobs_come_first() {
    on_each_ledger(|ledger| {
        for (id, status, modified) in [
            (1, JobStatus::Running, 30),
            (2, JobStatus::Sent, 10),
            (3, JobStatus::Running, 10),
            (4, JobStatus::Activated, 5),
            (5, JobStatus::Running, 99),
        ] {
            let mut written = job(PandaId::new(id), TaskId::new(5));
            written.status = status;
            written.modified = Timestamp::from_millis(modified);
            ledger.insert_job(&written, &[]).unwrap();
        }
        let statuses = [JobStatus::Running, JobStatus::Sent];
        let before = Timestamp::from_millis(99);
        let silent = ledger.unheard_since(&statuses, before, 9).unwrap();
        assert_eq!(silent, [2, 3, 1].map(PandaId::new));
        let silent = ledger.unheard_since(&statuses, before, 2).unwrap();
        assert_eq!(silent, [2, 3].map(PandaId::new));
    });
}

#[test]
fn jobs_that_wait_at_a_queue_come_page_by_page() {
    on_each_ledger(|ledger| {
        for (id, queue, status) in [
            (1, "A", JobStatus::Activated),
            (2, "B", JobStatus::Activated),
            (3, "A", JobStatus::Sent),
            (4, "A", JobStatus::Activated),
            (5, "A", JobStatus::Activated),
        ] {
            let mut written = job(PandaId::new(id), TaskId::new(5));
            written.status = status;
            written.queue = Some(QueueName::new(queue));
            ledger.insert_job(&written, &[]).unwrap();
        }
        let page = |after| -> Vec<u64> {
            let queue = QueueName::new("A");
            let page = ledger.activated_at(&queue, PandaId::new(after), 2);
            page.unwrap().iter().map(|(id, _)| id.value()).collect()
        };
        assert_eq!(page(0), [1, 4]);
        assert_eq!(page(4), [5]);
        assert!(page(5).is_empty());
    });
}

#[test]
fn a_worker_has_its_jobs_until_they_end() {
    on_each_ledger(|ledger| {
        let (harvester, id) = (HarvesterId::new("nica"), WorkerId::new(12));
        for (panda_id, status) in [(1, JobStatus::Running), (2, JobStatus::Finished)] {
            let mut written = job(PandaId::new(panda_id), TaskId::new(5));
            written.status = status;
            written.worker = Some((harvester.clone(), id));
            ledger.insert_job(&written, &[]).unwrap();
        }
        let jobs = ledger.jobs_of_worker(&harvester, id).unwrap();
        assert_eq!(jobs, [PandaId::new(1)]);
        let jobs = ledger.jobs_of_worker(&HarvesterId::new("other"), id);
        assert!(jobs.unwrap().is_empty());
    });
}

#[test]
fn needs_are_waited_for_until_settled() {
    on_each_ledger(|ledger| {
        let (first, second) = (PandaId::new(1), PandaId::new(2));
        let needs = [need(first, "spd.mc:gen", 0), need(first, "spd.mc:gen", 1)];
        ledger
            .insert_job(&job(first, TaskId::new(5)), &needs)
            .unwrap();
        let needs_of_second = [need(second, "spd.mc:gen", 1)];
        ledger
            .insert_job(&job(second, TaskId::new(5)), &needs_of_second)
            .unwrap();
        let dataset = DatasetName::new("spd.mc:gen");
        assert_eq!(ledger.needs_of(first).unwrap(), needs);
        assert_eq!(ledger.waiting_for(&dataset, 1).unwrap(), [first, second]);
        ledger.settle_needs(&dataset, 1, FileStatus::Ready).unwrap();
        assert!(ledger.waiting_for(&dataset, 1).unwrap().is_empty());
        assert!(ledger.has_expected_needs(first).unwrap());
        assert!(!ledger.has_expected_needs(second).unwrap());
        let settled = ledger.needs_of(second).unwrap();
        assert_eq!(settled[0].status, FileStatus::Ready);
    });
}

#[test]
fn a_heartbeat_is_seen_in_job_and_attempt_and_ends_with_it() {
    on_each_ledger(|ledger| {
        let id = PandaId::new(1);
        let mut beating = job(id, TaskId::new(5));
        beating.status = JobStatus::Running;
        beating.modified = Timestamp::from_millis(10);
        ledger.insert_job(&beating, &[]).unwrap();
        let mut first = attempt(id, 1, JobStatus::Running);
        first.ended = None;
        ledger.put_attempt(&first).unwrap();
        for heard in [20, 30] {
            first.cpu_secs = Some(heard);
            first.report = format!("{{\"nEvents\":{heard}}}");
            beating.modified = Timestamp::from_millis(i64::try_from(heard).unwrap());
            ledger.put_attempt(&first).unwrap();
            ledger.put_job(&beating).unwrap();
        }
        assert_eq!(ledger.job(id).unwrap(), Some(beating.clone()));
        let nr = AttemptNr::new(1);
        assert_eq!(ledger.attempt(id, nr).unwrap(), Some(first.clone()));
        let silent = |ledger: &dyn Ledger, before| {
            let before = Timestamp::from_millis(before);
            let silent = ledger.unheard_since(&[JobStatus::Running], before, 9);
            silent.unwrap()
        };
        assert!(silent(ledger, 30).is_empty());
        assert_eq!(silent(ledger, 31), [id]);
        first.status = JobStatus::Failed;
        first.ended = Some(NOW);
        ledger.put_attempt(&first).unwrap();
        beating.status = JobStatus::Activated;
        beating.attempt_nr = AttemptNr::new(2);
        ledger.put_job(&beating).unwrap();
        let second = attempt(id, 2, JobStatus::Sent);
        ledger.put_attempt(&second).unwrap();
        assert_eq!(ledger.attempt(id, nr).unwrap(), Some(first));
        let read = ledger.attempt(id, AttemptNr::new(2)).unwrap();
        assert_eq!(read, Some(second));
        assert_eq!(ledger.job(id).unwrap(), Some(beating));
    });
}

#[test]
fn an_attempt_is_read_as_it_was_written() {
    on_each_ledger(|ledger| {
        let id = PandaId::new(1);
        ledger.insert_job(&job(id, TaskId::new(5)), &[]).unwrap();
        let mut written = attempt(id, 1, JobStatus::Running);
        ledger.put_attempt(&written).unwrap();
        written.status = JobStatus::Failed;
        written.ended = Some(NOW);
        written.server_error = written.pilot_error.take();
        ledger.put_attempt(&written).unwrap();
        let read = ledger.attempt(id, AttemptNr::new(1)).unwrap();
        assert_eq!(read, Some(written));
        assert_eq!(ledger.attempt(id, AttemptNr::new(2)).unwrap(), None);
    });
}

#[test]
fn a_worker_is_read_as_it_was_written() {
    on_each_ledger(|ledger| {
        for status in [WorkerStatus::Submitted, WorkerStatus::Missed] {
            let written = worker(12, status);
            ledger.put_worker(&written, NOW).unwrap();
            let read = ledger.worker(&written.harvester_id, written.worker_id);
            assert_eq!(read.unwrap(), Some(written));
        }
        let none = ledger.worker(&HarvesterId::new("nica"), WorkerId::new(13));
        assert_eq!(none.unwrap(), None);
    });
}

#[test]
fn history_is_read_by_cursor_by_job_and_by_task() {
    on_each_ledger(|ledger| {
        assert_eq!(ledger.last_change().unwrap(), ChangeId::default());
        let (job, task) = (PandaId::new(7), TaskId::new(5));
        let change = |changed| StatusChange {
            time: NOW,
            task_id: task,
            changed,
            queue: Some(QueueName::new("A")),
            reason: "a pilot came".to_owned(),
            source_label: SourceLabel::new("user"),
        };
        let of_task = change(Changed::Task {
            old: None,
            new: TaskStatus::Ready,
        });
        let of_job = change(Changed::Job {
            panda_id: job,
            attempt_nr: AttemptNr::new(2),
            old: Some(JobStatus::Activated),
            new: JobStatus::Sent,
        });
        ledger.add_change(&of_task).unwrap();
        ledger.add_change(&of_job).unwrap();
        let rows = ledger.changes_after(ChangeId::default(), 10).unwrap();
        let changes: Vec<_> = rows.iter().map(|row| row.change.clone()).collect();
        assert_eq!(changes, [of_task.clone(), of_job.clone()]);
        assert!(rows[0].id < rows[1].id);
        assert_eq!(ledger.last_change().unwrap(), rows[1].id);
        assert_eq!(
            ledger.changes_after(ChangeId::default(), 1).unwrap(),
            rows[..1]
        );
        assert_eq!(ledger.changes_after(rows[0].id, 10).unwrap(), rows[1..]);
        assert!(ledger.changes_after(rows[1].id, 10).unwrap().is_empty());
        assert_eq!(ledger.changes_of_job(job, 10).unwrap(), rows[1..]);
        assert_eq!(ledger.changes_of_task(task, 10).unwrap(), rows[..1]);
        assert!(
            ledger
                .changes_of_job(PandaId::new(8), 10)
                .unwrap()
                .is_empty()
        );
        assert!(ledger.changes_of_job(job, 0).unwrap().is_empty());
    });
}

#[test]
fn a_text_of_a_job_is_the_one_that_was_written_last() {
    on_each_ledger(|ledger| {
        let (job, nr) = (PandaId::new(7), AttemptNr::new(2));
        let read = |ledger: &dyn Ledger, kind| ledger.job_text(job, nr, kind).unwrap();
        assert_eq!(read(ledger, JobText::Metadata), None);
        for text in ["{}", r#"{"files": {}}"#] {
            ledger
                .put_job_text(job, nr, JobText::Metadata, text)
                .unwrap();
            assert_eq!(read(ledger, JobText::Metadata).as_deref(), Some(text));
        }
        assert_eq!(read(ledger, JobText::Stdout), None);
        let other = ledger.job_text(job, AttemptNr::new(1), JobText::Metadata);
        assert_eq!(other.unwrap(), None);
    });
}

#[test]
fn postgresql_keeps_the_contract() {
    const CHECKS: &[fn()] = &[
        a_heartbeat_is_seen_in_job_and_attempt_and_ends_with_it,
        numbers_only_rise,
        a_task_is_read_as_it_was_written,
        only_live_tasks_are_found_by_name_and_input,
        tasks_are_listed_by_status_in_rising_order,
        a_part_of_a_dataset_has_one_file,
        a_job_is_read_as_it_was_written,
        claimable_jobs_come_by_priority_then_number,
        a_claim_for_probes_gets_them_whatever_their_label,
        a_claim_gets_only_what_fits,
        counts_equal_the_rows_they_count,
        jobs_of_a_task_come_in_rising_order,
        the_longest_silent_jobs_come_first,
        jobs_that_wait_at_a_queue_come_page_by_page,
        a_worker_has_its_jobs_until_they_end,
        needs_are_waited_for_until_settled,
        an_attempt_is_read_as_it_was_written,
        a_worker_is_read_as_it_was_written,
        history_is_read_by_cursor_by_job_and_by_task,
        a_text_of_a_job_is_the_one_that_was_written_last,
        jobs_that_stay_in_one_state_come_longest_first,
    ];
    let here = include_str!("contract.rs");
    assert_eq!(here.matches("\n#[test]\n").count(), CHECKS.len() + 1);
    postgresql::with_server(|| CHECKS.iter().for_each(|check| check()));
}

#[test]
fn jobs_that_stay_in_one_state_come_longest_first() {
    on_each_ledger(|ledger| {
        let task = TaskId::new(5);
        let earlier = |secs| NOW.before(std::time::Duration::from_secs(secs));
        for (id, status, label, secs) in [
            (1, JobStatus::Running, "managed", 10),
            (2, JobStatus::Running, "managed", 30),
            (3, JobStatus::Starting, "managed", 20),
            (4, JobStatus::Activated, "user", 20),
            (5, JobStatus::Activated, "managed", 20),
        ] {
            let mut written = job(PandaId::new(id), task);
            written.status = status;
            written.source_label = SourceLabel::new(label);
            written.state_changed = earlier(secs);
            written.modified = earlier(secs);
            written.created = earlier(secs);
            if id == 4 {
                written.kind = JobKind::Direct;
            }
            ledger.insert_job(&written, &[]).unwrap();
        }
        let ids =
            |found: Vec<PandaId>| -> Vec<u64> { found.into_iter().map(PandaId::value).collect() };
        let lasting = |state, before| ids(ledger.in_state_since(state, before, 10).unwrap());
        assert_eq!(lasting(Lasting::Running, NOW), [2, 1]);
        assert_eq!(lasting(Lasting::Running, earlier(15)), [2]);
        assert_eq!(lasting(Lasting::Starting, NOW), [3]);
        let waiting = |which, before| ids(ledger.waiting_since(which, before, 10).unwrap());
        assert_eq!(waiting(Waiting::Users, NOW), [4]);
        assert_eq!(waiting(Waiting::Urgent, NOW), [5]);
        assert_eq!(waiting(Waiting::Direct, NOW), [4]);
        assert!(waiting(Waiting::Direct, earlier(20)).is_empty());
        let one = job(PandaId::new(5), task);
        let (queue, share) = (one.queue.unwrap(), one.global_share);
        let at = |share: &str, before| ids(ledger.waiting_at(&queue, share, before, 9).unwrap());
        assert_eq!(at(&share, NOW), [4, 5]);
        assert!(at("other", NOW).is_empty());
        assert!(at(&share, Timestamp::default()).is_empty());
        assert_eq!(lasting(Lasting::UrgentStarting, NOW), [3]);
    });
}
