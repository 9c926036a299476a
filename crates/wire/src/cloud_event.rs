//! `CloudEvents` over HTTP, version 1.0: what Knative and others post to a function.
//!
//! In *binary* mode the attributes are headers that begin with `ce-` and the body is the data; in
//! *structured* mode the body is a JSON object with both. A request that is no event at all, as
//! `OpenFaaS` or a person sends it, has only data.
//!
//! Source: `CloudEvents` specification 1.0.2, "Core", "HTTP protocol binding" and "JSON event
//! format".

use serde_json::{Map, Value, json};

use crate::{
    body::{self, BodyError, JSON_TYPE},
    fields::FieldError,
};

/// The media type of a structured event.
pub const STRUCTURED_TYPE: &str = "application/cloudevents+json";
/// The media type of several events in one message.
const BATCH_TYPE: &str = "application/cloudevents-batch+json";
/// The version that is written, and the major version that is read.
const VERSION: &str = "1.0";
/// How attributes begin as headers.
const HEADER_PREFIX: &str = "ce-";
/// The longest attribute that is taken, in bytes.
const ATTRIBUTE_MAX: usize = 4096;

/// How an event is laid out in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventMode {
    /// Attributes in headers, data in the body.
    Binary,
    /// All in the body.
    Structured,
}

/// What tells one event from all others, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventAttributes {
    /// Unique for its source.
    pub id: String,
    /// Who sends it, a URI reference.
    pub source: String,
    /// What kind of event it is (`type`).
    pub kind: String,
    /// What it is about within its source, if told.
    pub subject: Option<String>,
}

/// One posted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The event's attributes, none for a message that is no event.
    pub event: Option<(EventMode, EventAttributes)>,
    /// The data.
    pub data: Vec<u8>,
}

/// A message cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It holds several events.
    #[error("the message is a batch of events: send them one by one")]
    Batch,
    /// A structured event is not JSON.
    #[error("the event cannot be read")]
    Body(#[from] BodyError),
    /// An attribute is missing or makes no sense.
    #[error("the event makes no sense")]
    Attribute(#[from] FieldError),
}

/// Reads a message. `header` finds a header by its name in lower case.
///
/// # Errors
///
/// [`EventError`].
pub fn decode<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
) -> Result<Posted, EventError> {
    let kind = header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(BATCH_TYPE) {
        return Err(EventError::Batch);
    }
    if kind.eq_ignore_ascii_case(STRUCTURED_TYPE) {
        return structured(body);
    }
    let attribute = |name: &str| {
        header(&format!("{HEADER_PREFIX}{name}")).map(|text| Value::from(unescaped(text)))
    };
    let event = match attribute("specversion") {
        None => None,
        Some(_) => Some((EventMode::Binary, attributes(attribute)?)),
    };
    Ok(Posted {
        event,
        data: body.to_vec(),
    })
}

fn structured(body: &[u8]) -> Result<Posted, EventError> {
    let fields = body::decode_json(body)?;
    let event = attributes(|name| fields.get(name).cloned())?;
    let data = match (fields.get("data"), fields.get("data_base64")) {
        // Data that are text may be JSON that was quoted once more.
        (Some(Value::String(text)), _) => text.clone().into_bytes(),
        (Some(value), _) => body::encode_value(value),
        (None, Some(Value::String(text))) => {
            decode_base64(text).ok_or_else(|| FieldError::of_text("data_base64", text, "Base64"))?
        }
        (None, Some(value)) => {
            return Err(FieldError::new("data_base64", Some(value), "Base64").into());
        }
        (None, None) => Vec::new(),
    };
    Ok(Posted {
        event: Some((EventMode::Structured, event)),
        data,
    })
}

fn attributes(find: impl Fn(&str) -> Option<Value>) -> Result<EventAttributes, FieldError> {
    let required = |name: &str| match find(name) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= ATTRIBUTE_MAX => Ok(text),
        other => {
            let allowed = format!("a text of 1 to {ATTRIBUTE_MAX} bytes");
            Err(FieldError::new(name, other.as_ref(), allowed))
        }
    };
    let version = required("specversion")?;
    if !version.starts_with("1.") {
        return Err(FieldError::of_text("specversion", &version, VERSION));
    }
    Ok(EventAttributes {
        id: required("id")?,
        source: required("source")?,
        kind: required("type")?,
        subject: required("subject").ok(),
    })
}

/// Writes an event with JSON data. Returns headers, with the content type, and body.
#[must_use]
pub fn encode(
    mode: EventMode,
    event: &EventAttributes,
    data: &Value,
) -> (Vec<(String, String)>, Vec<u8>) {
    let attributes = [
        ("specversion", Some(VERSION)),
        ("id", Some(event.id.as_str())),
        ("source", Some(&event.source)),
        ("type", Some(&event.kind)),
        ("subject", event.subject.as_deref()),
    ];
    let attributes = attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let content_type = |kind: &str| ("content-type".to_owned(), kind.to_owned());
    match mode {
        EventMode::Binary => {
            let headers =
                attributes.map(|(name, value)| (format!("{HEADER_PREFIX}{name}"), escaped(value)));
            let headers = headers.chain([content_type(JSON_TYPE)]).collect();
            (headers, body::encode_value(data))
        }
        EventMode::Structured => {
            let mut members: Map<String, Value> = attributes
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            members.insert("datacontenttype".into(), json!(JSON_TYPE));
            members.insert("data".into(), data.clone());
            (
                vec![content_type(STRUCTURED_TYPE)],
                body::encode_value(&members),
            )
        }
    }
}

/// Takes the percent encoding out of a header's value; what is none stays.
fn unescaped(text: &str) -> String {
    let bytes = text.trim_matches('"').as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let digits = bytes.get(index + 1..index + 3);
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|_| *byte == b'%') {
            Some(code) => {
                plain.push(code);
                index += 3;
            }
            None => {
                plain.push(*byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Makes a text fit for a header's value.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b'"' | b' ' | ..=0x20 | 0x7F.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// Reads Base64 with or without padding, none if a character is another.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = (bits << 6) | base64_digit(*byte)?;
        }
        let n_bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let aligned = bits << (6 * (4 - group.len()));
        out.extend_from_slice(&aligned.to_be_bytes()[1..=n_bytes]);
    }
    Some(out)
}

const fn base64_digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(headers: &[(&str, &str)], body: &str) -> Result<Posted, EventError> {
        let headers: BTreeMap<&str, &str> = headers.iter().copied().collect();
        decode(|name| headers.get(name).copied(), body.as_bytes())
    }

    const BINARY: [(&str, &str); 5] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a%20b%22"),
        ("ce-source", "/x"),
        ("ce-type", "t"),
        ("content-type", "application/json; charset=utf-8"),
    ];

    #[test]
    fn a_binary_event_has_its_attributes_in_headers() {
        let posted = read(&BINARY, "{}").expect("an event");
        let (mode, event) = posted.event.expect("an event");
        assert_eq!((mode, event.id.as_str()), (EventMode::Binary, "a b\""));
        assert_eq!((event.subject, posted.data), (None, b"{}".to_vec()));
    }

    #[test]
    fn a_structured_event_has_data_as_json_text_or_base64() {
        let head = r#""specversion": "1.0", "id": "1", "source": "s", "type": "t""#;
        let kind = [(
            "content-type",
            "Application/CloudEvents+json; charset=utf-8",
        )];
        for (data, expected) in [
            (r#", "data": {"a": 1}"#, &b"{\"a\":1}"[..]),
            (r#", "data": "x=1""#, b"x=1"),
            (r#", "data_base64": "eD0x""#, b"x=1"),
            (r#", "data_base64": "eD0xMg==""#, b"x=12"),
            ("", b""),
        ] {
            let posted = read(&kind, &format!("{{{head}{data}}}")).expect(data);
            assert_eq!(posted.data, expected, "{data}");
            assert!(matches!(posted.event, Some((EventMode::Structured, _))));
        }
    }

    #[test]
    fn a_message_without_attributes_is_plain_data() {
        let posted = read(&[("content-type", "application/json")], "{}").expect("data");
        assert_eq!(posted.event, None);
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_attribute() {
        let refusal = |headers: &[(&str, &str)], body: &str| match read(headers, body) {
            Err(EventError::Attribute(error)) => error.field,
            other => format!("{other:?}"),
        };
        assert_eq!(refusal(&BINARY[..2], ""), "source");
        assert_eq!(refusal(&[("ce-specversion", "0.3")], ""), "specversion");
        let kind = [("content-type", STRUCTURED_TYPE)];
        assert_eq!(refusal(&kind, r#"{"specversion": "1.0", "id": 7}"#), "id");
        assert!(matches!(read(&kind, "{"), Err(EventError::Body(_))));
        let batch = [("content-type", BATCH_TYPE)];
        assert!(matches!(read(&batch, "[]"), Err(EventError::Batch)));
        let bad = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"a"}"#;
        assert_eq!(refusal(&kind, bad), "data_base64");
    }

    #[test]
    fn what_is_written_is_read_again_in_both_modes() {
        let event = EventAttributes {
            id: "a b%\"\u{e9}".into(),
            source: "/ailurus-pilot/n1".into(),
            kind: "t".into(),
            subject: Some("12".into()),
        };
        for mode in [EventMode::Binary, EventMode::Structured] {
            let (headers, body) = encode(mode, &event, &json!({"a": 1}));
            let find = |name: &str| {
                let found = headers.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str())
            };
            let posted = decode(find, &body).expect("own words");
            assert_eq!(posted.event, Some((mode, event.clone())));
            assert_eq!(posted.data, b"{\"a\":1}");
        }
    }
}
