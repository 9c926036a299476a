//! The configuration file: read once, judged, and turned into a [`Config`] that cannot be wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_batch::{LocalSettings, WorkerName};
use ailurus_harvester_core::{self as core, Limits, PauseRange, QueueSettings};
use ailurus_http::{BearerToken, ClientCertificate, ClientConfig, Trust};
use ailurus_model::{HarvesterId, QueueName, WorkerId, units::duration_text};
use serde::Deserialize;

use crate::template::{Template, TemplateError};

/// Where a queue's data are, below the server's address, if the configuration does not say.
const QUEUE_DATA_PATH: &str = "/cache/schedconfig/{queue}.all.json";
/// Shortest cycle: a shorter one would only wear out disks.
const CYCLE_MIN: Duration = Duration::from_millis(50);

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The name of this instance, unique among all that report to the server.
    harvester_id: String,
    /// The server's address, for example `https://panda.example.org:25443`.
    server: String,
    /// The database file. A second Harvester with the same one is refused.
    database: PathBuf,
    /// How often queues are looked at, and jobs counted. Default `30s`.
    #[serde(default = "default_cycle", with = "duration_text")]
    cycle: Duration,
    /// How often queue data are read. Default `5m`.
    #[serde(default = "default_queue_data_interval", with = "duration_text")]
    queue_data_interval: Duration,
    /// How often the server hears that this instance lives. Default `10m`, as Harvester.
    #[serde(default = "default_heartbeat_interval", with = "duration_text")]
    heartbeat_interval: Duration,
    /// URL or file of the queues' data, with `{queue}`. Default: the server's cache.
    queue_data: Option<String>,
    /// Pauses, patience.
    #[serde(default)]
    timing: Timing,
    /// How the server knows us.
    #[serde(default)]
    credentials: Credentials,
    /// The queues, at least one.
    queue: Vec<QueueFile>,
}

/// See [`core::Config`] for the meaning and the defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Timing {
    #[serde(with = "ailurus_model::units::optional_duration_text")]
    lost_after: Option<Duration>,
    #[serde(with = "ailurus_model::units::optional_duration_text")]
    pause_min: Option<Duration>,
    #[serde(with = "ailurus_model::units::optional_duration_text")]
    pause_max: Option<Duration>,
    #[serde(with = "ailurus_model::units::optional_duration_text")]
    fast_end: Option<Duration>,
    #[serde(with = "ailurus_model::units::optional_duration_text")]
    jobs_valid_for: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Credentials {
    /// PEM file with certificate and chain, or a proxy.
    certificate: Option<PathBuf>,
    /// PEM file with the private key. Default: the certificate's file.
    key: Option<PathBuf>,
    /// PEM file, or directory, of the certificate authorities that are believed.
    authorities: Option<PathBuf>,
    /// File with a bearer token, read again when it changes.
    token: Option<PathBuf>,
    /// The virtual organisation and role of the token, for example `spd.production`.
    token_origin: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueFile {
    /// The queue.
    name: String,
    /// Its batch system.
    batch: BatchKind,
    /// The folder of its workers' folders.
    spool: PathBuf,
    /// Program and arguments of a worker; see [`crate::template`].
    command: Vec<String>,
    /// Variables of a worker, beside those that Harvester sets.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Workers altogether.
    workers_max: u32,
    /// Workers that wait to run. Default: `workers_max`.
    workers_waiting_max: Option<u32>,
    /// New workers in one cycle. Default: `workers_max`.
    new_workers_max: Option<u32>,
    /// What a worker that was told to end may take before it is killed. Default `30s`.
    #[serde(default = "default_cancel_grace", with = "duration_text")]
    cancel_grace: Duration,
    /// Folders of ended workers that are kept, with their logs. Default 1000.
    #[serde(default = "default_ended_kept")]
    ended_workers_kept: usize,
    /// Production or analysis, for reports. Default `managed`, as Harvester.
    #[serde(default = "default_job_type")]
    job_type: String,
    /// PanDA's resource class, for reports. Default `ANY`.
    #[serde(default = "default_resource_type")]
    resource_type: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BatchKind {
    Local,
}

const fn default_cycle() -> Duration {
    Duration::from_secs(30)
}

const fn default_queue_data_interval() -> Duration {
    Duration::from_secs(300)
}

const fn default_heartbeat_interval() -> Duration {
    Duration::from_secs(600)
}

const fn default_cancel_grace() -> Duration {
    Duration::from_secs(30)
}

const fn default_ended_kept() -> usize {
    1000
}

fn default_job_type() -> String {
    "managed".to_owned()
}

fn default_resource_type() -> String {
    "ANY".to_owned()
}

/// A configuration that can be used.
#[derive(Debug)]
pub(crate) struct Config {
    /// Times and bounds of the core.
    pub(crate) core: core::Config,
    /// The database file.
    pub(crate) database: PathBuf,
    /// How often queues are looked at.
    pub(crate) cycle: Duration,
    /// The server and how it is reached.
    pub(crate) server: ServerConfig,
    /// The queues.
    pub(crate) queues: Vec<QueueConfig>,
}

/// The server and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct ServerConfig {
    /// Its address without a slash at the end.
    pub(crate) url: String,
    /// Credentials, limits on time.
    pub(crate) client: ClientConfig,
    /// How often jobs are counted.
    pub(crate) jobs_interval: Duration,
    /// How often queue data are read.
    pub(crate) queue_data_interval: Duration,
    /// How often a heartbeat is sent.
    pub(crate) heartbeat_interval: Duration,
    /// URL or file of each queue's data.
    pub(crate) queue_data: BTreeMap<QueueName, String>,
}

/// One queue.
#[derive(Debug)]
pub(crate) struct QueueConfig {
    /// What the core knows of it.
    pub(crate) settings: QueueSettings,
    /// Its batch system.
    pub(crate) batch: LocalSettings,
    /// Program and arguments of a worker.
    pub(crate) command: Vec<Template>,
    /// Variables of a worker, beside those that Harvester sets.
    pub(crate) environment: BTreeMap<String, String>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration `{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, or has wrong keys or types.
    #[error("configuration `{}` is wrong: {message}", path.display())]
    NotUnderstood { path: PathBuf, message: String },
    /// A value is not allowed.
    #[error("configuration `{}`: {key}: `{value}` is not allowed: {allowed}", path.display())]
    BadValue {
        path: PathBuf,
        key: String,
        value: String,
        allowed: String,
    },
    /// A word of a command has a wrong placeholder.
    #[error("configuration `{}`: {key}", path.display())]
    Template {
        path: PathBuf,
        key: String,
        #[source]
        source: TemplateError,
    },
}

impl Config {
    /// Reads and judges a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::NotUnderstood {
            path: path.to_owned(),
            message: error.to_string().trim().to_owned(),
        })?;
        let judge = Judge { path };
        let harvester_id = HarvesterId::new(&file.harvester_id);
        WorkerName::new(&harvester_id, WorkerId::new(u64::MAX))
            .map_err(|error| judge.bad("harvester_id", &file.harvester_id, error.to_string()))?;
        if !(file.server.starts_with("http://") || file.server.starts_with("https://")) {
            let allowed = "an address that begins with `http://` or `https://`";
            return Err(judge.bad("server", &file.server, allowed));
        }
        if file.cycle < CYCLE_MIN {
            let allowed = format!("at least {} ms", CYCLE_MIN.as_millis());
            return Err(judge.bad("cycle", &format!("{:?}", file.cycle), allowed));
        }
        if file.queue.is_empty() {
            return Err(judge.bad("queue", "[]", "write at least one `[[queue]]`"));
        }
        let url = file.server.trim_end_matches('/').to_owned();
        let mut names = BTreeSet::new();
        let mut queues = Vec::with_capacity(file.queue.len());
        for queue in file.queue {
            if !names.insert(queue.name.clone()) {
                return Err(judge.bad("queue", &queue.name, "each queue is configured once"));
            }
            queues.push(judge.queue(queue)?);
        }
        let pattern = file
            .queue_data
            .unwrap_or_else(|| format!("{url}{QUEUE_DATA_PATH}"));
        let location = |name: String| {
            let location = pattern.replace("{queue}", &name);
            (QueueName::new(name), location)
        };
        Ok(Self {
            core: file.timing.into_core(harvester_id),
            database: file.database,
            cycle: file.cycle,
            server: ServerConfig {
                url,
                client: judge.client(file.credentials)?,
                jobs_interval: file.cycle,
                queue_data_interval: file.queue_data_interval,
                heartbeat_interval: file.heartbeat_interval,
                queue_data: names.into_iter().map(location).collect(),
            },
            queues,
        })
    }
}

impl Timing {
    fn into_core(self, harvester_id: HarvesterId) -> core::Config {
        let default = core::Config::new(harvester_id);
        let pause_min = self.pause_min.unwrap_or(default.pause.min);
        core::Config {
            lost_after: self.lost_after.unwrap_or(default.lost_after),
            pause: PauseRange {
                min: pause_min,
                max: self.pause_max.unwrap_or(default.pause.max).max(pause_min),
            },
            fast_end: self.fast_end.unwrap_or(default.fast_end),
            jobs_valid_for: self.jobs_valid_for.unwrap_or(default.jobs_valid_for),
            ..default
        }
    }
}

/// Judges values of one file.
struct Judge<'a> {
    path: &'a Path,
}

impl Judge<'_> {
    fn bad(&self, key: &str, value: &str, allowed: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            path: self.path.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            allowed: allowed.into(),
        }
    }

    fn queue(&self, queue: QueueFile) -> Result<QueueConfig, ConfigError> {
        let key = |key: &str| format!("queue \"{}\": {key}", queue.name);
        let is_path_safe = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        if queue.name.is_empty() || !queue.name.chars().all(is_path_safe) {
            let allowed = "letters, digits, `.`, `_`, `-` and `+`";
            return Err(self.bad(&key("name"), &queue.name, allowed));
        }
        if queue.workers_max == 0 {
            return Err(self.bad(&key("workers_max"), "0", "at least 1"));
        }
        if queue.command.is_empty() {
            return Err(self.bad(&key("command"), "[]", "name the pilot and its arguments"));
        }
        let command = queue
            .command
            .iter()
            .map(|word| {
                Template::parse(word).map_err(|source| ConfigError::Template {
                    path: self.path.to_owned(),
                    key: key("command"),
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        let workers = queue.workers_max;
        let batch = match queue.batch {
            BatchKind::Local => LocalSettings {
                spool: queue.spool,
                slots: workers,
                cancel_grace: queue.cancel_grace,
                ended_kept: queue.ended_workers_kept,
            },
        };
        Ok(QueueConfig {
            settings: QueueSettings {
                limits: Limits {
                    workers,
                    waiting: queue.workers_waiting_max.unwrap_or(workers),
                    new_per_cycle: queue.new_workers_max.unwrap_or(workers),
                },
                name: QueueName::new(queue.name),
                job_type: queue.job_type,
                resource_type: queue.resource_type,
            },
            batch,
            command,
            environment: queue.environment,
        })
    }

    fn client(&self, credentials: Credentials) -> Result<ClientConfig, ConfigError> {
        let token = match (credentials.token, credentials.token_origin) {
            (None, None) => None,
            (Some(file), Some(origin)) => Some(BearerToken { file, origin }),
            (Some(_), None) | (None, Some(_)) => {
                let allowed = "`token` and `token_origin` come together";
                return Err(self.bad("credentials", "token", allowed));
            }
        };
        let certificate = credentials.certificate.map(|chain_file| ClientCertificate {
            key_file: credentials.key.unwrap_or_else(|| chain_file.clone()),
            chain_file,
        });
        let trust = match credentials.authorities {
            None => Trust::BuiltIn,
            Some(path) if path.is_dir() => Trust::Directory(path),
            Some(path) => Trust::File(path),
        };
        Ok(ClientConfig {
            trust,
            certificate,
            token,
            user_agent: concat!("ailurus-harvester/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientConfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
harvester_id = "spd-1"
server = "http://127.0.0.1:25080/"
database = "harvester.db"
cycle = "2s"

[timing]
pause_min = "1s"

[[queue]]
name = "JINR"
batch = "local"
spool = "workers/JINR"
workers_max = 4
command = ["pilot", "-q", "{queue}", "--url", "{server}"]
environment = { X509_USER_PROXY = "proxy.pem" }
"#;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("h.toml"), text)
    }

    #[test]
    fn what_is_left_out_gets_its_default() {
        let config = parse(GOOD).unwrap();
        let queue = &config.queues[0];
        assert_eq!(
            queue.settings.limits,
            Limits {
                workers: 4,
                waiting: 4,
                new_per_cycle: 4
            }
        );
        assert_eq!(queue.batch.slots, 4);
        assert_eq!(config.core.pause.min, Duration::from_secs(1));
        assert_eq!(config.core.pause.max, Duration::from_secs(600));
        assert_eq!(
            config.server.queue_data[&QueueName::new("JINR")],
            "http://127.0.0.1:25080/cache/schedconfig/JINR.all.json"
        );
    }

    /// One line each: what is replaced in the good file, by what, and what the message must hold.
    #[test]
    fn every_mistake_names_file_key_value_and_what_is_allowed() {
        let cases = [
            ("cycle", "cicle", "unknown field `cicle`"),
            ("\"2s\"", "\"2\"", "`2` is not a duration"),
            (
                "\"2s\"",
                "\"1ms\"",
                "cycle: `1ms` is not allowed: at least 50 ms",
            ),
            (
                "http://",
                "ftp://",
                "server: `ftp://127.0.0.1:25080/` is not allowed",
            ),
            ("spd-1", "a/b", "harvester_id: `a/b` is not allowed"),
            (
                "workers_max = 4",
                "workers_max = 0",
                "queue \"JINR\": workers_max: `0`",
            ),
            (
                "\"local\"",
                "\"slurm\"",
                "unknown variant `slurm`, expected `local`",
            ),
            ("\"JINR\"", "\"../x\"", "name: `../x` is not allowed"),
            (
                "cycle = \"2s\"",
                "credentials = { token = \"t\" }",
                "come together",
            ),
        ];
        for (old, new, words) in cases {
            let error = parse(&GOOD.replacen(old, new, 1))
                .expect_err(new)
                .to_string();
            assert!(
                error.contains("`h.toml`") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn a_wrong_placeholder_is_found_at_the_start() {
        let error = parse(&GOOD.replace("{queue}", "{que}")).unwrap_err();
        assert!(matches!(error, ConfigError::Template { .. }), "{error}");
    }

    #[test]
    fn a_queue_is_configured_once() {
        let (_, queue) = GOOD.split_once("[[queue]]").unwrap();
        let error = parse(&format!("{GOOD}\n[[queue]]{queue}")).unwrap_err();
        assert!(error.to_string().contains("configured once"), "{error}");
    }
}
