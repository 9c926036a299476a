//! Whose task or job a call is about, and the words for who lacks a role.
//!
//! Pilots without a role get their owner's own jobs (`own_jobs`), so they may report on these too.
//! PanDA gives them out and refuses every report.

use ailurus_model::{Caller, PandaId, Proof, TaskId};
use ailurus_server_core::ledger::Ledger;
use ailurus_wire::{Answer, Dialect, Envelope, StatusCode, v1::NO_ROLE};

use crate::panda::{Call, Reply, endpoint::Role, failed};

/// The legacy dialect's words for a caller without the role.
pub(super) const NO_LEGACY_ROLE: &str = "production or pilot role is required";
/// The words for a caller to whom a task does not belong.
const NOT_OWNER: &str = "not the task owner or no production role";

/// Which field names the job of a report.
pub(super) const fn job_field(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "jobId",
        Dialect::V1 => "job_id",
    }
}

/// Refuses a caller to whom the task or job that the call names does not belong. One that is not
/// there is the business of the call.
pub(super) async fn check_owner(call: &Call, role: Role) -> Result<(), Reply> {
    let rights = &call.caller.rights;
    let (refusal, owner) = match role {
        Role::TaskOwner if !rights.production => {
            let Some(id) = call.whole("task_id").map(TaskId::new) else {
                return Ok(());
            };
            (Reply::refusal(NOT_OWNER), owner_of_task(call, id).await?)
        }
        Role::JobOwner if !(rights.production || rights.pilot) => {
            let Some(id) = call.whole(job_field(call.dialect)).map(PandaId::new) else {
                return Ok(());
            };
            let refusal = no_role(call.dialect, role, &call.caller);
            (refusal, owner_of_job(call, id).await?)
        }
        Role::Anyone
        | Role::Production
        | Role::Pilot
        | Role::PilotByText
        | Role::TaskOwner
        | Role::JobOwner => return Ok(()),
    };
    match owner {
        Some(owner) if !call.caller.may_steer(&owner, "") => Err(refusal),
        Some(_) | None => Ok(()),
    }
}

async fn owner_of_task(call: &Call, id: TaskId) -> Result<Option<String>, Reply> {
    let task = call.app.read(move |reader| reader.ledger().task(id)).await;
    let task = task.map_err(|error| failed(&error))?;
    Ok(task.map(|task| task.spec.user.clone()))
}

async fn owner_of_job(call: &Call, id: PandaId) -> Result<Option<String>, Reply> {
    let read = call.app.read(move |reader| reader.ledger().job(id)).await;
    match read.map_err(|error| failed(&error))? {
        Some(job) => owner_of_task(call, job.task_id).await,
        None => Ok(None),
    }
}

/// Refuses a caller who lacks the role of a call, in the words of the dialect.
pub(super) fn no_role(dialect: Dialect, role: Role, caller: &Caller) -> Reply {
    match dialect {
        Dialect::Legacy => {
            let message = with_role(NO_LEGACY_ROLE, role, caller);
            Answer::failure(dialect, StatusCode::Role, &message).into()
        }
        Dialect::V1 => Envelope::failure(with_role(NO_ROLE, role, caller)).into(),
    }
}

/// Adds to PanDA's words with which role the caller comes, which one is missing, and how it is had.
pub(super) fn with_role(words: &str, role: Role, caller: &Caller) -> String {
    let name = match caller.name.as_str() {
        "" => "nobody",
        name => name,
    };
    let has = match caller.fqans.as_slice() {
        [] => "no role".to_owned(),
        fqans => format!("`{}`", fqans.join("`, `")),
    };
    let missing = match role {
        Role::Production | Role::TaskOwner => "production",
        Role::Anyone | Role::Pilot | Role::PilotByText | Role::JobOwner => "pilot",
    };
    let advice = match caller.proof {
        Proof::Token => format!("the header `Origin` asks for it, as `VO.{missing}`"),
        Proof::Certificate | Proof::LimitedProxy => {
            format!("a proxy has it as `/VO/Role={missing}`, or a name in section `roles`")
        }
        Proof::None => "it takes a certificate or token over HTTPS".to_owned(),
        Proof::Loopback => "this machine is trusted with everything".to_owned(),
    };
    format!("{words}: `{name}` comes with {has} and needs `{missing}`; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_role_is_missing_and_how_it_is_had() {
        let mut jane = Caller {
            proof: Proof::Token,
            name: "Jane Doe".into(),
            ..Caller::nobody()
        };
        assert_eq!(
            with_role(NO_ROLE, Role::Pilot, &jane),
            "production or pilot role required: `Jane Doe` comes with no role and needs `pilot`; \
             the header `Origin` asks for it, as `VO.pilot`"
        );
        jane.proof = Proof::Certificate;
        jane.fqans = vec!["/spd/Role=pilot".into()];
        assert_eq!(
            with_role(NO_ROLE, Role::Production, &jane),
            "production or pilot role required: `Jane Doe` comes with `/spd/Role=pilot` and needs \
             `production`; a proxy has it as `/VO/Role=production`, or a name in section `roles`"
        );
        let told = with_role(NO_LEGACY_ROLE, Role::Pilot, &Caller::nobody());
        assert!(told.contains("`nobody` comes with no role"), "{told}");
    }
}
