//! The server's configuration: what a file may say, and the checked form that goes inside.
//!
//! [`ConfigFile`] is the file as people write it; [`Config`] cannot be wrong. Later sources win:
//! built-in, file, command line.

mod archive;
mod identity;
mod messages;
mod rucio;
mod scheduling;
mod tasks;
mod watchdogs;
mod workflows;

use std::{
    fmt::Display,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_model::{
    ByteCount,
    units::{format_duration, optional_duration_text},
};
use ailurus_server_core::Limits;
use ailurus_store::Database;
use serde::Deserialize;

use crate::{cli::Options, limits::LimitsSection, reads::ReadBounds};

pub(crate) use archive::ArchiveConfig;
use archive::ArchiveSection;
pub(crate) use identity::{CredentialsConfig, IdentityConfig, TlsConfig};
use identity::{CredentialsSection, RolesSection, Sections, TlsSection, TokensSection};
pub(crate) use messages::MessagesConfig;
use messages::MessagesSection;
pub(crate) use scheduling::SchedulingConfig;
use scheduling::SchedulingSection;

/// The configuration file. Unknown keys are refused. Durations and sizes have units: `"10s"`,
/// `"2h 30m"`, `"16 MiB"`. Relative paths begin at the directory in which the server was started.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    /// Address and port to listen on. Default `127.0.0.1:25080`.
    listen: Option<SocketAddr>,
    /// Whether callers on this machine are trusted with everything. Default: yes, as long as
    /// neither `[tls]` nor `[tokens]` says how to tell who calls.
    trust_loopback: Option<bool>,
    /// Database: a file, made if it is not there, or a PostgreSQL server as
    /// `postgres://user@host/name` or `host=… dbname=…`. Default `ailurus-server.db`.
    database: Option<String>,
    /// Queue data as CRIC has them. Default `queues.json`.
    queues: Option<PathBuf>,
    /// Storage data as CRIC has them. Without it, no storage is known.
    storages: Option<PathBuf>,
    /// Settings of pilots by organisation, a JSON object that is served as
    /// `pilot_gdp_config.json`. Without it, an empty one is.
    pilot_settings: Option<PathBuf>,
    /// Folder whose files are served at `/trf/user/NAME`. Without it, none are.
    transforms: Option<PathBuf>,
    /// Folder of files that clients upload. Default `cache`.
    cache: Option<PathBuf>,
    /// How often silent jobs are looked for and queues are chosen for waiting ones. Default `10s`.
    #[serde(with = "optional_duration_text")]
    watch_interval: Option<Duration>,
    /// How long no job counts as silent after a start, or after the clock was set: pilots must be
    /// heard first. Default `40m`, more than the time between two heartbeats of a pilot.
    #[serde(with = "optional_duration_text")]
    silence_grace: Option<Duration>,
    /// Largest body of a request. Default `16 MiB`.
    body_limit: Option<ByteCount>,
    /// How long a request may take from its head to its answer. Default `1m`.
    #[serde(with = "optional_duration_text")]
    request_timeout: Option<Duration>,
    /// How long a request that brings a file may take. Default `30m`.
    #[serde(with = "optional_duration_text")]
    upload_timeout: Option<Duration>,
    /// How long a connection may be silent, or take for the head of a request, before it is closed.
    /// Default `5m`.
    #[serde(with = "optional_duration_text")]
    idle_timeout: Option<Duration>,
    /// Connections at a time; more wait until one ends. Default 4096.
    connections: Option<u32>,
    /// Requests that are handled at a time; more wait until one ends. With `body_limit`, this
    /// bounds the server's memory. Default 256.
    requests: Option<u32>,
    /// Questions to the database at a time, each with a connection of its own; more wait. Default 8.
    readers: Option<u32>,
    /// How long a question waits for its turn before the client is told to try again. Default
    /// `10s`.
    #[serde(with = "optional_duration_text")]
    reader_wait: Option<Duration>,
    /// How long running requests may take to end once the server is to stop. Default `10s`.
    #[serde(with = "optional_duration_text")]
    stop_timeout: Option<Duration>,
    /// Least important messages that are logged: `error`, `warn`, `info`, `debug`, `trace`.
    /// Default `info`.
    log: Option<String>,
    /// What a line of the log is: `text` for people, `json` for programs. Default `text`.
    log_format: Option<String>,
    /// Limits on jobs, tasks and workers.
    limits: LimitsSection,
    /// Time-outs that differ by queue, label or working group, and fast rebrokerage.
    watchdogs: watchdogs::WatchdogsSection,
    /// PanDA's tasks.
    tasks: tasks::TasksSection,
    /// Workflows.
    workflows: workflows::WorkflowsSection,
    /// The catalogue of files that is asked for datasets of tasks.
    rucio: rucio::RucioSection,
    /// Where jobs go and in which order.
    scheduling: SchedulingSection,
    /// What becomes of what ended long ago.
    archive: ArchiveSection,
    /// The broker that is told of changes.
    messages: MessagesSection,
    /// HTTPS, and clients' certificates.
    tls: TlsSection,
    /// Bearer tokens.
    tokens: TokensSection,
    /// Who may do what.
    roles: RolesSection,
    /// What is given to pilots and Harvester.
    credentials: CredentialsSection,
}

/// The configuration as the server uses it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Address and port to listen on.
    pub(crate) listen: SocketAddr,
    /// Where the rows are.
    pub(crate) database: Database,
    /// Queue data file.
    pub(crate) queues: PathBuf,
    /// Storage data file.
    pub(crate) storages: Option<PathBuf>,
    /// Settings of pilots by organisation.
    pub(crate) pilot_settings: Option<PathBuf>,
    /// Folder of payload scripts.
    pub(crate) transforms: Option<PathBuf>,
    /// Folder of files that clients upload.
    pub(crate) cache: PathBuf,
    /// Time between two looks at silent and waiting jobs.
    pub(crate) watch_interval: Duration,
    /// Time after a start for which no job counts as silent.
    pub(crate) silence_grace: Duration,
    /// Largest body of a request, in bytes.
    pub(crate) body_limit: usize,
    /// Longest time from a request's head to its answer.
    pub(crate) request_timeout: Duration,
    /// Longest time of a request that brings a file.
    pub(crate) upload_timeout: Duration,
    /// Longest silence of a connection.
    pub(crate) idle_timeout: Duration,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Requests that are handled at a time.
    pub(crate) requests: usize,
    /// How many ask the database at a time.
    pub(crate) reads: ReadBounds,
    /// Time for running requests once the server is to stop.
    pub(crate) stop_timeout: Duration,
    /// Least important messages that are logged.
    pub(crate) log: tracing::level_filters::LevelFilter,
    /// What a line of the log is.
    pub(crate) log_format: LogFormat,
    /// Limits on jobs, tasks and workers.
    pub(crate) limits: Limits,
    /// The catalogue of files, if there is one.
    pub(crate) rucio: Option<ailurus_rucio::RucioConfig>,
    /// Where jobs go and in which order.
    pub(crate) scheduling: SchedulingConfig,
    /// What becomes of what ended long ago.
    pub(crate) archive: ArchiveConfig,
    /// The broker that is told of changes, if there is one.
    pub(crate) messages: Option<MessagesConfig>,
    /// Who calls.
    pub(crate) identity: IdentityConfig,
}

/// What a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object, for programs.
    Json,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    BuiltIn,
    File,
    CommandLine,
}

impl Origin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::File => "file",
            Self::CommandLine => "command line",
        }
    }
}

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The key.
    pub(crate) key: &'static str,
    /// The value as text.
    pub(crate) value: String,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let origin = self.origin.as_str();
        write!(f, "{} = {}  # {origin}", self.key, self.value)
    }
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
    /// The file is not TOML, has an unknown key, or a value of the wrong kind.
    #[error("configuration `{}` is wrong: {problem}", path.display())]
    Malformed { path: PathBuf, problem: String },
    /// A value is of the right kind but makes no sense.
    #[error("`{key}` is `{value}`: it must be {allowed}")]
    Value {
        key: &'static str,
        value: String,
        allowed: &'static str,
    },
    /// Shares make no tree, or classes of jobs no table.
    #[error("`{key}`: {problem}")]
    Scheduling { key: &'static str, problem: String },
    /// Others could reach the server, and it cannot tell who they are.
    #[error(
        "`listen` is `{address}`, which other machines may reach, and there is no HTTPS by which \
         they could say who they are: add a section `[tls]`, listen on `127.0.0.1`, or add \
         `--insecure-any-address`, by which others are let in as nobody"
    )]
    OpenAddress { address: SocketAddr },
}

/// Collects settings by source and remembers where each came from.
#[derive(Debug, Default)]
struct Picker {
    shown: Vec<Shown>,
}

impl Picker {
    fn pick<T>(
        &mut self,
        key: &'static str,
        sources: [Option<T>; 2],
        built_in: T,
        text: impl Fn(&T) -> String,
    ) -> T {
        let [command_line, file] = sources;
        let (value, origin) = match (command_line, file) {
            (Some(value), _) => (value, Origin::CommandLine),
            (None, Some(value)) => (value, Origin::File),
            (None, None) => (built_in, Origin::BuiltIn),
        };
        self.shown.push(Shown {
            key,
            value: text(&value),
            origin,
        });
        value
    }
}

impl Config {
    /// Reads the file, if one is named, puts the command line over it, and checks the result.
    /// The lines show every setting in the order of the documentation.
    pub(crate) fn load(options: &Options) -> Result<(Self, Vec<Shown>), ConfigError> {
        let file = match &options.config {
            Some(path) => read_file(path)?,
            None => ConfigFile::default(),
        };
        let mut picker = Picker::default();
        let config = resolve(options, file, &mut picker)?;
        let tells_who = config.identity.tls.is_some() || options.insecure_any_address;
        if !config.listen.ip().is_loopback() && !tells_who {
            return Err(ConfigError::OpenAddress {
                address: config.listen,
            });
        }
        Ok((config, picker.shown))
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    })
}

fn resolve(
    options: &Options,
    mut file: ConfigFile,
    picker: &mut Picker,
) -> Result<Config, ConfigError> {
    let retries = tasks::retry_rules(picker, file.tasks.retry_rules.take())?;
    let path = |path: &PathBuf| format!("\"{}\"", path.display());
    let optional_path = |path: &Option<PathBuf>| match path {
        Some(path) => format!("\"{}\"", path.display()),
        None => "none".to_owned(),
    };
    let listen = picker.pick(
        "listen",
        [options.listen, file.listen],
        SocketAddr::from(([127, 0, 0, 1], 25080)),
        |address| format!("\"{address}\""),
    );
    let database = [options.database.clone(), file_database(file.database)?];
    let built_in = Database::File("ailurus-server.db".into());
    let queues = [options.queues.clone(), file.queues];
    let storages = [options.storages.clone(), file.storages].map(|path| path.map(Some));
    let pilot_settings = [None, file.pilot_settings.map(Some)];
    let transforms = [options.transforms.clone(), file.transforms].map(|path| path.map(Some));
    let config = Config {
        listen,
        database: picker.pick("database", database, built_in, |database| {
            format!("\"{database}\"")
        }),
        queues: picker.pick("queues", queues, "queues.json".into(), path),
        storages: picker.pick("storages", storages, None, optional_path),
        pilot_settings: picker.pick("pilot_settings", pilot_settings, None, optional_path),
        transforms: picker.pick("transforms", transforms, None, optional_path),
        cache: picker.pick("cache", [None, file.cache], "cache".into(), path),
        watch_interval: duration(picker, "watch_interval", file.watch_interval, 10),
        silence_grace: duration(picker, "silence_grace", file.silence_grace, 40 * 60),
        body_limit: body_limit(picker, file.body_limit)?,
        request_timeout: duration(picker, "request_timeout", file.request_timeout, 60),
        upload_timeout: duration(picker, "upload_timeout", file.upload_timeout, 30 * 60),
        idle_timeout: duration(picker, "idle_timeout", file.idle_timeout, 300),
        connections: at_least_one(picker, "connections", file.connections, 4096)?,
        requests: at_least_one(picker, "requests", file.requests, 256)?,
        reads: ReadBounds {
            readers: at_least_one(picker, "readers", file.readers, 8)?,
            wait: duration(picker, "reader_wait", file.reader_wait, 10),
        },
        stop_timeout: duration(picker, "stop_timeout", file.stop_timeout, 10),
        log: log_level(picker, file.log)?,
        log_format: log_format(picker, file.log_format)?,
        limits: Limits {
            tasks: file.tasks.resolve(&mut picker.shown)?,
            watch: file.watchdogs.resolve(picker)?,
            workflows: file.workflows.resolve(picker)?,
            ..file.limits.resolve(&mut picker.shown)
        },
        rucio: file.rucio.resolve(picker)?,
        scheduling: file.scheduling.resolve(picker, retries)?,
        archive: file.archive.resolve(picker)?,
        messages: file.messages.resolve(picker)?,
        identity: Sections {
            trust_loopback: file.trust_loopback,
            tls: file.tls,
            tokens: file.tokens,
            roles: file.roles,
            credentials: file.credentials,
        }
        .resolve(picker)?,
    };
    check(&config)?;
    Ok(config)
}

/// Refuses a timer without time, and steps of nothing.
fn check(config: &Config) -> Result<(), ConfigError> {
    for (key, value) in [
        ("watch_interval", config.watch_interval),
        ("request_timeout", config.request_timeout),
        ("upload_timeout", config.upload_timeout),
        ("idle_timeout", config.idle_timeout),
        ("reader_wait", config.reads.wait),
    ] {
        if value.is_zero() {
            return Err(ConfigError::Value {
                key,
                value: format_duration(value),
                allowed: "longer than nothing",
            });
        }
    }
    for (key, value) in [
        ("limits.watch_batch", config.limits.watch_batch),
        ("limits.broker_batch", config.limits.broker_batch),
    ] {
        if value == 0 {
            return Err(ConfigError::Value {
                key,
                value: value.to_string(),
                allowed: "at least 1",
            });
        }
    }
    Ok(())
}

/// Picks a duration that the command line has no option for.
fn duration(
    picker: &mut Picker,
    key: &'static str,
    file: Option<Duration>,
    built_in_secs: u64,
) -> Duration {
    let built_in = Duration::from_secs(built_in_secs);
    picker.pick(key, [None, file], built_in, |duration| {
        format!("\"{}\"", format_duration(*duration))
    })
}

/// Picks a duration of a second or more.
fn at_least_a_second(
    picker: &mut Picker,
    key: &'static str,
    file: Option<Duration>,
    built_in: Duration,
) -> Result<Duration, ConfigError> {
    let quoted = |duration: &Duration| format!("\"{}\"", format_duration(*duration));
    let duration = picker.pick(key, [None, file], built_in, quoted);
    if duration < Duration::from_secs(1) {
        return Err(wrong(
            key,
            &format_duration(duration),
            "at least one second",
        ));
    }
    Ok(duration)
}

fn wrong(key: &'static str, value: &str, allowed: &'static str) -> ConfigError {
    ConfigError::Value {
        key,
        value: value.to_owned(),
        allowed,
    }
}

fn body_limit(picker: &mut Picker, file: Option<ByteCount>) -> Result<usize, ConfigError> {
    let limit = picker.pick(
        "body_limit",
        [None, file],
        ByteCount::from_mib(16),
        |size| format!("\"{size}\""),
    );
    usize::try_from(limit.as_bytes())
        .ok()
        .filter(|bytes| (1024..=ailurus_wire::body::BODY_MAX).contains(bytes))
        .ok_or_else(|| ConfigError::Value {
            key: "body_limit",
            value: limit.to_string(),
            allowed: "between 1 KiB and 64 MiB",
        })
}

fn at_least_one(
    picker: &mut Picker,
    key: &'static str,
    file: Option<u32>,
    built_in: u32,
) -> Result<usize, ConfigError> {
    let number = picker.pick(key, [None, file], built_in, u32::to_string);
    usize::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| ConfigError::Value {
            key,
            value: number.to_string(),
            allowed: "at least 1",
        })
}

fn log_level(
    picker: &mut Picker,
    file: Option<String>,
) -> Result<tracing::level_filters::LevelFilter, ConfigError> {
    let level = picker.pick("log", [None, file], "info".to_owned(), |level| {
        format!("\"{level}\"")
    });
    level.parse().map_err(|_| ConfigError::Value {
        key: "log",
        value: level,
        allowed: "one of `error`, `warn`, `info`, `debug`, `trace`",
    })
}

fn log_format(picker: &mut Picker, file: Option<String>) -> Result<LogFormat, ConfigError> {
    let format = picker.pick("log_format", [None, file], "text".to_owned(), |format| {
        format!("\"{format}\"")
    });
    match format.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(ConfigError::Value {
            key: "log_format",
            value: format,
            allowed: "`text` or `json`",
        }),
    }
}

/// Reads what the file says of the database. It may hold a password, so it is not repeated.
fn file_database(text: Option<String>) -> Result<Option<Database>, ConfigError> {
    let parse = |text: String| {
        text.parse().map_err(|_| ConfigError::Value {
            key: "database",
            value: "…".to_owned(),
            allowed: "a path, `postgres://user@host:5432/name`, or `host=… port=… dbname=…`",
        })
    };
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, change: impl FnOnce(&mut Options)) -> Result<(Config, Vec<Shown>), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        fs::write(&path, text).unwrap();
        let mut options = Options {
            config: Some(path),
            ..Options::default()
        };
        change(&mut options);
        Config::load(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_allowed_keys() {
        let error = load("watch_intervall = \"10s\"", |_| {}).expect_err("unknown");
        for part in ["server.toml", "line 1", "watch_intervall", "watch_interval"] {
            assert!(error.contains(part), "{error}");
        }
        let error = load("[limits]\nheartbeat = \"2h\"", |_| {}).expect_err("unknown");
        assert!(error.contains("heartbeat_timeout"), "{error}");
    }

    #[test]
    fn the_operators_page_has_every_setting_with_its_default() {
        let page = include_str!("../../../docs/operators.md");
        for Shown { key, value, .. } in load("", |_| {}).unwrap().1 {
            let row = format!("| `{key}` | `{value}` |");
            assert!(page.contains(&row), "docs/operators.md has no row {row}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_an_example() {
        let error = load("watch_interval = \"10\"", |_| {}).expect_err("no unit");
        assert!(error.contains("`10` is not a duration"), "{error}");
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_says_so() {
        let (config, shown) = load("database = \"file.db\"\nlog = \"warn\"", |options| {
            options.database = Some(Database::File("line.db".into()));
        })
        .unwrap();
        assert_eq!(config.database, Database::File("line.db".into()));
        let line = |key| {
            let shown = shown.iter().find(|shown| shown.key == key);
            shown.unwrap().to_string()
        };
        assert_eq!(line("database"), "database = \"line.db\"  # command line");
        assert_eq!(line("log"), "log = \"warn\"  # file");
        assert_eq!(
            line("watch_interval"),
            "watch_interval = \"10s\"  # built-in"
        );
        assert!(line("limits.heartbeat_timeout").contains("\"2h\""));
    }

    #[test]
    fn an_address_that_others_reach_is_refused_unless_insisted_on() {
        let open = "listen = \"0.0.0.0:0\"";
        let error = load(open, |_| {}).expect_err("open");
        assert!(error.contains("--insecure-any-address"), "{error}");
        assert!(load(open, |options| options.insecure_any_address = true).is_ok());
    }

    #[test]
    fn values_without_sense_are_refused() {
        for text in [
            "body_limit = \"1 B\"",
            "connections = 0",
            "requests = 0",
            "readers = 0",
            "reader_wait = \"0s\"",
            "log = \"loud\"",
            "log_format = \"xml\"",
            "watch_interval = \"0s\"",
            "limits.watch_batch = 0",
            "limits.broker_batch = 0",
        ] {
            let error = load(text, |_| {}).expect_err(text);
            let key = text.split(' ').next().unwrap();
            assert!(error.contains(key) && error.contains("must be"), "{error}");
        }
    }
}
