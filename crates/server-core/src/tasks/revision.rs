//! New revisions of tasks: changed parameters, and needs that were measured.

use std::sync::Arc;

use ailurus_jedi::{RefinedTask, command::incremental, refine};
use serde_json::{Map, Value};

use crate::{
    ledger::{Ledger, LedgerError, PandaTaskRecord, ScoutPhase},
    operation::Operation,
    tasks::{
        record::{PandaTask, spec_of},
        submit::scouts_of,
    },
};

impl<L: Ledger> Operation<'_, L> {
    /// Puts changes into a task's parameters and reads them; the inner error says what is wrong.
    pub(super) fn revise(
        &mut self,
        task: &mut PandaTask,
        changes: &Map<String, Value>,
    ) -> Result<Result<(), String>, LedgerError> {
        if changes.is_empty() {
            return Ok(Ok(()));
        }
        let mut params = task.definition.params.clone();
        incremental::apply(&mut params, changes);
        let settings = self.refine_settings(&task.record.spec.user, &params, &task.progress.origin);
        let refined = match refine(&params, &settings) {
            Ok(refined) => refined,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if task.progress.scouts == ScoutPhase::None && task.record.n_jobs == 0 {
            task.progress.scouts = scouts_of(&refined);
        }
        let spec = Arc::new(spec_of(task.id(), &refined));
        let definition = PandaTaskRecord {
            id: task.id(),
            revision: task.record.revision.saturating_add(1),
            params,
            refined: Some(refined),
        };
        self.put_revision(task, definition, spec)?;
        Ok(Ok(()))
    }

    /// Goes on with what a task needs or follows from now on; its parameters and its priority stay.
    pub(super) fn put_refined(
        &mut self,
        task: &mut PandaTask,
        refined: RefinedTask,
    ) -> Result<(), LedgerError> {
        let spec = Arc::new(spec_of(task.id(), &refined));
        let revised = PandaTaskRecord {
            id: task.id(),
            revision: task.record.revision.saturating_add(1),
            params: task.definition.params.clone(),
            refined: Some(refined),
        };
        let priority = task.progress.priority;
        self.put_revision(task, revised, spec)?;
        task.progress.priority = priority;
        Ok(())
    }

    /// Writes a new revision of a task and goes on with it.
    fn put_revision(
        &mut self,
        task: &mut PandaTask,
        definition: PandaTaskRecord,
        spec: Arc<ailurus_model::TaskSpec>,
    ) -> Result<(), LedgerError> {
        self.ledger.put_panda_task(&definition, &spec)?;
        task.progress.priority = spec.priority;
        task.record.revision = definition.revision;
        task.record.spec = spec;
        task.definition = Arc::new(definition);
        self.panda_tasks
            .insert(task.id(), Some(Arc::clone(&task.definition)));
        self.forget_spec(task.id());
        Ok(())
    }
}
