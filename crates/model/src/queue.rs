//! A PanDA queue: what CRIC's queue data (schedconfig) say that Ailurus acts on.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ByteCount, EndpointName, QueueName, QueueTerms};

/// What a transfer or a storage is used for, PanDA's *activity*: `pr`, `pw`, `read_lan` and so on.
pub type Activity = String;

/// Whether a queue takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueStatus {
    /// Jobs are brokered to it and run.
    Online,
    /// What it has runs, nothing new is brokered to it.
    Brokeroff,
    /// Only test jobs.
    Test,
    /// Nothing starts; what runs goes on, also without heartbeats.
    Paused,
    /// Nothing at all.
    Offline,
}

impl QueueStatus {
    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Brokeroff => "brokeroff",
            Self::Test => "test",
            Self::Paused => "paused",
            Self::Offline => "offline",
        }
    }
}

/// One PanDA queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name (`nickname`).
    pub name: QueueName,
    /// The name under which pilots ask for jobs (`panda_resource`), usually the same.
    pub resource: QueueName,
    /// The site that it belongs to (`atlas_site`, else `gstat`), for example `JINR`.
    pub site: String,
    /// `production`, `analysis`, `unified` or `special`.
    pub kind: String,
    /// CRIC's state; only `ACTIVE` queues are used.
    pub state: String,
    /// Whether it takes jobs.
    pub status: QueueStatus,
    /// PanDA's `resource_type`: `grid`, `hpc`, `cloud` …
    pub resource_type: String,
    /// Cores of one slot, at least 1.
    pub core_count: u32,
    /// Memory of one slot; zero means no limit.
    pub memory: ByteCount,
    /// Scratch space of one slot; zero means no limit.
    pub disk: ByteCount,
    /// Longest run of a pilot; zero means no limit.
    pub max_time: Duration,
    /// Time within which a pilot asks for a further job; zero means one job a pilot.
    pub time_floor: Duration,
    /// Largest sum of input sizes; none means no limit.
    pub max_input_size: Option<ByteCount>,
    /// Platform, if the job names none.
    pub platform: String,
    /// `NAME=value` settings for the pilot's environment, as text.
    pub environ: String,
    /// Switches, as text (`catchall`).
    pub catchall: String,
    /// Copy tools by activity, best first (`acopytools`).
    pub copy_tools: BTreeMap<Activity, Vec<String>>,
    /// Storage endpoints by activity, best first (`astorages`).
    pub storages: BTreeMap<Activity, Vec<EndpointName>>,
    /// Whether CVMFS is on the nodes.
    pub has_cvmfs: bool,
    /// Grace on the wall time limit in percent (`params.pilot_walltime_grace`).
    pub walltime_grace_percent: u32,
    /// Grace on the memory limit in percent (`params.pilot_rss_grace`).
    pub memory_grace_percent: u32,
    /// Grace on the work directory limit in percent (`params.pilot_maxwdir_grace`).
    pub disk_grace_percent: u32,
    /// Whether a job's own wall time is its limit (`params.job_maxwalltime`).
    pub job_walltime_is_limit: bool,
    /// Workers that Harvester may have queued at a time (`nQueueLimitWorker` in Harvester's words).
    pub worker_queue_limit: Option<u32>,
    /// Workers that Harvester may have altogether (`maxWorkers` in Harvester's words).
    pub worker_limit: Option<u32>,
    /// What only some queues say.
    #[serde(default)]
    pub options: QueueOptions,
}

impl Queue {
    /// A queue of which nothing but its name is known: it is online and takes jobs of every kind,
    /// in slots of one core, without limits and without storage.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: QueueName::new(name),
            resource: QueueName::new(name),
            site: name.to_owned(),
            kind: "unified".to_owned(),
            state: "ACTIVE".to_owned(),
            status: QueueStatus::Online,
            resource_type: "grid".to_owned(),
            core_count: 1,
            memory: ByteCount::ZERO,
            disk: ByteCount::ZERO,
            max_time: Duration::ZERO,
            time_floor: Duration::ZERO,
            max_input_size: None,
            platform: String::new(),
            environ: String::new(),
            catchall: String::new(),
            copy_tools: BTreeMap::new(),
            storages: BTreeMap::new(),
            has_cvmfs: false,
            walltime_grace_percent: 0,
            memory_grace_percent: 0,
            disk_grace_percent: 0,
            job_walltime_is_limit: false,
            worker_queue_limit: None,
            worker_limit: None,
            options: QueueOptions::default(),
        }
    }
}

/// The rarer parts of queue data. The default is what Pilot 3 assumes where they are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueOptions {
    /// Software directory (`appdir`), empty if none.
    pub app_dir: String,
    /// Container programs by who uses them (`pilot`, `wrapper`, `middleware`), from
    /// `container_type`, for example `singularity`.
    pub container_types: BTreeMap<String, String>,
    /// Arguments of the container program, one text, empty if none.
    pub container_options: String,
    /// Set-up scripts of the copy tools that need one, by tool (`copytools`).
    pub copy_tool_setups: BTreeMap<String, String>,
    /// Schemes by activity and copy tool (`acopytools_schemas`), best first; those for tools that are
    /// not named stand under [`QueueOptions::EVERY_TOOL`].
    #[serde(default)]
    pub schemes: BTreeMap<Activity, BTreeMap<String, Vec<String>>>,
    /// Whether inputs may come over the local network.
    pub allows_lan: bool,
    /// Whether inputs may come from far away.
    pub allows_wan: bool,
    /// Whether the payload may read over the local network.
    pub has_direct_lan: bool,
    /// Whether the payload may read from far away.
    pub has_direct_wan: bool,
    /// Whether a node-wide cache is used (`use_pcache`).
    pub has_cache: bool,
    /// Whether outputs may go to another storage (`params.allow_altstageout`), if the queue says.
    pub allows_alternative_stage_out: Option<bool>,
    /// Protocol version of addresses, `IPv6` or `IPv4` (`params.internet_protocol_version`).
    pub internet_protocol: String,
    /// CPU that is pledged to the experiment (`pledgedcpu`); -1 for an opportunistic queue.
    pub pledged_cpu: i64,
    /// What only the server acts on.
    #[serde(default)]
    pub terms: QueueTerms,
}

impl QueueOptions {
    /// Stands for every copy tool that has no schemes of its own.
    pub const EVERY_TOOL: &str = "default";

    /// Returns the schemes that the queue allows for a copy tool, best first; empty if it leaves that
    /// to the tool. The first of `activities` that is described counts.
    ///
    /// Source: Pilot 3, `pilot/info/queuedata.py`, `resolve_allowed_schemas`.
    #[must_use]
    pub fn schemes_for(&self, activities: &[&str], tool: &str) -> &[String] {
        let mut described = activities.iter().filter_map(|it| self.schemes.get(*it));
        let Some(by_tool) = described.find(|by_tool| !by_tool.is_empty()) else {
            return &[];
        };
        let of_tool = by_tool.get(tool).or_else(|| by_tool.get(Self::EVERY_TOOL));
        of_tool.map_or(&[], Vec::as_slice)
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            app_dir: String::new(),
            container_types: BTreeMap::new(),
            container_options: String::new(),
            copy_tool_setups: BTreeMap::new(),
            schemes: BTreeMap::new(),
            allows_lan: true,
            allows_wan: false,
            has_direct_lan: false,
            has_direct_wan: false,
            has_cache: false,
            allows_alternative_stage_out: None,
            internet_protocol: "IPv6".to_owned(),
            pledged_cpu: 0,
            terms: QueueTerms::default(),
        }
    }
}

impl Queue {
    /// Returns the first activity in `activities` that has an entry in `map`.
    pub fn first_of<'a, T>(map: &'a BTreeMap<Activity, Vec<T>>, activities: &[&str]) -> &'a [T] {
        activities
            .iter()
            .filter_map(|activity| map.get(*activity))
            .find(|entries| !entries.is_empty())
            .map_or(&[], Vec::as_slice)
    }

    /// Says whether it reads through a virtual placement: files that lie elsewhere.
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/SiteSpec.py`, `use_vp`.
    #[must_use]
    pub fn has_virtual_placement(&self) -> bool {
        let mut endpoints = self.storages.values().flatten();
        endpoints.any(|endpoint| endpoint.as_str().ends_with("_VP_DISK"))
    }

    /// Returns the endpoint to which jobs of this queue write, if it has one.
    #[must_use]
    pub fn output_endpoint(&self) -> Option<&EndpointName> {
        Self::first_of(&self.storages, &["write_lan", "pw", "w", "default"]).first()
    }

    /// Returns the endpoints from which jobs of this queue read over the local network.
    #[must_use]
    pub fn input_endpoints(&self) -> &[EndpointName] {
        Self::first_of(&self.storages, &["read_lan", "pr", "r", "default"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_those_of_the_first_described_activity_and_of_the_tool() {
        let schemes = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let of = |tool: &str, list: &[&str]| BTreeMap::from([(tool.to_owned(), schemes(list))]);
        let options = QueueOptions {
            schemes: BTreeMap::from([
                ("read_lan".to_owned(), BTreeMap::new()),
                ("pr".to_owned(), of("gfal", &["davs"])),
                (
                    "default".to_owned(),
                    of(QueueOptions::EVERY_TOOL, &["root"]),
                ),
            ]),
            ..QueueOptions::default()
        };
        let activities = ["read_lan", "pr", "default"];
        assert_eq!(options.schemes_for(&activities, "gfal"), ["davs"]);
        assert!(options.schemes_for(&activities, "rucio").is_empty());
        assert_eq!(options.schemes_for(&["default"], "gfal"), ["root"]);
        assert!(options.schemes_for(&["pw"], "gfal").is_empty());
    }
}
