//! Reads certificates and keys from PEM files.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    sync::Arc,
};

use rustls::pki_types::PrivateKeyDer;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::{ClientCertificate, ClientConfig, ConfigError, Trust, Verification, client_key};

/// Largest PEM file that is read, in bytes.
const PEM_MAX_BYTES: u64 = 16 << 20;

/// Most files of a CA directory that are read; the grid's has a few hundred.
const CA_FILES_MAX: usize = 10_000;

/// Makes the configuration for servers that `trust` believes. The library takes one kind of roots,
/// so where there are two, only the directory's are in it.
pub(crate) fn tls_config(config: &ClientConfig, trust: &Trust) -> Result<TlsConfig, ConfigError> {
    let roots = match trust {
        Trust::BuiltIn => RootCerts::WebPki,
        Trust::File(path) => RootCerts::new_with_certs(&certificates_of_file(path)?),
        Trust::Directory(path) | Trust::DirectoryAndBuiltIn(path) => {
            RootCerts::new_with_certs(&certificates_of_directory(path)?)
        }
    };
    let client_cert = config
        .certificate
        .as_ref()
        .map(client_certificate)
        .transpose()?;
    let mut tls = TlsConfig::builder()
        .root_certs(roots)
        .disable_verification(config.verification == Verification::Off);
    if client_cert.is_some() {
        tls = tls
            .client_cert(client_cert)
            .unversioned_rustls_crypto_provider(Arc::new(client_key::provider()));
    }
    Ok(tls.build())
}

fn client_certificate(certificate: &ClientCertificate) -> Result<ClientCert, ConfigError> {
    let chain = certificates_of_file(&certificate.chain_file)?;
    let pem = read_bounded(&certificate.key_file)?;
    let no_key = || ConfigError::NoKey {
        path: certificate.key_file.clone(),
    };
    let key = PrivateKey::from_pem(&pem).map_err(|_| no_key())?;
    let der = PrivateKeyDer::try_from(key.der().to_vec()).map_err(|_| no_key())?;
    if !client_key::is_usable(der) {
        return Err(no_key());
    }
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates_of_file(path: &Path) -> Result<Vec<Certificate<'static>>, ConfigError> {
    at_least_one(path, certificates_in(&read_bounded(path)?))
}

/// Takes what is a certificate and skips the rest: such directories also hold revocation lists,
/// policies and readmes, and the same certificate under several names.
fn certificates_of_directory(path: &Path) -> Result<Vec<Certificate<'static>>, ConfigError> {
    let entries = fs::read_dir(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut found: Vec<Certificate<'static>> = entries
        .flatten()
        .take(CA_FILES_MAX)
        .filter_map(|entry| read_bounded(&entry.path()).ok())
        .flat_map(|pem| certificates_in(&pem))
        .collect();
    found.sort_by(|a, b| a.der().cmp(b.der()));
    found.dedup_by(|a, b| a.der() == b.der());
    at_least_one(path, found)
}

/// The certificates of a PEM text, in its order; everything else is skipped.
pub(crate) fn certificates_in(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect()
}

fn at_least_one(
    path: &Path,
    certificates: Vec<Certificate<'static>>,
) -> Result<Vec<Certificate<'static>>, ConfigError> {
    if certificates.is_empty() {
        return Err(ConfigError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM_MAX_BYTES).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}
