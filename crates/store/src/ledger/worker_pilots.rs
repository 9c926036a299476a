//! Statements over what pilots say of themselves in their workers.

use ailurus_model::{HarvesterId, WorkerId};
use ailurus_server_core::ledger::{
    LedgerError, PilotPhase, StaleFilter, WorkerPilotRecord, WorkerPilotRows,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, SqlError, params},
};

fn read(columns: &mut Columns<'_>) -> Result<WorkerPilotRecord, SqlError> {
    Ok(WorkerPilotRecord {
        harvester: columns.take()?,
        worker: columns.take()?,
        phase: {
            let word: String = columns.take()?;
            let mut known = PilotPhase::ALL.into_iter();
            known
                .find(|phase| phase.as_str() == word)
                .unwrap_or(PilotPhase::Started)
        },
        started: columns.take()?,
        ended: columns.take()?,
        changed: columns.take()?,
        synced: columns.take()?,
    })
}

impl WorkerPilotRows for DatabaseLedger {
    fn worker_pilot(
        &self,
        harvester: &HarvesterId,
        worker: WorkerId,
    ) -> Result<Option<WorkerPilotRecord>, LedgerError> {
        self.sql()
            .first(
                "SELECT harvester_id, worker_id, phase, started, ended, changed, synced
                 FROM worker_pilot WHERE harvester_id = ?1 AND worker_id = ?2",
                params![harvester, worker],
                read,
            )
            .map_err(failed(|| {
                format!("read the pilot of worker {worker} of `{harvester}`")
            }))
    }

    fn put_worker_pilot(&mut self, pilot: &WorkerPilotRecord) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO worker_pilot
                     (harvester_id, worker_id, phase, started, ended, changed, synced)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (harvester_id, worker_id) DO UPDATE SET
                     phase = ?3, started = ?4, ended = ?5, changed = ?6, synced = ?7",
                params![
                    pilot.harvester,
                    pilot.worker,
                    pilot.phase.as_str(),
                    pilot.started,
                    pilot.ended,
                    pilot.changed,
                    pilot.synced,
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                let WorkerPilotRecord {
                    harvester, worker, ..
                } = pilot;
                format!("write the pilot of worker {worker} of `{harvester}`")
            }))
    }

    fn stale_workers(
        &self,
        filter: &StaleFilter,
        limit: usize,
    ) -> Result<Vec<WorkerPilotRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT p.harvester_id, p.worker_id, p.phase, p.started, p.ended, p.changed,
                     p.synced
                 FROM worker w JOIN worker_pilot p
                     ON p.harvester_id = w.harvester_id AND p.worker_id = w.worker_id
                 WHERE w.status NOT IN ('finished', 'failed', 'cancelled', 'missed')
                     AND w.status IN ('submitted', 'running', 'idle')
                     AND p.phase = ?1 AND p.changed < ?2
                     AND (p.synced IS NULL OR p.synced < ?3)
                     AND w.modified >= ?4 AND w.submit_time >= ?5
                 ORDER BY p.harvester_id, p.worker_id LIMIT ?6",
                params![
                    PilotPhase::Finished.as_str(),
                    filter.said_before,
                    filter.not_asked_since,
                    filter.reported_since,
                    filter.submitted_since,
                    limit,
                ],
                read,
            )
            .map_err(failed(|| "find workers whose pilots have ended".to_owned()))
    }
}
