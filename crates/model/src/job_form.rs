//! A job as PanDA's own attributes: what clients submit as one job, and what they are told of one.
//!
//! Names are those of PanDA's columns; an attribute that is not there is not set.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JobSpec.py` and `FileSpec.py`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The value of one attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FormValue {
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
    /// A time.
    Time {
        /// The time.
        time: Timestamp,
    },
}

impl From<i64> for FormValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for FormValue {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for FormValue {
    /// What does not fit becomes the largest that does.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for FormValue {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for FormValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for FormValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Timestamp> for FormValue {
    fn from(time: Timestamp) -> Self {
        Self::Time { time }
    }
}

/// Attributes by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, FormValue>);

impl Attributes {
    /// Returns an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FormValue> {
        self.0.get(name)
    }

    /// Returns an attribute as text, empty if it is not set or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(FormValue::Text(text)) => text,
            Some(FormValue::Int(_) | FormValue::Real(_) | FormValue::Time { .. }) | None => "",
        }
    }

    /// Returns an attribute as a whole number; texts of digits and numbers with a fraction count.
    #[must_use]
    pub fn whole(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            FormValue::Int(value) => Some(*value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is too large becomes the largest"
            )]
            FormValue::Real(value) => Some(*value as i64),
            FormValue::Text(text) => text.trim().parse().ok(),
            FormValue::Time { .. } => None,
        }
    }

    /// Returns an attribute as a number that is not negative, zero if it is none.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        u64::try_from(self.whole(name).unwrap_or(0)).unwrap_or(0)
    }

    /// Sets an attribute.
    pub fn put(&mut self, name: &str, value: impl Into<FormValue>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets an attribute unless the text is empty, which stands for "not set".
    pub fn put_text(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            self.0.remove(name);
        } else {
            self.put(name, text);
        }
    }

    /// Sets an attribute if there is a value, else leaves it as it is.
    pub fn put_some(&mut self, name: &str, value: Option<impl Into<FormValue>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

/// A job as PanDA's own attributes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobForm {
    /// Of the job.
    pub attributes: Attributes,
    /// Of its files, in order.
    pub files: Vec<Attributes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_what_clients_send() {
        let mut attributes = Attributes::default();
        attributes.put("a", 5_i64);
        attributes.put("b", "7");
        attributes.put("c", 2.9);
        attributes.put("d", "many");
        let all = ["a", "b", "c", "d", "e"].map(|name| attributes.whole(name));
        assert_eq!(all, [Some(5), Some(7), Some(2), None, None]);
        attributes.put_text("b", "");
        assert_eq!(attributes.get("b"), None);
    }
}
