//! Bytes of a request or an answer to [`Fields`] and back: gzip, JSON, forms and query strings.
//!
//! Compression is told by the first bytes, because Pilot 3 compresses its legacy requests without
//! saying so. Which fields there are is the business of the calls' modules.
//!
//! Source: Pilot 3, `pilot/util/https.py`, `request2`; PanDA server, `pandaserver/server/panda.py`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{Read, Write},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::Serialize;
use serde_json::Value;

use crate::fields::{Fields, text_of};

/// The largest body that is read, in bytes, after decompression. Updates carry a job report of a
/// few MB at most; queue data of all of CRIC have about 10 MB.
pub const BODY_MAX: usize = 64 * 1024 * 1024;

/// The media type of JSON bodies.
pub const JSON_TYPE: &str = "application/json";

/// The media type of form bodies.
pub const FORM_TYPE: &str = "application/x-www-form-urlencoded";

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// A body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is marked as compressed, but broken.
    #[error("body is not valid gzip")]
    Compressed(#[source] std::io::Error),
    /// It is larger than [`BODY_MAX`], perhaps only after decompression.
    #[error("body is larger than {BODY_MAX} bytes: send less at a time")]
    TooLarge,
    /// It is not JSON.
    #[error("body is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is JSON, but no object.
    #[error("body is JSON but not an object")]
    NotAnObject,
}

/// Returns the bytes decompressed, or as they are if they are not gzip.
///
/// # Errors
///
/// [`BodyError::Compressed`] and [`BodyError::TooLarge`].
pub fn decompress(bytes: &[u8]) -> Result<Cow<'_, [u8]>, BodyError> {
    let plain = if bytes.starts_with(&GZIP_MAGIC) {
        let limit = u64::try_from(BODY_MAX).unwrap_or(u64::MAX);
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes)
            .take(limit.saturating_add(1))
            .read_to_end(&mut plain)
            .map_err(BodyError::Compressed)?;
        Cow::Owned(plain)
    } else {
        Cow::Borrowed(bytes)
    };
    if plain.len() > BODY_MAX {
        return Err(BodyError::TooLarge);
    }
    Ok(plain)
}

/// Returns the bytes as gzip.
#[must_use]
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder
        .write_all(bytes)
        .expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// Reads any JSON value, compressed or not.
///
/// # Errors
///
/// [`BodyError`].
pub fn decode_value(bytes: &[u8]) -> Result<Value, BodyError> {
    serde_json::from_slice(&decompress(bytes)?).map_err(BodyError::Json)
}

/// Reads a JSON object, compressed or not.
///
/// # Errors
///
/// [`BodyError`].
pub fn decode_json(bytes: &[u8]) -> Result<Fields, BodyError> {
    Fields::from_value(decode_value(bytes)?).map_err(|_| BodyError::NotAnObject)
}

/// Reads a form or a query string. All values are text; of repeated fields the first counts.
/// Bytes that are not UTF-8 are replaced.
#[must_use]
pub fn decode_form(bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        fields.put_first(&name, value.into_owned());
    }
    fields
}

/// Reads the query string of a v1 request, where a repeated name makes a list.
#[must_use]
pub fn decode_query(query: &str) -> Fields {
    let mut lists: BTreeMap<Cow<'_, str>, Vec<Value>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        lists
            .entry(name)
            .or_default()
            .push(Value::from(value.into_owned()));
    }
    let mut fields = Fields::new();
    for (name, mut values) in lists {
        match (values.len(), values.pop()) {
            (1, Some(only)) => fields.put(&name, only),
            (_, last) => {
                values.extend(last);
                fields.put(&name, values);
            }
        }
    }
    fields
}

/// Writes a query string, where a list becomes a repeated name.
#[must_use]
pub fn encode_query(fields: &Fields) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter() {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => std::slice::from_ref(value),
        };
        for item in items {
            query.append_pair(name, &text_of(item));
        }
    }
    query.finish()
}

/// Reads a request's body by its `Content-Type`: JSON, else a form.
///
/// # Errors
///
/// [`BodyError`].
pub fn decode_request(content_type: Option<&str>, bytes: &[u8]) -> Result<Fields, BodyError> {
    if content_type.is_some_and(is_json_type) {
        return decode_json(bytes);
    }
    Ok(decode_form(&decompress(bytes)?))
}

/// Says whether a `Content-Type` or `Accept` header speaks of JSON.
#[must_use]
pub fn is_json_type(header: &str) -> bool {
    header.contains(JSON_TYPE) || header.trim() == "json"
}

/// Writes the fields as a JSON object.
#[must_use]
pub fn encode_json(fields: &Fields) -> Vec<u8> {
    encode_value(fields)
}

/// Writes what is made of text, numbers, lists and maps with text keys as JSON.
#[must_use]
pub(crate) fn encode_value(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("such values can always be written")
}

/// Writes the fields as a form. Nothing becomes `None`, switches `True` and `False`, lists and
/// objects JSON text.
#[must_use]
pub fn encode_form(fields: &Fields) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter() {
        form.append_pair(name, &text_of(value));
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn compressed_json_is_read_without_being_announced() {
        let fields = decode_request(Some(JSON_TYPE), &compress(br#"{"a": 1}"#)).expect("JSON");
        assert_eq!(fields.get("a"), Some(&json!(1)));
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = compress(&vec![b' '; BODY_MAX + 1]);
        assert!(bomb.len() < BODY_MAX / 10);
        assert!(matches!(decompress(&bomb), Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let whole = compress(br#"{"a": 1}"#);
        assert!(matches!(
            decode_json(&whole[..whole.len() / 2]),
            Err(BodyError::Compressed(_))
        ));
    }

    #[test]
    fn of_repeated_form_fields_the_first_counts() {
        let fields = decode_form(b"state=running&node=a+b%2Fc&state=failed&empty=");
        assert_eq!(fields.text("state"), "running");
        assert_eq!(fields.text("node"), "a b/c");
        assert!(fields.has("empty") && fields.get("empty").is_none());
    }

    #[test]
    fn forms_write_nothing_and_switches_in_pythons_words() {
        let mut fields = Fields::new();
        fields.put("a", Value::Null);
        fields.put("b", true);
        fields.put("c", json!([1, "x y"]));
        assert_eq!(encode_form(&fields), "a=None&b=True&c=%5B1%2C%22x+y%22%5D");
    }
}
