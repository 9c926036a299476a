//! The worker nodes on which pilots run, and their GPUs, as pilots describe them.

use ailurus_model::{ByteCount, NodeName, QueueName, Timestamp};

use crate::ledger::LedgerError;

/// A worker node with one kind of CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRecord {
    /// Its site.
    pub site: String,
    /// Its name.
    pub host: NodeName,
    /// Its CPU.
    pub cpu_model: String,
    /// The queue of the pilot that described it.
    pub queue: QueueName,
    /// CPUs as its kernel counts them.
    pub n_logical_cpus: u32,
    /// Sockets.
    pub n_sockets: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Instruction set.
    pub cpu_architecture: String,
    /// The level of the instruction set.
    pub cpu_architecture_level: String,
    /// Clock in MHz.
    pub clock_mhz: f64,
    /// Memory.
    pub memory: ByteCount,
    /// Local disk.
    pub disk: ByteCount,
    /// When a pilot described it last.
    pub seen: Timestamp,
}

/// The GPUs of one model in a worker node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRecord {
    /// The node's site.
    pub site: String,
    /// The node's name.
    pub host: NodeName,
    /// Who makes them.
    pub vendor: String,
    /// Their model.
    pub model: String,
    /// How many.
    pub count: u32,
    /// Memory of each.
    pub memory: ByteCount,
    /// Their architecture.
    pub architecture: String,
    /// How they are programmed.
    pub framework: String,
    /// The version of that.
    pub framework_version: String,
    /// The version of their driver.
    pub driver_version: String,
    /// When a pilot described them last.
    pub seen: Timestamp,
}

/// Keeps worker nodes and their GPUs.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait NodeRows {
    /// Writes a node in place of what was known of it.
    fn put_node(&mut self, node: &NodeRecord) -> Result<(), LedgerError>;
    /// Lists the nodes of a site, by name, then CPU, `limit` at most.
    fn nodes_of(&self, site: &str, limit: usize) -> Result<Vec<NodeRecord>, LedgerError>;
    /// Writes GPUs in place of what was known of them.
    fn put_gpu(&mut self, gpu: &GpuRecord) -> Result<(), LedgerError>;
    /// Lists the GPUs of a site, by node, vendor and model, `limit` at most.
    fn gpus_of(&self, site: &str, limit: usize) -> Result<Vec<GpuRecord>, LedgerError>;
}
