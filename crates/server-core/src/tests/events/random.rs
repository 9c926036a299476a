//! Random sequences of operations on jobs that take ranges of events: late, repeated and invented
//! reports, kills, moves, retries. The harness checks E1, E2 and E3 with all other invariants.

use std::time::Duration;

use ailurus_model::{ErrorCode, Job, JobStatus, event::EventOutcome};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::reassign_jobs;

/// Jobs that may be named.
const NUMBERS: u64 = 20;

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    /// One of the jobs that were ever given out asks for ranges.
    Take {
        which: usize,
        n: usize,
    },
    /// A report about one of the ranges that were ever given out.
    Report {
        which: usize,
        n: usize,
        outcome: EventOutcome,
        version: EventVersion,
    },
    Finish {
        which: usize,
    },
    Fail {
        which: usize,
    },
    /// A job fails because it cannot read some of its inputs.
    CannotRead {
        which: usize,
        n: usize,
    },
    Kill {
        id: u64,
        code: i64,
    },
    Reassign {
        id: u64,
    },
    Retry {
        id: u64,
    },
    Timer {
        hours: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    use EventOutcome::{Failed, Fatal, Finished};

    let which = 0_usize..100;
    let outcome = select(&[Finished, Finished, Finished, Failed, Fatal][..]);
    let version = select(&[EventVersion::AfterDispatch, EventVersion::BeforeDispatch][..]);
    prop_oneof![
        5 => Just(Step::Acquire),
        8 => (which.clone(), 0_usize..4).prop_map(|(which, n)| Step::Take { which, n }),
        8 => (which.clone(), 1_usize..4, outcome, version)
            .prop_map(|(which, n, outcome, version)| Step::Report { which, n, outcome, version }),
        4 => which.clone().prop_map(|which| Step::Finish { which }),
        3 => which.clone().prop_map(|which| Step::Fail { which }),
        2 => (which, 0_usize..3).prop_map(|(which, n)| Step::CannotRead { which, n }),
        1 => (1_u64..NUMBERS, select(&[2_i64, 9, 50, 51, 55, 60, 99][..]))
            .prop_map(|(id, code)| Step::Kill { id, code }),
        1 => (1_u64..NUMBERS).prop_map(|id| Step::Reassign { id }),
        1 => (1_u64..9).prop_map(|id| Step::Retry { id }),
        1 => (0_u64..8).prop_map(|hours| Step::Timer { hours }),
    ]
}

#[derive(Default)]
struct GivenOut {
    jobs: Vec<Job>,
    ranges: Vec<GivenRange>,
}

fn one_of<T: Clone>(all: &[T], which: usize) -> Option<T> {
    all.get(which.checked_rem(all.len())?).cloned()
}

fn apply(server: &mut Server, given: &mut GivenOut, step: Step) {
    match step {
        Step::Acquire => {
            if let Some(job) = server.next_job() {
                server.update(&job, JobStatus::Running);
                given.jobs.push(job);
            }
        }
        Step::Take { which, n } => {
            if let Some(job) = one_of(&given.jobs, which) {
                given.ranges.extend(server.ranges(&job, n));
            }
        }
        Step::Report {
            which,
            n,
            outcome,
            version,
        } => {
            let ranges: Vec<GivenRange> = (which..which + n)
                .filter_map(|which| one_of(&given.ranges, which))
                .collect();
            let answers = server.tell(&message(&ranges, outcome), version);
            assert_eq!(answers.returns.len(), ranges.len());
        }
        Step::Finish { which } => {
            if let Some(job) = one_of(&given.jobs, which) {
                server.finish(&job);
            }
        }
        Step::Fail { which } => {
            if let Some(job) = one_of(&given.jobs, which) {
                server.fail(&job, ErrorCode::PayloadExecutionFailure);
            }
        }
        Step::CannotRead { which, n } => {
            if let Some(job) = one_of(&given.jobs, which) {
                let mut update = failed(&job, ErrorCode::GetAdMismatch);
                let files = job.inputs.iter().take(n);
                update.corrupted_files = files.map(|file| file.lfn.clone()).collect();
                server.send(&update);
            }
        }
        Step::Kill { id, code } => {
            let request = KillRequest {
                code: KillCode::of_number(Some(code)),
                caller: &Caller::loopback(),
                unmerged: Unmerged::Lost,
                sub_status: None,
            };
            let ids = [PandaId::new(id)];
            server
                .run(|ctx, ledger| kill_jobs(ctx, ledger, &ids, request))
                .unwrap();
        }
        Step::Reassign { id } => {
            let ids = [PandaId::new(id)];
            let caller = Caller::loopback();
            server
                .run(|ctx, ledger| reassign_jobs(ctx, ledger, &ids, &caller))
                .unwrap();
        }
        Step::Retry { id } => drop(server.retry_task(id)),
        Step::Timer { hours } => {
            server.pass(Duration::from_secs(hours * 3600));
            server.watch();
            server.broker();
            server.steps();
        }
    }
}

fn servers() -> Server {
    let mut server = Server::new();
    for (nr, tags) in ["", ",ap", ",df", ",ap,de"].iter().enumerate() {
        let mut form = form(&format!("{TEN}{tags}"));
        form.files[1].put("lfn", format!("hits_{nr}.root"));
        let taken = server.run(|ctx, ledger| submit_jobs(ctx, ledger, vec![form], "prod"));
        assert_eq!(taken.unwrap().len(), 1);
    }
    server.submit_panda(task("es", 12));
    let changes = json!({"nEsConsumers": 3, "nSitesPerJob": 2, "allowPartialFinish": true});
    server.submit_panda(with(task("shared", 12), &changes));
    for mode in ["runonce", "storeonce"] {
        let changes = json!({"useJobCloning": mode});
        server.submit_panda(with(generation(mode, 2), &changes));
    }
    server.steps();
    server
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_gives_a_range_to_two_or_undoes_what_is_done(
        steps in vec(step(), 1..120),
    ) {
        let mut server = servers();
        let mut given = GivenOut::default();
        for step in steps {
            apply(&mut server, &mut given, step);
        }
        // Once everybody behaves, every job and every range ends.
        server.pass(Duration::from_secs(49 * 3600));
        server.watch();
        for _ in 0..400 {
            server.steps();
            let Some(job) = server.next_job() else { break };
            server.update(&job, JobStatus::Running);
            let ranges = server.ranges(&job, 3);
            server.report(&ranges, EventOutcome::Finished);
            server.finish(&job);
        }
        for job in server.ledger.jobs() {
            prop_assert!(job.status.is_terminal(), "{job:?}");
        }
    }
}
