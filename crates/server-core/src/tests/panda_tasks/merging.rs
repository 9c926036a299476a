//! What becomes of what a merge job reads.

use ailurus_model::PandaId;

use super::*;
use crate::{KillCode, KillRequest, Unmerged, kill_jobs};

/// Kills the merge job of a task of one job, and says what the other one is then.
fn status_after_kill(unmerged: Unmerged) -> (Server, PandaId, JobStatus) {
    let mut server = Server::new();
    let task = with(
        generation("m", 1),
        &json!({
            "mergeOutput": true,
            "mergeSpec": {"transPath": "merge.sh",
                "jobParameters": "-o ${OUTPUT0} -i ${TRN_OUTPUT0/L}"},
        }),
    );
    server.submit_panda(task);
    server.steps();
    let source = server.next_job().unwrap();
    server.finish(&source);
    server.pass(Duration::from_secs(60));
    server.steps();
    let merge = server.next_job().expect("a merge job");
    assert_eq!(server.job(merge.panda_id.value()).kind, JobKind::Merge);
    let caller = Caller::loopback();
    let request = KillRequest {
        code: KillCode::User,
        caller: &caller,
        sub_status: None,
        unmerged,
    };
    let ids = [merge.panda_id];
    let killed = server.run(|ctx, ledger| kill_jobs(ctx, ledger, &ids, request));
    assert_eq!(killed.unwrap(), [true]);
    let status = server.status(source.panda_id.value());
    (server, merge.panda_id, status)
}

#[test]
fn what_a_killed_merge_job_reads_fails_with_it() {
    let (server, merge, status) = status_after_kill(Unmerged::Lost);
    assert_eq!(server.status(merge.value()), JobStatus::Cancelled);
    assert_eq!(status, JobStatus::Failed);
}

#[test]
fn what_is_kept_is_merged_anew() {
    let (mut server, merge, status) = status_after_kill(Unmerged::Kept);
    assert_eq!(server.status(merge.value()), JobStatus::Activated);
    assert_eq!(status, JobStatus::Merging);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}
