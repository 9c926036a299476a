//! Jobs that are made up, for tests of what follows from their rows alone.

use ailurus_model::{
    AttemptNr, ByteCount, JobKind, JobStatus, JobTags, PandaId, SourceLabel, TaskId, Timestamp,
};

use crate::ledger::JobRecord;

pub(super) fn job_with(tags: &str, attempt: u32, max_attempts: u32) -> JobRecord {
    JobRecord {
        panda_id: PandaId::new(7),
        task_id: TaskId::new(3),
        part: 0,
        kind: JobKind::Run,
        serial: 1,
        status: JobStatus::Running,
        attempt_nr: AttemptNr::new(attempt),
        max_attempts,
        first_event: 0,
        n_events: 0,
        queue: None,
        priority: 0,
        source_label: SourceLabel::new("managed"),
        resource_type: String::new(),
        cores: 1,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        walltime_secs: 0,
        command: None,
        created: Timestamp::from_millis(0),
        modified: Timestamp::from_millis(0),
        state_changed: Timestamp::from_millis(0),
        worker: None,
        reason: String::new(),
        sub_status: String::new(),
        tags: JobTags::new(tags),
        global_share: String::new(),
        parent: None,
        server_code: 0,
        turn: PandaId::new(7),
    }
}
