//! Calls about jobs that no pilot makes: Harvester's and people's.

use ailurus_model::{Command, PandaId};
use ailurus_server_core::ledger::Ledger;
use ailurus_wire::{Dialect, job_status as status_call};
use serde_json::{Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Shape, TIMEOUT, handler, list},
    failed,
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::get("job/get_status", handler!(status))
    .secure()
    .takes(&[list("job_ids").required().doc("the jobs"), TIMEOUT])
    .gives(Shape::List(&Shape::Object(&[
        ("status", Shape::Text),
        ("command", Shape::Text),
    ])))
    .by_harvester()
    .doc("Tells status and command of jobs in their order; who is not known is to be killed.")];

/// Tells status and command of jobs that a Harvester holds. One that is not known is to be killed.
async fn status(call: Call) -> Reply {
    let ids = match status_call::decode_request(Dialect::V1, &call.fields) {
        Ok(ids) => ids,
        Err(error) => return Reply::bad_request(Dialect::V1, &error),
    };
    let read = call
        .app
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
        Ok(states) => Reply::data(states),
        Err(error) => failed(&error),
    }
}

/// PanDA's word for a job that is to end.
const TO_BE_KILLED: &str = "tobekilled";
