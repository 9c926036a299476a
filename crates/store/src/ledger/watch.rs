//! Statements over jobs that have been in one state for long.

use ailurus_model::{PandaId, QueueName, Timestamp};
use ailurus_server_core::ledger::{Lasting, LedgerError, URGENT_PRIORITY, Waiting, WatchRows};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{only, params},
};

impl WatchRows for DatabaseLedger {
    fn in_state_since(
        &self,
        state: Lasting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        // The status stands in the text, so that its own index can be used.
        let statement = match state {
            Lasting::Starting => {
                "SELECT panda_id FROM job WHERE status = 'starting' AND state_changed < ?1
                 ORDER BY state_changed, panda_id LIMIT ?2"
            }
            Lasting::UrgentStarting => {
                "SELECT panda_id FROM job WHERE status = 'starting' AND state_changed < ?1
                     AND source_label NOT IN ('user', 'panda') AND priority >= ?3
                 ORDER BY state_changed, panda_id LIMIT ?2"
            }
            Lasting::Running => {
                "SELECT panda_id FROM job WHERE status = 'running' AND state_changed < ?1
                 ORDER BY state_changed, panda_id LIMIT ?2"
            }
        };
        let found = match state {
            Lasting::UrgentStarting => {
                let params = params![before, limit, URGENT_PRIORITY];
                self.sql().rows(statement, params, only)
            }
            Lasting::Starting | Lasting::Running => {
                self.sql().rows(statement, params![before, limit], only)
            }
        };
        found.map_err(failed(|| {
            format!("list jobs that are {} since {before}", state.status())
        }))
    }

    fn waiting_since(
        &self,
        which: Waiting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let urgent = "SELECT panda_id FROM job WHERE status = 'activated'
                 AND status NOT IN ('finished', 'failed', 'cancelled', 'closed')
                 AND modified < ?1 AND source_label NOT IN ('user', 'panda') AND priority >= ?3
             ORDER BY modified, panda_id LIMIT ?2";
        let users = "SELECT panda_id FROM job WHERE status = 'activated'
                 AND status NOT IN ('finished', 'failed', 'cancelled', 'closed')
                 AND modified < ?1 AND source_label IN ('user', 'panda')
             ORDER BY modified, panda_id LIMIT ?2";
        let direct = "SELECT panda_id FROM job WHERE kind = 'direct'
                 AND status IN ('pending', 'defined', 'assigned', 'activated') AND created < ?1
             ORDER BY created, panda_id LIMIT ?2";
        let found = match which {
            Waiting::Users => self.sql().rows(users, params![before, limit], only),
            Waiting::Urgent => {
                let params = params![before, limit, URGENT_PRIORITY];
                self.sql().rows(urgent, params, only)
            }
            Waiting::Direct => self.sql().rows(direct, params![before, limit], only),
        };
        found.map_err(failed(|| format!("list jobs that wait since {before}")))
    }

    fn waiting_at(
        &self,
        queue: &QueueName,
        share: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let statement = "SELECT panda_id FROM job WHERE status = 'activated' AND queue = ?1
                 AND global_share = ?2 AND state_changed < ?3 ORDER BY panda_id LIMIT ?4";
        self.sql()
            .rows(statement, params![queue, share, before, limit], only)
            .map_err(failed(|| {
                format!("list jobs of share `{share}` that wait at `{queue}`")
            }))
    }
}
