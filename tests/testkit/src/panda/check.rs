//! Is a message as the reference says? Headers, body, fields; each breach is one sentence.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::{
    Dialect, Token,
    call::{Call, Kind, Need},
};
use crate::http::Request;

/// Longest body after decompression, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of a message, as they came.
pub(super) type Fields = Map<String, Value>;

/// Notes what is wrong with the headers that every request has.
pub(super) fn check_agent(request: &Request, found: &mut Vec<String>) {
    let agent = request.header("user-agent").unwrap_or_default();
    let rest = agent
        .strip_prefix("pilot/")
        .and_then(|rest| rest.split_once(" ("));
    let is_good = rest.is_some_and(|(version, system)| {
        !version.is_empty() && system.ends_with(')') && system.contains("Linux ")
    });
    if !is_good {
        found.push(format!(
            "user agent `{agent}`: it must be `pilot/<version> (...; Linux <machine>)`"
        ));
    }
}

/// Notes whether the bearer token is missing or another one.
pub(super) fn check_token(
    request: &Request,
    token: &Token,
    given: &[String],
    found: &mut Vec<String>,
) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    let shown = header.strip_prefix("Bearer ").unwrap_or_default();
    let is_known = shown == token.token || given.iter().any(|given| given == shown);
    let is_good = is_known && request.header("origin") == Some(&token.origin);
    if !is_good {
        found.push("token or origin is missing or wrong".to_owned());
    }
    is_good
}

/// Reads the fields of a call, and notes what is wrong with headers and body.
pub(super) fn fields_of(
    dialect: Dialect,
    method: &str,
    request: &Request,
    found: &mut Vec<String>,
) -> Fields {
    let target = request.target();
    if method == "GET" {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        return form_fields(query.as_bytes());
    }
    if target.contains('?') {
        found.push("a query behind the path of a POST".to_owned());
    }
    let content_type = request.header("content-type").unwrap_or_default();
    if dialect == Dialect::Legacy && content_type == FORM {
        // As curl sends it, Pilot 3's second way.
        return form_fields(&request.body);
    }
    if content_type != JSON {
        found.push(format!(
            "content type `{content_type}`: it must be `{JSON}`"
        ));
    }
    let encoding = request.header("content-encoding");
    let accept = request.header("accept");
    match dialect {
        Dialect::V1 if encoding != Some("gzip") || accept != Some(JSON) => found.push(format!(
            "content encoding {encoding:?} and accept {accept:?}: v1 needs `gzip` and `{JSON}`"
        )),
        // With them old servers answer in another form than to Pilot 3.
        Dialect::Legacy if encoding.is_some() || accept == Some(JSON) => found.push(format!(
            "content encoding {encoding:?} and accept {accept:?}: the legacy dialect has neither"
        )),
        Dialect::V1 | Dialect::Legacy => {}
    }
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(request.body.as_slice()).take(BODY_BYTES_MAX);
    if decoder.read_to_end(&mut plain).is_err() {
        found.push("the body is not compressed by gzip".to_owned());
        plain.clone_from(&request.body);
    }
    match serde_json::from_slice(&plain) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => {
            found.push("the body is no JSON object".to_owned());
            Fields::new()
        }
    }
}

/// Notes what is wrong with the fields of a call.
pub(super) fn check_fields(call: Call, dialect: Dialect, fields: &Fields, found: &mut Vec<String>) {
    let status = fields.get("job_status").or_else(|| fields.get("state"));
    let is_final = status.is_some_and(|status| status == "finished" || status == "failed");
    for (name, value) in fields {
        let rule = call.rules().iter().find(|rule| rule.name(dialect) == name);
        match rule {
            None => found.push(format!("field `{name}` is not known")),
            Some(rule) => {
                if let Err(wanted) = check_value(rule.kind, dialect, value) {
                    found.push(format!("field `{name}` is {value}: it must be {wanted}"));
                }
            }
        }
    }
    for rule in call.rules() {
        let name = rule.name(dialect);
        let is_needed = match rule.need {
            Need::Always => true,
            Need::Final => is_final,
            Need::Sometimes => false,
        };
        if is_needed && !name.is_empty() && !fields.contains_key(name) {
            found.push(format!("field `{name}` is missing"));
        }
    }
}

/// Says what the value must be, if it is something else.
fn check_value(kind: Kind, dialect: Dialect, value: &Value) -> Result<(), String> {
    let text = value.as_str();
    let whole = value.as_i64().or_else(|| {
        text.filter(|_| dialect == Dialect::Legacy)
            .and_then(|text| text.parse().ok())
    });
    let good = |is_good: bool, wanted: &str| {
        if is_good {
            Ok(())
        } else {
            Err(wanted.to_owned())
        }
    };
    match kind {
        Kind::Int => good(whole.is_some(), "a whole number"),
        Kind::IntFrom(least) => good(
            whole.is_some_and(|number| number >= least),
            &format!("a whole number from {least} on"),
        ),
        Kind::Id if dialect == Dialect::V1 => good(value.is_u64(), "a whole number"),
        Kind::Id | Kind::TextId => good(
            text.is_some_and(|text| text.parse::<u64>().is_ok()),
            "a whole number as text",
        ),
        Kind::Number => good(value.is_number() || whole.is_some(), "a number"),
        Kind::Text => good(text.is_some(), "text"),
        Kind::Name => good(text.is_some_and(|text| !text.is_empty()), "text, not empty"),
        Kind::Short(most) => good(
            text.is_some_and(|text| text.chars().count() <= most),
            &format!("text of at most {most} characters"),
        ),
        Kind::Flag => good(
            value.is_boolean() || (dialect == Dialect::Legacy && text.is_some()),
            "true or false",
        ),
        Kind::Time => good(text.is_some_and(is_time), "a time, `YYYY-MM-DD HH:MM:SS`"),
        Kind::OneOf(allowed) => good(
            text.is_some_and(|text| allowed.contains(&text)),
            &format!("one of {}", allowed.join(", ")),
        ),
        Kind::Timing => good(
            text.is_some_and(|text| {
                let parts: Vec<&str> = text.split('|').collect();
                parts.len() == 6 && parts.iter().all(|part| part.parse::<u64>().is_ok())
            }),
            "six numbers joined by `|`",
        ),
        Kind::PilotId => good(
            text.is_some_and(|text| {
                text.chars().count() <= 200 && matches!(text.split('|').count(), 3 | 4)
            }),
            "three or four parts joined by `|`, at most 200 characters",
        ),
        Kind::CpuUnit => good(
            text.is_some_and(|text| text.starts_with("s+") && text.len() > 2),
            "`s+` and the processors",
        ),
        Kind::Objects => good(
            value
                .as_array()
                .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object)),
            "a list of objects",
        ),
        Kind::Report => check_report(text),
        Kind::Any => Ok(()),
    }
}

fn is_time(text: &str) -> bool {
    const FORM: &str = "0000-00-00 00:00:00";
    text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(byte, form)| {
            if form == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == form
            }
        })
}

fn check_report(text: Option<&str>) -> Result<(), String> {
    let Some(text) = text else {
        return Err("text".to_owned());
    };
    if text.is_empty() {
        return Ok(());
    }
    let Ok(Value::Object(files)) = serde_json::from_str(text) else {
        return Err("a JSON object by file name, as text".to_owned());
    };
    for (lfn, file) in &files {
        let is_text = |name: &str| file[name].as_str().is_some_and(|text| !text.is_empty());
        let is_hex = |name: &str, digits: usize| {
            file[name].as_str().is_some_and(|text| {
                text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        let is_good = is_text("guid")
            && is_text("surl")
            && is_text("endpoint")
            && file["fsize"].is_u64()
            && (is_hex("adler32", 8) || is_hex("md5sum", 32));
        if !is_good {
            return Err(format!(
                "a report with guid, fsize, checksum, surl and endpoint of `{lfn}`"
            ));
        }
    }
    Ok(())
}

/// Reads `a=b&c=d`.
fn form_fields(form: &[u8]) -> Fields {
    let parts = form
        .split(|byte| *byte == b'&')
        .filter(|part| !part.is_empty());
    let parts = parts.map(|part| {
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let mut half = || unescaped(halves.next().unwrap_or_default());
        (half(), Value::from(half()))
    });
    parts.collect()
}

fn unescaped(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let code = others
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = others;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn breaches(call: Call, dialect: Dialect, fields: Value) -> Vec<String> {
        let Value::Object(fields) = fields else {
            panic!("no object")
        };
        let mut found = Vec::new();
        check_fields(call, dialect, &fields, &mut found);
        found
    }

    /// The measured request of Pilot 3, and the same in v1.
    #[test]
    fn the_reference_examples_are_without_fault() {
        let legacy = json!({"siteName": "Q", "computingElement": "Q", "prodSourceLabel": "user",
            "diskSpace": 20000, "workingGroup": "", "cpu": 2596.124, "mem": 24105.56, "node": "wn1",
            "allowOtherCountry": false, "harvester_id": "h1", "worker_id": "42"});
        let v1 = json!({"site_name": "Q", "computing_element": "Q", "prod_source_label": "user",
            "disk_space": 20000, "memory": 24105, "node": "wn1", "harvester_id": "h1",
            "worker_id": 42});
        for (dialect, example) in [(Dialect::Legacy, legacy), (Dialect::V1, v1)] {
            let found = breaches(Call::AcquireJobs, dialect, example);
            assert_eq!(found, Vec::<String>::new(), "{dialect:?}");
        }
        let status = json!({"workerID": "42", "harvesterID": "h1", "status": "started",
            "site": "SITE", "node_id": "wn1"});
        let found = breaches(Call::WorkerStatus, Dialect::Legacy, status);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn wrong_types_unknown_and_missing_fields_are_found() {
        let update = json!({"job_id": "1001", "job_status": "finished", "site_name": "Q",
            "node": "n", "attempt_nr": 1, "scheduler_id": "s", "pilot_id": "a|b", "surprise": 1,
            "start_time": 1795376921.66, "mean_core_count": 1.0});
        let found = breaches(Call::UpdateJob, Dialect::V1, update).join("\n");
        for field in [
            "`job_id`",
            "`pilot_id`",
            "`surprise`",
            "`start_time`",
            "`mean_core_count`",
            "`end_time` is missing",
            "`exe_error_code` is missing",
        ] {
            assert!(found.contains(field), "{field} in {found}");
        }
    }

    #[test]
    fn a_report_needs_size_and_checksum_of_each_file() {
        let file = json!({"guid": "G", "fsize": 5, "adler32": "05a501a5", "surl": "file:///a",
            "endpoint": "EP"});
        let report = json!({"a": file}).to_string();
        assert!(check_report(Some(&report)).is_ok());
        assert!(check_report(Some(&report.replace("05a501a5", "5"))).is_err());
        assert!(check_report(Some("<xml/>")).is_err());
    }
}
