//! The sections `[tls]`, `[tokens]`, `[roles]` and `[credentials]` of the configuration file, and
//! `trust_loopback`: who calls, and what they may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use ailurus_http::Trust;
use ailurus_identity::{
    AuthoritySettings, RevocationPolicy, RolePolicy, RoleSettings, TokenSettings, VomsPolicy,
};
use ailurus_model::units::optional_duration_text;
use serde::Deserialize;

use super::{ConfigError, Picker, at_least_a_second, wrong};

/// Limit on a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS handshakes at a time.
const HANDSHAKES: u32 = 512;
/// How long an issuer's keys are taken for its newest ones.
const KEYS_LIFETIME: Duration = Duration::from_secs(600);

/// The section `[tls]` as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSection {
    /// Address and port of HTTPS. Without it, there is none.
    listen: Option<SocketAddr>,
    /// PEM file with the server's certificate, then its chain.
    certificate: Option<PathBuf>,
    /// PEM file with the server's key.
    key: Option<PathBuf>,
    /// Folder of the authorities that certify clients. Without it, no certificates are asked for.
    authorities: Option<PathBuf>,
    /// Folder that names the VOMS servers of each VO. Without it, no attributes count.
    vomsdir: Option<PathBuf>,
    /// What lists of revoked certificates count for: `ignore`, `when-present`, `required`.
    /// Default `when-present`.
    revocation: Option<String>,
    /// Which VOMS attributes count: `verified`, or `unverified` for test stands. Default `verified`.
    voms: Option<String>,
    /// Limit on a handshake. Default `10s`.
    #[serde(with = "optional_duration_text")]
    handshake_timeout: Option<Duration>,
    /// Handshakes at a time; more wait. Default 512.
    handshakes: Option<u32>,
}

/// The section `[tokens]` as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokensSection {
    /// Folder of `VO_auth_config.json` and `VO.ROLE_auth_config.json`. Without it, no tokens are
    /// taken.
    directory: Option<PathBuf>,
    /// Issuers that tokens may name besides the configured one, as after a move. Default none.
    legacy_issuers: Option<Vec<String>>,
    /// Folder or PEM file of the authorities that certify issuers. Default: those of the web.
    authorities: Option<PathBuf>,
    /// How long an issuer's keys are taken for its newest ones. Default `10m`.
    #[serde(with = "optional_duration_text")]
    keys_lifetime: Option<Duration>,
}

/// The section `[roles]` as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RolesSection {
    /// Parts of names whose bearers are production managers. Default none.
    production_dns: Option<Vec<String>>,
    /// Regular expressions for names of pilots' owners. Default none.
    pilot_owners: Option<Vec<String>>,
    /// Regular expressions for VOMS attributes and token roles of production managers.
    production_fqans: Option<Vec<String>>,
    /// Regular expressions for VOMS attributes and token roles of pilots.
    pilot_fqans: Option<Vec<String>>,
    /// Working groups of people, by part of their names. Default none.
    working_groups: Option<BTreeMap<String, BTreeSet<String>>>,
    /// File with the compact names of people who may not call, one a line; read again when it
    /// changes.
    banned_users: Option<PathBuf>,
}

/// The section `[credentials]` as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CredentialsSection {
    /// Folder of keys that `get_key_pair` gives.
    key_pairs: Option<PathBuf>,
    /// Folder of proxies that `get_proxy` gives: `SHA1(DN)` and `SHA1(DN.ROLE)`.
    proxies: Option<PathBuf>,
    /// Folder of tokens that `get_access_token` gives: `access_token_CLIENT`.
    tokens: Option<PathBuf>,
    /// Folder of token keys, one a line, the newest first: `CLIENT`.
    token_keys: Option<PathBuf>,
    /// Compact names of those who get key pairs. Default none.
    allow_key_pairs: Option<BTreeSet<String>>,
    /// Compact names of those who get proxies and tokens. Default none.
    allow_proxies: Option<BTreeSet<String>>,
    /// Compact names of those who get token keys. Default none.
    allow_token_keys: Option<BTreeSet<String>>,
}

/// Who calls, as the server uses it.
#[derive(Debug, Clone)]
pub(crate) struct IdentityConfig {
    /// Whether callers on this machine are trusted with everything.
    pub(crate) trust_loopback: bool,
    /// HTTPS, if there is any.
    pub(crate) tls: Option<TlsConfig>,
    /// Tokens, if any are taken.
    pub(crate) tokens: Option<TokenSettings>,
    /// What names and attributes allow.
    pub(crate) roles: RolePolicy,
    /// File with the compact names of people who may not call.
    pub(crate) banned_users: Option<PathBuf>,
    /// What is given to pilots and Harvester.
    pub(crate) credentials: CredentialsConfig,
}

/// HTTPS.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// The server's certificate and chain.
    pub(crate) certificate: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
    /// Who certifies clients, if they are asked for certificates.
    pub(crate) authorities: Option<AuthoritySettings>,
    /// Limit on a handshake.
    pub(crate) handshake_timeout: Duration,
    /// Handshakes at a time.
    pub(crate) handshakes: usize,
}

/// What is given to pilots and Harvester.
#[derive(Debug, Clone, Default)]
pub(crate) struct CredentialsConfig {
    /// Folder of keys.
    pub(crate) key_pairs: Option<PathBuf>,
    /// Folder of proxies.
    pub(crate) proxies: Option<PathBuf>,
    /// Folder of tokens.
    pub(crate) tokens: Option<PathBuf>,
    /// Folder of token keys.
    pub(crate) token_keys: Option<PathBuf>,
    /// Who gets key pairs.
    pub(crate) allow_key_pairs: BTreeSet<String>,
    /// Who gets proxies and tokens.
    pub(crate) allow_proxies: BTreeSet<String>,
    /// Who gets token keys.
    pub(crate) allow_token_keys: BTreeSet<String>,
}

/// All of it as people write it.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) trust_loopback: Option<bool>,
    pub(super) tls: TlsSection,
    pub(super) tokens: TokensSection,
    pub(super) roles: RolesSection,
    pub(super) credentials: CredentialsSection,
}

fn path_text(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => format!("\"{}\"", path.display()),
        None => "none".to_owned(),
    }
}

fn path(picker: &mut Picker, key: &'static str, value: Option<PathBuf>) -> Option<PathBuf> {
    picker.pick(key, [None, value.map(Some)], None, path_text)
}

fn texts(
    picker: &mut Picker,
    key: &'static str,
    value: Option<Vec<String>>,
    built_in: &[&str],
) -> Vec<String> {
    let built_in = built_in.iter().map(|&text| text.to_owned()).collect();
    picker.pick(key, [None, value], built_in, |texts| format!("{texts:?}"))
}

fn word(picker: &mut Picker, key: &'static str, value: Option<String>, built_in: &str) -> String {
    let quoted = |text: &String| format!("\"{text}\"");
    picker.pick(key, [None, value], built_in.to_owned(), quoted)
}

impl Sections {
    /// Checks the sections and notes every value.
    pub(super) fn resolve(self, picker: &mut Picker) -> Result<IdentityConfig, ConfigError> {
        // A first start needs no word about identities; whoever says one means it for all.
        let is_silent = self.tls.listen.is_none() && self.tokens.directory.is_none();
        let trust_loopback = picker.pick(
            "trust_loopback",
            [None, self.trust_loopback],
            is_silent,
            ToString::to_string,
        );
        let tls = self.tls.resolve(picker)?;
        let tokens = self.tokens.resolve(picker)?;
        let banned_users = self.roles.banned_users.clone();
        let roles = self.roles.resolve(picker)?;
        let banned_users = path(picker, "roles.banned_users", banned_users);
        Ok(IdentityConfig {
            trust_loopback,
            tls,
            tokens,
            roles,
            banned_users,
            credentials: self.credentials.resolve(picker),
        })
    }
}

impl TlsSection {
    fn resolve(self, picker: &mut Picker) -> Result<Option<TlsConfig>, ConfigError> {
        let address = |address: &Option<SocketAddr>| match address {
            Some(address) => format!("\"{address}\""),
            None => "none".to_owned(),
        };
        let listen = picker.pick("tls.listen", [None, self.listen.map(Some)], None, address);
        let certificate = path(picker, "tls.certificate", self.certificate);
        let key = path(picker, "tls.key", self.key);
        let directory = path(picker, "tls.authorities", self.authorities);
        let vomsdir = path(picker, "tls.vomsdir", self.vomsdir);
        let revocation = word(picker, "tls.revocation", self.revocation, "when-present");
        let voms = word(picker, "tls.voms", self.voms, "verified");
        let timeout = self.handshake_timeout;
        let handshake_timeout =
            at_least_a_second(picker, "tls.handshake_timeout", timeout, HANDSHAKE_TIMEOUT)?;
        let handshakes =
            super::at_least_one(picker, "tls.handshakes", self.handshakes, HANDSHAKES)?;
        let revocation = match revocation.as_str() {
            "ignore" => RevocationPolicy::Ignore,
            "when-present" => RevocationPolicy::WhenPresent,
            "required" => RevocationPolicy::Required,
            _ => {
                let allowed = "`ignore`, `when-present` or `required`";
                return Err(wrong("tls.revocation", &revocation, allowed));
            }
        };
        let voms = match voms.as_str() {
            "verified" => VomsPolicy::Verified,
            "unverified" => VomsPolicy::Unverified,
            _ => return Err(wrong("tls.voms", &voms, "`verified` or `unverified`")),
        };
        let Some(listen) = listen else {
            return Ok(None);
        };
        let missing = |key| wrong(key, "none", "given together with `tls.listen`");
        Ok(Some(TlsConfig {
            listen,
            certificate: certificate.ok_or_else(|| missing("tls.certificate"))?,
            key: key.ok_or_else(|| missing("tls.key"))?,
            authorities: directory.map(|directory| AuthoritySettings {
                directory,
                vomsdir,
                revocation,
                voms,
            }),
            handshake_timeout,
            handshakes,
        }))
    }
}

impl TokensSection {
    fn resolve(self, picker: &mut Picker) -> Result<Option<TokenSettings>, ConfigError> {
        let directory = path(picker, "tokens.directory", self.directory);
        let legacy_issuers = texts(picker, "tokens.legacy_issuers", self.legacy_issuers, &[]);
        let authorities = path(picker, "tokens.authorities", self.authorities);
        let lifetime = self.keys_lifetime;
        let keys_lifetime =
            at_least_a_second(picker, "tokens.keys_lifetime", lifetime, KEYS_LIFETIME)?;
        Ok(directory.map(|directory| {
            let mut settings = TokenSettings::new(directory);
            settings.legacy_issuers = legacy_issuers;
            settings.keys_lifetime = keys_lifetime;
            // A key that is not known may be a new one: how soon it is asked for.
            settings.ask_pause = settings.ask_pause.min(keys_lifetime);
            settings.decision_lifetime = keys_lifetime;
            settings.http.trust = match authorities {
                Some(path) if path.is_dir() => Trust::Directory(path),
                Some(path) => Trust::File(path),
                None => Trust::BuiltIn,
            };
            settings
        }))
    }
}

impl RolesSection {
    fn resolve(self, picker: &mut Picker) -> Result<RolePolicy, ConfigError> {
        use ailurus_identity::roles::{PILOT_FQANS, PRODUCTION_FQANS};

        let groups = |groups: &BTreeMap<String, BTreeSet<String>>| format!("{groups:?}");
        let production = self.production_fqans;
        let settings = RoleSettings {
            production_dns: texts(picker, "roles.production_dns", self.production_dns, &[]),
            pilot_owners: texts(picker, "roles.pilot_owners", self.pilot_owners, &[]),
            production_fqans: Some(texts(
                picker,
                "roles.production_fqans",
                production,
                PRODUCTION_FQANS,
            )),
            pilot_fqans: Some(texts(
                picker,
                "roles.pilot_fqans",
                self.pilot_fqans,
                PILOT_FQANS,
            )),
            working_groups: picker.pick(
                "roles.working_groups",
                [None, self.working_groups],
                BTreeMap::new(),
                groups,
            ),
        };
        RolePolicy::new(settings)
            .map_err(|error| wrong("roles", &error.pattern, "made of regular expressions"))
    }
}

impl CredentialsSection {
    fn resolve(self, picker: &mut Picker) -> CredentialsConfig {
        let mut names = |key, value: Option<BTreeSet<String>>| {
            picker.pick(key, [None, value], BTreeSet::new(), |names| {
                format!("{names:?}")
            })
        };
        let allow_key_pairs = names("credentials.allow_key_pairs", self.allow_key_pairs);
        let allow_proxies = names("credentials.allow_proxies", self.allow_proxies);
        let allow_token_keys = names("credentials.allow_token_keys", self.allow_token_keys);
        CredentialsConfig {
            key_pairs: path(picker, "credentials.key_pairs", self.key_pairs),
            proxies: path(picker, "credentials.proxies", self.proxies),
            tokens: path(picker, "credentials.tokens", self.tokens),
            token_keys: path(picker, "credentials.token_keys", self.token_keys),
            allow_key_pairs,
            allow_proxies,
            allow_token_keys,
        }
    }
}
