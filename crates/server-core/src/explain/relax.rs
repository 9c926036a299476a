//! What would change if a job asked for less: the broker is asked again with one demand relaxed.

use ailurus_brokerage::{Candidate, JobNeeds, PlaceWish, Profile, Refusal, Verdict, judge};
use ailurus_model::{ByteCount, QueueName, queue::QueueStatus, units::format_duration};

/// Queues that one change names.
const QUEUES_NAMED: usize = 2;

/// One demand less.
struct Relaxed<'a> {
    needs: JobNeeds<'a>,
    /// What the person would do, continuing `with`.
    what: String,
}

/// What would let a job run that no queue takes, the smallest change of each demand.
pub(super) fn changes(
    profile: &Profile,
    needs: &JobNeeds<'_>,
    candidates: &[Candidate<'_>],
) -> Vec<String> {
    let verdicts = judge(profile, needs, candidates);
    let mut changes: Vec<String> = by_demand(needs, &verdicts)
        .into_iter()
        .filter_map(|options| {
            options.into_iter().find_map(|relaxed| {
                let names = takers(profile, &relaxed.needs, candidates, |_| true);
                (!names.is_empty())
                    .then(|| format!("it could run with {}: {}", relaxed.what, told(&names)))
            })
        })
        .collect();
    changes.extend(by_queue(profile, needs, candidates, &verdicts));
    changes
}

/// What would let a job start sooner that waits at a queue: queues where nothing waits.
pub(super) fn sooner(
    profile: &Profile,
    needs: &JobNeeds<'_>,
    candidates: &[Candidate<'_>],
    here: &Candidate<'_>,
) -> Vec<String> {
    let verdicts = judge(profile, needs, candidates);
    let is_free = |it: &Candidate<'_>| {
        it.queue.name != here.queue.name && it.load.queued() == 0 && it.pilot_seen.is_some()
    };
    by_demand(needs, &verdicts)
        .into_iter()
        .filter_map(|options| {
            options.into_iter().find_map(|relaxed| {
                let names = takers(profile, &relaxed.needs, candidates, is_free);
                (!names.is_empty()).then(|| {
                    let (what, names) = (relaxed.what, told(&names));
                    format!("it would start sooner with {what}: {names}, where nothing waits")
                })
            })
        })
        .collect()
}

/// For each demand that a queue refuses the values with which one might not, the nearest first.
fn by_demand<'a>(needs: &JobNeeds<'a>, verdicts: &[Verdict]) -> Vec<Vec<Relaxed<'a>>> {
    let refusals: Vec<&Refusal> = verdicts
        .iter()
        .filter_map(|verdict| Some(&verdict.finding.as_ref().err()?.why))
        .collect();
    let memory = values(&refusals, |it| {
        if let Refusal::Memory { has, .. } = it {
            Some(*has)
        } else {
            None
        }
    });
    let disk = values(&refusals, |it| {
        if let Refusal::Disk { has, .. } = it {
            Some(*has)
        } else {
            None
        }
    });
    let cores = values(&refusals, |it| {
        if let Refusal::Cores { has, .. } = it {
            Some(*has)
        } else {
            None
        }
    });
    let walltime = values(&refusals, |it| {
        if let Refusal::Walltime { has, .. } = it {
            Some(*has)
        } else {
            None
        }
    });
    let with = |change: &dyn Fn(&mut JobNeeds<'a>), what: String| {
        let mut needs = needs.clone();
        change(&mut needs);
        Relaxed { needs, what }
    };
    let mut options = vec![
        memory
            .into_iter()
            .map(|has: ByteCount| with(&|it| it.memory = has, format!("memory ≤ {has}")))
            .collect(),
        cores
            .into_iter()
            .map(|has: u32| {
                let change = |it: &mut JobNeeds<'a>| {
                    it.cores = has;
                };
                with(&change, format!("{has} cores"))
            })
            .collect(),
        walltime
            .into_iter()
            .map(|has: std::time::Duration| {
                let text = format!("wall time ≤ {}", format_duration(has));
                with(&|it| it.walltime = has, text)
            })
            .collect(),
        disk.into_iter()
            .map(|has: ByteCount| with(&|it| it.disk = has, format!("scratch space ≤ {has}")))
            .collect(),
    ];
    if refusals.iter().any(|it| it.is_by_choice()) {
        let anywhere = |it: &mut JobNeeds<'a>| it.place = PlaceWish::default();
        let what = "no choice of queues in its task".to_owned();
        options.push(vec![with(&anywhere, what)]);
    }
    options
}

/// The different limits of queues, the largest first: it is the nearest one.
fn values<T: Ord>(refusals: &[&Refusal], limit: impl Fn(&Refusal) -> Option<T>) -> Vec<T> {
    let mut values: Vec<T> = refusals.iter().filter_map(|it| limit(it)).collect();
    values.sort_by(|a, b| b.cmp(a));
    values.dedup();
    values
}

/// Queues that would take the job if somebody did something about them.
fn by_queue(
    profile: &Profile,
    needs: &JobNeeds<'_>,
    candidates: &[Candidate<'_>],
    verdicts: &[Verdict],
) -> Vec<String> {
    let mut changes = Vec::new();
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        let Err(dropped) = &verdict.finding else {
            continue;
        };
        let name = &candidate.queue.name;
        if let Refusal::Status { .. } = &dropped.why {
            let mut queue = candidate.queue.clone();
            queue.status = QueueStatus::Online;
            let online = Candidate {
                queue: &queue,
                ..candidate.clone()
            };
            if !takers(profile, needs, &[online], |_| true).is_empty() {
                changes.push(format!("it could run if `{name}` was online"));
            }
        } else if let Refusal::NoPilot { .. } = &dropped.why {
            changes.push(format!(
                "it could run once a pilot asks for jobs at `{name}`"
            ));
        } else if let Refusal::StorageSpace { .. } = &dropped.why {
            changes.push(format!(
                "it could run once `{name}` has free space on its storage"
            ));
        }
    }
    changes.truncate(QUEUES_NAMED);
    changes
}

fn takers(
    profile: &Profile,
    needs: &JobNeeds<'_>,
    candidates: &[Candidate<'_>],
    is_meant: impl Fn(&Candidate<'_>) -> bool,
) -> Vec<QueueName> {
    judge(profile, needs, candidates)
        .into_iter()
        .zip(candidates)
        .filter(|(verdict, candidate)| verdict.finding.is_ok() && is_meant(candidate))
        .map(|(verdict, _)| verdict.queue)
        .collect()
}

fn told(names: &[QueueName]) -> String {
    let named: Vec<String> = names
        .iter()
        .take(QUEUES_NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let mut text = named.join(", ");
    if names.len() > QUEUES_NAMED {
        text.push_str(&format!(" and {} more", names.len() - QUEUES_NAMED));
    }
    text
}
