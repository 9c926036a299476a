//! Calls that change what tasks are, for their next jobs and for those that wait.

use ailurus_jedi::Rule;
use ailurus_model::TaskId;
use ailurus_server_core::{
    ledger::ShareReach,
    tasks::{CommandReply, CommandRequest},
};
use ailurus_wire::Envelope;
use serde_json::{Map, Value, json};

use super::{
    NO_TASK, TASK_ID,
    steer::{command, command_for, follow},
};
use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Kind, Parameter, Preset, Role, Shape, flag, handler, int, ints, text},
};

/// What `change_attribute` may change, and what it is called among the parameters of tasks.
const ATTRIBUTES: [(&str, &str); 4] = [
    ("ramCount", "ramCount"),
    ("wallTime", "walltime"),
    ("cpuTime", "cpuTime"),
    ("coreCount", "coreCount"),
];

/// The calls of this file.
pub(in crate::panda) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("task/change_attribute", handler!(change_attribute))
        .role(Role::Production)
        .takes(&[
            TASK_ID,
            text("attribute_name")
                .required()
                .doc("`ramCount`, `wallTime`, `cpuTime` or `coreCount`"),
            Parameter {
                kind: Kind::Any,
                ..text("value").required()
            }
            .doc("what it becomes"),
        ])
        .gives(Shape::Int)
        .doc("Changes a parameter of a task for its next jobs."),
    Endpoint::post("task/change_priority", handler!(change_priority))
        .role(Role::Production)
        .takes(&[
            TASK_ID,
            int("priority").required().doc("larger runs earlier"),
        ])
        .gives(Shape::Int)
        .doc("Changes the priority of a task and of its jobs."),
    Endpoint::post("task/change_split_rule", handler!(change_split_rule))
        .role(Role::Production)
        .takes(&[
            TASK_ID,
            text("attribute_name")
                .required()
                .doc("two letters of a rule, or its name"),
            Parameter {
                kind: Kind::Any,
                ..text("value").required()
            }
            .doc("what it becomes"),
        ])
        .gives(Shape::Int)
        .doc("Changes how a task is cut, for its next jobs."),
    Endpoint::post(
        "task/change_modification_time",
        handler!(change_modification_time),
    )
    .role(Role::Production)
    .takes(&[
        TASK_ID,
        int("hour_offset")
            .required()
            .doc("hours from now; not positive has the task looked at now"),
    ])
    .gives(Shape::Any)
    .doc("Has a task looked at now, or not before some hours are over."),
    Endpoint::post(
        "task/reassign_global_share",
        handler!(reassign_global_share),
    )
    .role(Role::Production)
    .takes(&[
        ints("task_id_list").required().doc("the tasks"),
        text("share").required().doc("the global share, a leaf"),
        flag("reassign_running_jobs")
            .required()
            .doc("also jobs that pilots have"),
    ])
    .gives(Shape::Int)
    .doc("Counts tasks and their jobs for another global share."),
    Endpoint::post("task/enable_jumbo_jobs", handler!(enable_jumbo))
        .role(Role::Production)
        .takes(&[
            TASK_ID,
            int("jumbo_jobs_total").required().doc("how many"),
            int("jumbo_jobs_per_site").doc("how many at one queue"),
        ])
        .gives(Shape::Int)
        .doc("Would make jumbo jobs: this server makes none."),
    Endpoint::get("task/get_jumbo_job_datasets", handler!(jumbo_datasets))
        .secure()
        .takes(&[
            int("from_offset").required().doc("days"),
            int("to_offset").or(Preset::Int(0)).doc("days"),
        ])
        .gives(Shape::Map(&Shape::Any))
        .doc("Lists what jumbo jobs read: nothing, as there are none."),
    Endpoint::post("task/enable_job_cloning", handler!(enable_cloning))
        .role(Role::Production)
        .takes(&[
            int("jedi_task_id").required().doc("the task"),
            text("mode").doc("`runonce`, the default, or `storeonce`"),
            int("multiplicity").doc("copies of each job"),
            int("num_sites").doc("queues of each job"),
        ])
        .gives(Shape::Any)
        .doc("Has the next jobs of a task run as copies of which one counts."),
    Endpoint::post("task/disable_job_cloning", handler!(disable_cloning))
        .role(Role::Production)
        .takes(&[int("jedi_task_id").required().doc("the task")])
        .gives(Shape::Any)
        .doc("Has the next jobs of a task run without copies."),
];

async fn change_priority(call: Call) -> Reply {
    match call.whole("priority") {
        Some(priority) => follow(call, CommandRequest::Priority(priority)).await,
        None => Reply::refusal("priority must be an integer"),
    }
}

async fn change_attribute(call: Call) -> Reply {
    let name = call.text("attribute_name").unwrap_or_default();
    let Some((_, parameter)) = ATTRIBUTES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = ATTRIBUTES.iter().map(|(known, _)| *known).collect();
        return Reply::refusal(format!(
            "{name} is not a valid attribute. Valid attributes are {}",
            known.join(", ")
        ));
    };
    let value = call.fields.get("value").cloned().unwrap_or(Value::Null);
    let changes = Map::from_iter([((*parameter).to_owned(), value)]);
    follow(call, CommandRequest::Change(changes)).await
}

async fn change_modification_time(call: Call) -> Reply {
    let Some(hours) = call.whole("hour_offset") else {
        return Reply::refusal("hour_offset must be an integer");
    };
    match command(&call, CommandRequest::LookAgain(hours)).await {
        Ok(CommandReply { code: 0, .. }) => Envelope {
            success: true,
            message: "1 tasks changed".to_owned(),
            data: Value::Null,
        }
        .into(),
        Ok(CommandReply { code: 2, .. }) => Reply::refusal(NO_TASK),
        Ok(CommandReply { message, .. }) => Reply::refusal(message),
        Err(reply) => reply,
    }
}

async fn reassign_global_share(call: Call) -> Reply {
    let share = call.text("share").unwrap_or_default();
    let reach = if call.flag("reassign_running_jobs") {
        ShareReach::All
    } else {
        ShareReach::Waiting
    };
    // One transaction for each task: those before a refusal stay changed, as in PanDA.
    for id in call.wholes("task_id_list") {
        let request = CommandRequest::Share(share.clone(), reach);
        match command_for(&call, TaskId::new(id), request).await {
            Ok(CommandReply { code: 0, .. }) => {}
            Ok(CommandReply { code, message }) => {
                return Envelope {
                    success: false,
                    message: format!("task {id}: {message}"),
                    data: json!(code),
                }
                .into();
            }
            Err(reply) => return reply,
        }
    }
    Reply::data(0)
}

async fn enable_jumbo(_call: Call) -> Reply {
    Reply::refusal(
        "this server makes no jumbo jobs: use `nEventsPerWorker` for jobs that share events",
    )
}

async fn jumbo_datasets(_call: Call) -> Reply {
    Reply::data(Value::Object(Map::new()))
}

async fn enable_cloning(call: Call) -> Reply {
    let number = |name: &str| call.whole::<u32>(name).unwrap_or(2);
    let mode = call.text("mode").filter(|mode| !mode.is_empty());
    let changes = [
        ("useJobCloning", json!(mode.as_deref().unwrap_or("runonce"))),
        ("nEventsPerWorker", json!(1)),
        ("nEsConsumers", json!(number("multiplicity"))),
        ("nSitesPerJob", json!(number("num_sites"))),
    ];
    change_cloning(call, changes).await
}

async fn disable_cloning(call: Call) -> Reply {
    let keys = [
        "useJobCloning",
        "nEventsPerWorker",
        "nEsConsumers",
        "nSitesPerJob",
    ];
    change_cloning(call, keys.map(|key| (key, Value::Null))).await
}

async fn change_cloning(call: Call, changes: [(&str, Value); 4]) -> Reply {
    let changes = changes.map(|(key, value)| (key.to_owned(), value));
    let id = TaskId::new(call.whole("jedi_task_id").unwrap_or(0));
    let request = CommandRequest::Change(Map::from_iter(changes));
    match command_for(&call, id, request).await {
        Ok(CommandReply { code: 0, .. }) => Reply::data(Value::Null),
        Ok(CommandReply { code: 2, .. }) => Reply::refusal("task not found"),
        Ok(CommandReply { message, .. }) => Reply::refusal(message),
        Err(reply) => reply,
    }
}

async fn change_split_rule(call: Call) -> Reply {
    let name = call.text("attribute_name").unwrap_or_default();
    let Some(rule) = Rule::from_tag(&name).or_else(|| Rule::from_name(&name)) else {
        return Reply::refusal(format!("`{name}` is no rule of a task"));
    };
    let value = call.fields.get("value").cloned().unwrap_or(Value::Null);
    let changes = Map::from_iter([(rule.name().to_owned(), value)]);
    follow(call, CommandRequest::Change(changes)).await
}
