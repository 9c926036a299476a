//! Calls of pilots about the worker nodes on which they run.

use ailurus_server_core::ledger::{GpuRecord, LedgerError, NodeRecord, NodeRows};
use ailurus_wire::{Dialect, node_map};
use serde_json::Value;

use crate::{
    knowledge::now,
    panda::{
        Call, Endpoint, Reply,
        endpoint::{Role, TIMEOUT, float, handler, int, text},
        failed,
    },
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("pilot/update_worker_node", handler!(node))
        .role(Role::Pilot)
        .takes(&[
            text("site").required().doc("the site"),
            text("host_name").required().doc("the node"),
            text("cpu_model").required().doc("its CPU"),
            text("panda_queue").doc("the queue"),
            int("n_logical_cpus").doc("CPUs as the kernel counts them"),
            int("n_sockets").doc("sockets"),
            int("cores_per_socket").doc("cores of a socket"),
            int("threads_per_core").doc("threads of a core"),
            text("cpu_architecture").doc("instruction set"),
            text("cpu_architecture_level").doc("its level"),
            float("clock_speed").doc("MHz"),
            int("total_memory").doc("MB"),
            int("total_local_disk").doc("GB"),
            TIMEOUT,
        ])
        .by_pilot()
        .doc("Takes what a worker node is."),
    Endpoint::post("pilot/update_worker_node_gpu", handler!(gpus))
        .role(Role::Pilot)
        .takes(&[
            text("site").required().doc("the site"),
            text("host_name").required().doc("the node"),
            text("vendor").required().doc("who makes the GPU"),
            text("model").required().doc("its model"),
            int("count").doc("how many"),
            int("vram").doc("memory of each in MB"),
            text("architecture").doc("the GPU's architecture"),
            text("framework").doc("how it is programmed"),
            text("framework_version").doc("version of that"),
            text("driver_version").doc("version of the driver"),
            TIMEOUT,
        ])
        .by_pilot()
        .doc("Takes which GPUs a worker node has."),
];

/// Takes what a worker node is.
async fn node(call: Call) -> Reply {
    let node = match node_map::decode_node(&call.fields) {
        Ok(node) => node,
        Err(error) => return Reply::bad_request(Dialect::V1, &error),
    };
    let record = NodeRecord {
        site: node.site,
        host: node.host_name,
        cpu_model: node.cpu_model,
        queue: node.queue,
        n_logical_cpus: node.n_logical_cpus,
        n_sockets: node.n_sockets,
        cores_per_socket: node.cores_per_socket,
        threads_per_core: node.threads_per_core,
        cpu_architecture: node.cpu_architecture,
        cpu_architecture_level: node.cpu_architecture_level,
        clock_mhz: node.clock_mhz,
        memory: node.memory,
        disk: node.disk,
        seen: now(),
    };
    let written = call.app.write(move |_, ledger| ledger.put_node(&record));
    noted(written.await, "worker node noted")
}

/// Takes which GPUs a worker node has.
async fn gpus(call: Call) -> Reply {
    let gpus = match node_map::decode_gpus(&call.fields) {
        Ok(gpus) => gpus,
        Err(error) => return Reply::bad_request(Dialect::V1, &error),
    };
    let record = GpuRecord {
        site: gpus.site,
        host: gpus.host_name,
        vendor: gpus.vendor,
        model: gpus.model,
        count: gpus.count,
        memory: gpus.memory,
        architecture: gpus.architecture,
        framework: gpus.framework,
        framework_version: gpus.framework_version,
        driver_version: gpus.driver_version,
        seen: now(),
    };
    let written = call.app.write(move |_, ledger| ledger.put_gpu(&record));
    noted(written.await, "GPUs noted")
}

fn noted(written: Result<(), ailurus_store::WriteError<LedgerError>>, message: &str) -> Reply {
    match written {
        Ok(()) => Reply::data_and_message(Value::Null, message),
        Err(error) => failed(&error),
    }
}
