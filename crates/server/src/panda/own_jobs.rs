//! Which jobs a caller may take who is no pilot of the experiment: their own, and no others.
//!
//! Source: panda-server, `pandaserver/api/v1/pilot_api.py`, `acquire_jobs`, and of 0.8.1
//! `pandaserver/jobdispatcher/JobDispatcher.py`, `getJob`.

use ailurus_model::{Caller, JobRequest};
use ailurus_wire::{Answer, Dialect, StatusCode};

use crate::panda::Reply;

/// PanDA's words for a pilot without a role.
const NO_ROLE: &str = "no production/pilot role in VOMS FQANs or non pilot owner";

/// The label of people's own jobs.
const USER_LABEL: &str = "user";

/// Lets a request through, with the user's name in it in the form in which tasks have it, narrows it to the caller's own jobs, or refuses it.
pub(super) fn narrow(
    caller: &Caller,
    dialect: Dialect,
    request: &mut JobRequest,
) -> Result<(), Reply> {
    if let Some(named) = &request.user {
        request.user = Some(ailurus_identity::name::compact(named));
    }
    if caller.rights.pilot || caller.rights.production {
        return Ok(());
    }
    if request.source_label.as_str() == USER_LABEL && !caller.name.is_empty() {
        request.user = Some(caller.name.clone());
        return Ok(());
    }
    tracing::info!(dn = caller.dn, queue = %request.queue, "no jobs for who has no role");
    Err(Answer::failure(dialect, StatusCode::Role, NO_ROLE).into())
}
