//! VOMS attributes in a proxy: attribute certificates in the extension 1.3.6.1.4.1.8005.100.100.5.
//!
//! Reading and judging are pure; [`VomsDirectory`] reads which VOMS servers are known. An attribute
//! counts if it is for the person who shows it, now, for the VO that it names, and signed by a
//! server of that VO.
//!
//! Source: VOMS, `The VOMS attribute certificate format`; RFC 5755 for attribute certificates.

mod certificate;
mod directory;

use x509_parser::{
    certificate::X509Certificate,
    x509::{AlgorithmIdentifier, X509Name},
};

use crate::der::Malformed;

pub use directory::VomsDirectory;

/// Attribute certificates that one proxy may have, and attributes of each.
pub const CERTIFICATES_MAX: usize = 8;
/// See [`CERTIFICATES_MAX`].
pub const ATTRIBUTES_MAX: usize = 200;

/// By how many seconds the clock of a VOMS server may differ from ours.
const CLOCK_SKEW_SECS: i64 = 300;

/// Why attributes do not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VomsRefusal {
    /// They cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They are somebody else's.
    #[error("they were given to somebody else")]
    Holder,
    /// Their period is over, or has not begun.
    #[error("they are not valid at this time")]
    Period,
    /// An attribute belongs to another VO than the one that gave it.
    #[error("attribute `{fqan}` is none of VO `{vo}`")]
    Foreign {
        /// The attribute.
        fqan: String,
        /// The VO.
        vo: String,
    },
    /// They are only for named services, and nobody knows whether we are one of them.
    #[error("they are for other services")]
    Targeted,
    /// They have a critical extension that is not known.
    #[error("they have a critical extension that is not known")]
    UnknownExtension,
    /// No server of the VO is known.
    #[error("no VOMS server of VO `{vo}` is known: its folder of `vomsdir` has no file for it")]
    UnknownVo {
        /// The VO.
        vo: String,
    },
    /// The server is not one of the VO's.
    #[error("server `{server}` is not known for VO `{vo}`")]
    UnknownServer {
        /// Name of the server's certificate.
        server: String,
        /// The VO.
        vo: String,
    },
    /// The server's certificate is not believed.
    #[error("the certificate of the VOMS server is not believed: {reason}")]
    Server {
        /// Why.
        reason: String,
    },
    /// They were not signed by the server that they name.
    #[error("the signature is not that of the server")]
    Signature,
}

/// Whom attributes must be for.
#[derive(Debug)]
pub struct Holder<'a> {
    /// The person's own certificate.
    pub certificate: &'a X509Certificate<'a>,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// One attribute certificate.
#[derive(Debug)]
pub struct AttributeCertificate<'a> {
    /// The VO that gave it, by its own words.
    pub vo: String,
    /// Its attributes, the first one first, without empty roles and capabilities.
    pub fqans: Vec<String>,
    /// Name of the issuer of the holder's certificate.
    holder_issuer: X509Name<'a>,
    /// Serial number of the holder's certificate, as it is encoded.
    holder_serial: &'a [u8],
    /// When it begins and ends, in seconds since 1970.
    period: (i64, i64),
    is_targeted: bool,
    has_unknown_extension: bool,
    /// Certificates that came along: the server's, then those of its authorities.
    issuers: Vec<&'a [u8]>,
    /// What is signed, and how.
    signed: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl AttributeCertificate<'_> {
    /// Judges everything but the signature.
    ///
    /// # Errors
    ///
    /// [`VomsRefusal`] says why it does not count.
    pub fn judge(&self, holder: &Holder<'_>) -> Result<(), VomsRefusal> {
        let own = holder.certificate;
        let is_theirs = self.holder_serial == own.raw_serial()
            && have_same_parts(&self.holder_issuer, own.issuer());
        if !is_theirs {
            return Err(VomsRefusal::Holder);
        }
        let (begin, end) = self.period;
        if holder.now + CLOCK_SKEW_SECS < begin || holder.now > end {
            return Err(VomsRefusal::Period);
        }
        if self.has_unknown_extension {
            return Err(VomsRefusal::UnknownExtension);
        }
        if self.is_targeted {
            return Err(VomsRefusal::Targeted);
        }
        let foreign = self.fqans.iter().find(|fqan| !belongs(fqan, &self.vo));
        match foreign {
            None => Ok(()),
            Some(fqan) => Err(VomsRefusal::Foreign {
                fqan: fqan.clone(),
                vo: self.vo.clone(),
            }),
        }
    }
}

/// Says whether an attribute is the VO itself or a group of it.
fn belongs(fqan: &str, vo: &str) -> bool {
    let rest = fqan.strip_prefix('/').and_then(|it| it.strip_prefix(vo));
    !vo.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Compares names by what they say: the same letters may be encoded in several ways.
fn have_same_parts(a: &X509Name<'_>, b: &X509Name<'_>) -> bool {
    if a.as_raw() == b.as_raw() {
        return true;
    }
    let parts = |name: &X509Name<'_>| -> Option<Vec<(String, String)>> {
        let all = name.iter_attributes().map(|part| {
            let value = part.as_str().ok()?.to_owned();
            Some((part.attr_type().to_id_string(), value))
        });
        all.collect()
    };
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => false,
    }
}

/// Reads the attribute certificates of an extension's content. Those that cannot be read are left
/// out, and the log says whose they are.
pub(crate) fn attributes<'a>(content: &'a [u8], dn: &str) -> Vec<AttributeCertificate<'a>> {
    let read = read(content);
    read.unwrap_or_else(|error| {
        let reason = error.to_string();
        tracing::warn!(dn, reason, "VOMS attributes cannot be read");
        Vec::new()
    })
}

/// Reads the attribute certificates of an extension's content.
///
/// # Errors
///
/// [`Malformed`] if one of them cannot be read, or there are too many.
pub fn read(content: &[u8]) -> Result<Vec<AttributeCertificate<'_>>, Malformed> {
    certificate::read_all(content)
}
