//! The payload's output, shown while it runs: whether it is, where it goes, and which files.
//!
//! Source: Pilot 3, `pilot/control/payload.py`, `run_realtimelog`, `get_logging_info` and
//! `find_log_to_tail`; `pilot/util/realtimelogger.py`.

use std::collections::BTreeMap;

use ailurus_experiment::plan::STDOUT_FILE;
use ailurus_model::{Job, Queue, SecretText};

use super::debug::DebugRequest;
use crate::PilotConfig;

/// The log's name if nobody gives it another one.
const NAME: &str = "pilot-log";
/// Where Loki takes lines.
const LOKI_PATH: &str = "/loki/api/v1/push";

/// What a pilot is told of streams at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSettings {
    /// Whether every job's output is streamed (`--use-realtime-logging`).
    pub for_all: ForAll,
    /// `logserver=type;protocol://host:port` (`--realtime-logging-server`), empty if not given.
    pub server: String,
    /// The log's name (`--realtime-logname`), empty if not given.
    pub name: String,
    /// Files to stream (`REALTIME_LOGFILES`), none for the usual one.
    pub files: Vec<String>,
}

/// Whose output is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForAll {
    /// That of jobs in debug mode.
    #[default]
    No,
    /// Every job's.
    Yes,
}

/// A stream of one job's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// Where it goes.
    pub destination: Destination,
    /// The log's name.
    pub name: String,
    /// Names of the files in the job's directory.
    pub files: Vec<String>,
    /// What is said with every line.
    pub labels: BTreeMap<&'static str, String>,
    /// Login and password for the destination, if it has one.
    pub login: Option<(SecretText, SecretText)>,
}

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Logstash over HTTP: arrays of objects are posted to this URL.
    Http(String),
    /// Logstash over TCP: an object a line, to this host and port.
    Tcp(String),
    /// Grafana Loki: this URL takes lines with labels.
    Loki(String),
    /// An object a line, to this file of the node. Only the pilot's own command line may say so.
    File(String),
}

/// Plans the stream of a job's output; none if none is wanted, or nobody says where it goes.
///
/// # Errors
///
/// What is wrong with the destination, for the log: no job fails for it.
pub fn plan_stream(
    config: &PilotConfig,
    queue: &Queue,
    job: &Job,
    debug: Option<&DebugRequest>,
) -> Result<Option<LogStream>, String> {
    let settings = &config.log_stream;
    let in_catchall = |key: &str| value_in(&queue.catchall, key);
    let wants_file = in_catchall("loggingfile=");
    let is_wanted = settings.for_all == ForAll::Yes
        || debug.is_some_and(DebugRequest::is_output)
        || wants_file.is_some();
    if !is_wanted {
        return Ok(None);
    }
    let of_queue = in_catchall("logging=").filter(|text| text.contains(';'));
    let of_profile = config.profile.log_stream.destination.as_str();
    let (text, origin) = match (settings.server.as_str(), of_queue) {
        ("", Some(text)) => (text, Origin::Elsewhere),
        ("", None) => (of_profile, Origin::Elsewhere),
        (text, _) => (text, Origin::CommandLine),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let destination = read_destination(text, origin)?;
    let files = match debug {
        Some(DebugRequest::Tail { pattern }) => vec![pattern.join("/")],
        _ if !settings.files.is_empty() => settings.files.clone(),
        _ => vec![wants_file.unwrap_or(STDOUT_FILE).to_owned()],
    };
    let name = Some(settings.name.as_str()).filter(|name| !name.is_empty());
    let secret = |name: &str| job.options.pilot_secrets.get(name).cloned();
    Ok(Some(LogStream {
        destination,
        name: name.unwrap_or(NAME).to_owned(),
        files: files.into_iter().filter(|it| is_below(it)).collect(),
        labels: labels(config, job),
        login: secret("logstash_login").zip(secret("logstash_password")),
    }))
}

/// Who names a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    CommandLine,
    Elsewhere,
}

/// Reads `type;protocol://host:port`, with `logserver=` before it or not.
fn read_destination(text: &str, origin: Origin) -> Result<Destination, String> {
    let text = text.strip_prefix("logserver=").unwrap_or(text);
    let bad = || format!("`{text}` is no destination of a log: write `logstash;https://host:port`");
    let (kind, url) = text.split_once(';').ok_or_else(bad)?;
    let (protocol, place) = url.split_once("://").ok_or_else(bad)?;
    if place.is_empty() || place.contains(char::is_whitespace) {
        return Err(bad());
    }
    match (kind, protocol) {
        ("logstash", "http" | "https") => Ok(Destination::Http(url.to_owned())),
        ("logstash", "tcp") => Ok(Destination::Tcp(place.to_owned())),
        ("loki", "http" | "https") => {
            let base = url.trim_end_matches('/');
            Ok(Destination::Loki(format!("{base}{LOKI_PATH}")))
        }
        ("file", "file") if origin == Origin::CommandLine => {
            Ok(Destination::File(place.to_owned()))
        }
        ("fluent" | "google-cloud-logging", _) => Err(format!(
            "logs are not sent to `{kind}`: use `logstash` or `loki`, which it can read too"
        )),
        _ => Err(bad()),
    }
}

/// Returns the value behind a key in `catchall`, up to the next comma or blank.
fn value_in<'a>(catchall: &'a str, key: &str) -> Option<&'a str> {
    let words = catchall.split([',', ' ']);
    words
        .filter_map(|word| word.strip_prefix(key))
        .find(|value| !value.is_empty())
}

/// Says whether a name stays in the job's directory.
fn is_below(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

fn labels(config: &PilotConfig, job: &Job) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("TaskID", job.task_id.to_string()),
        ("PandaJobID", job.panda_id.to_string()),
    ]);
    if let Some(id) = config.identity.worker_id {
        labels.insert("Harvester_WorkerID", id.to_string());
    }
    if let Some(id) = &config.identity.harvester_id {
        labels.insert("Harvester_ID", id.to_string());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{config, job, site};

    fn plan(
        change: impl FnOnce(&mut PilotConfig, &mut Queue),
        debug: Option<&DebugRequest>,
    ) -> Result<Option<LogStream>, String> {
        let (mut config, mut queue) = (config(), site().queue);
        change(&mut config, &mut queue);
        plan_stream(&config, &queue, &job(1), debug)
    }

    fn destination(server: &str) -> Result<Destination, String> {
        let plan = plan(
            |config, _| {
                config.log_stream.for_all = ForAll::Yes;
                config.log_stream.server = server.into();
            },
            None,
        )?;
        Ok(plan.expect("wanted").destination)
    }

    #[test]
    fn nothing_is_streamed_unless_somebody_wants_it() {
        let with_server = |config: &mut PilotConfig, _: &mut Queue| {
            config.log_stream.server = "logstash;http://h:1".into();
        };
        assert_eq!(plan(with_server, None), Ok(None));
        let newest = DebugRequest::NewestText;
        assert!(plan(with_server, Some(&newest)).expect("fine").is_some());
        assert_eq!(plan(with_server, Some(&DebugRequest::Processes)), Ok(None));
        assert_eq!(
            plan(|_, _| (), Some(&newest)),
            Ok(None),
            "nobody says where to"
        );
    }

    #[test]
    fn the_queue_says_where_to_and_which_file() {
        let plan = plan(
            |_, queue| {
                queue.catchall = "x,logging=logstash;https://h:8443,loggingfile=tmp.log".into();
            },
            None,
        );
        let stream = plan.expect("fine").expect("wanted");
        assert_eq!(
            stream.destination,
            Destination::Http("https://h:8443".into())
        );
        assert_eq!(stream.files, ["tmp.log"]);
        assert_eq!(
            (stream.name.as_str(), stream.labels["PandaJobID"].as_str()),
            (NAME, "1")
        );
    }

    #[test]
    fn each_kind_of_server_is_understood() {
        for (text, expected) in [
            (
                "logserver=logstash;http://h:1",
                Destination::Http("http://h:1".into()),
            ),
            ("logstash;tcp://h:1", Destination::Tcp("h:1".into())),
            (
                "loki;http://h:1/",
                Destination::Loki("http://h:1/loki/api/v1/push".into()),
            ),
            (
                "file;file:///var/log/x",
                Destination::File("/var/log/x".into()),
            ),
        ] {
            assert_eq!(destination(text), Ok(expected), "{text}");
        }
        for text in [
            "http://h:1",
            "logstash;h:1",
            "fluent;http://h:1",
            "logstash;ftp://h:1",
        ] {
            assert!(destination(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_queue_cannot_make_the_pilot_write_a_file_or_read_one_elsewhere() {
        let catchall = |text: &'static str| {
            move |_: &mut PilotConfig, queue: &mut Queue| queue.catchall = text.into()
        };
        assert!(plan(catchall("logging=file;file:///etc/x,loggingfile=a"), None).is_err());
        let elsewhere = "logging=logstash;http://h:1,loggingfile=/etc/passwd";
        let stream = plan(catchall(elsewhere), None)
            .expect("fine")
            .expect("wanted");
        assert!(stream.files.is_empty());
    }
}
