//! A check that cannot fail is worth nothing: each test breaks one rule behind the programs' backs,
//! and the run must end with that very invariant.

mod workflows;

use std::{rc::Rc, time::Duration};

use ailurus_model::{
    AttemptNr, FileStatus, JobKind, JobStatus, JobUpdate, PandaId, QueueName, Seed, TaskStatus,
    Worker, WorkerId, WorkerStatus,
};
use ailurus_pilot_core::{JobTicket, control::phase::PhaseName};
use ailurus_server_core::{
    Ledger as _,
    ledger::{AttemptRecord, FileRecord, JobRecord, TaskRecord},
};

use crate::{
    batch::BatchState,
    chance::Chance,
    faults::Faults,
    network::Request,
    payload::Payload,
    pilot::{Pilot, PilotNr},
    server::ServerEvent,
    trace::Keep,
    violation::Invariant,
    world::{Event, Step, World},
};

/// Lets a world without faults run, breaks a rule as soon as `sabotage` finds an occasion, and
/// returns what was noticed.
fn noticed(sabotage: impl FnMut(&mut World) -> bool) -> Option<Invariant> {
    let mut world = World::new(7, Keep::Recent);
    world.faults = Faults::none();
    noticed_in(&mut world, sabotage)
}

fn noticed_in(
    world: &mut World,
    mut sabotage: impl FnMut(&mut World) -> bool,
) -> Option<Invariant> {
    let mut is_done = false;
    loop {
        match world.step() {
            Ok(Step::Over) => {
                assert!(is_done, "there was no occasion to break the rule");
                return None;
            }
            Ok(Step::GoesOn) => is_done = is_done || sabotage(world),
            Err(violation) => {
                assert!(is_done, "{violation}");
                return Some(violation.invariant);
            }
        }
    }
}

fn job_that_is(world: &World, is_meant: fn(JobStatus) -> bool) -> Option<JobRecord> {
    world
        .server
        .ledger
        .jobs()
        .find(|job| is_meant(job.status))
        .cloned()
}

fn attempt_of(world: &World, job: &JobRecord) -> AttemptRecord {
    let attempt = world.server.ledger.attempt(job.panda_id, job.attempt_nr);
    attempt.expect("rows").expect("an attempt")
}

fn task_of(world: &World, job: &JobRecord) -> TaskRecord {
    world
        .server
        .ledger
        .task(job.task_id)
        .expect("rows")
        .expect("a task")
}

fn finished(status: JobStatus) -> bool {
    status == JobStatus::Finished
}

/// A pilot whose payload runs.
fn busy_pilot(world: &World) -> Option<PilotNr> {
    let busy = world
        .pilots
        .iter()
        .find(|(_, pilot)| !pilot.payloads.is_empty());
    busy.map(|(nr, _)| *nr)
}

fn stray_payload(world: &World, nr: PilotNr) -> Payload {
    let pilot = &world.pilots[&nr];
    let job = pilot.jobs.values().next().expect("a job");
    let memory = world.scenario.queues[&pilot.queue].memory;
    Payload::draw(
        &mut Chance::new(0),
        world.catalogue,
        world.now,
        (job, memory),
        None,
    )
}

/// Stops everything that would happen to a pilot.
fn freeze(world: &mut World, frozen: PilotNr) {
    world
        .agenda
        .retain(|event| !matches!(event, Event::Pilot { nr, .. } if *nr == frozen));
    world.open_calls.clear();
}

#[test]
fn nothing_is_noticed_where_nothing_is_broken() {
    assert_eq!(noticed(|_| true), None);
}

#[test]
fn j1_a_second_attempt_that_finished_a_job_is_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, finished) else {
            return false;
        };
        let mut attempt = attempt_of(world, &job);
        attempt.attempt_nr = attempt.attempt_nr.next();
        world.server.ledger.put_attempt(&attempt).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J1));
}

#[test]
fn j2_a_change_of_a_finished_job_is_noticed() {
    let invariant = noticed(|world| {
        let Some(mut job) = job_that_is(world, finished) else {
            return false;
        };
        // Changes between two looks at all rows cannot be seen by the second one.
        world.take_snapshot();
        job.reason = "another".to_owned();
        world.server.ledger.put_job(&job).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J2));
}

#[test]
fn j3_a_job_that_nobody_looks_after_is_noticed() {
    let invariant = noticed(|world| {
        let Some(nr) = busy_pilot(world) else {
            return false;
        };
        let pilot = world.pilots.remove(&nr).expect("it is there");
        let at = world.now;
        world.set_batch_state(pilot.batch_id, BatchState::Removed { at });
        world
            .agenda
            .retain(|event| !matches!(event, Event::Server(ServerEvent::Watch)));
        let id = pilot.jobs.values().last().expect("a job").panda_id;
        let mut job = world.server.ledger.job(id).expect("rows").expect("a job");
        job.worker = None;
        world.server.ledger.put_job(&job).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J3));
}

#[test]
fn j4_a_wrong_count_of_jobs_is_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, finished) else {
            return false;
        };
        let mut task = task_of(world, &job);
        task.n_jobs += 1;
        world.server.ledger.put_task(&task).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J4));
}

#[test]
fn j5_a_change_of_an_ended_attempt_is_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, finished) else {
            return false;
        };
        world.take_snapshot();
        let mut attempt = attempt_of(world, &job);
        attempt.pilot_log = "late".to_owned();
        world.server.ledger.put_attempt(&attempt).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J5));
}

#[test]
fn j6_a_second_attempt_that_is_under_way_is_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, |status| status == JobStatus::Running) else {
            return false;
        };
        let mut attempt = attempt_of(world, &job);
        attempt.attempt_nr = attempt.attempt_nr.next();
        world.server.ledger.put_attempt(&attempt).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::J6));
}

#[test]
fn one_update_that_counts_twice_or_for_an_old_attempt_is_noticed() {
    let check = |change: fn(&mut JobUpdate, &mut JobRecord, &mut JobRecord)| {
        let mut world = World::new(7, Keep::Recent);
        let mut before = world.server.ledger.jobs().next().expect("a job").clone();
        before.status = JobStatus::Running;
        let mut after = before.clone();
        let nr = Some(before.attempt_nr);
        let mut update = JobUpdate::new(PandaId::new(1), nr, JobStatus::Finished);
        change(&mut update, &mut before, &mut after);
        world.check_update(&update, &before, &after);
        world.violation.map(|violation| violation.invariant)
    };
    assert_eq!(check(|_, _, _| {}), None);
    let twice = check(|_, before, after| {
        before.status = JobStatus::Finished;
        after.status = JobStatus::Finished;
        after.reason = "again".to_owned();
    });
    assert_eq!(twice, Some(Invariant::J2));
    let old = check(|update, before, after| {
        update.attempt_nr = Some(AttemptNr::new(1));
        before.attempt_nr = AttemptNr::new(2);
        after.status = JobStatus::Failed;
    });
    assert_eq!(old, Some(Invariant::J5));
    let other = check(|update, _, after| {
        update.attempt_nr = None;
        after.attempt_nr = after.attempt_nr.next();
        after.status = JobStatus::Finished;
    });
    assert_eq!(other, Some(Invariant::J1));
    let without_files = check(|_, _, after| after.status = JobStatus::Finished);
    assert_eq!(without_files, Some(Invariant::P3));
}

#[test]
fn r1_rows_that_contradict_each_other_are_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, |status| status == JobStatus::Running) else {
            return false;
        };
        // Somebody has registered its output already.
        let listed = task_of(world, &job).spec.outputs[0].dataset.clone();
        let id = world.server.ledger.new_file_id().expect("rows");
        let file = FileRecord {
            id,
            dataset: listed,
            part: job.part,
            lfn: "other.root".into(),
            scope: "sim".into(),
            guid: None,
            size: None,
            checksum: None,
            surl: String::new(),
            endpoint: "".into(),
            replicas: Vec::new(),
            producer: None,
            n_events: None,
        };
        world.server.ledger.insert_file(&file).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::R1));
}

#[test]
fn s1_a_seed_that_is_handed_out_again_is_noticed() {
    let invariant = noticed(|world| {
        let Some(job) = job_that_is(world, JobStatus::is_with_pilot) else {
            return false;
        };
        let mut task = task_of(world, &job);
        task.next_seed = Seed::new(task.next_seed.value() - 1);
        world.server.ledger.put_task(&task).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::S1));
}

#[test]
fn p1_a_payload_that_outlives_its_pilot_is_noticed() {
    let mut world = World::new(7, Keep::Recent);
    world.faults = Faults::none();
    for queue in world.scenario.queues.values_mut() {
        // One job a pilot, so that no second payload is seen first.
        queue.time_floor = Duration::ZERO;
    }
    let invariant = noticed_in(&mut world, |world| {
        let is_past_payload = |(_, pilot): &(&PilotNr, &Pilot)| {
            let phases: Vec<PhaseName> = pilot.core.jobs().map(|(_, _, phase)| phase).collect();
            phases == [PhaseName::StagingOut]
        };
        let Some(nr) = world.pilots.iter().find(is_past_payload).map(|(nr, _)| *nr) else {
            return false;
        };
        let payload = stray_payload(world, nr);
        let pilot = world.pilots.get_mut(&nr).expect("it is there");
        // The ticket of no job: nobody will ever end it.
        pilot
            .payloads
            .insert(JobTicket::default(), payload)
            .is_none()
    });
    assert_eq!(invariant, Some(Invariant::P1));
}

#[test]
fn p2_a_second_payload_and_too_many_cores_are_noticed() {
    let second = noticed(|world| {
        let Some(nr) = busy_pilot(world) else {
            return false;
        };
        let payload = stray_payload(world, nr);
        let pilot = world.pilots.get_mut(&nr).expect("it is there");
        pilot.slots = 1;
        pilot
            .payloads
            .insert(JobTicket::default(), payload)
            .is_none()
    });
    assert_eq!(second, Some(Invariant::P2));
    let cores = noticed(|world| {
        let mut payloads = world
            .pilots
            .values_mut()
            .flat_map(|pilot| pilot.payloads.values_mut());
        payloads
            .next()
            .map(|payload| payload.cores = 1000)
            .is_some()
    });
    assert_eq!(cores, Some(Invariant::P2));
}

#[test]
fn p3_an_output_that_is_not_stored_as_registered_is_noticed() {
    let invariant =
        noticed(|world| world.server.ledger.jobs().count() > 0 && world.storage.spoil());
    assert_eq!(invariant, Some(Invariant::P3));
}

#[test]
fn p3_a_file_that_is_registered_twice_is_noticed() {
    let invariant = noticed(|world| {
        let made = world
            .server
            .ledger
            .files()
            .find(|file| file.producer.is_some());
        let Some(file) = made.cloned() else {
            return false;
        };
        let id = world.server.ledger.new_file_id().expect("rows");
        let again = FileRecord {
            id,
            part: 1_000_000,
            ..file
        };
        world.server.ledger.insert_file(&again).is_ok()
    });
    assert_eq!(invariant, Some(Invariant::P3));
}

#[test]
fn p4_a_payload_of_a_pilot_that_hangs_is_noticed() {
    let invariant = noticed(|world| {
        let Some(nr) = busy_pilot(world) else {
            return false;
        };
        freeze(world, nr);
        true
    });
    assert_eq!(invariant, Some(Invariant::P4));
}

#[test]
fn f1_a_worker_that_runs_many_times_is_noticed() {
    let invariant = noticed(|world| {
        let existing = world.batch.jobs.values().find(|job| job.exists());
        let Some((worker, queue)) = existing.map(|job| (job.worker, job.queue.clone())) else {
            return false;
        };
        for _ in 0..100 {
            world.take_worker(stranger(worker, &queue));
        }
        true
    });
    assert_eq!(invariant, Some(Invariant::F1));
}

#[test]
fn f2_a_worker_that_nobody_counts_is_noticed() {
    let invariant = noticed(|world| {
        let queue = world
            .scenario
            .queues
            .keys()
            .next()
            .expect("a queue")
            .clone();
        world.take_worker(stranger(WorkerId::new(999_999), &queue));
        true
    });
    assert_eq!(invariant, Some(Invariant::F2));
}

#[test]
fn f2_a_row_that_is_lost_is_noticed() {
    let invariant = noticed(|world| {
        // Of one whose row is not written again soon.
        let mut rows = world.harvester.rows.values();
        let running = rows.find(|row| row.status == WorkerStatus::Running);
        let Some(id) = running.map(|row| row.worker_id) else {
            return false;
        };
        world.harvester.rows.remove(&id).is_some()
    });
    assert_eq!(invariant, Some(Invariant::F2));
}

#[test]
fn c1_a_panic_is_noticed_and_tells_its_seed() {
    let invariant = noticed(|world| {
        world.scenario.queues.clear();
        true
    });
    assert_eq!(invariant, Some(Invariant::C1));
}

#[test]
fn k1_a_kill_that_is_forgotten_is_noticed() {
    let invariant = noticed(|world| {
        let running = job_that_is(world, JobStatus::is_with_pilot);
        running.is_some_and(|job| world.killed.insert(job.panda_id))
    });
    assert_eq!(invariant, Some(Invariant::K1));
}

#[test]
fn d1_an_input_that_is_not_what_its_file_is_is_noticed() {
    let wrong = noticed(|world| {
        if job_that_is(world, |status| status == JobStatus::Pending).is_some() {
            return false;
        }
        let ledger = &mut world.server.ledger;
        let Some(file) = ledger.files().find(|file| file.producer.is_some()).cloned() else {
            return false;
        };
        ledger
            .settle_needs(&file.dataset, file.part, FileStatus::Failed)
            .is_ok()
    });
    assert_eq!(wrong, Some(Invariant::D1));
}

#[test]
fn l1_jobs_for_which_no_worker_ever_comes_are_noticed() {
    let invariant = noticed(|world| {
        world
            .agenda
            .retain(|event| !matches!(event, Event::Harvester { .. }));
        true
    });
    assert_eq!(invariant, Some(Invariant::L1));
}

#[test]
fn l2_a_job_that_does_not_finish_for_no_reason_is_noticed() {
    let invariant = noticed(|world| {
        world.kill_some_job();
        true
    });
    assert_eq!(invariant, Some(Invariant::L2));
}

#[test]
fn w1_a_message_that_the_server_cannot_read_is_noticed() {
    let invariant = noticed(|world| {
        let request = Rc::new(Request {
            path: "/api/v1/pilot/update_job",
            content_type: "application/json",
            body: b"{".to_vec(),
        });
        world.after(Duration::ZERO, Event::Arrives { call: 0, request });
        true
    });
    assert_eq!(invariant, Some(Invariant::W1));
}

fn stranger(worker_id: WorkerId, queue: &QueueName) -> Worker {
    Worker {
        harvester_id: "sim-harvester".into(),
        worker_id,
        batch_id: "".into(),
        queue: queue.clone(),
        status: WorkerStatus::Pending,
        resource_type: "ANY".to_owned(),
        job_type: "ANY".to_owned(),
        core_count: 1,
        node: "".into(),
        submit_time: None,
        start_time: None,
        end_time: None,
        exit_code: None,
        diag: String::new(),
        panda_ids: Vec::new(),
        detail: ailurus_model::WorkerDetail::of_sure_end(),
    }
}

/// A world without faults that has tasks of PanDA.
fn with_panda_tasks() -> World {
    let mut world = World::new(2, Keep::Recent);
    world.faults = Faults::none();
    world
}

/// The jobs of one of PanDA's tasks that wait for a pilot, each a part of its work.
fn waiting_jobs_of_panda(world: &World) -> Vec<JobRecord> {
    let ledger = &world.server.ledger;
    let mut tasks = ledger.tasks().filter(|task| task.revision > 0);
    let of_task = |task: &TaskRecord| {
        let waiting = |job: &&JobRecord| {
            job.task_id == task.id
                && job.serial > 0
                && job.kind != JobKind::Consumer
                && job.status == JobStatus::Activated
        };
        let jobs: Vec<JobRecord> = ledger.jobs().filter(waiting).cloned().collect();
        (jobs.len() > 1).then_some(jobs)
    };
    tasks.find_map(of_task).unwrap_or_default()
}

#[test]
fn t1_two_jobs_of_panda_for_one_part_are_noticed() {
    let found = noticed_in(&mut with_panda_tasks(), |world| {
        let [one, other, ..] = &waiting_jobs_of_panda(world)[..] else {
            return false;
        };
        let mut other = other.clone();
        other.part = one.part;
        world.server.ledger.put_job(&other).expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::T1));
}

#[test]
fn t2_a_task_of_panda_that_ends_with_live_jobs_is_noticed() {
    let found = noticed_in(&mut with_panda_tasks(), |world| {
        let [job, ..] = &waiting_jobs_of_panda(world)[..] else {
            return false;
        };
        let mut task = task_of(world, job);
        task.status = TaskStatus::Done;
        world.server.ledger.put_task(&task).expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::T2));
}
