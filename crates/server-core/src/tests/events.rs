//! Jobs that take ranges of events.

mod clones;
mod random;
mod redo;
mod sets;

use ailurus_model::{
    Attributes, Caller, ErrorCode, EventArchive, EventItem, EventMessage, EventReport, EventStatus,
    GivenRange, Job, JobForm, JobKind, JobStatus, PandaId, TaskId, TaskStatus, event::EventOutcome,
};
use serde_json::json;

use super::{
    harness::*,
    panda_tasks::{generation, reading, with},
};
use crate::{
    EventAnswers, EventVersion, KillCode, KillRequest, Unmerged, acquire_event_ranges,
    count_event_ranges, describe_job, event_range_states, kill_jobs,
    ledger::{EventRows, Ledger, PandaTaskRows},
    submit_jobs, update_event_ranges,
};

/// A job that reads one file, whose events it takes in ranges.
fn form(special_handling: &str) -> JobForm {
    let mut form = JobForm::default();
    for (key, value) in [
        ("jobName", "es"),
        ("prodSourceLabel", "managed"),
        ("transformation", "sim.sh"),
        ("computingSite", FAR),
        ("specialHandling", special_handling),
    ] {
        form.attributes.put(key, value);
    }
    form.attributes.put("eventService", 1_i64);
    form.attributes.put("maxAttempt", 2_i64);
    form.attributes.put(
        "jobParameters",
        "-i a.root -o hits.root<PANDA_ESMERGE_TRF>merge.sh</PANDA_ESMERGE_TRF>\
         <PANDA_ESMERGE_JOBP>-o hits.root -i @inputFor_hits.root</PANDA_ESMERGE_JOBP>",
    );
    for (lfn, kind) in [
        ("a.root", "input"),
        ("hits.root", "output"),
        ("es.log.tgz", "log"),
    ] {
        let mut file = Attributes::default();
        file.put("lfn", lfn);
        file.put("type", kind);
        file.put("scope", "spd");
        file.put("dataset", format!("spd.{kind}"));
        form.files.push(file);
    }
    form
}

/// Ten events of one file, two in a range, each tried three times.
const TEN: &str = "es:0:a.root/0/9/2/3^";

impl Server {
    fn submit_events(&mut self, special_handling: &str) -> PandaId {
        let forms = vec![form(special_handling)];
        let taken = self.run(|ctx, ledger| submit_jobs(ctx, ledger, forms, "prod"));
        taken.unwrap()[0].panda_id.expect("it is taken")
    }

    /// A job that takes ranges and runs.
    fn taking(special_handling: &str) -> (Self, Job) {
        let mut server = Self::new();
        server.submit_events(special_handling);
        let job = server.running_job();
        (server, job)
    }

    fn ranges(&mut self, job: &Job, n: usize) -> Vec<GivenRange> {
        let id = job.panda_id;
        self.run(|ctx, ledger| acquire_event_ranges(ctx, ledger, id, None, n))
            .unwrap()
    }

    fn tell(&mut self, message: &EventMessage, version: EventVersion) -> EventAnswers {
        self.run(|ctx, ledger| update_event_ranges(ctx, ledger, message, version))
            .unwrap()
    }

    fn report(&mut self, ranges: &[GivenRange], outcome: EventOutcome) -> Vec<Option<bool>> {
        self.tell(&message(ranges, outcome), EventVersion::AfterDispatch)
            .returns
    }

    fn range_statuses(&self, job: PandaId) -> Vec<&'static str> {
        let ranges = self
            .ledger
            .event_ranges_in(job, EventStatus::ALL, None, usize::MAX)
            .unwrap();
        ranges.iter().map(|range| range.status.as_str()).collect()
    }
}

fn outcome_of(range: &GivenRange, outcome: EventOutcome) -> EventReport {
    EventReport {
        id: range.id,
        outcome,
        object_store: "7".to_owned(),
        path_convention: None,
        error_code: (outcome != EventOutcome::Finished).then_some(1220),
        error_diag: String::new(),
        archive: None,
    }
}

fn message(ranges: &[GivenRange], outcome: EventOutcome) -> EventMessage {
    EventMessage {
        archives: Vec::new(),
        items: ranges
            .iter()
            .map(|range| EventItem::Outcome(outcome_of(range, outcome)))
            .collect(),
    }
}

#[test]
fn a_job_takes_its_ranges_and_merges_what_it_wrote() {
    let (mut server, job) = Server::taking(TEN);
    assert!(job.options.is_event_service && !job.options.is_event_service_merge);
    assert_eq!(job.parameters, "-i a.root -o hits.root");
    let first = server.ranges(&job, 3);
    let events: Vec<(u64, u64)> = first
        .iter()
        .map(|range| (range.first_event, range.last_event))
        .collect();
    assert_eq!(events, [(1, 2), (3, 4), (5, 6)]);
    assert_eq!(first[0].lfn.as_str(), "a.root");
    assert_eq!(first[0].id.to_string(), "1-1-1-1-1");
    let rest = server.ranges(&job, 10);
    assert_eq!(rest.len(), 2);
    assert!(server.ranges(&job, 10).is_empty());
    for ranges in [&first, &rest] {
        let returns = server.report(ranges, EventOutcome::Finished);
        assert!(returns.iter().all(|one| *one == Some(true)));
    }
    let report: serde_json::Value =
        serde_json::from_str(&server.attempt(1, 1).report).expect("a report");
    assert_eq!(report["nEvents"], 10);
    // Only its log is there: outputs come from the merge.
    let mut update = finished(&job);
    update.outputs.retain(|file| file.lfn != job.outputs[0].lfn);
    server.send(&update);
    assert_eq!(server.range_statuses(job.panda_id), ["done"; 5]);
    assert_eq!(server.attempt(1, 1).status, JobStatus::Closed);

    let merge = server.running_job();
    assert_eq!(
        (merge.panda_id, merge.attempt_nr.value()),
        (job.panda_id, 2)
    );
    assert!(merge.options.is_event_service_merge && !merge.options.is_event_service);
    assert_eq!(merge.transformation, "merge.sh");
    assert_eq!(merge.parameters, "-o hits.root.2 -i @inputFor_hits.root");
    let inputs: Vec<&str> = merge.inputs.iter().map(|file| file.lfn.as_str()).collect();
    assert_eq!(inputs.len(), 5);
    assert_eq!(inputs[0], "hits.root.1-1-1-1-1");
    assert_eq!(merge.options.storage_tokens[&merge.inputs[0].lfn], "7");
    let list = format!("inputFor_hits.root:{}", inputs.join(","));
    assert_eq!(merge.options.write_to_file, list);
    assert_eq!(merge.priority, 5000);
    server.finish(&merge);
    assert_eq!(server.status(1), JobStatus::Finished);
    assert_eq!(server.range_statuses(job.panda_id), ["merged"; 5]);
    assert_eq!(server.ledger.files().count(), 1);
}

#[test]
fn what_an_attempt_leaves_is_taken_by_the_next() {
    let (mut server, job) = Server::taking(TEN);
    let taken = server.ranges(&job, 3);
    server.report(&taken[..1], EventOutcome::Finished);
    server.fail(&job, ErrorCode::PayloadExecutionFailure);
    assert_eq!(
        server.range_statuses(job.panda_id),
        ["done", "ready", "ready", "ready", "ready"]
    );
    let ended = server.attempt(1, 1);
    assert_eq!(ended.status, JobStatus::Failed);
    assert!(server.job(1).reason.is_empty(), "it has a queue");
    let next = server.running_job();
    assert_eq!(next.attempt_nr.value(), 2);
    let again = server.ranges(&next, 10);
    assert_eq!(again.len(), 4);
    let names: Vec<String> = again.iter().map(|range| range.id.to_string()).collect();
    assert_eq!(names, ["1-1-1-3-2", "1-1-1-5-2", "1-1-1-7-1", "1-1-1-9-1"]);
    // What the first attempt still says is not taken, and it is told to end.
    let late = message(&taken[1..2], EventOutcome::Finished);
    let answers = server.tell(&late, EventVersion::AfterDispatch);
    assert_eq!(answers.returns, [Some(false)]);
    assert_eq!(
        answers.commands[&job.panda_id].as_deref(),
        Some("tobekilled")
    );
    assert_eq!(server.range_statuses(job.panda_id)[1], "sent");
}

#[test]
fn a_range_that_cannot_be_done_ends_the_job_unless_the_rest_will_do() {
    for (tags, is_merged) in [("", false), (",ap", true)] {
        let (mut server, job) = Server::taking(&format!("{TEN}{tags}"));
        let ranges = server.ranges(&job, 10);
        server.report(&ranges[1..], EventOutcome::Finished);
        server.report(&ranges[..1], EventOutcome::Fatal);
        server.finish(&job);
        if is_merged {
            assert_eq!(server.job(1).sub_status, "partial");
            let merge = server.running_job();
            assert_eq!(merge.inputs.len(), 4);
            server.finish(&merge);
            assert_eq!(server.status(1), JobStatus::Finished);
            assert_eq!(
                server.range_statuses(job.panda_id)[..2],
                ["fatal", "merged"]
            );
        } else {
            assert_eq!(
                (server.status(1), server.job(1).server_code),
                (JobStatus::Failed, 118)
            );
            assert_eq!(
                server.range_statuses(job.panda_id)[..2],
                ["fatal", "discarded"]
            );
        }
    }
}

#[test]
fn a_range_is_tried_as_often_as_it_may_be() {
    let mut server = Server::new();
    server.submit_events("es:0:a.root/0/1/2/2^");
    for _ in 0..2 {
        let job = server.running_job();
        let ranges = server.ranges(&job, 10);
        assert_eq!(ranges.len(), 1);
        server.report(&ranges, EventOutcome::Failed);
        server.finish(&job);
    }
    assert_eq!(
        (server.status(1), server.job(1).server_code),
        (JobStatus::Failed, 119)
    );
    assert_eq!(server.range_statuses(PandaId::new(1)), ["fatal"]);
}

#[test]
fn only_failures_count_where_the_job_says_so() {
    let (mut server, job) = Server::taking("es:0:a.root/0/1/2/1^,df");
    assert_eq!(server.ranges(&job, 10).len(), 1);
    server.fail(&job, ErrorCode::PayloadExecutionFailure);
    assert_eq!(server.range_statuses(job.panda_id), ["ready"]);
    let (mut server, job) = Server::taking("es:0:a.root/0/1/2/1^");
    assert_eq!(server.ranges(&job, 10).len(), 1);
    server.fail(&job, ErrorCode::PayloadExecutionFailure);
    assert_eq!(server.range_statuses(job.panda_id), ["fatal"]);
}

#[test]
fn only_jobs_with_a_pilot_get_ranges_and_only_of_their_task() {
    let mut server = Server::new();
    let id = server.submit_events(TEN);
    let ask = |server: &mut Server, task: Option<u64>| {
        let task = task.map(TaskId::new);
        let given = server.run(|ctx, ledger| acquire_event_ranges(ctx, ledger, id, task, 1));
        given.unwrap().len()
    };
    assert_eq!(ask(&mut server, None), 0);
    server.running_job();
    assert_eq!(count_event_ranges(&server.ledger, id, None).unwrap(), 5);
    assert_eq!(ask(&mut server, Some(2)), 0);
    assert_eq!(ask(&mut server, Some(1)), 1);
    assert_eq!(
        count_event_ranges(&server.ledger, id, Some(TaskId::new(1))).unwrap(),
        4
    );
    assert!(server.kill_as(&Caller::loopback(), id, KillCode::User));
    assert_eq!(ask(&mut server, None), 0);
    let unknown = server
        .run(|ctx, ledger| acquire_event_ranges(ctx, ledger, PandaId::new(99), None, 1).unwrap());
    assert!(unknown.is_empty());
}

#[test]
fn the_same_report_again_changes_nothing_and_another_one_is_not_taken() {
    let (mut server, job) = Server::taking(TEN);
    let ranges = server.ranges(&job, 2);
    let all = |server: &mut Server, outcome| server.report(&ranges, outcome);
    assert_eq!(all(&mut server, EventOutcome::Finished), [Some(true); 2]);
    assert_eq!(all(&mut server, EventOutcome::Finished), [Some(true); 2]);
    assert_eq!(all(&mut server, EventOutcome::Failed), [Some(false); 2]);
    let mut other = ranges[0].clone();
    other.id.first_event = 99;
    assert_eq!(
        server.report(&[other], EventOutcome::Finished),
        [Some(false)]
    );
    let mut message = message(&ranges[..1], EventOutcome::Finished);
    message
        .items
        .extend([EventItem::Progress, EventItem::Unreadable]);
    let answers = server.tell(&message, EventVersion::AfterDispatch);
    assert_eq!(answers.returns, [Some(true), None, Some(false)]);
    assert_eq!(answers.commands[&job.panda_id], None);
    let states = event_range_states(&server.ledger, job.panda_id, job.task_id).unwrap();
    assert_eq!(states[0].status, EventStatus::Finished);
}

#[test]
fn more_ranges_than_a_call_may_name_are_passed_over() {
    let (mut server, job) = Server::taking(TEN);
    let ranges = server.ranges(&job, 1);
    let report = EventItem::Outcome(outcome_of(&ranges[0], EventOutcome::Finished));
    let items = vec![report; crate::RANGES_PER_CALL_MAX + 1];
    let message = EventMessage {
        archives: Vec::new(),
        items,
    };
    let returns = server.tell(&message, EventVersion::AfterDispatch).returns;
    assert_eq!(returns.last(), Some(&None));
    assert_eq!(returns[returns.len() - 2], Some(true));
}

#[test]
fn files_with_several_outputs_are_inputs_of_the_merge() {
    let (_, merge) = Server::merging(TEN);
    let inputs: Vec<&str> = merge.inputs.iter().map(|file| file.lfn.as_str()).collect();
    assert_eq!(inputs, ["hits.root.1-1-1-1-1", "premerged.tar"]);
    assert!(merge.options.archived_inputs.contains(&merge.inputs[1].lfn));
    assert_eq!(merge.options.storage_tokens[&merge.inputs[1].lfn], "9/1000");
    assert_eq!(merge.options.write_to_file.split(',').count(), 5);
}

#[test]
fn a_killed_job_gives_its_ranges_up_and_a_retry_opens_them_again() {
    let (mut server, job) = Server::taking(TEN);
    let ranges = server.ranges(&job, 10);
    server.report(&ranges[..2], EventOutcome::Finished);
    for _ in 0..2 {
        server.report(&ranges[2..], EventOutcome::Fatal);
    }
    server.finish(&job);
    assert_eq!(server.status(1), JobStatus::Failed);
    server.retry_task(1).unwrap();
    let again = server.running_job();
    assert_eq!(server.ranges(&again, 10).len(), 5);
    let kept = Server::taking(&format!("{TEN},de"));
    let (mut server, job) = kept;
    let ranges = server.ranges(&job, 10);
    server.report(&ranges[..2], EventOutcome::Finished);
    server.report(&ranges[2..], EventOutcome::Fatal);
    server.finish(&job);
    server.retry_task(1).unwrap();
    let again = server.running_job();
    assert_eq!(server.ranges(&again, 10).len(), 3, "what was done is kept");
}

#[test]
fn a_merge_that_fails_is_tried_again_without_the_work_before_it() {
    let (mut server, job) = Server::taking(TEN);
    let ranges = server.ranges(&job, 10);
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&job);
    server.fail_for_good(1);
    assert_eq!(server.status(1), JobStatus::Failed);
    assert_eq!(server.range_statuses(job.panda_id), ["done"; 5]);
    server.retry_task(1).unwrap();
    let merge = server.running_job();
    assert!(merge.options.is_event_service_merge);
    server.finish(&merge);
    assert_eq!(server.status(1), JobStatus::Finished);
}

#[test]
fn ranges_may_be_reported_before_they_are_given_out_in_version_2() {
    let (mut server, job) = Server::taking(TEN);
    let given = server.ranges(&job, 1);
    let mut next = given[0].clone();
    next.id.first_event = 3;
    let early = message(&[next], EventOutcome::Finished);
    let answer = server.tell(&early, EventVersion::AfterDispatch).returns;
    assert_eq!(answer, [Some(false)]);
    let answer = server.tell(&early, EventVersion::BeforeDispatch).returns;
    assert_eq!(answer, [Some(true)]);
    assert_eq!(server.range_statuses(job.panda_id)[1], "finished");
}

#[test]
fn clients_see_what_a_job_has_to_do_with_events() {
    let (mut server, job) = Server::taking(TEN);
    let seen = server
        .look(|ctx, ledger| describe_job(ctx, ledger, job.panda_id))
        .unwrap()
        .unwrap();
    assert_eq!(seen.attributes.whole("eventService"), Some(1));
    assert_eq!(seen.attributes.text("specialHandling"), "eventservice");
}

/// A task whose jobs take ranges of two events.
fn task(name: &str, n: u32) -> serde_json::Value {
    with(
        generation(name, n),
        &json!({
            "nEventsPerJob": 6,
            "nEventsPerWorker": 2,
            "esmergeSpec": {"transPath": "merge.sh",
                            "jobParameters": "-o ${OUTPUT0} @inputFor_${OUTPUT0}"},
        }),
    )
}

/// Does all jobs as a pilot does: takes ranges, does them, ends.
fn work(server: &mut Server) {
    server.steps();
    while let Some(job) = server.next_job() {
        server.update(&job, JobStatus::Running);
        let ranges = server.ranges(&job, 100);
        server.report(&ranges, EventOutcome::Finished);
        server.finish(&job);
        server.steps();
    }
    server.pass(std::time::Duration::from_secs(60));
    server.steps();
}

#[test]
fn a_task_has_its_events_done_in_ranges_and_merged() {
    let mut server = Server::new();
    let reply = server.submit_panda(task("es", 12));
    assert_eq!(reply.code, 0, "{}", reply.message);
    server.steps();
    let job = server.running_job();
    assert!(job.options.is_event_service);
    assert_eq!(job.parameters, "-n 6 --skip 0 --out=es.1._000001.root");
    let ranges = server.ranges(&job, 10);
    let events: Vec<u64> = ranges.iter().map(|range| range.first_event).collect();
    assert_eq!(events, [1, 3, 5]);
    assert_eq!(ranges[0].lfn.as_str(), "pseudo_lfn");
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&job);
    let merge = server.next_job().expect("a merge");
    assert!(merge.options.is_event_service_merge);
    assert_eq!(merge.transformation, "merge.sh");
    let name = merge.outputs[0].lfn.clone();
    assert_eq!(merge.parameters, format!("-o {name} @inputFor_{name}"));
    assert!(
        merge.inputs[0]
            .lfn
            .as_str()
            .starts_with("es.1._000001.root.1-1-0-1-1")
    );
    server.finish(&merge);
    work(&mut server);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.ledger.files().count(), 2);
}

#[test]
fn events_of_files_are_counted_through_all_files_of_a_job() {
    let mut server = Server::new();
    server.submit_panda(generation("gen", 2));
    work(&mut server);
    let changes = json!({
        "nFilesPerJob": 2, "nEventsPerFile": 3, "nEventsPerWorker": 2, "maxAttemptES": 4,
        "esmergeSpec": {"transPath": "merge.sh", "jobParameters": "x"},
    });
    server.submit_panda(reading("sim", "gen.hits", &changes));
    server.steps();
    let job = server.running_job();
    let ranges = server.ranges(&job, 10);
    let events: Vec<(u64, u64)> = ranges
        .iter()
        .map(|range| (range.first_event, range.last_event))
        .collect();
    assert_eq!(events, [(1, 2), (3, 3), (4, 5), (6, 6)]);
    let names: Vec<&str> = ranges.iter().map(|range| range.lfn.as_str()).collect();
    assert_eq!(names[0], names[1]);
    assert_ne!(names[1], names[2]);
    server.finish(&job);
    work(&mut server);
    assert_eq!(server.task_status(2), TaskStatus::Done);
}

#[test]
fn a_task_without_a_merge_or_with_jumbo_jobs_is_refused_in_words() {
    let mut server = Server::new();
    let mut without = task("es", 6);
    without.as_object_mut().unwrap().remove("esmergeSpec");
    let jumbo = with(task("jumbo", 6), &json!({"nJumboJobs": 2}));
    for (params, word) in [(without, "esmergeSpec"), (jumbo, "nJumboJobs")] {
        let id = server.submit_panda(params).task.expect("it is taken");
        server.steps();
        assert_eq!(server.task_status(id.value()), TaskStatus::Broken);
        let progress = server.ledger.task_progress(id).unwrap().unwrap();
        assert!(progress.message.contains(word), "{}", progress.message);
    }
    server.submit_panda(generation("gen", 1));
    work(&mut server);
    let changes = json!({
        "nFilesPerJob": 1, "nEventsPerWorker": 2,
        "esmergeSpec": {"transPath": "merge.sh", "jobParameters": "x"},
    });
    let id = server
        .submit_panda(reading("sim", "gen.hits", &changes))
        .task;
    server.steps();
    let id = id.expect("it is taken").value();
    assert_eq!(server.task_status(id), TaskStatus::Broken);
}
