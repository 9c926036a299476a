//! The folder of authorities as grid sites have it, and who is known by it.
//!
//! [`Authorities`] is read at once and does not change; [`Authorities::load`] again when
//! [`AuthoritySettings::version`] differs. Files of the folder that are of no use are complained of
//! and passed over: one bad list must not lock out everybody.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, UnixTime,
        pem::{PemObject as _, SectionKind},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::{
    FilesVersion,
    certificate::{ClientVerifier, Lists, unix_seconds},
    chain::{self, ChainRefusal},
    name::slash_form,
    signing_policy::SigningPolicy,
    voms::{self, VomsDirectory},
};

/// Largest file of the folder that is read, in bytes. Lists of large authorities have some MiB.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// Files of the folder that are read; the grid's has a few hundred.
const FILES_MAX: usize = 10_000;

/// What lists of revoked certificates count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationPolicy {
    /// They are not read.
    Ignore,
    /// What is on a list is refused, whatever the list's age; where there is none, nothing is.
    #[default]
    WhenPresent,
    /// Who is not on a list that is still valid, is refused.
    Required,
}

/// What VOMS attributes count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VomsPolicy {
    /// Those that a known VOMS server signed.
    #[default]
    Verified,
    /// All of them, as their bearer wrote them: for test stands only.
    Unverified,
}

/// Where authorities are, and what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// Folder of authorities: `HASH.0`, bundles in PEM form, lists of revoked certificates `HASH.r0`,
    /// `HASH.signing_policy`.
    pub directory: PathBuf,
    /// Folder with one folder per VO, in which `HOST.lsc` or `HOST.pem` names its VOMS servers.
    pub vomsdir: Option<PathBuf>,
    /// What lists of revoked certificates count for.
    pub revocation: RevocationPolicy,
    /// What VOMS attributes count for.
    pub voms: VomsPolicy,
}

impl AuthoritySettings {
    /// Returns by what a change of the files is known.
    #[must_use]
    pub fn version(&self) -> FilesVersion {
        let vomsdir = self.vomsdir.as_deref();
        FilesVersion::of(std::iter::once(self.directory.as_path()).chain(vomsdir))
    }
}

/// The folder is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It cannot be read.
    #[error("folder `{}` cannot be read", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing in it can be believed.
    #[error("folder `{}` has no certificate of an authority in PEM form", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The library cannot work with what is in it.
    #[error("the authorities of `{}` cannot be used", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

/// Why a client's certificate is refused.
#[derive(Debug, thiserror::Error)]
pub enum CertificateRefusal {
    /// Its proxies break a rule.
    #[error(transparent)]
    Chain(#[from] ChainRefusal),
    /// No authority certifies it, it has expired, or it is revoked.
    #[error("the certificate below all proxies is refused")]
    Ordinary(#[from] rustls::Error),
    /// Its authority must not certify this name.
    #[error("authority `{authority}` must not certify `{subject}`, says its signing policy")]
    SigningPolicy {
        /// The authority.
        authority: String,
        /// The name.
        subject: String,
    },
    /// Lists of revoked certificates are required, and there is none.
    #[error("there is no list of revoked certificates, and one is required")]
    NoLists,
    /// There is no authority that is believed.
    #[error("no authority is believed")]
    NoAuthorities,
}

impl CertificateRefusal {
    /// Returns the whole reason in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        match self {
            Self::Ordinary(error) => format!("{self}: {error}"),
            Self::Chain(_) | Self::SigningPolicy { .. } | Self::NoLists | Self::NoAuthorities => {
                self.to_string()
            }
        }
    }
}

/// Who a client is by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The person's own name in slash form, without what proxies add.
    pub dn: String,
    /// Whether a limited proxy was shown.
    pub is_limited: bool,
    /// VOMS attributes, the first one first, without empty roles and capabilities.
    pub fqans: Vec<String>,
    /// When the first certificate of the chain ends, in seconds since 1970.
    pub ends: i64,
}

/// What the folder said when it was read.
#[derive(Debug)]
pub struct Authorities {
    verifier: Arc<ClientVerifier>,
    voms: VomsDirectory,
    voms_policy: VomsPolicy,
    complaints: Vec<String>,
    n_authorities: usize,
    n_lists: usize,
}

/// Everything in the files of the folder.
#[derive(Debug, Default)]
struct Found {
    certificates: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    policies: String,
    complaints: Vec<String>,
}

impl Authorities {
    /// Reads the folder.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if it cannot be read, or there is nobody to believe.
    pub fn load(settings: &AuthoritySettings) -> Result<Self, AuthorityError> {
        let path = || settings.directory.clone();
        let mut found =
            read_folder(&settings.directory).map_err(|source| AuthorityError::Unreadable {
                path: path(),
                source,
            })?;
        let mut roots = RootCertStore::empty();
        let certificates = found.certificates.iter().cloned();
        let (n_authorities, n_bad) = roots.add_parsable_certificates(certificates);
        if n_bad > 0 {
            let complaint = format!("{n_bad} certificates of authorities cannot be used");
            found.complaints.push(complaint);
        }
        if n_authorities == 0 {
            return Err(AuthorityError::Empty { path: path() });
        }
        let roots = Arc::new(roots);
        let lists = usable_lists(&roots, &mut found, settings.revocation);
        let n_lists = lists.len();
        let ordinary = ordinary_verifier(&roots, lists, settings.revocation).map_err(|source| {
            AuthorityError::Unusable {
                path: path(),
                source,
            }
        })?;
        let voms = match &settings.vomsdir {
            Some(vomsdir) => VomsDirectory::load(vomsdir, &mut found.complaints),
            None => VomsDirectory::default(),
        };
        Ok(Self {
            verifier: Arc::new(ClientVerifier::new(
                Some(ordinary),
                ring::default_provider().signature_verification_algorithms,
                SigningPolicy::parse(&found.policies),
                if settings.revocation == RevocationPolicy::Required && n_lists == 0 {
                    Lists::Missing
                } else {
                    Lists::Enough
                },
            )),
            voms,
            voms_policy: settings.voms,
            complaints: found.complaints,
            n_authorities,
            n_lists,
        })
    }

    /// Returns what judges clients in the TLS handshake.
    #[must_use]
    pub fn verifier(&self) -> Arc<ClientVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Returns what is wrong with single files.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Returns the numbers of authorities, lists of revoked certificates, and VOMS servers.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.n_authorities, self.n_lists, self.voms.len())
    }

    /// Says who shows this chain. VOMS attributes that do not count are left out, and the log says
    /// why.
    ///
    /// # Errors
    ///
    /// [`CertificateRefusal`], as in the handshake.
    pub fn identify(
        &self,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<CertificateIdentity, CertificateRefusal> {
        let walk = self.verifier.judge(shown, now)?;
        let chain = chain::parse(shown.iter().map(AsRef::as_ref))?;
        let own = &chain[walk.own];
        let own_end = own.validity().not_after.timestamp();
        let dn = slash_form(own.subject());
        // The last one that was asked for counts, and is the first on the way.
        let with_attributes = chain[..walk.own].iter().find_map(|proxy| {
            let mut extensions = proxy.extensions().iter();
            extensions.find(|extension| extension.oid == chain::VOMS)
        });
        let attributes = with_attributes
            .map_or_else(Vec::new, |extension| voms::attributes(extension.value, &dn));
        let holder = voms::Holder {
            certificate: own,
            now: unix_seconds(now),
        };
        let mut fqans = Vec::new();
        for attribute in attributes {
            let judged = attribute
                .judge(&holder)
                .and_then(|()| match self.voms_policy {
                    VomsPolicy::Unverified => Ok(()),
                    VomsPolicy::Verified => self.voms.verify(&attribute, |issuers| {
                        self.verifier.judge_ordinary(issuers, now)
                    }),
                });
            match judged {
                Ok(()) => fqans.extend(attribute.fqans),
                Err(refusal) => {
                    let vo = attribute.vo;
                    let reason = refusal.to_string();
                    tracing::warn!(dn, vo, reason, "VOMS attributes do not count");
                }
            }
        }
        Ok(CertificateIdentity {
            dn,
            is_limited: walk.is_limited,
            fqans,
            ends: walk.proxies_end.map_or(own_end, |end| end.min(own_end)),
        })
    }
}

fn ordinary_verifier(
    roots: &Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    revocation: RevocationPolicy,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider)
        .with_crls(lists)
        .allow_unauthenticated();
    match revocation {
        RevocationPolicy::Ignore => builder,
        RevocationPolicy::WhenPresent => builder.allow_unknown_revocation_status(),
        RevocationPolicy::Required => builder.enforce_revocation_expiration(),
    }
    .build()
}

/// Leaves out lists that the library cannot read: it takes all of them or none.
fn usable_lists(
    roots: &Arc<RootCertStore>,
    found: &mut Found,
    revocation: RevocationPolicy,
) -> Vec<CertificateRevocationListDer<'static>> {
    if revocation == RevocationPolicy::Ignore {
        return Vec::new();
    }
    let first = roots.roots.first().cloned();
    let one = Arc::new(RootCertStore {
        roots: first.into_iter().collect(),
    });
    let mut usable = Vec::new();
    for list in std::mem::take(&mut found.lists) {
        match ordinary_verifier(&one, vec![list.clone()], revocation) {
            Ok(_) => usable.push(list),
            Err(error) => {
                let complaint = format!("a list of revoked certificates cannot be used: {error}");
                found.complaints.push(complaint);
            }
        }
    }
    usable
}

/// Reads all files of a folder. The same certificate is often there under several names.
fn read_folder(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(folder)?.flatten().take(FILES_MAX) {
        let path = entry.path();
        if !path.is_file() {
            continue;
        }
        match read_bounded(&path) {
            Ok(bytes) => sort_out(&path, &bytes, &mut found),
            Err(error) => {
                let complaint = format!("file `{}` cannot be read: {error}", path.display());
                found.complaints.push(complaint);
            }
        }
    }
    found
        .certificates
        .sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    found.certificates.dedup();
    found.lists.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    found.lists.dedup();
    Ok(found)
}

fn sort_out(path: &Path, bytes: &[u8], found: &mut Found) {
    let ending = path.extension().and_then(|ending| ending.to_str());
    if ending == Some("signing_policy") {
        found.policies += &String::from_utf8_lossy(bytes);
        found.policies.push('\n');
        return;
    }
    let is_list = ending.is_some_and(|ending| ending.starts_with('r') || ending == "crl");
    if is_list && bytes.first() == Some(&0x30) {
        found.lists.push(bytes.to_vec().into());
        return;
    }
    for item in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).flatten() {
        match item {
            (SectionKind::Certificate, der) => found.certificates.push(der.into()),
            (SectionKind::Crl, der) => found.lists.push(der.into()),
            _ => {}
        }
    }
}

/// Reads a file that is not larger than any of its kind.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
