//! The parameters of a task as a client sends them: a map of about two hundred known keys.
//!
//! The main type is [`TaskParams`]. It keeps the whole map, for clients read it back, and reads
//! single values with their type; what the values mean together is told by [`crate::refine()`].
//! Python clients write numbers as text, flags as `0` and `1`, and `null` for what they leave out:
//! all that is understood.
//!
//! Source: PanDA server, `pandajedi/jedirefine/TaskRefinerBase.py`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest number that a parameter may hold; sums of several such numbers still fit.
const NUMBER_MAX: i64 = 1_000_000_000_000_000;
/// Most characters of a wrong value that are shown.
const SHOWN_CHARS: usize = 60;

/// What is wrong with a task's parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// The parameters are no JSON object.
    #[error("task parameters are {found}: send a JSON object")]
    NotAnObject {
        /// What they are instead.
        found: String,
    },
    /// A parameter that every task needs is absent.
    #[error("task parameter `{key}` is missing: give {allowed}")]
    Missing {
        /// The parameter, with the place in the map (`jobParameters[2].value`).
        key: String,
        /// What may be given.
        allowed: &'static str,
    },
    /// A parameter has a value that it cannot have.
    #[error("task parameter `{key}` is `{value}`: it must be {allowed}")]
    Invalid {
        /// The parameter, with the place in the map.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What may be given.
        allowed: &'static str,
    },
    /// A parameter asks for what is not done here.
    #[error("task parameter `{key}` is not supported: {advice}")]
    Unsupported {
        /// The parameter, with the place in the map.
        key: String,
        /// What to do instead.
        advice: &'static str,
    },
}

/// The parameters of a task, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskParams {
    map: Map<String, Value>,
}

impl TaskParams {
    /// Reads parameters from JSON text.
    ///
    /// # Errors
    ///
    /// [`ParamError::NotAnObject`] if the text is no JSON object.
    pub fn from_text(text: &str) -> Result<Self, ParamError> {
        match serde_json::from_str(text) {
            Ok(value) => Self::from_value(value),
            Err(error) => Err(ParamError::NotAnObject {
                found: format!("no JSON ({error})"),
            }),
        }
    }

    /// Takes parameters that are JSON already; a text is read once more, as old clients send it.
    ///
    /// # Errors
    ///
    /// [`ParamError::NotAnObject`] if the value is no object.
    pub fn from_value(value: Value) -> Result<Self, ParamError> {
        let found = match value {
            Value::Object(map) => return Ok(Self { map }),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(map)) => return Ok(Self { map }),
                Ok(_) | Err(_) => "text".to_owned(),
            },
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "a flag".to_owned(),
            Value::Number(_) => "a number".to_owned(),
            Value::Array(_) => "a list".to_owned(),
        };
        Err(ParamError::NotAnObject { found })
    }

    /// Returns the whole map as it was given.
    #[must_use]
    pub fn raw(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Sets one parameter; `null` removes it, as a retry with new parameters does.
    pub fn set(&mut self, key: &str, value: Value) {
        if value.is_null() {
            self.map.remove(key);
        } else {
            self.map.insert(key.to_owned(), value);
        }
    }

    /// Gives readings of single values.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            map: &self.map,
            place: String::new(),
        }
    }
}

/// Typed readings of the values of one object.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Where the object is in the whole map, with a dot at its end, or empty.
    place: String,
}

impl<'a> Fields<'a> {
    /// Returns a value that is there and not `null`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Reads text; numbers are taken as written.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is a list, an object or a flag.
    pub fn text(&self, key: &str) -> Result<Option<String>, ParamError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.invalid(key, "text")),
        }
    }

    /// Reads text; what is absent reads as empty.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn text_or_empty(&self, key: &str) -> Result<String, ParamError> {
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// Reads text that is not empty.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn filled_text(&self, key: &str) -> Result<Option<String>, ParamError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// Reads text that must be there.
    ///
    /// # Errors
    ///
    /// As [`Self::text`], and [`ParamError::Missing`].
    pub fn required_text(&self, key: &str) -> Result<String, ParamError> {
        self.filled_text(key)?
            .ok_or_else(|| self.missing(key, "text"))
    }

    /// Reads a whole number; fractions are rounded up, empty text is absent.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is no number, or one that is too large.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, ParamError> {
        let allowed = "a whole number of at most 15 digits";
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::Number(number)) => number
                .as_i64()
                .or_else(|| number.as_f64().and_then(round_up)),
            Some(Value::String(text)) => {
                let text = text.trim();
                text.parse()
                    .ok()
                    .or_else(|| text.parse().ok().and_then(round_up))
            }
            Some(Value::Bool(flag)) => Some(i64::from(*flag)),
            Some(Value::Array(_) | Value::Object(_) | Value::Null) => None,
        };
        match number {
            Some(number) if (-NUMBER_MAX..=NUMBER_MAX).contains(&number) => Ok(Some(number)),
            Some(_) | None => Err(self.invalid(key, allowed)),
        }
    }

    /// Reads a whole number of at least 0.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`], and if it is negative.
    pub fn count(&self, key: &str) -> Result<Option<u64>, ParamError> {
        match self.integer(key)?.map(u64::try_from) {
            None => Ok(None),
            Some(Ok(count)) => Ok(Some(count)),
            Some(Err(_)) => Err(self.invalid(key, "a number of at least 0")),
        }
    }

    /// Reads a number with up to six decimals, in millionths.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is no such number.
    pub fn millionths(&self, key: &str) -> Result<Option<u64>, ParamError> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => parse_millionths(&text).map(Some).ok_or_else(|| {
                self.invalid(key, "a number of at least 0, with at most 6 decimals")
            }),
        }
    }

    /// Reads a flag; what is absent, `null`, `0`, `false` or empty is not set.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is no flag.
    pub fn flag(&self, key: &str) -> Result<bool, ParamError> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "" | "false" | "0" | "no" | "off" | "none" => Ok(false),
                "true" | "1" | "yes" | "on" => Ok(true),
                _ => Err(self.invalid(key, "true or false")),
            },
            Some(Value::Array(_) | Value::Object(_) | Value::Null) => {
                Err(self.invalid(key, "true or false"))
            }
        }
    }

    /// Reads a list of texts; one text is a list with commas.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is neither, or holds something else than texts.
    pub fn list(&self, key: &str) -> Result<Vec<String>, ParamError> {
        let parts = |text: &str| -> Vec<String> {
            let parts = text.split(',').map(str::trim);
            parts
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(parts(text)),
            Some(Value::Array(values)) => {
                let texts: Option<Vec<String>> = values
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect();
                texts.ok_or_else(|| self.invalid(key, "a list of texts"))
            }
            Some(_) => Err(self.invalid(key, "a list of texts, or one text with commas")),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is something else.
    pub fn object(&self, key: &str) -> Result<Option<Self>, ParamError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                map,
                place: format!("{}{key}.", self.place),
            })),
            Some(_) => Err(self.invalid(key, "an object")),
        }
    }

    /// Reads a list of objects; one object is a list of one.
    ///
    /// # Errors
    ///
    /// [`ParamError::Invalid`] if the value is neither, or an entry is no object.
    pub fn objects(&self, key: &str) -> Result<Vec<Self>, ParamError> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Object(_)) => Ok(self.object(key)?.into_iter().collect()),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(at, value)| match value {
                    Value::Object(map) => Ok(Fields {
                        map,
                        place: format!("{}{key}[{at}].", self.place),
                    }),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_) => Err(self.invalid(&format!("{key}[{at}]"), "an object")),
                })
                .collect(),
            Some(_) => Err(self.invalid(key, "a list of objects")),
        }
    }

    /// Makes the error for a value that may not be.
    #[must_use]
    pub fn invalid(&self, key: &str, allowed: &'static str) -> ParamError {
        let whole = self.map.get(key).map(show).unwrap_or_default();
        let mut value: String = whole.chars().take(SHOWN_CHARS).collect();
        if value.len() < whole.len() {
            value.push('…');
        }
        ParamError::Invalid {
            key: format!("{}{key}", self.place),
            value,
            allowed,
        }
    }

    /// Makes the error for a value that must be.
    #[must_use]
    pub fn missing(&self, key: &str, allowed: &'static str) -> ParamError {
        ParamError::Missing {
            key: format!("{}{key}", self.place),
            allowed,
        }
    }

    /// Makes the error for a value that asks too much.
    #[must_use]
    pub fn unsupported(&self, key: &str, advice: &'static str) -> ParamError {
        ParamError::Unsupported {
            key: format!("{}{key}", self.place),
            advice,
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn round_up(number: f64) -> Option<i64> {
    (number.abs() <= 1e15).then(|| number.ceil() as i64)
}

/// Reads a decimal number exactly, in millionths.
pub(crate) fn parse_millionths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || !is_digits(whole) || !is_digits(decimals) {
        return None;
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > 6 {
        return None;
    }
    let millionths: u64 = format!("{decimals:0<6}").parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + millionths)
}
