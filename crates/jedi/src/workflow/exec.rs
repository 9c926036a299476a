//! What `prun` makes of the command that jobs run: pieces of the argument `-p`, with placeholders
//! for what differs from job to job.
//!
//! Source: panda-client, `pandaclient/PsubUtils.py` (`convertParamStrToJediParam`).

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value, json};

/// What users write and what stands for it in tasks.
const HOLDERS: [(&str, &str); 6] = [
    ("RNDM", "SEQNUMBER"),
    ("DB", "DBR"),
    ("SKIPEVENTS", "SKIPEVENTS"),
    ("FIRSTEVENT", "FIRSTEVENT"),
    ("MAXEVENTS", "MAXEVENTS"),
    ("SEGMENT_NAME", "SEGMENT_NAME"),
];

static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"%RNDM[:=](\d+)%?"));
static FIRST: LazyLock<Regex> = LazyLock::new(|| pattern(r"%FIRSTEVENT[:=](\d+)%?"));
static PIECE: LazyLock<Regex> = LazyLock::new(|| {
    let names = HOLDERS.map(|(_, name)| name).join("|");
    pattern(&format!(
        r#"[^=,"' \(\{{;]*\$\{{({names})[^\}}]*\}}[^,"' \)\}};]*"#
    ))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}

/// Makes the pieces of the command.
pub(super) fn pieces(exec: &str) -> Vec<Value> {
    let exec = exec.replace("%RNDM:", "%RNDM=");
    let offset =
        |pattern: &Regex| -> Option<u64> { pattern.captures(&exec)?.get(1)?.as_str().parse().ok() };
    let (sequence, first) = (offset(&SEQUENCE), offset(&FIRST));
    let text = SEQUENCE.replace_all(&exec, "$${SEQNUMBER}");
    let text = FIRST.replace_all(&text, "$${FIRSTEVENT}");
    let mut text = Cow::into_owned(text);
    for name in ["SKIPEVENTS", "MAXEVENTS", "SEGMENT_NAME"] {
        text = text.replace(&format!("%{name}"), &format!("${{{name}}}"));
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    for found in PIECE.captures_iter(&text) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else {
            continue;
        };
        pieces.push(constant(&text[at..whole.start()]));
        pieces.push(match name.as_str() {
            "SEQNUMBER" => template(whole.as_str(), "pseudo_input", Some("seq_number"), sequence),
            "FIRSTEVENT" => template(whole.as_str(), "number", None, first),
            _ => template(whole.as_str(), "number", None, None),
        });
        at = whole.end();
    }
    pieces.push(constant(&text[at..]));
    pieces
}

fn constant(text: &str) -> Value {
    json!({"type": "constant", "value": percent_encoded(text), "padding": false})
}

fn template(value: &str, kind: &str, dataset: Option<&str>, offset: Option<u64>) -> Value {
    let mut item = Map::new();
    item.insert("type".to_owned(), "template".into());
    item.insert("value".to_owned(), value.into());
    item.insert("param_type".to_owned(), kind.into());
    if let Some(dataset) = dataset {
        item.insert("dataset".to_owned(), dataset.into());
    }
    if let Some(offset) = offset {
        item.insert("offset".to_owned(), offset.into());
    }
    item.insert("padding".to_owned(), false.into());
    Value::Object(item)
}

/// Encodes a text as Python's `quote` does.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_a_piece_of_its_own() {
        let made = pieces("sim.sh seed=%RNDM:5 %SKIPEVENTS > x.root");
        let values: Vec<&str> = made
            .iter()
            .map(|piece| piece["value"].as_str().unwrap())
            .collect();
        assert_eq!(
            values,
            [
                "sim.sh%20seed%3D",
                "${SEQNUMBER}",
                "%20",
                "${SKIPEVENTS}",
                "%20%3E%20x.root"
            ]
        );
        assert_eq!(made[1]["offset"], 5);
        assert_eq!(made[1]["dataset"], "seq_number");
        assert_eq!(made[3]["param_type"], "number");
    }

    #[test]
    fn a_plain_command_is_one_piece() {
        assert_eq!(
            pieces("root -q é %IN"),
            [json!({"type": "constant", "value": "root%20-q%20%C3%A9%20%25IN", "padding": false})]
        );
    }
}
