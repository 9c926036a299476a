//! Requests become signed URLs: by AWS Signature Version 4, or by Google's with a service account.
//!
//! A signed URL is good for one method and one object, for some hours. It is a secret: it is never
//! shown, and tells nobody the key.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use ailurus_http::Secret;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rusty_s3::{Bucket, Method, UrlStyle, signing};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{keys::S3Keys, place::ObjectPlace};

/// How long a signed URL is good for, in seconds: a transfer that goes on after a break uses it
/// again. Both services allow seven days.
const GOOD_SECS: u64 = 12 * 3600;

/// Largest file of a service account, in bytes.
const ACCOUNT_MAX_BYTES: u64 = 64 << 10;

/// Who signs requests.
#[derive(Debug, Clone)]
pub enum S3Signer {
    /// Access keys, also Google's HMAC keys.
    Keys(S3Keys),
    /// The file of a Google service account (`GOOGLE_APPLICATION_CREDENTIALS`).
    ServiceAccount(PathBuf),
}

/// Why a request cannot be signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SignError {
    /// There are no usable keys.
    NoKeys(String),
    /// The endpoint or bucket is none.
    NoPlace,
}

/// A file of a service account, as Google gives it out.
#[derive(Deserialize)]
struct ServiceAccount {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key: String,
}

impl S3Signer {
    /// Returns the signed URL of a request. `query` is sorted by name.
    pub(super) fn sign(
        &self,
        method: Method,
        place: &ObjectPlace,
        query: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Secret, SignError> {
        match self {
            Self::Keys(keys) => by_keys(keys, method, place, query, now),
            Self::ServiceAccount(file) => {
                let account = ServiceAccount::read(file).map_err(SignError::NoKeys)?;
                account.sign(method, place, query, now)
            }
        }
    }
}

fn by_keys(
    keys: &S3Keys,
    method: Method,
    place: &ObjectPlace,
    query: &[(&str, &str)],
    now: Timestamp,
) -> Result<Secret, SignError> {
    let identity = keys.find().map_err(SignError::NoKeys)?;
    let bucket = bucket_of(place, identity.region)?;
    let url = signing::sign(
        &now,
        method,
        bucket.object_url(&place.key),
        &identity.key.id,
        identity.key.secret.reveal(),
        identity.key.session_token.as_ref().map(Secret::reveal),
        bucket.region(),
        GOOD_SECS,
        query.iter().copied(),
        std::iter::empty(),
    );
    Ok(Secret::new(url.as_str()))
}

fn bucket_of(place: &ObjectPlace, region: String) -> Result<Bucket, SignError> {
    let endpoint = place.endpoint.parse().map_err(|_| SignError::NoPlace)?;
    Bucket::new(endpoint, UrlStyle::Path, place.bucket.clone(), region)
        .map_err(|_| SignError::NoPlace)
}

impl ServiceAccount {
    fn read(file: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("`{}` {why}", file.display());
        let meta = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        if meta.len() > ACCOUNT_MAX_BYTES {
            return Err(failed("is no service account: it is too large".to_owned()));
        }
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let account: Self = serde_json::from_slice(&text)
            .map_err(|_| failed("is no service account: it is no JSON of one".to_owned()))?;
        if account.kind != "service_account" {
            let kind = &account.kind;
            return Err(failed(format!(
                "is of type `{kind}`, not `service_account`"
            )));
        }
        Ok(account)
    }

    /// Signs as Google wants it, with `GOOG4-RSA-SHA256`.
    ///
    /// Source: Cloud Storage documentation, "V4 signing process with your own program".
    fn sign(
        &self,
        method: Method,
        place: &ObjectPlace,
        query: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Secret, SignError> {
        let url = bucket_of(place, "auto".to_owned())?.object_url(&place.key);
        let no_key = || SignError::NoKeys("the service account's key is no RSA key".to_owned());
        let key = RsaKeyPair::from_pkcs8(&der_of(&self.private_key).ok_or_else(no_key)?)
            .map_err(|_| no_key())?;

        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/auto/storage/goog4_request", &date[..8]);
        let credential = format!("{}/{scope}", self.client_email);
        let good_secs = GOOD_SECS.to_string();
        let mut all = vec![
            ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
            ("X-Goog-Credential", credential.as_str()),
            ("X-Goog-Date", date.as_str()),
            ("X-Goog-Expires", good_secs.as_str()),
            ("X-Goog-SignedHeaders", "host"),
        ];
        all.extend_from_slice(query);
        all.sort_unstable();
        let query: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let query = query.join("&");

        let host = place
            .endpoint
            .split_once("://")
            .map_or("", |(_, host)| host);
        let (method, path) = (method.to_str(), url.path());
        let request = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let digest = hex(&Sha256::digest(request.as_bytes()));
        let to_sign = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}");
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            to_sign.as_bytes(),
            &mut signature,
        )
        .map_err(|_| no_key())?;
        let signature = hex(&signature);
        Ok(Secret::new(format!(
            "{}{path}?{query}&X-Goog-Signature={signature}",
            place.endpoint
        )))
    }
}

/// Returns the bytes of a PEM file's only part.
fn der_of(pem: &str) -> Option<Vec<u8>> {
    let lines = pem.lines().map(str::trim);
    let inside = lines
        .skip_while(|line| !line.starts_with("-----BEGIN PRIVATE KEY"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"));
    BASE64_STANDARD.decode(inside.collect::<String>()).ok()
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
