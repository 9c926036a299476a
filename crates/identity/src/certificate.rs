//! Clients' certificates in the TLS handshake: proxies by our rules, the rest by the library's.
//!
//! The library refuses a certificate that a person issued, and an extension that it does not know
//! but must. So [`ClientVerifier`] takes the proxies off the chain, and hands over what is left.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    authorities::CertificateRefusal,
    chain::{self, Walk},
    name::slash_form,
    signing_policy::SigningPolicy,
};

/// Believes clients' certificates and proxies. Clients without any are let in as nobody.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Judges certificates of authorities; none if there is no authority to believe.
    ordinary: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    policy: SigningPolicy,
    lists: Lists,
}

/// Whether there are the lists of revoked certificates that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    Enough,
    /// The library asks no list where it has none, so nobody may reach it.
    Missing,
}

impl ClientVerifier {
    pub(crate) fn new(
        ordinary: Option<Arc<dyn ClientCertVerifier>>,
        algorithms: WebPkiSupportedAlgorithms,
        policy: SigningPolicy,
        lists: Lists,
    ) -> Self {
        Self {
            ordinary,
            algorithms,
            policy,
            lists,
        }
    }

    /// Judges what a client shows: its proxies, if any, and then its own certificate.
    pub(crate) fn judge(
        &self,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Walk, CertificateRefusal> {
        let chain = chain::parse(shown.iter().map(AsRef::as_ref))?;
        let walk = chain::walk(&chain, unix_seconds(now))?;
        self.judge_ordinary(&shown[walk.own..], now)?;
        Ok(walk)
    }

    /// Judges a certificate that must come from an authority, with the others between the two.
    pub(crate) fn judge_ordinary(
        &self,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateRefusal> {
        let (Some(ordinary), [own, between @ ..]) = (&self.ordinary, shown) else {
            return Err(CertificateRefusal::NoAuthorities);
        };
        if self.lists == Lists::Missing {
            return Err(CertificateRefusal::NoLists);
        }
        ordinary.verify_client_cert(own, between, now)?;
        self.judge_policy(shown)
    }

    /// Each authority that has a policy may certify only the names in it.
    fn judge_policy(&self, shown: &[CertificateDer<'_>]) -> Result<(), CertificateRefusal> {
        for certificate in chain::parse(shown.iter().map(AsRef::as_ref))? {
            let authority = slash_form(certificate.issuer());
            let subject = slash_form(certificate.subject());
            if self.policy.allows(&authority, &subject) == Some(false) {
                return Err(CertificateRefusal::SigningPolicy { authority, subject });
            }
        }
        Ok(())
    }
}

/// Returns seconds since 1970.
pub(crate) fn unix_seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.ordinary.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: some clients show a certificate only if its issuer is named, and that of a proxy
    /// never is.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown: Vec<CertificateDer<'_>> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| CertificateDer::from(certificate.as_ref()))
            .collect();
        match self.judge(&shown, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => {
                let subject = X509Certificate::from_der(end_entity)
                    .map(|(_, certificate)| slash_form(certificate.subject()))
                    .unwrap_or_default();
                let reason = refusal.chain();
                tracing::warn!(subject, reason, "a client's certificate is refused");
                Err(match refusal {
                    CertificateRefusal::Ordinary(error) => error,
                    CertificateRefusal::Chain(_)
                    | CertificateRefusal::SigningPolicy { .. }
                    | CertificateRefusal::NoLists
                    | CertificateRefusal::NoAuthorities => {
                        CertificateError::ApplicationVerificationFailure.into()
                    }
                })
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parsed(certificate)?;
        let key = &certificate.public_key().subject_public_key.data;
        let known = self.algorithms.mapping.iter();
        let fitting = known
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        for algorithm in fitting {
            if algorithm
                .verify_signature(key, message, signed.signature())
                .is_ok()
            {
                return Ok(HandshakeSignatureValid::assertion());
            }
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parsed(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}
