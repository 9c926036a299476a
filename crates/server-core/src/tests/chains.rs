//! Chains of tasks: release part by part, lost parts, and what a retry brings back.

use ailurus_model::{ErrorCode, Job, JobStatus, TaskStatus, task::Split};

use super::harness::*;
use JobStatus::{Activated, Cancelled, Closed, Failed, Finished, Pending};

/// Generation in `n` jobs, simulation file by file with a pair of outputs, analysis of all.
fn chain(n: u64) -> Server {
    let mut sim = reading("gen", "sim", FILE_BY_FILE);
    sim.outputs.push(output("par", "par_{part}_{attempt}.root"));
    let mut reco = reading("sim", "reco", FILE_BY_FILE);
    reco.inputs.push(input("par"));
    reco.parameters = "-i {input.sim} -p {input.par}".to_owned();
    Server::with([
        generation(n),
        sim,
        reco,
        reading("reco", "ana", Split::AllFiles),
    ])
}

/// Finishes jobs until none is activated, and returns them in their order.
fn finish_all(server: &mut Server) -> Vec<Job> {
    let mut done = Vec::new();
    while let Some(job) = server.next_job() {
        server.finish(&job);
        done.push(job);
    }
    done
}

#[test]
fn a_chain_runs_to_its_end() {
    let mut server = chain(3);
    assert_eq!(server.statuses(2), [Pending; 3]);
    assert_eq!(server.job(4).reason, "waits for its inputs");
    let done = finish_all(&mut server);
    assert_eq!(done.len(), 10);
    for task in 1..=4 {
        assert_eq!(server.task_status(task), TaskStatus::Done);
    }
    let last = done.last().unwrap();
    assert_eq!(
        last.parameters,
        "-i reco_0_1.root,reco_1_1.root,reco_2_1.root -o ana_0_1.root"
    );
}

#[test]
fn jobs_are_released_file_by_file() {
    let mut server = chain(3);
    let first = server.running_job();
    server.running_job();
    server.finish(&first);
    let mut expected = [Pending; 3];
    expected[usize::try_from(server.job(first.panda_id.value()).part).unwrap()] = Activated;
    assert_eq!(server.statuses(2), expected);
}

#[test]
fn a_pair_comes_together() {
    let mut server = chain(1);
    let done = finish_all(&mut server);
    assert_eq!(done[2].parameters, "-i sim_0_1.root -p par_0_1.root");
    assert_eq!(done[2].inputs.len(), 2);
}

#[test]
fn a_lost_part_closes_the_jobs_that_need_it_and_the_rest_goes_on() {
    let mut server = chain(2);
    let (lost, kept) = (server.running_job(), server.running_job());
    server.fail(&lost, ErrorCode::LoopingJob);
    server.finish(&kept);
    let part = usize::try_from(server.job(lost.panda_id.value()).part).unwrap();
    finish_all(&mut server);
    let mut expected = [Finished; 2];
    expected[part] = Closed;
    assert_eq!(server.statuses(2), expected);
    assert_eq!(server.statuses(3), expected);
    assert_eq!(server.statuses(4), [Finished]);
    assert_eq!(server.task_status(1), TaskStatus::Finished);
    assert_eq!(server.task_status(3), TaskStatus::Finished);
    assert_eq!(server.task_status(4), TaskStatus::Done);
    let closed = server.job(3 + u64::try_from(part).unwrap());
    assert_eq!(
        closed.reason,
        format!(
            "input part {part} of dataset `spd.gen` will not come: job {} of task `gen` ended failed",
            lost.panda_id
        )
    );
}

#[test]
fn a_chain_without_anything_left_ends() {
    let mut server = chain(2);
    server.fail_for_good(1);
    for task in 1..=4 {
        assert_eq!(server.task_status(task), TaskStatus::Failed, "task {task}");
    }
    assert_eq!(server.statuses(4), [Closed]);
    assert!(server.job(7).reason.contains("ended closed"));
}

#[test]
fn a_job_of_several_files_runs_with_those_that_came() {
    let mut server = Server::with([
        generation(2),
        reading("gen", "sim", Split::Files { per_job: 2 }),
    ]);
    let (lost, kept) = (server.running_job(), server.running_job());
    server.finish(&kept);
    assert_eq!(server.statuses(2), [Pending]);
    server.fail(&lost, ErrorCode::LoopingJob);
    let job = server.next_job().unwrap();
    assert_eq!(job.inputs.len(), 1);
    assert_eq!(job.inputs[0].lfn, kept.outputs[0].lfn);
}

#[test]
fn a_retried_part_is_waited_for() {
    let mut server = chain(1);
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    assert_eq!(server.statuses(2), [Pending]);
    finish_all(&mut server);
    assert_eq!(server.task_status(4), TaskStatus::Done);
}

#[test]
fn killing_a_job_loses_its_part() {
    let mut server = chain(2);
    server.kill_job(1).unwrap();
    assert_eq!(server.statuses(1), [Cancelled, Activated]);
    assert_eq!(server.statuses(2), [Closed, Pending]);
    finish_all(&mut server);
    assert_eq!(server.task_status(4), TaskStatus::Done);
}

#[test]
fn a_common_input_goes_with_every_job() {
    let mut mixture = generation(1);
    mixture.name = "mix".to_owned();
    mixture.parameters = String::new();
    mixture.outputs = vec![output("mix", "mix_{seed}.root")];
    let mut sim = reading("gen", "sim", FILE_BY_FILE);
    sim.inputs.push(input("mix"));
    let mut server = Server::with([generation(2), mixture, sim]);
    let done = finish_all(&mut server);
    let inputs: Vec<usize> = done.iter().map(|job| job.inputs.len()).collect();
    assert_eq!(inputs, [0, 0, 0, 2, 2]);
}

#[test]
fn chains_of_failed_jobs_wait_again_after_a_retry() {
    let mut server = chain(2);
    let (lost, kept) = (server.running_job(), server.running_job());
    server.finish(&kept);
    server.fail(&lost, ErrorCode::LoopingJob);
    while let Some(job) = server.next_job() {
        assert_ne!(
            job.task_id.value(),
            4,
            "the analysis waits for nothing more"
        );
        server.finish(&job);
        if job.task_id.value() == 2 {
            break;
        }
    }
    assert_eq!(server.retry_task(1).unwrap(), 1);
    let id = lost.panda_id.value();
    assert_eq!(server.status(id), Activated);
    assert_eq!(server.job(id).max_attempts, 4);
    assert_eq!(server.job(id).attempt_nr.value(), 2);
    assert_eq!(server.status(2 + id), Pending);
    assert_eq!(server.status(4 + id), Pending);
    assert_eq!(
        server.job(2 + id).reason,
        "its input is tried again by `alice`"
    );
    assert_eq!(server.task_status(1), TaskStatus::Running);
    finish_all(&mut server);
    for task in 1..=4 {
        assert_eq!(server.task_status(task), TaskStatus::Done, "task {task}");
    }
}

#[test]
fn a_whole_chain_comes_back_after_a_retry() {
    let mut server = chain(1);
    server.fail_for_good(1);
    assert_eq!(server.task_status(4), TaskStatus::Failed);
    server.retry_task(1).unwrap();
    for task in 2..=4 {
        assert_eq!(server.statuses(task), [Pending]);
        assert_eq!(server.task_status(task), TaskStatus::Running);
    }
    finish_all(&mut server);
    assert_eq!(server.task_status(4), TaskStatus::Done);
}

#[test]
fn a_retry_can_fail_again() {
    let mut server = chain(1);
    server.fail_for_good(1);
    server.retry_task(1).unwrap();
    server.fail_for_good(1);
    assert_eq!(server.statuses(1), [Failed]);
    assert_eq!(server.statuses(4), [Closed]);
}
