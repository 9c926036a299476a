//! What a retry with new parameters may change of a task.
//!
//! Source: PanDA server, `task_event_module.py` (`insertTaskParamsPanda`),
//! `pandajedi/jediorder/TaskCommando.py`.

use serde_json::{Map, Value};

use crate::{params::TaskParams, rules::Rule};

/// Keys that are taken from the new parameters, besides `dsFor…` and changeable rules.
const KEYS: [&str; 13] = [
    "site",
    "cloud",
    "includedSite",
    "excludedSite",
    "cliParams",
    "nFiles",
    "nEvents",
    "fixedSandbox",
    "currentPriority",
    "priority",
    "ramCount",
    "loopingCheck",
    "forceStaged",
];

/// Picks from new parameters what may change; `priority` and `loopingCheck` get their other names.
#[must_use]
pub fn changes(new: &TaskParams) -> Map<String, Value> {
    let mut picked = Map::new();
    for (key, value) in new.raw() {
        let is_rule = Rule::from_name(key).is_some_and(Rule::is_changeable);
        if !(key.starts_with("dsFor") || KEYS.contains(&key.as_str()) || is_rule) {
            continue;
        }
        match key.as_str() {
            "priority" => picked.insert("currentPriority".to_owned(), value.clone()),
            "loopingCheck" => {
                picked.insert("noLoopingCheck".to_owned(), Value::Bool(!is_true(value)))
            }
            _ => picked.insert(key.clone(), value.clone()),
        };
        if key == "fixedSandbox"
            && let Some(url) = new.raw().get("sourceURL")
        {
            picked.insert("sourceURL".to_owned(), url.clone());
        }
    }
    picked
}

/// Puts changes into a task's parameters: `null` removes, a new sandbox replaces the old one.
pub fn apply(params: &mut TaskParams, changes: &Map<String, Value>) {
    params.set("fixedSandbox", Value::Null);
    for (key, value) in changes {
        params.set(key, value.clone());
    }
    let sandbox = params
        .raw()
        .get("fixedSandbox")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(sandbox) = sandbox {
        replace_sandbox(params, &sandbox);
    }
}

/// Names another archive of files wherever the old one is named.
fn replace_sandbox(params: &mut TaskParams, sandbox: &str) {
    let map = params.raw();
    let mut changed: Vec<(&str, Value)> = Vec::new();
    if let Some(Value::Array(items)) = map.get("jobParameters") {
        let items = items
            .iter()
            .map(|item| with_archive(item, sandbox))
            .collect();
        changed.push(("jobParameters", Value::Array(items)));
    }
    if let Some(Value::Object(build)) = map.get("buildSpec") {
        let mut build = build.clone();
        build.insert("archiveName".to_owned(), Value::String(sandbox.to_owned()));
        changed.push(("buildSpec", Value::Object(build)));
    }
    if let Some(Value::Object(merge)) = map.get("mergeSpec")
        && let Some(Value::String(command)) = merge.get("jobParameters")
    {
        let mut merge = merge.clone();
        merge.insert(
            "jobParameters".to_owned(),
            Value::String(with_option(command, sandbox)),
        );
        changed.push(("mergeSpec", Value::Object(merge)));
    }
    for (key, value) in changed {
        params.set(key, value);
    }
}

/// Replaces the value of a constant item that is just `-a ARCHIVE`.
fn with_archive(item: &Value, sandbox: &str) -> Value {
    let is_archive = |value: &str| {
        value
            .strip_prefix("-a ")
            .is_some_and(|name| !name.is_empty() && !name.contains(' '))
    };
    let is_constant = item.get("type").and_then(Value::as_str) == Some("constant");
    let value = item.get("value").and_then(Value::as_str);
    let mut changed = item.clone();
    if let Value::Object(map) = &mut changed
        && is_constant
        && value.is_some_and(is_archive)
    {
        map.insert("value".to_owned(), Value::String(format!("-a {sandbox}")));
    }
    changed
}

/// Replaces each `-a ARCHIVE` in arguments.
fn with_option(command: &str, sandbox: &str) -> String {
    let mut text = String::with_capacity(command.len());
    let mut rest = command;
    while let Some(at) = rest.find("-a ") {
        let (before, option) = rest.split_at(at);
        let value = &option["-a ".len()..];
        let length = value.find(' ').unwrap_or(value.len());
        text.push_str(before);
        text.push_str("-a ");
        text.push_str(if length == 0 { "" } else { sandbox });
        rest = &value[length..];
    }
    text.push_str(rest);
    text
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
