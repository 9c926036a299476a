//! Calls of pilots about the worker nodes on which they run.

use ailurus_wire::Answer;

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Role, TIMEOUT, float, handler, int, text},
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("pilot/update_worker_node", handler!(accept))
        .role(Role::Production)
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
    Endpoint::post("pilot/update_worker_node_gpu", handler!(accept))
        .role(Role::Production)
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

/// Takes what is not kept.
async fn accept(call: Call) -> Reply {
    Answer::done(call.dialect).into()
}
