//! What this node and queue are, and the job request that follows from it.

pub mod allocation;
pub mod cpus;
pub mod hard_limits;
pub mod slots;

use std::time::Duration;

use ailurus_model::{
    ByteCount, ErrorCode, JobRequest, Moment, Queue, SourceLabel, TaskId, queue::QueueStatus,
    units::format_duration,
};

use crate::{PilotConfig, Problem, input::Site, monitoring::limits::SLOT_MARGIN};

/// What a node has, measured when a job is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// Memory for jobs: the smaller of the machine's and the slot's; zero if unknown.
    pub memory: ByteCount,
    /// Free space where the pilot works.
    pub free_space: ByteCount,
    /// Logical cores that the pilot may use; zero if unknown.
    pub cores: u32,
    /// GPUs that it may use.
    pub gpus: u32,
    /// How long the grid proxy lives still, where the pilot proves itself by one.
    pub proxy_left: Option<Duration>,
    /// Time until the batch system ends the slot, if it says so.
    pub slot_left: Option<Duration>,
    /// The first of the profile's software locations that is missing, by position.
    pub missing_software: Option<u32>,
}

/// Where CVMFS is mounted.
const CVMFS: &str = "/cvmfs/";
/// CRIC's state of a queue that may be used.
const STATE_ACTIVE: &str = "ACTIVE";

/// Says whether a queue may be served at all.
///
/// # Errors
///
/// 1116 for data without a name, 1359 for a queue that is not active, 1386 for one offline.
///
/// Source: Pilot 3, `pilot.py`, `main`.
pub fn check_queue(queue: &Queue) -> Result<(), Problem> {
    if queue.name.is_empty() {
        return Err(Problem::new(
            ErrorCode::QueueData,
            "the queue data have no `nickname`",
        ));
    }
    if queue.state != STATE_ACTIVE {
        let detail = format!("queue `{}` is `{}`", queue.name, queue.state);
        return Err(Problem::new(ErrorCode::PandaQueueNotActive, detail));
    }
    match queue.status {
        QueueStatus::Offline => {
            let detail = format!("queue `{}` is `offline`", queue.name);
            Err(Problem::new(ErrorCode::PandaQueueNotOnline, detail))
        }
        QueueStatus::Online | QueueStatus::Brokeroff | QueueStatus::Test | QueueStatus::Paused => {
            Ok(())
        }
    }
}

/// Says whether the node has room for a job.
///
/// # Errors
///
/// 1098 if less space is free than the profile demands, 1377 or 1186 if software is missing, 1373 or 1382 if the grid proxy has ended or
/// ends too soon.
pub fn check_node(config: &PilotConfig, site: &Site, facts: NodeFacts) -> Result<(), Problem> {
    check_proxy(facts.proxy_left, config.profile.limits.proxy_before)?;
    check_software(config, site, facts.missing_software)?;
    let wanted = config.profile.limits.free_space_before;
    if facts.free_space > wanted {
        return Ok(());
    }
    let detail = format!(
        "{} free, more than {wanted} wanted before a job",
        facts.free_space
    );
    Err(Problem::new(ErrorCode::NoLocalSpace, detail))
}

/// Says whether the experiment's software is there. `missing` is a position in the profile's list.
fn check_software(config: &PilotConfig, site: &Site, missing: Option<u32>) -> Result<(), Problem> {
    let locations = &config.profile.software.locations;
    let Some(location) = missing.and_then(|position| locations.get(position as usize)) else {
        return Ok(());
    };
    let is_cvmfs = location.starts_with(CVMFS);
    if is_cvmfs && !site.queue.has_cvmfs {
        return Ok(());
    }
    let code = if is_cvmfs {
        ErrorCode::CvmfsIsNotAlive
    } else {
        ErrorCode::NoSoftwareDir
    };
    let detail = format!("`{location}` is not there, empty, or does not answer");
    Err(Problem::new(code, detail))
}

/// Says whether the grid proxy, if the pilot has one, lives long enough.
///
/// # Errors
///
/// 1373 if it has ended, 1382 if it lives shorter than `wanted`.
///
/// Source: Pilot 3, `pilot/user/atlas/proxy.py`, whose limits are three days and one hour.
pub fn check_proxy(left: Option<Duration>, wanted: Duration) -> Result<(), Problem> {
    match left {
        None => Ok(()),
        Some(left) if left >= wanted && !left.is_zero() => Ok(()),
        Some(left) if left.is_zero() => Err(Problem::new(
            ErrorCode::CertificateHasExpired,
            "the grid proxy has ended: renew it",
        )),
        Some(left) => {
            let (left, wanted) = (format_duration(left), format_duration(wanted));
            let detail = format!("the grid proxy lives {left} still, {wanted} are wanted");
            Err(Problem::new(ErrorCode::ProxyTooShort, detail))
        }
    }
}

/// Makes the request for a job. `task` is that of the job before, if there was one.
#[must_use]
pub fn plan_request(
    config: &PilotConfig,
    site: &Site,
    facts: NodeFacts,
    task: Option<TaskId>,
    now: Moment,
) -> JobRequest {
    let queue = &site.queue;
    JobRequest {
        queue: queue.resource.clone(),
        source_label: source_label(config, queue),
        node: config.identity.node.clone(),
        memory: facts.memory,
        disk: smaller_known(facts.free_space, queue.disk),
        remaining_time: remaining_time(life_limit(config, queue), facts.slot_left, now),
        resource_type: config.resource_type.clone(),
        task_id: task,
        user: None,
        n_jobs: 1,
        harvester_id: config.identity.harvester_id.clone(),
        worker_id: config.identity.worker_id,
        scheduler_id: config.identity.scheduler_id.clone(),
        details: config.request.clone(),
    }
}

/// Returns how long a pilot may live: the queue's limit, else its own; none means no limit.
#[must_use]
pub fn life_limit(config: &PilotConfig, queue: &Queue) -> Option<Duration> {
    let limit = if queue.max_time.is_zero() {
        config.lifetime
    } else {
        queue.max_time
    };
    (!limit.is_zero()).then_some(limit)
}

/// Returns how long a job may take: as the pilot may live, and as the slot lasts without the time
/// that is kept to save what a job did; none means no limit.
#[must_use]
pub fn remaining_time(
    life_limit: Option<Duration>,
    slot_left: Option<Duration>,
    now: Moment,
) -> Option<Duration> {
    let by_life = life_limit.map(|limit| limit.saturating_sub(now.since(Moment::START)));
    let by_slot = slot_left.map(|left| left.saturating_sub(SLOT_MARGIN));
    by_life.into_iter().chain(by_slot).min()
}

/// Chooses the label that is asked for.
///
/// Source: Pilot 3, `pilot/control/job.py`, `get_job_label`.
fn source_label(config: &PilotConfig, queue: &Queue) -> SourceLabel {
    let label = config.source_label.as_str();
    match (config.version_tag.as_str(), label) {
        ("RC", "rc_test2" | "ptest") => config.source_label.clone(),
        ("RCM", "ptest") => SourceLabel::new("rcm_test2"),
        ("ALRB", _) => SourceLabel::new("rc_alrb"),
        (_, label) if queue.status == QueueStatus::Test && label != "ptest" => {
            SourceLabel::new("test")
        }
        _ => config.source_label.clone(),
    }
}

/// The smaller of two sizes, of which the second may be zero for "no limit".
fn smaller_known(size: ByteCount, limit: ByteCount) -> ByteCount {
    if limit == ByteCount::ZERO {
        size
    } else {
        size.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::QueueName;

    use super::*;
    use crate::control::testing::{config, site};

    fn request(config: &PilotConfig, site: &Site) -> JobRequest {
        let facts = NodeFacts {
            memory: ByteCount::from_gib(8),
            free_space: ByteCount::from_gib(100),
            ..NodeFacts::default()
        };
        plan_request(config, site, facts, None, Moment::from_millis(5000))
    }

    #[test]
    fn the_request_names_the_resource_and_at_most_the_queues_disk() {
        let mut site = site();
        site.queue.resource = QueueName::new("Q-resource");
        site.queue.disk = ByteCount::from_gib(20);
        let request = request(&config(), &site);
        assert_eq!(request.queue.as_str(), "Q-resource");
        assert_eq!(request.disk, ByteCount::from_gib(20));
        assert_eq!(request.memory, ByteCount::from_gib(8));
    }

    #[test]
    fn the_remaining_time_counts_from_the_pilots_start() {
        let mut site = site();
        site.queue.max_time = Duration::from_secs(3600);
        assert_eq!(
            request(&config(), &site).remaining_time,
            Some(Duration::from_secs(3595))
        );
    }

    #[test]
    fn the_shorter_of_life_and_slot_remains() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let remaining = |life, slot| remaining_time(life, slot, Moment::from_millis(10_000));
        assert_eq!(remaining(seconds(1000), None), seconds(990));
        assert_eq!(remaining(seconds(1000), seconds(500)), seconds(320));
        assert_eq!(remaining(None, seconds(100)), seconds(0));
        assert_eq!(remaining(None, None), None);
    }

    #[test]
    fn labels_follow_version_tag_and_queue_status() {
        let label = |tag: &str, label: &str, status| {
            let (mut config, mut site) = (config(), site());
            config.version_tag = tag.into();
            config.source_label = SourceLabel::new(label);
            site.queue.status = status;
            request(&config, &site).source_label.as_str().to_owned()
        };
        assert_eq!(label("PR", "user", QueueStatus::Online), "user");
        assert_eq!(label("PR", "user", QueueStatus::Test), "test");
        assert_eq!(label("PR", "ptest", QueueStatus::Test), "ptest");
        assert_eq!(label("RC", "rc_test2", QueueStatus::Test), "rc_test2");
        assert_eq!(label("RCM", "ptest", QueueStatus::Online), "rcm_test2");
        assert_eq!(label("ALRB", "user", QueueStatus::Online), "rc_alrb");
    }

    #[test]
    fn an_inactive_or_offline_queue_is_not_served() {
        let code = |state: &str, status| {
            let mut queue = site().queue;
            queue.state = state.into();
            queue.status = status;
            check_queue(&queue).err().map(|problem| problem.code)
        };
        assert_eq!(code("ACTIVE", QueueStatus::Online), None);
        assert_eq!(
            code("ACTIVE", QueueStatus::Offline),
            Some(ErrorCode::PandaQueueNotOnline)
        );
        assert_eq!(
            code("DISABLED", QueueStatus::Online),
            Some(ErrorCode::PandaQueueNotActive)
        );
    }

    #[test]
    fn a_proxy_that_ends_soon_is_found_before_a_job_is_asked_for() {
        let code = |left: Option<u64>| {
            let facts = NodeFacts {
                free_space: ByteCount::from_gib(100),
                proxy_left: left.map(Duration::from_secs),
                ..NodeFacts::default()
            };
            let problem = check_node(&config(), &site(), facts).err();
            problem.map(|problem| problem.code)
        };
        assert_eq!(code(None), None);
        assert_eq!(code(Some(3600)), None);
        assert_eq!(code(Some(3599)), Some(ErrorCode::ProxyTooShort));
        assert_eq!(code(Some(0)), Some(ErrorCode::CertificateHasExpired));
    }

    #[test]
    fn a_full_disk_is_found_before_a_job_is_asked_for() {
        let facts = NodeFacts {
            memory: ByteCount::ZERO,
            free_space: ByteCount::from_gib(2),
            ..NodeFacts::default()
        };
        let code = check_node(&config(), &site(), facts)
            .err()
            .map(|problem| problem.code);
        assert_eq!(code, Some(ErrorCode::NoLocalSpace));
    }
}
