//! The frame of the v1 dialect: the envelope of every answer, and the checks of every request
//! with the reference server's own messages.
//!
//! Source: PanDA server, `pandaserver/api/v1/common.py`, `generate_response` and
//! `request_validation`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    fields::{FieldError, Fields},
    table::{Field, Kind},
};

/// The message for a caller without a verified identity.
pub const NOT_SECURE: &str = "SSL secure connection is required";
/// How the message for a caller without the role of a call begins.
pub const NO_ROLE: &str = "production or pilot role required";
/// How the message for a pilot begins that has no role and asks for more than its owner's jobs.
pub const NO_PILOT_ROLE: &str = "no production/pilot role in VOMS FQANs or non pilot owner";

/// Every v1 answer. Logical failures are HTTP 200 with `success` false.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Envelope {
    /// Whether the call did what it was asked for.
    pub success: bool,
    /// Why not, or something for people.
    pub message: String,
    /// What was asked for.
    pub data: Value,
}

impl Envelope {
    /// An answer with data.
    #[must_use]
    pub fn success(data: impl Into<Value>) -> Self {
        Self {
            success: true,
            message: String::new(),
            data: data.into(),
        }
    }

    /// A refusal without data.
    #[must_use]
    pub fn failure(message: impl Into<String>) -> Self {
        Self {
            success: false,
            message: message.into(),
            data: Value::Null,
        }
    }
}

/// A request that the server cannot take. The texts are those of the reference server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The wrong HTTP method.
    #[error("expecting {expected}, received {received}")]
    Method {
        /// The method that the call wants.
        expected: String,
        /// The method that came.
        received: String,
    },
    /// A required field is missing.
    #[error("Argument error: missing a required argument: '{name}'")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// A field that the call does not have.
    #[error("Argument error: got an unexpected keyword argument '{name}'")]
    Unknown {
        /// The field.
        name: String,
    },
    /// A field has another JSON type.
    #[error("Type error: '{name}' must be of type {expected}, got {got}.")]
    Type {
        /// The field.
        name: &'static str,
        /// Python's name of the type that it must have.
        expected: &'static str,
        /// Python's name of the type that came.
        got: &'static str,
    },
    /// A value that means nothing.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Checks the HTTP method of a call.
///
/// # Errors
///
/// [`RequestError::Method`].
pub fn check_method(expected: &str, received: &str) -> Result<(), RequestError> {
    if expected == received {
        return Ok(());
    }
    Err(RequestError::Method {
        expected: expected.to_owned(),
        received: received.to_owned(),
    })
}

/// Checks the names and types of a request's fields.
pub(crate) fn check(table: &[Field], fields: &Fields) -> Result<(), RequestError> {
    check_each(table, fields, |field, value| {
        let expected = match field.kind {
            Kind::Text => "str",
            Kind::Int | Kind::Id => "int",
            Kind::Number => "int | float",
            Kind::Flag => "bool",
            Kind::List => "list",
            Kind::Map => "dict",
            Kind::Any => return Ok(()),
        };
        if fits(field, value) {
            return Ok(());
        }
        Err(RequestError::Type {
            name: field.v1,
            expected,
            got: python_type(value),
        })
    })
}

/// Checks the names of a request's fields, for requests whose values are all text.
pub(crate) fn check_names(table: &[Field], fields: &Fields) -> Result<(), RequestError> {
    check_each(table, fields, |_, _| Ok(()))
}

fn check_each(
    table: &[Field],
    fields: &Fields,
    check_value: impl Fn(&Field, &Value) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let missing = table
        .iter()
        .find(|field| field.is_required && !field.v1.is_empty() && !fields.has(field.v1));
    if let Some(field) = missing {
        return Err(RequestError::Missing { name: field.v1 });
    }
    for (name, value) in fields.iter() {
        let field = table
            .iter()
            .find(|field| field.v1 == name && !name.is_empty())
            .ok_or_else(|| RequestError::Unknown {
                name: name.to_owned(),
            })?;
        check_value(field, value)?;
    }
    Ok(())
}

fn fits(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => !field.is_required,
        // A Python bool is an int.
        Value::Bool(_) => matches!(field.kind, Kind::Flag | Kind::Int | Kind::Id | Kind::Number),
        Value::Number(number) => match field.kind {
            Kind::Int | Kind::Id => !number.is_f64(),
            Kind::Number | Kind::Any => true,
            Kind::Text | Kind::Flag | Kind::List | Kind::Map => false,
        },
        Value::String(_) => field.kind == Kind::Text,
        Value::Array(_) => field.kind == Kind::List,
        Value::Object(_) => field.kind == Kind::Map,
    }
}

/// Python's name for the type of a JSON value.
#[must_use]
pub fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &[Field] = &[
        Field::text("siteName", "site_name").required(),
        Field::int("", "n_commands"),
        Field::number("", "max_rss"),
    ];

    fn refusal(body: Value) -> String {
        let fields = Fields::from_value(body).expect("an object");
        check(TABLE, &fields).expect_err("refused").to_string()
    }

    #[test]
    fn refusals_have_the_words_of_the_reference_server() {
        assert_eq!(
            refusal(json!({})),
            "Argument error: missing a required argument: 'site_name'"
        );
        assert_eq!(
            refusal(json!({"site_name": "Q", "resourceType": "SCORE"})),
            "Argument error: got an unexpected keyword argument 'resourceType'"
        );
        assert_eq!(
            refusal(json!({"site_name": "Q", "n_commands": "1"})),
            "Type error: 'n_commands' must be of type int, got str."
        );
        assert_eq!(
            refusal(json!({"site_name": "Q", "n_commands": 1.0})),
            "Type error: 'n_commands' must be of type int, got float."
        );
        assert_eq!(
            refusal(json!({"site_name": null})),
            "Type error: 'site_name' must be of type str, got NoneType."
        );
        assert_eq!(
            check_method("POST", "GET")
                .expect_err("refused")
                .to_string(),
            "expecting POST, received GET"
        );
    }

    #[test]
    fn whole_and_broken_numbers_fit_where_both_are_allowed() {
        for number in [json!(1), json!(1.5), Value::Null] {
            let fields = Fields::from_value(json!({"site_name": "Q", "max_rss": number}));
            assert_eq!(check(TABLE, &fields.expect("an object")), Ok(()));
        }
    }
}
