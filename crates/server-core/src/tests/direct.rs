//! Jobs that are submitted as they are.

use std::collections::BTreeSet;

use ailurus_model::{
    Attributes, Caller, ErrorCode, JobCloning, JobForm, JobStatus, PandaId, Proof, Rights,
    SourceLabel,
};

use super::harness::*;
use crate::{
    DebugMode, KillCode, KillRequest, Unmerged, describe_job, kill_jobs, set_debug_mode,
    submit_jobs,
};

/// A user's job that writes one file and a log.
fn form(name: &str) -> JobForm {
    let mut form = JobForm::default();
    for (key, value) in [
        ("jobName", name),
        ("prodSourceLabel", "user"),
        ("processingType", "panda-client"),
        ("transformation", "runGen"),
        ("computingSite", FAR),
    ] {
        form.attributes.put(key, value);
    }
    form.attributes
        .put("jobParameters", format!("-o '{name}.root'"));
    for (lfn, kind) in [
        (format!("{name}.root"), "output"),
        (format!("{name}.log.tgz"), "log"),
    ] {
        let mut file = Attributes::default();
        file.put("lfn", lfn);
        file.put("type", kind);
        file.put("scope", "user.jane");
        file.put("dataset", "user.jane.out");
        form.files.push(file);
    }
    form
}

fn submit(server: &mut Server, forms: Vec<JobForm>) -> Vec<Option<PandaId>> {
    let submitted = server.run(|ctx, ledger| submit_jobs(ctx, ledger, forms, "Jane Doe"));
    submitted.unwrap().iter().map(|job| job.panda_id).collect()
}

fn acquire_users(server: &mut Server, queue: &str) -> Vec<ailurus_model::Job> {
    let mut request = request(queue);
    request.source_label = SourceLabel::new("user");
    server.try_acquire(&request).unwrap()
}

#[test]
fn a_job_runs_where_it_says_with_the_names_it_came_with() {
    let mut server = Server::new();
    let ids = submit(&mut server, vec![form("a"), form("b")]);
    assert_eq!(ids, [Some(PandaId::new(1)), Some(PandaId::new(2))]);
    assert!(acquire_users(&mut server, NEAR).is_empty());
    let job = acquire_users(&mut server, FAR).pop().expect("a job");
    assert_eq!(job.parameters, "-o 'a.root'");
    assert_eq!(job.outputs[0].lfn.as_str(), "a.root");
    assert_eq!(job.priority, 1000);
    server.finish(&job);
    assert_eq!(server.status(1), JobStatus::Finished);
    let file = server.ledger.files().next().expect("an output");
    assert_eq!((file.lfn.as_str(), file.part), ("a.root", 0));
}

#[test]
fn the_next_attempt_writes_other_names_at_the_same_queue() {
    let mut server = Server::new();
    submit(&mut server, vec![form("a")]);
    let job = acquire_users(&mut server, FAR).pop().expect("a job");
    server.fail(&job, ErrorCode::StageInFailed);
    let job = acquire_users(&mut server, FAR).pop().expect("a job");
    assert_eq!(job.attempt_nr.value(), 2);
    assert_eq!(job.parameters, "-o 'a.root.2'");
    server.finish(&job);
    let file = server.ledger.files().next().expect("an output");
    assert_eq!(file.lfn.as_str(), "a.root.2");
}

#[test]
fn a_job_for_a_queue_that_is_not_known_is_not_taken() {
    let mut server = Server::new();
    let mut lost = form("lost");
    lost.attributes.put("computingSite", "NOWHERE");
    let ids = submit(&mut server, vec![lost, form("a")]);
    assert_eq!(ids, [None, Some(PandaId::new(1))]);
    assert_eq!(server.task(1).n_jobs, 1);
    assert!(submit(&mut server, Vec::new()).is_empty());
}

#[test]
fn a_description_has_what_was_submitted_and_what_became_of_it() {
    let mut server = Server::new();
    submit(&mut server, vec![form("a")]);
    let job = acquire_users(&mut server, FAR).pop().expect("a job");
    server.fail(&job, ErrorCode::StageInFailed);
    let described = server
        .run(|ctx, ledger| describe_job(ctx, ledger, PandaId::new(1)))
        .unwrap()
        .expect("the job");
    let attributes = &described.attributes;
    assert_eq!(attributes.text("transformation"), "runGen");
    assert_eq!(attributes.text("jobStatus"), "activated");
    assert_eq!(attributes.text("computingSite"), FAR);
    assert_eq!(attributes.whole("attemptNr"), Some(2));
    let code = i64::from(ErrorCode::StageInFailed.number());
    assert_eq!(attributes.whole("pilotErrorCode"), Some(code));
    assert_eq!(described.files.len(), 2);
}

#[test]
fn a_job_of_a_task_is_described_with_its_files_before_and_after_it_ran() {
    let mut server = Server::with([generation(1)]);
    let describe = |server: &mut Server| {
        server
            .run(|ctx, ledger| describe_job(ctx, ledger, PandaId::new(1)))
            .unwrap()
            .expect("the job")
    };
    let before = describe(&mut server);
    assert_eq!(before.files[0].text("status"), "unknown");
    let job = server.running_job();
    server.finish(&job);
    let after = describe(&mut server);
    assert_eq!(after.files[0].text("status"), "ready");
    assert_eq!(after.files[0].text("lfn"), job.outputs[0].lfn.as_str());
    assert_eq!(after.files[1].text("type"), "log");
    assert_eq!(after.attributes.text("lockedby"), "jedi");
    assert!(describe_job_of_nobody(&mut server));
}

fn describe_job_of_nobody(server: &mut Server) -> bool {
    let found = server.run(|ctx, ledger| describe_job(ctx, ledger, PandaId::new(99)));
    found.unwrap().is_none()
}

#[test]
fn slots_in_the_background_get_jobs_for_the_background_only() {
    let mut server = Server::new();
    let mut quiet = form("quiet");
    quiet.attributes.put("jobExecutionID", 1_i64);
    submit(&mut server, vec![form("a"), quiet]);
    let mut background = request(FAR);
    background.source_label = SourceLabel::new("user");
    background.details.is_background = true;
    let execution = |server: &mut Server, id: u64| {
        let described = server.run(|ctx, ledger| describe_job(ctx, ledger, PandaId::new(id)));
        let attributes = described.unwrap().expect("the job").attributes;
        assert_eq!(attributes.text("specialHandling"), "");
        attributes.whole("jobExecutionID")
    };
    assert_eq!(execution(&mut server, 2), Some(1));
    let jobs = server.try_acquire(&background).unwrap();
    assert_eq!(jobs[0].panda_id, PandaId::new(2));
    assert!(server.try_acquire(&background).unwrap().is_empty());
    // Tried again, it is for the background still; any other slot may take it, and then it is not.
    server.fail(&jobs[0], ErrorCode::StageInFailed);
    assert_eq!(acquire_users(&mut server, FAR)[0].panda_id.value(), 1);
    assert_eq!(execution(&mut server, 2), Some(1));
    assert_eq!(acquire_users(&mut server, FAR)[0].panda_id.value(), 2);
    assert_eq!(execution(&mut server, 2), Some(0));
}

/// Somebody with production rights in one working group.
fn of_group(group: &str) -> Caller {
    Caller {
        proof: Proof::Certificate,
        name: "Group Manager".to_owned(),
        rights: Rights {
            working_groups: BTreeSet::from([group.to_owned()]),
            ..Rights::default()
        },
        ..Caller::nobody()
    }
}

#[test]
fn production_rights_in_the_group_that_a_job_names_are_enough() {
    let mut server = Server::new();
    let mut of_mpd = form("a");
    of_mpd.attributes.put("prodSourceLabel", "managed");
    of_mpd.attributes.put("workingGroup", "gr_mpd");
    submit(&mut server, vec![of_mpd]);
    let id = PandaId::new(1);
    let debug = |server: &mut Server, caller: &Caller| {
        let on = DebugMode::On;
        let said = server.run(|ctx, ledger| set_debug_mode(ctx, ledger, id, caller, on));
        said.unwrap().to_string()
    };
    let kill = |server: &mut Server, caller: &Caller| {
        let request = KillRequest {
            code: KillCode::of_number(None),
            caller,
            sub_status: None,
            unmerged: Unmerged::Lost,
        };
        let killed = server.run(|ctx, ledger| kill_jobs(ctx, ledger, &[id], request));
        killed.unwrap()[0]
    };
    let (theirs, other) = (of_group("gr_mpd"), of_group("gr_spd"));
    assert!(debug(&mut server, &other).starts_with("Permission denied"));
    assert_eq!(debug(&mut server, &theirs), "Succeeded");
    assert!(!kill(&mut server, &other));
    assert!(kill(&mut server, &theirs));
    assert_eq!(server.status(1), JobStatus::Cancelled);
}

#[test]
fn tags_of_a_job_become_what_its_pilot_is_told() {
    let mut server = Server::new();
    let mut special = form("a");
    let tags = "sc:2,po,if,up,om,ej,wf,ao:off,lc,dm";
    special.attributes.put("specialHandling", tags);
    for (lfn, dataset) in [
        ("x", "user.jane:in/"),
        ("lib", "user.jane.lib"),
        ("y", "in"),
    ] {
        let mut file = Attributes::default();
        file.put("lfn", lfn);
        file.put("type", "input");
        file.put("scope", "user.jane");
        file.put("dataset", dataset);
        special.files.push(file);
    }
    submit(&mut server, vec![special]);
    let job = acquire_users(&mut server, FAR).pop().expect("a job");
    let options = &job.options;
    assert_eq!(options.cloning, JobCloning::StoreOnce);
    assert!(options.logs_to_object_store && options.has_in_file_positions);
    assert!(options.uses_prefetcher && options.merges_on_site && options.is_debug);
    assert_eq!(
        options.write_to_file,
        "tmpin_in:x,y^tmpin_user.jane.lib:lib"
    );
    assert!(!job.looping_check);
    assert_eq!(job.parameters, "LW8gJ2Eucm9vdCc=");
}
