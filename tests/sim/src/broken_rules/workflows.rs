//! Broken rules of workflows.

use ailurus_model::{TaskId, WorkflowStatus};
use ailurus_server_core::ledger::{WorkflowRows as _, WorkflowStepRecord};

use super::noticed_in;
use crate::{
    faults::Faults,
    panda_tasks::{draw, is_workflow},
    trace::Keep,
    violation::Invariant,
    world::World,
};

/// A world without faults that has a workflow whose second step waits for the end of the first.
fn with_workflow() -> World {
    let is_fit = |seed: &u64| {
        let tasks = draw(*seed);
        is_workflow(*seed, &tasks) && tasks.iter().all(|task| task["noWaitParent"] != true)
    };
    let seed = (0..1000).find(is_fit).expect("a seed with a workflow");
    let mut world = World::new(seed, Keep::Recent);
    world.faults = Faults::none();
    world
}

/// The two steps of the workflow, once the first has a task and the second waits.
fn first_and_waiting(world: &World) -> Option<[WorkflowStepRecord; 2]> {
    let steps: Vec<_> = world.server.ledger.all_workflow_steps().cloned().collect();
    let [first, second] = <[WorkflowStepRecord; 2]>::try_from(steps).ok()?;
    let is_waiting = second.task.is_none() && !first.status.is_final();
    (first.task.is_some() && is_waiting).then_some([first, second])
}

#[test]
fn g1_two_steps_of_a_workflow_with_one_task_are_noticed() {
    let found = noticed_in(&mut with_workflow(), |world| {
        let Some([first, mut second]) = first_and_waiting(world) else {
            return false;
        };
        second.task = first.task;
        world
            .server
            .ledger
            .put_workflow_step(&second)
            .expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::G1));
}

#[test]
fn g1_a_step_that_gets_another_task_is_noticed() {
    let found = noticed_in(&mut with_workflow(), |world| {
        let Some([mut first, _]) = first_and_waiting(world) else {
            return false;
        };
        first.task = Some(TaskId::new(1_000_000));
        world.server.ledger.put_workflow_step(&first).expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::G1));
}

#[test]
fn g2_a_step_that_begins_before_its_input_is_there_is_noticed() {
    let found = noticed_in(&mut with_workflow(), |world| {
        let Some([_, mut second]) = first_and_waiting(world) else {
            return false;
        };
        second.task = Some(TaskId::new(1_000_000));
        world
            .server
            .ledger
            .put_workflow_step(&second)
            .expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::G2));
}

#[test]
fn g3_a_workflow_that_ends_with_a_live_step_is_noticed() {
    let found = noticed_in(&mut with_workflow(), |world| {
        let Some([first, _]) = first_and_waiting(world) else {
            return false;
        };
        let read = world.server.ledger.workflow(first.workflow);
        let mut workflow = read.expect("rows").expect("a workflow");
        workflow.status = WorkflowStatus::Done;
        world.server.ledger.put_workflow(&workflow).expect("rows");
        true
    });
    assert_eq!(found, Some(Invariant::G3));
}
