//! Tells the server what this node and its GPUs are, once, besides everything else.
//!
//! The maps are also kept in the pilot's directory, as Pilot 3's. Nobody waits for them.

use std::{fs, path::Path};

use ailurus_model::{NodeName, Queue};
use ailurus_node::{GpuFacts, GpuTool, NodeFacts};
use ailurus_wire::{
    Fields,
    body::encode_json,
    node_map,
    node_map::{GpuMap, NodeMap},
};

use super::call::Calls;
use crate::log;

/// The copy of the node's map.
const NODE_FILE: &str = "workernode_map.json";
/// The copy of the GPUs' map.
const GPU_FILE: &str = "gpu_map.json";
/// What is said where the driver does not.
const UNKNOWN: &str = "Unknown";

/// Describes a node for the server.
pub(super) fn map_of(facts: &NodeFacts, node: &NodeName, queue: &Queue) -> NodeMap {
    let cpu = &facts.cpu;
    NodeMap {
        site: queue.site.clone(),
        queue: queue.name.clone(),
        host_name: node.clone(),
        cpu_model: if cpu.model.is_empty() {
            "UNKNOWN".to_owned()
        } else {
            format!("{} {}", cpu.model, cpu.cache).trim().to_owned()
        },
        n_logical_cpus: cpu.n_processors,
        n_sockets: cpu.n_sockets,
        cores_per_socket: cpu.cores_per_socket,
        threads_per_core: cpu.threads_per_core(),
        cpu_architecture: facts.architecture.to_owned(),
        cpu_architecture_level: cpu.architecture_level().to_owned(),
        clock_mhz: cpu.mhz,
        memory: facts.memory_total,
        disk: facts.disk_total,
    }
}

/// Describes GPUs for the server; none if there are none. All are taken to be like the first.
pub(super) fn gpus_of(gpus: &GpuFacts, facts: &NodeFacts, queue: &Queue) -> Option<GpuMap> {
    let first = gpus.cards.first()?;
    Some(GpuMap {
        site: queue.site.clone(),
        host_name: facts.host_name.clone(),
        vendor: "NVIDIA".to_owned(),
        model: first.name.clone(),
        count: u32::try_from(gpus.cards.len()).unwrap_or(u32::MAX),
        memory: first.memory,
        architecture: first.architecture().to_owned(),
        framework: "CUDA".to_owned(),
        framework_version: or_unknown(&gpus.cuda),
        driver_version: or_unknown(&first.driver),
    })
}

fn or_unknown(text: &str) -> String {
    let text = if text.is_empty() { UNKNOWN } else { text };
    text.to_owned()
}

/// Sends both maps. `path` is where programs are looked for.
pub(super) fn tell(
    calls: &Calls,
    home: &Path,
    (facts, node): (&NodeFacts, &NodeName),
    queue: &Queue,
    path: &str,
) {
    let fields = node_map::encode_node(&map_of(facts, node, queue));
    send(calls, home, (NODE_FILE, node_map::NODE_PATH), &fields);
    let gpus = GpuTool::find(path).and_then(|mut tool| tool.facts());
    if let Some(map) = gpus.and_then(|gpus| gpus_of(&gpus, facts, queue)) {
        let fields = node_map::encode_gpus(&map);
        send(calls, home, (GPU_FILE, node_map::GPU_PATH), &fields);
    }
}

fn send(calls: &Calls, home: &Path, (file, path): (&str, &str), fields: &Fields) {
    if let Err(error) = fs::write(home.join(file), encode_json(fields)) {
        tracing::debug!("`{file}` cannot be written: {error}");
    }
    let told = calls
        .post_v1(path, fields)
        .map_err(super::call::CallError::into_text)
        .and_then(|bytes| node_map::decode_answer(&bytes).map_err(|error| log::chain(&error)));
    if let Err(why) = told {
        tracing::debug!("`{file}` is not known to the server: {why}");
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::{ByteCount, QueueName};
    use ailurus_node::GpuCard;

    use super::*;

    fn queue() -> Queue {
        let data = br#"{"nickname": "Q", "atlas_site": "JINR", "state": "ACTIVE"}"#;
        ailurus_wire::queue_data::decode(data, &QueueName::new("Q")).expect("a queue")
    }

    #[test]
    fn this_node_is_described_whole() {
        let facts = ailurus_node::node_facts();
        let map = map_of(&facts, &NodeName::new("slot1@wn1"), &queue());
        assert_eq!((map.site.as_str(), map.queue.as_str()), ("JINR", "Q"));
        assert_eq!(map.host_name.as_str(), "slot1@wn1");
        assert!(map.n_logical_cpus >= 1 && map.memory > ByteCount::ZERO);
        assert!(!map.cpu_model.is_empty() && !map.cpu_architecture.is_empty());
    }

    #[test]
    fn gpus_are_counted_and_what_is_not_known_is_said() {
        let facts = ailurus_node::node_facts();
        assert_eq!(gpus_of(&GpuFacts::default(), &facts, &queue()), None);
        let card = GpuCard {
            name: "NVIDIA A100-PCIE-40GB".into(),
            memory: ByteCount::from_mib(40_536),
            driver: String::new(),
            clock_mhz: 0,
        };
        let gpus = GpuFacts {
            cards: vec![card.clone(), card],
            cuda: "12.4".into(),
        };
        let map = gpus_of(&gpus, &facts, &queue()).expect("GPUs");
        assert_eq!((map.count, map.architecture.as_str()), (2, "Ampere"));
        assert_eq!(
            (map.framework_version.as_str(), map.driver_version.as_str()),
            ("12.4", "Unknown")
        );
    }
}
