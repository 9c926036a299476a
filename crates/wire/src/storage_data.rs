//! Storage data (CRIC's `ddmendpoints.json`) and [`StorageEndpoint`].
//!
//! Source: Pilot 3, `pilot/info/storagedata.py`, `StorageData`.

use std::collections::BTreeMap;

use ailurus_model::{
    Blame, EndpointName, ErrorCode, Retry, StorageEndpoint, StorageKeys, StorageOptions,
    StorageProtocol, queue::Activity,
};
use serde_json::{Map, Value, json};

use crate::{
    body::{self, BodyError},
    fields::{FieldError, Fields, is_missing, text_of, whole_of},
};

/// Storage data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageDataError {
    /// They cannot be read at all.
    #[error("storage data cannot be read")]
    Body(#[from] BodyError),
    /// The information system answered with an error instead of data.
    #[error("information system answered `{message}` instead of storage data")]
    Refused {
        /// Its words.
        message: String,
    },
    /// A value makes no sense.
    #[error("data of storage endpoint `{name}` make no sense")]
    Field {
        /// The endpoint.
        name: EndpointName,
        /// What is wrong.
        #[source]
        source: FieldError,
    },
}

impl StorageDataError {
    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Body(_) | Self::Refused { .. } => ErrorCode::NoStorage,
            Self::Field { .. } => ErrorCode::NoStorageProtocol,
        }
    }

    /// Says whether asking again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Body(_) | Self::Refused { .. } => Retry::Later,
            Self::Field { .. } => Retry::Never,
        }
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Body(_) => Blame::Network,
            Self::Refused { .. } => Blame::Server,
            Self::Field { .. } => Blame::Storage,
        }
    }
}

/// All endpoints of one file: those that can be used, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct StorageSet {
    /// Endpoints by name.
    pub endpoints: BTreeMap<EndpointName, StorageEndpoint>,
    /// One error for each endpoint that cannot be used.
    pub broken: Vec<StorageDataError>,
}

/// Reads a file of endpoints, an object keyed by their names.
///
/// # Errors
///
/// [`StorageDataError`] if the file as a whole cannot be read.
pub fn decode(bytes: &[u8]) -> Result<StorageSet, StorageDataError> {
    let fields = body::decode_json(bytes)?;
    let mut set = StorageSet::default();
    for (key, value) in fields.iter() {
        if key == "error" && !value.is_object() {
            if is_missing(value) {
                continue;
            }
            return Err(StorageDataError::Refused {
                message: text_of(value).into_owned(),
            });
        }
        match decode_endpoint(key, value) {
            Ok(endpoint) => {
                set.endpoints.insert(endpoint.name.clone(), endpoint);
            }
            Err(source) => set.broken.push(StorageDataError::Field {
                name: EndpointName::new(key),
                source,
            }),
        }
    }
    Ok(set)
}

fn decode_endpoint(key: &str, value: &Value) -> Result<StorageEndpoint, FieldError> {
    let fields = Fields::from_value(value.clone())
        .map_err(|value| FieldError::new(key, Some(&value), "an object"))?;
    let mut protocols = BTreeMap::new();
    match fields.get("arprotocols") {
        None => {}
        Some(Value::Object(activities)) => {
            for (activity, list) in activities {
                protocols.insert(activity.clone(), protocols_of(activity, list)?);
            }
        }
        Some(other) => return Err(FieldError::new("arprotocols", Some(other), "an object")),
    }
    Ok(StorageEndpoint {
        name: EndpointName::new(key),
        site: fields.text("site"),
        kind: fields.text("type"),
        state: fields.text("state"),
        is_deterministic: fields.flag("is_deterministic").unwrap_or(false),
        protocols,
        options: options_of(&fields),
    })
}

/// The rarer parts: what makes no sense there counts as not stated.
fn options_of(fields: &Fields) -> StorageOptions {
    let resource = fields.get("resource").and_then(|it| it.get("bucket_id"));
    StorageOptions {
        id: fields.whole_if_any("id"),
        token: fields.text("token"),
        is_tape: fields.flag("is_tape").unwrap_or(false),
        bucket: resource.map(text_of).unwrap_or_default().into_owned(),
        keys: keys_of(fields),
    }
}

/// The names of keys, by the number of the protocol. All three settings must be there.
fn keys_of(fields: &Fields) -> BTreeMap<u64, StorageKeys> {
    let Some(Value::Object(protocols)) = fields.get("rprotocols") else {
        return BTreeMap::new();
    };
    let keys = |(id, value): (&String, &Value)| {
        let settings = value.get("settings")?.as_object()?;
        let settings = Fields::from_value(Value::Object(settings.clone())).ok()?;
        let keys = StorageKeys {
            access: settings.text("access_key"),
            secret: settings.text("secret_key"),
            is_secure: settings.flag("is_secure")?,
        };
        let are_named = !keys.access.is_empty() && !keys.secret.is_empty();
        Some((id.parse().ok()?, keys)).filter(|_| are_named)
    };
    protocols.iter().filter_map(keys).collect()
}

fn protocols_of(activity: &str, list: &Value) -> Result<Vec<StorageProtocol>, FieldError> {
    let field = || format!("arprotocols.{activity}");
    let items = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(FieldError::new(&field(), Some(list), "a list of protocols"));
        }
    };
    items
        .iter()
        .map(|item| {
            let part = |key: &str| item.get(key).and_then(Value::as_str);
            match (part("endpoint"), part("path")) {
                (Some(endpoint), path) if !endpoint.is_empty() => Ok(StorageProtocol {
                    endpoint: endpoint.to_owned(),
                    path: path.unwrap_or_default().to_owned(),
                    id: item
                        .get("id")
                        .and_then(whole_of)
                        .and_then(|id| id.try_into().ok()),
                }),
                _ => Err(FieldError::new(
                    &field(),
                    Some(item),
                    "an object with `endpoint` and `path`",
                )),
            }
        })
        .collect()
}

/// Writes the endpoints as an object keyed by their names. Ids count from 1 in the order given.
#[must_use]
pub fn encode<'a>(endpoints: impl IntoIterator<Item = &'a StorageEndpoint>) -> Value {
    let members: Map<String, Value> = endpoints
        .into_iter()
        .zip(1_u64..)
        .map(|(endpoint, id)| (endpoint.name.to_string(), encode_endpoint(endpoint, id)))
        .collect();
    Value::Object(members)
}

fn encode_endpoint(endpoint: &StorageEndpoint, id: u64) -> Value {
    let protocols: BTreeMap<&Activity, Vec<Value>> = endpoint
        .protocols
        .iter()
        .map(|(activity, list)| (activity, list.iter().map(encode_protocol).collect()))
        .collect();
    let options = &endpoint.options;
    let keys: BTreeMap<String, Value> = options.keys.iter().map(encode_keys).collect();
    let mut object = json!({
        "name": endpoint.name,
        "id": options.id.unwrap_or(id),
        "site": endpoint.site,
        "type": endpoint.kind,
        "state": endpoint.state,
        "is_deterministic": endpoint.is_deterministic,
        "arprotocols": protocols,
        "rprotocols": keys,
    });
    if !options.token.is_empty() {
        object["token"] = options.token.as_str().into();
    }
    if options.is_tape {
        object["is_tape"] = true.into();
    }
    if !options.bucket.is_empty() {
        object["resource"] = json!({"bucket_id": options.bucket});
    }
    object
}

fn encode_protocol(protocol: &StorageProtocol) -> Value {
    let mut object = json!({"endpoint": protocol.endpoint, "path": protocol.path});
    if let Some(id) = protocol.id {
        object["id"] = id.into();
    }
    object
}

fn encode_keys((id, keys): (&u64, &StorageKeys)) -> (String, Value) {
    let settings = json!({
        "access_key": keys.access, "secret_key": keys.secret, "is_secure": keys.is_secure,
    });
    (id.to_string(), json!({"settings": settings}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_buckets_and_tape_are_read_and_written() {
        let text = br#"{"OS": {"id": "12", "type": "OS_ES", "token": "T", "is_tape": "true",
            "resource": {"bucket_id": 3}, "arprotocols": {"w": [{"endpoint": "s3://h/", "path": "/b",
            "id": 175, "flavour": "AWS-S3-SSL"}]},
            "rprotocols": {"175": {"settings": {"access_key": "a", "secret_key": "s",
            "is_secure": true}}, "176": {"settings": {"access_key": "a"}}, "x": 7}}}"#;
        let set = decode(text).expect("storage data");
        let endpoint = &set.endpoints[&EndpointName::new("OS")];
        let options = &endpoint.options;
        assert!(endpoint.is_object_store() && options.is_tape);
        assert_eq!((options.id, options.bucket.as_str()), (Some(12), "3"));
        assert_eq!(endpoint.protocols["w"][0].id, Some(175));
        assert_eq!(options.keys.keys().copied().collect::<Vec<_>>(), [175]);
        let again = decode(&body::encode_value(&encode([endpoint]))).expect("storage data");
        assert_eq!(&again.endpoints[&EndpointName::new("OS")], endpoint);
    }
}
