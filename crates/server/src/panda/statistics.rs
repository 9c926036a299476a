//! Calls about how many jobs there are.

use ailurus_wire::system_call;

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Shape, handler},
    failed,
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::get(
    "statistics/active_job_stats_by_site",
    handler!(jobs_by_queue),
)
.gives(Shape::Map(&Shape::Map(&Shape::Int)))
.by_harvester()
.doc("Counts the jobs of every queue that have not ended by status.")];

/// Counts the jobs of every queue that have not ended.
async fn jobs_by_queue(call: Call) -> Reply {
    match call.app.read(|reader| reader.queue_counts()).await {
        Ok(mut counts) => {
            for queue in call.app.knowledge().queues.keys() {
                counts.entry(queue.clone()).or_default();
            }
            system_call::encode_job_statistics(&counts).into()
        }
        Err(error) => failed(&error),
    }
}
