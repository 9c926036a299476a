//! What each filter means.

use std::time::Duration;

use ailurus_model::{ByteCount, Queue, QueueTerms, queue::QueueStatus};

use super::{Filter, NarrowJobs, Refusal, is_analysis_label, is_test_label};
use crate::{
    architecture::Architecture,
    candidate::{Candidate, Load},
    fair_share,
    needs::{JobNeeds, PlaceWish},
};

/// Bytes in one GB.
const GB: u64 = 1_000_000_000;
/// The word for nodes that reach every address.
const FULL: &str = "full";
/// The word for nodes that reach the network through a proxy.
const HTTP: &str = "http";
/// PanDA's word for all releases.
const ANY_RELEASE: &str = "ANY";

/// What all candidates have together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    share: Load,
}

impl Totals {
    pub(crate) fn of(candidates: &[Candidate<'_>]) -> Self {
        let mut share = Load::default();
        for candidate in candidates {
            let load = &candidate.share_load;
            share.assigned = share.assigned.saturating_add(load.assigned);
            share.activated = share.activated.saturating_add(load.activated);
            share.starting = share.starting.saturating_add(load.starting);
            share.running = share.running.saturating_add(load.running);
        }
        Self { share }
    }
}

/// Says why a queue does not pass a filter, none if it does.
pub(crate) fn refusal_of(
    filter: &Filter,
    job: &JobNeeds<'_>,
    candidate: &Candidate<'_>,
    totals: &Totals,
) -> Option<Refusal> {
    let queue = candidate.queue;
    match filter {
        Filter::State {} => state(queue),
        Filter::Status {} => status(job, queue),
        Filter::Kind {} => kind(job, queue),
        Filter::Named {} => refusal_of_place(&job.place, queue),
        Filter::Scratch {} => scratch(job, queue),
        Filter::InputSize {} => input_size(job, queue),
        Filter::StorageSpace { free_min } => storage_space(queue, *free_min),
        Filter::Walltime {} => walltime(job, queue),
        Filter::Cores { narrow_jobs } => cores(job, queue, *narrow_jobs),
        Filter::Memory {} => memory(job, queue),
        Filter::ProcessingType {} => processing_type(job, &queue.options.terms),
        Filter::Hardware {} => hardware(job, &queue.options.terms),
        Filter::Software {} => software(job, queue),
        Filter::DiskIo {} => {
            let limit = queue.options.terms.disk_io_max;
            io("disk I/O a core", limit, job.disk_io)
        }
        Filter::IoIntensity {} => {
            let limit = queue.options.terms.io_intensity_max;
            io("I/O intensity", limit, job.io_intensity)
        }
        Filter::LocalInput {} => local_input(job, candidate),
        Filter::Network {} => network(job, queue),
        Filter::VirtualPlacement {} => virtual_placement(job, queue),
        Filter::Nucleus {} => nucleus(job, queue),
        Filter::ZeroShare {} => {
            let entry = fair_share::zero_share(&queue.options.terms.fair_share_policy, job)?;
            Some(Refusal::ZeroShare {
                entry: entry.to_owned(),
            })
        }
        Filter::PilotsSeen { .. }
        | Filter::Inactive { .. }
        | Filter::QueueCap { .. }
        | Filter::Overload { .. }
        | Filter::Transferring { .. }
        | Filter::OverPledge { .. }
        | Filter::Opportunistic { .. }
        | Filter::TaskFailures { .. }
        | Filter::TaskClosed {}
        | Filter::Banned {} => refused_now(filter, job, candidate, totals),
    }
}

/// The filters about what goes on at the queue.
fn refused_now(
    filter: &Filter,
    job: &JobNeeds<'_>,
    candidate: &Candidate<'_>,
    totals: &Totals,
) -> Option<Refusal> {
    let (queue, load, of_share) = (candidate.queue, &candidate.load, &candidate.share_load);
    match filter {
        Filter::PilotsSeen { within } => {
            let is_seen = candidate.pilot_seen.is_some_and(|ago| ago <= *within);
            let is_free = is_test_label(job.source_label) || queue.options.terms.allows_no_pilot;
            (!is_seen && !is_free).then_some(Refusal::NoPilot { within: *within })
        }
        Filter::Inactive { within } => inactive(load, candidate.job_started, *within),
        Filter::QueueCap { least, per_running } => {
            let (queued, running) = (of_share.queued(), of_share.busy());
            let limit = cap(*least, *per_running, running);
            (queued > limit).then(|| Refusal::Full {
                share: job.share.to_owned(),
                queued,
                limit,
                running,
            })
        }
        Filter::Overload { least, ratio } => overload(job, of_share, totals, *least, *ratio),
        Filter::Transferring { least, per_running } => {
            let stated = queue.options.terms.transferring_max;
            let least = if stated > 0 { stated } else { *least };
            let limit = cap(least, *per_running, load.running);
            let has = load.transferring;
            (has > limit).then_some(Refusal::Transferring { has, limit })
        }
        Filter::OverPledge { ratio } => over_pledge(candidate, *ratio),
        Filter::Opportunistic { priority_min } => {
            let is_opportunistic = queue.options.pledged_cpu < 0;
            (is_opportunistic && job.priority >= *priority_min).then_some(Refusal::Opportunistic {
                priority_min: *priority_min,
            })
        }
        Filter::TaskFailures {
            least,
            per_finished,
        } => {
            let (failed, finished) = (candidate.task.failed, candidate.task.finished);
            (failed > cap(*least, *per_finished, finished))
                .then_some(Refusal::TaskFailures { failed, finished })
        }
        Filter::TaskClosed {} => {
            let closed = candidate.task.closed;
            (closed > 0).then_some(Refusal::TaskClosed { closed })
        }
        Filter::Banned {} => job.banned.contains(&queue.name).then_some(Refusal::Banned),
        Filter::State {}
        | Filter::Status {}
        | Filter::Kind {}
        | Filter::Named {}
        | Filter::Scratch {}
        | Filter::InputSize {}
        | Filter::StorageSpace { .. }
        | Filter::Walltime {}
        | Filter::Cores { .. }
        | Filter::Memory {}
        | Filter::ProcessingType {}
        | Filter::Hardware {}
        | Filter::Software {}
        | Filter::DiskIo {}
        | Filter::IoIntensity {}
        | Filter::LocalInput {}
        | Filter::Network {}
        | Filter::VirtualPlacement {}
        | Filter::Nucleus {}
        | Filter::ZeroShare {} => None,
    }
}

fn over_pledge(candidate: &Candidate<'_>, ratio: f64) -> Option<Refusal> {
    let pledged = candidate.queue.options.pledged_cpu;
    let allowed = as_f64(pledged.unsigned_abs()) * ratio;
    let used = candidate.load.running_cores;
    (pledged > 0 && as_f64(used) > allowed).then_some(Refusal::OverPledge { used, pledged })
}

fn inactive(load: &Load, started: Option<Duration>, within: Duration) -> Option<Refusal> {
    let is_recent = started.is_none_or(|ago| ago <= within);
    let queued = load.queued();
    (!is_recent && load.busy() == 0 && queued > 0).then_some(Refusal::Inactive { within, queued })
}

fn state(queue: &Queue) -> Option<Refusal> {
    (!queue.state.eq_ignore_ascii_case("ACTIVE")).then(|| Refusal::State {
        state: queue.state.clone(),
    })
}

fn status(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let lets_in = match queue.status {
        QueueStatus::Online => true,
        QueueStatus::Test => is_test_label(job.source_label),
        QueueStatus::Brokeroff | QueueStatus::Paused | QueueStatus::Offline => false,
    };
    (!lets_in).then(|| Refusal::Status {
        status: queue.status,
        label: job.source_label.clone(),
    })
}

/// Kinds are CRIC's words; `unified`, `special` and kinds that we do not know take every label.
fn kind(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let is_analysis = is_analysis_label(job.source_label);
    let takes = match queue.kind.as_str() {
        "production" => !is_analysis,
        "analysis" => is_analysis || is_test_label(job.source_label),
        _ => true,
    };
    (!takes).then(|| Refusal::Kind {
        kind: queue.kind.clone(),
        label: job.source_label.clone(),
    })
}

/// Says why a queue is not meant.
pub(crate) fn refusal_of_place(place: &PlaceWish<'_>, queue: &Queue) -> Option<Refusal> {
    let name = queue.name.as_str();
    if !place.queues.is_empty() && !place.queues.contains(&queue.name) {
        return Some(Refusal::NotNamed);
    }
    let lists = [place.named, place.included];
    if lists.into_iter().flatten().any(|it| !it.matches(name)) {
        return Some(Refusal::NotNamed);
    }
    if place.excluded.is_some_and(|it| it.matches(name)) {
        return Some(Refusal::Excluded);
    }
    if !place.site.is_empty() && place.site != queue.site {
        return Some(Refusal::Site {
            site: queue.site.clone(),
        });
    }
    let cloud = &queue.options.terms.cloud;
    (!place.cloud.is_empty() && !cloud.is_empty() && place.cloud != cloud).then(|| Refusal::Cloud {
        cloud: cloud.clone(),
    })
}

fn scratch(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    is_over(job.disk, queue.disk).then_some(Refusal::Disk {
        has: queue.disk,
        needs: job.disk,
    })
}

fn input_size(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let needs = job.input.size;
    let has = queue.max_input_size.filter(|limit| needs > *limit)?;
    Some(Refusal::InputSize { has, needs })
}

fn storage_space(queue: &Queue, free_min: ByteCount) -> Option<Refusal> {
    let free_gb = queue.options.terms.storage_free_gb;
    let is_full = free_gb > 0 && free_gb.saturating_mul(GB) < free_min.as_bytes();
    is_full.then_some(Refusal::StorageSpace {
        free_gb,
        needs: free_min,
    })
}

fn walltime(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let needs = job.walltime;
    if needs.is_zero() {
        return None;
    }
    if !queue.max_time.is_zero() && needs > queue.max_time {
        return Some(Refusal::Walltime {
            has: queue.max_time,
            needs,
        });
    }
    let has = queue.options.terms.time_min;
    (needs < has).then_some(Refusal::WalltimeTooShort { has, needs })
}

fn cores(job: &JobNeeds<'_>, queue: &Queue, narrow: NarrowJobs) -> Option<Refusal> {
    if queue.options.terms.takes_any_cores {
        return None;
    }
    let (has, needs) = (queue.core_count, job.cores);
    if needs > has {
        return Some(Refusal::Cores { has, needs });
    }
    let is_too_narrow = match narrow {
        NarrowJobs::OwnWidth => needs == 1 && has > 1,
        NarrowJobs::Any => false,
    };
    is_too_narrow.then_some(Refusal::TooNarrow { has })
}

fn memory(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let needs = job.memory;
    if needs == ByteCount::ZERO {
        return None;
    }
    let terms = &queue.options.terms;
    let for_job = |limit: ByteCount| {
        let cores = if terms.memory_is_per_core {
            job.cores
        } else {
            1
        };
        ByteCount::from_bytes(limit.as_bytes().saturating_mul(u64::from(cores)))
    };
    let has = for_job(queue.memory);
    if is_over(needs, has) {
        return Some(Refusal::Memory { has, needs });
    }
    let least = for_job(terms.memory_min);
    (needs < least).then_some(Refusal::MemoryTooSmall { has: least, needs })
}

fn processing_type(job: &JobNeeds<'_>, terms: &QueueTerms) -> Option<Refusal> {
    let is_it = |name: &String| name == job.processing_type;
    let is_allowed = terms
        .processing_allowed
        .as_ref()
        .is_none_or(|allowed| allowed.iter().any(is_it));
    let is_excluded = terms.processing_excluded.iter().any(is_it);
    (!is_allowed || is_excluded).then(|| Refusal::ProcessingType {
        wanted: job.processing_type.to_owned(),
    })
}

fn hardware(job: &JobNeeds<'_>, terms: &QueueTerms) -> Option<Refusal> {
    let wanted = job.software.architecture;
    if wanted.is_empty() && terms.hardware.is_empty() {
        return None;
    }
    (!Architecture::parse(wanted).runs_on(&terms.hardware)).then(|| Refusal::Hardware {
        wanted: wanted.to_owned(),
    })
}

fn software(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let wanted = job.software.container;
    if wanted.starts_with("/cvmfs/") && !queue.has_cvmfs {
        return Some(Refusal::Container {
            wanted: wanted.to_owned(),
        });
    }
    let releases = &queue.options.terms.releases;
    let release = job.software.release;
    let has_it = |name: &String| name == release || name.eq_ignore_ascii_case(ANY_RELEASE);
    let is_missing = !release.is_empty()
        && wanted.is_empty()
        && !releases.is_empty()
        && !releases.iter().any(has_it);
    is_missing.then(|| Refusal::Release {
        wanted: release.to_owned(),
    })
}

fn io(what: &'static str, has: u64, needs: u64) -> Option<Refusal> {
    (has > 0 && needs > has).then_some(Refusal::Io { what, has, needs })
}

fn local_input(job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> Option<Refusal> {
    let has = candidate.part_at_hand(job).files;
    let needs = job.input.files;
    (has < needs).then_some(Refusal::LocalInput { has, needs })
}

/// A queue that says nothing is only taken by jobs that ask for nothing, as in PanDA.
fn network(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let (terms, wish) = (&queue.options.terms, &job.network);
    let has_access = match wish.access {
        "" => true,
        HTTP => matches!(terms.connectivity.as_str(), FULL | HTTP),
        _ => terms.connectivity == FULL,
    };
    let stack = terms.ip_stack.as_str();
    let has_stack = wish.stack.is_empty() || wish.stack.eq_ignore_ascii_case(stack);
    let text = |access: &str, stack: &str| match stack {
        "" => access.to_owned(),
        _ => format!("{access}#{stack}"),
    };
    (!has_access || !has_stack).then(|| Refusal::Network {
        has: text(&terms.connectivity, stack),
        needs: text(wish.access, wish.stack),
    })
}

fn virtual_placement(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let avoids = job.avoids_virtual_placement;
    (avoids && queue.has_virtual_placement()).then_some(Refusal::VirtualPlacement)
}

fn nucleus(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    let wish = &job.nucleus;
    let is_outside = wish.weight < 0 && !wish.site.is_empty() && !wish.has(queue);
    is_outside.then(|| Refusal::Nucleus {
        site: wish.site.to_owned(),
    })
}

fn overload(
    job: &JobNeeds<'_>,
    here: &Load,
    totals: &Totals,
    least: u64,
    ratio: f64,
) -> Option<Refusal> {
    let (queued, running) = (here.queued(), here.busy());
    let (all_queued, all_running) = (totals.share.queued(), totals.share.busy());
    // Multiplied out, so that nothing is divided by zero.
    let is_worse = running == 0
        || as_f64(queued) * as_f64(all_running) > as_f64(all_queued) * as_f64(running) * ratio;
    (queued > least && is_worse).then(|| Refusal::Overload {
        share: job.share.to_owned(),
        queued,
        running,
    })
}

/// The larger one of a fixed number and a number for each of `n`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point stays within the limits of its type"
)]
fn cap(least: u64, per_one: f64, n: u64) -> u64 {
    least.max((as_f64(n) * per_one) as u64)
}

/// Says whether a need is over a limit, where zero means that there is no limit.
fn is_over(need: ByteCount, limit: ByteCount) -> bool {
    limit > ByteCount::ZERO && need > limit
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of jobs are far below 2^53"
)]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}
