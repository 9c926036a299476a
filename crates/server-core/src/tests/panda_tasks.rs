//! Tasks of PanDA from their parameters to their end.

mod bounds;
mod catalogue;
mod libraries;
mod merging;
mod wishes;

use std::time::Duration;

use ailurus_jedi::command::RetryQualifiers;
use ailurus_model::{Caller, ErrorCode, Job, JobKind, JobStatus, Lfn, Proof, TaskId, TaskStatus};
use serde_json::{Value, json};

use super::harness::Server;
use crate::{
    SecretChange, change_secrets,
    ledger::PandaTaskRows,
    tasks::{
        CommandRequest, FinishMode, SubmitReply, TaskRequest, command_task, file_tally, step_tasks,
        submit_task,
    },
};

/// Rounds after which the steps of a test must be over.
const ROUNDS_MAX: u32 = 1000;

pub(super) fn jane() -> Caller {
    Caller {
        proof: Proof::Token,
        name: "Jane Doe".into(),
        dn: "/CN=Jane Doe".into(),
        ..Caller::nobody()
    }
}

/// A task without input: `n` jobs of one event each.
pub(super) fn generation(name: &str, n: u32) -> Value {
    json!({
        "taskName": name,
        "userName": "prod",
        "taskType": "prod",
        "prodSourceLabel": "managed",
        "vo": "spd",
        "processingType": "gen",
        "noInput": true,
        "nEvents": n,
        "nEventsPerJob": 1,
        "skipScout": true,
        "transPath": "gen.sh",
        "architecture": "",
        "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
        "jobParameters": [
            {"type": "constant", "value": "-n ${MAXEVENTS} --skip ${SKIPEVENTS}"},
            {"type": "template", "param_type": "output", "dataset": format!("{name}.hits"),
             "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
        ],
    })
}

/// A task that reads what another one writes.
pub(super) fn reading(name: &str, dataset: &str, changes: &Value) -> Value {
    let mut task = generation(name, 1);
    let map = task.as_object_mut().unwrap();
    for key in ["noInput", "nEvents", "nEventsPerJob"] {
        map.remove(key);
    }
    map["jobParameters"].as_array_mut().unwrap().push(json!(
        {"type": "template", "param_type": "input", "dataset": dataset, "value": "-i \"${IN/L}\""}
    ));
    for (key, value) in changes.as_object().unwrap() {
        map.insert(key.clone(), value.clone());
    }
    task
}

pub(super) fn with(mut task: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

impl Server {
    pub(super) fn submit_panda(&mut self, params: Value) -> SubmitReply {
        self.submit_panda_by(params, &Caller::loopback(), None)
    }

    pub(super) fn submit_panda_by(
        &mut self,
        params: Value,
        caller: &Caller,
        parent: Option<u64>,
    ) -> SubmitReply {
        let parent = parent.map(TaskId::new);
        let reply = self.run(|ctx, ledger| {
            submit_task(
                ctx,
                ledger,
                TaskRequest {
                    params,
                    parent,
                    origin: String::new(),
                },
                caller,
            )
        });
        reply.unwrap()
    }

    /// Does all steps that are due.
    pub(super) fn steps(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.ledger.tasks_due(self.now, 1).unwrap().is_empty() {
                return;
            }
            self.run_again(step_tasks).unwrap();
        }
        panic!("the steps do not come to an end");
    }

    pub(super) fn command(
        &mut self,
        id: u64,
        request: CommandRequest,
        caller: &Caller,
    ) -> (i64, String) {
        let reply = self
            .run_again(|ctx, ledger| command_task(ctx, ledger, TaskId::new(id), request, caller));
        let reply = reply.unwrap();
        (reply.code, reply.message)
    }

    fn kinds(&self, id: u64, kind: JobKind) -> usize {
        let jobs = self.ledger.jobs();
        jobs.filter(|job| job.task_id == TaskId::new(id) && job.kind == kind)
            .count()
    }

    /// Runs all jobs of all tasks, with the steps between.
    pub(super) fn run_dry(&mut self) {
        self.steps();
        while let Some(job) = self.next_job() {
            self.finish(&job);
            self.steps();
        }
        self.pass(Duration::from_secs(60));
        self.steps();
        if let Some(job) = self.next_job() {
            self.finish(&job);
            self.run_dry();
        }
    }
}

#[test]
fn a_task_without_input_is_made_and_done() {
    let mut server = Server::new();
    let reply = server.submit_panda(generation("prod.mc.gen", 3));
    assert_eq!((reply.code, reply.task), (0, Some(TaskId::new(1))));
    assert_eq!(reply.message, "succeeded. new jediTaskID=1");
    assert_eq!(server.task_status(1), TaskStatus::Registered);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Running);
    let job: Job = server.next_job().unwrap();
    assert_eq!(
        job.parameters,
        "-n 1 --skip 0 --out=prod.mc.gen.1._000001.root"
    );
    assert_eq!(job.outputs[0].lfn, Lfn::new("prod.mc.gen.1._000001.root"));
    assert_eq!(
        job.log.as_ref().unwrap().lfn,
        Lfn::new("prod.mc.gen.1.000001.log.tgz")
    );
    server.finish(&job);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
    let tally = file_tally(&server.ledger, TaskId::new(1)).unwrap().unwrap();
    assert_eq!((tally.n_files, tally.n_finished, tally.n_failed), (3, 3, 0));
}

#[test]
fn arguments_tell_running_numbers_events_and_names_before_the_merge() {
    let mut server = Server::new();
    let mut task = generation("n", 3);
    let items = task["jobParameters"].as_array_mut().unwrap();
    items.push(
        json!({"type": "template", "param_type": "pseudo_input", "dataset": "seq_number",
        "offset": 5, "value": "${SEQNUMBER}"}),
    );
    items.push(json!({"type": "template", "param_type": "number", "value": "${FIRSTEVENT}", "offset": 100}));
    // The map of names that `prun` writes: its text has the task's number, too.
    items.push(json!({"type": "constant", "value": "{'x': 'n.$JEDITASKID._${SN/P}.root'}"}));
    let merging = json!({"mergeOutput": true, "mergeSpec": {"jobParameters": "x"}});
    server.submit_panda(with(task, &merging));
    server.steps();
    let texts: Vec<String> = (0..2)
        .map(|_| server.next_job().unwrap().parameters)
        .collect();
    let expected = |serial: u32| {
        let name = format!("panda.um.n.1._{serial:06}.root");
        let (number, first) = (serial + 5, serial + 100);
        format!(
            "-n 1 --skip {} --out={name} {number} {first} {{'x': '{name}'}}",
            serial - 1
        )
    };
    assert_eq!(texts, [expected(1), expected(2)]);
}

#[test]
fn parameters_that_cannot_be_understood_break_the_task() {
    let mut server = Server::new();
    let reply = server.submit_panda(with(generation("t", 1), &json!({"jobParameters": 7})));
    assert_eq!(reply.code, 0);
    assert_eq!(server.task_status(1), TaskStatus::Broken);
    let progress = server
        .ledger
        .task_progress(TaskId::new(1))
        .unwrap()
        .unwrap();
    assert!(
        progress.message.contains("jobParameters"),
        "{}",
        progress.message
    );
    assert_eq!(server.submit_panda(json!([1])).code, 4);
    assert_eq!(server.submit_panda(json!({})).code, 4);
}

#[test]
fn a_persons_task_of_a_taken_name_is_refused_until_the_other_ends() {
    let mut server = Server::new();
    let task = with(
        generation("user.jane.t/", 1),
        &json!({"uniqueTaskName": true}),
    );
    assert_eq!(server.submit_panda_by(task.clone(), &jane(), None).code, 0);
    assert_eq!(server.task(1).spec.user, "Jane Doe");
    let again = server.submit_panda_by(task.clone(), &jane(), None);
    assert_eq!(again.code, 2, "{}", again.message);
    server.command(1, CommandRequest::Kill, &jane());
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Aborted);
    let again = server.run_again(|ctx, ledger| {
        let request = TaskRequest {
            params: task,
            parent: None,
            origin: String::new(),
        };
        submit_task(ctx, ledger, request, &jane())
    });
    let again = again.unwrap();
    assert_eq!(
        (again.code, again.task),
        (3, Some(TaskId::new(1))),
        "{}",
        again.message
    );
    assert!(
        again
            .message
            .starts_with("reactivation accepted. jediTaskID=1")
    );
}

#[test]
fn a_parent_is_found_by_name_or_number_or_the_task_is_refused() {
    let mut server = Server::new();
    let child = with(generation("child", 1), &json!({"parentTaskName": "first"}));
    assert_eq!(server.submit_panda(child.clone()).code, 11);
    let parent = server.submit_panda(generation("first", 1)).task.unwrap();
    assert_eq!(server.submit_panda(child).code, 0);
    let by_number = server.submit_panda_by(generation("c2", 1), &Caller::loopback(), Some(99));
    assert_eq!(by_number.code, 11);
    server.steps();
    assert_eq!(server.task_status(2), TaskStatus::Pending);
    assert_eq!(server.ledger.tasks_after(parent).unwrap(), [TaskId::new(2)]);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.task_status(2), TaskStatus::Done);
}

#[test]
fn the_most_tasks_of_a_person_are_bounded() {
    let mut server = Server::new();
    server.limits.tasks.active_per_user_max = 1;
    assert_eq!(
        server
            .submit_panda_by(generation("a", 1), &jane(), None)
            .code,
        0
    );
    assert_eq!(
        server
            .submit_panda_by(generation("b", 1), &jane(), None)
            .code,
        10
    );
}

#[test]
fn jobs_are_made_in_steps_of_bounded_size() {
    let mut server = Server::new();
    server.limits.tasks.jobs_per_step = 4;
    server.submit_panda(generation("big", 10));
    server.run(step_tasks).unwrap();
    let made: Vec<u64> = (0..4)
        .map(|_| server.run(step_tasks).unwrap().jobs)
        .collect();
    assert_eq!(made.iter().sum::<u64>(), 10, "{made:?}");
    assert!(made.iter().all(|n| *n <= 4), "{made:?}");
}

#[test]
fn a_chain_reads_what_the_task_before_writes_file_by_file() {
    let mut server = Server::new();
    server.submit_panda(generation("gen", 4));
    let changes = json!({"nFilesPerJob": 2, "noWaitParent": true});
    server.submit_panda_by(
        reading("reco", "gen.hits", &changes),
        &Caller::loopback(),
        Some(1),
    );
    server.steps();
    assert_eq!(server.kinds(2, JobKind::Run), 2);
    assert_eq!(server.task_status(2), TaskStatus::Running);
    let first = server.next_job().unwrap();
    server.finish(&first);
    let second = server.next_job().unwrap();
    server.finish(&second);
    let jobs: Vec<JobStatus> = server
        .ledger
        .jobs()
        .filter(|job| job.task_id == TaskId::new(2))
        .map(|job| job.status)
        .collect();
    assert_eq!(jobs, [JobStatus::Activated, JobStatus::Pending]);
    server.run_dry();
    assert_eq!(server.task_status(2), TaskStatus::Done);
}

#[test]
fn run_jobs_wait_for_the_library_of_the_build_job() {
    let mut server = Server::new();
    let mut task = with(
        generation("user.jane.b", 2),
        &json!({"buildSpec": {
            "prodSourceLabel": "managed", "archiveName": "sources.tgz",
            "jobParameters": "-i ${IN} -o ${OUT}"}}),
    );
    task["jobParameters"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "constant", "value": "-l ${LIB}"}));
    server.submit_panda(task);
    server.steps();
    let build = server.next_job().unwrap();
    assert!(server.next_job().is_none());
    let library = build.outputs[0].lfn.clone();
    assert_eq!(build.parameters, format!("-i sources.tgz -o {library}"));
    server.finish(&build);
    let run = server.next_job().unwrap();
    assert!(
        run.parameters.ends_with(&format!("-l {library}")),
        "{}",
        run.parameters
    );
    assert_eq!(run.inputs[0].lfn, library);
    server.finish(&run);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn scouts_run_before_the_others_are_made() {
    let mut server = Server::new();
    let task = with(generation("s", 30), &json!({"skipScout": false}));
    server.submit_panda(task);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Scouting);
    assert_eq!(server.kinds(1, JobKind::Scout), 10);
    assert_eq!(server.kinds(1, JobKind::Run), 0);
    for _ in 0..10 {
        let job = server.next_job().unwrap();
        server.finish(&job);
    }
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Running);
    assert_eq!(server.kinds(1, JobKind::Run), 20);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn outputs_are_merged_and_jobs_wait_for_it() {
    let mut server = Server::new();
    let task = with(
        generation("m", 5),
        &json!({
            "mergeOutput": true, "nFilesPerMergeJob": 2,
            "mergeSpec": {"transPath": "merge.sh",
                "jobParameters": "-o ${OUTPUT0} -i ${TRN_OUTPUT0/L}"},
        }),
    );
    server.submit_panda(task);
    server.steps();
    let job = server.next_job().unwrap();
    assert_eq!(job.outputs[0].lfn, Lfn::new("panda.um.m.1._000001.root"));
    server.finish(&job);
    assert_eq!(server.status(job.panda_id.value()), JobStatus::Merging);
    server.run_dry();
    assert_eq!(server.kinds(1, JobKind::Merge), 3);
    assert_eq!(server.status(job.panda_id.value()), JobStatus::Finished);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_retry_gives_failed_jobs_further_attempts_under_new_names() {
    let mut server = Server::new();
    let task = with(generation("r", 2), &json!({"maxAttempt": 1}));
    server.submit_panda(task);
    server.steps();
    let good = server.next_job().unwrap();
    server.finish(&good);
    let bad = server.next_job().unwrap();
    server.fail(&bad, ErrorCode::LoopingJob);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Finished);
    let nobody = Caller {
        name: "John".into(),
        ..jane()
    };
    let request = || CommandRequest::Retry(RetryQualifiers::default(), serde_json::Map::new());
    assert_eq!(server.command(1, request(), &nobody).0, 3);
    assert_eq!(server.command(9, request(), &nobody).0, 2);
    let (code, message) = server.command(1, request(), &Caller::loopback());
    assert_eq!(code, 0, "{message}");
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Running);
    let again = server.next_job().unwrap();
    assert_eq!(again.panda_id, bad.panda_id);
    assert_ne!(again.outputs[0].lfn, bad.outputs[0].lfn);
    server.finish(&again);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
    let (code, message) = server.command(1, request(), &Caller::loopback());
    assert_eq!(code, 4, "{message}");
}

#[test]
fn a_soft_finish_lets_running_jobs_end() {
    let mut server = Server::new();
    server.submit_panda(generation("f", 3));
    server.steps();
    let job = server.running_job();
    let request = CommandRequest::Finish(FinishMode::Soft);
    assert_eq!(server.command(1, request, &Caller::loopback()).0, 0);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Finishing);
    server.finish(&job);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Finished);
}

#[test]
fn a_paused_task_makes_no_jobs() {
    let mut server = Server::new();
    server.submit_panda(generation("p", 3));
    assert_eq!(
        server
            .command(1, CommandRequest::Pause, &Caller::loopback())
            .0,
        0
    );
    server.steps();
    assert_eq!(server.task(1).n_jobs, 0);
    assert_eq!(
        server
            .command(1, CommandRequest::Resume, &Caller::loopback())
            .0,
        0
    );
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_task_whose_input_never_appears_is_broken_in_the_end() {
    let mut server = Server::new();
    server.submit_panda(reading("r", "nowhere:at.all", &json!({})));
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Pending);
    server.pass(Duration::from_secs(8 * 24 * 3600));
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Broken);
}

#[test]
fn jobs_are_described_with_group_and_request_of_their_task() {
    let mut server = Server::new();
    let wishes = json!({"workingGroup": "gr_mpd", "cloud": "RU", "reqID": 77});
    server.submit_panda(with(generation("gen", 1), &wishes));
    server.steps();
    let id = ailurus_model::PandaId::new(1);
    let job = server.run(|ctx, ledger| crate::describe_job(ctx, ledger, id));
    let job = job.unwrap().expect("the job").attributes;
    for (name, expected) in [("workingGroup", "gr_mpd"), ("cloud", "RU"), ("VO", "spd")] {
        assert_eq!(job.text(name), expected, "{name}");
    }
    assert_eq!(job.whole("reqID"), Some(77));
}

#[test]
fn production_rights_in_the_working_group_of_a_task_reach_its_jobs() {
    let mut server = Server::new();
    let task = with(generation("gen", 1), &json!({"workingGroup": "gr_mpd"}));
    server.submit_panda(task);
    server.steps();
    let kill = |server: &mut Server, group: &str| {
        let caller = Caller {
            proof: Proof::Token,
            name: "Group Manager".into(),
            rights: ailurus_model::Rights {
                working_groups: [group.to_owned()].into(),
                ..ailurus_model::Rights::default()
            },
            ..Caller::nobody()
        };
        let request = crate::KillRequest {
            code: crate::KillCode::of_number(None),
            caller: &caller,
            sub_status: None,
            unmerged: crate::Unmerged::Lost,
        };
        let ids = [ailurus_model::PandaId::new(1)];
        let killed = server.run(|ctx, ledger| crate::kill_jobs(ctx, ledger, &ids, request));
        killed.unwrap()[0]
    };
    assert!(!kill(&mut server, "gr_spd"));
    assert!(kill(&mut server, "gr_mpd"));
}

#[test]
fn jobs_of_a_task_that_uses_secrets_get_those_of_its_owner() {
    let mut server = Server::new();
    for (owner, value) in [("Jane Doe", "open \"sesame\""), ("John Doe", "other")] {
        let change = SecretChange::Set {
            name: "PASSWORD".into(),
            value: value.into(),
        };
        server
            .run(|_, ledger| change_secrets(ledger, owner, &change))
            .unwrap();
    }
    for (name, changes, expected) in [
        (
            "with",
            json!({"useSecrets": true}),
            Some(json!({"PASSWORD": "open \"sesame\""})),
        ),
        ("without", json!({}), None),
    ] {
        let task = with(generation(name, 1), &changes);
        server.submit_panda_by(task, &jane(), None);
        server.steps();
        let job = server.next_job().unwrap();
        let secrets = job
            .options
            .secrets
            .map(|secrets| secrets.reveal().to_owned());
        let secrets = secrets.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        assert_eq!(secrets, expected, "{name}");
    }
    let nobodys = with(generation("nobody's", 1), &json!({"useSecrets": true}));
    server.submit_panda(nobodys);
    server.steps();
    let job = server.next_job().unwrap();
    assert_eq!(job.options.secrets.unwrap().reveal(), "{}");
}

#[test]
fn rules_of_a_task_become_what_the_pilots_of_its_jobs_are_told() {
    let mut server = Server::new();
    let rules = json!({"encJobParams": true, "putLogToOS": true, "usePrefetcher": true,
        "ioIntensity": 300, "ioIntensityUnit": "kBPerS"});
    server.submit_panda(with(generation("gen", 1), &rules));
    server.steps();
    let job = server.next_job().expect("a job");
    assert!(job.options.logs_to_object_store && job.options.uses_prefetcher);
    assert_eq!(job.options.io_intensity, 300);
    assert_eq!(job.options.io_intensity_unit, "kBPerS");
    assert!(
        job.parameters.starts_with("LW4gMSAtLXNraXAg"),
        "{}",
        job.parameters
    );
}

#[test]
fn logs_are_files_of_the_dataset_that_the_task_names() {
    let mut server = Server::new();
    server.submit_panda(with(generation("g", 2), &json!({"maxAttempt": 1})));
    server.steps();
    let good = server.next_job().unwrap();
    server.finish(&good);
    let bad = server.next_job().unwrap();
    let log = bad.log.clone().unwrap().lfn;
    server.fail(&bad, ErrorCode::LoopingJob);
    let lists = |types: &[&str], lists| {
        let types: Vec<String> = types.iter().map(|text| (*text).to_owned()).collect();
        crate::tasks::list_datasets(&server.ledger, TaskId::new(1), &types, lists)
            .unwrap()
            .unwrap()
    };
    let shown = lists(&["log"], crate::tasks::FileLists::Shown);
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["dataset"]["name"], "g.log.1");
    let files = shown[0]["files"].as_array().unwrap();
    let names: Vec<&Value> = files.iter().map(|file| &file["lfn"]).collect();
    assert_eq!(names, [&json!(good.log.unwrap().lfn), &json!(log)]);
    assert_eq!(files[0]["status"], "finished");
    let hidden = lists(&["output", "log"], crate::tasks::FileLists::Hidden);
    assert_eq!(hidden.len(), 2);
    assert!(hidden.iter().all(|one| one["files"] == json!([])));
}
