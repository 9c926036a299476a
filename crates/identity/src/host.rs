//! The server's own certificate and key, and the TLS that is made of them.
//!
//! The main type is [`HostCertificate`]; it is read again when its files change.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::danger::ClientCertVerifier,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{authorities::read_bounded, certificate::ClientVerifier, name::slash_form};

/// The server's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no certificate.
    #[error("`{}` has no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no key.
    #[error("`{}` has no private key in PEM form without password", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// They do not belong together, or cannot be used.
    #[error("certificate `{}` and key `{}` cannot be used together", certificate.display(), key.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// The server's certificate with what stands in it.
#[derive(Debug)]
pub struct HostCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_file: PathBuf,
    key_file: PathBuf,
    /// Its name in slash form.
    pub name: String,
    /// When it begins and ends, in seconds since 1970.
    pub period: (i64, i64),
    /// Whether others than its owner may read the key.
    pub is_key_open: bool,
}

impl HostCertificate {
    /// Reads certificate, chain and key from PEM files, which may be one.
    ///
    /// # Errors
    ///
    /// [`HostError`] if a file is of no use.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, HostError> {
        let read = |path: &Path| {
            read_bounded(path).map_err(|source| HostError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        let pem = read(certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
        let no_certificate = || HostError::NoCertificate {
            path: certificate.to_owned(),
        };
        let own = chain.first().ok_or_else(no_certificate)?;
        let (_, own) = X509Certificate::from_der(own).map_err(|_| no_certificate())?;
        let name = slash_form(own.subject());
        let validity = own.validity();
        let period = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
        let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.mode());
        Ok(Self {
            key: secret.map_err(|_| HostError::NoKey {
                path: key.to_owned(),
            })?,
            certificate_file: certificate.to_owned(),
            key_file: key.to_owned(),
            name,
            period,
            is_key_open: mode & 0o077 != 0,
            chain,
        })
    }

    /// Makes TLS 1.2 and 1.3 of it, for HTTP/1.1. Clients may show a certificate if there is
    /// somebody to judge it.
    ///
    /// # Errors
    ///
    /// [`HostError::Unusable`] if certificate and key do not belong together.
    pub fn server_config(
        &self,
        verifier: Option<Arc<ClientVerifier>>,
    ) -> Result<ServerConfig, HostError> {
        let unusable = |source| HostError::Unusable {
            certificate: self.certificate_file.clone(),
            key: self.key_file.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match verifier {
            Some(verifier) => {
                let verifier: Arc<dyn ClientCertVerifier> = verifier;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
