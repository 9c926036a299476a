//! Calls of Harvesters about themselves and their workers.

use ailurus_server_core::update_workers as update;
use ailurus_wire::{Answer, Dialect, RequestError, harvester_call, worker_text};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Preset, Role, Shape, dict, handler, int, list, text},
    failed,
};

/// How long Harvester would wait for commands, in seconds: not looked at.
const TIMEOUT: crate::panda::endpoint::Parameter = int("timeout")
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
    Endpoint::post("harvester/add_dialogs", handler!(accept))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            list("dialogs").required().doc("messages for people"),
        ])
        .by_harvester()
        .doc("Takes messages for people."),
    Endpoint::post("harvester/update_service_metrics", handler!(accept))
        .secure()
        .takes(&[
            text("harvester_id").required().doc("the instance"),
            list("metrics").required().doc("lists of time, host, and what was measured"),
        ])
        .by_harvester()
        .doc("Takes what an instance measures of its machine."),
];

/// Takes what is not kept.
async fn accept(call: Call) -> Reply {
    Answer::done(call.dialect).into()
}

/// Takes a sign of life.
async fn heartbeat(call: Call) -> Reply {
    done(
        harvester_call::decode_heartbeat(&call.fields).map(|heartbeat| {
            tracing::debug!(harvester.id = %heartbeat.harvester_id, "heartbeat");
        }),
    )
}

/// Takes worker statistics.
async fn worker_statistics(call: Call) -> Reply {
    done(harvester_call::decode_statistics(&call.fields).map(drop))
}

/// Gives commands: none.
async fn commands(call: Call) -> Reply {
    match harvester_call::decode_commands_request(&call.fields) {
        Ok(_) => harvester_call::encode_commands(&[]).into(),
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
}

/// Takes the acknowledgement of commands.
async fn acknowledge(call: Call) -> Reply {
    done(harvester_call::decode_acknowledgement(&call.fields).map(drop))
}

fn done(result: Result<(), RequestError>) -> Reply {
    match result {
        Ok(()) => Answer::done(Dialect::V1).into(),
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
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
