//! Further jobs that take from the events of one, and copies of one (`nEsConsumers`).
//!
//! What becomes of them is told by `events::set` and `events::clones`.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`, `increaseEventServiceConsumers`.

use std::sync::Arc;

use ailurus_jedi::{
    RefinedTask, Rule,
    refined::{CONSUMERS_MAX, EventService},
};
use ailurus_model::{JobKind, PandaId};

use crate::{
    events::{is_clone, takes_ranges},
    ledger::{InputNeed, JobRecord, Ledger, LedgerError},
    operation::Operation,
    tasks::record::{LIBRARY_INPUT, PandaTask},
};

/// Returns how many jobs take from the same events, or are copies of one.
fn n_members(refined: &RefinedTask) -> u64 {
    match refined.event_service {
        EventService::Ranges | EventService::Cloning => {
            let n = refined.rules.positive(Rule::NEsConsumers).unwrap_or(1);
            n.min(CONSUMERS_MAX)
        }
        EventService::None | EventService::FineGrained => 1,
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Makes the consumers of a job, or its copies, if its task wants any. Those are returned that
    /// only lack a queue, and that of their build job.
    pub(super) fn recruit(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
        leader: PandaId,
        needs: &[InputNeed],
    ) -> Result<Vec<JobRecord>, LedgerError> {
        let n = n_members(refined);
        if n < 2 {
            return Ok(Vec::new());
        }
        let leader = self.job(leader)?;
        if leader.status.is_terminal() {
            return Ok(Vec::new());
        }
        let known = self.ledger.event_set_of(leader.panda_id)?;
        let set = known.unwrap_or(leader.panda_id);
        self.ledger.add_event_member(set, leader.panda_id)?;
        let mut homeless = Vec::new();
        for _ in 1..n {
            let blank = self.blank_job(task, JobKind::Consumer)?;
            let job = JobRecord {
                part: leader.part,
                attempt_nr: leader.attempt_nr,
                max_attempts: leader.max_attempts,
                first_event: leader.first_event,
                n_events: leader.n_events,
                priority: leader.priority,
                cores: leader.cores,
                memory: leader.memory,
                disk: leader.disk,
                walltime_secs: leader.walltime_secs,
                resource_type: leader.resource_type.clone(),
                tags: leader.tags.clone(),
                ..blank
            };
            let id = job.panda_id;
            self.ledger.add_event_member(set, id)?;
            let needs: Vec<InputNeed> = needs
                .iter()
                .map(|need| InputNeed {
                    panda_id: id,
                    ..need.clone()
                })
                .collect();
            homeless.extend(self.insert_run(task, refined, job, &needs)?);
        }
        Ok(homeless)
    }

    /// Makes new consumers, or copies, of a job that is tried again and has none. What its task's
    /// row says is read and written.
    pub(crate) fn recruit_again(&mut self, leader: &JobRecord) -> Result<(), LedgerError> {
        let is_of_set = self.ledger.event_set_of(leader.panda_id)?.is_some();
        // A merge that is tried again has nothing for others to take.
        if !is_of_set || !takes_ranges(&leader.tags) || !self.mates_of(leader)?.is_empty() {
            return Ok(());
        }
        let Some(mut task) = self.load_task(leader.task_id)? else {
            return Ok(());
        };
        let definition = Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(());
        };
        let mut needs = self.ledger.needs_of(leader.panda_id)?;
        needs.retain(|need| need.input != LIBRARY_INPUT);
        let homeless = self.recruit(&mut task, refined, leader.panda_id, &needs)?;
        self.save_task(&mut task)?;
        self.place_all(homeless).map(drop)
    }

    /// Makes new copies of one that is tried again.
    pub(crate) fn copy_again(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        if is_clone(&job.tags) {
            self.recruit_again(job)?;
        }
        Ok(())
    }

    /// Says at how many queues the jobs of one set are to be, if the task wants several.
    pub(crate) fn sites_per_job(&mut self, job: &JobRecord) -> Result<Option<u64>, LedgerError> {
        let task = self.panda_task(job.task_id)?;
        let refined = task.as_ref().and_then(|task| task.refined.as_ref());
        let n = refined
            .filter(|refined| n_members(refined) > 1)
            .and_then(|refined| refined.rules.positive(Rule::NSitesPerJob));
        Ok(n.filter(|n| *n > 1))
    }
}
