//! Random sequences of operations: late, repeated, invented and contradicting messages, jumps of
//! the clock, kills. The harness checks the invariants J1, J2, J4, J5, J6, S1 and P3 after each.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, Attributes, Caller, ErrorCode, Job, JobForm, JobStatus, JobUpdate, PandaId,
    WorkerStatus, task::Split,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::harness::*;
use crate::{KillCode, reassign_jobs, submit_jobs};

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        queue: &'static str,
        worker: u64,
    },
    /// An update of one of the jobs that were ever given out, whatever became of it.
    Update {
        which: usize,
        status: JobStatus,
    },
    Finish {
        which: usize,
    },
    /// A final update that lacks its last outputs.
    FinishPartly {
        which: usize,
        n_outputs: usize,
    },
    Fail {
        which: usize,
        code: ErrorCode,
    },
    /// An update with made-up numbers.
    Lie {
        job: u64,
        attempt: Option<u32>,
        status: JobStatus,
    },
    Worker {
        id: u64,
        status: WorkerStatus,
        panda_id: u64,
    },
    KillJob {
        id: u64,
    },
    /// Kills a job by one of PanDA's codes.
    KillBy {
        id: u64,
        code: i64,
    },
    Reassign {
        id: u64,
    },
    /// Submits a job as it is.
    Direct,
    KillTask {
        id: u64,
    },
    Retry {
        id: u64,
    },
    Watch,
    Broker,
    /// Minutes, also backwards.
    Jump {
        minutes: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..100;
    let status = || select(JobStatus::ALL);
    let code = select(
        &[
            ErrorCode::StageInFailed,
            ErrorCode::LoopingJob,
            ErrorCode::PayloadOutOfMemory,
            ErrorCode::PayloadExecutionFailure,
        ][..],
    );
    prop_oneof![
        6 => (select(&[NEAR, FAR][..]), 0_u64..6).prop_map(|(queue, worker)| Step::Acquire { queue, worker }),
        4 => (which.clone(), status()).prop_map(|(which, status)| Step::Update { which, status }),
        6 => which.clone().prop_map(|which| Step::Finish { which }),
        1 => (which.clone(), 0_usize..3)
            .prop_map(|(which, n_outputs)| Step::FinishPartly { which, n_outputs }),
        3 => (which, code).prop_map(|(which, code)| Step::Fail { which, code }),
        2 => (0_u64..12, proptest::option::of(0_u32..5), status())
            .prop_map(|(job, attempt, status)| Step::Lie { job, attempt, status }),
        2 => (0_u64..6, select(WorkerStatus::ALL), 0_u64..12)
            .prop_map(|(id, status, panda_id)| Step::Worker { id, status, panda_id }),
        1 => (0_u64..12).prop_map(|id| Step::KillJob { id }),
        2 => (0_u64..16, select(&[2_i64, 8, 9, 10, 51, 52, 55, 60, 99][..]))
            .prop_map(|(id, code)| Step::KillBy { id, code }),
        1 => (0_u64..16).prop_map(|id| Step::Reassign { id }),
        1 => Just(Step::Direct),
        1 => (0_u64..5).prop_map(|id| Step::KillTask { id }),
        1 => (0_u64..5).prop_map(|id| Step::Retry { id }),
        1 => Just(Step::Watch),
        1 => Just(Step::Broker),
        2 => (-30_i64..240).prop_map(|minutes| Step::Jump { minutes }),
    ]
}

fn report_worker(server: &mut Server, id: u64, status: WorkerStatus, panda_id: u64) {
    let mut report = worker(id, status);
    report.panda_ids = vec![PandaId::new(panda_id)];
    report.submit_time = Some(server.now);
    server.report_worker(&report);
}

fn jump(server: &mut Server, minutes: i64) {
    let size = Duration::from_secs(minutes.unsigned_abs() * 60);
    server.now = if minutes < 0 {
        server.now.before(size)
    } else {
        server.now.after(size)
    };
}

fn kill_by(server: &mut Server, id: u64, code: i64) {
    let code = KillCode::of_number(Some(code));
    server.kill_as(&Caller::loopback(), PandaId::new(id), code);
}

fn reassign(server: &mut Server, id: u64) {
    let ids = [PandaId::new(id)];
    let caller = Caller::loopback();
    let moved = server.run(|ctx, ledger| reassign_jobs(ctx, ledger, &ids, &caller));
    assert!(moved.unwrap() <= 1);
}

fn submit_direct(server: &mut Server) {
    let form = direct_form(server.ledger.jobs().count());
    let taken = server.run(|ctx, ledger| submit_jobs(ctx, ledger, vec![form], "alice"));
    assert_eq!(taken.unwrap().len(), 1);
}

fn apply(server: &mut Server, given_out: &mut Vec<Job>, step: Step) {
    let job_of = |which: usize| {
        let index = which.checked_rem(given_out.len())?;
        given_out.get(index).cloned()
    };
    match step {
        Step::Acquire { queue, worker } => {
            given_out.extend(
                server
                    .try_acquire(&request_in_worker(queue, worker))
                    .unwrap(),
            );
        }
        Step::Update { which, status } => {
            if let Some(job) = job_of(which) {
                server.update(&job, status);
            }
        }
        Step::Finish { which } => {
            if let Some(job) = job_of(which) {
                server.finish(&job);
            }
        }
        Step::FinishPartly { which, n_outputs } => {
            if let Some(job) = job_of(which) {
                let mut update = finished(&job);
                update.outputs.truncate(n_outputs);
                server.send(&update);
            }
        }
        Step::Fail { which, code } => {
            if let Some(job) = job_of(which) {
                server.fail(&job, code);
            }
        }
        Step::Lie {
            job,
            attempt,
            status,
        } => {
            server.send(&JobUpdate::new(
                PandaId::new(job),
                attempt.map(AttemptNr::new),
                status,
            ));
        }
        Step::Worker {
            id,
            status,
            panda_id,
        } => report_worker(server, id, status, panda_id),
        Step::KillJob { id } => drop(server.kill_job(id)),
        Step::KillBy { id, code } => kill_by(server, id, code),
        Step::Reassign { id } => reassign(server, id),
        Step::Direct => submit_direct(server),
        Step::KillTask { id } => drop(server.kill_task(id)),
        Step::Retry { id } => drop(server.retry_task(id)),
        Step::Watch => drop(server.watch()),
        Step::Broker => drop(server.broker()),
        Step::Jump { minutes } => jump(server, minutes),
    }
}

/// A production job that writes one file of its own name.
fn direct_form(nr: usize) -> JobForm {
    let mut form = JobForm::default();
    form.attributes.put("prodSourceLabel", "managed");
    form.attributes.put("maxAttempt", 2_i64);
    let mut file = Attributes::default();
    file.put("lfn", format!("direct_{nr}.root"));
    file.put("type", "output");
    file.put("dataset", "spd.direct");
    form.files.push(file);
    form
}

fn chain() -> Server {
    Server::with([
        generation(4),
        reading("gen", "sim", Split::Files { per_job: 2 }),
        reading("sim", "reco", FILE_BY_FILE),
        reading("reco", "ana", Split::AllFiles),
    ])
}

/// Once everybody behaves, every job ends.
fn settle(server: &mut Server) {
    server.pass(Duration::from_secs(49 * 3600));
    server.watch();
    for _ in 0..200 {
        let Some(job) = server.next_job() else { break };
        server.finish(&job);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_breaks_an_invariant(steps in vec(step(), 1..80)) {
        let mut server = chain();
        let mut given_out = Vec::new();
        for step in steps {
            apply(&mut server, &mut given_out, step);
        }
        settle(&mut server);
        for task in 1..=4 {
            prop_assert!(server.task_status(task).is_terminal(), "task {task}: {:?}", server.statuses(task));
        }
    }

    #[test]
    fn no_sequence_of_messages_and_commands_breaks_a_task_of_panda(
        steps in vec((step(), 0_u8..6), 1..60),
    ) {
        let mut server = panda_tasks();
        let mut given_out = Vec::new();
        for (step, command) in steps {
            apply(&mut server, &mut given_out, step);
            panda_step(&mut server, command);
        }
        for _ in 0..20 {
            server.pass(Duration::from_secs(4 * 3600));
            settle(&mut server);
            panda_step(&mut server, 0);
            panda_step(&mut server, 1);
        }
        for task in 1..=4 {
            prop_assert!(server.task_status(task).is_terminal(), "task {task}: {:?} {:?}", server.task_status(task), server.statuses(task));
        }
    }
}

/// A chain with scouts, a library and merging, and a task that waits for its parent.
fn panda_tasks() -> Server {
    use super::panda_tasks::{generation, reading, with};

    let mut server = Server::new();
    server.limits.tasks.jobs_per_step = 3;
    server.limits.tasks.scouts_max = 2;
    let first = with(generation("gen", 5), &json!({"skipScout": false}));
    let second = reading(
        "sim",
        "gen.hits",
        &json!({"nFilesPerJob": 1, "noWaitParent": true}),
    );
    let third = with(
        reading(
            "reco",
            "sim.hits",
            &json!({"nFilesPerJob": 2, "noWaitParent": true}),
        ),
        &json!({
            "mergeOutput": true, "nFilesPerMergeJob": 2,
            "mergeSpec": {"transPath": "m.sh", "jobParameters": "-o ${OUTPUT0} -i ${TRN_OUTPUT0/L}"},
            "buildSpec": {"prodSourceLabel": "managed", "archiveName": "a", "jobParameters": "x"},
        }),
    );
    let last = generation("last", 3);
    for (params, parent) in [
        (first, None),
        (second, Some(1)),
        (third, Some(2)),
        (last, Some(1)),
    ] {
        server.submit_panda_by(params, &Caller::loopback(), parent);
    }
    server
}

/// A round of the server's timer, or a command.
fn panda_step(server: &mut Server, command: u8) {
    use crate::tasks::{CommandRequest, FinishMode, step_tasks};

    let id = u64::from(command % 4) + 1;
    let caller = Caller::loopback();
    match command {
        0 | 1 => {
            for _ in 0..10 {
                server.run_again(step_tasks).unwrap();
            }
        }
        2 => drop(server.command(id, CommandRequest::Finish(FinishMode::Soft), &caller)),
        3 => {
            let words = ailurus_jedi::command::RetryQualifiers::default();
            let request = CommandRequest::Retry(words, serde_json::Map::new());
            drop(server.command(id, request, &caller));
        }
        4 => drop(server.command(id, CommandRequest::Avalanche, &caller)),
        _ => {
            let words = ailurus_jedi::command::RetryQualifiers::default();
            let request = CommandRequest::Incexec(words, serde_json::Map::new());
            drop(server.command(2, request, &caller));
        }
    }
}
