//! Which VOMS servers are known: `VOMSDIR/VO/HOST.lsc` or `VOMSDIR/VO/HOST.pem`.
//!
//! An `.lsc` file names the server's certificate and its authority, a line each. It spares sites
//! from fetching each new certificate of a server.

use std::{collections::BTreeMap, fs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate, der_parser::asn1_rs::BitString, prelude::FromDer,
    verify::verify_signature,
};

use crate::{
    authorities::{CertificateRefusal, read_bounded},
    chain,
    name::slash_form,
    voms::{AttributeCertificate, VomsRefusal},
};

/// One way to know a server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    /// By the names of its certificate and of the authorities above it, the server's first.
    Names(Vec<String>),
    /// By its certificate.
    Certificate(CertificateDer<'static>),
}

/// The VOMS servers that are known, by VO.
#[derive(Debug, Default)]
pub struct VomsDirectory {
    servers: BTreeMap<String, Vec<Server>>,
}

impl VomsDirectory {
    /// Reads the folder. Nothing of a peer is ever made into a path.
    pub(crate) fn load(folder: &Path, complaints: &mut Vec<String>) -> Self {
        let mut found = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let complaint = format!("folder `{}` cannot be read: {error}", folder.display());
                complaints.push(complaint);
                return found;
            }
        };
        for entry in entries.flatten() {
            let Ok(vo) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(files) = fs::read_dir(entry.path()) else {
                continue;
            };
            for file in files.flatten() {
                let servers = servers_of(&file.path(), complaints);
                found.servers.entry(vo.clone()).or_default().extend(servers);
            }
        }
        found
    }

    /// Returns how many servers are known.
    pub(crate) fn len(&self) -> usize {
        self.servers.values().map(Vec::len).sum()
    }

    /// Judges by whom attributes are signed; `judge` says whether a server's certificate, the
    /// first of those that it gets, is believed.
    pub(crate) fn verify(
        &self,
        attribute: &AttributeCertificate<'_>,
        judge: impl Fn(&[CertificateDer<'_>]) -> Result<(), CertificateRefusal>,
    ) -> Result<(), VomsRefusal> {
        let vo = || attribute.vo.clone();
        let servers = self.servers.get(&attribute.vo);
        let servers = servers.ok_or_else(|| VomsRefusal::UnknownVo { vo: vo() })?;
        let shown: Vec<CertificateDer<'_>> = attribute
            .issuers
            .iter()
            .map(|der| CertificateDer::from(*der))
            .collect();
        if let Some(named) = names_of(&shown) {
            let is_known = servers.iter().any(|server| match server {
                Server::Names(names) => is_chain(names, &named),
                Server::Certificate(certificate) => shown.first() == Some(certificate),
            });
            if !is_known {
                return Err(VomsRefusal::UnknownServer {
                    server: named.into_iter().next().unwrap_or_default(),
                    vo: vo(),
                });
            }
            return believe(attribute, &shown, judge);
        }
        // Old servers send no certificate: then one of those that lie here must fit.
        let known = servers.iter().filter_map(|server| match server {
            Server::Certificate(certificate) => Some(certificate),
            Server::Names(_) => None,
        });
        let mut refusal = VomsRefusal::Signature;
        for certificate in known {
            match believe(attribute, std::slice::from_ref(certificate), &judge) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

fn believe(
    attribute: &AttributeCertificate<'_>,
    shown: &[CertificateDer<'_>],
    judge: impl Fn(&[CertificateDer<'_>]) -> Result<(), CertificateRefusal>,
) -> Result<(), VomsRefusal> {
    judge(shown).map_err(|refusal| VomsRefusal::Server {
        reason: refusal.chain(),
    })?;
    let server = shown.first().ok_or(VomsRefusal::Signature)?;
    let (_, server) = X509Certificate::from_der(server).map_err(|_| VomsRefusal::Signature)?;
    let signature = BitString::new(0, attribute.signature);
    verify_signature(
        server.public_key(),
        &attribute.algorithm,
        &signature,
        attribute.signed,
    )
    .map_err(|_| VomsRefusal::Signature)
}

/// Returns the subjects of certificates, and the last one's issuer; none if there are none.
fn names_of(shown: &[CertificateDer<'_>]) -> Option<Vec<String>> {
    let chain = chain::parse(shown.iter().map(AsRef::as_ref)).ok()?;
    let mut names: Vec<String> = chain
        .iter()
        .map(|certificate| slash_form(certificate.subject()))
        .collect();
    names.push(slash_form(chain.last()?.issuer()));
    Some(names)
}

/// Compares the names of a file with those of certificates, as far as the shorter ones go, but at
/// least server and authority.
fn is_chain(names: &[String], shown: &[String]) -> bool {
    names.len() >= 2 && shown.len() >= 2 && names.iter().zip(shown).all(|(a, b)| a == b)
}

fn servers_of(file: &Path, complaints: &mut Vec<String>) -> Vec<Server> {
    let ending = file.extension().and_then(|ending| ending.to_str());
    let is_list = ending == Some("lsc");
    if !is_list && ending != Some("pem") {
        return Vec::new();
    }
    let mut complain = |problem: String| {
        complaints.push(format!("file `{}` {problem}", file.display()));
        Vec::new()
    };
    let bytes = match read_bounded(file) {
        Ok(bytes) => bytes,
        Err(error) => return complain(format!("cannot be read: {error}")),
    };
    if is_list {
        let names = names_of_text(&String::from_utf8_lossy(&bytes));
        if names.iter().any(|names| names.len() < 2) || names.is_empty() {
            return complain("does not name a server and its authority".to_owned());
        }
        return names.into_iter().map(Server::Names).collect();
    }
    let first = CertificateDer::pem_slice_iter(&bytes).flatten().next();
    match first {
        Some(certificate) => vec![Server::Certificate(certificate)],
        None => complain("has no certificate".to_owned()),
    }
}

/// Reads an `.lsc` file: chains of names, a line each, with `NEXT CHAIN` between chains.
fn names_of_text(text: &str) -> Vec<Vec<String>> {
    let mut chains = vec![Vec::new()];
    for line in text.lines().map(str::trim) {
        if line.contains("NEXT CHAIN") {
            chains.push(Vec::new());
        } else if line.starts_with('/')
            && let Some(chain) = chains.last_mut()
        {
            chain.push(line.to_owned());
        }
    }
    chains.retain(|chain| !chain.is_empty());
    chains
}
