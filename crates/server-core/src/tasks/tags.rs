//! What is special about the jobs of a task, by its rules.

use ailurus_jedi::{RefinedTask, Rule, refined::EventService};
use ailurus_model::{JobKind, JobTags, job_tags};

/// The tags of all jobs.
const COMMON: [(Rule, &str); 5] = [
    (Rule::PushStatusChanges, job_tags::PUSH_CHANGES),
    (Rule::PushJob, job_tags::PUSH_JOB),
    (Rule::DebugMode, job_tags::DEBUG),
    (Rule::UseSecrets, job_tags::SECRETS),
    (Rule::NoLoopingCheck, job_tags::NO_LOOPING_CHECK),
];
/// Those of the jobs that run the payload.
const OF_PAYLOAD: [(Rule, &str); 7] = [
    (Rule::EncJobParams, job_tags::ENCODED_PARAMETERS),
    (Rule::PutLogToOs, job_tags::LOG_TO_OBJECT_STORE),
    (Rule::InFilePosEvtNum, job_tags::IN_FILE_POSITION),
    (Rule::UsePrefetcher, job_tags::PREFETCHER),
    (Rule::WriteInputToFile, job_tags::WRITE_INPUT_LIST),
    (Rule::OnSiteMerging, job_tags::ON_SITE_MERGING),
    (Rule::HpoWorkflow, job_tags::HPO),
];

/// Those of the jobs that take ranges of events.
const OF_EVENTS: [(Rule, &str); 3] = [
    (Rule::AllowPartialFinish, job_tags::ACCEPT_PARTIAL),
    (Rule::DecAttOnFailedEs, job_tags::COUNT_FAILURES_ONLY),
    (Rule::NotDiscardEvents, job_tags::KEEP_EVENTS),
];

/// Returns the tags that follow from the rules of a job's task.
///
/// Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`, `doGenerate`.
pub(super) fn tags_of(refined: &RefinedTask, kind: JobKind) -> JobTags {
    let runs_payload = matches!(kind, JobKind::Run | JobKind::Scout | JobKind::Consumer);
    let special = OF_PAYLOAD.iter().filter(|_| runs_payload);
    let mut tags = JobTags::default();
    for (rule, tag) in COMMON.iter().chain(special) {
        if refined.rules.is_set(*rule) {
            tags.insert(tag);
        }
    }
    if let Some(copies @ (1 | 2)) = refined.rules.number(Rule::UseJobCloning)
        && runs_payload
    {
        tags.insert(&format!("{}{copies}", job_tags::CLONING));
    }
    let own = match refined.event_service {
        EventService::Ranges => job_tags::EVENT_SERVICE,
        EventService::FineGrained => job_tags::FINE_GRAINED,
        EventService::None | EventService::Cloning => return tags,
    };
    if runs_payload {
        tags.insert(own);
        for (rule, tag) in OF_EVENTS {
            if refined.rules.is_set(rule) {
                tags.insert(tag);
            }
        }
    }
    tags
}
