//! Who calls: certificates, authorities and issuers as their files say now.
//!
//! [`Identities`] is asked for every connection and request, and looks at its files now and then:
//! new ones count without a restart, useless ones change nothing and are complained of.

mod check;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use ailurus_identity::{
    Authorities, AuthorityError, CertificateIdentity, FilesVersion, HostCertificate, HostError,
    TokenIdentity, Tokens, TokensError, name,
};
use ailurus_model::{Caller, Proof};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{CertificateDer, UnixTime},
};

use crate::{
    config::{IdentityConfig, TlsConfig},
    knowledge::chain,
};

pub(crate) use check::check;

/// Largest list of banned people, in bytes.
const BANNED_MAX_BYTES: u64 = 16 << 20;

/// Files that say who people are cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Authorities(#[from] AuthorityError),
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error("`{}` cannot be read", path.display())]
    Banned {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// HTTPS as its files say.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    authorities: Option<Arc<Authorities>>,
}

/// A client's certificate, judged once for its connection.
#[derive(Debug)]
pub(crate) struct Certified {
    caller: Caller,
    /// When the first certificate of its chain ends, in seconds since 1970.
    ends: i64,
}

/// What was read last.
#[derive(Debug, Clone)]
struct Current {
    tls: Option<Tls>,
    tokens: Option<Arc<Tokens>>,
    banned: Arc<BTreeSet<String>>,
}

/// By what changes are known, part by part.
#[derive(Debug, PartialEq, Eq)]
struct Versions {
    tls: FilesVersion,
    tokens: FilesVersion,
    banned: FilesVersion,
}

/// Says who calls.
#[derive(Debug)]
pub(crate) struct Identities {
    config: IdentityConfig,
    current: RwLock<Current>,
    seen: Mutex<Versions>,
}

impl Identities {
    /// Reads all files.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if one is of no use.
    pub(crate) fn load(config: &IdentityConfig) -> Result<Self, IdentityError> {
        // Before the files are read, so that no change is missed.
        let seen = Mutex::new(versions(config));
        let current = Current {
            tls: config.tls.as_ref().map(load_tls).transpose()?,
            tokens: load_tokens(config, None)?,
            banned: Arc::new(load_banned(config)?),
        };
        Ok(Self {
            config: config.clone(),
            current: RwLock::new(current),
            seen,
        })
    }

    /// Returns how TLS is spoken.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.current().tls
    }

    /// Returns what judges tokens.
    pub(crate) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.current().tokens
    }

    /// Returns what is given to pilots and Harvester.
    pub(crate) fn credentials(&self) -> &crate::config::CredentialsConfig {
        &self.config.credentials
    }

    /// Says whether callers on this machine are trusted.
    pub(crate) fn trusts_loopback(&self) -> bool {
        self.config.trust_loopback
    }

    /// Returns the compact names of everybody who may not call.
    pub(crate) fn banned(&self) -> Arc<BTreeSet<String>> {
        self.current().banned
    }

    /// Says whether somebody may not call.
    pub(crate) fn is_banned(&self, name: &str) -> bool {
        !name.is_empty() && self.current().banned.contains(name)
    }

    /// Judges the certificates that a client has shown in a handshake that went well.
    pub(crate) fn certified(
        &self,
        tls: &Tls,
        shown: &[CertificateDer<'_>],
    ) -> Option<Arc<Certified>> {
        let authorities = tls.authorities.as_ref()?;
        match authorities.identify(shown, UnixTime::now()) {
            Ok(identity) => {
                let ends = identity.ends;
                let caller = self.caller_of_certificate(identity);
                Some(Arc::new(Certified { caller, ends }))
            }
            Err(refusal) => {
                let reason = refusal.chain();
                tracing::warn!(reason, "a client's certificate is refused");
                None
            }
        }
    }

    fn caller_of_certificate(&self, identity: CertificateIdentity) -> Caller {
        let proof = if identity.is_limited {
            Proof::LimitedProxy
        } else {
            Proof::Certificate
        };
        self.caller(proof, identity.dn, identity.fqans)
    }

    /// Makes a caller of a token.
    pub(crate) fn caller_of_token(&self, identity: TokenIdentity) -> Caller {
        self.caller(Proof::Token, identity.dn, identity.fqans)
    }

    fn caller(&self, proof: Proof, dn: String, fqans: Vec<String>) -> Caller {
        Caller {
            proof,
            name: name::compact(&dn),
            rights: self.config.roles.rights(&dn, &fqans),
            dn,
            fqans,
        }
    }

    fn current(&self) -> Current {
        // It is replaced in one step, so it is whole whatever happened to a thread.
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads again what has changed since the last look.
    fn look(&self) {
        let mut seen = locked(&self.seen);
        let now = versions(&self.config);
        if now == *seen {
            return;
        }
        let mut current = self.current();
        if now.tls != seen.tls {
            let read = self.config.tls.as_ref().map(load_tls).transpose();
            replace(&mut current.tls, read, "certificates");
        }
        if now.tokens != seen.tokens {
            let before = current.tokens.clone();
            let read = load_tokens(&self.config, before.as_deref());
            replace(&mut current.tokens, read, "issuers of tokens");
        }
        if now.banned != seen.banned {
            let read = load_banned(&self.config).map(Arc::new);
            replace(&mut current.banned, read, "banned people");
        }
        // A change while they were read makes another version, for the next look.
        *seen = now;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

impl Certified {
    /// Returns who it is, unless the certificate has ended meanwhile.
    pub(crate) fn caller(&self) -> Option<Caller> {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        (now <= self.ends).then(|| self.caller.clone())
    }
}

fn replace<T>(current: &mut T, read: Result<T, IdentityError>, what: &str) {
    match read {
        Ok(new) => {
            tracing::info!(what, "files were read again");
            *current = new;
        }
        Err(error) => tracing::error!(
            what,
            error = chain(&error),
            "changed files cannot be used: those from before stay in use"
        ),
    }
}

/// Looks at the files again and again, until the future is dropped.
pub(crate) async fn watch(identities: Arc<Identities>, pause: Duration) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let identities = Arc::clone(&identities);
        let looked = tokio::task::spawn_blocking(move || identities.look()).await;
        looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn versions(config: &IdentityConfig) -> Versions {
    let tls = config.tls.as_ref();
    let tls_files = tls.map(|tls| {
        let authorities = tls.authorities.as_ref();
        let folders = authorities.map(|it| [Some(&it.directory), it.vomsdir.as_ref()]);
        let folders = folders.into_iter().flatten().flatten();
        [&tls.certificate, &tls.key].into_iter().chain(folders)
    });
    let paths = tls_files.into_iter().flatten().map(PathBuf::as_path);
    let tokens = config.tokens.as_ref().map(|tokens| tokens.version());
    Versions {
        tls: FilesVersion::of(paths),
        tokens: tokens.unwrap_or_default(),
        banned: FilesVersion::of(config.banned_users.as_deref()),
    }
}

fn load_tls(config: &TlsConfig) -> Result<Tls, IdentityError> {
    let authorities = config.authorities.as_ref();
    let authorities = authorities.map(Authorities::load).transpose()?;
    if let Some(authorities) = &authorities {
        for complaint in authorities.complaints() {
            tracing::warn!(complaint, "a file of the authorities is passed over");
        }
    }
    let host = HostCertificate::load(&config.certificate, &config.key)?;
    let verifier = authorities.as_ref().map(Authorities::verifier);
    Ok(Tls {
        config: Arc::new(host.server_config(verifier)?),
        authorities: authorities.map(Arc::new),
    })
}

fn load_tokens(
    config: &IdentityConfig,
    before: Option<&Tokens>,
) -> Result<Option<Arc<Tokens>>, IdentityError> {
    let settings = config.tokens.clone();
    let tokens = settings.map(|settings| Tokens::load(settings, before));
    Ok(tokens.transpose()?.map(Arc::new))
}

fn load_banned(config: &IdentityConfig) -> Result<BTreeSet<String>, IdentityError> {
    let Some(path) = &config.banned_users else {
        return Ok(BTreeSet::new());
    };
    let read = |path: &Path| {
        if fs::metadata(path)?.len() > BANNED_MAX_BYTES {
            return Err(io::Error::other("it is too large"));
        }
        fs::read_to_string(path)
    };
    let text = read(path).map_err(|source| IdentityError::Banned {
        path: path.clone(),
        source,
    })?;
    let names = text.lines().map(str::trim);
    let names = names.filter(|name| !name.is_empty() && !name.starts_with('#'));
    Ok(names.map(str::to_owned).collect())
}
