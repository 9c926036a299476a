//! VOMS attribute certificates for tests, by hand: there is no VOMS server to be had.
//!
//! [`VomsAttributes`] becomes an extension for a proxy, in the form that `openssl` takes. The
//! structure is that of real VOMS servers; what is wrong with one is wrong on purpose.

use anyhow::Context as _;

use super::certificates::{Certificates, Identity};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const TIME: u8 = 0x18;

/// Object identifiers in DER form: the extension's parts, SHA-256 with RSA, no revocation lists.
const FQANS: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xbe\x45\x64\x64\x04";
const ISSUERS: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xbe\x45\x64\x64\x0a";
const SHA256_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
const NO_REVOCATION: &[u8] = b"\x30\x09\x06\x03\x55\x1d\x38\x04\x02\x05\x00";
const TARGETS: &[u8] = b"\x30\x0c\x06\x03\x55\x1d\x37\x01\x01\xff\x04\x02\x30\x00";

/// What a VOMS server says of somebody.
#[derive(Debug, Clone)]
pub struct VomsAttributes<'a> {
    /// The VO.
    pub vo: &'a str,
    /// The attributes, for example `/spd/Role=production`.
    pub fqans: &'a [&'a str],
    /// Whom they are for.
    pub holder: &'a Identity,
    /// The server, whose certificate comes along.
    pub server: &'a Identity,
    /// Who signs: the server, unless something is wrong.
    pub signer: &'a Identity,
    /// When they begin and end: `YYYYMMDDhhmmssZ`.
    pub period: [&'a str; 2],
    /// Whether they are for other services only.
    pub is_targeted: bool,
}

impl<'a> VomsAttributes<'a> {
    /// Attributes with which all is well.
    #[must_use]
    pub fn of(holder: &'a Identity, server: &'a Identity, fqans: &'a [&'a str]) -> Self {
        Self {
            vo: "spd",
            fqans,
            holder,
            server,
            signer: server,
            period: ["20200101000000Z", "20990101000000Z"],
            is_targeted: false,
        }
    }

    /// Returns the extension as a line for `openssl`.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn extension(&self, certificates: &Certificates) -> anyhow::Result<String> {
        let bytes = self.encode(certificates)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("1.3.6.1.4.1.8005.100.100.5=DER:{hex}\n"))
    }

    /// Returns the content of the extension.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn encode(&self, certificates: &Certificates) -> anyhow::Result<Vec<u8>> {
        let info = self.info(certificates)?;
        let signature = certificates.sign_bytes(self.signer, &info)?;
        let certificate = join(
            SEQUENCE,
            &[
                &info,
                &element(SEQUENCE, SHA256_WITH_RSA),
                &join(BIT_STRING, &[&[0], &signature]),
            ],
        );
        Ok(element(SEQUENCE, &element(SEQUENCE, &certificate)))
    }

    fn info(&self, certificates: &Certificates) -> anyhow::Result<Vec<u8>> {
        let holder = certificates.der(self.holder)?;
        let (serial, issuer) = serial_and_issuer(&holder)?;
        let names = element(SEQUENCE, &element(0xa4, issuer));
        let holder = element(SEQUENCE, &join(0xa0, &[&names, serial]));
        let server = certificates.der(self.server)?;
        let (_, _, subject) = names_of(&server)?;
        let v2 = element(0xa0, &element(SEQUENCE, &element(0xa4, subject)));
        let period = self.period.map(|time| element(TIME, time.as_bytes()));
        Ok(join(
            SEQUENCE,
            &[
                &element(INTEGER, &[1]),
                &holder,
                &v2,
                &element(SEQUENCE, SHA256_WITH_RSA),
                &element(INTEGER, &[7]),
                &element(SEQUENCE, &period.concat()),
                &self.attributes(),
                &self.extensions(&server),
            ],
        ))
    }

    fn attributes(&self) -> Vec<u8> {
        let authority = format!("{}://voms.test.org:15000", self.vo);
        let authority = element(0xa0, &element(0x86, authority.as_bytes()));
        let values = self.fqans.iter();
        let values: Vec<u8> = values
            .flat_map(|fqan| element(OCTET_STRING, fqan.as_bytes()))
            .collect();
        let syntax = join(SEQUENCE, &[&authority, &element(SEQUENCE, &values)]);
        let attribute = join(SEQUENCE, &[FQANS, &element(SET, &syntax)]);
        element(SEQUENCE, &attribute)
    }

    fn extensions(&self, server: &[u8]) -> Vec<u8> {
        let list = element(SEQUENCE, &element(SEQUENCE, server));
        let issuers = join(SEQUENCE, &[ISSUERS, &element(OCTET_STRING, &list)]);
        let targets = if self.is_targeted { TARGETS } else { &[] };
        join(SEQUENCE, &[NO_REVOCATION, targets, &issuers])
    }
}

fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, &parts.concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut all = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => all.push(short),
        _ => {
            all.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            all.extend_from_slice(bytes);
        }
    }
    all.extend_from_slice(content);
    all
}

/// Takes the first element off; returns its content, and what follows it.
fn split(bytes: &[u8]) -> anyhow::Result<(&[u8], &[u8], &[u8])> {
    let first = *bytes.get(1).context("a certificate is cut off")?;
    let (head, length) = if first < 0x80 {
        (2, usize::from(first))
    } else {
        let n_bytes = usize::from(first & 0x7f);
        let digits = bytes.get(2..2 + n_bytes).context("a length is cut off")?;
        let length = digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        (2 + n_bytes, length)
    };
    let whole = bytes
        .get(..head + length)
        .context("an element is cut off")?;
    Ok((whole, &whole[head..], &bytes[head + length..]))
}

/// Returns serial number, issuer and subject of a certificate, each as a whole element.
fn names_of(certificate: &[u8]) -> anyhow::Result<(&[u8], &[u8], &[u8])> {
    let (_, certificate, _) = split(certificate)?;
    let (_, to_be_signed, _) = split(certificate)?;
    let (_, _, rest) = split(to_be_signed)?;
    let (serial, _, rest) = split(rest)?;
    let (_, _, rest) = split(rest)?;
    let (issuer, _, rest) = split(rest)?;
    let (_, _, rest) = split(rest)?;
    let (subject, _, _) = split(rest)?;
    Ok((serial, issuer, subject))
}

fn serial_and_issuer(certificate: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let (serial, issuer, _) = names_of(certificate)?;
    Ok((serial, issuer))
}
