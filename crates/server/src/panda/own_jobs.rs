//! Which jobs a caller may take who is no pilot of the experiment: their own, and no others.
//!
//! Source: panda-server, `pandaserver/api/v1/pilot_api.py`, `acquire_jobs`, and of 0.8.1
//! `pandaserver/jobdispatcher/JobDispatcher.py`, `getJob`.

use ailurus_model::{Caller, JobRequest};
use ailurus_wire::{Answer, Dialect, StatusCode, v1::NO_PILOT_ROLE};

use crate::panda::{Reply, endpoint::Role, rights::with_role};

/// The label of people's own jobs.
const USER_LABEL: &str = "user";

/// Lets a request through, with the user's name in it in the form in which tasks have it, narrows it
/// to the caller's own jobs, or refuses it.
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
    let message = with_role(NO_PILOT_ROLE, Role::Pilot, caller);
    Err(Answer::failure(dialect, StatusCode::Role, &message).into())
}

#[cfg(test)]
mod tests {
    use ailurus_model::Rights;
    use ailurus_wire::get_job;

    use super::*;

    /// What a legacy request of somebody becomes, none if it is refused.
    fn narrowed(caller: &Caller, label: &str, dn: Option<&str>) -> Option<JobRequest> {
        let mut fields = ailurus_wire::Fields::new();
        fields.put("siteName", "JINR");
        fields.put("prodSourceLabel", label);
        if let Some(dn) = dn {
            fields.put("prodUserID", dn);
        }
        let mut request = get_job::decode_request(Dialect::Legacy, &fields).expect("a request");
        let passed = narrow(caller, Dialect::Legacy, &mut request);
        passed.is_ok().then_some(request)
    }

    fn person(rights: Rights) -> Caller {
        Caller {
            name: "Jane Doe".to_owned(),
            rights,
            ..Caller::nobody()
        }
    }

    #[test]
    fn a_pilot_gets_jobs_of_the_user_that_it_names_by_any_form_of_the_name() {
        let pilot = person(Rights {
            pilot: true,
            ..Rights::default()
        });
        let dn = "/DC=org/DC=test/OU=people/CN=John Doe/CN=proxy";
        let request = narrowed(&pilot, "managed", Some(dn)).expect("let through");
        assert_eq!(request.user.as_deref(), Some("John Doe"));
        let request = narrowed(&pilot, "user", Some("John Doe")).expect("let through");
        assert_eq!(request.user.as_deref(), Some("John Doe"));
        assert_eq!(narrowed(&pilot, "user", None).unwrap().user, None);
    }

    #[test]
    fn who_has_no_role_gets_only_their_own_jobs_whomever_they_name() {
        let jane = person(Rights::default());
        let request = narrowed(&jane, "user", Some("/CN=John Doe")).expect("their own");
        assert_eq!(request.user.as_deref(), Some("Jane Doe"));
        assert!(narrowed(&jane, "managed", None).is_none());
        assert!(narrowed(&Caller::nobody(), "user", None).is_none());
    }
}
