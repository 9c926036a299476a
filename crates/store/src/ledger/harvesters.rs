//! Statements over what Harvester instances say about themselves.

use ailurus_model::{HarvesterId, Timestamp};
use ailurus_server_core::ledger::{
    DialogRecord, HarvesterRows, InstanceRecord, LedgerError, ServiceMetricsRecord,
    TargetSlotsRecord,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, SqlError, params},
};

macro_rules! select_instance {
    ($rest:literal) => {
        concat!(
            "SELECT id, owner, host, started, version, source_commit, heard
             FROM harvester_instance ",
            $rest
        )
    };
}

fn read_instance(columns: &mut Columns<'_>) -> Result<InstanceRecord, SqlError> {
    Ok(InstanceRecord {
        id: columns.take()?,
        owner: columns.take()?,
        host: columns.take()?,
        started: columns.take()?,
        version: columns.take()?,
        commit: columns.take()?,
        heard: columns.take()?,
    })
}

impl HarvesterRows for DatabaseLedger {
    fn instance(&self, id: &HarvesterId) -> Result<Option<InstanceRecord>, LedgerError> {
        self.sql()
            .first(
                select_instance!("WHERE id = ?1"),
                params![id],
                read_instance,
            )
            .map_err(failed(|| format!("read Harvester instance `{id}`")))
    }

    fn put_instance(&mut self, instance: &InstanceRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO harvester_instance
                     (id, owner, host, started, version, source_commit, heard)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET
                     owner = ?2, host = ?3, started = ?4, version = ?5, source_commit = ?6,
                     heard = ?7",
                params![
                    instance.id,
                    instance.owner,
                    instance.host,
                    instance.started,
                    instance.version,
                    instance.commit,
                    instance.heard,
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("write Harvester instance `{}`", instance.id)
            }))
    }

    fn instances(&self) -> Result<Vec<InstanceRecord>, LedgerError> {
        self.sql()
            .rows(select_instance!("ORDER BY id"), params![], read_instance)
            .map_err(failed(|| "list Harvester instances".to_owned()))
    }

    fn put_dialog(&mut self, dialog: &DialogRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO harvester_dialog
                     (harvester_id, id, module, identifier, level, message, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (harvester_id, id) DO UPDATE SET
                     module = ?3, identifier = ?4, level = ?5, message = ?6, created = ?7",
                params![
                    dialog.harvester,
                    dialog.id,
                    dialog.module,
                    dialog.identifier,
                    dialog.level,
                    dialog.message,
                    dialog.created,
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("write message {} of `{}`", dialog.id, dialog.harvester)
            }))
    }

    fn dialogs_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<DialogRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT harvester_id, id, module, identifier, level, message, created
                 FROM harvester_dialog WHERE harvester_id = ?1
                 ORDER BY created DESC, id DESC LIMIT ?2",
                params![harvester, limit],
                |columns| {
                    Ok(DialogRecord {
                        harvester: columns.take()?,
                        id: columns.take()?,
                        module: columns.take()?,
                        identifier: columns.take()?,
                        level: columns.take()?,
                        message: columns.take()?,
                        created: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list messages of `{harvester}`")))
    }

    fn put_service_metrics(&mut self, metrics: &ServiceMetricsRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO harvester_metrics (harvester_id, created, host, metrics)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (harvester_id, created, host) DO UPDATE SET metrics = ?4",
                params![
                    metrics.harvester,
                    metrics.created,
                    metrics.host,
                    metrics.metrics
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("write measures of `{}`", metrics.harvester)
            }))
    }

    fn service_metrics_of(
        &self,
        harvester: &HarvesterId,
        limit: usize,
    ) -> Result<Vec<ServiceMetricsRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT harvester_id, created, host, metrics FROM harvester_metrics
                 WHERE harvester_id = ?1 ORDER BY created DESC, host LIMIT ?2",
                params![harvester, limit],
                |columns| {
                    Ok(ServiceMetricsRecord {
                        harvester: columns.take()?,
                        created: columns.take()?,
                        host: columns.take()?,
                        metrics: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| format!("list measures of `{harvester}`")))
    }

    fn remove_harvester_notes_before(&mut self, before: Timestamp) -> Result<u64, LedgerError> {
        let mut count = 0;
        for statement in [
            "DELETE FROM harvester_dialog WHERE created < ?1",
            "DELETE FROM harvester_metrics WHERE created < ?1",
        ] {
            count += self
                .sql()
                .execute(statement, params![before])
                .map_err(failed(|| "forget old words of Harvesters".to_owned()))?;
        }
        Ok(count)
    }

    fn put_target_slots(&mut self, slots: &TargetSlotsRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO target_slots
                     (queue, global_share, resource_type, slots, expires, modified)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (queue, global_share, resource_type) DO UPDATE SET
                     slots = ?4, expires = ?5, modified = ?6",
                params![
                    slots.queue,
                    slots.global_share,
                    slots.resource_type,
                    slots.slots,
                    slots.expires,
                    slots.modified,
                ],
            )
            .map(drop)
            .map_err(failed(|| format!("write slots of `{}`", slots.queue)))
    }

    fn target_slots(&self, now: Timestamp) -> Result<Vec<TargetSlotsRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT queue, global_share, resource_type, slots, expires, modified
                 FROM target_slots WHERE expires IS NULL OR expires > ?1
                 ORDER BY queue, global_share, resource_type",
                params![now],
                |columns| {
                    Ok(TargetSlotsRecord {
                        queue: columns.take()?,
                        global_share: columns.take()?,
                        resource_type: columns.take()?,
                        slots: columns.take()?,
                        expires: columns.take()?,
                        modified: columns.take()?,
                    })
                },
            )
            .map_err(failed(|| "list wishes for slots".to_owned()))
    }
}
