//! Checks a request against its row of the table, in the reference server's order and words.
//!
//! Who may call is checked before anything is read of what they say ([`check_caller`]), then the
//! HTTP method, the names of the fields, and their types ([`check_fields`]). Values that come as
//! text, from a query or a form, are turned into what the row says.
//!
//! Source: PanDA server, `pandaserver/api/v1/common.py`, `request_validation`.

use ailurus_model::Caller;
use ailurus_wire::{
    Answer, Dialect, Envelope, Fields, StatusCode,
    fields::{is_missing_text, whole_of},
    v1::{NOT_SECURE, python_type},
};
use serde_json::{Map, Value};

use crate::panda::{
    endpoint::{Endpoint, Kind, Parameter, Preset, Role, Security, UnknownFields, Verb},
    reply::Reply,
    rights::{NO_LEGACY_ROLE, no_role, with_role},
};

/// How the values of a request are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// As JSON, with types.
    Typed,
    /// As text: a query or a form.
    AsText,
}

/// Refuses a caller who may not make this call. Owners of tasks and jobs are asked for elsewhere,
/// since that needs the task.
pub(crate) fn check_caller(endpoint: &Endpoint, caller: &Caller) -> Result<(), Reply> {
    if endpoint.security == Security::Secure && !caller.is_secure() {
        return Err(refusal(endpoint.dialect, StatusCode::NotSecure, NOT_SECURE));
    }
    let rights = &caller.rights;
    match endpoint.role {
        Role::Anyone | Role::TaskOwner => Ok(()),
        Role::Production if rights.production => Ok(()),
        Role::JobOwner if !caller.name.is_empty() => Ok(()),
        Role::Pilot | Role::JobOwner | Role::PilotByText if rights.pilot || rights.production => {
            Ok(())
        }
        role @ (Role::Production | Role::Pilot | Role::JobOwner) => {
            Err(no_role(endpoint.dialect, role, caller))
        }
        role @ Role::PilotByText => Err(Reply::Text(with_role(NO_LEGACY_ROLE, role, caller))),
    }
}

/// Refuses a method that the call does not take.
pub(crate) fn check_verb(endpoint: &Endpoint, method: &str) -> Result<(), Reply> {
    let expected = match endpoint.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Any if matches!(method, "GET" | "POST" | "PUT") => return Ok(()),
        Verb::Any => "GET or POST",
    };
    if expected == method {
        return Ok(());
    }
    let message = format!("expecting {expected}, received {method}");
    Err(refusal(endpoint.dialect, StatusCode::Invalid, &message))
}

/// Checks names and types of what a request says, fills in what it may leave out, and passes over
/// what it may say too much. The legacy dialect is taken as it is: its calls judge it themselves.
pub(crate) fn check_fields(
    endpoint: &Endpoint,
    fields: Fields,
    written: Written,
) -> Result<Fields, Reply> {
    match endpoint.dialect {
        Dialect::Legacy => Ok(fields),
        Dialect::V1 => check_v1(endpoint, fields, written).map_err(Reply::refusal),
    }
}

fn check_v1(endpoint: &Endpoint, fields: Fields, written: Written) -> Result<Fields, String> {
    let Value::Object(mut given) = fields.into_value() else {
        unreachable!("fields are always an object");
    };
    let mut checked = Map::new();
    for parameter in endpoint.parameters {
        match take(&mut given, parameter) {
            Some(value) => {
                let value = check_value(parameter, value, written)?;
                checked.insert(parameter.name.to_owned(), value);
            }
            None => match preset(parameter) {
                Ok(Value::Null) => {}
                Ok(value) => {
                    checked.insert(parameter.name.to_owned(), value);
                }
                Err(message) => return Err(message),
            },
        }
    }
    match (endpoint.unknown, given.keys().next()) {
        (UnknownFields::Refused, Some(name)) => {
            return Err(format!(
                "Argument error: got an unexpected keyword argument '{name}'"
            ));
        }
        (UnknownFields::Refused, None) | (UnknownFields::Ignored, _) => {}
        (UnknownFields::Kept, _) => checked.append(&mut given),
    }
    Ok(Fields::from_value(Value::Object(checked)).unwrap_or_default())
}

fn take(given: &mut Map<String, Value>, parameter: &Parameter) -> Option<Value> {
    let other = match parameter.alias {
        "" => None,
        alias => given.remove(alias),
    };
    given.remove(parameter.name).or(other)
}

/// What a parameter is where it is missing.
fn preset(parameter: &Parameter) -> Result<Value, String> {
    match parameter.default {
        // A file is no field: whoever takes the body apart knows whether it came.
        Preset::Required if parameter.kind == Kind::File => Ok(Value::Null),
        Preset::Required => Err(missing(parameter.name)),
        Preset::Null => Ok(Value::Null),
        Preset::Int(number) => Ok(number.into()),
        Preset::Bool(flag) => Ok(flag.into()),
        Preset::Text(text) => Ok(text.into()),
    }
}

/// The words for a parameter that must be there.
pub(crate) fn missing(name: &str) -> String {
    format!("Argument error: missing a required argument: '{name}'")
}

fn check_value(parameter: &Parameter, value: Value, written: Written) -> Result<Value, String> {
    let value = match written {
        Written::AsText => cast(parameter, value)?,
        Written::Typed => value,
    };
    // What stands for nothing is what a missing value would be.
    if value.is_null() && parameter.default != Preset::Required {
        return preset(parameter);
    }
    let name = parameter.name;
    match (parameter.kind, &value) {
        // A Python bool is an int.
        (Kind::Text, Value::String(_))
        | (Kind::Int | Kind::Float | Kind::Bool, Value::Bool(_))
        | (Kind::Float, Value::Number(_))
        | (Kind::List, Value::Array(_))
        | (Kind::Dict, Value::Object(_))
        | (Kind::Any | Kind::File, _) => Ok(value),
        (Kind::Int, Value::Number(number)) if !number.is_f64() => Ok(value),
        (Kind::ListOfInts, Value::Array(items)) => {
            let is_int = |item: &Value| item.is_i64() || item.is_u64() || item.is_boolean();
            check_items(name, "int", items.iter().all(is_int)).map(|()| value)
        }
        (Kind::ListOfTexts, Value::Array(items)) => {
            check_items(name, "str", items.iter().all(Value::is_string)).map(|()| value)
        }
        (kind, value) => Err(format!(
            "Type error: '{name}' must be of type {}, got {}.",
            python_name(kind),
            python_type(value)
        )),
    }
}

fn check_items(name: &str, kind: &str, all_fit: bool) -> Result<(), String> {
    if all_fit {
        return Ok(());
    }
    Err(format!(
        "Type error: All elements in '{name}' must be {kind}."
    ))
}

/// Turns a value that came as text into what the parameter wants.
fn cast(parameter: &Parameter, value: Value) -> Result<Value, String> {
    let failed = || {
        let (name, kind) = (parameter.name, python_name(parameter.kind));
        format!("Type error: '{name}' could not be casted to type {kind}.")
    };
    let text = match value {
        Value::String(text) => text,
        Value::Array(items) => {
            return match parameter.kind {
                Kind::List | Kind::ListOfTexts | Kind::Any => Ok(Value::Array(items)),
                Kind::ListOfInts => cast_ints(items).ok_or_else(failed),
                // Of a repeated scalar the first counts.
                Kind::Text | Kind::Int | Kind::Float | Kind::Bool | Kind::Dict | Kind::File => {
                    match items.into_iter().next() {
                        Some(first) => cast(parameter, first),
                        None => Ok(Value::Null),
                    }
                }
            };
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Ok(other);
        }
    };
    if text == "None" {
        return Ok(Value::Null);
    }
    let cast = match parameter.kind {
        Kind::Text | Kind::Any | Kind::File => Some(text.into()),
        Kind::Int => cast_int(&Value::from(text)),
        Kind::Float => text.trim().parse::<f64>().ok().map(Value::from),
        Kind::Bool => match text.trim() {
            it if it.eq_ignore_ascii_case("true") || it == "1" => Some(true.into()),
            it if it.eq_ignore_ascii_case("false") || it == "0" || it.is_empty() => {
                Some(false.into())
            }
            _ => None,
        },
        Kind::List | Kind::ListOfTexts => Some(list_of(text).into()),
        Kind::ListOfInts => cast_ints(list_of(text)),
        Kind::Dict => serde_json::from_str(&text).ok().filter(Value::is_object),
    };
    cast.ok_or_else(failed)
}

/// A list from one value of a query: the JSON list in it, or a list of that one.
fn list_of(text: String) -> Vec<Value> {
    if text.starts_with('[')
        && let Ok(items) = serde_json::from_str(&text)
    {
        return items;
    }
    if text.is_empty() {
        return Vec::new();
    }
    vec![text.into()]
}

fn cast_ints(items: Vec<Value>) -> Option<Value> {
    let ints: Option<Vec<Value>> = items.iter().map(cast_int).collect();
    ints.map(Value::Array)
}

fn cast_int(value: &Value) -> Option<Value> {
    if value.as_str().is_some_and(is_missing_text) {
        return None;
    }
    whole_of(value)
        .and_then(|number| i64::try_from(number).ok())
        .map(Value::from)
}

const fn python_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "str",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::List | Kind::ListOfInts | Kind::ListOfTexts => "list",
        Kind::Dict => "dict",
        Kind::Any | Kind::File => "object",
    }
}

fn refusal(dialect: Dialect, status: StatusCode, message: &str) -> Reply {
    match dialect {
        Dialect::Legacy => Answer::failure(dialect, status, message).into(),
        Dialect::V1 => Envelope::failure(message).into(),
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::Proof;
    use ailurus_wire::v1::NO_ROLE;
    use serde_json::json;

    use super::*;
    use crate::panda::{
        call::Call,
        endpoint::{flag, handler, int, ints, list, text},
    };

    async fn nothing(call: Call) -> Reply {
        drop(call);
        Reply::data(Value::Null)
    }

    const ENDPOINT: Endpoint = Endpoint::get("a/b", handler!(nothing)).takes(&[
        text("site_name").required(),
        int("n_jobs").or(Preset::Int(1)),
        ints("job_ids"),
        flag("full"),
        list("files").alias("fileList"),
    ]);

    fn check(value: Value, written: Written) -> Result<Value, String> {
        let fields = Fields::from_value(value).expect("an object");
        check_v1(&ENDPOINT, fields, written).map(Fields::into_value)
    }

    #[test]
    fn refusals_have_the_words_of_the_reference_server() {
        for (value, words) in [
            (
                json!({}),
                "Argument error: missing a required argument: 'site_name'",
            ),
            (
                json!({"site_name": "Q", "x": 1}),
                "Argument error: got an unexpected keyword argument 'x'",
            ),
            (
                json!({"site_name": "Q", "n_jobs": "1"}),
                "Type error: 'n_jobs' must be of type int, got str.",
            ),
            (
                json!({"site_name": null}),
                "Type error: 'site_name' must be of type str, got NoneType.",
            ),
            (
                json!({"site_name": "Q", "job_ids": [1, "2"]}),
                "Type error: All elements in 'job_ids' must be int.",
            ),
        ] {
            assert_eq!(check(value, Written::Typed).expect_err(words), words);
        }
        assert_eq!(
            check(json!({"site_name": "Q", "n_jobs": "many"}), Written::AsText).expect_err("text"),
            "Type error: 'n_jobs' could not be casted to type int."
        );
    }

    #[test]
    fn text_becomes_what_the_table_says() {
        let query = json!({"site_name": "Q", "n_jobs": "3.0", "job_ids": "7", "full": "TRUE",
            "fileList": ["a", "b"]});
        let expected = json!({"site_name": "Q", "n_jobs": 3, "job_ids": [7], "full": true,
            "files": ["a", "b"]});
        assert_eq!(check(query, Written::AsText), Ok(expected));
        let query = json!({"site_name": "Q", "n_jobs": "None", "job_ids": ["7", "8"]});
        let expected = json!({"site_name": "Q", "n_jobs": 1, "job_ids": [7, 8]});
        assert_eq!(check(query, Written::AsText), Ok(expected));
    }

    #[test]
    fn callers_are_judged_before_their_words() {
        let production = ENDPOINT.role(Role::Production);
        let message = |reply: Reply| match reply {
            Reply::Answer(Answer::V1(envelope)) => envelope.message,
            other @ (Reply::Answer(_)
            | Reply::Form(_)
            | Reply::Text(_)
            | Reply::Json(_)
            | Reply::Failed(_)) => format!("{other:?}"),
        };
        let nobody = Caller::nobody();
        let refused = check_caller(&production, &nobody).expect_err("nobody");
        assert_eq!(message(refused), NOT_SECURE);
        let jane = Caller {
            proof: Proof::Token,
            ..Caller::nobody()
        };
        let refused = check_caller(&production, &jane).expect_err("no role");
        assert!(message(refused).starts_with(NO_ROLE));
        assert!(check_caller(&production, &Caller::loopback()).is_ok());
        assert!(check_caller(&ENDPOINT, &nobody).is_ok());
        let refused = check_verb(&ENDPOINT, "POST").expect_err("wrong method");
        assert_eq!(message(refused), "expecting GET, received POST");
    }
}
