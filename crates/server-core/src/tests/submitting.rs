//! How tasks are cut into jobs, and which submissions are refused.

use ailurus_model::{
    ByteCount, JobStatus, Lfn, SourceLabel, TaskSpec, TaskStatus,
    task::{Split, Submission},
};

use super::harness::*;
use crate::{Ledger as _, SubmitError};

fn refused(change: impl FnOnce(&mut TaskSpec)) -> SubmitError {
    let mut spec = generation(2);
    change(&mut spec);
    refused_all(&Submission {
        datasets: Vec::new(),
        tasks: vec![spec],
    })
}

/// The refusal of a submission, of which nothing was taken.
fn refused_all(submission: &Submission) -> SubmitError {
    let mut server = Server::new();
    let before = server.ledger.clone();
    let error = server.try_submit(submission).expect_err("refused");
    assert_eq!(server.ledger, before);
    assert!(!error.help().is_empty());
    error
}

#[test]
fn a_task_is_cut_by_events_with_the_rest_in_the_last_job() {
    let mut spec = generation(1);
    spec.split = Split::Events {
        total: 2500,
        per_job: 1000,
    };
    let mut server = Server::new();
    let submitted = server.submit([spec]);
    assert_eq!(submitted[0].jobs, 3);
    let events: Vec<(u64, u64)> = server
        .ledger
        .jobs()
        .map(|job| (job.first_event, job.n_events))
        .collect();
    assert_eq!(events, [(0, 1000), (1000, 1000), (2000, 500)]);
    assert_eq!(server.statuses(1), [JobStatus::Activated; 3]);
    assert_eq!(server.task_status(1), TaskStatus::Ready);
}

#[test]
fn jobs_spread_over_the_queues() {
    let server = Server::with([generation(10)]);
    let at = |name: &str| {
        server
            .ledger
            .jobs()
            .filter(|job| job.queue == Some(name.into()))
            .count()
    };
    assert_eq!((at(NEAR), at(FAR)), (5, 5));
}

#[test]
fn a_task_is_cut_by_files_of_the_first_input() {
    let mut server = Server::new();
    let submission = Submission {
        datasets: vec![listed("raw", "JINR_NEAR_DISK", 5)],
        tasks: vec![reading("raw", "reco", Split::Files { per_job: 2 })],
    };
    assert_eq!(server.try_submit(&submission).unwrap()[0].jobs, 3);
    let parts = |job: u64| -> Vec<u32> {
        let needs = server.ledger.needs_of(server.job(job).panda_id).unwrap();
        needs.iter().map(|need| need.part).collect()
    };
    assert_eq!(
        (parts(1), parts(2), parts(3)),
        (vec![0, 1], vec![2, 3], vec![4])
    );
    assert_eq!(server.statuses(1), [JobStatus::Activated; 3]);
}

#[test]
fn jobs_go_where_their_input_lies() {
    let mut server = Server::new();
    let submission = Submission {
        datasets: vec![listed("raw", "SPBU_FAR_DISK", 4)],
        tasks: vec![reading("raw", "reco", FILE_BY_FILE)],
    };
    server.try_submit(&submission).unwrap();
    assert!(
        server
            .ledger
            .jobs()
            .all(|job| job.queue == Some(FAR.into()))
    );
}

#[test]
fn a_dataset_of_an_ended_task_can_be_read() {
    let mut server = Server::with([generation(2)]);
    let (first, second) = (server.running_job(), server.running_job());
    server.finish(&first);
    server.fail(&second, ailurus_model::ErrorCode::LoopingJob);
    server.submit([reading("gen", "sim", FILE_BY_FILE)]);
    assert_eq!(
        server.statuses(2),
        [JobStatus::Activated, JobStatus::Closed]
    );
    assert_eq!(
        server.job(4).reason,
        "input part 1 of dataset `spd.gen` will not come: job 2 of task `gen` ended failed"
    );
    server.submit([TaskSpec {
        split: Split::AllFiles,
        ..reading("gen", "ana", Split::AllFiles)
    }]);
    assert_eq!(server.statuses(3), [JobStatus::Activated]);
}

#[test]
fn a_task_whose_jobs_are_all_closed_has_failed() {
    let mut server = Server::with([generation(1)]);
    server.fail_for_good(1);
    server.submit([reading("gen", "sim", FILE_BY_FILE)]);
    assert_eq!(server.task_status(2), TaskStatus::Failed);
}

#[test]
fn a_job_that_no_queue_takes_says_why() {
    let mut spec = generation(1);
    spec.resources.cores = 64;
    let server = Server::with([spec]);
    assert_eq!(server.status(1), JobStatus::Defined);
    assert_eq!(
        server.job(1).reason,
        "no queue can run it: `JINR_NEAR` has slots of 8 cores, the job needs 64; \
         `SPBU_FAR` has slots of 8 cores, the job needs 64"
    );
}

#[test]
fn a_job_gets_its_class_of_cores_and_memory() {
    let mut spec = generation(1);
    spec.resources.cores = 4;
    spec.resources.memory = ByteCount::from_gib(16);
    spec.source_label = SourceLabel::new("user");
    let server = Server::with([spec]);
    assert_eq!(server.job(1).resource_type, "MCORE_HIMEM");
}

#[test]
fn an_empty_submission_is_refused() {
    assert_eq!(
        refused_all(&Submission::default()).code(),
        "empty-submission"
    );
}

#[test]
fn bad_values_are_refused_with_field_value_and_what_is_allowed() {
    type Change = fn(&mut TaskSpec);
    let cases: [(Change, &str); 12] = [
        (
            |spec| spec.name = "a b".to_owned(),
            "name of a task is `a b`: allowed is 1 to 200 letters",
        ),
        (
            |spec| spec.name = "../x".to_owned(),
            "name of a task is `../x`",
        ),
        (
            |spec| spec.user = String::new(),
            "user of task `gen` is ``: allowed is 1 to 250",
        ),
        (
            |spec| spec.transformation = "a\nb".to_owned(),
            "transformation of task `gen` is `a\nb`",
        ),
        (
            |spec| spec.scope = "a/b".into(),
            "scope of task `gen` is `a/b`",
        ),
        (
            |spec| spec.max_attempts = 0,
            "max_attempts of task `gen` is `0`: allowed is 1 to 10",
        ),
        (
            |spec| spec.max_attempts = 11,
            "max_attempts of task `gen` is `11`",
        ),
        (
            |spec| spec.resources.cores = 0,
            "cores of task `gen` is `0`: allowed is 1 to 1024",
        ),
        (
            |spec| {
                spec.split = Split::Events {
                    total: 0,
                    per_job: 1,
                }
            },
            "number of events of task `gen` is `0`: allowed is 1 and more",
        ),
        (
            |spec| {
                spec.split = Split::Events {
                    total: 1,
                    per_job: 0,
                }
            },
            "events in a job of task `gen` is `0`",
        ),
        (
            |spec| spec.split = Split::AllFiles,
            "number of inputs of task `gen` is `0`",
        ),
        (
            |spec| spec.outputs[0].name = "a.b".to_owned(),
            "output name of task `gen` is `a.b`",
        ),
    ];
    for (change, expected) in cases {
        let error = refused(change);
        assert_eq!(error.code(), "bad-value");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn counts_are_limited() {
    let error = refused(|spec| {
        spec.split = Split::Events {
            total: u64::MAX,
            per_job: 1,
        }
    });
    assert_eq!(error.code(), "too-many");
    assert!(
        error.to_string().ends_with("at most 100000 are taken"),
        "{error}"
    );
    assert_eq!(
        refused(|spec| spec.parameters = "x".repeat(70_000)).code(),
        "too-many"
    );
}

#[test]
fn a_second_live_task_of_that_name_is_refused() {
    let mut server = Server::with([generation(1)]);
    let mut again = generation(1);
    again.outputs = vec![output("gen2", "gen2_{seed}.root")];
    again.parameters = String::new();
    let submission = Submission {
        datasets: Vec::new(),
        tasks: vec![again.clone()],
    };
    let error = server.try_submit(&submission).expect_err("exists");
    assert_eq!(
        error.to_string(),
        "user `alice` has a task named `gen` already: task 1"
    );
    let other = TaskSpec {
        user: "bob".to_owned(),
        ..again.clone()
    };
    server.submit([TaskSpec {
        outputs: vec![output("gen3", "gen3_{seed}.root")],
        ..other
    }]);
    server.kill_task(1).unwrap();
    server.submit([again]);
}

#[test]
fn two_tasks_of_one_name_in_a_submission_are_refused() {
    let mut other = generation(1);
    other.outputs.clear();
    other.parameters = String::new();
    let tasks = vec![generation(1), other];
    let error = refused_all(&Submission {
        datasets: Vec::new(),
        tasks,
    });
    assert_eq!(error.code(), "task-exists");
}

#[test]
fn unknown_placeholders_are_refused_with_the_allowed_ones() {
    let error = refused(|spec| spec.parameters = "{input.gen}".to_owned());
    assert_eq!(error.code(), "bad-template");
    assert!(
        error.to_string().starts_with(
            "parameters of task `gen`: placeholder `{input.gen}` is not known: allowed are `{seed}`"
        ),
        "{error}"
    );
    let error = refused(|spec| spec.outputs[0].lfn = "{output.gen}_{seed}".to_owned());
    assert!(
        error
            .to_string()
            .starts_with("lfn of output `gen` of task `gen`"),
        "{error}"
    );
}

#[test]
fn file_names_must_be_unique_over_jobs_and_attempts() {
    for lfn in [
        "gen.root",
        "gen_{part}.root",
        "gen_{attempt}.root",
        "gen_{events}_{attempt}.root",
    ] {
        let error = refused(|spec| spec.outputs[0].lfn = lfn.to_owned());
        assert_eq!(error.code(), "lfn-not-unique", "{lfn}");
    }
    for lfn in [
        "{task}_{seed}",
        "g_{part}_{attempt}.root",
        "g_{first_event}_{attempt}.root",
    ] {
        let mut spec = generation(2);
        spec.outputs[0].lfn = lfn.to_owned();
        Server::with([spec]);
    }
    let mut single = generation(1);
    single.outputs[0].lfn = "peaks_{attempt}.png".to_owned();
    Server::with([single]);
}

#[test]
fn two_outputs_cannot_write_one_file() {
    let error = refused(|spec| {
        let mut twin = spec.outputs[0].clone();
        twin.name = "twin".to_owned();
        twin.dataset = "spd.twin".into();
        spec.outputs.push(twin);
    });
    assert_eq!(error.code(), "lfn-not-unique");
}

#[test]
fn file_names_that_could_leave_the_work_directory_are_refused() {
    for lfn in [
        "../{seed}",
        "a/{seed}",
        "-{seed}",
        ".{seed}",
        "a b{seed}",
        "{seed},x",
        "{seed};rm",
    ] {
        let error = refused(|spec| spec.outputs[0].lfn = lfn.to_owned());
        assert_eq!(error.code(), "bad-value", "{lfn}");
    }
    let error = refused(|spec| spec.outputs[0].lfn = format!("{{seed}}{}", "x".repeat(250)));
    assert_eq!(error.code(), "bad-value");
}

#[test]
fn a_missing_dataset_is_refused() {
    let tasks = vec![reading("gen", "sim", FILE_BY_FILE), generation(1)];
    let error = refused_all(&Submission {
        datasets: Vec::new(),
        tasks,
    });
    assert_eq!(error.code(), "missing-dataset");
    assert_eq!(
        error.to_string(),
        "input `gen` of task `sim`: missing dataset `spd.gen`"
    );
}

#[test]
fn a_dataset_is_written_once() {
    let mut server = Server::with([generation(1)]);
    let mut other = generation(1);
    other.name = "gen2".to_owned();
    let submission = Submission {
        datasets: Vec::new(),
        tasks: vec![other],
    };
    let error = server.try_submit(&submission).expect_err("exists");
    assert_eq!(error.code(), "dataset-exists");
    let submission = Submission {
        datasets: vec![listed("gen", "JINR_NEAR_DISK", 1)],
        tasks: vec![reading("gen", "sim", FILE_BY_FILE)],
    };
    assert_eq!(
        server.try_submit(&submission).expect_err("exists").code(),
        "dataset-exists"
    );
}

#[test]
fn listed_files_are_judged_too() {
    let with = |change: fn(&mut ailurus_model::task::ListedDataset)| {
        let mut dataset = listed("raw", "JINR_NEAR_DISK", 2);
        change(&mut dataset);
        refused_all(&Submission {
            datasets: vec![dataset],
            tasks: vec![generation(1)],
        })
        .code()
    };
    assert_eq!(with(|dataset| dataset.files.clear()), "bad-value");
    assert_eq!(
        with(|dataset| dataset.files[0].lfn = Lfn::new("../etc")),
        "bad-value"
    );
    assert_eq!(
        with(|dataset| dataset.files[1].lfn = dataset.files[0].lfn.clone()),
        "lfn-not-unique"
    );
    assert_eq!(
        with(|dataset| dataset.files[1].endpoint = "".into()),
        "bad-value"
    );
}

#[test]
fn unknown_queues_are_refused_with_the_known_ones() {
    let error = refused(|spec| spec.queues = vec![NEAR.into(), "NOWHERE".into()]);
    assert_eq!(error.code(), "unknown-queue");
    assert_eq!(
        error.to_string(),
        "queues of task `gen`: queue `NOWHERE` is not known: allowed are `JINR_NEAR`, `SPBU_FAR`"
    );
}

#[test]
fn a_further_input_must_go_along_with_the_first() {
    let submission = |parts| {
        let mut spec = reading("raw", "reco", FILE_BY_FILE);
        spec.inputs.push(input("par"));
        Submission {
            datasets: vec![
                listed("raw", "JINR_NEAR_DISK", 3),
                listed("par", "JINR_NEAR_DISK", parts),
            ],
            tasks: vec![spec],
        }
    };
    assert_eq!(refused_all(&submission(2)).code(), "unpaired-input");
    assert!(Server::new().try_submit(&submission(3)).is_ok());
    assert!(Server::new().try_submit(&submission(1)).is_ok());
}

#[test]
fn a_refused_task_takes_the_whole_submission_back() {
    let mut bad = reading("gen", "sim", FILE_BY_FILE);
    bad.max_attempts = 0;
    refused_all(&Submission {
        datasets: Vec::new(),
        tasks: vec![generation(5), bad],
    });
}
