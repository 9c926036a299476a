//! Calls that say what is to become of a task.

use ailurus_jedi::{
    Rule,
    command::{ReassignMode, ReassignTarget, RetryQualifiers},
};
use ailurus_model::JobStatus;
use ailurus_server_core::{
    KillCode, KillRequest, Unmerged, kill_jobs,
    ledger::Ledger,
    tasks::{CommandReply, CommandRequest, FinishMode, command_task},
};
use ailurus_wire::Envelope;
use serde_json::{Map, Value, json};

use super::task_of;
use crate::panda::{Call, Reply, failed};

/// PanDA's code of a retry that was done at once, for a task that is under way.
const RETRIED_AT_ONCE: i64 = 5;
/// PanDA's code of a retry that is taken with new parameters, without which `pbook` says that it
/// failed.
///
/// Without new parameters the same code is a refusal for want of rights.
const WITH_NEW_PARAMETERS: i64 = 3;
/// PanDA's code of a command that cannot be followed.
const REFUSED: i64 = 1;

async fn command(call: &Call, request: CommandRequest) -> Result<CommandReply, Reply> {
    let (id, caller) = (task_of(call), call.caller.clone());
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
async fn follow(call: Call, request: CommandRequest) -> Reply {
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

pub(super) async fn kill(call: Call) -> Reply {
    follow(call, CommandRequest::Kill).await
}

pub(super) async fn finish(call: Call) -> Reply {
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
pub(super) async fn retry(call: Call) -> Reply {
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

pub(super) async fn reactivate(call: Call) -> Reply {
    follow(call, CommandRequest::Reactivate).await
}

pub(super) async fn pause(call: Call) -> Reply {
    follow(call, CommandRequest::Pause).await
}

pub(super) async fn resume(call: Call) -> Reply {
    follow(call, CommandRequest::Resume).await
}

pub(super) async fn release(call: Call) -> Reply {
    follow(call, CommandRequest::Release).await
}

pub(super) async fn avalanche(call: Call) -> Reply {
    follow(call, CommandRequest::Avalanche).await
}

pub(super) async fn reload_input(call: Call) -> Reply {
    let words = RetryQualifiers {
        ignores_limits: call.flag("ignore_hard_exhausted"),
        ..RetryQualifiers::default()
    };
    follow(call, CommandRequest::Incexec(words, Map::new())).await
}

pub(super) async fn increase_attempts(call: Call) -> Reply {
    match call.whole("increase") {
        Some(more) => follow(call, CommandRequest::IncreaseAttempts(more)).await,
        None => Reply::refusal("increase must be a positive integer"),
    }
}

pub(super) async fn reassign(call: Call) -> Reply {
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

pub(super) async fn change_priority(call: Call) -> Reply {
    match call.whole("priority") {
        Some(priority) => follow(call, CommandRequest::Priority(priority)).await,
        None => Reply::refusal("priority must be an integer"),
    }
}

pub(super) async fn change_attribute(call: Call) -> Reply {
    let name = call.text("attribute_name").unwrap_or_default();
    let value = call.fields.get("value").cloned().unwrap_or(Value::Null);
    follow(
        call,
        CommandRequest::Change(Map::from_iter([(name, value)])),
    )
    .await
}

pub(super) async fn change_split_rule(call: Call) -> Reply {
    let name = call.text("attribute_name").unwrap_or_default();
    let Some(rule) = Rule::from_tag(&name).or_else(|| Rule::from_name(&name)) else {
        return Reply::refusal(format!("`{name}` is no rule of a task"));
    };
    let value = call.fields.get("value").cloned().unwrap_or(Value::Null);
    let changes = Map::from_iter([(rule.name().to_owned(), value)]);
    follow(call, CommandRequest::Change(changes)).await
}

pub(super) async fn kill_unfinished_jobs(call: Call) -> Reply {
    let (id, caller) = (task_of(&call), call.caller.clone());
    let code = KillCode::of_number(call.whole("code"));
    let killed = call
        .app
        .write(move |ctx, ledger| {
            let live: Vec<JobStatus> = JobStatus::ALL
                .iter()
                .copied()
                .filter(|status| !status.is_terminal())
                .collect();
            let ids = ledger.jobs_of_task(id, &live)?;
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
        Ok(done) => Reply::data(done),
        Err(error) => failed(&error),
    }
}
