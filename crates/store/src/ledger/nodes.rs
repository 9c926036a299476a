//! Statements over worker nodes and their GPUs.

use ailurus_server_core::ledger::{GpuRecord, LedgerError, NodeRecord, NodeRows};

use crate::{DatabaseLedger, ledger::failed, sql::params};

impl NodeRows for DatabaseLedger {
    fn put_node(&mut self, node: &NodeRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO worker_node
                     (site, host, cpu_model, queue, n_logical_cpus, n_sockets, cores_per_socket,
                      threads_per_core, cpu_architecture, cpu_architecture_level, clock_mhz,
                      memory, disk, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
                 ON CONFLICT (site, host, cpu_model) DO UPDATE SET
                     queue = ?4, n_logical_cpus = ?5, n_sockets = ?6, cores_per_socket = ?7,
                     threads_per_core = ?8, cpu_architecture = ?9, cpu_architecture_level = ?10,
                     clock_mhz = ?11, memory = ?12, disk = ?13, seen = ?14",
                params![
                    node.site,
                    node.host,
                    node.cpu_model,
                    node.queue,
                    node.n_logical_cpus,
                    node.n_sockets,
                    node.cores_per_socket,
                    node.threads_per_core,
                    node.cpu_architecture,
                    node.cpu_architecture_level,
                    node.clock_mhz,
                    node.memory,
                    node.disk,
                    node.seen,
                ],
            )
            .map(drop)
            .map_err(failed(|| format!("write worker node `{}`", node.host)))
    }

    fn nodes_of(&self, site: &str, limit: usize) -> Result<Vec<NodeRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT site, host, cpu_model, queue, n_logical_cpus, n_sockets, cores_per_socket,
                        threads_per_core, cpu_architecture, cpu_architecture_level, clock_mhz,
                        memory, disk, seen
                 FROM worker_node WHERE site = ?1 ORDER BY host, cpu_model LIMIT ?2",
                params![site, limit],
                |columns| {
                    Ok(NodeRecord {
                        site: columns.take()?,
                        host: columns.take()?,
                        cpu_model: columns.take()?,
                        queue: columns.take()?,
                        n_logical_cpus: columns.take()?,
                        n_sockets: columns.take()?,
                        cores_per_socket: columns.take()?,
                        threads_per_core: columns.take()?,
                        cpu_architecture: columns.take()?,
                        cpu_architecture_level: columns.take()?,
                        clock_mhz: columns.take()?,
                        memory: columns.take()?,
                        disk: columns.take()?,
                        seen: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list worker nodes of site `{site}`")))
    }

    fn put_gpu(&mut self, gpu: &GpuRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO worker_node_gpu
                     (site, host, vendor, model, n_gpus, memory, architecture, framework,
                      framework_version, driver_version, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (site, host, vendor, model) DO UPDATE SET
                     n_gpus = ?5, memory = ?6, architecture = ?7, framework = ?8,
                     framework_version = ?9, driver_version = ?10, seen = ?11",
                params![
                    gpu.site,
                    gpu.host,
                    gpu.vendor,
                    gpu.model,
                    gpu.count,
                    gpu.memory,
                    gpu.architecture,
                    gpu.framework,
                    gpu.framework_version,
                    gpu.driver_version,
                    gpu.seen,
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("write GPUs of worker node `{}`", gpu.host)
            }))
    }

    fn gpus_of(&self, site: &str, limit: usize) -> Result<Vec<GpuRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT site, host, vendor, model, n_gpus, memory, architecture, framework,
                        framework_version, driver_version, seen
                 FROM worker_node_gpu WHERE site = ?1 ORDER BY host, vendor, model LIMIT ?2",
                params![site, limit],
                |columns| {
                    Ok(GpuRecord {
                        site: columns.take()?,
                        host: columns.take()?,
                        vendor: columns.take()?,
                        model: columns.take()?,
                        count: columns.take()?,
                        memory: columns.take()?,
                        architecture: columns.take()?,
                        framework: columns.take()?,
                        framework_version: columns.take()?,
                        driver_version: columns.take()?,
                        seen: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list GPUs of site `{site}`")))
    }
}
