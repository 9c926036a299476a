//! Calls that say what is to become of a task.

use ailurus_jedi::command::{ReassignMode, ReassignTarget, RetryQualifiers};
use ailurus_model::{JobStatus, TaskId};
use ailurus_server_core::{
    KillCode, KillRequest, Unmerged, kill_jobs,
    ledger::Ledger,
    tasks::{AttemptCount, CommandReply, CommandRequest, FinishMode, command_task},
};
use ailurus_wire::Envelope;
use serde_json::{Map, Value, json};

use super::{TASK_ID, task_of};
use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Kind, Parameter, Preset, Role, Shape, dict, flag, handler, int, text},
    failed,
};

/// PanDA's code of a retry that was done at once, for a task that is under way.
const RETRIED_AT_ONCE: i64 = 5;
/// PanDA's code of a retry that is taken with new parameters, without which `pbook` says that it
/// failed.
///
/// Without new parameters the same code is a refusal for want of rights.
const WITH_NEW_PARAMETERS: i64 = 3;
/// PanDA's code of a command that cannot be followed.
const REFUSED: i64 = 1;

const BROADCAST: Parameter = flag("broadcast")
    .or(Preset::Bool(false))
    .doc("whether pilots are told by message; they are told with their next update anyway");
/// Jobs of a task that are ended in one transaction.
const KILLED_AT_ONCE: usize = 1000;

/// The calls of this file.
pub(in crate::panda) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("task/kill", handler!(kill))
        .role(Role::TaskOwner)
        .takes(&[TASK_ID, BROADCAST])
        .gives(Shape::Int)
        .by_client()
        .doc("Ends a task and all its jobs."),
    Endpoint::post("task/finish", handler!(finish))
        .role(Role::TaskOwner)
        .takes(&[
            TASK_ID,
            flag("soft")
                .or(Preset::Bool(false))
                .doc("whether jobs that run may end"),
            BROADCAST,
        ])
        .gives(Shape::Int)
        .by_client()
        .doc("Ends a task with what it has."),
    Endpoint::post("task/retry", handler!(retry))
        .role(Role::TaskOwner)
        .takes(&[
            TASK_ID,
            Parameter {
                kind: Kind::Any,
                ..dict("new_parameters")
            }
            .doc("parameters that change, as an object or its JSON text"),
            flag("no_child_retry")
                .or(Preset::Bool(false))
                .doc("not the tasks after it"),
            flag("discard_events")
                .or(Preset::Bool(false))
                .doc("also events that are done"),
            flag("disable_staging_mode")
                .or(Preset::Bool(false))
                .doc("without waiting for files on tape"),
            flag("keep_gshare_priority")
                .or(Preset::Bool(false))
                .doc("with the priority that it has"),
            flag("ignore_hard_exhausted")
                .or(Preset::Bool(false))
                .doc("whatever the limits of retries say"),
        ])
        .gives(Shape::Int)
        .by_client()
        .doc("Tries what failed of a task again; the data are PanDA's code."),
    Endpoint::post("task/reactivate", handler!(reactivate))
        .role(Role::Production)
        .takes(&[
            TASK_ID,
            flag("keep_attempt_nr")
                .or(Preset::Bool(false))
                .doc("not counted as an attempt"),
            flag("trigger_job_generation")
                .or(Preset::Bool(false))
                .doc("jobs are made at once, as always here"),
        ])
        .gives(Shape::Int)
        .doc("Makes a task live again that has ended."),
    Endpoint::post("task/pause", handler!(pause))
        .role(Role::TaskOwner)
        .takes(&[TASK_ID])
        .gives(Shape::Int)
        .by_client()
        .doc("Holds a task: no more jobs are made."),
    Endpoint::post("task/resume", handler!(resume))
        .role(Role::TaskOwner)
        .takes(&[TASK_ID])
        .gives(Shape::Int)
        .by_client()
        .doc("Lets a task go on."),
    Endpoint::post("task/release", handler!(release))
        .role(Role::Production)
        .takes(&[TASK_ID])
        .gives(Shape::Int)
        .doc("Lets a task go on without waiting for its inputs."),
    Endpoint::post("task/avalanche", handler!(avalanche))
        .role(Role::Production)
        .takes(&[TASK_ID])
        .gives(Shape::Int)
        .doc("Has all jobs made without waiting for the first few."),
    Endpoint::post("task/reload_input", handler!(reload_input))
        .secure()
        .takes(&[
            TASK_ID,
            flag("ignore_hard_exhausted")
                .or(Preset::Bool(false))
                .doc("whatever the limits of retries say"),
        ])
        .gives(Shape::Int)
        .by_client()
        .doc("Reads the input of a task again and goes on with what is new."),
    Endpoint::post("task/increase_attempts", handler!(increase_attempts))
        .role(Role::Production)
        .takes(&[TASK_ID, int("increase").required().doc("how many more")])
        .gives(Shape::Int)
        .doc("Gives the jobs of a task that have not ended more attempts."),
    Endpoint::post("task/reassign", handler!(reassign))
        .secure()
        .takes(&[
            TASK_ID,
            text("site").doc("the queue where it goes"),
            text("cloud").doc("the cloud where it goes"),
            text("nucleus").doc("the nucleus where it goes"),
            text("mode").doc("`soft` moves only waiting jobs, `nokill` none"),
        ])
        .gives(Shape::Int)
        .doc("Sends a task elsewhere."),
    Endpoint::post("task/kill_unfinished_jobs", handler!(kill_unfinished_jobs))
        .secure()
        .takes(&[
            TASK_ID,
            int("code").doc("PanDA's code of the reason"),
            flag("use_email_as_id")
                .or(Preset::Bool(false))
                .doc("not looked at"),
        ])
        .gives(Shape::List(&Shape::Flag))
        .doc("Ends all jobs of a task that have not ended."),
];

pub(super) async fn command(call: &Call, request: CommandRequest) -> Result<CommandReply, Reply> {
    command_for(call, task_of(call), request).await
}

pub(super) async fn command_for(
    call: &Call,
    id: TaskId,
    request: CommandRequest,
) -> Result<CommandReply, Reply> {
    let caller = call.caller.clone();
    let reply = call
        .app
        .write(move |ctx, ledger| command_task(ctx, ledger, id, request, &caller))
        .await
        .map_err(|error| failed(&error))?;
    let (code, message) = (reply.code, &reply.message);
    tracing::info!(task.id = %id, code, message, "command for a task");
    Ok(reply)
}

/// Follows a command; it is a success if it is taken.
pub(super) async fn follow(call: Call, request: CommandRequest) -> Reply {
    match command(&call, request).await {
        Ok(CommandReply { code, message }) => Envelope {
            success: code == 0,
            message,
            data: json!(code),
        }
        .into(),
        Err(reply) => reply,
    }
}

async fn kill(call: Call) -> Reply {
    follow(call, CommandRequest::Kill).await
}

async fn finish(call: Call) -> Reply {
    let mode = if call.flag("soft") {
        FinishMode::Soft
    } else {
        FinishMode::Now
    };
    follow(call, CommandRequest::Finish(mode)).await
}

/// Reads parameters that change: an object, its JSON text, or nothing.
fn changes_of(call: &Call) -> Result<Map<String, Value>, String> {
    match call.fields.get("new_parameters") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(Value::String(text)) if text.trim().is_empty() || text == "None" => Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|error| format!("`new_parameters` is no JSON object: {error}")),
        Some(_) => Err("`new_parameters` is no JSON object".to_owned()),
    }
}

/// Retries are a success whatever their code is: clients look at the code.
async fn retry(call: Call) -> Reply {
    let changes = match changes_of(&call) {
        Ok(changes) => changes,
        Err(message) => {
            return Envelope {
                success: true,
                message,
                data: json!(1),
            }
            .into();
        }
    };
    let has_changes = !changes.is_empty();
    let words = RetryQualifiers {
        is_alone: call.flag("no_child_retry"),
        discards_events: call.flag("discard_events"),
        skips_staging: call.flag("disable_staging_mode"),
        keeps_priority: call.flag("keep_gshare_priority"),
        ignores_limits: call.flag("ignore_hard_exhausted"),
    };
    match command(&call, CommandRequest::Retry(words, changes)).await {
        Ok(CommandReply { code, message }) => {
            let code = match code {
                0 | RETRIED_AT_ONCE if has_changes => WITH_NEW_PARAMETERS,
                WITH_NEW_PARAMETERS if has_changes => REFUSED,
                RETRIED_AT_ONCE => 0,
                code => code,
            };
            Envelope {
                success: true,
                message,
                data: json!(code),
            }
            .into()
        }
        Err(reply) => reply,
    }
}

async fn reactivate(call: Call) -> Reply {
    let count = if call.flag("keep_attempt_nr") {
        AttemptCount::Kept
    } else {
        AttemptCount::Raised
    };
    follow(call, CommandRequest::Reactivate(count)).await
}

async fn pause(call: Call) -> Reply {
    follow(call, CommandRequest::Pause).await
}

async fn resume(call: Call) -> Reply {
    follow(call, CommandRequest::Resume).await
}

async fn release(call: Call) -> Reply {
    follow(call, CommandRequest::Release).await
}

async fn avalanche(call: Call) -> Reply {
    follow(call, CommandRequest::Avalanche).await
}

async fn reload_input(call: Call) -> Reply {
    let words = RetryQualifiers {
        ignores_limits: call.flag("ignore_hard_exhausted"),
        ..RetryQualifiers::default()
    };
    follow(call, CommandRequest::Incexec(words, Map::new())).await
}

async fn increase_attempts(call: Call) -> Reply {
    match call.whole("increase") {
        Some(more) => follow(call, CommandRequest::IncreaseAttempts(more)).await,
        None => Reply::refusal("increase must be a positive integer"),
    }
}

async fn reassign(call: Call) -> Reply {
    let named = |key: &str| call.text(key).filter(|name| !name.is_empty());
    let target = named("site")
        .map(ReassignTarget::Site)
        .or_else(|| named("cloud").map(ReassignTarget::Cloud))
        .or_else(|| named("nucleus").map(ReassignTarget::Nucleus));
    let Some(target) = target else {
        return Reply::refusal("one of site, cloud, nucleus must be given");
    };
    let mode = match call.text("mode").as_deref() {
        Some("soft") => ReassignMode::EndWaiting,
        Some("nokill") => ReassignMode::EndNone,
        Some(_) | None => ReassignMode::EndAll,
    };
    follow(call, CommandRequest::Reassign(target, mode)).await
}

async fn kill_unfinished_jobs(call: Call) -> Reply {
    let id = task_of(&call);
    let code = KillCode::of_number(call.whole("code"));
    let live: Vec<JobStatus> = JobStatus::ALL
        .iter()
        .copied()
        .filter(|status| !status.is_terminal())
        .collect();
    let listed = call
        .app
        .read(move |reader| reader.ledger().jobs_of_task(id, &live))
        .await;
    let ids = match listed {
        Ok(ids) => ids,
        Err(error) => return failed(&error),
    };
    let mut done = Vec::with_capacity(ids.len());
    for ids in ids.chunks(KILLED_AT_ONCE) {
        let (ids, caller) = (ids.to_vec(), call.caller.clone());
        let killed = call
            .app
            .write(move |ctx, ledger| {
                let request = KillRequest {
                    code,
                    caller: &caller,
                    sub_status: None,
                    unmerged: Unmerged::Lost,
                };
                kill_jobs(ctx, ledger, &ids, request)
            })
            .await;
        match killed {
            Ok(some) => done.extend(some),
            Err(error) => return failed(&error),
        }
    }
    Reply::data(done)
}
