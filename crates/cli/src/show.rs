//! Answers of the server as text for people: times in UTC, sizes and durations with units.

use std::{collections::BTreeMap, fmt::Write as _};

use ailurus_model::ByteCount;
use ailurus_wire::rest::{AttemptView, ChangeView, DatasetView, JobView, QueueView, TaskView};

use crate::table::{Table, on_one_line};

/// Tasks, a line each.
pub(crate) fn tasks(tasks: &[TaskView]) -> String {
    if tasks.is_empty() {
        return "no tasks: `ailurus task submit FILE` makes some\n".to_owned();
    }
    let mut table = Table::new(&[
        "id#",
        "name",
        "chain",
        "status",
        "jobs#",
        "finished#",
        "running#",
        "waiting#",
        "failed#",
        "failed attempts#",
        "submitted (UTC)",
    ]);
    for task in tasks {
        let count = |statuses: &[&str]| sum(&task.jobs, statuses).to_string();
        table.row(vec![
            task.id.to_string(),
            task.name.clone(),
            task.chain.clone(),
            task.status.clone(),
            task.jobs_total.to_string(),
            count(&["finished"]),
            count(&[
                "sent",
                "starting",
                "running",
                "holding",
                "transferring",
                "merging",
            ]),
            count(&["pending", "defined", "assigned", "activated"]),
            count(&["failed", "cancelled", "closed"]),
            task.failed_attempts.to_string(),
            task.created.clone(),
        ]);
    }
    table.render()
}

/// One task in full.
pub(crate) fn task(task: &TaskView) -> String {
    let mut text = format!("task {} `{}` is {}\n", task.id, task.name, task.status);
    line(&mut text, "chain", &task.chain);
    line(&mut text, "user", &task.user);
    line(&mut text, "priority", &task.priority.to_string());
    line(&mut text, "jobs", &counts(&task.jobs));
    line(
        &mut text,
        "failed attempts",
        &task.failed_attempts.to_string(),
    );
    line(&mut text, "reads", &task.inputs.join(", "));
    line(&mut text, "writes", &task.outputs.join(", "));
    line(&mut text, "submitted", &utc(&task.created));
    line(&mut text, "status since", &utc(&task.state_changed));
    text
}

/// Jobs, a line each.
pub(crate) fn jobs(jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return "no such jobs\n".to_owned();
    }
    let mut table = Table::new(&[
        "id#",
        "task",
        "part#",
        "status",
        "attempt#",
        "queue",
        "since (UTC)",
        "why",
    ]);
    for job in jobs {
        table.row(vec![
            job.panda_id.to_string(),
            job.task_name.clone(),
            job.part.to_string(),
            job.status.clone(),
            format!("{}/{}", job.attempt_nr, job.max_attempts),
            job.queue.clone(),
            job.state_changed.clone(),
            why(job),
        ]);
    }
    table.render()
}

/// Says in a few words why a job waits or failed.
fn why(job: &JobView) -> String {
    let diagnosed = job
        .attempts
        .iter()
        .rev()
        .find(|attempt| attempt.diagnosis.is_some());
    match diagnosed {
        Some(attempt) => attempt_sentence(attempt),
        None => job.reason.clone(),
    }
}

/// One job with its attempts.
pub(crate) fn job(job: &JobView) -> String {
    let mut text = format!(
        "job {} of task {} `{}`, part {}, is {}\n",
        job.panda_id, job.task_id, job.task_name, job.part, job.status
    );
    line(&mut text, "queue", &job.queue);
    line(
        &mut text,
        "attempt",
        &format!("{} of {}", job.attempt_nr, job.max_attempts),
    );
    line(&mut text, "why", &job.reason);
    line(&mut text, "made", &utc(&job.created));
    line(&mut text, "status since", &utc(&job.state_changed));
    for attempt in &job.attempts {
        text.push('\n');
        text.push_str(&attempt_sentence(attempt));
        text.push('\n');
        attempt_details(&mut text, attempt);
    }
    if !job.history.is_empty() {
        text.push('\n');
        text.push_str(&history(&job.history));
    }
    if !job.output.is_empty() {
        text.push_str("\nlatest output, as the pilot sends it in debug mode:\n");
        for output in job.output.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}", on_one_line(output));
        }
    }
    text
}

/// The changes of a status, a line each.
fn history(changes: &[ChangeView]) -> String {
    let mut table = Table::new(&["when (UTC)", "attempt#", "status", "queue", "why"]);
    for change in changes {
        table.row(vec![
            change.time.clone(),
            change.attempt_nr.to_string(),
            change.new.clone(),
            change.queue.clone(),
            change.reason.clone(),
        ]);
    }
    table.render()
}

/// Says in one sentence what became of an attempt; of a failed one, its cause and remedy.
fn attempt_sentence(attempt: &AttemptView) -> String {
    let head = format!(
        "attempt {} {} on {}",
        attempt.attempt_nr,
        verb(&attempt.status),
        attempt.queue
    );
    match &attempt.diagnosis {
        Some(diagnosis) => format!("{head}: {} {}", diagnosis.cause, diagnosis.remedy),
        None => head,
    }
}

fn verb(status: &str) -> String {
    match status {
        "finished" | "failed" => status.to_owned(),
        "cancelled" => "was cancelled".to_owned(),
        other => format!("is {other}"),
    }
}

fn attempt_details(text: &mut String, attempt: &AttemptView) {
    if let Some(diagnosis) = &attempt.diagnosis {
        line(
            text,
            "error",
            &format!(
                "{} ({}, {})",
                diagnosis.code, diagnosis.entry, diagnosis.blame
            ),
        );
        line(text, "text", &diagnosis.text);
        line(text, "payload said", &diagnosis.payload_text);
    }
    let exit = attempt
        .payload_exit_code
        .map_or_else(String::new, |code| code.to_string());
    line(text, "payload exit code", &exit);
    line(text, "node", &attempt.node);
    line(text, "seed", &attempt.seed.to_string());
    line(text, "sent", &utc(&attempt.sent));
    line(text, "started", &utc(&attempt.started));
    line(text, "ended", &utc(&attempt.ended));
    let cpu = attempt
        .cpu_secs
        .map_or_else(String::new, |seconds| format!("{seconds} s"));
    line(text, "CPU", &cpu);
    let memory = attempt
        .rss_max
        .map(|bytes| ByteCount::from_bytes(bytes).to_string());
    line(text, "peak memory", &memory.unwrap_or_default());
    line(text, "log archive", &attempt.log_surl);
    for (name, value) in &attempt.report {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        line(text, name, &value);
    }
}

/// Queues, a line each.
pub(crate) fn queues(queues: &[QueueView]) -> String {
    if queues.is_empty() {
        return "the server has no queues: give it queue data with `--queues FILE`\n".to_owned();
    }
    let mut table = Table::new(&[
        "name",
        "site",
        "status",
        "cores#",
        "memory#",
        "waiting#",
        "running#",
        "workers#",
        "writes to",
    ]);
    for queue in queues {
        table.row(vec![
            queue.name.clone(),
            queue.site.clone(),
            queue.status.clone(),
            queue.cores.to_string(),
            memory(queue.memory),
            sum(&queue.jobs, &["defined", "assigned", "activated"]).to_string(),
            sum(&queue.jobs, &["sent", "starting", "running"]).to_string(),
            queue.workers.values().sum::<u64>().to_string(),
            queue.output_endpoint.clone(),
        ]);
    }
    table.render()
}

/// One queue in full.
pub(crate) fn queue(queue: &QueueView) -> String {
    let mut text = format!(
        "queue {} of site {} is {}\n",
        queue.name, queue.site, queue.status
    );
    line(&mut text, "cores", &queue.cores.to_string());
    line(&mut text, "memory", &memory(queue.memory));
    line(&mut text, "writes to", &queue.output_endpoint);
    line(&mut text, "jobs", &counts(&queue.jobs));
    line(&mut text, "workers", &counts(&queue.workers));
    text
}

/// A dataset with its files.
pub(crate) fn dataset(dataset: &DatasetView) -> String {
    let mut text = format!(
        "dataset {}: {} of {} files\n",
        dataset.name,
        dataset.files.len(),
        dataset.parts
    );
    let mut table = Table::new(&["part#", "file", "size#", "checksum", "endpoint", "place"]);
    for file in &dataset.files {
        let size = file
            .size
            .map(|bytes| ByteCount::from_bytes(bytes).to_string());
        table.row(vec![
            file.part.to_string(),
            file.lfn.clone(),
            size.unwrap_or_default(),
            file.checksum.clone().unwrap_or_default(),
            file.endpoint.clone(),
            file.surl.clone(),
        ]);
    }
    text.push_str(&table.render());
    text
}

/// Adds a line of a name and a value, unless there is no value.
fn line(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<17} {}", on_one_line(value));
    }
}

fn utc(time: &str) -> String {
    if time.is_empty() {
        String::new()
    } else {
        format!("{time} UTC")
    }
}

fn memory(bytes: u64) -> String {
    match bytes {
        0 => "no limit".to_owned(),
        _ => ByteCount::from_bytes(bytes).to_string(),
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    parts.join(", ")
}

fn sum(counts: &BTreeMap<String, u64>, statuses: &[&str]) -> u64 {
    statuses
        .iter()
        .filter_map(|status| counts.get(*status))
        .sum()
}

#[cfg(test)]
mod tests;
