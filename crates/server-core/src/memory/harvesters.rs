//! What Harvester instances say about themselves, in memory.

use ailurus_model::{HarvesterId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{
        DialogRecord, HarvesterRows, InstanceRecord, LedgerError, ServiceMetricsRecord,
        TargetSlotsRecord,
    },
    memory::as_count,
};

impl HarvesterRows for MemoryLedger {
    fn instance(&self, id: &HarvesterId) -> Result<Option<InstanceRecord>, LedgerError> {
        Ok(self.instances.get(id).cloned())
    }

    fn put_instance(&mut self, instance: &InstanceRecord) -> Result<(), LedgerError> {
        self.instances.insert(instance.id.clone(), instance.clone());
        Ok(())
    }

    fn instances(&self) -> Result<Vec<InstanceRecord>, LedgerError> {
        Ok(self.instances.values().cloned().collect())
    }

    fn put_dialog(&mut self, dialog: &DialogRecord) -> Result<(), LedgerError> {
        let key = (dialog.harvester.clone(), dialog.id);
        self.dialogs.insert(key, dialog.clone());
        Ok(())
    }

    fn dialogs_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<DialogRecord>, LedgerError> {
        let of = |it: &&DialogRecord| it.harvester == *harvester;
        let mut found: Vec<_> = self.dialogs.values().filter(of).cloned().collect();
        found.sort_by_key(|it| std::cmp::Reverse((it.created, it.id)));
        found.truncate(limit);
        Ok(found)
    }

    fn put_service_metrics(&mut self, metrics: &ServiceMetricsRecord) -> Result<(), LedgerError> {
        let ServiceMetricsRecord {
            harvester,
            created,
            host,
            ..
        } = metrics;
        let key = (harvester.clone(), *created, host.clone());
        self.service_metrics.insert(key, metrics.clone());
        Ok(())
    }

    fn service_metrics_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<ServiceMetricsRecord>, LedgerError> {
        let of = |it: &&ServiceMetricsRecord| it.harvester == *harvester;
        let mut found: Vec<_> = self.service_metrics.values().filter(of).cloned().collect();
        found.sort_by(|one, other| {
            let newest_first = other.created.cmp(&one.created);
            newest_first.then_with(|| one.host.cmp(&other.host))
        });
        found.truncate(limit);
        Ok(found)
    }

    fn remove_harvester_notes_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        let count = self.dialogs.len() + self.service_metrics.len();
        self.dialogs.retain(|_, it| it.created >= before);
        self.service_metrics.retain(|_, it| it.created >= before);
        let left = self.dialogs.len() + self.service_metrics.len();
        Ok(as_count(count - left))
    }

    fn put_target_slots(&mut self, slots: &TargetSlotsRecord) -> Result<(), LedgerError> {
        let TargetSlotsRecord {
            queue,
            global_share,
            resource_type,
            ..
        } = slots;
        let key = (queue.clone(), global_share.clone(), resource_type.clone());
        self.target_slots.insert(key, slots.clone());
        Ok(())
    }

    fn target_slots(&self, now: Timestamp) -> Result<Vec<TargetSlotsRecord>, LedgerError> {
        let all = self.target_slots.values();
        Ok(all
            .filter(|it| it.expires.is_none_or(|expires| expires > now))
            .cloned()
            .collect())
    }
}
