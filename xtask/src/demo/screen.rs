//! The live table of a running chain: redrawn in place on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use serde_json::Value;

use super::{number, text};

/// Between two lines where the output is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Characters of the progress bar.
const BAR: u64 = 24;
/// Failures shown at a time.
const FAILURES: usize = 4;

/// Draws to standard error.
pub(super) struct Screen {
    is_terminal: bool,
    lines_drawn: usize,
    next_line: Duration,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            lines_drawn: 0,
            next_line: Duration::ZERO,
        }
    }

    /// Shows tasks and failed attempts as they are now.
    pub(super) fn show(&mut self, tasks: &[Value], failures: &[Value], elapsed: Duration) {
        if self.is_terminal {
            self.redraw(&lines(tasks, failures, elapsed));
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_INTERVAL;
            eprintln!("{}", one_line(tasks, failures, elapsed));
        }
    }

    /// Leaves the last table standing.
    pub(super) fn finish(&mut self) {
        self.lines_drawn = 0;
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.lines_drawn > 0 {
            // Up to the first line of the table, and clear from there.
            text.push_str(&format!("\x1b[{}A\x1b[J", self.lines_drawn));
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.lines_drawn = lines.len();
        let mut out = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop the chain.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

fn lines(tasks: &[Value], failures: &[Value], elapsed: Duration) -> Vec<String> {
    let mut lines = vec![
        format!("  SPD production, {:.0} s", elapsed.as_secs_f64()),
        format!(
            "  {:<16}{:<10}{:<26}{:>9}{:>9}{:>9}{:>9}",
            "task", "status", "progress", "finished", "running", "waiting", "failures"
        ),
    ];
    for task in tasks {
        let total = number(task, "jobs_total").max(1);
        let finished = count(task, &["finished"]);
        let filled = usize::try_from(finished * BAR / total).unwrap_or_default();
        let empty = usize::try_from(BAR).unwrap_or_default() - filled;
        lines.push(format!(
            "  {:<16}{:<10}{}{}  {:>9}{:>9}{:>9}{:>9}",
            text(task, "name"),
            text(task, "status"),
            "█".repeat(filled),
            "░".repeat(empty),
            format!("{finished}/{total}"),
            count(task, &["sent", "starting", "running"]),
            count(task, &["pending", "defined", "assigned", "activated"]),
            number(task, "failed_attempts"),
        ));
    }
    for job in failures.iter().take(FAILURES) {
        lines.push(format!("  ! {}", failure(job)));
    }
    lines
}

/// Says why a job's attempt failed, in one sentence.
fn failure(job: &Value) -> String {
    let attempts = job
        .get("attempts")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let failed = attempts
        .iter()
        .find(|attempt| attempt.get("diagnosis").is_some_and(|d| !d.is_null()));
    let cause = failed
        .and_then(|attempt| attempt.get("diagnosis"))
        .map_or("no reason known", |diagnosis| text(diagnosis, "cause"));
    format!(
        "job {} of {}, attempt {}: {cause}",
        number(job, "panda_id"),
        text(job, "task_name"),
        failed.map_or(0, |attempt| number(attempt, "attempt_nr")),
    )
}

fn one_line(tasks: &[Value], failures: &[Value], elapsed: Duration) -> String {
    let parts: Vec<String> = tasks
        .iter()
        .map(|task| {
            format!(
                "{} {}/{}",
                text(task, "name"),
                count(task, &["finished"]),
                number(task, "jobs_total")
            )
        })
        .collect();
    let failed = failures
        .first()
        .map_or_else(String::new, |job| format!("; {}", failure(job)));
    format!(
        "{:>5.0} s  {}{failed}",
        elapsed.as_secs_f64(),
        parts.join(", ")
    )
}

fn count(task: &Value, statuses: &[&str]) -> u64 {
    task.get("jobs").map_or(0, |jobs| {
        statuses.iter().map(|status| number(jobs, status)).sum()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task() -> Value {
        json!({"name": "simulation", "status": "running", "jobs_total": 20, "failed_attempts": 1,
            "jobs": {"finished": 5, "running": 2, "pending": 13}})
    }

    #[test]
    fn the_table_has_a_head_and_a_line_a_task() {
        let lines = lines(&[task()], &[], Duration::from_secs(7));
        assert_eq!(lines.len(), 3);
        assert!(
            lines[2].contains("5/20") && lines[2].contains("██████░"),
            "{}",
            lines[2]
        );
    }

    #[test]
    fn a_failure_is_one_sentence() {
        let job = json!({"panda_id": 7, "task_name": "simulation", "attempts": [
            {"attempt_nr": 1, "diagnosis": {"cause": "The input file is cut off."}}]});
        assert_eq!(
            failure(&job),
            "job 7 of simulation, attempt 1: The input file is cut off."
        );
    }
}
