//! Whose a submission is, and what its submitter may ask for.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/task_complex_module.py`
//! (`insertTaskParamsPanda`): without the production role tasks are analysis, belong to the caller,
//! and have the priority of all.

use ailurus_model::{Caller, task::Submission};

/// The priority of users' tasks (PanDA's `taskPriority` of analysis).
const USER_PRIORITY_MAX: i64 = 1000;
/// The label of users' tasks.
const USER_LABEL: &str = "user";

/// The submitter asks for what only production may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "task `{task}` has label `{label}`, and `{caller}` has not the production role: only label \
     `user` is open to all"
)]
pub struct SignatureError {
    /// The task.
    pub task: String,
    /// Its label.
    pub label: String,
    /// Who submits it.
    pub caller: String,
}

/// Makes a submission the caller's own. Production, and whoever is trusted on the server's machine,
/// may submit for others, with any label and priority.
///
/// # Errors
///
/// [`SignatureError`] if a task has a label that is not for the caller.
pub fn sign(submission: &mut Submission, caller: &Caller) -> Result<(), SignatureError> {
    if caller.rights.production {
        return Ok(());
    }
    for task in &mut submission.tasks {
        if task.source_label.as_str() != USER_LABEL {
            return Err(SignatureError {
                task: task.name.clone(),
                label: task.source_label.to_string(),
                caller: caller.name.clone(),
            });
        }
        task.user.clone_from(&caller.name);
        task.priority = task.priority.min(USER_PRIORITY_MAX);
    }
    Ok(())
}
