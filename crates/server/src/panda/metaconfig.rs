//! Calls about what the server is told by configuration: PanDA's classes of jobs.

use ailurus_wire::{Answer, Dialect, Fields};
use serde_json::{Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{LegacyBody, Preset, Shape, handler, text},
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::legacy(
        "getResourceTypes",
        LegacyBody::FormOrJson,
        handler!(resource_types),
    )
    .gives(Shape::Object(&[("ResourceTypes", Shape::Any)]))
    .by_pilot()
    .doc("Lists PanDA's classes of cores and memory."),
    Endpoint::get("metaconfig/get_resource_types", handler!(resource_types))
        .gives(Shape::List(&Shape::Any))
        .by_harvester()
        .doc("Lists PanDA's classes of cores and memory."),
    Endpoint::get("metaconfig/get_site_specs", handler!(site_specs))
        .secure()
        .takes(&[text("type")
            .or(Preset::Text("analysis"))
            .doc("`analysis`, `production`, `unified` or `all`")])
        .gives(Shape::Map(&Shape::Any))
        .doc("Gives the data of the queues of a type; unified ones are of every type."),
    Endpoint::get("metaconfig/get_banned_users", handler!(banned_users))
        .secure()
        .gives(Shape::Map(&Shape::Flag))
        .doc("Lists users who may not call."),
];

/// The type of queues that run everything.
const UNIFIED: &str = "unified";
/// The word for every type.
const ALL: &str = "all";

/// Gives the data of queues.
async fn site_specs(call: Call) -> Reply {
    let wanted = call.text("type").unwrap_or_default();
    let knowledge = call.app.knowledge();
    let is_wanted = |record: &Value| {
        let kind = record.get("type").and_then(Value::as_str);
        wanted == ALL || kind.is_some_and(|kind| kind == wanted || kind == UNIFIED)
    };
    let found: serde_json::Map<String, Value> = knowledge
        .queue_records()
        .filter(|(_, record)| is_wanted(record))
        .map(|(name, record)| (name.to_owned(), site_spec(name, record)))
        .collect();
    Reply::data(found)
}

/// The record of a queue with the attributes under which clients look for its name and site.
fn site_spec(name: &str, record: &Value) -> Value {
    let mut spec = record.clone();
    if let Value::Object(spec) = &mut spec {
        spec.entry("sitename").or_insert_with(|| name.into());
        let site = record.get("atlas_site").or_else(|| record.get("site"));
        let site = site.cloned().unwrap_or_else(|| name.into());
        spec.entry("pandasite").or_insert(site);
    }
    spec
}

/// Lists the classes of jobs.
async fn resource_types(call: Call) -> Reply {
    let knowledge = call.app.knowledge();
    let types = &knowledge.scheduling.resource_types;
    let list: Vec<Value> = types
        .table()
        .iter()
        .map(|class| {
            json!({"resource_name": class.name, "mincore": class.cores_min,
                "maxcore": class.cores_max, "minrampercore": class.mb_per_core_min,
                "maxrampercore": class.mb_per_core_max})
        })
        .collect();
    match call.dialect {
        Dialect::Legacy => {
            let mut fields = Fields::new();
            fields.put("Returns", 0);
            fields.put("ResourceTypes", list);
            Answer::success(call.dialect, fields).into()
        }
        Dialect::V1 => Reply::data(list),
    }
}

/// Lists who may not call, in PanDA's form: none of them may.
async fn banned_users(call: Call) -> Reply {
    let banned = call.app.identities.banned();
    let users: serde_json::Map<String, Value> = banned
        .iter()
        .map(|name| (name.clone(), Value::Bool(false)))
        .collect();
    Reply::data(users)
}
