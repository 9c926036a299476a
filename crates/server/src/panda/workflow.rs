//! Calls about workflows: what `pchain` submits, and what is relayed to iDDS.
//!
//! Workflows as such are not carried out by this server: chains of tasks are, each submitted with
//! its parent. Whoever submits one is told so at once; the real server takes it and says no later.
//!
//! Source: PanDA server, `pandaserver/api/v1/workflow_api.py`, `idds_api.py`.

use serde_json::{Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{LegacyBody, Preset, Shape, anything, dict, flag, handler, int, text},
};

const NO_WORKFLOWS: &str = "this server does not carry out workflows: submit the steps with `prun \
                            --parentTaskID`, or as one chain with `ailurus task submit`";
const NO_IDDS: &str = "this server has no iDDS";

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("workflow/submit_workflow_raw_request", handler!(refuse))
        .secure()
        .by_client()
        .takes(&[anything("params")
            .required()
            .doc("what `pchain` makes of its arguments")])
        .gives(Shape::Object(&[("workflow_id", Shape::Int)]))
        .doc("Refused: this server does not carry out workflows."),
    Endpoint::post("workflow/submit_workflow", handler!(refuse))
        .secure()
        .takes(&[dict("workflow_definition").required().doc("the steps")])
        .gives(Shape::Object(&[("workflow_id", Shape::Int)]))
        .doc("Refused: this server does not carry out workflows."),
    Endpoint::get("workflow/get_workflow_details", handler!(details))
        .secure()
        .by_client()
        .takes(&[int("workflow_id").required().doc("the workflow")])
        .doc("Tells steps and progress of a workflow; none is known."),
    Endpoint::post("file_server/upload_workflow_request", handler!(refuse))
        .secure()
        .takes(&[
            text("data").required().doc("the request, as JSON text"),
            flag("dry_run").or(Preset::Bool(false)).doc("only check it"),
            flag("sync")
                .or(Preset::Bool(false))
                .doc("answer when it is done"),
        ])
        .doc("Refused: this server does not carry out workflows."),
    Endpoint::legacy(
        "put_workflow_request",
        LegacyBody::Json,
        handler!(refuse_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: this server does not carry out workflows."),
    Endpoint::post("idds/relay_idds_command", handler!(no_idds))
        .secure()
        .takes(&[
            text("command_name").required(),
            anything("args"),
            anything("kwargs"),
            flag("manager").or(Preset::Bool(false)),
            flag("json_outputs").or(Preset::Bool(false)),
        ])
        .doc("Refused: there is no iDDS here."),
    Endpoint::post("idds/execute_idds_workflow_command", handler!(no_idds))
        .secure()
        .takes(&[
            text("command_name").required(),
            anything("kwargs"),
            flag("json_outputs").or(Preset::Bool(false)),
        ])
        .doc("Refused: there is no iDDS here."),
    Endpoint::legacy(
        "relay_idds_command",
        LegacyBody::Json,
        handler!(no_idds_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: there is no iDDS here."),
    Endpoint::legacy(
        "execute_idds_workflow_command",
        LegacyBody::Json,
        handler!(no_idds_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: there is no iDDS here."),
];

async fn refuse(_call: Call) -> Reply {
    Reply::refusal(NO_WORKFLOWS)
}

/// Who asks for a check reads a log, who submits reads a pair.
async fn refuse_legacy(call: Call) -> Reply {
    Reply::Json(if call.flag("check") {
        json!([true, {"status": false, "request_id": Value::Null, "log": NO_WORKFLOWS}])
    } else {
        json!([false, NO_WORKFLOWS])
    })
}

async fn details(call: Call) -> Reply {
    let id = call.text("workflow_id").unwrap_or_default();
    Reply::refusal(format!("workflow {id} is not known: {NO_WORKFLOWS}"))
}

async fn no_idds(_call: Call) -> Reply {
    Reply::refusal(NO_IDDS)
}

async fn no_idds_legacy(_call: Call) -> Reply {
    Reply::Json(json!([false, NO_IDDS]))
}
