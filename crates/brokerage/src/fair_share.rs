//! The fair share policy of a queue, as far as it closes the queue to a kind of job.
//!
//! Entries stand between commas or semicolons: conditions between colons, and the share behind the
//! last one, for example `type=merge:0%,type=simul:group=spd:30%,type=any:70%`. The first entry
//! whose conditions all hold counts.
//!
//! Source: PanDA server, `pandajedi/jedibrokerage/AtlasBrokerUtils.py`, `hasZeroShare`.

use regex::Regex;

use crate::{filter::is_analysis_label, needs::JobNeeds};

/// What fits every job.
const ANY: &str = "any";
/// PanDA's word for important production.
const ANY_HIGH: &str = "anyhigh";
/// From which priority on production is important.
const HIGH_PRIORITY: i64 = 900;

/// Returns the entry that gives the job nothing, if the first one that fits it does so.
pub(crate) fn zero_share<'a>(policy: &'a str, job: &JobNeeds<'_>) -> Option<&'a str> {
    let entries = policy.split([',', ';']).map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let (conditions, share) = entry.rsplit_once(':').unwrap_or(("", entry));
        if conditions.split(':').all(|condition| holds(condition, job)) {
            let is_zero = share.trim().trim_end_matches('%').trim() == "0";
            return is_zero.then_some(entry);
        }
    }
    None
}

/// A condition that we do not know does not hold.
fn holds(condition: &str, job: &JobNeeds<'_>) -> bool {
    let condition = condition.trim();
    if condition.is_empty() {
        return true;
    }
    if let Some(limit) = condition.strip_prefix("priority") {
        return priority_holds(limit, job.priority);
    }
    let Some((key, wanted)) = condition.split_once('=') else {
        return false;
    };
    match key.trim() {
        "type" if wanted == ANY => true,
        "type" if wanted == ANY_HIGH => {
            !is_analysis_label(job.source_label) && job.priority >= HIGH_PRIORITY
        }
        "type" => matches_whole(wanted, job.processing_type),
        "group" => matches_whole(wanted, job.working_group),
        "gshare" | "share" => matches_whole(wanted, job.share),
        "label" => matches_whole(wanted, job.source_label.as_str()),
        _ => false,
    }
}

/// `>400`, `>=400`, `<400`, `<=400` or `=400`.
fn priority_holds(limit: &str, priority: i64) -> bool {
    let number_of = |text: &str| text.trim().parse::<i64>().ok();
    [
        (">=", (|a, b| a >= b) as fn(i64, i64) -> bool),
        ("<=", |a, b| a <= b),
        (">", |a, b| a > b),
        ("<", |a, b| a < b),
        ("=", |a, b| a == b),
    ]
    .into_iter()
    .find_map(|(sign, compare)| Some((compare, number_of(limit.strip_prefix(sign)?)?)))
    .is_some_and(|(compare, number)| compare(priority, number))
}

/// `*` stands for any text, everything else is a regular expression.
fn matches_whole(pattern: &str, text: &str) -> bool {
    let pattern = pattern.trim();
    if pattern == "*" || pattern == text {
        return true;
    }
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|it| it.is_match(text))
}
