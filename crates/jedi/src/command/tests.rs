//! When commands are taken, and what a retry with new parameters changes.

use serde_json::{Value, json};

use super::*;
use crate::TaskParams;

/// The whole table: each command with the statuses that take it.
#[test]
fn commands_are_taken_in_exactly_these_statuses() {
    use TaskStatus::*;
    let not_ended = |refused: &[TaskStatus]| -> Vec<TaskStatus> {
        TaskStatus::ALL
            .iter()
            .copied()
            .filter(|status| !refused.contains(status))
            .collect()
    };
    let kill = not_ended(&[
        Finished, Done, Prepared, Broken, Aborted, ToAbort, Aborting, Failed,
    ]);
    let pause = not_ended(&[Finished, Failed, Done, Aborted, Broken, Paused]);
    let reassign = vec![
        Defined, Ready, Running, Scouting, Scouted, Pending, Assigning, Exhausted,
    ];
    let table = [
        (TaskCommand::Kill, kill.clone()),
        (TaskCommand::Finish, kill),
        (TaskCommand::Retry, vec![Finished, Failed, Exhausted]),
        (
            TaskCommand::Incexec,
            vec![Finished, Failed, Aborted, Done, Exhausted],
        ),
        (TaskCommand::Reassign, reassign),
        (TaskCommand::Pause, pause),
        (TaskCommand::Resume, vec![Paused, Throttled, Staging]),
        (TaskCommand::Avalanche, vec![Scouting]),
        (
            TaskCommand::Release,
            vec![Scouting, Pending, Running, Ready, Assigning, Defined],
        ),
    ];
    for (command, accepted) in table {
        for status in TaskStatus::ALL {
            let is_expected = accepted.contains(status);
            assert_eq!(
                command.is_accepted_in(*status),
                is_expected,
                "{command} in {status}"
            );
        }
    }
}

#[test]
fn refusals_have_pandas_codes_and_messages() {
    let refused = TaskCommand::Kill.check(TaskStatus::Done, CallerRole::Production, "user");
    let error = refused.expect_err("it has ended");
    assert_eq!(error.code(), 4);
    assert_eq!(
        error.to_string(),
        "Command rejected: the kill command is not accepted if the task is in done status"
    );
    let error = TaskCommand::Retry.check(TaskStatus::Exhausted, CallerRole::Owner, "user");
    assert!(
        error
            .expect_err("no role")
            .to_string()
            .ends_with("status and production role is missing")
    );
    assert_eq!(
        TaskCommand::Retry.check(TaskStatus::Exhausted, CallerRole::Production, ""),
        Ok(())
    );
    assert_eq!(
        CommandRefusal::NotFound(TaskId::new(7)).to_string(),
        "jediTaskID=7 not found"
    );
    assert_eq!(CommandRefusal::NotAllowed.code(), 3);
}

#[test]
fn the_retry_of_a_running_task_of_a_person_is_told_apart() {
    let check = |label| TaskCommand::Retry.check(TaskStatus::Running, CallerRole::Owner, label);
    assert_eq!(
        check("user"),
        Err(CommandRefusal::IsActive(TaskStatus::Running))
    );
    assert_eq!(check("managed").expect_err("it runs").code(), 4);
}

#[test]
fn words_and_comments_are_read_back() {
    for command in TaskCommand::ALL {
        assert_eq!(command.as_str().parse(), Ok(command));
    }
    let qualifiers = RetryQualifiers {
        is_alone: true,
        keeps_priority: true,
        ..Default::default()
    };
    assert_eq!(qualifiers.to_comment(), "sole keep");
    assert_eq!(
        RetryQualifiers::of_comment("sole keep retry by Ivan"),
        qualifiers
    );
    let target = ReassignTarget::Site("Q".to_owned());
    assert_eq!(
        reassign_comment(&target, ReassignMode::EndWaiting),
        "site:Q:y:soft reassign"
    );
}

fn params(value: Value) -> TaskParams {
    TaskParams::from_value(value).expect("an object")
}

#[test]
fn only_these_parameters_change_on_a_retry() {
    let new = params(json!({
        "taskName": "other", "dsForIN": "a,b", "nFiles": 5, "priority": 900, "loopingCheck": false,
        "nGBPerJob": 3, "mergeOutput": true, "fixedSandbox": "s.tgz", "sourceURL": "https://s", "transUses": "x",
    }));
    let expected = json!({
        "dsForIN": "a,b", "nFiles": 5, "currentPriority": 900, "noLoopingCheck": true, "nGBPerJob": 3,
        "fixedSandbox": "s.tgz", "sourceURL": "https://s",
    });
    assert_eq!(Value::Object(incremental::changes(&new)), expected);
}

#[test]
fn a_new_sandbox_replaces_the_old_one_everywhere() {
    let mut task = params(json!({
        "fixedSandbox": "older.tgz", "nFiles": 5,
        "jobParameters": [{"type": "constant", "value": "-a old.tgz"}, {"type": "constant", "value": "-a b c"}],
        "buildSpec": {"archiveName": "old.tgz"},
        "mergeSpec": {"jobParameters": "-r . -a old.tgz -x"},
    }));
    let changes = json!({"fixedSandbox": "new.tgz", "nFiles": null});
    incremental::apply(&mut task, changes.as_object().expect("an object"));
    let expected = json!({
        "fixedSandbox": "new.tgz",
        "jobParameters": [{"type": "constant", "value": "-a new.tgz"}, {"type": "constant", "value": "-a b c"}],
        "buildSpec": {"archiveName": "new.tgz"},
        "mergeSpec": {"jobParameters": "-r . -a new.tgz -x"},
    });
    assert_eq!(Value::Object(task.raw().clone()), expected);
}
