//! Calls of PanDA's services that this server does not have: it says so, in PanDA's form.
//!
//! Searching the log files of PanDA's machines and staging from tape through its data carousel
//! belong to programs beside PanDA's server.

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Parameter, Role, Shape, handler, int, text},
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("async_process/submit_grep_request", handler!(no_searches))
        .role(Role::Production)
        .takes(&[
            text("pattern").required().doc("what to look for"),
            text("log_filename").required().doc("in which log"),
            text("service_name").doc("of which service"),
            text("machine_name").doc("on which machine"),
        ])
        .gives(Shape::Any)
        .doc("Would search logs: this server does not, its log is its operator's."),
    Endpoint::post(
        "async_process/submit_sleep_echo_request",
        handler!(no_searches),
    )
    .role(Role::Production)
    .ignores_unknown()
    .gives(Shape::Any)
    .doc("Would test the search of logs: this server has none."),
    Endpoint::get("async_process/get_result", handler!(no_searches))
        .role(Role::Production)
        .takes(&[text("request_id").required().doc("which search")])
        .gives(Shape::Any)
        .doc("Would give what a search of logs has found: this server has none."),
    Endpoint::post(
        "data_carousel/change_staging_destination",
        handler!(no_carousel),
    )
    .role(Role::Production)
    .takes(REQUEST)
    .gives(Shape::Any)
    .doc("Would stage to another place: this server has no data carousel."),
    Endpoint::post("data_carousel/change_staging_source", handler!(no_carousel))
        .role(Role::Production)
        .takes(REQUEST)
        .gives(Shape::Any)
        .doc("Would stage from another place: this server has no data carousel."),
    Endpoint::post("data_carousel/force_to_staging", handler!(no_carousel))
        .role(Role::Production)
        .takes(REQUEST)
        .gives(Shape::Any)
        .doc("Would stage at once: this server has no data carousel."),
    Endpoint::post("data_carousel/retire_unused", handler!(no_carousel))
        .role(Role::Production)
        .takes(REQUEST)
        .gives(Shape::Any)
        .doc("Would forget what nobody reads: this server has no data carousel."),
];

const REQUEST: &[Parameter] = &[
    int("request_id").doc("which request"),
    text("dataset").doc("which dataset"),
];

async fn no_searches(_call: Call) -> Reply {
    Reply::refusal("this server does not search logs: ask its operator for its log")
}

async fn no_carousel(_call: Call) -> Reply {
    Reply::refusal("this server has no data carousel: stage the dataset with Rucio")
}
