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
}

impl StorageProtocol {
    /// Returns the scheme, for example `root`, empty if the endpoint has none.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.endpoint
            .split_once("://")
            .map_or("", |(scheme, _)| scheme)
    }

    /// Joins endpoint, path and the file's own path into a URL.
    #[must_use]
    pub fn url(&self, file_path: &str) -> String {
        let base = format!("{}{}", self.endpoint, self.path);
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
}

impl StorageEndpoint {
    /// Returns the protocols of the first of `activities` that has any, best first.
    #[must_use]
    pub fn protocols_for(&self, activities: &[&str]) -> &[StorageProtocol] {
        crate::Queue::first_of(&self.protocols, activities)
    }
}

/// Returns the path of a file on a deterministic endpoint, from the hexadecimal MD5 of
/// `scope:lfn`: the scope's parts, two and two digits, the name.
///
/// The digest comes from the caller, which has a library for it.
/// Source: Rucio, `lib/rucio/rse/protocols/protocol.py`, the `hash` algorithm.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_rucio() {
        let path = deterministic_path(&Scope::new("user.alice"), &Lfn::new("f"), "0123456789");
        assert_eq!(path, "user/alice/01/23/f");
    }

    #[test]
    fn urls_have_one_slash_between_their_parts() {
        let local = StorageProtocol {
            endpoint: "file://".into(),
            path: "/eos/spd/".into(),
        };
        assert_eq!(local.url("/a/b"), "file:///eos/spd/a/b");
        assert_eq!(local.scheme(), "file");
    }
}
