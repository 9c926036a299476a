//! What came out of the demo: the report for programs, and the closing table for people.

use std::{fs, path::Path, time::Duration};

use ailurus_testkit::Deployment;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{number, storage::Servers, text};

/// Where the peaks must be, in MeV (Particle Data Group), and how far off they may lie.
const PEAKS: [(&str, f64); 2] = [("k0s_mev", 497.6), ("lambda_mev", 1115.7)];
const PEAK_TOLERANCE_MEV: f64 = 3.0;
/// With fewer events than this the peaks are drawn, but their position is not judged.
const EVENTS_FOR_PEAKS: u64 = 5_000;

/// What the chain gave.
pub(super) struct Outcome {
    tasks: Vec<Value>,
    failures: Vec<Value>,
    summary: Value,
    wall: Duration,
}

/// Asks the server what became of everything, and copies picture and summary into the demo's
/// folder.
///
/// # Errors
///
/// The server does not answer.
pub(super) fn collect(
    deployment: &Deployment,
    servers: &Servers,
    tasks: &[Value],
    wall: Duration,
) -> anyhow::Result<Outcome> {
    let failures = deployment.command_line(&["job", "list", "--failed-attempts"])?;
    copy_output(deployment, servers, "spd.pp27.plot", "peaks.png")?;
    let summary_file = copy_output(deployment, servers, "spd.pp27.summary", "summary.json")?;
    let summary = match summary_file {
        Some(path) => {
            serde_json::from_slice(&fs::read(path)?).context("`summary.json` is no JSON")?
        }
        None => Value::Null,
    };
    Ok(Outcome {
        tasks: tasks.to_vec(),
        failures: failures.as_array().cloned().unwrap_or_default(),
        summary,
        wall,
    })
}

/// Copies the only file of a dataset out of its storage, if it is there.
fn copy_output(
    deployment: &Deployment,
    servers: &Servers,
    dataset: &str,
    name: &str,
) -> anyhow::Result<Option<std::path::PathBuf>> {
    let dataset = deployment.command_line(&["dataset", "show", dataset])?;
    let surl = dataset
        .pointer("/files/0/surl")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if surl.is_empty() {
        return Ok(None);
    }
    let target = deployment.folder().join(name);
    servers.fetch(surl, &target)?;
    Ok(Some(target))
}

impl Outcome {
    /// Writes `report.json`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let tasks: Vec<Value> = self
            .tasks
            .iter()
            .map(|task| {
                json!({"name": task["name"], "status": task["status"], "jobs": task["jobs_total"]})
            })
            .collect();
        let report = json!({
            "jobs": {
                "total": self.total(),
                "finished": self.count("finished"),
                "failed_attempts": self.failed_attempts(),
                "lost": self.lost(),
            },
            "wall_s": (self.wall.as_secs_f64() * 10.0).round() / 10.0,
            "tasks": tasks,
            "peaks": {
                "k0s_mev": self.summary["k0s_mev"],
                "lambda_mev": self.summary["lambda_mev"],
            },
            "diagnosed": self.diagnosed(),
        });
        let path = folder.join("report.json");
        fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("`{}` cannot be written", path.display()))
    }

    /// Prints the closing table: what came out, where it lies, what to try next.
    pub(super) fn print(&self, deployment: &Deployment) {
        let folder = deployment.folder().display();
        println!(
            "\n  {:<18}{:<10}{:>6}{:>10}{:>18}",
            "task", "status", "jobs", "finished", "failed attempts"
        );
        for task in &self.tasks {
            println!(
                "  {:<18}{:<10}{:>6}{:>10}{:>18}",
                text(task, "name"),
                text(task, "status"),
                number(task, "jobs_total"),
                number(&task["jobs"], "finished"),
                number(task, "failed_attempts"),
            );
        }
        println!(
            "\n  {} of {} jobs finished in {:.0} s; {} lost",
            self.count("finished"),
            self.total(),
            self.wall.as_secs_f64(),
            self.lost()
        );
        for diagnosis in self.diagnosed() {
            println!(
                "  Job {} failed at attempt {} and was healed: {} {}",
                diagnosis["panda_id"],
                diagnosis["attempt_nr"],
                text(&diagnosis, "cause"),
                text(&diagnosis, "remedy")
            );
        }
        if let (Some(k0s), Some(lambda)) = (self.peak("k0s_mev"), self.peak("lambda_mev")) {
            println!("  Peaks: K0s at {k0s:.2} MeV, Λ at {lambda:.2} MeV");
        }
        println!("\n  Picture   {folder}/peaks.png\n  Report    {folder}/report.json");
        println!(
            "  Logs      {folder}/server.log, harvester.log and workers/ (one folder a pilot)"
        );
        println!("\n  Try next: cargo xtask demo --keep, and in a second terminal");
        println!(
            "            export AILURUS_SERVER={}   (the address that the demo prints)",
            deployment.url()
        );
        println!("            target/debug/ailurus task list");
        if let Some(job) = self.failures.first() {
            println!(
                "            target/debug/ailurus job show {}",
                number(job, "panda_id")
            );
        }
    }

    /// Says whether the chain did what it must.
    ///
    /// # Errors
    ///
    /// A job was lost or failed, the fault was not found, or a peak lies elsewhere.
    pub(super) fn check(&self, has_fault: bool, events: u64) -> anyhow::Result<()> {
        if self.lost() > 0 || self.count("finished") != self.total() {
            bail!(
                "{} of {} jobs finished, {} lost",
                self.count("finished"),
                self.total(),
                self.lost()
            );
        }
        let is_found = self
            .diagnosed()
            .iter()
            .any(|diagnosis| text(diagnosis, "entry") == "root-file-truncated");
        if has_fault && !is_found {
            bail!(
                "the fault was not diagnosed as a truncated ROOT file: {:?}",
                self.diagnosed()
            );
        }
        for (key, expected) in PEAKS {
            let Some(found) = self.peak(key) else {
                // A handful of events may hold no decay at all.
                if events < EVENTS_FOR_PEAKS {
                    continue;
                }
                bail!("the analysis gave no `{key}`");
            };
            if events >= EVENTS_FOR_PEAKS && (found - expected).abs() > PEAK_TOLERANCE_MEV {
                bail!(
                    "`{key}` is {found:.2} MeV, expected {expected} within {PEAK_TOLERANCE_MEV} MeV"
                );
            }
        }
        Ok(())
    }

    fn peak(&self, key: &str) -> Option<f64> {
        self.summary.get(key).and_then(Value::as_f64)
    }

    fn total(&self) -> u64 {
        self.tasks
            .iter()
            .map(|task| number(task, "jobs_total"))
            .sum()
    }

    fn count(&self, status: &str) -> u64 {
        self.tasks
            .iter()
            .map(|task| number(&task["jobs"], status))
            .sum()
    }

    fn failed_attempts(&self) -> u64 {
        self.tasks
            .iter()
            .map(|task| number(task, "failed_attempts"))
            .sum()
    }

    /// Jobs that are in no final state although their task has ended.
    fn lost(&self) -> u64 {
        const FINAL: [&str; 4] = ["finished", "failed", "cancelled", "closed"];
        let ended: u64 = FINAL.iter().map(|status| self.count(status)).sum();
        self.total().saturating_sub(ended)
    }

    fn diagnosed(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for job in &self.failures {
            let attempts = job.get("attempts").and_then(Value::as_array);
            for attempt in attempts.into_iter().flatten() {
                let diagnosis = &attempt["diagnosis"];
                if !diagnosis.is_null() {
                    found.push(json!({
                        "panda_id": job["panda_id"], "task": job["task_name"],
                        "attempt_nr": attempt["attempt_nr"], "code": diagnosis["code"],
                        "entry": diagnosis["entry"], "blame": diagnosis["blame"],
                        "cause": diagnosis["cause"], "remedy": diagnosis["remedy"],
                    }));
                }
            }
        }
        found
    }
}
