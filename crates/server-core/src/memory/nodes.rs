//! Worker nodes and their GPUs, in memory.

use crate::{
    MemoryLedger,
    ledger::{GpuRecord, LedgerError, NodeRecord, NodeRows},
};

impl NodeRows for MemoryLedger {
    fn put_node(&mut self, node: &NodeRecord) -> Result<(), LedgerError> {
        let is_it = |it: &&mut NodeRecord| {
            it.site == node.site && it.host == node.host && it.cpu_model == node.cpu_model
        };
        match self.nodes.iter_mut().find(is_it) {
            Some(known) => *known = node.clone(),
            None => self.nodes.push(node.clone()),
        }
        Ok(())
    }

    fn nodes_of(&self, site: &str, limit: usize) -> Result<Vec<NodeRecord>, LedgerError> {
        let mut found: Vec<_> = self.nodes.iter().filter(|it| it.site == site).collect();
        found.sort_by_key(|it| (&it.host, &it.cpu_model));
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    fn put_gpu(&mut self, gpu: &GpuRecord) -> Result<(), LedgerError> {
        let is_it = |it: &&mut GpuRecord| {
            it.site == gpu.site
                && it.host == gpu.host
                && it.vendor == gpu.vendor
                && it.model == gpu.model
        };
        match self.gpus.iter_mut().find(is_it) {
            Some(known) => *known = gpu.clone(),
            None => self.gpus.push(gpu.clone()),
        }
        Ok(())
    }

    fn gpus_of(&self, site: &str, limit: usize) -> Result<Vec<GpuRecord>, LedgerError> {
        let mut found: Vec<_> = self.gpus.iter().filter(|it| it.site == site).collect();
        found.sort_by_key(|it| (&it.host, &it.vendor, &it.model));
        Ok(found.into_iter().take(limit).cloned().collect())
    }
}
