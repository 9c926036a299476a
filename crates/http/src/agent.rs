//! The library's agent, made anew when the files of the client's certificate have changed.
//!
//! Grid proxies live for hours and are replaced while a pilot runs. A new file that cannot be used,
//! for example half written, leaves the old certificate in place.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ureq::{
    Agent, Proxy,
    config::RedirectAuthHeaders,
    unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector},
};

use crate::{
    ClientCertificate, ClientConfig, ConfigError, HttpError, ProxyConfig, Redirects, Trust,
    connector::{EarlyAnswerConnector, TcpConnector},
    error::without_secrets,
    file_version::FileVersion,
    resolve::HostResolver,
    trust::tls_config,
};

/// Most redirects that are followed.
const REDIRECTS_MAX: u32 = 5;

/// Most bytes of the headers of an answer.
const HEADERS_MAX_BYTES: usize = 64 << 10;

/// Connections kept open for reuse, in total and for one server.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// The same for exchanges with storage, of which many run at a time.
const IDLE_EXCHANGES_MAX: usize = 32;

/// How long a server may take to say that it wants a body, before the body is sent unasked.
const CONTINUE_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection is kept for reuse. Below the 5 seconds after which Apache, PanDA's usual
/// front, closes one, so that a request seldom meets a connection that is just being closed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);

/// What agents are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests and answers of moderate size, with redirects followed.
    Calls,
    /// Exchanges whose course is the caller's: no redirects, no limit on time but the caller's.
    Exchanges,
}

/// Makes agents.
#[derive(Debug)]
pub(crate) struct AgentSource {
    config: ClientConfig,
    purpose: Purpose,
    last: Mutex<(Versions, Agents)>,
}

/// An agent for each kind of roots, of which the library takes one at a time.
#[derive(Debug, Clone)]
struct Agents {
    first: Agent,
    /// Asked where the first does not believe the server.
    second: Option<Agent>,
}

/// Versions of the certificate's and the key's file; none where there is no such file.
type Versions = [Option<FileVersion>; 2];

impl AgentSource {
    pub(crate) fn new(config: ClientConfig, purpose: Purpose) -> Result<Self, ConfigError> {
        // Looked at before the files are read: a change in between is found the next time.
        let versions = versions_of(&config);
        let agents = make_all(&config, purpose)?;
        Ok(Self {
            config,
            purpose,
            last: Mutex::new((versions, agents)),
        })
    }

    /// Makes one request. `ask` may be called a second time, after a server was not believed: then
    /// the request has not left.
    pub(crate) fn run<T>(
        &self,
        mut ask: impl FnMut(&Agent) -> Result<T, HttpError>,
    ) -> Result<T, HttpError> {
        let Agents { first, second } = self.current();
        match (ask(&first), second) {
            (Err(error), Some(second)) if is_unbelieved(&error) => ask(&second).map_err(|_| error),
            (result, _) => result,
        }
    }

    fn current(&self) -> Agents {
        let versions = versions_of(&self.config);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != versions {
            match make_all(&self.config, self.purpose) {
                Ok(agents) => last.1 = agents,
                Err(error) => tracing::warn!("the old certificate is used further: {error}"),
            }
            last.0 = versions;
        }
        last.1.clone()
    }
}

/// Says whether the server's certificate was not believed, and so nothing was sent.
fn is_unbelieved(error: &HttpError) -> bool {
    matches!(error, HttpError::TlsRefused { source, .. }
        if source.to_string().contains("invalid peer certificate"))
}

fn versions_of(config: &ClientConfig) -> Versions {
    let version = |path: &std::path::PathBuf| FileVersion::of(path).ok();
    match &config.certificate {
        None => [None, None],
        Some(ClientCertificate {
            chain_file,
            key_file,
        }) => {
            let chain = version(chain_file);
            let key = if key_file == chain_file {
                chain
            } else {
                version(key_file)
            };
            [chain, key]
        }
    }
}

fn make_all(config: &ClientConfig, purpose: Purpose) -> Result<Agents, ConfigError> {
    Ok(Agents {
        first: make(config, &config.trust, purpose)?,
        second: match &config.trust {
            Trust::DirectoryAndBuiltIn(_) => Some(make(config, &Trust::BuiltIn, purpose)?),
            Trust::BuiltIn | Trust::File(_) | Trust::Directory(_) => None,
        },
    })
}

fn make(config: &ClientConfig, trust: &Trust, purpose: Purpose) -> Result<Agent, ConfigError> {
    let proxy = config.proxy.as_ref().map(proxy_of).transpose()?;
    let redirects_max = match config.redirects {
        Redirects::Followed => REDIRECTS_MAX,
        Redirects::Told => 0,
    };
    let settings = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(tls_config(config, trust)?)
        .user_agent(config.user_agent.as_str())
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .max_response_header_size(HEADERS_MAX_BYTES)
        .max_idle_age(IDLE_AGE_MAX)
        .timeout_connect(Some(config.timeouts.connect));
    let settings = match purpose {
        Purpose::Calls => settings
            .max_redirects(redirects_max)
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .timeout_global(Some(config.timeouts.whole)),
        Purpose::Exchanges => settings
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .max_idle_connections(IDLE_EXCHANGES_MAX)
            .max_idle_connections_per_host(IDLE_EXCHANGES_MAX)
            .timeout_await_100(Some(CONTINUE_LIMIT)),
    };
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector)
            .chain(RustlsConnector::default())
            .chain(EarlyAnswerConnector);
    Ok(Agent::with_parts(
        settings.build(),
        connector,
        HostResolver::of_system(),
    ))
}

fn proxy_of(config: &ProxyConfig) -> Result<Proxy, ConfigError> {
    let bad_proxy = |_| ConfigError::BadProxy {
        url: without_secrets(&config.url),
    };
    let plain = Proxy::new(&config.url).map_err(bad_proxy)?;
    let mut builder = Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in &config.except {
        builder = builder.no_proxy(host);
    }
    builder.build().map_err(bad_proxy)
}
