//! How Rucio is reached: options, Pilot 3's configuration file, Rucio's own file and variables.
//!
//! Nothing is asked here. Whether a job needs Rucio at all is decided by the core; what is missing
//! then is told with the job.
//!
//! Source: Rucio, `lib/rucio/client/baseclient.py`, `BaseClient`; `lib/rucio/common/config.py`;
//! WLCG Bearer Token Discovery 1.0; Pilot 3, `pilot/util/default.cfg`, section `Rucio`.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ailurus_http::{ClientCertificate, ClientConfig, Secret, Trust};
use ailurus_rucio::{Credential, Retries, RucioConfig};

use super::{ConfigFile, config_file::ini_values, fixed};
use crate::{args::Args, environment::Environment};

/// Largest `rucio.cfg` that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Variables that name directories below which Rucio's file may lie as `etc/rucio.cfg`.
const HOMES: [&str; 3] = ["RUCIO_HOME", "VIRTUAL_ENV", "CONDA_PREFIX"];
/// Where it lies otherwise.
const USUAL_FILE: &str = "/opt/rucio/etc/rucio.cfg";
/// Where WLCG's tools keep a user's token, if no variable says so; the user's number follows.
const TOKEN_PREFIX: &str = "/tmp/bt_u";
/// Where traces are posted, below a server.
const TRACES_PATH: &str = "/traces/";
/// Most tries of a call, whatever a file says.
const TRIES_MAX: u32 = 20;

/// How Rucio is reached, and what it is told of this site.
#[derive(Debug, Clone)]
pub(crate) struct RucioSettings {
    /// The server, the account, the credential; or what is wrong with them.
    pub(crate) client: Result<Box<RucioConfig>, RucioSettingsError>,
    /// Rucio's name of the site, whose replicas are local (`PILOT_RUCIO_SITENAME`).
    pub(crate) site: Option<String>,
    /// What traces name as the local site, whatever the storage (`RUCIO_LOCAL_SITE_ID`).
    pub(crate) local_site: Option<String>,
    /// Where traces go; none if they are not wanted.
    pub(crate) traces: Option<TraceSettings>,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub(crate) struct TraceSettings {
    /// The whole address.
    pub(crate) url: String,
    /// Whom to believe.
    pub(crate) http: ClientConfig,
}

/// Rucio cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RucioSettingsError {
    /// A way of proving who one is that this pilot does not have, or no way at all.
    #[error("`{kind}` cannot be used with Rucio: set `RUCIO_AUTH_TYPE` to {ALLOWED}")]
    AuthType { kind: String },
    /// What it needs is not there.
    #[error("Rucio's `{kind}` needs {what}")]
    Missing {
        kind: &'static str,
        what: &'static str,
    },
}

/// Ways of proving who one is.
const ALLOWED: &str = "`x509_proxy`, `x509`, `userpass` or `oidc`";

impl RucioSettings {
    /// Gathers them; none if nothing names a server. `http` makes a client's settings, told whether
    /// the servers speak TLS: whom to believe, how long to wait.
    pub(super) fn gather(
        args: &Args,
        (environment, file): (&Environment, &ConfigFile),
        http: impl FnOnce(bool) -> ClientConfig,
    ) -> Option<Self> {
        let own = OwnFile::read(environment);
        let named = args.server.rucio_host.as_deref().map(str::trim);
        let host = named
            .filter(|host| !host.is_empty())
            .or_else(|| file.get("Rucio", "host"))
            .or_else(|| own.get("client", "rucio_host"))
            .map(with_scheme)?;
        let auth_host = own.get("client", "auth_host").map(with_scheme);
        let auth_host = auth_host.unwrap_or_else(|| host.clone());
        let trace_host = own.get("trace", "trace_host").map(with_scheme);
        let of_host = || format!("{}{TRACES_PATH}", trace_host.as_deref().unwrap_or(&host));
        let traces_url = file.get("Rucio", "url").map_or_else(of_host, str::to_owned);
        let is_https = [&host, &auth_host, &traces_url]
            .iter()
            .any(|it| it.starts_with("https://"));
        let http = own.with_authorities(http(is_https), is_https);
        let traces = Some(TraceSettings {
            url: traces_url,
            http: http.clone(),
        });
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        let client = credential(environment, &own).map(|credential| {
            let usual = RucioConfig::new(host.clone(), credential);
            Box::new(RucioConfig {
                auth_host,
                account: variable("RUCIO_ACCOUNT").or_else(|| own.text("account")),
                vo: variable("RUCIO_VO").or_else(|| own.text("vo")),
                retries: own.retries(),
                http: ClientConfig {
                    response_max_bytes: usual.http.response_max_bytes,
                    ..http
                },
                ..usual
            })
        });
        Some(Self {
            client,
            site: variable("PILOT_RUCIO_SITENAME"),
            local_site: variable("RUCIO_LOCAL_SITE_ID"),
            traces: traces.filter(|_| args.server.use_rucio_traces),
        })
    }
}

/// Returns an address without a slash at its end. Without a scheme it is taken for HTTPS.
fn with_scheme(host: &str) -> String {
    let host = host.trim_end_matches('/');
    if host.contains("://") {
        host.to_owned()
    } else {
        format!("https://{host}")
    }
}

/// Rucio's own configuration file.
#[derive(Debug, Default)]
struct OwnFile {
    /// Values by section and key, keys in lower case.
    values: BTreeMap<(String, String), String>,
    /// The user's home directory, for paths that begin with `~`.
    home: PathBuf,
}

impl OwnFile {
    /// Reads the first of the usual files that is there. One that cannot be read counts as none:
    /// it may be another user's.
    fn read(environment: &Environment) -> Self {
        let named = environment.get("RUCIO_CONFIG").map(PathBuf::from);
        let below = |home: &str| Some(Path::new(environment.get(home)?).join("etc/rucio.cfg"));
        let path = named.or_else(|| {
            let places = HOMES.iter().filter_map(|home| below(home));
            let mut places = places.chain([PathBuf::from(USUAL_FILE)]);
            places.find(|path| path.is_file())
        });
        let read = |path: PathBuf| {
            let length = fs::metadata(&path).ok()?.len();
            (length <= FILE_MAX)
                .then(|| fs::read_to_string(&path).ok())
                .flatten()
        };
        Self {
            values: ini_values(&path.and_then(read).unwrap_or_default()).collect(),
            home: environment
                .get("HOME")
                .map(PathBuf::from)
                .unwrap_or_default(),
        }
    }

    fn get(&self, section: &str, key: &str) -> Option<&str> {
        let value = self.values.get(&(section.to_owned(), key.to_owned()))?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns a value for the client.
    fn text(&self, key: &str) -> Option<String> {
        self.get("client", key).map(str::to_owned)
    }

    /// Returns a path for the client. Rucio also replaces variables in it; here only `~` and
    /// `$HOME`, which are what its own example has.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let value = self.get("client", key)?;
        let below_home = ["~/", "$HOME/", "${HOME}/"]
            .iter()
            .find_map(|start| value.strip_prefix(start));
        Some(fixed(match below_home {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(value),
        }))
    }

    fn retries(&self) -> Retries {
        let usual = Retries::default();
        let tries = self.get("client", "request_retries");
        let tries = tries.and_then(|text| text.parse::<NonZeroU32>().ok());
        let most = NonZeroU32::new(TRIES_MAX).unwrap_or(NonZeroU32::MIN);
        Retries {
            tries_max: tries.map_or(usual.tries_max, |tries| tries.min(most)),
            ..usual
        }
    }

    /// Adds the authorities that the file names, where nothing else names any.
    fn with_authorities(&self, http: ClientConfig, is_https: bool) -> ClientConfig {
        let path = self.path("ca_cert").filter(|_| is_https);
        let trust = match (&http.trust, path) {
            (Trust::BuiltIn, Some(path)) if path.is_dir() => Trust::DirectoryAndBuiltIn(path),
            (Trust::BuiltIn, Some(path)) if path.is_file() => Trust::File(path),
            (trust, _) => trust.clone(),
        };
        ClientConfig { trust, ..http }
    }
}

/// Finds how the client proves who it is. Where nobody says, a proxy is taken, then a token.
fn credential(environment: &Environment, own: &OwnFile) -> Result<Credential, RucioSettingsError> {
    let missing = |kind, what| RucioSettingsError::Missing { kind, what };
    let kind = environment.get("RUCIO_AUTH_TYPE").map(str::to_owned);
    let kind = kind.or_else(|| own.text("auth_type"));
    match kind.as_deref() {
        None => proxy(environment, own)
            .or_else(|| token(environment, own))
            .ok_or(missing("x509_proxy", PROXY_NEEDS)),
        Some("x509_proxy") => proxy(environment, own).ok_or(missing("x509_proxy", PROXY_NEEDS)),
        Some("x509") => certificate(environment, own).ok_or(missing(
            "x509",
            "a certificate (`RUCIO_CLIENT_CERT`) and a key (`RUCIO_CLIENT_KEY`)",
        )),
        Some("oidc") => token(environment, own).ok_or(missing(
            "oidc",
            "a token in `BEARER_TOKEN` or in the file of `BEARER_TOKEN_FILE`",
        )),
        Some("userpass") => {
            let both = own.text("username").zip(own.text("password"));
            let (user, password) = both.ok_or(missing(
                "userpass",
                "`username` and `password` in section `client` of `rucio.cfg`",
            ))?;
            let password = Secret::new(password);
            Ok(Credential::UserPass { user, password })
        }
        Some(other) => Err(RucioSettingsError::AuthType {
            kind: other.to_owned(),
        }),
    }
}

const PROXY_NEEDS: &str = "a proxy in the file of `X509_USER_PROXY`";

fn proxy(environment: &Environment, own: &OwnFile) -> Option<Credential> {
    let named = environment.get("RUCIO_CLIENT_PROXY").map(PathBuf::from);
    let file = named
        .map(fixed)
        .or_else(|| own.path("client_x509_proxy"))
        .filter(|path| path.is_file())
        .or_else(|| environment.certificate(None))?;
    Some(Credential::Proxy(ClientCertificate {
        chain_file: file.clone(),
        key_file: file,
    }))
}

fn certificate(environment: &Environment, own: &OwnFile) -> Option<Credential> {
    let file = |variable: &str, key: &str| {
        let named = environment.get(variable).map(PathBuf::from).map(fixed);
        let found = named.or_else(|| own.path(key));
        found.filter(|path| path.is_file())
    };
    let chain_file = file("RUCIO_CLIENT_CERT", "client_cert")?;
    let key_file = file("RUCIO_CLIENT_KEY", "client_key");
    Some(Credential::Certificate(ClientCertificate {
        key_file: key_file.unwrap_or_else(|| chain_file.clone()),
        chain_file,
    }))
}

/// Finds a bearer token where WLCG's tools look, then where Rucio's file says.
fn token(environment: &Environment, own: &OwnFile) -> Option<Credential> {
    if let Some(token) = environment.get("BEARER_TOKEN") {
        return Some(Credential::Token(Secret::new(token.trim())));
    }
    let user = rustix::process::geteuid().as_raw();
    let session = environment.get("XDG_RUNTIME_DIR").map(Path::new);
    let places = [
        environment.get("BEARER_TOKEN_FILE").map(PathBuf::from),
        session.map(|directory| directory.join(format!("bt_u{user}"))),
        Some(PathBuf::from(format!("{TOKEN_PREFIX}{user}"))),
        own.path("auth_token_file_path"),
    ];
    let mut places = places.into_iter().flatten();
    let file = places.find(|path| path.is_file())?;
    Some(Credential::TokenFile(fixed(file)))
}
