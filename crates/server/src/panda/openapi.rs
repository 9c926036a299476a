//! The table of calls for programs and for people: `OpenAPI` 3.1, and a page.
//!
//! Both are committed below `docs/`, and `cargo xtask docs --check` compares them with the code.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use ailurus_wire::{Dialect, body::JSON_TYPE};
use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::panda::{
    LEGACY_PREFIX, V1_PREFIX,
    endpoint::{
        Endpoint, Kind, LegacyBody, Parameter, Preset, Role, Security, Shape, UnknownFields, Verb,
    },
    endpoints,
};

/// The description as it is served.
static SERVED: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// Serves the description at `/openapi.json`.
pub(crate) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, JSON_TYPE)], SERVED.clone()).into_response()
}

/// Returns the description as text for a file.
pub(crate) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("JSON can be written");
    text.push('\n');
    text
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints() {
        let mut operations = Map::new();
        for method in methods(endpoint.verb) {
            operations.insert((*method).to_owned(), operation(endpoint, method));
        }
        paths.insert(path(endpoint), Value::Object(operations));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ailurus: PanDA's HTTP API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The calls of PanDA's server in both dialects. Logical failures of v1 \
                are answered with 200 and `success` false; a call that could not be carried out \
                is answered with 503 and is to be repeated.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost:25080"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "an OIDC token; the header `Origin` names the organisation"},
                "certificate": {"type": "mutualTLS",
                    "description": "an X.509 certificate or a proxy"},
            },
            "responses": {
                "BadRequest": text_response("The body cannot be read."),
                "Forbidden": text_response("The call does not exist, or the caller may not call."),
                "TooLarge": text_response("The body is too large."),
                "TryAgain": text_response("It could not be done now; nothing was done."),
            },
        },
    })
}

fn text_response(description: &str) -> Value {
    json!({"description": description,
        "content": {"text/plain": {"schema": {"type": "string"}}}})
}

fn path(endpoint: &Endpoint) -> String {
    let prefix = match endpoint.dialect {
        Dialect::Legacy => LEGACY_PREFIX,
        Dialect::V1 => V1_PREFIX,
    };
    format!("{prefix}{}", endpoint.name)
}

const fn methods(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Get => &["get"],
        Verb::Post => &["post"],
        Verb::Any => &["get", "post"],
    }
}

/// The module of a call.
fn module(endpoint: &Endpoint) -> &'static str {
    match endpoint.dialect {
        Dialect::Legacy => "legacy",
        Dialect::V1 => endpoint.name.split('/').next().unwrap_or_default(),
    }
}

fn operation(endpoint: &Endpoint, method: &str) -> Value {
    let mut operation = json!({
        "operationId": format!("{}_{method}", path(endpoint)[1..].replace('/', "_")),
        "tags": [module(endpoint)],
        "summary": endpoint.doc,
        "responses": {
            "200": success(endpoint),
            "400": {"$ref": "#/components/responses/BadRequest"},
            "403": {"$ref": "#/components/responses/Forbidden"},
            "413": {"$ref": "#/components/responses/TooLarge"},
            "503": {"$ref": "#/components/responses/TryAgain"},
        },
        "x-panda-callers": callers(endpoint),
        "x-panda-role": role(endpoint),
    });
    let members = operation.as_object_mut().expect("it is an object");
    if endpoint.security == Security::Secure {
        members.insert(
            "security".to_owned(),
            json!([{"token": []}, {"certificate": []}]),
        );
    }
    if method == "get" {
        let parameters: Vec<Value> = endpoint.parameters.iter().map(query_parameter).collect();
        members.insert("parameters".to_owned(), parameters.into());
    } else if !endpoint.parameters.is_empty() || endpoint.unknown == UnknownFields::Kept {
        members.insert("requestBody".to_owned(), request_body(endpoint));
    }
    operation
}

fn query_parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.default == Preset::Required,
        "description": parameter.doc,
        "schema": schema(parameter),
    })
}

fn request_body(endpoint: &Endpoint) -> Value {
    let properties: Map<String, Value> = endpoint
        .parameters
        .iter()
        .map(|parameter| {
            let mut schema = schema(parameter);
            schema["description"] = parameter.doc.into();
            (parameter.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = endpoint
        .parameters
        .iter()
        .filter(|parameter| parameter.default == Preset::Required)
        .map(|parameter| parameter.name)
        .collect();
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": endpoint.unknown != UnknownFields::Refused,
    });
    let kinds: &[&str] = match (endpoint.file_max.is_some(), endpoint.dialect) {
        (true, _) => &["multipart/form-data"],
        (false, Dialect::V1) => &[JSON_TYPE],
        (false, Dialect::Legacy) => &[JSON_TYPE, "application/x-www-form-urlencoded"],
    };
    let content: Map<String, Value> = kinds
        .iter()
        .map(|kind| ((*kind).to_owned(), json!({"schema": schema})))
        .collect();
    json!({"required": !required.is_empty(), "content": content})
}

fn schema(parameter: &Parameter) -> Value {
    let mut schema = match parameter.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Int => json!({"type": "integer"}),
        Kind::Float => json!({"type": "number"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::List => json!({"type": "array"}),
        Kind::ListOfInts => json!({"type": "array", "items": {"type": "integer"}}),
        Kind::ListOfTexts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Dict => json!({"type": "object"}),
        Kind::Any => json!({}),
        Kind::File => json!({"type": "string", "format": "binary"}),
    };
    match parameter.default {
        Preset::Required | Preset::Null => {}
        Preset::Int(number) => schema["default"] = number.into(),
        Preset::Bool(flag) => schema["default"] = flag.into(),
        Preset::Text(text) => schema["default"] = text.into(),
    }
    schema
}

fn success(endpoint: &Endpoint) -> Value {
    let (kind, schema) = match (endpoint.dialect, endpoint.form) {
        (Dialect::V1, _) => (JSON_TYPE, envelope(endpoint.data)),
        (Dialect::Legacy, LegacyBody::FormOrJson) => (JSON_TYPE, with_status(endpoint.data)),
        (Dialect::Legacy, LegacyBody::Json) => (JSON_TYPE, shape(endpoint.data)),
        (Dialect::Legacy, LegacyBody::Form | LegacyBody::Text) => {
            ("text/plain", json!({"type": "string"}))
        }
    };
    let mut content = Map::from_iter([(kind.to_owned(), json!({"schema": schema}))]);
    if endpoint.form == LegacyBody::FormOrJson {
        // What clients get that do not ask for JSON.
        content.insert(
            "text/plain".to_owned(),
            json!({"schema": {"type": "string"}}),
        );
    }
    json!({"description": "What became of it.", "content": content})
}

fn envelope(data: Shape) -> Value {
    json!({
        "type": "object",
        "properties": {
            "success": {"type": "boolean"},
            "message": {"type": "string"},
            "data": {"anyOf": [
                shape(data), {"type": "null"}, {"type": "object"}, {"type": "integer"}]},
        },
        "required": ["success", "message", "data"],
    })
}

fn with_status(data: Shape) -> Value {
    let mut schema = shape(data);
    if !schema["properties"].is_object() {
        schema = json!({"type": "object", "properties": {}});
    }
    schema["properties"]["StatusCode"] = json!({"type": "integer"});
    schema
}

fn shape(shape_of: Shape) -> Value {
    match shape_of {
        Shape::Nothing => json!({"type": "null"}),
        Shape::Any => json!({}),
        Shape::Int => json!({"type": "integer"}),
        Shape::Text => json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::List(items) => json!({"type": "array", "items": shape(*items)}),
        Shape::Map(values) => json!({"type": "object", "additionalProperties": shape(*values)}),
        Shape::Object(members) => {
            let properties: Map<String, Value> = members
                .iter()
                .map(|(name, member)| ((*name).to_owned(), shape(*member)))
                .collect();
            json!({"type": "object", "properties": properties})
        }
    }
}

fn callers(endpoint: &Endpoint) -> Vec<&'static str> {
    [
        (endpoint.callers.pilot, "pilot"),
        (endpoint.callers.harvester, "Harvester"),
        (endpoint.callers.client, "panda-client"),
    ]
    .into_iter()
    .filter_map(|(calls, name)| calls.then_some(name))
    .collect()
}

const fn role(endpoint: &Endpoint) -> &'static str {
    match (endpoint.role, endpoint.security) {
        (Role::Production, _) => "production",
        (Role::TaskOwner, _) => "owner of the task",
        (Role::JobOwner, _) => "pilot, or owner of the job",
        (Role::Pilot | Role::PilotByText, _) => "pilot",
        (Role::Anyone, Security::Secure) => "anyone known",
        (Role::Anyone, Security::Open) => "anyone",
    }
}

/// What the page says before its tables.
const PAGE_HEAD: &str = "\
# The HTTP API

The server speaks PanDA's HTTP API in both dialects, so that PanDA's programs cannot tell it from
PanDA's own server. This page is made from the code by `cargo xtask docs`, as is
[`openapi.json`](openapi.json), which a running server gives at `/openapi.json`. What is different
from PanDA's server on purpose is in [differences](differences.md).

| | legacy | v1 |
|---|---|---|
| path | `/server/panda/METHOD` | `/api/v1/MODULE/METHOD` |
| request | GET: query; POST: JSON, a form, or multipart | the same; unknown fields are refused |
| compression | gzip is known by its first bytes, announced or not | the same |
| answer | a form, or JSON for who accepts it | JSON `{success, message, data}`; Python's `str()` of it for who neither sends nor accepts JSON |
| failure | `StatusCode` other than 0, and `errorDialog` | HTTP 200, `success` false, `message` |

Whatever the dialect: 400 is a body that cannot be read, 403 a call that does not exist or a caller
who may not call (`ERROR : …`), 413 a body that is too large, and 503 something that could not be
done now. Nothing was done then, and the client asks again. A request is checked in PanDA's order:
who calls, by which method, the names of the fields, their types, and whose task it is.

A field whose default stands in its row may be left out; one in bold must be there. Who may call is
told as `anyone`, `anyone known` (a certificate, a token, or this machine), `pilot`, `production`,
`owner of the task`, which includes production, or `pilot, or owner of the job`. A refusal for lack of
a role says with which one the caller comes.

People's tools use [another API](operators.md) below `/ailurus/v1`.
";

/// Returns the page for people.
pub(crate) fn page() -> String {
    let mut modules: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints() {
        modules.entry(module(endpoint)).or_default().push(endpoint);
    }
    let mut page = PAGE_HEAD.to_owned();
    for (module, mut calls) in modules {
        calls.sort_by_key(|endpoint| endpoint.name);
        let title = match module {
            "legacy" => "The legacy dialect".to_owned(),
            _ => format!("Module `{module}`"),
        };
        write_line(&mut page, &format!("\n## {title}\n"));
        write_line(
            &mut page,
            "| call | fields | who may | called by | what it does |",
        );
        write_line(&mut page, "|---|---|---|---|---|");
        for endpoint in calls {
            write_line(&mut page, &page_row(endpoint));
        }
    }
    page
}

fn write_line(page: &mut String, line: &str) {
    writeln!(page, "{line}").expect("a text takes all");
}

fn page_row(endpoint: &Endpoint) -> String {
    let verb = match endpoint.verb {
        Verb::Get => "GET ",
        Verb::Post => "POST ",
        Verb::Any => "",
    };
    let fields: Vec<String> = endpoint.parameters.iter().map(page_field).collect();
    format!(
        "| {verb}`{}` | {} | {} | {} | {} |",
        endpoint.name,
        fields.join(", "),
        role(endpoint),
        callers(endpoint).join(", "),
        endpoint.doc.replace('|', "\\|"),
    )
}

fn page_field(parameter: &Parameter) -> String {
    let name = parameter.name;
    match parameter.default {
        Preset::Required => format!("**`{name}`**"),
        Preset::Null => format!("`{name}`"),
        Preset::Int(number) => format!("`{name}`={number}"),
        Preset::Bool(flag) => format!("`{name}`={flag}"),
        Preset::Text(text) => format!("`{name}`={text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = document();
        let mut names = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let name = operation["operationId"].as_str().expect("a name");
                assert!(names.insert(name.to_owned()), "{method} {path}");
            }
        }
        assert!(names.len() > endpoints().count());
    }

    #[test]
    fn the_page_has_every_call() {
        let page = page();
        for endpoint in endpoints() {
            assert!(page.contains(&format!("`{}`", endpoint.name)));
        }
    }
}
