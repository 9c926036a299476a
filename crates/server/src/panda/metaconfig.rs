//! Calls about what the server is told by configuration: PanDA's classes of jobs.

use ailurus_wire::{Answer, Dialect, Fields};
use serde_json::{Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{LegacyBody, Shape, handler},
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
];

/// One of PanDA's classes of jobs. No largest value means no limit.
struct ResourceType {
    name: &'static str,
    cores_min: u32,
    cores_max: Option<u32>,
    mb_per_core_min: u32,
    mb_per_core_max: Option<u32>,
}

/// PanDA's classes of jobs.
///
/// Source: PanDA server's default table of resource types; `server-core` classes jobs by it.
const RESOURCE_TYPES: [ResourceType; 4] = [
    ResourceType {
        name: "SCORE",
        cores_min: 1,
        cores_max: Some(1),
        mb_per_core_min: 0,
        mb_per_core_max: Some(2000),
    },
    ResourceType {
        name: "SCORE_HIMEM",
        cores_min: 1,
        cores_max: Some(1),
        mb_per_core_min: 2001,
        mb_per_core_max: None,
    },
    ResourceType {
        name: "MCORE",
        cores_min: 2,
        cores_max: None,
        mb_per_core_min: 0,
        mb_per_core_max: Some(2000),
    },
    ResourceType {
        name: "MCORE_HIMEM",
        cores_min: 2,
        cores_max: None,
        mb_per_core_min: 2001,
        mb_per_core_max: None,
    },
];

/// Lists the classes of jobs.
async fn resource_types(call: Call) -> Reply {
    let list: Vec<Value> = RESOURCE_TYPES
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
