//! What a worker node and its GPUs are: v1 `pilot/update_worker_node` and
//! `pilot/update_worker_node_gpu`. The legacy dialect has no such calls.
//!
//! Servers keep one row a host and model; a failure harms nothing.
//!
//! Source: Pilot 3, `pilot/util/workernode.py`, `get_workernode_map` and
//! `get_workernode_gpu_map`; PanDA server, `pandaserver/api/v1/pilot_api.py`.

use ailurus_model::{ByteCount, NodeName, QueueName};
use serde_json::{Number, Value};

use crate::{
    answer::{Answer, AnswerError},
    fields::Fields,
    table::{Dialect, Reader, Writer, field_table},
    v1::RequestError,
};

/// The path of the call about the node, below the server's address.
pub const NODE_PATH: &str = "/api/v1/pilot/update_worker_node";
/// The path of the call about its GPUs.
pub const GPU_PATH: &str = "/api/v1/pilot/update_worker_node_gpu";

const BYTES_PER_GB: u64 = 1_000_000_000;

field_table!(NODE_FIELDS {
    SITE = text("", "site").required();
    HOST = text("", "host_name").required();
    CPU_MODEL = text("", "cpu_model").required();
    QUEUE = text("", "panda_queue");
    N_CPUS = int("", "n_logical_cpus");
    N_SOCKETS = int("", "n_sockets");
    CORES = int("", "cores_per_socket");
    THREADS = int("", "threads_per_core");
    ARCHITECTURE = text("", "cpu_architecture");
    LEVEL = text("", "cpu_architecture_level");
    CLOCK = number("", "clock_speed");
    MEMORY = int("", "total_memory");
    DISK = int("", "total_local_disk");
    _TIMEOUT = int("", "timeout");
});

field_table!(GPU_FIELDS {
    GPU_SITE = text("", "site").required();
    GPU_HOST = text("", "host_name").required();
    VENDOR = text("", "vendor").required();
    MODEL = text("", "model").required();
    COUNT = int("", "count");
    VRAM = int("", "vram");
    GPU_ARCHITECTURE = text("", "architecture");
    FRAMEWORK = text("", "framework");
    FRAMEWORK_VERSION = text("", "framework_version");
    DRIVER_VERSION = text("", "driver_version");
    _GPU_TIMEOUT = int("", "timeout");
});

/// What a worker node is. Numbers that are not known are zero, texts empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeMap {
    /// The site of the queue.
    pub site: String,
    /// The queue that the pilot serves.
    pub queue: QueueName,
    /// The node, with its slot if it has one.
    pub host_name: NodeName,
    /// Model and cache of the first processor.
    pub cpu_model: String,
    /// Logical processors.
    pub n_logical_cpus: u32,
    /// Processor packages.
    pub n_sockets: u32,
    /// Cores of a package.
    pub cores_per_socket: u32,
    /// Logical processors of a core.
    pub threads_per_core: u32,
    /// For example `x86_64`.
    pub cpu_architecture: String,
    /// For example `x86-64-v3`.
    pub cpu_architecture_level: String,
    /// Clock of the first processor in MHz.
    pub clock_mhz: f64,
    /// Memory of the machine; written in MiB.
    pub memory: ByteCount,
    /// Disks of the machine; written in GB.
    pub disk: ByteCount,
}

/// The GPUs of a worker node, all of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuMap {
    /// The site of the queue.
    pub site: String,
    /// The node, without slot.
    pub host_name: NodeName,
    /// For example `NVIDIA`.
    pub vendor: String,
    /// For example `NVIDIA A100-SXM4-40GB`.
    pub model: String,
    /// How many there are.
    pub count: u32,
    /// Memory of one; written in MiB.
    pub memory: ByteCount,
    /// For example `Ampere`.
    pub architecture: String,
    /// For example `CUDA`.
    pub framework: String,
    /// Its version, `Unknown` if it is not.
    pub framework_version: String,
    /// Version of the driver.
    pub driver_version: String,
}

/// Writes what a node is.
#[must_use]
pub fn encode_node(node: &NodeMap) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&SITE, node.site.as_str());
    out.put(&HOST, node.host_name.as_str());
    out.put(&CPU_MODEL, node.cpu_model.as_str());
    out.put(&QUEUE, node.queue.as_str());
    out.whole(&N_CPUS, node.n_logical_cpus);
    out.whole(&N_SOCKETS, node.n_sockets);
    out.whole(&CORES, node.cores_per_socket);
    out.whole(&THREADS, node.threads_per_core);
    out.text(&ARCHITECTURE, &node.cpu_architecture);
    out.text(&LEVEL, &node.cpu_architecture_level);
    // The server takes a number with fraction only.
    if let Some(clock) = Number::from_f64(node.clock_mhz).filter(|_| node.clock_mhz > 0.0) {
        out.put(&CLOCK, Value::Number(clock));
    }
    out.whole(&MEMORY, node.memory.as_mib());
    out.whole(&DISK, node.disk.as_bytes() / BYTES_PER_GB);
    out.finish()
}

/// Writes which GPUs a node has.
#[must_use]
pub fn encode_gpus(gpus: &GpuMap) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&GPU_SITE, gpus.site.as_str());
    out.put(&GPU_HOST, gpus.host_name.as_str());
    out.put(&VENDOR, gpus.vendor.as_str());
    out.put(&MODEL, gpus.model.as_str());
    out.whole(&COUNT, gpus.count);
    out.whole(&VRAM, gpus.memory.as_mib());
    out.text(&GPU_ARCHITECTURE, &gpus.architecture);
    out.text(&FRAMEWORK, &gpus.framework);
    out.text(&FRAMEWORK_VERSION, &gpus.framework_version);
    out.text(&DRIVER_VERSION, &gpus.driver_version);
    out.finish()
}

/// Reads what a node is.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1.
pub fn decode_node(fields: &Fields) -> Result<NodeMap, RequestError> {
    let message = Reader::of_request(Dialect::V1, NODE_FIELDS, fields)?;
    let whole = |field| message.whole_if_any(field).unwrap_or(0);
    let size = |field, unit: u64| {
        let number: u64 = message.whole_if_any(field).unwrap_or(0);
        ByteCount::from_bytes(number.saturating_mul(unit))
    };
    Ok(NodeMap {
        site: message.text(&SITE),
        queue: QueueName::new(message.text(&QUEUE)),
        host_name: NodeName::new(message.text(&HOST)),
        cpu_model: message.text(&CPU_MODEL),
        n_logical_cpus: whole(&N_CPUS),
        n_sockets: whole(&N_SOCKETS),
        cores_per_socket: whole(&CORES),
        threads_per_core: whole(&THREADS),
        cpu_architecture: message.text(&ARCHITECTURE),
        cpu_architecture_level: message.text(&LEVEL),
        clock_mhz: message.number_if_any(&CLOCK).unwrap_or(0.0),
        memory: size(&MEMORY, 1 << 20),
        disk: size(&DISK, BYTES_PER_GB),
    })
}

/// Reads which GPUs a node has.
///
/// # Errors
///
/// [`RequestError`] if the message breaks the rules of v1.
pub fn decode_gpus(fields: &Fields) -> Result<GpuMap, RequestError> {
    let message = Reader::of_request(Dialect::V1, GPU_FIELDS, fields)?;
    Ok(GpuMap {
        site: message.text(&GPU_SITE),
        host_name: NodeName::new(message.text(&GPU_HOST)),
        vendor: message.text(&VENDOR),
        model: message.text(&MODEL),
        count: message.whole_if_any(&COUNT).unwrap_or(0),
        memory: ByteCount::from_mib(message.whole_if_any(&VRAM).unwrap_or(0)),
        architecture: message.text(&GPU_ARCHITECTURE),
        framework: message.text(&FRAMEWORK),
        framework_version: message.text(&FRAMEWORK_VERSION),
        driver_version: message.text(&DRIVER_VERSION),
    })
}

/// Reads the answer to either call.
///
/// # Errors
///
/// [`AnswerError`] if the server did not keep it.
pub fn decode_answer(bytes: &[u8]) -> Result<(), AnswerError> {
    Answer::parse(Dialect::V1, bytes)?.into_data().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeMap {
        NodeMap {
            site: "JINR".into(),
            queue: QueueName::new("Q"),
            host_name: NodeName::new("slot1@wn1"),
            cpu_model: "AMD EPYC 7B12 512 KB".into(),
            n_logical_cpus: 16,
            n_sockets: 2,
            cores_per_socket: 4,
            threads_per_core: 2,
            cpu_architecture: "x86_64".into(),
            cpu_architecture_level: String::new(),
            clock_mhz: 2000.0,
            memory: ByteCount::from_mib(24_105),
            disk: ByteCount::from_bytes(500 * BYTES_PER_GB),
        }
    }

    #[test]
    fn a_node_is_written_as_the_server_takes_it() {
        let fields = encode_node(&node());
        let text = fields.clone().into_value().to_string();
        assert!(text.contains(r#""clock_speed":2000.0"#), "{text}");
        assert!(text.contains(r#""total_local_disk":500"#), "{text}");
        assert!(!text.contains("cpu_architecture_level"), "{text}");
        assert_eq!(decode_node(&fields), Ok(node()));
    }

    #[test]
    fn an_unknown_clock_is_left_out() {
        for clock_mhz in [0.0, f64::NAN, f64::INFINITY] {
            let fields = encode_node(&NodeMap {
                clock_mhz,
                ..node()
            });
            assert!(!fields.has("clock_speed"));
        }
    }

    #[test]
    fn gpus_survive_the_way() {
        let gpus = GpuMap {
            site: "JINR".into(),
            host_name: NodeName::new("wn1"),
            vendor: "NVIDIA".into(),
            model: "A100".into(),
            count: 4,
            memory: ByteCount::from_mib(40_536),
            architecture: "Ampere".into(),
            framework: "CUDA".into(),
            framework_version: "12.4".into(),
            driver_version: "550.54".into(),
        };
        assert_eq!(decode_gpus(&encode_gpus(&gpus)), Ok(gpus));
        assert!(decode_answer(br#"{"success": true, "message": "", "data": null}"#).is_ok());
        assert!(decode_answer(b"<html>").is_err());
    }
}
