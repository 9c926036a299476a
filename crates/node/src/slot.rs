//! When the batch system ends the slot, by what it says in variables, ads or answers.
//!
//! [`slot_end`] judges what is at hand at no cost; [`ask_slot_end`] runs the batch system's own
//! command, for those that say it nowhere else. A slot without a known end is no error.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::Timestamp;
use ailurus_process::run_command;

use crate::{BatchIdentity, BatchSystem, features::JobFeatures};

/// Longest run of the batch system's command.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most of its answer that is read, in bytes.
const OUTPUT_MAX: usize = 256 << 10;

/// The end of a slot, and who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotEnd {
    /// When the batch system ends it.
    pub at: Timestamp,
    /// What said so: a variable, an attribute or a command.
    pub source: &'static str,
}

/// What a slot says of itself.
#[derive(Debug, Clone, Copy)]
pub struct SlotTexts<'a> {
    /// The pilot's environment.
    pub env: &'a BTreeMap<String, String>,
    /// Text of the file that `_CONDOR_JOB_AD` names, empty without one.
    pub job_ad: &'a str,
    /// Text of the file that `_CONDOR_MACHINE_AD` names, empty without one.
    pub machine_ad: &'a str,
    /// The job features.
    pub features: &'a JobFeatures,
    /// When the pilot began: limits count from there where the slot's own begin is not known.
    pub begin: Timestamp,
}

/// Attributes of `HTCondor` machine ads that are an end by themselves.
const MACHINE_ENDS: [&str; 2] = ["GLIDEIN_ToDie", "DaemonShutdownTime"];

/// Attributes of `HTCondor` job ads that count in seconds from the attribute behind them.
const JOB_DURATIONS: [(&str, &str, u64); 3] = [
    ("AllowedExecuteDuration", "JobCurrentStartExecutingDate", 1),
    ("AllowedJobDuration", "JobCurrentStartDate", 1),
    ("MaxWallTimeMins", "JobCurrentStartDate", 60),
];

/// Finds the end of the slot: the earliest that anything at hand says.
#[must_use]
pub fn slot_end(texts: &SlotTexts<'_>) -> Option<SlotEnd> {
    let variable = |name: &str| texts.env.get(name).map(String::as_str);
    let mut ends = Vec::new();
    let mut add = |at: Option<Timestamp>, source| ends.extend(at.map(|at| SlotEnd { at, source }));
    add(
        variable("SLURM_JOB_END_TIME").and_then(epoch),
        "SLURM_JOB_END_TIME",
    );
    add(
        variable("PBS_WALLTIME")
            .and_then(span)
            .map(|limit| texts.begin.after(limit)),
        "PBS_WALLTIME",
    );
    for name in MACHINE_ENDS {
        add(attribute(texts.machine_ad, name).and_then(epoch), name);
    }
    for (limit, from, unit_seconds) in JOB_DURATIONS {
        let seconds = attribute(texts.job_ad, limit).and_then(|it| it.parse::<u64>().ok());
        let Some(seconds) = seconds.filter(|it| *it > 0) else {
            continue;
        };
        let from = attribute(texts.job_ad, from).and_then(epoch);
        let from = from.unwrap_or(texts.begin);
        let span = Duration::from_secs(seconds.saturating_mul(unit_seconds));
        add(Some(from.after(span)), limit);
    }
    add(texts.features.end(), "JOBFEATURES");
    ends.into_iter().min()
}

/// Asks the batch system for the end of the slot. It takes seconds at most.
///
/// `begin` is when the pilot began and `now` the current time, both by the node's clock.
#[must_use]
pub fn ask_slot_end(batch: &BatchIdentity, begin: Timestamp, now: Timestamp) -> Option<SlotEnd> {
    let argv = question(batch)?;
    let output = run_command(&argv, TIMEOUT, OUTPUT_MAX).ok()?;
    if !output.is_success() {
        return None;
    }
    parse_answer(batch.system, &output.stdout_text(), begin, now)
}

/// Returns the command that tells the time that is left.
fn question(batch: &BatchIdentity) -> Option<Vec<&str>> {
    let id = batch.id.as_str();
    // An id that looks like an option is not one of a batch system.
    if id.starts_with('-') {
        return None;
    }
    match batch.system {
        BatchSystem::Slurm => Some(vec!["squeue", "-h", "-j", id, "-o", "%L"]),
        BatchSystem::Torque => Some(vec!["qstat", "-f", id]),
        BatchSystem::Lsf => Some(vec!["bjobs", "-noheader", "-o", "time_left", id]),
        BatchSystem::GridEngine => Some(vec!["qstat", "-j", id]),
        BatchSystem::Bqs | BatchSystem::Condor | BatchSystem::Kubernetes => None,
    }
}

/// Reads the answer to [`question`]. Pure.
#[must_use]
pub fn parse_answer(
    system: BatchSystem,
    answer: &str,
    begin: Timestamp,
    now: Timestamp,
) -> Option<SlotEnd> {
    let (at, source) = match system {
        BatchSystem::Slurm => (now.after(span(answer.trim())?), "squeue"),
        BatchSystem::Lsf => {
            // Hours and minutes, and a letter for how sure that is: `1:30 L`.
            let (hours, minutes) = answer.split_ascii_whitespace().next()?.split_once(':')?;
            let hours: u64 = hours.parse().ok()?;
            let minutes: u64 = minutes.parse().ok()?;
            let seconds = hours
                .checked_mul(3600)?
                .checked_add(minutes.checked_mul(60)?)?;
            (now.after(Duration::from_secs(seconds)), "bjobs")
        }
        BatchSystem::Torque => {
            let limit = attribute(answer, "Resource_List.walltime").and_then(span)?;
            let used = attribute(answer, "resources_used.walltime").and_then(span);
            let left = used.map(|used| now.after(limit.saturating_sub(used)));
            (left.unwrap_or_else(|| begin.after(limit)), "qstat")
        }
        BatchSystem::GridEngine => {
            let limits = answer
                .split(|it: char| it.is_ascii_whitespace() || it == ',')
                .filter_map(|word| {
                    let (name, value) = word.split_once('=')?;
                    matches!(name, "s_rt" | "h_rt")
                        .then(|| span(value))
                        .flatten()
                });
            (begin.after(limits.min()?), "qstat")
        }
        BatchSystem::Bqs | BatchSystem::Condor | BatchSystem::Kubernetes => return None,
    };
    Some(SlotEnd { at, source })
}

/// Returns an attribute of a text of lines such as `Name = "value"`.
fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

fn epoch(text: &str) -> Option<Timestamp> {
    let seconds: u32 = text.trim().parse().ok()?;
    (seconds > 0).then(|| Timestamp::from_millis(i64::from(seconds) * 1000))
}

/// Reads `1-02:03:04`, `02:03:04`, `03:04` or seconds; words such as `UNLIMITED` are nothing.
fn span(text: &str) -> Option<Duration> {
    let (days, rest) = text.trim().split_once('-').unwrap_or(("0", text.trim()));
    let days: u64 = days.parse().ok()?;
    let mut seconds: u64 = 0;
    for part in rest.split(':') {
        let part: u64 = part.parse().ok()?;
        seconds = seconds.checked_mul(60)?.checked_add(part)?;
    }
    let all = days.checked_mul(86_400)?.checked_add(seconds)?;
    (rest.split(':').count() <= 3).then(|| Duration::from_secs(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn end_of(env: &[(&str, &str)], job_ad: &str, machine_ad: &str) -> Option<(i64, &'static str)> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let texts = SlotTexts {
            env: &env,
            job_ad,
            machine_ad,
            features: &JobFeatures::default(),
            begin: at(1000),
        };
        slot_end(&texts).map(|end| (end.at.as_secs(), end.source))
    }

    fn answer(system: BatchSystem, answer: &str) -> Option<i64> {
        parse_answer(system, answer, at(1000), at(1600)).map(|end| end.at.as_secs())
    }

    #[test]
    fn variables_tell_the_end() {
        assert_eq!(
            end_of(&[("SLURM_JOB_END_TIME", "5000")], "", ""),
            Some((5000, "SLURM_JOB_END_TIME"))
        );
        assert_eq!(
            end_of(&[("PBS_WALLTIME", "3600")], "", ""),
            Some((4600, "PBS_WALLTIME"))
        );
        assert_eq!(end_of(&[("SLURM_JOB_END_TIME", "never")], "", ""), None);
        assert_eq!(end_of(&[], "", ""), None);
    }

    #[test]
    fn ads_tell_the_end_and_the_earliest_counts() {
        let job_ad =
            "JobCurrentStartDate = 900\nMaxWallTimeMins = 100\nAllowedJobDuration = 60000\n";
        assert_eq!(end_of(&[], job_ad, ""), Some((6900, "MaxWallTimeMins")));
        let machine_ad = "GLIDEIN_ToDie = 4000\nGLIDEIN_Site = \"X\"\n";
        assert_eq!(
            end_of(&[], job_ad, machine_ad),
            Some((4000, "GLIDEIN_ToDie"))
        );
        let without_begin = "AllowedExecuteDuration = 50\n";
        assert_eq!(
            end_of(&[], without_begin, ""),
            Some((1050, "AllowedExecuteDuration"))
        );
        assert_eq!(end_of(&[], "MaxWallTimeMins = undefined\n", ""), None);
    }

    #[test]
    fn recorded_answers_of_batch_systems_are_read() {
        assert_eq!(
            answer(BatchSystem::Slurm, "1-00:00:10\n"),
            Some(1600 + 86_410)
        );
        assert_eq!(answer(BatchSystem::Slurm, "59:30\n"), Some(1600 + 3570));
        assert_eq!(answer(BatchSystem::Slurm, "UNLIMITED\n"), None);
        assert_eq!(answer(BatchSystem::Lsf, "1:30 L\n"), Some(1600 + 5400));
        assert_eq!(answer(BatchSystem::Lsf, "-\n"), None);
        let torque = "Job Id: 17.pbs\n    Resource_List.walltime = 02:00:00\n\
                      \x20   resources_used.walltime = 00:30:00\n";
        assert_eq!(answer(BatchSystem::Torque, torque), Some(1600 + 5400));
        let unused = "    Resource_List.walltime = 02:00:00\n";
        assert_eq!(answer(BatchSystem::Torque, unused), Some(1000 + 7200));
        let grid_engine = "job_number: 3\nhard resource_list: h_vmem=4G,s_rt=3500,h_rt=1:00:00\n";
        assert_eq!(answer(BatchSystem::GridEngine, grid_engine), Some(4500));
        assert_eq!(answer(BatchSystem::Kubernetes, "anything"), None);
    }

    #[test]
    fn nonsense_and_absent_commands_give_no_end() {
        for text in [
            "",
            "::",
            "1:2:3:4",
            "-5",
            "99999999999999999999",
            "1-",
            "1-x",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
        let option = BatchIdentity {
            system: BatchSystem::Slurm,
            id: "--help".into(),
        };
        assert_eq!(ask_slot_end(&option, at(1), at(2)), None);
    }
}
