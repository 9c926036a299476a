//! Calls about the server as a whole: whether it is there, what its queues have, PanDA's classes
//! of jobs.

use ailurus_wire::{Answer, Dialect, Envelope, Fields, system_call};
use serde_json::{Value, json};

use crate::{
    app::App,
    panda::{Reply, failed},
};

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

/// Says that the server is there.
pub(super) fn is_alive(dialect: Dialect) -> Reply {
    Reply::Bytes(system_call::encode_is_alive(dialect))
}

/// Lists the classes of jobs.
pub(super) fn resource_types(dialect: Dialect) -> Reply {
    let list: Vec<Value> = RESOURCE_TYPES
        .iter()
        .map(|class| {
            json!({"resource_name": class.name, "mincore": class.cores_min,
                "maxcore": class.cores_max, "minrampercore": class.mb_per_core_min,
                "maxrampercore": class.mb_per_core_max})
        })
        .collect();
    match dialect {
        Dialect::Legacy => {
            let mut fields = Fields::new();
            fields.put("Returns", 0);
            fields.put("ResourceTypes", list);
            Answer::success(dialect, fields).into()
        }
        Dialect::V1 => Envelope::success(list).into(),
    }
}

/// Counts the jobs of every queue that have not ended.
pub(super) async fn jobs_by_queue(app: &App) -> Reply {
    match app.read(|reader| reader.queue_counts()).await {
        Ok(mut counts) => {
            for queue in app.knowledge().queues.keys() {
                counts.entry(queue.clone()).or_default();
            }
            system_call::encode_job_statistics(&counts).into()
        }
        Err(error) => failed(&error),
    }
}
