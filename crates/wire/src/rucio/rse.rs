//! What a storage endpoint (RSE) is, and where it keeps a file whose place follows from its name.
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/rses.py`; places: `lib/rucio/rse/translation.py`,
//! `RSEDeterministicTranslation`, and `lfns2pfns` of `lib/rucio/rse/protocols/`.

use std::collections::BTreeMap;

use ailurus_model::{
    EndpointName, Lfn, Scope,
    storage::{rucio_directory, rucio_path},
};
use md5::{Digest, Md5};
use serde_json::Value;

use super::{
    RucioAnswerError,
    refusal::Refusal,
    replicas::{Domain, Medium},
};
use crate::fields::{FieldError, Fields, is_missing, text_of, whole_of};

/// An endpoint, as `GET /rses/NAME` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rse {
    /// Its name.
    pub name: EndpointName,
    /// What it keeps its files on.
    pub medium: Medium,
    /// How the place of a file follows from its name; none where places must be asked for.
    pub naming: Option<Naming>,
    /// Whether it can be read, as the catalogue knows.
    pub is_readable: bool,
    /// Whether it can be written, as the catalogue knows.
    pub is_writable: bool,
    /// How it is reached, in the server's order.
    pub protocols: Vec<RseProtocol>,
}

/// How the place of a file follows from its scope and name (`lfn2pfn_algorithm`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// By the first four digits of the MD5 of both: the usual way.
    Hash,
    /// Scope and name as they are.
    Identity,
    /// A rule of the experiment, which is not known here.
    Other(String),
}

/// One way to reach an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RseProtocol {
    /// For example `davs`.
    pub scheme: String,
    /// Host name.
    pub host: String,
    /// Port, 0 for none.
    pub port: u16,
    /// The directory below which the endpoint keeps its files.
    pub prefix: String,
    /// What stands before the directory, as `/srm/managerv2?SFN=`; mostly empty.
    pub service_path: String,
    /// Ranks by use at the same site.
    pub lan: Ranks,
    /// Ranks by use from elsewhere.
    pub wan: Ranks,
}

/// The rank of a protocol for each operation, 1 is best; none where it cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ranks {
    /// For reading.
    pub read: Option<u32>,
    /// For writing.
    pub write: Option<u32>,
    /// For removing.
    pub delete: Option<u32>,
}

/// What is done at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file is read.
    Read,
    /// A file is written.
    Write,
    /// A file is removed.
    Delete,
}

impl Ranks {
    const fn of(self, operation: Operation) -> Option<u32> {
        match operation {
            Operation::Read => self.read,
            Operation::Write => self.write,
            Operation::Delete => self.delete,
        }
    }
}

impl Naming {
    /// Returns the path of a file below the endpoint's directory; none for an unknown rule.
    ///
    /// Dots of a scope become directories only where it begins with `user` or `group`. Pilot 3
    /// makes them directories in every scope, so what it stores under a scope such as `mc.2026` is
    /// not where Rucio looks.
    #[must_use]
    pub fn path(&self, scope: &Scope, name: &Lfn) -> Option<String> {
        match self {
            Self::Hash => {
                let digest = Md5::digest(format!("{scope}:{name}"));
                let hex = format!("{:02x}{:02x}", digest[0], digest[1]);
                Some(rucio_path(scope, name, &hex))
            }
            Self::Identity => Some(format!("{}/{name}", rucio_directory(scope))),
            Self::Other(_) => None,
        }
    }
}

impl RseProtocol {
    /// Returns the URL of a path below the endpoint's directory, as Rucio writes it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let Self {
            scheme,
            host,
            port,
            prefix,
            service_path,
            ..
        } = self;
        let host = host
            .split_once("://")
            .map_or(host.as_str(), |(_, host)| host);
        // Files have no port, whatever the catalogue says.
        let port = if *port == 0 || scheme == "file" {
            String::new()
        } else {
            format!(":{port}")
        };
        let before = if prefix.starts_with('/') { "" } else { "/" };
        let after = if prefix.ends_with('/') { "" } else { "/" };
        format!("{scheme}://{host}{port}{service_path}{before}{prefix}{after}{path}")
    }
}

impl Rse {
    /// Returns the protocols that can be used, best first.
    #[must_use]
    pub fn protocols_for(&self, domain: Domain, operation: Operation) -> Vec<&RseProtocol> {
        let rank = |protocol: &RseProtocol| match domain {
            Domain::Lan => protocol.lan.of(operation),
            Domain::Wan => protocol.wan.of(operation),
        };
        let mut usable: Vec<(u32, &RseProtocol)> = self
            .protocols
            .iter()
            .filter_map(|protocol| Some((rank(protocol)?, protocol)))
            .collect();
        usable.sort_by_key(|(rank, _)| *rank);
        usable.into_iter().map(|(_, protocol)| protocol).collect()
    }

    /// Returns the URLs of a file for an operation, best first; none where its place does not
    /// follow from its name.
    #[must_use]
    pub fn urls(
        &self,
        (scope, name): (&Scope, &Lfn),
        domain: Domain,
        operation: Operation,
    ) -> Vec<String> {
        let path = self
            .naming
            .as_ref()
            .and_then(|naming| naming.path(scope, name));
        let Some(path) = path else { return Vec::new() };
        self.protocols_for(domain, operation)
            .into_iter()
            .map(|protocol| protocol.url(&path))
            .collect()
    }
}

/// Reads one JSON object; a refusal that came with status 200 is an error.
fn object_of(bytes: &[u8]) -> Result<Fields, RucioAnswerError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| RucioAnswerError::not_json(bytes))?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    Fields::from_value(value).map_err(|_| RucioAnswerError::not_json(bytes))
}

/// Reads the answer of `GET /rses/NAME`.
///
/// # Errors
///
/// [`RucioAnswerError`] if it is no endpoint, or a protocol of it makes no sense.
pub fn decode_rse(bytes: &[u8]) -> Result<Rse, RucioAnswerError> {
    let fields = object_of(bytes)?;
    let name = fields.text("rse");
    if name.is_empty() {
        return Err(FieldError::new("rse", None, "the name of an endpoint").into());
    }
    let protocols = match fields.get("protocols") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(protocol_of).collect::<Result<_, _>>()?,
        Some(other) => return Err(FieldError::new("protocols", Some(other), "a list").into()),
    };
    let naming = match fields.text("lfn2pfn_algorithm").as_str() {
        "" | "hash" | "default" => Naming::Hash,
        "identity" => Naming::Identity,
        other => Naming::Other(other.to_owned()),
    };
    Ok(Rse {
        name: EndpointName::new(name),
        medium: Medium::of(fields.get("rse_type")),
        naming: Some(naming).filter(|_| fields.flag("deterministic").unwrap_or(false)),
        is_readable: fields.flag("availability_read").unwrap_or(true),
        is_writable: fields.flag("availability_write").unwrap_or(true),
        protocols,
    })
}

/// Reads the answer of `GET /rses/NAME/protocols`.
///
/// # Errors
///
/// [`RucioAnswerError`] if it is no list of protocols.
pub fn decode_protocols(bytes: &[u8]) -> Result<Vec<RseProtocol>, RucioAnswerError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| RucioAnswerError::not_json(bytes))?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    let list = value
        .as_array()
        .ok_or_else(|| RucioAnswerError::not_json(bytes))?;
    Ok(list.iter().map(protocol_of).collect::<Result<_, _>>()?)
}

/// Reads the answer of `GET /rses/NAME/attr/`: what the administrators wrote down, as text.
///
/// # Errors
///
/// [`RucioAnswerError`] if it is no object.
pub fn decode_attributes(bytes: &[u8]) -> Result<BTreeMap<String, String>, RucioAnswerError> {
    let fields = object_of(bytes)?;
    let text = |(name, value): (&str, &Value)| (name.to_owned(), text_of(value).into_owned());
    Ok(fields.iter().map(text).collect())
}

fn protocol_of(value: &Value) -> Result<RseProtocol, FieldError> {
    let bad = |allowed: &str| FieldError::new("protocols", Some(value), allowed);
    let text = |name: &str| {
        let value = value.get(name).filter(|value| !is_missing(value));
        value.map(text_of).unwrap_or_default().into_owned()
    };
    let scheme = text("scheme");
    if scheme.is_empty() {
        return Err(bad("objects with a `scheme`"));
    }
    let port = match value.get("port").filter(|port| !is_missing(port)) {
        None => 0,
        Some(port) => whole_of(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| bad("objects with a `port` from 0 to 65535"))?,
    };
    let ranks = |domain: &str| {
        let ranks = value.get("domains").and_then(|domains| domains.get(domain));
        let rank = |operation: &str| {
            let rank = ranks?.get(operation).and_then(whole_of)?;
            // Zero says that it cannot be used.
            u32::try_from(rank).ok().filter(|rank| *rank > 0)
        };
        Ranks {
            read: rank("read"),
            write: rank("write"),
            delete: rank("delete"),
        }
    };
    let extended = value.get("extended_attributes");
    let service_path = extended.and_then(|extended| extended.get("web_service_path"));
    Ok(RseProtocol {
        scheme,
        host: text("hostname"),
        port,
        prefix: text("prefix"),
        service_path: service_path
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        lan: ranks("lan"),
        wan: ranks("wan"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(naming: &Naming, scope: &str) -> Option<String> {
        naming.path(&Scope::new(scope), &Lfn::new("f"))
    }

    #[test]
    fn only_scopes_of_users_and_groups_become_directories() {
        let hash = |scope| path(&Naming::Hash, scope);
        assert_eq!(hash("user.alice").as_deref(), Some("user/alice/fc/14/f"));
        let plain = hash("mc.2026").expect("known");
        assert!(plain.starts_with("mc.2026/"), "{plain}");
        assert_eq!(
            path(&Naming::Identity, "mc.2026").as_deref(),
            Some("mc.2026/f")
        );
        assert_eq!(path(&Naming::Other("xenon".into()), "s"), None);
    }

    #[test]
    fn urls_are_put_together_as_rucio_does() {
        let mut protocol = RseProtocol {
            scheme: "srm".into(),
            host: "srm://se.example.org".into(),
            port: 8443,
            prefix: "spd".into(),
            service_path: "/srm/managerv2?SFN=".into(),
            lan: Ranks::default(),
            wan: Ranks::default(),
        };
        assert_eq!(
            protocol.url("a/f"),
            "srm://se.example.org:8443/srm/managerv2?SFN=/spd/a/f"
        );
        protocol.port = 0;
        protocol.service_path.clear();
        protocol.prefix = "//spd/".into();
        assert_eq!(protocol.url("a/f"), "srm://se.example.org//spd/a/f");
    }

    #[test]
    fn a_protocol_that_makes_no_sense_is_told() {
        for text in [
            r#"[{"hostname": "h"}]"#,
            r#"[{"scheme": "root", "port": 70000}]"#,
            r#"[7]"#,
            r#"{"scheme": "root"}"#,
            "<html>",
        ] {
            assert!(decode_protocols(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode_rse(b"{}").is_err());
        assert!(decode_rse(br#"{"rse": "A", "protocols": 5}"#).is_err());
        let rse = decode_rse(br#"{"rse": "A"}"#).expect("an endpoint");
        assert_eq!((rse.naming, rse.is_readable), (None, true));
    }
}
