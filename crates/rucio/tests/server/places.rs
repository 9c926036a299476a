//! Endpoints, and where they keep files.

use ailurus_model::EndpointName;
use ailurus_rucio::RucioError;
use ailurus_testkit::rucio::{Endpoint, SCOPES};
use ailurus_wire::rucio::{
    Did,
    register::NewReplica,
    replicas::{Domain, Medium, ReplicaQuery},
    rse::{Naming, Operation},
};
use proptest::{collection::btree_set, prelude::*, sample::select, test_runner::TestRunner};

use super::{Stand, file, list, query, rse};

#[test]
fn endpoints_are_described_and_places_that_follow_from_names_are_the_servers() {
    let stand = Stand::start();
    let client = stand.client();
    let ask = |endpoint| client.rse(&rse(endpoint)).expect("an endpoint");
    let described = [Endpoint::Disk, Endpoint::Identity].map(ask);
    assert_eq!(described[0].naming, Some(Naming::Hash));
    assert_eq!(described[1].naming, Some(Naming::Identity));
    assert_eq!(ask(Endpoint::NonDeterministic).naming, None);
    assert_eq!(ask(Endpoint::Tape).medium, Medium::Tape);
    let off = ask(Endpoint::Off);
    assert!(!off.is_readable && !off.is_writable);
    let error = client
        .rse(&EndpointName::new("NO/WHERE "))
        .expect_err("none");
    assert!(
        matches!(
            error,
            RucioError::Refused { status: 404, .. } | RucioError::Status { status: 404, .. }
        ),
        "{error}"
    );

    // Many names at once, because each question costs the server a while.
    let names = btree_set(
        (select(&SCOPES[..]), "[A-Za-z0-9][A-Za-z0-9._-]{0,40}"),
        30..40,
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(3)
    };
    let outcome = TestRunner::new(config).run(&names, |names| {
        for endpoint in &described {
            let files = names.iter().map(|(scope, name)| {
                let new = file(scope, name);
                let place = (&new.scope, &new.name);
                let pfn = endpoint.urls(place, Domain::Wan, Operation::Write);
                NewReplica {
                    pfn: Some(pfn[0].clone()),
                    ..new
                }
            });
            let files: Vec<NewReplica> = files.collect();
            // A place that is not the server's own is refused.
            let registered = client.register(&endpoint.name, &files);
            prop_assert!(registered.is_ok(), "{registered:?}");
            let dids: Vec<Did> = files.iter().map(NewReplica::did).collect();
            let query = ReplicaQuery {
                rse_expression: Some(endpoint.name.to_string()),
                ..query()
            };
            let (found, missing) = list(&client, &dids, &query);
            prop_assert_eq!(missing.len(), 0);
            for file in found {
                let domain = file.replicas[0].domain;
                let told: Vec<String> = file.replicas.into_iter().map(|it| it.pfn).collect();
                let place = (&file.scope, &file.name);
                prop_assert_eq!(endpoint.urls(place, domain, Operation::Read), told);
            }
        }
        Ok(())
    });
    outcome.expect("the same places");
}
