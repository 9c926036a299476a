//! Merges that cannot read what was written of some ranges, and scouts among such jobs.

use ailurus_model::{JobUpdate, Lfn};

use super::*;

/// How a merge fails that cannot read files.
fn unreadable(merge: &Job, code: ErrorCode, files: &[&str]) -> JobUpdate {
    let mut update = failed(merge, code);
    update.corrupted_files = files.iter().map(|file| Lfn::new(*file)).collect();
    update
}

impl Server {
    /// A job of five ranges, all done: the first by itself, the others in one archive. It merges.
    pub(super) fn merging(special_handling: &str) -> (Self, Job) {
        let (mut server, job) = Self::taking(special_handling);
        let ranges = server.ranges(&job, 10);
        let mut message = message(&ranges, EventOutcome::Finished);
        message.archives.push(EventArchive {
            lfn: "premerged.tar".into(),
            size: ailurus_model::ByteCount::from_mib(3),
            checksum: None,
            object_store: "9/1000".to_owned(),
            n_events: Some(8),
        });
        for item in &mut message.items[1..] {
            if let EventItem::Outcome(report) = item {
                report.archive = Some(0);
            }
        }
        server.tell(&message, EventVersion::AfterDispatch);
        server.finish(&job);
        let merge = server.running_job();
        assert!(merge.options.is_event_service_merge);
        (server, merge)
    }
}

#[test]
fn ranges_whose_outputs_are_broken_are_done_again_and_only_those() {
    let (mut server, merge) = Server::merging(TEN);
    let file = merge.inputs[0].lfn.to_string();
    server.send(&unreadable(&merge, ErrorCode::GetAdMismatch, &[&file]));
    assert_eq!(
        server.range_statuses(merge.panda_id),
        ["ready", "done", "done", "done", "done"]
    );
    let again = server.running_job();
    assert_eq!(
        (again.panda_id, again.attempt_nr.value()),
        (merge.panda_id, 3)
    );
    assert!(again.options.is_event_service && !again.options.is_event_service_merge);
    assert_eq!(again.transformation, "sim.sh");
    assert_eq!(again.priority, 1, "it is no merge any more");
    let ranges = server.ranges(&again, 10);
    assert_eq!(ranges[0].id.to_string(), "1-1-1-1-2");
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&again);
    let merge = server.running_job();
    assert_eq!(merge.inputs.len(), 2);
    // Now the archive is lost, too.
    server.send(&unreadable(
        &merge,
        ErrorCode::NoSuchFile,
        &["zip://premerged.tar"],
    ));
    let ready = server.range_statuses(merge.panda_id);
    assert_eq!(ready.iter().filter(|one| **one == "ready").count(), 4);
    let again = server.running_job();
    let ranges = server.ranges(&again, 10);
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&again);
    let merge = server.running_job();
    server.finish(&merge);
    assert_eq!(server.status(1), JobStatus::Finished);
    assert_eq!(server.range_statuses(merge.panda_id), ["merged"; 5]);
}

#[test]
fn a_file_that_cannot_be_fetched_counts_as_lost_the_third_time() {
    let (mut server, mut merge) = Server::merging(TEN);
    let mut row = server.job(1);
    row.max_attempts = 9;
    server.ledger.put_job(&row).unwrap();
    for nr in 1..=3 {
        assert!(merge.options.is_event_service_merge, "attempt {nr}");
        server.send(&unreadable(
            &merge,
            ErrorCode::StageInFailed,
            &["premerged.tar"],
        ));
        merge = server.running_job();
    }
    assert!(merge.options.is_event_service);
    assert_eq!(server.ranges(&merge, 10).len(), 4);
}

#[test]
fn other_failures_and_unknown_names_undo_nothing() {
    for (code, file) in [
        (ErrorCode::PayloadExecutionFailure, "premerged.tar"),
        (ErrorCode::GetAdMismatch, "other.tar"),
    ] {
        let (mut server, merge) = Server::merging(TEN);
        server.send(&unreadable(&merge, code, &[file]));
        assert_eq!(server.range_statuses(merge.panda_id), ["done"; 5]);
        assert!(server.job(1).tags.has("esmerge"), "{file}");
    }
}

#[test]
fn what_is_broken_too_often_ends_the_job_unless_the_rest_will_do() {
    let once = "es:0:a.root/0/9/2/1^";
    let (mut server, merge) = Server::merging(once);
    server.send(&unreadable(
        &merge,
        ErrorCode::GetAdMismatch,
        &["premerged.tar"],
    ));
    assert_eq!(
        (server.status(1), server.job(1).server_code),
        (JobStatus::Failed, 118)
    );
    assert_eq!(server.range_statuses(merge.panda_id)[1], "corrupted");
    let (mut server, merge) = Server::merging(&format!("{once},ap"));
    server.send(&unreadable(
        &merge,
        ErrorCode::GetAdMismatch,
        &["premerged.tar"],
    ));
    let merge = server.running_job();
    assert!(merge.options.is_event_service_merge);
    assert_eq!(merge.inputs.len(), 1);
    server.finish(&merge);
    assert_eq!(server.status(1), JobStatus::Finished);
}

#[test]
fn scouts_measure_what_their_events_took_and_not_their_merge() {
    let mut server = Server::new();
    let params = with(
        task("es", 600),
        &json!({"nEventsPerJob": 20, "skipScout": false, "nEsConsumers": 2, "coreCount": 1,
                "ramCount": 4000, "ramUnit": "MB", "baseWalltime": 10}),
    );
    let reply = server.submit_panda(params);
    assert_eq!(reply.code, 0, "{}", reply.message);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Scouting);
    let before = server.ledger.jobs().count();
    assert_eq!(before, 20, "ten scouts and their consumers");
    while let Some(job) = server.next_job() {
        server.update(&job, JobStatus::Running);
        server.pass(std::time::Duration::from_secs(100));
        let n = if job.options.is_event_service { 5 } else { 0 };
        let ranges = server.ranges(&job, n);
        server.report(&ranges, EventOutcome::Finished);
        let mut update = finished(&job);
        // A range of two events takes 200 s of CPU; a merge has no part in it.
        update.cpu_time = Some(std::time::Duration::from_secs(200 * ranges.len() as u64));
        let mut usage = ailurus_model::UsageSummary {
            n_samples: 1,
            ..ailurus_model::UsageSummary::default()
        };
        usage.max.pss = ailurus_model::ByteCount::from_mib(if n > 0 { 1000 } else { 9000 });
        update.usage = Some(usage);
        server.send(&update);
    }
    server.steps();
    let revision = server.task(1).revision;
    let definition = server.ledger.panda_task(TaskId::new(1), revision).unwrap();
    let resources = definition.unwrap().refined.clone().unwrap().resources;
    assert!((900..2000).contains(&resources.ram_mb), "{resources:?}");
    assert!(resources.cpu_time > 0, "{resources:?}");
}
