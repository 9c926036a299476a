//! Calls of Harvesters about themselves and their workers, and of people about Harvesters.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{HarvesterId, QueueName, Timestamp};
use ailurus_server_core::{
    HarvesterWord, SweepError, acknowledge_commands, acquire_commands,
    ledger::{
        Acknowledgement, CommandRecord, DialogRecord, ServiceMetricsRecord, TargetSlotsRecord,
        WorkerCounts, WorkerStatisticsRows as _,
    },
    note_dialogs, note_heartbeat, note_service_metrics, note_worker_statistics, set_target_slots,
    sweep_queue, update_workers as update,
};
use ailurus_store::WriteError;
use ailurus_wire::{
    Answer, Dialect, Fields,
    fields::{json_of, time_of, whole_of},
    harvester_call::{self, COMMANDS_MAX, HarvesterCommand},
    worker_text,
};
use serde_json::{Value, json};

use crate::{
    knowledge::now,
    panda::{
        Call, Endpoint, Reply,
        endpoint::{
            LegacyBody, Parameter, Preset, Role, Shape, anything, dict, handler, int, list, text,
            texts,
        },
        failed,
    },
};

/// How old numbers of workers may be that are told.
const STATISTICS_AGE_MAX: Duration = Duration::from_secs(4 * 3600);
/// The most messages, or measures, of one call.
const NOTES_MAX: usize = 10_000;
/// The word for everything in the parameters of commands.
const ALL: &str = "ALL";

/// How long Harvester would wait for commands, in seconds: not looked at.
const TIMEOUT: Parameter = int("timeout")
    .or(Preset::Int(30))
    .doc("seconds that the client would wait; not looked at");

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("harvester/heartbeat", handler!(heartbeat))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            dict("data").doc("`startTime`, `sw_version`, `commit_stamp`, `commands`"),
        ])
        .by_harvester()
        .doc("Takes a sign of life of an instance."),
    Endpoint::post("harvester/update_workers", handler!(update_workers))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            list("workers").required().doc("one object a worker"),
        ])
        .gives(Shape::List(&Shape::Flag))
        .by_harvester()
        .doc("Takes what an instance says about its workers; the answer says for each whether it was taken."),
    Endpoint::post("harvester/report_worker_statistics", handler!(worker_statistics))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            text("panda_queue").required().doc("the queue"),
            text("statistics")
                .required()
                .doc("JSON text: numbers by job type, resource type and status"),
        ])
        .by_harvester()
        .doc("Takes how many workers an instance has at a queue."),
    Endpoint::post("harvester/acquire_commands", handler!(commands))
        .role(Role::Production)
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            int("n_commands").required().doc("how many at most"),
            TIMEOUT,
        ])
        .gives(Shape::List(&Shape::Object(&[
            ("command_id", Shape::Int),
            ("command", Shape::Text),
            ("ack_requested", Shape::Int),
            ("creation_date", Shape::Text),
        ])))
        .by_harvester()
        .doc("Gives an instance its oldest new commands."),
    Endpoint::post("harvester/acknowledge_commands", handler!(acknowledge))
        .role(Role::Production)
        .takes(&[list("command_ids").required().doc("the commands"), TIMEOUT])
        .by_harvester()
        .doc("Takes the word that commands are carried out."),
    Endpoint::get("harvester/get_current_worker_id", handler!(last_worker_id))
        .takes(&[text("harvester_id").required().doc("the instance")])
        .gives(Shape::Int)
        .by_harvester()
        .doc("Tells the largest number of a worker of the instance, 0 if it has none."),
    Endpoint::post("harvester/add_dialogs", handler!(dialogs))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            list("dialogs").required().doc("messages for people"),
        ])
        .by_harvester()
        .doc("Takes messages for people."),
    Endpoint::post("harvester/update_service_metrics", handler!(service_metrics))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            list("metrics").required().doc("lists of time, host, and what was measured"),
        ])
        .by_harvester()
        .doc("Takes what an instance measures of its machines."),
    Endpoint::get("harvester/get_worker_statistics", handler!(all_worker_statistics))
        .gives(Shape::Map(&Shape::Map(&Shape::Map(&Shape::Map(&Shape::Map(
            &Shape::Int,
        ))))))
        .by_harvester()
        .doc(
            "Tells how many workers there are, by queue, instance, job type, resource type and \
             status, as reported within four hours.",
        ),
    Endpoint::post("harvester/add_sweep_command", handler!(sweep))
        .role(Role::Production)
        .takes(&[
            text("panda_queue").required().doc("the queue"),
            texts("status_list")
                .required()
                .doc("statuses of workers; empty or `ALL` for all"),
            texts("ce_list")
                .required()
                .doc("computing elements; empty or `ALL` for all"),
            texts("submission_host_list")
                .required()
                .doc("hosts that submitted; empty or `ALL` for all"),
        ])
        .doc("Orders the instances of a queue to end workers there."),
    Endpoint::post("harvester/add_target_slots", handler!(target_slots))
        .role(Role::Production)
        .takes(&[
            text("panda_queue").required().doc("the queue"),
            int("slots").required().doc("how many slots it is to have"),
            text("global_share").doc("the share for which they are; without it, all"),
            text("resource_type").doc("the class of jobs for which they are; without it, all"),
            text("expiration_date").doc("until when; without it, always"),
        ])
        .doc("Sets how many slots a queue is to have."),
    Endpoint::legacy("getCommands", LegacyBody::FormOrJson, handler!(commands))
        .role(Role::PilotByText)
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            anything("n_commands").required().doc("how many at most"),
            anything("timeout").doc("not looked at"),
        ])
        .gives(Shape::Object(&[
            ("Returns", Shape::Any),
            ("Commands", Shape::Any),
        ]))
        .by_harvester()
        .doc("Gives an older instance its oldest new commands."),
    Endpoint::legacy("ackCommands", LegacyBody::FormOrJson, handler!(acknowledge))
        .role(Role::PilotByText)
        .takes(&[
            anything("command_ids").required().doc("JSON list of the commands"),
            anything("timeout").doc("not looked at"),
        ])
        .gives(Shape::Object(&[("Returns", Shape::Any)]))
        .by_harvester()
        .doc("Takes the word of an older instance that commands are carried out."),
];

/// Takes a sign of life.
async fn heartbeat(call: Call) -> Reply {
    let heartbeat = match harvester_call::decode_heartbeat(&call.fields) {
        Ok(heartbeat) => heartbeat,
        Err(error) => return Reply::bad_request(call.dialect, &error),
    };
    let word = HarvesterWord {
        id: heartbeat.harvester_id,
        owner: call.caller.dn.clone(),
        host: call
            .peer
            .map(|address| address.to_string())
            .unwrap_or_default(),
        started: heartbeat.start_time,
        version: heartbeat.version,
        commit: heartbeat.commit,
    };
    let written = call
        .app
        .write(move |ctx, ledger| note_heartbeat(ctx, ledger, &word));
    done(call.dialect, written.await)
}

/// Takes worker statistics.
async fn worker_statistics(call: Call) -> Reply {
    let said = match harvester_call::decode_statistics(&call.fields) {
        Ok(said) => said,
        Err(error) => return Reply::bad_request(call.dialect, &error),
    };
    let written = call.app.write(move |ctx, ledger| {
        note_worker_statistics(ctx, ledger, &said.harvester_id, &said.queue, &said.counts)
    });
    done(call.dialect, written.await)
}

/// Tells the numbers of workers of all instances, with every queue there is: Harvester takes an
/// answer that names none for a failure.
async fn all_worker_statistics(call: Call) -> Reply {
    let since = now().before(STATISTICS_AGE_MAX);
    let knowledge = call.app.knowledge();
    let read = call
        .app
        .read(move |reader| reader.ledger().worker_statistics_since(since));
    match read.await {
        Ok(found) => {
            let known = knowledge.queues.keys();
            let mut queues: BTreeMap<QueueName, BTreeMap<HarvesterId, WorkerCounts>> = known
                .map(|queue| (queue.clone(), BTreeMap::new()))
                .collect();
            for one in found {
                let instances = queues.entry(one.queue).or_default();
                instances.insert(one.harvester, one.counts);
            }
            Reply::data(json!(queues))
        }
        Err(error) => failed(&error),
    }
}

/// Gives commands.
async fn commands(call: Call) -> Reply {
    let (Some(harvester), Some(wanted)) = (
        call.text("harvester_id").map(HarvesterId::new),
        call.whole::<usize>("n_commands"),
    ) else {
        let message = "`harvester_id` must be a name and `n_commands` a whole number";
        return refused(call.dialect, message);
    };
    let limit = wanted.min(COMMANDS_MAX);
    let written = call
        .app
        .write(move |ctx, ledger| acquire_commands(ctx, ledger, &harvester, limit))
        .await;
    let commands: Vec<HarvesterCommand> = match written {
        Ok(commands) => commands.into_iter().map(wire_command).collect(),
        Err(error) => return failed(&error),
    };
    let answer = harvester_call::encode_commands(&commands);
    match (call.dialect, answer) {
        (Dialect::Legacy, Answer::V1(envelope)) => {
            let mut fields = Fields::new();
            fields.put("Returns", 0);
            fields.put("Commands", envelope.data);
            Answer::success(Dialect::Legacy, fields).into()
        }
        (Dialect::V1 | Dialect::Legacy, answer) => answer.into(),
    }
}

fn wire_command(record: CommandRecord) -> HarvesterCommand {
    HarvesterCommand {
        id: record.id,
        command: record.command,
        // What is no JSON was never written.
        params: serde_json::from_str(&record.params).unwrap_or_default(),
        wants_acknowledgement: record.acknowledgement == Acknowledgement::Wanted,
        created: Some(record.created),
    }
}

/// Takes the acknowledgement of commands.
async fn acknowledge(call: Call) -> Reply {
    let list = call.fields.get("command_ids").map(json_of);
    let ids = match list {
        Some(Ok(Value::Array(items))) if items.len() <= COMMANDS_MAX => items
            .iter()
            .map(|item| whole_of(item).and_then(|id| u64::try_from(id).ok()))
            .collect::<Option<Vec<u64>>>(),
        _ => None,
    };
    let Some(ids) = ids else {
        let message = format!("`command_ids` must be a list of at most {COMMANDS_MAX} numbers");
        return refused(call.dialect, &message);
    };
    let written = call
        .app
        .write(move |ctx, ledger| acknowledge_commands(ctx, ledger, &ids))
        .await;
    match (call.dialect, written) {
        (Dialect::Legacy, Ok(_)) => {
            let mut fields = Fields::new();
            fields.put("Returns", 0);
            Answer::success(Dialect::Legacy, fields).into()
        }
        (Dialect::V1, Ok(_)) => Answer::done(Dialect::V1).into(),
        (Dialect::Legacy | Dialect::V1, Err(error)) => failed(&error),
    }
}

/// Orders workers of a queue to be ended.
async fn sweep(call: Call) -> Reply {
    let queue = QueueName::new(call.text("panda_queue").unwrap_or_default());
    let choice = |name| {
        let chosen = call.texts(name);
        if chosen.is_empty() || chosen.iter().any(|one| one == ALL) {
            Value::from(ALL)
        } else {
            Value::from(chosen)
        }
    };
    let params = json!({
        "status": choice("status_list"),
        "computingSite": [queue.as_str()],
        "computingElement": choice("ce_list"),
        "submissionHost": choice("submission_host_list"),
    })
    .to_string();
    let written = call
        .app
        .write(move |ctx, ledger| sweep_queue(ctx, ledger, &queue, &params));
    match written.await {
        Ok(instances) => {
            let message = format!("{instances} Harvester instances are told");
            Reply::data_and_message(Value::Null, message)
        }
        Err(WriteError::Operation(
            error @ (SweepError::UnknownQueue { .. } | SweepError::NoHarvester { .. }),
        )) => Reply::refusal(error.to_string()),
        Err(error) => failed(&error),
    }
}

/// Sets how many slots a queue is to have.
async fn target_slots(call: Call) -> Reply {
    let expires = match call.fields.get("expiration_date") {
        None => None,
        Some(value) => match time_of(value) {
            Some(time) => Some(time),
            None => {
                let message = "`expiration_date` must read like `2026-01-31 23:59:59`";
                return Reply::refusal(message);
            }
        },
    };
    let Some(slots) = call.whole("slots") else {
        return Reply::refusal("`slots` must not be below zero");
    };
    let wish = TargetSlotsRecord {
        queue: QueueName::new(call.text("panda_queue").unwrap_or_default()),
        global_share: call.text("global_share").unwrap_or_default(),
        resource_type: call.text("resource_type").unwrap_or_default(),
        slots,
        expires,
        modified: now(),
    };
    let queue = wish.queue.clone();
    let written = call
        .app
        .write(move |ctx, ledger| set_target_slots(ctx, ledger, &wish));
    match written.await {
        Ok(true) => Reply::data_and_message(
            Value::Null,
            format!("queue {queue} is to have {slots} slots"),
        ),
        Ok(false) => Reply::refusal(format!("queue `{queue}` is not known")),
        Err(error) => failed(&error),
    }
}

/// Takes messages for people. One that makes no sense is passed over.
async fn dialogs(call: Call) -> Reply {
    let harvester = HarvesterId::new(call.text("harvester_id").unwrap_or_default());
    let time = now();
    let dialogs: Vec<DialogRecord> = call
        .list("dialogs")
        .iter()
        .take(NOTES_MAX)
        .filter_map(|item| read_dialog(&harvester, item, time))
        .collect();
    let written = call
        .app
        .write(move |_, ledger| note_dialogs(ledger, &dialogs));
    done(call.dialect, written.await)
}

fn read_dialog(harvester: &HarvesterId, item: &Value, now: Timestamp) -> Option<DialogRecord> {
    let fields = Fields::from_value(item.clone()).ok()?;
    Some(DialogRecord {
        harvester: harvester.clone(),
        id: fields.whole_if_any("diagID")?,
        module: fields.text("moduleName"),
        identifier: fields.text("identifier"),
        level: fields.text("messageLevel"),
        message: fields.text("diagMessage"),
        created: fields.get("creationTime").and_then(time_of).unwrap_or(now),
    })
}

/// Takes what an instance measured, which comes as JSON text. A measure that makes no sense is
/// passed over.
async fn service_metrics(call: Call) -> Reply {
    let harvester = HarvesterId::new(call.text("harvester_id").unwrap_or_default());
    let read = |item: &Value| {
        let [created, host, metrics] = item.as_array()?.as_slice() else {
            return None;
        };
        Some(ServiceMetricsRecord {
            harvester: harvester.clone(),
            created: time_of(created)?,
            host: host.as_str()?.to_owned(),
            metrics: json_of(metrics).ok()?.to_string(),
        })
    };
    let items = call.list("metrics").iter().take(NOTES_MAX);
    let metrics: Vec<ServiceMetricsRecord> = items.filter_map(read).collect();
    let written = call
        .app
        .write(move |_, ledger| note_service_metrics(ledger, &metrics));
    done(call.dialect, written.await)
}

fn done<E: std::error::Error + 'static>(
    dialect: Dialect,
    written: Result<(), WriteError<E>>,
) -> Reply {
    match written {
        Ok(()) => Answer::done(dialect).into(),
        Err(error) => failed(&error),
    }
}

fn refused(dialect: Dialect, message: &str) -> Reply {
    Answer::failure(dialect, ailurus_wire::StatusCode::Invalid, message).into()
}

/// Takes what a Harvester reports about its workers. A worker that makes no sense is not taken,
/// the others are.
async fn update_workers(call: Call) -> Reply {
    let reported = match worker_text::decode_request(&call.fields) {
        Ok(reported) => reported,
        Err(error) => return error.to_answer(Dialect::V1).into(),
    };
    let mut readable = Vec::with_capacity(reported.workers.len());
    let mut is_readable = Vec::with_capacity(reported.workers.len());
    for worker in reported.workers {
        is_readable.push(worker.is_ok());
        match worker {
            Ok(worker) => readable.push(worker),
            Err(error) => {
                tracing::warn!(%error, harvester.id = %reported.harvester_id, "a worker is refused");
            }
        }
    }
    match call
        .app
        .write(move |ctx, ledger| update(ctx, ledger, &readable))
        .await
    {
        Ok(taken) => {
            let mut taken = taken.into_iter();
            let answers: Vec<bool> = is_readable
                .into_iter()
                .map(|is_readable| is_readable && taken.next().unwrap_or(false))
                .collect();
            worker_text::encode_answer(&answers).into()
        }
        Err(error) => failed(&error),
    }
}

/// Tells the largest worker number of an instance.
async fn last_worker_id(call: Call) -> Reply {
    let harvester = match harvester_call::decode_worker_id_request(&call.fields) {
        Ok(harvester) => harvester,
        Err(error) => return error.to_answer(Dialect::V1).into(),
    };
    match call
        .app
        .read(move |reader| reader.last_worker_id(&harvester))
        .await
    {
        Ok(id) => harvester_call::encode_worker_id(id).into(),
        Err(error) => failed(&error),
    }
}
