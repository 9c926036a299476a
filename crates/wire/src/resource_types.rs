//! PanDA's classes of cores and memory: legacy `getResourceTypes` and v1
//! `metaconfig/get_resource_types`.
//!
//! Source: Pilot 3, `pilot/util/https.py`, `get_memory_limits`; PanDA server,
//! `pandaserver/api/v1/metaconfig_api.py`.

use std::collections::BTreeMap;

use ailurus_model::ByteCount;
use serde_json::Value;

use crate::{
    answer::{Answer, AnswerError},
    fields::{FieldError, Fields},
    python_literal,
    table::Dialect,
};

/// The field of legacy answers, also within itself.
const TYPES: &str = "ResourceTypes";

/// One class. None means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceType {
    /// Fewest cores.
    pub cores_min: u32,
    /// Most cores.
    pub cores_max: Option<u32>,
    /// Least memory of a core.
    pub core_memory_min: ByteCount,
    /// Most memory of a core.
    pub core_memory_max: Option<ByteCount>,
}

/// Returns the path of the call, below the server's address: POST without fields in the legacy
/// dialect, GET in v1.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/getResourceTypes",
        Dialect::V1 => "/api/v1/metaconfig/get_resource_types",
    }
}

/// Reads the classes by name. What has no name is passed over.
///
/// # Errors
///
/// [`AnswerError`] if the server refused, or its answer has no list.
pub fn decode_answer(
    dialect: Dialect,
    bytes: &[u8],
) -> Result<BTreeMap<String, ResourceType>, AnswerError> {
    let data = Answer::parse(dialect, bytes)?.into_data()?;
    let list = list_in(&data).ok_or_else(|| FieldError::new(TYPES, Some(&data), "a list"))?;
    Ok(list
        .into_iter()
        .filter_map(|entry| Fields::from_value(entry).ok())
        .map(|entry| (entry.text("resource_name"), resource_type(&entry)))
        .filter(|(name, _)| !name.is_empty())
        .collect())
}

/// Finds the list: the data itself, a field, a field within it, or text with any of these.
fn list_in(data: &Value) -> Option<Vec<Value>> {
    let mut found = data.clone();
    // Text in an object in an object is the deepest that servers send.
    for _ in 0..4 {
        found = match found {
            Value::Array(list) => return Some(list),
            Value::Object(mut members) => members.remove(TYPES)?,
            Value::String(text) => python_literal::parse(&text)?,
            Value::Null | Value::Bool(_) | Value::Number(_) => return None,
        };
    }
    None
}

fn resource_type(entry: &Fields) -> ResourceType {
    let memory = |name| entry.whole_if_any(name).map(ByteCount::from_mib);
    ResourceType {
        cores_min: entry.whole_if_any("mincore").unwrap_or(0),
        cores_max: entry.whole_if_any("maxcore").filter(|cores| *cores > 0),
        core_memory_min: memory("minrampercore").unwrap_or_default(),
        core_memory_max: memory("maxrampercore").filter(|memory| *memory > ByteCount::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_in_all_forms() {
        let list = "[{'resource_name': 'SCORE', 'mincore': 1, 'maxcore': 1, \
            'minrampercore': None, 'maxrampercore': 2000}]";
        let json = list.replace('\'', "\"").replace("None", "null");
        for (dialect, text) in [
            (
                Dialect::V1,
                format!(r#"{{"success": true, "message": "", "data": {json}}}"#),
            ),
            (
                Dialect::Legacy,
                format!(r#"{{"StatusCode": 0, "ResourceTypes": "{list}"}}"#),
            ),
            (
                Dialect::Legacy,
                format!(r#"{{"StatusCode": 0, "ResourceTypes": {{"ResourceTypes": {json}}}}}"#),
            ),
            (
                Dialect::Legacy,
                format!(
                    "StatusCode=0&ResourceTypes={}",
                    list.replace(' ', "+").replace('\'', "%27")
                ),
            ),
        ] {
            let types = decode_answer(dialect, text.as_bytes()).expect(&text);
            let score = types["SCORE"];
            assert_eq!((score.cores_min, score.cores_max), (1, Some(1)));
            assert_eq!(score.core_memory_max, Some(ByteCount::from_mib(2000)));
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["StatusCode=0", "StatusCode=0&ResourceTypes=x", "<html>", ""] {
            assert!(
                decode_answer(Dialect::Legacy, text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
