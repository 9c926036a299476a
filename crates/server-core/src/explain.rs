//! Why a job or task waits, runs or ended, in one sentence, and what would change that.
//!
//! Nothing is changed. What other demands would bring is found by asking the broker again with one
//! demand less.

mod relax;
mod task;

use std::time::Duration;

use ailurus_brokerage::{Candidate, JobNeeds, Verdict, judge};
use ailurus_model::{
    FileStatus, JobKind, JobStatus, PandaId, QueueName, queue::QueueStatus, units::format_duration,
};

pub use self::task::explain_task;
use crate::{
    Context,
    ledger::{InputNeed, JobRecord, Ledger, LedgerError},
    operation::Operation,
};

/// Queues that a sentence names.
const QUEUES_NAMED: usize = 3;
/// How long a pilot is remembered.
const PILOT_SEEN: Duration = Duration::from_secs(3 * 60 * 60);

/// Why a job or task is where it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// One sentence, without a full stop, that begins with the verb: `waits …`, `runs …`.
    pub sentence: String,
    /// Where it runs or would run, if anywhere.
    pub would_run: Option<QueueName>,
    /// What would change that, the best first; each is a sentence without a full stop.
    pub changes: Vec<String>,
    /// What was found about each queue, the best first.
    pub queues: Vec<QueueFinding>,
}

/// What was found about one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFinding {
    /// The queue.
    pub queue: QueueName,
    /// Its site.
    pub site: String,
    /// The weight, if it can have the job.
    pub weight: Option<f64>,
    /// The filter that dropped it, empty if none did.
    pub filter: &'static str,
    /// The reason in words; it continues a sentence that begins with the queue's name.
    pub reason: String,
    /// Jobs that wait there.
    pub waiting: u64,
    /// Jobs that pilots have there.
    pub running: u64,
}

/// Explains a job; none if it is not known.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn explain_job(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: PandaId,
) -> Result<Option<Explanation>, LedgerError> {
    let Some(job) = ledger.job(id)? else {
        return Ok(None);
    };
    Operation::new(ctx, ledger).explain_row(&job).map(Some)
}

impl<L: Ledger> Operation<'_, L> {
    fn explain_row(&mut self, job: &JobRecord) -> Result<Explanation, LedgerError> {
        match job.status {
            JobStatus::Pending => self.explain_pending(job),
            JobStatus::Defined | JobStatus::Assigned => self.explain_homeless(job),
            JobStatus::Activated => self.explain_activated(job),
            JobStatus::Sent
            | JobStatus::Starting
            | JobStatus::Running
            | JobStatus::Holding
            | JobStatus::Transferring
            | JobStatus::Merging => self.explain_busy(job),
            JobStatus::Finished | JobStatus::Failed | JobStatus::Cancelled | JobStatus::Closed => {
                Ok(ended(job))
            }
        }
    }

    fn explain_busy(&self, job: &JobRecord) -> Result<Explanation, LedgerError> {
        let attempt = self.ledger.attempt(job.panda_id, job.attempt_nr)?;
        let node = attempt.map_or_else(String::new, |attempt| attempt.node.to_string());
        let place = match (&job.queue, node.is_empty()) {
            (Some(queue), false) => format!("at `{queue}` on node `{node}`"),
            (Some(queue), true) => format!("at `{queue}`"),
            (None, _) => "without a queue".to_owned(),
        };
        let what = match job.status {
            JobStatus::Sent => "was given to a pilot that has not answered yet",
            JobStatus::Starting => "is being prepared by its pilot",
            JobStatus::Holding => "has ended, and its final report is awaited",
            JobStatus::Transferring => "has ended, and its outputs are on their way",
            JobStatus::Merging => "has ended, and its outputs wait to be merged",
            JobStatus::Running
            | JobStatus::Pending
            | JobStatus::Defined
            | JobStatus::Assigned
            | JobStatus::Activated
            | JobStatus::Finished
            | JobStatus::Failed
            | JobStatus::Cancelled
            | JobStatus::Closed => "runs",
        };
        let since = format_duration(whole_minutes(self.ctx.now.since(job.state_changed)));
        let mut sentence = format!(
            "{what} {place} since {since}, attempt {} of {}",
            job.attempt_nr, job.max_attempts
        );
        if job.command.is_some() {
            sentence.push_str("; its pilot is told to end it");
        }
        Ok(Explanation {
            sentence,
            would_run: job.queue.clone(),
            ..Explanation::default()
        })
    }

    /// A job that waits for inputs.
    fn explain_pending(&mut self, job: &JobRecord) -> Result<Explanation, LedgerError> {
        let needs = self.ledger.needs_of(job.panda_id)?;
        let open: Vec<&InputNeed> = needs
            .iter()
            .filter(|need| need.status == FileStatus::Expected)
            .collect();
        let Some(first) = open.first() else {
            let why = if job.reason.is_empty() {
                "its preparation".to_owned()
            } else {
                job.reason.clone()
            };
            return Ok(Explanation {
                sentence: format!("waits: {why}"),
                ..Explanation::default()
            });
        };
        let files = match open.len() {
            1 => "1 input file is not there yet".to_owned(),
            n => format!("{n} of {} input files are not there yet", needs.len()),
        };
        let (origin, change) = self.origin_of(job, first)?;
        Ok(Explanation {
            sentence: format!(
                "waits: {files}, the first is part {} of dataset `{}`{origin}",
                first.part, first.dataset
            ),
            changes: change.into_iter().collect(),
            ..Explanation::default()
        })
    }

    /// Says which task writes an input and how far it is, and what would speed that up.
    fn origin_of(
        &mut self,
        job: &JobRecord,
        need: &InputNeed,
    ) -> Result<(String, Option<String>), LedgerError> {
        let dataset = self.ledger.dataset(&need.dataset)?;
        let Some(producer) = dataset.and_then(|dataset| dataset.producer) else {
            return Ok((", which no task of this server writes".to_owned(), None));
        };
        let task = self.task(producer)?;
        if producer == job.task_id && job.kind != JobKind::Build {
            let builds = self.ledger.task_counts(producer)?;
            let left: u64 = builds.values().sum();
            let text = ", which the build job of its own task writes".to_owned();
            return Ok((
                text,
                (left == 0).then(|| "submit the task again".to_owned()),
            ));
        }
        let counts = self.ledger.task_counts(producer)?;
        let all: u64 = counts.values().sum();
        let finished = counts.get(&JobStatus::Finished).copied().unwrap_or(0);
        let origin = format!(
            ", from task {producer} `{}`, which is {} with {finished} of {all} jobs finished",
            task.spec.name, task.status
        );
        let change = format!("see `ailurus task explain {producer}`");
        Ok((origin, Some(change)))
    }

    /// A complete job without a queue.
    fn explain_homeless(&mut self, job: &JobRecord) -> Result<Explanation, LedgerError> {
        self.with_verdicts(job, |_, needs, candidates, verdicts| {
            let kept = best_of(verdicts);
            if let Some(best) = kept {
                return Explanation {
                    sentence: format!(
                        "waits for the next round of brokerage; would run at `{best}`"
                    ),
                    would_run: Some(best),
                    ..Explanation::default()
                };
            }
            let (next, why) = why_nowhere(verdicts, candidates);
            let changes = relax::changes(needs.0, needs.1, candidates);
            Explanation {
                sentence: sentence_of(&why, next.as_ref(), changes.first()),
                would_run: next,
                changes,
                ..Explanation::default()
            }
        })
    }

    /// A job that waits at its queue for a pilot.
    fn explain_activated(&mut self, job: &JobRecord) -> Result<Explanation, LedgerError> {
        let now = self.ctx.now;
        self.with_verdicts(job, |job, needs, candidates, _| {
            let here = job
                .queue
                .as_ref()
                .and_then(|name| candidates.iter().find(|it| it.queue.name == *name));
            let Some(here) = here else {
                let gone = job.queue.as_ref().map_or("", |queue| queue.as_str());
                return Explanation {
                    sentence: format!(
                        "waits at `{gone}`, which is not in the queue data any more; it is brokered \
                         anew in the next round"
                    ),
                    ..Explanation::default()
                };
            };
            let changes = relax::sooner(needs.0, needs.1, candidates, here);
            let name = &here.queue.name;
            let (waiting, running) = (here.load.queued(), here.load.busy());
            let why = match here.queue.status {
                QueueStatus::Paused | QueueStatus::Offline => {
                    format!("`{name}` is {}, it gives no jobs out", here.queue.status.as_str())
                }
                QueueStatus::Online | QueueStatus::Brokeroff | QueueStatus::Test => {
                    match here.pilot_seen {
                        None => format!("no pilot was ever seen at `{name}`"),
                        Some(ago) if ago > PILOT_SEEN => format!(
                            "no pilot was seen at `{name}` for {}",
                            format_duration(whole_minutes(ago))
                        ),
                        Some(_) => format!(
                            "`{name}` is full: {waiting} jobs wait there while {running} run"
                        ),
                    }
                }
            };
            let since = format_duration(whole_minutes(now.since(job.state_changed)));
            let mut sentence =
                format!("waits at `{name}` for a pilot since {since}: {why}");
            if let Some(change) = changes.first() {
                sentence.push_str("; ");
                sentence.push_str(change);
            }
            Explanation {
                sentence,
                would_run: Some(name.clone()),
                changes,
                ..Explanation::default()
            }
        })
    }

    /// Judges all queues for a complete job, says something about it, and adds the findings.
    fn with_verdicts(
        &mut self,
        job: &JobRecord,
        say: impl FnOnce(
            &JobRecord,
            (&ailurus_brokerage::Profile, &JobNeeds<'_>),
            &[Candidate<'_>],
            &[Verdict],
        ) -> Explanation,
    ) -> Result<Explanation, LedgerError> {
        let rows = self.ledger.needs_of(job.panda_id)?;
        let demand = self.demand_of(job, &rows)?;
        let spec = self.spec(job.task_id)?;
        let wishes = self.wishes(job.task_id)?;
        let (_, candidates) = self.candidates_for(&demand)?;
        let needs = demand.needs(&spec, &wishes);
        let profile = self.ctx.scheduling.policy.profile_of(&demand.source_label);
        let verdicts = judge(profile, &needs, &candidates);
        let mut explanation = say(job, (profile, &needs), &candidates, &verdicts);
        explanation.queues = findings(&verdicts, &candidates);
        Ok(explanation)
    }
}

fn ended(job: &JobRecord) -> Explanation {
    let at = job
        .queue
        .as_ref()
        .map_or_else(String::new, |queue| format!(" at `{queue}`"));
    let because = if job.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", job.reason)
    };
    let is_used_up = job.attempt_nr.value() >= job.max_attempts;
    let sentence = if job.status == JobStatus::Finished {
        format!("finished{at} with attempt {}", job.attempt_nr)
    } else if job.status == JobStatus::Failed && is_used_up {
        format!(
            "failed{at}, and all of its {} attempts are used up{because}",
            job.max_attempts
        )
    } else {
        format!("is {}{because}", job.status)
    };
    let may_retry = matches!(job.status, JobStatus::Failed | JobStatus::Closed);
    let change = format!(
        "`ailurus task retry {}` gives it further attempts",
        job.task_id
    );
    Explanation {
        sentence,
        would_run: None,
        changes: if may_retry { vec![change] } else { Vec::new() },
        queues: Vec::new(),
    }
}

fn whole_minutes(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() / 60 * 60)
}

fn best_of(verdicts: &[Verdict]) -> Option<QueueName> {
    let kept = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict, verdict.finding.as_ref().ok()?.total)));
    let best = kept.max_by(|a, b| a.1.total_cmp(&b.1));
    best.map(|(verdict, _)| verdict.queue.clone())
}

/// Says why no queue has the job, and which one has it next if it only takes time.
fn why_nowhere(verdicts: &[Verdict], candidates: &[Candidate<'_>]) -> (Option<QueueName>, String) {
    let soon: Vec<(&Verdict, &Candidate<'_>)> = verdicts
        .iter()
        .zip(candidates)
        .filter(|(verdict, _)| matches!(&verdict.finding, Err(it) if it.why.passes_with_time()))
        .collect();
    if !soon.is_empty() {
        let next = soon.iter().min_by_key(|(_, it)| it.load.queued());
        let next = next.map(|(verdict, _)| verdict.queue.clone());
        let named = names(soon.iter().map(|(verdict, _)| *verdict));
        let why = match soon.len() {
            1 => format!("the only queue that could run it does not take it now: {named}"),
            n => format!("all {n} queues that could run it do not take it now: {named}"),
        };
        return (next, why);
    }
    let told: Vec<&Verdict> = verdicts
        .iter()
        .filter(|verdict| !matches!(&verdict.finding, Err(it) if it.why.is_by_choice()))
        .collect();
    let why = match (told.len(), verdicts.len()) {
        (0, 0) => "the server has no queues".to_owned(),
        (0, _) => "none of the queues that its task names is there".to_owned(),
        (n, _) => format!("none of {n} queues can run it: {}", names(told.into_iter())),
    };
    (None, why)
}

fn names<'a>(verdicts: impl ExactSizeIterator<Item = &'a Verdict>) -> String {
    let n = verdicts.len();
    let mut told: Vec<String> = verdicts
        .take(QUEUES_NAMED)
        .map(|verdict| verdict.to_string())
        .collect();
    if n > QUEUES_NAMED {
        told.push(format!("and {} more", n - QUEUES_NAMED));
    }
    told.join(", ")
}

fn sentence_of(why: &str, next: Option<&QueueName>, change: Option<&String>) -> String {
    let mut sentence = format!("waits: {why}");
    if let Some(next) = next {
        sentence.push_str(&format!("; would run at `{next}` next"));
    }
    if let Some(change) = change {
        sentence.push_str("; ");
        sentence.push_str(change);
    }
    sentence
}

fn findings(verdicts: &[Verdict], candidates: &[Candidate<'_>]) -> Vec<QueueFinding> {
    let mut findings: Vec<QueueFinding> = verdicts
        .iter()
        .zip(candidates)
        .map(|(verdict, candidate)| QueueFinding {
            queue: verdict.queue.clone(),
            site: candidate.queue.site.clone(),
            weight: verdict.finding.as_ref().ok().map(|weight| weight.total),
            filter: verdict.finding.as_ref().err().map_or("", |it| it.filter),
            reason: verdict.reason(),
            waiting: candidate.load.queued(),
            running: candidate.load.busy(),
        })
        .collect();
    let order = |finding: &QueueFinding| finding.weight.unwrap_or(-1.0);
    findings.sort_by(|a, b| order(b).total_cmp(&order(a)));
    findings
}
