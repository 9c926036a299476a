//! One decoded message body, and PanDA's rules for reading typed values from it.
//!
//! Legacy bodies carry text for everything, v1 bodies typed JSON, queue data whatever CRIC has:
//! all become [`Fields`], and the rules here take both text and typed values. Nothing here knows
//! the name of a field.
//!
//! Source of the rules: Pilot 3, `pilot/info/basedata.py`, `clean_numeric` and its siblings.

use std::borrow::Cow;

use ailurus_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest part of a refused value that an error repeats, in characters.
const VALUE_SHOWN_MAX: usize = 120;

/// The mark that Harvester puts before a time.
const HARVESTER_TIME_MARK: &str = "datetime/";

/// A field of a message is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` is `{value}`: it must be {allowed}")]
pub struct FieldError {
    /// The name of the field on the wire, with its place where it lies inside another one.
    pub field: String,
    /// The value as it came, cut to a readable length; `nothing` where it is missing.
    pub value: String,
    /// What would have been right, as the end of a sentence.
    pub allowed: String,
}

impl FieldError {
    /// Makes the error from a value, none where the field is missing.
    #[must_use]
    pub fn new(field: &str, value: Option<&Value>, allowed: impl Into<String>) -> Self {
        let shown = value.map_or(Cow::Borrowed("nothing"), text_of);
        Self::of_text(field, &shown, allowed)
    }

    /// Makes the error from a value that is text already.
    #[must_use]
    pub fn of_text(field: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            value: first_chars(value, VALUE_SHOWN_MAX).to_owned(),
            allowed: allowed.into(),
        }
    }
}

/// The members of one message body by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Makes a message without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a field as it came; text that stands for nothing counts as missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !is_missing(value))
    }

    /// Says whether the field is in the message, be it empty or `NULL`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a field.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets a field unless the message has it already: of repeated form fields the first counts.
    pub fn put_first(&mut self, name: &str, value: impl Into<Value>) {
        if !self.0.contains_key(name) {
            self.put(name, value);
        }
    }

    /// Returns all fields by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the text of a field, empty if it is missing.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.get(name).map(text_of).unwrap_or_default().into_owned()
    }

    /// Returns a whole number, none if the field is missing.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the value is no number or does not fit.
    pub fn whole<T: TryFrom<i128>>(&self, name: &str) -> Result<Option<T>, FieldError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        whole_of(value)
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| FieldError::new(name, Some(value), "a whole number in range"))
    }

    /// Returns a whole number, none if the field is missing or is no number that fits.
    #[must_use]
    pub fn whole_if_any<T: TryFrom<i128>>(&self, name: &str) -> Option<T> {
        self.get(name)
            .and_then(whole_of)
            .and_then(|number| T::try_from(number).ok())
    }

    /// Returns a switch, none if the field is missing or is no switch.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(flag_of)
    }

    /// Returns the members as a JSON object.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Takes a JSON object.
    ///
    /// # Errors
    ///
    /// The value as it was, if it is no object.
    pub fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(value),
        }
    }
}

/// Says whether a value stands for nothing: null, or text such as `NULL` and `None`.
#[must_use]
pub fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => is_missing_text(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Says whether a text stands for nothing: empty, `NULL` or `None` in any case.
#[must_use]
pub fn is_missing_text(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case("null") || text.eq_ignore_ascii_case("none")
}

/// Returns a value as PanDA's forms write it: switches and nothing in Python's words.
#[must_use]
pub fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed("None"),
        Value::Bool(true) => Cow::Borrowed("True"),
        Value::Bool(false) => Cow::Borrowed("False"),
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => Cow::Owned(value.to_string()),
    }
}

/// Returns the value itself, or, if it is text, the JSON in it.
///
/// # Errors
///
/// Those of the parser.
pub fn json_of(value: &Value) -> Result<Value, serde_json::Error> {
    match value.as_str() {
        Some(text) => serde_json::from_str(text),
        None => Ok(value.clone()),
    }
}

/// Reads a whole number from a number or a text; a fraction is cut off.
#[must_use]
pub fn whole_of(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().and_then(floor)),
        Value::String(text) => whole_of_text(text),
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a whole number from text; a fraction is cut off.
#[must_use]
pub fn whole_of_text(text: &str) -> Option<i128> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().and_then(floor))
}

/// Reads a number from a number or a text.
#[must_use]
pub fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| number.is_finite())
}

/// Reads a switch: true and false, also as `yes`, `no`, `1`, `0` in any case.
#[must_use]
pub fn flag_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().and_then(|number| match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" | "" | "none" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a time: PanDA's text, Harvester's `datetime/` text, or seconds since 1970.
#[must_use]
pub fn time_of(value: &Value) -> Option<Timestamp> {
    if let Some(seconds) = number_of(value) {
        let millis = floor(seconds * 1000.0).and_then(|millis| i64::try_from(millis).ok())?;
        return Some(Timestamp::from_millis(millis));
    }
    let text = value.as_str()?.trim();
    let text = text.strip_prefix(HARVESTER_TIME_MARK).unwrap_or(text);
    Timestamp::from_panda_text(text).ok()
}

/// Writes a time as Harvester does: `datetime/2026-01-31 23:59:59.123000`.
#[must_use]
pub fn harvester_time(time: Timestamp) -> String {
    let millis = time.as_millis().rem_euclid(1000);
    format!(
        "{HARVESTER_TIME_MARK}{}.{millis:03}000",
        time.to_panda_text()
    )
}

/// Returns the first `limit` characters.
#[must_use]
pub fn first_chars(text: &str, limit: usize) -> &str {
    text.char_indices()
        .nth(limit)
        .map_or(text, |(end, _)| &text[..end])
}

/// Returns the last `limit` characters.
#[must_use]
pub fn last_chars(text: &str, limit: usize) -> &str {
    let Some(before_first) = limit.checked_sub(1) else {
        return "";
    };
    text.char_indices()
        .nth_back(before_first)
        .map_or(text, |(start, _)| &text[start..])
}

/// Cuts off a fraction; none for what is no number.
fn floor(number: f64) -> Option<i128> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates, and the caller checks the range"
    )]
    let whole = number.floor() as i128;
    number.is_finite().then_some(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_from_text_and_from_numbers() {
        for value in [
            json!(24105),
            json!(24105.56),
            json!(" 24105 "),
            json!("24105.9"),
        ] {
            assert_eq!(whole_of(&value), Some(24105), "{value}");
        }
        for value in [json!("many"), json!(null), json!([1]), json!("nan")] {
            assert_eq!(whole_of(&value), None, "{value}");
        }
    }

    #[test]
    fn null_and_none_in_any_case_are_missing() {
        for text in ["", "NULL", "null", "None", " none "] {
            assert!(is_missing(&json!(text)), "{text}");
        }
        assert!(!is_missing(&json!("nullable")));
    }

    #[test]
    fn times_come_in_three_forms() {
        let expected = Some(Timestamp::from_millis(1_795_376_921_000));
        for value in [
            json!("2026-11-22 19:48:41"),
            json!("datetime/2026-11-22 19:48:41.000000"),
            json!(1_795_376_921.0),
            json!("1795376921"),
        ] {
            assert_eq!(time_of(&value), expected, "{value}");
        }
        assert_eq!(time_of(&json!("soon")), None);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(first_chars("äöü", 2), "äö");
        assert_eq!(last_chars("äöü", 2), "öü");
        assert_eq!(last_chars("äöü", 0), "");
        assert_eq!(last_chars("ä", 5), "ä");
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        let mut fields = Fields::new();
        fields.put("coreCount", "many");
        let error = fields.whole::<u32>("coreCount").expect_err("no number");
        assert_eq!(
            error.to_string(),
            "field `coreCount` is `many`: it must be a whole number in range"
        );
    }
}
