//! Calls of Harvesters about themselves and their workers.
//!
//! The server gives Harvesters no commands and keeps no statistics of theirs: how many workers a
//! queue has follows from the workers that they report.

use ailurus_model::{Command, PandaId};
use ailurus_server_core::{ledger::Ledger, update_workers as update};
use ailurus_wire::{
    Answer, Dialect, Envelope, Fields, RequestError, harvester_call, job_status as status_call,
    worker_text,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    panda::{Reply, failed},
};

/// Takes a sign of life.
pub(super) fn heartbeat(fields: &Fields) -> Reply {
    done(harvester_call::decode_heartbeat(fields).map(|heartbeat| {
        tracing::debug!(harvester.id = %heartbeat.harvester_id, "heartbeat");
    }))
}

/// Takes worker statistics.
pub(super) fn worker_statistics(fields: &Fields) -> Reply {
    done(harvester_call::decode_statistics(fields).map(drop))
}

/// Gives commands: none.
pub(super) fn commands(fields: &Fields) -> Reply {
    match harvester_call::decode_commands_request(fields) {
        Ok(_) => harvester_call::encode_commands(&[]).into(),
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
}

/// Takes the acknowledgement of commands.
pub(super) fn acknowledge(fields: &Fields) -> Reply {
    done(harvester_call::decode_acknowledgement(fields).map(drop))
}

fn done(result: Result<(), RequestError>) -> Reply {
    match result {
        Ok(()) => Answer::done(Dialect::V1).into(),
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
}

/// Takes what a Harvester reports about its workers. A worker that makes no sense is not taken,
/// the others are.
pub(super) async fn update_workers(app: &App, fields: &Fields) -> Reply {
    let reported = match worker_text::decode_request(fields) {
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
    match app
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
pub(super) async fn last_worker_id(app: &App, fields: &Fields) -> Reply {
    let harvester = match harvester_call::decode_worker_id_request(fields) {
        Ok(harvester) => harvester,
        Err(error) => return error.to_answer(Dialect::V1).into(),
    };
    match app
        .read(move |reader| reader.last_worker_id(&harvester))
        .await
    {
        Ok(id) => harvester_call::encode_worker_id(id).into(),
        Err(error) => failed(&error),
    }
}

/// Tells status and command of jobs that a Harvester holds. One that is not known is to be killed.
pub(super) async fn job_status(app: &App, fields: &Fields) -> Reply {
    let ids = match status_call::decode_request(Dialect::V1, fields) {
        Ok(ids) => ids,
        Err(error) => return error.to_answer(Dialect::V1).into(),
    };
    let read = app
        .read(move |reader| {
            let state = |id: &PandaId| {
                reader.ledger().job(*id).map(|job| match job {
                    Some(job) => json!({
                        "status": job.status,
                        "command": (job.command == Some(Command::ToBeKilled)).then_some(TO_BE_KILLED),
                    }),
                    None => json!({"status": null, "command": TO_BE_KILLED}),
                })
            };
            ids.iter().map(state).collect::<Result<Vec<Value>, _>>()
        })
        .await;
    match read {
        Ok(states) => Envelope::success(states).into(),
        Err(error) => failed(&error),
    }
}

/// PanDA's word for a job that is to end.
const TO_BE_KILLED: &str = "tobekilled";
