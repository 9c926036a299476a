//! Reads attribute certificates (RFC 5755) as VOMS writes them.

use x509_parser::{
    der_parser::asn1_rs::{Oid, oid},
    prelude::FromDer,
    time::ASN1Time,
    x509::{AlgorithmIdentifier, X509Name},
};

use crate::{
    der::{BIT_STRING, BOOLEAN, INTEGER, Malformed, OBJECT, OCTET_STRING, Reader, SEQUENCE, SET},
    voms::{ATTRIBUTES_MAX, AttributeCertificate, CERTIFICATES_MAX},
};

const WHAT: &str = "VOMS attribute certificate";

/// The attribute whose values are FQANs.
const FQANS: Oid<'static> = oid!(1.3.6.1.4.1.8005.100.100.4);
/// The extension with the server's certificates.
const ISSUERS: Oid<'static> = oid!(1.3.6.1.4.1.8005.100.100.10);
/// The extension with tags; it says nothing about rights.
const TAGS: Oid<'static> = oid!(1.3.6.1.4.1.8005.100.100.11);
/// The extension with the services that attributes are for.
const TARGETS: Oid<'static> = oid!(2.5.29.55);
/// Extensions that change nothing: which key signed, and that there are no revocation lists.
const AUTHORITY_KEY: Oid<'static> = oid!(2.5.29.35);
const NO_REVOCATION: Oid<'static> = oid!(2.5.29.56);

/// Context tags, constructed.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;
/// A directory name and a URI among general names.
const DIRECTORY_NAME: u8 = 0xa4;
const URI: u8 = 0x86;

pub(super) fn read_all(content: &[u8]) -> Result<Vec<AttributeCertificate<'_>>, Malformed> {
    let mut outer = Reader::new(content, WHAT);
    let mut all = outer.inside(SEQUENCE)?;
    outer.end()?;
    let mut certificates = all.inside(SEQUENCE)?;
    all.end()?;
    let mut found = Vec::new();
    while !certificates.is_empty() {
        if found.len() == CERTIFICATES_MAX {
            return Err(certificates.malformed());
        }
        found.push(read_one(&mut certificates)?);
    }
    Ok(found)
}

fn read_one<'a>(certificates: &mut Reader<'a>) -> Result<AttributeCertificate<'a>, Malformed> {
    let mut certificate = certificates.inside(SEQUENCE)?;
    let info = certificate.one(SEQUENCE)?;
    let algorithm = algorithm(certificate.one(SEQUENCE)?.whole)?;
    let signature = certificate.one(BIT_STRING)?.content;
    certificate.end()?;
    // The number of unused bits comes first.
    let Some((0, signature)) = signature.split_first() else {
        return Err(Malformed { what: WHAT });
    };
    let mut fields = Reader::new(info.content, WHAT);
    if fields.one(INTEGER)?.content != [1] {
        return Err(fields.malformed());
    }
    let (holder_issuer, holder_serial) = holder(fields.inside(SEQUENCE)?)?;
    // The issuer is known by the certificate that comes along.
    fields.one(CONTEXT_0)?;
    if self::algorithm(fields.one(SEQUENCE)?.whole)? != algorithm {
        return Err(fields.malformed());
    }
    fields.one(INTEGER)?;
    let period = period(fields.inside(SEQUENCE)?)?;
    let (vo, fqans) = attributes(fields.inside(SEQUENCE)?)?;
    fields.optional(BIT_STRING)?;
    let extensions = match fields.optional(SEQUENCE)? {
        Some(extensions) => extensions_of(Reader::new(extensions.content, WHAT))?,
        None => Extensions::default(),
    };
    fields.end()?;
    Ok(AttributeCertificate {
        vo,
        fqans,
        holder_issuer,
        holder_serial,
        period,
        is_targeted: extensions.is_targeted,
        has_unknown_extension: extensions.has_unknown,
        issuers: extensions.issuers,
        signed: info.whole,
        algorithm,
        signature,
    })
}

fn malformed<E>(_: E) -> Malformed {
    Malformed { what: WHAT }
}

fn algorithm(whole: &[u8]) -> Result<AlgorithmIdentifier<'_>, Malformed> {
    let (_, algorithm) = AlgorithmIdentifier::from_der(whole).map_err(malformed)?;
    Ok(algorithm)
}

/// Reads whose certificate it goes with: issuer and serial number.
fn holder(mut holder: Reader<'_>) -> Result<(X509Name<'_>, &[u8]), Malformed> {
    let mut base = holder.inside(CONTEXT_0)?;
    let mut names = base.inside(SEQUENCE)?;
    let mut name = names.inside(DIRECTORY_NAME)?;
    names.end()?;
    let issuer = name.one(SEQUENCE)?.whole;
    name.end()?;
    let serial = base.one(INTEGER)?.content;
    let (_, issuer) = X509Name::from_der(issuer).map_err(malformed)?;
    holder.optional(CONTEXT_1)?;
    holder.optional(CONTEXT_2)?;
    holder.end()?;
    Ok((issuer, serial))
}

fn period(mut period: Reader<'_>) -> Result<(i64, i64), Malformed> {
    let mut one = || {
        let (_, time) = ASN1Time::from_der(period.any()?.whole).map_err(malformed)?;
        Ok(time.timestamp())
    };
    let (begin, end) = (one()?, one()?);
    period.end()?;
    Ok((begin, end))
}

/// Reads the VO and its attributes.
fn attributes(mut attributes: Reader<'_>) -> Result<(String, Vec<String>), Malformed> {
    let mut vo = String::new();
    let mut fqans = Vec::new();
    while !attributes.is_empty() {
        let mut attribute = attributes.inside(SEQUENCE)?;
        let kind = attribute.one(OBJECT)?.content;
        let mut values = attribute.inside(SET)?;
        attribute.end()?;
        if Oid::new(kind.into()) != FQANS {
            continue;
        }
        while !values.is_empty() {
            let mut syntax = values.inside(SEQUENCE)?;
            let mut authority = syntax.inside(CONTEXT_0)?;
            vo = vo_of(text(authority.one(URI)?.content)?);
            let mut list = syntax.inside(SEQUENCE)?;
            syntax.end()?;
            while !list.is_empty() {
                if fqans.len() == ATTRIBUTES_MAX {
                    return Err(list.malformed());
                }
                fqans.push(short(text(list.one(OCTET_STRING)?.content)?));
            }
        }
    }
    Ok((vo, fqans))
}

/// Reads visible text; anything else has no place in a name of a group.
fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let is_visible = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    match str::from_utf8(bytes) {
        Ok(text) if is_visible => Ok(text),
        Ok(_) | Err(_) => Err(Malformed { what: WHAT }),
    }
}

/// Returns the VO of `VO://HOST:PORT`.
fn vo_of(authority: &str) -> String {
    let (vo, _) = authority.split_once("://").unwrap_or((authority, ""));
    vo.to_owned()
}

/// Drops what says nothing, as VOMS' own short form does.
fn short(fqan: &str) -> String {
    let fqan = fqan.strip_suffix("/Capability=NULL").unwrap_or(fqan);
    fqan.strip_suffix("/Role=NULL").unwrap_or(fqan).to_owned()
}

#[derive(Debug, Default)]
struct Extensions<'a> {
    is_targeted: bool,
    has_unknown: bool,
    issuers: Vec<&'a [u8]>,
}

fn extensions_of(mut extensions: Reader<'_>) -> Result<Extensions<'_>, Malformed> {
    let mut found = Extensions::default();
    while !extensions.is_empty() {
        let mut extension = extensions.inside(SEQUENCE)?;
        let oid = Oid::new(extension.one(OBJECT)?.content.into());
        let is_critical = extension
            .optional(BOOLEAN)?
            .is_some_and(|it| it.content != [0]);
        let content = extension.one(OCTET_STRING)?.content;
        extension.end()?;
        if oid == ISSUERS {
            found.issuers = issuers(content)?;
        } else if oid == TARGETS {
            found.is_targeted = true;
        } else if is_critical && oid != TAGS && oid != AUTHORITY_KEY && oid != NO_REVOCATION {
            found.has_unknown = true;
        }
    }
    Ok(found)
}

fn issuers(content: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut outer = Reader::new(content, WHAT);
    let mut inner = outer.inside(SEQUENCE)?;
    outer.end()?;
    let mut list = inner.inside(SEQUENCE)?;
    inner.end()?;
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == CERTIFICATES_MAX {
            return Err(list.malformed());
        }
        found.push(list.one(SEQUENCE)?.whole);
    }
    Ok(found)
}
