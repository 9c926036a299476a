//! What the server is told by files: queues, storages, the error catalogue, limits.
//!
//! Queue and storage data are served to pilots as they stand in the files, with every key that
//! Ailurus itself has no use for. Only what Harvester cannot do without is added to queues.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{Queue, QueueName, Timestamp};
use ailurus_server_core::{Context, Limits, Scheduling};
use ailurus_wire::{
    body::BodyError,
    queue_data::{self, QueueDataError},
    storage_data::{self, StorageDataError},
};
use axum::body::Bytes;
use serde_json::{Map, Value, json};

use crate::config::Config;

/// Everything that decisions need besides the rows.
#[derive(Debug)]
pub(crate) struct Knowledge {
    /// Every queue that can be used.
    pub(crate) queues: BTreeMap<QueueName, Queue>,
    /// What is known about errors.
    pub(crate) catalogue: Catalogue,
    /// Limits on jobs, tasks and workers.
    pub(crate) limits: Limits,
    /// Where jobs go and in which order.
    pub(crate) scheduling: Scheduling,
    /// The record of each queue, by its name.
    queue_records: BTreeMap<String, Value>,
    /// All queue records, as served.
    pub(crate) queue_file: Bytes,
    /// All storage records, as served.
    pub(crate) storage_file: Bytes,
    /// Settings of pilots by organisation, as served.
    pub(crate) pilot_settings: Bytes,
}

/// A file that tells the server about its world cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnowledgeError {
    /// It cannot be read.
    #[error("{kind} data `{}` cannot be read: name the file with `{option}`", path.display())]
    Unreadable {
        kind: &'static str,
        option: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The queue data as a whole make no sense.
    #[error("queue data `{}` make no sense", path.display())]
    Queues {
        path: PathBuf,
        #[source]
        source: QueueDataError,
    },
    /// The storage data as a whole make no sense.
    #[error("storage data `{}` make no sense", path.display())]
    Storages {
        path: PathBuf,
        #[source]
        source: StorageDataError,
    },
    /// The file is no JSON object.
    #[error("`{}` is no JSON object", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: BodyError,
    },
}

impl Knowledge {
    /// Reads the files that the configuration names. What is wrong with single queues or storages
    /// is logged, and they are left out.
    pub(crate) fn load(config: &Config) -> Result<Self, KnowledgeError> {
        let queue_bytes = read("queue", "--queues", &config.queues)?;
        let set =
            queue_data::decode_all(&queue_bytes).map_err(|source| KnowledgeError::Queues {
                path: config.queues.clone(),
                source,
            })?;
        for error in &set.broken {
            tracing::warn!(error = %chain(error), "a queue is left out");
        }
        let queue_records = records(&config.queues, &queue_bytes)?;
        let storage_bytes = match &config.storages {
            Some(path) => storages(path)?,
            None => b"{}".to_vec(),
        };
        let pilot_settings = match &config.pilot_settings {
            Some(path) => pilot_settings(path)?,
            None => b"{}".to_vec(),
        };
        Ok(Self {
            pilot_settings: pilot_settings.into(),
            queues: set.queues,
            catalogue: Catalogue::built_in(),
            limits: config.limits.clone(),
            scheduling: config.scheduling.rules.clone(),
            queue_file: Value::from_iter(queue_records.clone()).to_string().into(),
            queue_records,
            storage_file: storage_bytes.into(),
        })
    }

    /// Lists the records of all queues, by name.
    pub(crate) fn queue_records(&self) -> impl Iterator<Item = (&str, &Value)> {
        let records = self.queue_records.iter();
        records.map(|(name, record)| (name.as_str(), record))
    }

    /// Returns what operations are told, with the time of now.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            now: now(),
            queues: &self.queues,
            catalogue: &self.catalogue,
            limits: &self.limits,
            scheduling: &self.scheduling,
        }
    }

    /// Returns the record of one queue.
    pub(crate) fn queue_record(&self, name: &str) -> Option<&Value> {
        self.queue_records.get(name)
    }
}

/// The time of now.
pub(crate) fn now() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

/// The text of an error with those of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

fn read(kind: &'static str, option: &'static str, path: &Path) -> Result<Vec<u8>, KnowledgeError> {
    fs::read(path).map_err(|source| KnowledgeError::Unreadable {
        kind,
        option,
        path: path.to_owned(),
        source,
    })
}

/// Returns the records of all queues by name, also from a file that is one record.
fn records(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Value>, KnowledgeError> {
    let malformed = |source| KnowledgeError::Json {
        path: path.to_owned(),
        source,
    };
    let whole: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| malformed(BodyError::Json(error)))?;
    let name = whole.get("nickname").and_then(Value::as_str);
    let mut records: BTreeMap<String, Value> = match name.map(str::to_owned) {
        Some(name) => BTreeMap::from([(name, json!(whole))]),
        None => whole.into_iter().collect(),
    };
    for (name, record) in &mut records {
        complete(name, record);
    }
    Ok(records)
}

/// Adds what CRIC always has and Harvester passes a queue over without.
///
/// Source: harvester, `pandaharvester/harvestermisc/info_utils.py`.
fn complete(name: &str, record: &mut Value) {
    let Value::Object(record) = record else {
        return;
    };
    for (key, value) in [("panda_resource", name), ("catchall", "")] {
        if record.get(key).is_none_or(Value::is_null) {
            record.insert(key.to_owned(), value.into());
        }
    }
}

/// Reads settings of pilots, which are served as they stand.
fn pilot_settings(path: &Path) -> Result<Vec<u8>, KnowledgeError> {
    let bytes = read("pilot settings", "pilot_settings", path)?;
    match serde_json::from_slice::<Map<String, Value>>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(KnowledgeError::Json {
            path: path.to_owned(),
            source: BodyError::Json(error),
        }),
    }
}

fn storages(path: &Path) -> Result<Vec<u8>, KnowledgeError> {
    let bytes = read("storage", "--storages", path)?;
    let set = storage_data::decode(&bytes).map_err(|source| KnowledgeError::Storages {
        path: path.to_owned(),
        source,
    })?;
    for error in &set.broken {
        tracing::warn!(error = %chain(error), "a storage endpoint is left out");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_the_names_that_harvester_looks_for() {
        let mut record = json!({"corecount": 8, "catchall": null, "panda_resource": "OTHER"});
        complete("Q", &mut record);
        let expected = json!({"corecount": 8, "catchall": "", "panda_resource": "OTHER"});
        assert_eq!(record, expected);
        let mut record = json!({});
        complete("Q", &mut record);
        assert_eq!(record, json!({"catchall": "", "panda_resource": "Q"}));
    }
}
