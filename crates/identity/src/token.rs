//! Bearer tokens (OIDC) of configured issuers.
//!
//! [`Tokens`] judges them: [`Tokens::known`] from memory, [`Tokens::judge`] also by asking the
//! issuer, which may take seconds and belongs on a thread of its own. A refusal says why, and never
//! what was in the token.
//!
//! Source: panda-server, `pandaserver/srvcore/{oidc_utils,panda_request}.py`.

mod claims;
mod config;
mod decisions;
mod issuer;
mod keys;
mod signature;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::{Map, Value};

use crate::FilesVersion;

pub use claims::{TokenIdentity, judge_claims};
pub use config::{AuthConfig, AuthConfigError, AuthFile, split_origin};

use decisions::Decisions;
use issuer::{Issuer, IssuerError, Need};
use keys::KeySet;

/// Largest token that is read, in bytes; those with many groups have some thousand.
const TOKEN_MAX_BYTES: usize = 16 << 10;

/// Where issuers are configured, and what limits there are.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Folder of `VO_auth_config.json` and `VO.ROLE_auth_config.json`.
    pub directory: PathBuf,
    /// Issuers that tokens may name besides the configured one, as after a move.
    pub legacy_issuers: Vec<String>,
    /// How issuers are asked: whom to believe, and how long to wait.
    pub http: ailurus_http::ClientConfig,
    /// How long an issuer's keys are taken for its newest ones.
    pub keys_lifetime: Duration,
    /// Shortest time between two questions to one issuer.
    pub ask_pause: Duration,
    /// How long keys are used whose issuer does not answer.
    pub keys_kept: Duration,
    /// How long an accepted token is not judged again.
    pub decision_lifetime: Duration,
    /// Accepted tokens that are remembered.
    pub decisions_max: usize,
}

impl TokenSettings {
    /// Returns the settings of PanDA for a folder.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let seconds = Duration::from_secs;
        Self {
            directory,
            legacy_issuers: Vec::new(),
            http: ailurus_http::ClientConfig {
                timeouts: ailurus_http::Timeouts {
                    connect: seconds(5),
                    whole: seconds(10),
                    download: seconds(10),
                },
                response_max_bytes: 1 << 20,
                ..ailurus_http::ClientConfig::default()
            },
            keys_lifetime: minutes(10),
            ask_pause: seconds(10),
            keys_kept: minutes(24 * 60),
            decision_lifetime: minutes(10),
            decisions_max: 10_000,
        }
    }

    /// Returns by what a change of the files is known.
    #[must_use]
    pub fn version(&self) -> FilesVersion {
        FilesVersion::of([self.directory.as_path()])
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is no JWT.
    #[error("Invalid token. it is no JWT that can be read")]
    Malformed,
    /// It is signed by another method than RS256, or not at all.
    #[error("Invalid token. it is not signed with RS256")]
    Algorithm,
    /// It does not say by which key it is signed.
    #[error("Invalid token. cannot extract kid from headers")]
    NoKeyId,
    /// It is for a client that is not configured.
    #[error("Invalid token. cannot extract client_id from token")]
    UnknownClient,
    /// Its issuer has no such key.
    #[error("Invalid token. JWK not found for its kid")]
    UnknownKey,
    /// Its issuer's keys are not to be had.
    #[error("the keys of issuer `{url}` are not to be had: {reason}")]
    NoKeys {
        /// Where it is configured to be.
        url: String,
        /// Why.
        reason: String,
    },
    /// A claim or the signature is wrong.
    #[error("Invalid token. {what}")]
    Claim {
        /// What is wrong.
        what: &'static str,
    },
    /// No file is there for the VO.
    #[error("Unknown vo : {vo}")]
    UnknownVo {
        /// The VO of the `Origin` header.
        vo: String,
    },
    /// Its bearer is not in the group.
    #[error("Not a member of the {group} group")]
    NotAMember {
        /// VO, or VO and role.
        group: String,
    },
}

/// Judges bearer tokens.
#[derive(Debug)]
pub struct Tokens {
    settings: TokenSettings,
    config: AuthConfig,
    issuers: BTreeMap<String, Arc<Issuer>>,
    client: ailurus_http::Client,
    decisions: Decisions,
}

/// Tokens cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The files of the issuers are of no use.
    #[error(transparent)]
    Config(#[from] AuthConfigError),
    /// The HTTP client's settings are of no use.
    #[error("issuers cannot be asked")]
    Client(#[from] ailurus_http::ConfigError),
}

impl Tokens {
    /// Reads the files. Nobody is asked. Keys of issuers that `before` knows are kept.
    ///
    /// # Errors
    ///
    /// [`TokensError`] if a file is wrong.
    pub fn load(settings: TokenSettings, before: Option<&Self>) -> Result<Self, TokensError> {
        signature::install();
        let config = AuthConfig::load(&settings.directory)?;
        let known = |url: &str| before.and_then(|before| before.issuers.get(url)).cloned();
        let urls = config.clients().map(|client| client.discovery_url.clone());
        let issuers = urls.map(|url| {
            let issuer = known(&url).unwrap_or_else(|| Arc::new(Issuer::new(&url)));
            (url, issuer)
        });
        Ok(Self {
            issuers: issuers.collect(),
            client: ailurus_http::Client::new(settings.http.clone())?,
            decisions: Decisions::new(settings.decisions_max),
            config,
            settings,
        })
    }

    /// Returns what is configured.
    #[must_use]
    pub fn config(&self) -> &AuthConfig {
        &self.config
    }

    /// Judges a token by what is in memory; none if its issuer must be asked first. `origin` is the
    /// header of that name.
    pub fn known(
        &self,
        token: &str,
        origin: Option<&str>,
    ) -> Option<Result<TokenIdentity, TokenRefusal>> {
        let key = Decisions::key(token, origin);
        if let Some(identity) = self.decisions.find(&key, unix_now()) {
            return Some(Ok(identity));
        }
        let (issuer, client_id, key_id) = match self.address(token) {
            Ok(address) => address,
            Err(refusal) => return Some(Err(refusal)),
        };
        let need = issuer.need(&key_id, &self.settings);
        match need {
            Need::Nothing(keys) => {
                Some(self.decide(token, origin, &client_id, &key_id, &keys, issuer))
            }
            Need::Refused(refusal) => Some(Err(refusal)),
            Need::Asking => None,
        }
    }

    /// Judges a token, and asks its issuer if need be. This may wait.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`] says why it is refused.
    pub fn judge(&self, token: &str, origin: Option<&str>) -> Result<TokenIdentity, TokenRefusal> {
        let (issuer, client_id, key_id) = self.address(token)?;
        let keys = issuer.keys(&key_id, &self.settings, &self.client)?;
        self.decide(token, origin, &client_id, &key_id, &keys, issuer)
    }

    /// Asks every issuer for its keys, for a look at the configuration. This may wait.
    ///
    /// Returns each issuer's URL with what is wrong; nothing if it answers.
    #[must_use]
    pub fn ask_all(&self) -> Vec<(String, Option<String>)> {
        let ask = |(url, issuer): (&String, &Arc<Issuer>)| {
            let wrong = issuer.ask(&self.client).err().map(|error| error.in_words());
            (url.clone(), wrong)
        };
        self.issuers.iter().map(ask).collect()
    }

    /// Finds by what a token is to be judged. Nothing of it is believed so far.
    fn address(&self, token: &str) -> Result<(&Issuer, String, String), TokenRefusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| {
            // `none` is no algorithm that the library knows.
            if matches!(error.kind(), ErrorKind::Json(_)) {
                TokenRefusal::Algorithm
            } else {
                TokenRefusal::Malformed
            }
        })?;
        if header.alg != Algorithm::RS256 {
            return Err(TokenRefusal::Algorithm);
        }
        let key_id = header.kid.ok_or(TokenRefusal::NoKeyId)?;
        let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| TokenRefusal::Malformed)?;
        let client_id = claims::client_id(&self.config, &claims)?;
        let client = self.config.client(client_id);
        let client = client.ok_or(TokenRefusal::UnknownClient)?;
        let issuer = self.issuers.get(&client.discovery_url);
        let issuer = issuer.ok_or(TokenRefusal::UnknownClient)?;
        Ok((issuer, client_id.to_owned(), key_id))
    }

    fn decide(
        &self,
        token: &str,
        origin: Option<&str>,
        client_id: &str,
        key_id: &str,
        keys: &KeySet,
        issuer: &Issuer,
    ) -> Result<TokenIdentity, TokenRefusal> {
        let client = self.config.client(client_id);
        let client = client.ok_or(TokenRefusal::UnknownClient)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.set_audience(&client.audiences());
        let slash = keys.issuer.trim_end_matches('/');
        let mut issuers = vec![slash.to_owned(), format!("{slash}/")];
        issuers.extend(self.settings.legacy_issuers.iter().cloned());
        validation.set_issuer(&issuers);
        let key = keys.find(key_id).ok_or(TokenRefusal::UnknownKey)?;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation);
        let claims = decoded.map_err(|error| refusal_of(error.kind()))?.claims;
        let identity = judge_claims(&self.config, client_id, &claims, origin)?;
        let now = unix_now();
        let lifetime = self.settings.decision_lifetime;
        let fresh = issuer.freshness(&self.settings).min(lifetime);
        let until = now + i64::try_from(fresh.as_secs()).unwrap_or(i64::MAX / 2);
        let key = Decisions::key(token, origin);
        self.decisions
            .remember(key, &identity, until.min(identity.ends), now);
        Ok(identity)
    }
}

/// What is wrong in words that hold nothing of the token.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's kinds grow; all others mean a token that cannot be read"
)]
fn refusal_of(kind: &ErrorKind) -> TokenRefusal {
    let what = match kind {
        ErrorKind::ExpiredSignature => "Signature has expired",
        ErrorKind::ImmatureSignature => "The token is not yet valid (nbf)",
        ErrorKind::InvalidAudience => "Audience doesn't match",
        ErrorKind::InvalidIssuer => "Invalid issuer",
        ErrorKind::InvalidSignature => "Signature verification failed",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => "Token is missing the \"aud\" claim",
            "iss" => "Token is missing the \"iss\" claim",
            _ => "Token is missing the \"exp\" claim",
        },
        ErrorKind::InvalidAlgorithm => return TokenRefusal::Algorithm,
        _ => return TokenRefusal::Malformed,
    };
    TokenRefusal::Claim { what }
}

/// Returns the time in seconds since 1970.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl From<IssuerError> for TokenRefusal {
    fn from(error: IssuerError) -> Self {
        Self::NoKeys {
            reason: error.in_words(),
            url: error.url,
        }
    }
}
