//! New replicas, their states, datasets that they belong to, and replicas that are bad.
//!
//! A server takes a file that it knows already with another size or checksum, says that all is
//! well, and keeps what it had: who registers must read back.
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/replicas.py` and `dids.py`;
//! `lib/rucio/core/replica.py`, `add_replicas`.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, Checksum, EndpointName, Guid, Lfn, Scope};
use serde_json::{Map, Value, json};

use super::{
    Did, RucioAnswerError,
    refusal::Refusal,
    replicas::{SwitchedOff, digits},
};
use crate::fields::{FieldError, text_of};

/// Where replicas are registered (POST) and their states are changed (PUT).
pub const REPLICAS_PATH: &str = "/replicas";
/// Where files are attached to datasets.
pub const ATTACHMENTS_PATH: &str = "/dids/attachments";
/// Where replicas are declared bad.
pub const BAD_PATH: &str = "/replicas/bad";
/// Where replicas are declared suspicious.
pub const SUSPICIOUS_PATH: &str = "/replicas/suspicious";

/// A file that lies on an endpoint and is not in the catalogue yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplica {
    /// Its scope.
    pub scope: Scope,
    /// Its name.
    pub name: Lfn,
    /// Its size.
    pub size: ByteCount,
    /// Its Adler-32.
    pub adler32: Checksum,
    /// Its MD5, if known.
    pub md5: Option<Checksum>,
    /// Its globally unique id, if it has one.
    pub guid: Option<Guid>,
    /// Its URL: needed where places do not follow from names; elsewhere it must be the very one
    /// that Rucio makes of the name.
    pub pfn: Option<String>,
}

impl NewReplica {
    /// Returns the file's identifier.
    #[must_use]
    pub fn did(&self) -> Did {
        Did::new(self.scope.clone(), self.name.as_str())
    }
}

/// What the catalogue says of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaState {
    /// It can be read.
    Available,
    /// It cannot be read.
    Unavailable,
    /// It is on its way.
    Copying,
}

impl ReplicaState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "A",
            Self::Unavailable => "U",
            Self::Copying => "C",
        }
    }
}

/// Files that belong to a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The dataset.
    pub dataset: Did,
    /// Its files.
    pub files: Vec<Did>,
}

/// Writes the registration of at most [`super::DIDS_MAX`] files.
#[must_use]
pub fn encode_new(rse: &EndpointName, files: &[NewReplica], switched_off: SwitchedOff) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            let mut one = Map::new();
            one.insert("scope".into(), file.scope.as_str().into());
            one.insert("name".into(), file.name.as_str().into());
            one.insert("bytes".into(), file.size.as_bytes().into());
            one.insert("adler32".into(), digits(Some(&file.adler32)).into());
            if let Some(md5) = digits(file.md5.as_ref()) {
                one.insert("md5".into(), md5.into());
            }
            if let Some(guid) = &file.guid {
                let digits = guid.as_str().replace('-', "").to_lowercase();
                one.insert("meta".into(), json!({"guid": digits}));
            }
            if let Some(pfn) = &file.pfn {
                one.insert("pfn".into(), pfn.as_str().into());
            }
            Value::Object(one)
        })
        .collect();
    json!({
        "rse": rse,
        "files": files,
        "ignore_availability": switched_off == SwitchedOff::Told,
    })
}

/// Writes new states of at most [`super::DIDS_MAX`] replicas.
#[must_use]
pub fn encode_states(rse: &EndpointName, files: &[(Did, ReplicaState)]) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(did, state)| json!({"scope": did.scope, "name": did.name, "state": state.as_str()}))
        .collect();
    json!({"rse": rse, "files": files})
}

/// Writes attachments. Files that a dataset has already are passed over, so that the request can
/// be repeated.
#[must_use]
pub fn encode_attachments(attachments: &[Attachment]) -> Value {
    let attachments: Vec<Value> = attachments
        .iter()
        .map(|attachment| {
            let files: Vec<Value> = attachment.files.iter().map(Did::encode).collect();
            let Did { scope, name } = &attachment.dataset;
            json!({"scope": scope, "name": name, "dids": files})
        })
        .collect();
    json!({"attachments": attachments, "ignore_duplicate": true})
}

/// Writes that replicas are bad: they are not given out any more.
#[must_use]
pub fn encode_bad(replicas: &[(Did, EndpointName)], reason: &str) -> Value {
    let replicas: Vec<Value> = replicas
        .iter()
        .map(|(did, rse)| json!({"scope": did.scope, "name": did.name, "rse": rse}))
        .collect();
    json!({"replicas": replicas, "reason": reason})
}

/// Writes that replicas may be bad: the server watches them. All URLs must have one scheme.
#[must_use]
pub fn encode_suspicious(pfns: &[String], reason: &str) -> Value {
    json!({"pfns": pfns, "reason": reason})
}

/// Reads which replicas were not declared, and why, by endpoint: it does not know them, or they
/// were declared before.
///
/// # Errors
///
/// [`RucioAnswerError`] if the answer is no such list.
pub fn decode_not_declared(
    bytes: &[u8],
) -> Result<BTreeMap<EndpointName, Vec<String>>, RucioAnswerError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| RucioAnswerError::not_json(bytes))?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    let by_rse = match &value {
        Value::Object(by_rse) => by_rse,
        // Some servers say nothing in this way.
        Value::Array(none) if none.is_empty() => return Ok(BTreeMap::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(RucioAnswerError::not_json(bytes));
        }
    };
    by_rse
        .iter()
        .map(|(rse, list)| {
            let list = list
                .as_array()
                .ok_or_else(|| FieldError::new(rse, Some(list), "a list"))?;
            let list = list.iter().map(|one| text_of(one).into_owned());
            Ok((EndpointName::new(rse), list.collect()))
        })
        .collect()
}
