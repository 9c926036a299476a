//! A certificate authority for one test: server certificates, client certificates, grid proxies.
//!
//! [`Authority`] believes exactly what it made itself, so a real grid proxy (RFC 3820), which
//! ordinary verifiers refuse, is let in as sites with VOMS libraries do. Nothing here is secure
//! for any other use.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};

use crate::stand_in::{Door, Guest};

/// The extension by which a proxy says that it is one, and its content: all rights inherited.
///
/// Source: RFC 3820, section 3.8.
const PROXY_INFO: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 14];
const INHERIT_ALL: [u8; 14] = [
    0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x15, 0x01,
];

/// Public keys by certificate, both in DER form.
type Known = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientProof {
    /// Nobody is asked.
    NotAsked,
    /// Who shows none is not let in.
    Demanded,
}

/// Makes and believes certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    known: Known,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new one, believed by nobody yet.
    ///
    /// # Errors
    ///
    /// The machine gives no random bytes.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = named("Ailurus test CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
            known: Known::default(),
        })
    }

    /// Writes a directory of certificates in which this authority is believed.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn write_directory(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("ailurus-test-ca.pem"), &self.pem)?;
        Ok(directory.to_owned())
    }

    /// Makes the door of a server with these names and addresses.
    ///
    /// # Errors
    ///
    /// A name is none.
    pub fn door(&self, names: &[&str], proof: ClientProof) -> anyhow::Result<Arc<dyn Door>> {
        self.door_with(params_of(names)?, proof)
    }

    /// Makes the door of a server whose certificate has ended.
    ///
    /// # Errors
    ///
    /// A name is none.
    pub fn expired_door(&self, names: &[&str]) -> anyhow::Result<Arc<dyn Door>> {
        let mut params = params_of(names)?;
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.door_with(params, ClientProof::NotAsked)
    }

    fn door_with(
        &self,
        params: CertificateParams,
        proof: ClientProof,
    ) -> anyhow::Result<Arc<dyn Door>> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .context("TLS 1.3 is there")?;
        let builder = match proof {
            ClientProof::NotAsked => builder.with_no_client_auth(),
            ClientProof::Demanded => {
                let known = Arc::clone(&self.known);
                builder.with_client_cert_verifier(Arc::new(Believer { known, provider }))
            }
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = builder.with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))?;
        Ok(Arc::new(TlsDoor(Arc::new(config))))
    }

    /// Makes a client certificate; returns its PEM text with the key behind it.
    ///
    /// # Errors
    ///
    /// The machine gives no random bytes.
    pub fn client(&self, name: &str) -> anyhow::Result<String> {
        let key = KeyPair::generate()?;
        let certificate = named(name)?.signed_by(&key, &self.issuer)?;
        self.remember(certificate.der(), &key);
        Ok(certificate.pem() + &key.serialize_pem())
    }

    /// Makes a grid proxy of a new client certificate; returns its PEM text as `voms-proxy-init`
    /// orders it: proxy, key of the proxy, certificate of the client.
    ///
    /// # Errors
    ///
    /// The machine gives no random bytes.
    pub fn proxy(&self, name: &str) -> anyhow::Result<String> {
        let client_key = KeyPair::generate()?;
        let client = named(name)?;
        let client_certificate = client.signed_by(&client_key, &self.issuer)?;
        let mut params = named(name)?;
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, "proxy 1234567");
        let mut info = CustomExtension::from_oid_content(&PROXY_INFO, INHERIT_ALL.to_vec());
        info.set_criticality(true);
        params.custom_extensions.push(info);
        let key = KeyPair::generate()?;
        let proxy = params.signed_by(&key, &Issuer::new(client, client_key))?;
        self.remember(proxy.der(), &key);
        Ok(proxy.pem() + &key.serialize_pem() + &client_certificate.pem())
    }

    fn remember(&self, certificate: &CertificateDer<'_>, key: &KeyPair) {
        locked(&self.known).insert(certificate.to_vec(), key.subject_public_key_info());
    }
}

fn params_of(names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Ok(CertificateParams::new(names)?)
}

fn named(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn locked(known: &Known) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Believes the certificates that the authority made.
#[derive(Debug)]
struct Believer {
    known: Known,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Believer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if locked(&self.known).contains_key(certificate.as_ref()) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::General("a certificate of strangers".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = locked(&self.known).get(certificate.as_ref()).cloned();
        let key = key.ok_or_else(|| Error::General("a certificate of strangers".into()))?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Lets clients in over TLS.
struct TlsDoor(Arc<ServerConfig>);

impl Door for TlsDoor {
    fn open(&self, mut stream: TcpStream) -> io::Result<Guest> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let shown = connection.peer_certificates();
        let leaf = shown.and_then(|chain| chain.first());
        let leaf = leaf.map(|certificate| certificate.to_vec());
        Ok(Guest {
            stream: Box::new(StreamOwned::new(connection, stream)),
            certificate: leaf,
        })
    }
}
