//! The section `[scheduling]` of the configuration file: where jobs go and in which order.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use ailurus_brokerage::{Policy, ShareEntry, ShareTree};
use ailurus_jedi::retry_rules::RetryBook;
use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::{
    ResourceType, ResourceTypes, Scheduling,
    streaming::StreamingRules,
    throttle::{ThrottleCap, ThrottleRules},
};
use serde::Deserialize;

use super::{ConfigError, Picker};

/// How often the need of global shares is worked out, in seconds, as in PanDA.
const SHARES_INTERVAL_SECS: u64 = 60;
/// How often Harvesters are told how many workers to submit, in seconds, as in PanDA.
const STREAMING_INTERVAL_SECS: u64 = 300;
/// A whole, in percent.
const PERCENT: u32 = 100;
/// What stands for all shares, or all resource classes.
const ALL: &str = "*";

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SchedulingSection {
    /// File of the brokerage policy. Without it, the one that comes with the program.
    policy: Option<PathBuf>,
    /// Percent of job requests that get the oldest job, where there are shares. Default 10.
    sloppy_percent: Option<u32>,
    /// How often the need of shares is worked out. Default `1m`.
    #[serde(with = "optional_duration_text")]
    shares_interval: Option<Duration>,
    /// How often Harvesters of streamed queues are told how many workers to submit. Default `5m`.
    #[serde(with = "optional_duration_text")]
    streaming_interval: Option<Duration>,
    /// Cores of workers that should wait, in percent of those that run. Default 40.
    streaming_waiting_percent: Option<u32>,
    /// Slots that should wait at least. Default 75.
    streaming_waiting_min: Option<u32>,
    /// Slots that are asked for at least at a time. Default 5.
    streaming_new_min: Option<u32>,
    /// How old Harvester's numbers of workers may be. Default `1h`.
    #[serde(with = "optional_duration_text")]
    streaming_age_max: Option<Duration>,
    /// Whether queues may use more memory than they want on average. Default `false`.
    ignore_mean_memory: Option<bool>,
    /// Global shares: nodes of a tree.
    shares: Vec<ShareEntry>,
    /// Classes of cores and memory, in the order in which they are tried. Default PanDA's.
    resource_types: Vec<ResourceType>,
    /// Caps on jobs that are made.
    caps: Vec<CapEntry>,
}

/// Caps on jobs of a share and a resource class; what is not stated is not limited.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CapEntry {
    /// The share; all if it is not named.
    share: Option<String>,
    /// The resource class; all if it is not named.
    resource_type: Option<String>,
    /// Jobs that may wait in any case, if waiting is limited by what runs.
    queued_least: Option<u64>,
    /// Jobs that may wait for a hundred that run. Default 200.
    queued_per_100_running: Option<u64>,
    /// Jobs that may wait whatever runs.
    queued_max: Option<u64>,
    /// Jobs that may run.
    running_max: Option<u64>,
    /// From which priority on tasks are not throttled.
    exempt_priority: Option<i64>,
}

/// The section as the server uses it.
#[derive(Debug, Clone)]
pub(crate) struct SchedulingConfig {
    /// Where jobs go and in which order.
    pub(crate) rules: Scheduling,
    /// Time between two looks at the need of shares.
    pub(crate) shares_interval: Duration,
    /// Time between two commands to Harvesters of streamed queues.
    pub(crate) streaming_interval: Duration,
}

impl SchedulingSection {
    /// Checks the section, reads the policy, and notes every value.
    pub(super) fn resolve(
        self,
        picker: &mut Picker,
        retries: RetryBook,
    ) -> Result<SchedulingConfig, ConfigError> {
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => format!("\"{}\"", path.display()),
            None => "none".to_owned(),
        };
        let defaults = Scheduling::default();
        let streaming = self.streaming(picker, defaults.streaming);
        let given = [None, self.policy.map(Some)];
        let file = picker.pick("scheduling.policy", given, None, path);
        let policy = match file {
            Some(path) => read_policy(path)?,
            None => Policy::built_in(),
        };
        let percent = picker.pick(
            "scheduling.sloppy_percent",
            [None, self.sloppy_percent],
            defaults.sloppy_percent,
            u32::to_string,
        );
        if percent > PERCENT {
            return Err(ConfigError::Value {
                key: "scheduling.sloppy_percent",
                value: percent.to_string(),
                allowed: "at most 100",
            });
        }
        let mut interval = |key, file, built_in_secs| {
            let time = super::duration(picker, key, file, built_in_secs);
            if time.is_zero() {
                return Err(ConfigError::Value {
                    key,
                    value: format_duration(time),
                    allowed: "longer than nothing",
                });
            }
            Ok(time)
        };
        let shares_interval = interval(
            "scheduling.shares_interval",
            self.shares_interval,
            SHARES_INTERVAL_SECS,
        )?;
        let streaming_interval = interval(
            "scheduling.streaming_interval",
            self.streaming_interval,
            STREAMING_INTERVAL_SECS,
        )?;
        let shares = ShareTree::new(self.shares).map_err(|error| ConfigError::Scheduling {
            key: "scheduling.shares",
            problem: error.to_string(),
        })?;
        let resource_types =
            ResourceTypes::new(self.resource_types).map_err(|error| ConfigError::Scheduling {
                key: "scheduling.resource_types",
                problem: error.to_string(),
            })?;
        Ok(SchedulingConfig {
            rules: Scheduling {
                policy,
                shares,
                sloppy_percent: percent,
                resource_types,
                throttle: caps(self.caps),
                streaming,
                retries,
            },
            shares_interval,
            streaming_interval,
        })
    }

    /// Picks how streamed queues are kept supplied with pilots.
    fn streaming(&self, picker: &mut Picker, rules: StreamingRules) -> StreamingRules {
        let mut number = |key, file: Option<u32>, built_in: u64| {
            picker.pick(key, [None, file.map(u64::from)], built_in, u64::to_string)
        };
        StreamingRules {
            waiting_percent: number(
                "scheduling.streaming_waiting_percent",
                self.streaming_waiting_percent,
                rules.waiting_percent,
            ),
            waiting_slots_min: number(
                "scheduling.streaming_waiting_min",
                self.streaming_waiting_min,
                rules.waiting_slots_min,
            ),
            new_slots_min: number(
                "scheduling.streaming_new_min",
                self.streaming_new_min,
                rules.new_slots_min,
            ),
            statistics_age_max: super::duration(
                picker,
                "scheduling.streaming_age_max",
                self.streaming_age_max,
                rules.statistics_age_max.as_secs(),
            ),
            ignores_mean_memory: picker.pick(
                "scheduling.ignore_mean_memory",
                [None, self.ignore_mean_memory],
                rules.ignores_mean_memory,
                bool::to_string,
            ),
        }
    }
}

fn read_policy(path: PathBuf) -> Result<Policy, ConfigError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::Unreadable { path, source }),
    };
    Policy::parse(&text).map_err(|error| ConfigError::Malformed {
        path,
        problem: error.to_string(),
    })
}

fn caps(entries: Vec<CapEntry>) -> ThrottleRules {
    let caps: BTreeMap<(String, String), ThrottleCap> = entries
        .into_iter()
        .map(|entry| {
            let named = |name: Option<String>| name.unwrap_or_else(|| ALL.to_owned());
            let key = (named(entry.share), named(entry.resource_type));
            let cap = ThrottleCap {
                queued_least: entry.queued_least,
                queued_per_100_running: entry.queued_per_100_running.unwrap_or(200),
                queued_max: entry.queued_max,
                running_max: entry.running_max,
                exempt_priority: entry.exempt_priority,
            };
            (key, cap)
        })
        .collect();
    ThrottleRules { caps }
}
