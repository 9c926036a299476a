//! Storage endpoints (RSEs): how files are reached there, and under which path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EndpointName, Lfn, Scope, queue::Activity};

/// One way to reach a storage endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageProtocol {
    /// Scheme, host and port with a final slash, for example `root://eos.example.org:1094/`.
    /// `file://` for a file system that the node mounts.
    pub endpoint: String,
    /// The path under which the endpoint keeps its files, for example `/eos/spd/`.
    pub path: String,
    /// CRIC's number of the protocol, if it has one: its settings stand under it.
    #[serde(default)]
    pub id: Option<u64>,
}

impl StorageProtocol {
    /// Schemes of web servers and object stores.
    const WEB_SCHEMES: [&str; 8] = [
        "davs", "https", "dav", "http", "s3", "s3+https", "s3+rucio", "gs",
    ];

    /// Schemes in whose URLs some letters of names mean something else.
    const HTTP_SCHEMES: [&str; 4] = ["davs", "https", "dav", "http"];

    /// Returns the scheme, for example `root`, empty if the endpoint has none.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.endpoint
            .split_once("://")
            .map_or("", |(scheme, _)| scheme)
    }

    /// Joins endpoint, path and the file's own path into a URL.
    ///
    /// The endpoint ends with a slash and the path begins with one. XRootD and SRM need both; for
    /// web servers and object stores they are one, because there an empty part is a part. What
    /// would begin a query, a fragment or an encoded letter of an HTTP URL is encoded, since the
    /// file's path is made of names; the rest is left to whoever sends it.
    #[must_use]
    pub fn url(&self, file_path: &str) -> String {
        if Self::HTTP_SCHEMES.contains(&self.scheme()) && file_path.contains(['%', '?', '#']) {
            let encoded = file_path.replace('%', "%25");
            return self.join(&encoded.replace('?', "%3F").replace('#', "%23"));
        }
        self.join(file_path)
    }

    fn join(&self, file_path: &str) -> String {
        let is_web = Self::WEB_SCHEMES.contains(&self.scheme());
        let base = if is_web && self.endpoint.ends_with('/') {
            format!("{}{}", self.endpoint, self.path.trim_start_matches('/'))
        } else {
            format!("{}{}", self.endpoint, self.path)
        };
        format!(
            "{}/{}",
            base.trim_end_matches('/'),
            file_path.trim_start_matches('/')
        )
    }
}

/// One storage endpoint, as in CRIC's `ddmendpoints.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageEndpoint {
    /// Its name.
    pub name: EndpointName,
    /// The site that it belongs to.
    pub site: String,
    /// `DATADISK`, `OS_ES` and so on.
    pub kind: String,
    /// CRIC's state; only `ACTIVE` endpoints are used.
    pub state: String,
    /// Whether a file's path follows from its scope and name.
    pub is_deterministic: bool,
    /// Protocols by activity, best first (`arprotocols`).
    pub protocols: BTreeMap<Activity, Vec<StorageProtocol>>,
    /// What only some endpoints say.
    #[serde(default)]
    pub options: StorageOptions,
}

/// The rarer parts of storage data. The default is what Pilot 3 assumes where they are missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageOptions {
    /// CRIC's number of the endpoint (`id`), which storage tokens of jobs name.
    pub id: Option<u64>,
    /// The space token (`token`), for `lsm`; empty if none.
    pub token: String,
    /// Whether files lie on tape (`is_tape`), from where they first have to be recalled.
    pub is_tape: bool,
    /// The bucket of an object store (`resource.bucket_id`), empty if none.
    pub bucket: String,
    /// Keys of object stores by the number of the protocol (`rprotocols`).
    pub keys: BTreeMap<u64, StorageKeys>,
}

/// The names under which PanDA's server keeps the two halves of an object store's key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageKeys {
    /// Name of the public half (`access_key`).
    pub access: String,
    /// Name of the private half (`secret_key`).
    pub secret: String,
    /// Whether the store speaks TLS (`is_secure`).
    pub is_secure: bool,
}

impl StorageEndpoint {
    /// Kinds of object stores, whose paths do not follow from names alone.
    const OBJECT_STORES: [&str; 2] = ["OS_ES", "OS_LOGS"];

    /// Says whether this is an object store of event services or logs.
    #[must_use]
    pub fn is_object_store(&self) -> bool {
        Self::OBJECT_STORES.contains(&self.kind.as_str())
    }
}

impl StorageEndpoint {
    /// Returns the protocols of the first of `activities` that has any, best first.
    #[must_use]
    pub fn protocols_for(&self, activities: &[&str]) -> &[StorageProtocol] {
        crate::Queue::first_of(&self.protocols, activities)
    }
}

/// Returns the path of a file on a deterministic endpoint as Pilot 3 makes it, from the hexadecimal
/// MD5 of `scope:lfn`: the scope's parts, two and two digits, the name.
///
/// The digest comes from the caller, which has a library for it.
/// Source: Pilot 3, `pilot/api/data.py`, `get_path`.
#[must_use]
pub fn deterministic_path(scope: &Scope, lfn: &Lfn, md5_hex: &str) -> String {
    let mut parts: Vec<&str> = scope
        .as_str()
        .split('.')
        .filter(|part| !part.is_empty())
        .collect();
    parts.extend(
        [md5_hex.get(0..2), md5_hex.get(2..4), Some(lfn.as_str())]
            .into_iter()
            .flatten(),
    );
    parts.join("/")
}

/// Returns the path of a file on a deterministic endpoint as Rucio makes it.
///
/// It differs from [`deterministic_path`] for scopes with dots: only those that begin with `user`
/// or `group` become directories. What Rucio registers must lie here.
/// Source: Rucio, `lib/rucio/rse/translation.py`, the `hash` algorithm.
#[must_use]
pub fn rucio_path(scope: &Scope, lfn: &Lfn, md5_hex: &str) -> String {
    let [first, second] = [0..2, 2..4].map(|part| md5_hex.get(part).unwrap_or_default());
    format!("{}/{first}/{second}/{lfn}", rucio_directory(scope))
}

/// Returns the directory of a scope as Rucio makes it.
#[must_use]
pub fn rucio_directory(scope: &Scope) -> String {
    let scope = scope.as_str();
    let has_parts = ["user", "group"].iter().any(|kind| scope.starts_with(kind));
    if has_parts {
        scope.replace('.', "/")
    } else {
        scope.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pilot_3_and_rucio_agree_on_paths_of_users_only() {
        let paths = |scope| {
            let (scope, lfn, md5) = (Scope::new(scope), Lfn::new("f"), "0123456789");
            [deterministic_path, rucio_path].map(|path| path(&scope, &lfn, md5))
        };
        assert_eq!(paths("user.alice"), ["user/alice/01/23/f"; 2]);
        assert_eq!(paths("mc.2026"), ["mc/2026/01/23/f", "mc.2026/01/23/f"]);
    }

    #[test]
    fn letters_that_mean_something_in_http_are_encoded_there_only() {
        let url = |endpoint: &str| {
            let protocol = StorageProtocol {
                endpoint: endpoint.into(),
                path: "/spd/".into(),
                id: None,
            };
            protocol.url("a%20b?c#d e")
        };
        assert_eq!(url("davs://h:443/"), "davs://h:443/spd/a%2520b%3Fc%23d e");
        assert_eq!(url("root://h:1094/"), "root://h:1094//spd/a%20b?c#d e");
    }

    #[test]
    fn urls_have_one_slash_between_their_parts() {
        let local = StorageProtocol {
            endpoint: "file://".into(),
            path: "/eos/spd/".into(),
            id: None,
        };
        assert_eq!(local.url("/a/b"), "file:///eos/spd/a/b");
        assert_eq!(local.scheme(), "file");
        let url = |endpoint: &str| {
            let protocol = StorageProtocol {
                endpoint: endpoint.into(),
                ..local.clone()
            };
            protocol.url("a")
        };
        assert_eq!(url("root://h:1094/"), "root://h:1094//eos/spd/a");
        assert_eq!(url("davs://h:443/"), "davs://h:443/eos/spd/a");
    }
}
