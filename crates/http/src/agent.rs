//! The library's agent, made anew when the files of the client's certificate have changed.
//!
//! Grid proxies live for hours and are replaced while a pilot runs. A new file that cannot be used,
//! for example half written, leaves the old certificate in place.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ureq::{Agent, Proxy, config::RedirectAuthHeaders, unversioned::transport::DefaultConnector};

use crate::{
    ClientCertificate, ClientConfig, ConfigError, ProxyConfig, error::without_secrets,
    file_version::FileVersion, resolve::HostResolver, trust::tls_config,
};

/// Most redirects that are followed.
const REDIRECTS_MAX: u32 = 5;

/// Most bytes of the headers of an answer.
const HEADERS_MAX_BYTES: usize = 64 << 10;

/// Connections kept open for reuse, in total and for one server.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// How long a connection is kept for reuse. Below the 5 seconds after which Apache, PanDA's usual
/// front, closes one, so that a request seldom meets a connection that is just being closed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);

/// Makes agents.
#[derive(Debug)]
pub(crate) struct AgentSource {
    config: ClientConfig,
    last: Mutex<(Versions, Agent)>,
}

/// Versions of the certificate's and the key's file; none where there is no such file.
type Versions = [Option<FileVersion>; 2];

impl AgentSource {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        // Looked at before the files are read: a change in between is found the next time.
        let versions = versions_of(&config);
        let agent = make(&config)?;
        Ok(Self {
            config,
            last: Mutex::new((versions, agent)),
        })
    }

    /// Returns the agent for one request.
    pub(crate) fn current(&self) -> Agent {
        let versions = versions_of(&self.config);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != versions {
            match make(&self.config) {
                Ok(agent) => last.1 = agent,
                Err(error) => tracing::warn!("the old certificate is used further: {error}"),
            }
            last.0 = versions;
        }
        last.1.clone()
    }
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

fn make(config: &ClientConfig) -> Result<Agent, ConfigError> {
    let proxy = config.proxy.as_ref().map(proxy_of).transpose()?;
    let settings = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(tls_config(config)?)
        .user_agent(config.user_agent.as_str())
        .max_redirects(REDIRECTS_MAX)
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .max_response_header_size(HEADERS_MAX_BYTES)
        .max_idle_connections(IDLE_CONNECTIONS_MAX)
        .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
        .max_idle_age(IDLE_AGE_MAX)
        .timeout_connect(Some(config.timeouts.connect))
        .timeout_global(Some(config.timeouts.whole))
        .build();
    Ok(Agent::with_parts(
        settings,
        DefaultConnector::default(),
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
