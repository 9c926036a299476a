//! The section `[messages]` of the configuration file: the broker that is told of changes.

use std::{fs, path::PathBuf, time::Duration};

use ailurus_model::units::optional_duration_text;
use ailurus_server_core::news::Audience;
use ailurus_stomp::{BrokerConfig, Credentials, Encryption};
use serde::Deserialize;

use super::{ConfigError, Picker, at_least_a_second, wrong};

/// Limit on each wait for the broker.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server keeps the telling without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// The port of plain STOMP, and of that within TLS.
const PORTS: (u16, u16) = (61613, 61614);

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MessagesSection {
    /// The broker: `stomp://HOST:PORT`, or `stomps://HOST:PORT` within TLS. Without it, nobody is
    /// told.
    broker: Option<String>,
    /// PEM file with the authorities that certify the broker, for `stomps://`.
    authorities: Option<PathBuf>,
    /// The name to give to the broker.
    login: Option<String>,
    /// The file whose first line is the word to give with it.
    passcode_file: Option<PathBuf>,
    /// Where statuses of jobs go. Default `["/queue/panda_jobstatus"]`.
    job_status: Option<Vec<String>>,
    /// Where statuses of tasks go. Default `["/queue/panda_jobstatus"]`.
    task_status: Option<Vec<String>>,
    /// Where pilots listen. Default none.
    pilots: Option<Vec<String>>,
    /// Whose statuses are told: `tagged` for jobs with the tag `pc`, or `all`. Default `tagged`.
    jobs: Option<String>,
    /// Limit on each wait for the broker. Default `20s`.
    #[serde(with = "optional_duration_text")]
    timeout: Option<Duration>,
    /// How long a server that died keeps others from telling. Default `30s`.
    #[serde(with = "optional_duration_text")]
    lease: Option<Duration>,
}

/// The section as the server uses it.
#[derive(Debug, Clone)]
pub(crate) struct MessagesConfig {
    /// The broker.
    pub(crate) broker: BrokerConfig,
    /// Where statuses of jobs go.
    pub(crate) job_status: Vec<String>,
    /// Where statuses of tasks go.
    pub(crate) task_status: Vec<String>,
    /// Where pilots listen.
    pub(crate) pilots: Vec<String>,
    /// Whose statuses are told.
    pub(crate) audience: Audience,
    /// How long a server that died keeps others from telling.
    pub(crate) lease: Duration,
}

impl MessagesSection {
    /// Checks the section and notes every value. None without a broker.
    pub(super) fn resolve(
        self,
        picker: &mut Picker,
    ) -> Result<Option<MessagesConfig>, ConfigError> {
        let quoted = |text: &Option<String>| match text {
            Some(text) => format!("\"{text}\""),
            None => "none".to_owned(),
        };
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => format!("\"{}\"", path.display()),
            None => "none".to_owned(),
        };
        let list = |names: &Vec<String>| format!("{names:?}");
        let status = || vec!["/queue/panda_jobstatus".to_owned()];
        let given = |value: Option<String>| [None, value.map(Some)];
        let file = |value: Option<PathBuf>| [None, value.map(Some)];
        let url = picker.pick("messages.broker", given(self.broker), None, quoted);
        let authorities = picker.pick("messages.authorities", file(self.authorities), None, path);
        let login = picker.pick("messages.login", given(self.login), None, quoted);
        let passcode_file = picker.pick(
            "messages.passcode_file",
            file(self.passcode_file),
            None,
            path,
        );
        let job_status = picker.pick(
            "messages.job_status",
            [None, self.job_status],
            status(),
            list,
        );
        let task_status = picker.pick(
            "messages.task_status",
            [None, self.task_status],
            status(),
            list,
        );
        let pilots = picker.pick("messages.pilots", [None, self.pilots], Vec::new(), list);
        let jobs = picker.pick(
            "messages.jobs",
            [None, self.jobs],
            "tagged".into(),
            |jobs| format!("\"{jobs}\""),
        );
        let audience = match jobs.as_str() {
            "tagged" => Audience::Tagged,
            "all" => Audience::All,
            _ => return Err(wrong("messages.jobs", &jobs, "`tagged` or `all`")),
        };
        let timeout = at_least_a_second(picker, "messages.timeout", self.timeout, TIMEOUT)?;
        let lease = at_least_a_second(picker, "messages.lease", self.lease, LEASE)?;
        let Some(url) = url else {
            return Ok(None);
        };
        let credentials = credentials(login, passcode_file)?;
        Ok(Some(MessagesConfig {
            broker: broker(&url, authorities, credentials, timeout)?,
            job_status,
            task_status,
            pilots,
            audience,
            lease,
        }))
    }
}

fn broker(
    url: &str,
    authorities: Option<PathBuf>,
    credentials: Option<Credentials>,
    timeout: Duration,
) -> Result<BrokerConfig, ConfigError> {
    const ALLOWED: &str =
        "`stomp://HOST:PORT`, or `stomps://HOST:PORT` with `messages.authorities`";
    let bad = || wrong("messages.broker", url, ALLOWED);
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let (encryption, port) = match (scheme, authorities) {
        ("stomp", _) => (Encryption::None, PORTS.0),
        ("stomps", Some(authorities)) => (Encryption::Tls(authorities), PORTS.1),
        _ => return Err(bad()),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (rest, port),
    };
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(bad());
    }
    Ok(BrokerConfig {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port,
        credentials,
        encryption,
        timeout,
    })
}

fn credentials(
    login: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<Credentials>, ConfigError> {
    match (login, file) {
        (None, None) => Ok(None),
        (Some(login), Some(path)) => {
            let text = fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
                path: path.clone(),
                source,
            })?;
            let passcode = text.lines().next().unwrap_or_default().to_owned();
            Ok(Some(Credentials { login, passcode }))
        }
        (Some(login), None) => {
            let allowed = "given together with `messages.passcode_file`";
            Err(wrong("messages.login", &login, allowed))
        }
        (None, Some(path)) => {
            let allowed = "given together with `messages.login`";
            Err(wrong(
                "messages.passcode_file",
                &path.display().to_string(),
                allowed,
            ))
        }
    }
}
