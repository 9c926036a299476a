//! Rows as the JSON API shows them.

use std::collections::BTreeMap;

use ailurus_diagnosis::{Catalogue, ErrorSource};
use ailurus_model::{Queue, Timestamp, update::ReportedError};
use ailurus_server_core::ledger::{AttemptRecord, Changed, FileRecord, HistoryRow, JobCounts};
use ailurus_store::{JobRow, TaskRow, WorkerCounts};
use ailurus_wire::rest::{
    AttemptView, ChangeView, DiagnosisView, FileView, JobView, QueueView, TaskView,
};

/// Shows a task.
pub(super) fn task(row: &TaskRow) -> TaskView {
    let (task, spec) = (&row.task, &*row.task.spec);
    TaskView {
        id: task.id.value(),
        name: spec.name.clone(),
        chain: spec
            .chain
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        user: spec.user.clone(),
        status: task.status.to_string(),
        priority: spec.priority,
        jobs: counts(&row.jobs),
        jobs_total: row.jobs.values().sum(),
        failed_attempts: row.failed_attempts,
        created: time(Some(task.created)),
        state_changed: time(Some(task.state_changed)),
        inputs: spec
            .inputs
            .iter()
            .map(|input| input.dataset.to_string())
            .collect(),
        outputs: spec
            .outputs
            .iter()
            .map(|output| output.dataset.to_string())
            .collect(),
    }
}

/// Shows a job with the attempts that the row has.
pub(super) fn job(row: &JobRow, catalogue: &Catalogue) -> JobView {
    let job = &row.job;
    JobView {
        panda_id: job.panda_id.value(),
        task_id: job.task_id.value(),
        task_name: row.task_name.clone(),
        part: job.part,
        status: job.status.to_string(),
        attempt_nr: job.attempt_nr.value(),
        max_attempts: job.max_attempts,
        queue: job
            .queue
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        reason: job.reason.clone(),
        created: time(Some(job.created)),
        state_changed: time(Some(job.state_changed)),
        attempts: row
            .attempts
            .iter()
            .map(|record| attempt(record, catalogue))
            .collect(),
        history: row.history.iter().map(change).collect(),
        output: String::new(),
    }
}

fn attempt(attempt: &AttemptRecord, catalogue: &Catalogue) -> AttemptView {
    AttemptView {
        attempt_nr: attempt.attempt_nr.value(),
        status: attempt.status.to_string(),
        queue: attempt.queue.to_string(),
        node: attempt.node.to_string(),
        seed: attempt.seed.value(),
        sent: time(Some(attempt.sent)),
        started: time(attempt.started),
        ended: time(attempt.ended),
        payload_exit_code: attempt.payload_exit_code,
        cpu_secs: attempt.cpu_secs,
        rss_max: attempt.rss_max.map(|size| size.as_bytes()),
        diagnosis: diagnosis(attempt, catalogue),
        log_surl: attempt.log_surl.clone(),
        pilot_log: attempt.pilot_log.clone(),
        report: serde_json::from_str(&attempt.report).unwrap_or_default(),
    }
}

fn change(row: &HistoryRow) -> ChangeView {
    let change = &row.change;
    let (attempt_nr, old, new) = match change.changed {
        Changed::Job {
            attempt_nr,
            old,
            new,
            ..
        } => (
            attempt_nr.value(),
            old.map(|status| status.as_str()),
            new.as_str(),
        ),
        Changed::Task { old, new } => (0, old.map(|status| status.as_str()), new.as_str()),
    };
    ChangeView {
        id: row.id.value(),
        time: time(Some(change.time)),
        attempt_nr,
        old: old.unwrap_or_default().to_owned(),
        new: new.to_owned(),
        queue: change
            .queue
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        reason: change.reason.clone(),
    }
}

/// Explains a failed attempt by the entry that was chosen when it failed; an entry that this
/// program's catalogue does not have is chosen anew.
fn diagnosis(attempt: &AttemptRecord, catalogue: &Catalogue) -> Option<DiagnosisView> {
    let (source, error) = main_error(attempt)?;
    let text = error.diag.clone();
    let payload_text = attempt
        .payload_error
        .as_ref()
        .map_or_else(String::new, |error| error.diag.clone());
    Some(match catalogue.entry(&attempt.diagnosis) {
        Some(entry) => DiagnosisView {
            code: error.code,
            entry: entry.id.clone(),
            blame: entry.blame.as_str().to_owned(),
            cause: entry.cause.clone(),
            remedy: entry.remedy.clone(),
            text,
            payload_text,
        },
        None => {
            let found = catalogue.explain(source, error.code, &text);
            DiagnosisView {
                code: error.code,
                entry: found.entry,
                blame: found.blame.as_str().to_owned(),
                cause: found.cause,
                remedy: found.remedy,
                text,
                payload_text,
            }
        }
    })
}

/// The error that says most: the pilot's, else the server's, else the payload's own.
fn main_error(attempt: &AttemptRecord) -> Option<(ErrorSource, &ReportedError)> {
    let by_source = [
        (ErrorSource::Pilot, &attempt.pilot_error),
        (ErrorSource::Dispatcher, &attempt.server_error),
        (ErrorSource::Payload, &attempt.payload_error),
    ];
    by_source
        .into_iter()
        .find_map(|(source, error)| error.as_ref().map(|error| (source, error)))
}

/// Shows a queue.
pub(super) fn queue(queue: &Queue, jobs: &JobCounts, workers: &WorkerCounts) -> QueueView {
    QueueView {
        name: queue.name.to_string(),
        site: queue.site.clone(),
        status: queue.status.as_str().to_owned(),
        cores: queue.core_count,
        memory: queue.memory.as_bytes(),
        jobs: counts(jobs),
        workers: counts(workers),
        output_endpoint: queue
            .output_endpoint()
            .map_or_else(String::new, ToString::to_string),
    }
}

/// Shows a file.
pub(super) fn file(file: &FileRecord) -> FileView {
    FileView {
        lfn: file.lfn.to_string(),
        part: file.part,
        size: file.size.map(|size| size.as_bytes()),
        checksum: file.checksum.as_ref().map(ToString::to_string),
        surl: file.surl.clone(),
        endpoint: file.endpoint.to_string(),
    }
}

fn counts<S: ToString>(counts: &BTreeMap<S, u64>) -> BTreeMap<String, u64> {
    counts
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(status, n)| (status.to_string(), *n))
        .collect()
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, Timestamp::to_panda_text)
}
