//! What the description of a job has from its task.

use ailurus_jedi::RefinedTask;
use ailurus_model::{Attributes, JobKind};

use crate::{
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
};

impl<L: Ledger> Operation<'_, L> {
    /// Puts the numbers of a job's task, and what jobs have from a task of PanDA.
    pub(super) fn describe_origin(
        &mut self,
        out: &mut Attributes,
        job: &JobRecord,
    ) -> Result<(), LedgerError> {
        let number = i64::try_from(job.task_id.value()).unwrap_or(i64::MAX);
        if job.kind == JobKind::Direct {
            if out.get("jobDefinitionID").is_none() {
                out.put("jobDefinitionID", number);
            }
            return Ok(());
        }
        for name in ["jediTaskID", "taskID", "reqID", "jobDefinitionID"] {
            out.put(name, number);
        }
        out.put("lockedby", "jedi");
        let task = self.panda_task(job.task_id)?;
        if let Some(refined) = task.as_ref().and_then(|task| task.refined.as_ref()) {
            describe_wishes(out, refined);
        }
        Ok(())
    }
}

/// Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`.
fn describe_wishes(out: &mut Attributes, task: &RefinedTask) {
    for (name, text) in [
        ("VO", Some(&task.vo)),
        ("workingGroup", task.working_group.as_ref()),
        ("countryGroup", task.country_group.as_ref()),
        ("cloud", task.sites.cloud.as_ref()),
    ] {
        out.put_some(name, text.filter(|text| !text.is_empty()).cloned());
    }
    out.put_some("reqID", task.request);
}
