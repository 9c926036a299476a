//! Inputs that a catalogue of files lists, and lists again.

use std::time::Duration;

use ailurus_jedi::{command::RetryQualifiers, retry_rules::RetryBook};
use ailurus_model::{ByteCount, Caller, ErrorCode, JobStatus, Lfn, TaskStatus};
use serde_json::{Map, json};

use super::reading;
use crate::{
    tasks::{
        CommandRequest, DatasetAnswer, FoundFile, Openness, answer_dataset, open_datasets,
        wanted_datasets,
    },
    tests::harness::Server,
};

const NAME: &str = "spd:raw";

fn files(n: u32) -> Vec<FoundFile> {
    let file = |nr| FoundFile {
        lfn: Lfn::new(format!("raw_{nr}.root")),
        scope: "spd".into(),
        guid: None,
        size: Some(ByteCount::from_mib(1)),
        checksum: None,
        endpoint: "NEAR_DISK".into(),
        replicas: Vec::new(),
        n_events: None,
    };
    (0..n).map(file).collect()
}

fn answer(server: &mut Server, answer: DatasetAnswer) {
    let answered = server.run(|ctx, ledger| answer_dataset(ctx, ledger, NAME, answer));
    answered.unwrap();
    server.steps();
}

fn wanted(server: &mut Server) -> usize {
    wanted_datasets(&server.ledger).unwrap().len()
}

fn open(server: &mut Server) -> usize {
    let open = server.look(|ctx, ledger| open_datasets(ctx, ledger));
    open.unwrap().len()
}

fn finish_all(server: &mut Server) -> usize {
    let mut n = 0;
    server.steps();
    while let Some(job) = server.next_job() {
        server.finish(&job);
        server.steps();
        n += 1;
    }
    n
}

#[test]
fn a_task_that_runs_until_its_dataset_is_closed_lists_it_again() {
    let mut server = Server::new();
    let rules = json!({"nFilesPerJob": 1, "runUntilClosed": true});
    server.submit_panda(reading("r", NAME, &rules));
    server.steps();
    assert_eq!(wanted(&mut server), 1);
    answer(&mut server, DatasetAnswer::Files(files(2), Openness::Open));
    assert_eq!(finish_all(&mut server), 2);
    // Nothing is left to do, but more may come.
    assert_eq!(server.task_status(1), TaskStatus::Running);
    assert_eq!(open(&mut server), 0);
    server.pass(Duration::from_secs(600));
    assert_eq!(open(&mut server), 1);
    answer(&mut server, DatasetAnswer::Files(files(3), Openness::Open));
    assert_eq!(open(&mut server), 0);
    assert_eq!(finish_all(&mut server), 1);
    server.pass(Duration::from_secs(600));
    answer(
        &mut server,
        DatasetAnswer::Files(files(4), Openness::Closed),
    );
    assert_eq!(finish_all(&mut server), 1);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(open(&mut server), 0);
}

#[test]
fn an_open_dataset_is_taken_as_it_is_by_other_tasks() {
    let mut server = Server::new();
    server.submit_panda(reading("r", NAME, &json!({"nFilesPerJob": 1})));
    server.steps();
    answer(&mut server, DatasetAnswer::Files(files(2), Openness::Open));
    assert_eq!(finish_all(&mut server), 2);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn reading_the_input_again_asks_the_catalogue_again() {
    let mut server = Server::new();
    server.submit_panda(reading("r", NAME, &json!({"nFilesPerJob": 1})));
    server.steps();
    answer(
        &mut server,
        DatasetAnswer::Files(files(1), Openness::Closed),
    );
    assert_eq!(finish_all(&mut server), 1);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    let again = || CommandRequest::Incexec(RetryQualifiers::default(), Map::new());
    assert_eq!(server.command(1, again(), &Caller::loopback()).0, 0);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Pending);
    assert_eq!(wanted(&mut server), 1);
    answer(
        &mut server,
        DatasetAnswer::Files(files(3), Openness::Closed),
    );
    assert_eq!(finish_all(&mut server), 2);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    // A catalogue that does not know it, or that is not there, changes nothing.
    assert_eq!(server.command(1, again(), &Caller::loopback()).0, 0);
    server.steps();
    answer(&mut server, DatasetAnswer::Unknown);
    assert_eq!(finish_all(&mut server), 0);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.statuses(1), [JobStatus::Finished; 3]);
}

#[test]
fn a_retry_with_another_dataset_adds_it_to_the_stream() {
    let mut server = Server::new();
    server.submit_panda(reading("r", NAME, &json!({"nFilesPerJob": 1})));
    server.steps();
    answer(
        &mut server,
        DatasetAnswer::Files(files(1), Openness::Closed),
    );
    assert_eq!(finish_all(&mut server), 1);
    let changes = json!({"dsForIN": "spd:more"}).as_object().unwrap().clone();
    let request = CommandRequest::Retry(RetryQualifiers::default(), changes);
    assert_eq!(server.command(1, request, &Caller::loopback()).0, 0);
    server.steps();
    let names: Vec<String> = wanted_datasets(&server.ledger)
        .unwrap()
        .into_iter()
        .map(|dataset| dataset.name)
        .collect();
    assert_eq!(names, ["spd:more", NAME]);
    answer(&mut server, DatasetAnswer::Unknown);
    let mut more = files(2);
    for file in &mut more {
        file.lfn = Lfn::new(format!("more_{}", file.lfn));
    }
    let answered = server.run(|ctx, ledger| {
        let answer = DatasetAnswer::Files(more, Openness::Closed);
        answer_dataset(ctx, ledger, "spd:more", answer)
    });
    answered.unwrap();
    assert_eq!(finish_all(&mut server), 2);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_rule_makes_later_jobs_smaller_than_the_one_that_failed() {
    let code = ErrorCode::StageInFailed.number();
    let text = format!(
        "[[rule]]\nid = \"r\"\nsource = \"pilotErrorCode\"\ncode = {code}\n\
         action = \"reduce_input_per_job\"\nsteps = [1, 3, 5]\n"
    );
    let mut server = Server::new();
    server.scheduling.retries = RetryBook::from_toml(&text).unwrap();
    let rules = json!({"nMaxFilesPerJob": 8, "nGBPerJob": 100, "runUntilClosed": true});
    server.submit_panda(reading("r", NAME, &rules));
    server.steps();
    answer(&mut server, DatasetAnswer::Files(files(8), Openness::Open));
    let big = server.next_job().unwrap();
    assert_eq!(big.inputs.len(), 8);
    server.fail(&big, ErrorCode::StageInFailed);
    let same = server.next_job().unwrap();
    assert_eq!((same.panda_id, same.inputs.len()), (big.panda_id, 8));
    server.finish(&same);
    answer(
        &mut server,
        DatasetAnswer::Files(files(16), Openness::Closed),
    );
    for _ in 0..2 {
        assert_eq!(server.next_job().unwrap().inputs.len(), 4);
    }
}
