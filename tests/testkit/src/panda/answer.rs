//! What an honest server answers, in both dialects.

use serde_json::{Value, json};

use super::{Dialect, call::Call};
use crate::http::{Answer, Request};

const JSON: &str = "application/json";

/// The answer's content, before its dialect puts it into words.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Fields beside the status code.
    Done(Value),
    /// These jobs; each has its own fields.
    Jobs(Vec<Value>),
    NoJobs,
    /// A new token.
    Token(String),
    /// The server failed, with this status code.
    Failed(i64),
}

/// Writes an answer.
pub(super) fn write(call: Call, dialect: Dialect, request: &Request, content: &Content) -> Answer {
    let body = match dialect {
        Dialect::V1 => v1(call, content).to_string(),
        Dialect::Legacy => legacy(request, content),
    };
    let is_json = dialect == Dialect::V1 || request.header("accept") == Some(JSON);
    let content_type = if is_json { JSON } else { "text/plain" };
    Answer::new(200, body).with_header("Content-Type", content_type)
}

fn v1(call: Call, content: &Content) -> Value {
    let success = |data: Value| json!({"success": true, "message": "", "data": data});
    match content {
        // Only updates have their status code inside.
        Content::Done(fields) if call == Call::UpdateJob => success(with_status(fields.clone())),
        Content::Done(Value::Object(fields)) if fields.is_empty() => success(Value::Null),
        Content::Done(fields) => success(fields.clone()),
        Content::Jobs(jobs) => {
            let jobs: Vec<Value> = jobs.iter().cloned().map(with_status).collect();
            success(json!({"StatusCode": 0, "jobs": jobs}))
        }
        Content::NoJobs => json!({"success": false, "message": "No jobs in PanDA", "data": null}),
        Content::Token(token) => success(json!({"user_proxy": token})),
        // With success, as the reference server does.
        Content::Failed(code) => {
            json!({"success": true, "message": "Database error", "data": {"StatusCode": code}})
        }
    }
}

fn legacy(request: &Request, content: &Content) -> String {
    let fields = match content {
        Content::Done(fields) => with_status(fields.clone()),
        Content::Jobs(jobs) => match jobs.as_slice() {
            [job] => with_status(job.clone()),
            jobs => json!({"StatusCode": 0, "jobs": jobs}),
        },
        Content::NoJobs => json!({"StatusCode": 20, "errorDialog": "no jobs in PanDA"}),
        // A literal of Python, whatever is accepted.
        Content::Token(token) => return format!("{{'StatusCode': 0, 'userProxy': '{token}'}}"),
        Content::Failed(code) => json!({"StatusCode": code}),
    };
    if request.header("accept") == Some(JSON) {
        return fields.to_string();
    }
    form_text(&fields)
}

fn with_status(mut fields: Value) -> Value {
    // A job that is a number, or nothing, has nowhere to put it: some tests offer these.
    if let Value::Object(fields) = &mut fields {
        fields.insert("StatusCode".into(), json!(0));
    }
    fields
}

/// Writes an object as old servers do: a form with text for everything.
#[must_use]
pub fn form_text(fields: &Value) -> String {
    let fields = fields.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "NULL".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        format!("{}={}", escaped(name), escaped(&text))
    });
    fields.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}
