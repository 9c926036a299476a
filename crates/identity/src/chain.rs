//! Chains of grid proxies: the way from the certificate that a client shows down to the person's
//! own, by the rules of RFC 3820.
//!
//! Pure. What lies below the person's certificate, authorities and revocation, is not judged here
//! but by the TLS library's verifier. The main function is [`walk`].

use std::fmt;

use x509_parser::{
    certificate::X509Certificate,
    der_parser::asn1_rs::{Oid, oid},
    extensions::X509Extension,
    oid_registry::{
        OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_ISSUER_ALT_NAME, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
    },
    prelude::FromDer,
};

use crate::der::{self, Malformed, Reader};

/// Certificates that a client may show: proxies, its own, and intermediate authorities.
pub const CERTIFICATES_MAX: usize = 16;

/// The extension by which a proxy says that it is one. Source: RFC 3820, section 3.8.
const PROXY_INFO: Oid<'static> = oid!(1.3.6.1.5.5.7.1.14);
/// The same extension of a draft, which Globus wrote before the RFC.
const DRAFT_PROXY_INFO: Oid<'static> = oid!(1.3.6.1.4.1.3536.1.222);
/// The policy of proxies that have all rights of their issuer.
const INHERIT_ALL: Oid<'static> = oid!(1.3.6.1.5.5.7.21.1);
/// The policy of proxies that have no rights but their own.
const INDEPENDENT: Oid<'static> = oid!(1.3.6.1.5.5.7.21.2);
/// Globus' policy of proxies that must not start jobs.
const LIMITED: Oid<'static> = oid!(1.3.6.1.4.1.3536.1.1.1.9);
/// The extension with VOMS attributes.
pub(crate) const VOMS: Oid<'static> = oid!(1.3.6.1.4.1.8005.100.100.5);

/// Why a chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainRefusal {
    /// Nothing was shown.
    #[error("no certificate was shown")]
    Empty,
    /// More than anybody needs.
    #[error("{n} certificates were shown, at most {CERTIFICATES_MAX} are read")]
    TooLong {
        /// How many.
        n: usize,
    },
    /// It cannot be read.
    #[error("certificate nr {nr} cannot be read")]
    Unreadable {
        /// Its place, from 1.
        nr: usize,
    },
    /// The certificate that made the proxy was not shown.
    #[error("the issuer of the proxy was not shown")]
    NoIssuer,
    /// A proxy breaks a rule.
    #[error("the proxy {rule}")]
    Rule {
        /// The rule.
        rule: ProxyRule,
    },
    /// An extension of a proxy cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What a proxy must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyRule {
    /// It is of a kind from before RFC 3820.
    Legacy,
    /// Its period is over.
    Expired,
    /// Its period has not begun.
    NotYetValid,
    /// Its name is not its issuer's with one part more.
    Name,
    /// The signature does not fit its issuer's key.
    Signature,
    /// It is signed by a method that is broken.
    WeakSignature,
    /// It may make proxies or certificates that it must not make.
    Authority,
    /// Its issuer's key may not sign, or its own may not.
    KeyUsage,
    /// It may not be used by clients.
    ExtendedKeyUsage,
    /// There are more proxies after one than that allows.
    PathLength,
    /// The extension is not critical, or there twice.
    Information,
    /// It has another name besides its subject.
    AlternativeName,
    /// It has a critical extension that is not known.
    UnknownExtension,
    /// It has no rights of its issuer.
    Independent,
    /// Its rights are written in a language that is not known.
    UnknownPolicy,
}

impl fmt::Display for ProxyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => {
                "is of a kind from before RFC 3820: make another, as by `voms-proxy-init -rfc`"
            }
            Self::Expired => "has expired",
            Self::NotYetValid => "is not valid yet",
            Self::Name => "has not its issuer's name with one `CN` more",
            Self::Signature => "was not signed by its issuer",
            Self::WeakSignature => "is signed with SHA-1",
            Self::Authority => "claims to be an authority, or was made by one",
            Self::KeyUsage => "or its issuer has a key that may not sign",
            Self::ExtendedKeyUsage => "may not be used by clients",
            Self::PathLength => "is followed by more proxies than it allows",
            Self::Information => "has no single critical extension that says what it is",
            Self::AlternativeName => "has an alternative name",
            Self::UnknownExtension => "has a critical extension that is not known",
            Self::Independent => "is an independent one, which has no rights",
            Self::UnknownPolicy => "restricts its rights in a language that is not known",
        })
    }
}

const fn broken<T>(rule: ProxyRule) -> Result<T, ChainRefusal> {
    Err(ChainRefusal::Rule { rule })
}

/// What a walk along a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Place of the person's own certificate, from 0: the number of proxies before it.
    pub own: usize,
    /// Whether one of the proxies is limited, and so all after it.
    pub is_limited: bool,
    /// When the first of the proxies ends, in seconds since 1970; none without proxies.
    pub proxies_end: Option<i64>,
}

/// What a proxy says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyInfo {
    /// How many proxies may follow; any number if none.
    pub path_length: Option<usize>,
    /// Whether its policy is the limited one.
    pub is_limited: bool,
}

/// Reads certificates in the order in which they were shown.
///
/// # Errors
///
/// [`ChainRefusal`] if there is none, there are too many, or one cannot be read.
pub fn parse<'a>(
    shown: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Vec<X509Certificate<'a>>, ChainRefusal> {
    let n = shown.len();
    if n == 0 {
        return Err(ChainRefusal::Empty);
    }
    if n > CERTIFICATES_MAX {
        return Err(ChainRefusal::TooLong { n });
    }
    let parsed = shown.enumerate().map(|(place, der)| {
        let unreadable = ChainRefusal::Unreadable { nr: place + 1 };
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            Ok(_) | Err(_) => Err(unreadable),
        }
    });
    parsed.collect()
}

/// Says whether a certificate is a proxy of RFC 3820.
#[must_use]
pub fn is_proxy(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.extensions().iter();
    extensions.any(|extension| extension.oid == PROXY_INFO)
}

/// Walks from the certificate that a client shows to the first that is no proxy. `now` is in
/// seconds since 1970. Each certificate must be followed by its issuer.
///
/// # Errors
///
/// [`ChainRefusal`] if a proxy breaks a rule, or is a legacy one.
pub fn walk(chain: &[X509Certificate<'_>], now: i64) -> Result<Walk, ChainRefusal> {
    let mut found = Walk {
        own: 0,
        is_limited: false,
        proxies_end: None,
    };
    for (place, certificate) in chain.iter().enumerate() {
        if !is_proxy(certificate) {
            if is_legacy(certificate) {
                return broken(ProxyRule::Legacy);
            }
            found.own = place;
            return Ok(found);
        }
        let issuer = chain.get(place + 1).ok_or(ChainRefusal::NoIssuer)?;
        let info = judge_proxy(certificate, issuer, now)?;
        // So many proxies come after it: those that the walk has passed.
        if info.path_length.is_some_and(|most| place > most) {
            return broken(ProxyRule::PathLength);
        }
        found.is_limited |= info.is_limited;
        let end = certificate.validity().not_after.timestamp();
        found.proxies_end = Some(found.proxies_end.map_or(end, |known| known.min(end)));
    }
    Err(ChainRefusal::Empty)
}

/// Proxies of Globus Toolkit 2 say by their name alone what they are.
fn is_legacy(certificate: &X509Certificate<'_>) -> bool {
    let extensions = certificate.extensions();
    if extensions.iter().any(|it| it.oid == DRAFT_PROXY_INFO) {
        return true;
    }
    let last = certificate.subject().iter_common_name().last();
    let last = last.and_then(|name| name.as_str().ok());
    matches!(last, Some("proxy" | "limited proxy")) && has_issuers_name_and_one_more(certificate)
}

fn judge_proxy(
    proxy: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    now: i64,
) -> Result<ProxyInfo, ChainRefusal> {
    if proxy.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(ChainRefusal::NoIssuer);
    }
    if !has_issuers_name_and_one_more(proxy) {
        return broken(ProxyRule::Name);
    }
    let period = proxy.validity();
    if now < period.not_before.timestamp() {
        return broken(ProxyRule::NotYetValid);
    }
    if now > period.not_after.timestamp() {
        return broken(ProxyRule::Expired);
    }
    let info = judge_extensions(proxy)?;
    judge_uses(proxy, issuer)?;
    let method = &proxy.signature_algorithm.algorithm;
    if *method == OID_PKCS1_SHA1WITHRSA || *method == OID_SHA1_WITH_RSA {
        return broken(ProxyRule::WeakSignature);
    }
    if proxy.verify_signature(Some(issuer.public_key())).is_err() {
        return broken(ProxyRule::Signature);
    }
    Ok(info)
}

/// Says whether the subject is the issuer's name and one common name.
fn has_issuers_name_and_one_more(certificate: &X509Certificate<'_>) -> bool {
    let mut subject = certificate.subject().iter_rdn();
    for expected in certificate.issuer().iter_rdn() {
        if subject.next() != Some(expected) {
            return false;
        }
    }
    let Some(last) = subject.next() else {
        return false;
    };
    let mut parts = last.iter();
    let is_common_name = parts
        .next()
        .is_some_and(|part| part.attr_type().to_id_string() == "2.5.4.3");
    is_common_name && parts.next().is_none() && subject.next().is_none()
}

fn judge_extensions(proxy: &X509Certificate<'_>) -> Result<ProxyInfo, ChainRefusal> {
    let mut info = None;
    for extension in proxy.extensions() {
        let oid = &extension.oid;
        if *oid == PROXY_INFO {
            if info.is_some() || !extension.critical {
                return broken(ProxyRule::Information);
            }
            info = Some(proxy_info(extension)?);
        } else if *oid == OID_X509_EXT_SUBJECT_ALT_NAME || *oid == OID_X509_EXT_ISSUER_ALT_NAME {
            return broken(ProxyRule::AlternativeName);
        } else if extension.critical && !is_known(oid) {
            return broken(ProxyRule::UnknownExtension);
        }
    }
    info.ok_or(ChainRefusal::Rule {
        rule: ProxyRule::Information,
    })
}

fn is_known(oid: &Oid<'_>) -> bool {
    *oid == OID_X509_EXT_KEY_USAGE
        || *oid == OID_X509_EXT_EXTENDED_KEY_USAGE
        || *oid == OID_X509_EXT_BASIC_CONSTRAINTS
        || *oid == VOMS
}

fn proxy_info(extension: &X509Extension<'_>) -> Result<ProxyInfo, ChainRefusal> {
    read_proxy_info(extension.value)?.ok_or(ChainRefusal::Rule {
        rule: ProxyRule::UnknownPolicy,
    })
}

/// Reads the content of the extension of proxies; none if its policy is not known.
///
/// # Errors
///
/// [`Malformed`] if it is no such content, and [`ProxyRule::Independent`] for a proxy without any
/// rights.
pub fn read_proxy_info(content: &[u8]) -> Result<Option<ProxyInfo>, ChainRefusal> {
    let mut outer = Reader::new(content, "proxy information");
    let mut info = outer.inside(der::SEQUENCE)?;
    outer.end()?;
    let path_length = match info.optional(der::INTEGER)? {
        Some(number) => Some(small(number.content).ok_or(info.malformed())?),
        None => None,
    };
    let mut policy = info.inside(der::SEQUENCE)?;
    info.end()?;
    let language = policy.one(der::OBJECT)?.content;
    policy.optional(der::OCTET_STRING)?;
    policy.end()?;
    let language = Oid::new(language.into());
    if language == INDEPENDENT {
        return broken(ProxyRule::Independent);
    }
    let is_limited = language == LIMITED;
    Ok(
        (is_limited || language == INHERIT_ALL).then_some(ProxyInfo {
            path_length,
            is_limited,
        }),
    )
}

/// Returns a number that is not negative; what is too large for us is as good as no limit.
fn small(content: &[u8]) -> Option<usize> {
    match content {
        [] => None,
        [first, ..] if *first >= 0x80 => None,
        bytes if bytes.len() <= 3 => {
            let value = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            Some(value)
        }
        _ => Some(usize::MAX),
    }
}

fn judge_uses(
    proxy: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), ChainRefusal> {
    // What cannot be read, or is there twice, allows nothing.
    for certificate in [proxy, issuer] {
        match certificate.basic_constraints() {
            Ok(Some(constraints)) if constraints.value.ca => return broken(ProxyRule::Authority),
            Ok(_) => {}
            Err(_) => return broken(ProxyRule::Authority),
        }
        match certificate.key_usage() {
            Ok(None) => {}
            Ok(Some(usage)) if usage.value.digital_signature() => {
                if usage.value.key_cert_sign() {
                    return broken(ProxyRule::Authority);
                }
            }
            Ok(Some(_)) | Err(_) => return broken(ProxyRule::KeyUsage),
        }
    }
    match proxy.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => Ok(()),
        Ok(Some(_)) | Err(_) => broken(ProxyRule::ExtendedKeyUsage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `proxyCertInfo` with a policy, and a path length.
    fn info(path_length: &[u8], language: &[u8]) -> Vec<u8> {
        let policy = wrap(der::SEQUENCE, &wrap(der::OBJECT, language));
        let number = match path_length {
            [] => Vec::new(),
            bytes => wrap(der::INTEGER, bytes),
        };
        wrap(der::SEQUENCE, &[number, policy].concat())
    }

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    }

    const ALL: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x15, 0x01];
    const NOTHING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x15, 0x02];

    #[test]
    fn policies_and_path_lengths_are_read() {
        let read = |bytes: &[u8]| read_proxy_info(bytes);
        let full = |path_length| ProxyInfo {
            path_length,
            is_limited: false,
        };
        assert_eq!(read(&info(&[], ALL)), Ok(Some(full(None))));
        assert_eq!(read(&info(&[3], ALL)), Ok(Some(full(Some(3)))));
        assert_eq!(read(&info(&[0, 0x80], ALL)), Ok(Some(full(Some(128)))));
        assert_eq!(read(&info(&[], &[0x2b, 0x06, 0x01])), Ok(None));
        let independent = ChainRefusal::Rule {
            rule: ProxyRule::Independent,
        };
        assert_eq!(read(&info(&[], NOTHING)), Err(independent));
        assert!(read(&info(&[0xff], ALL)).is_err(), "a negative length");
        assert!(read(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
            drop(read_proxy_info(&bytes));
            drop(parse([&bytes[..]].into_iter()));
        }
    }
}
