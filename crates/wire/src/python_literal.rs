//! Python's literals, which PanDA's servers put into answers where JSON should be.
//!
//! A dictionary that passes through a form comes out as `{'a': None, 'b': True}`. JSON is tried
//! first; what is neither is an error. Nothing is evaluated.
//!
//! Source: Pilot 3, `pilot/info/basedata.py`, `clean_dictdata`; Python's `ast.literal_eval`.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is read. PanDA's own values have three levels.
const DEPTH_MAX: usize = 32;

/// Writes a value as Python's `str()` does, which is what a server's v1 calls answer to clients
/// that do not ask for JSON.
#[must_use]
pub fn encode(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (place, (name, member)) in members.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                write_text(out, name);
                out.push_str(": ");
                write(out, member);
            }
            out.push('}');
        }
    }
}

/// Writes a text in single quotes, or in double ones where that saves escapes.
fn write_text(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            it if it == quote => out.extend(['\\', it]),
            it if u32::from(it) < 0x20 || u32::from(it) == 0x7F => {
                out.push_str(&format!("\\x{:02x}", u32::from(it)));
            }
            it => out.push(it),
        }
    }
    out.push(quote);
}

/// Reads JSON or a Python literal; none if it is neither.
pub(crate) fn parse(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut reader = Literal {
        rest: text.trim_start(),
    };
    let value = reader.value(0)?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(value)
}

/// What is left to read.
struct Literal<'a> {
    rest: &'a str,
}

impl Literal<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_blanks();
        match self.rest.chars().next()? {
            '{' => self.dictionary(depth),
            '[' => self.list(depth, "[", "]"),
            '(' => self.list(depth, "(", ")"),
            '\'' | '"' => self.text().map(Value::String),
            _ => self.word(),
        }
    }

    fn dictionary(&mut self, depth: usize) -> Option<Value> {
        self.takes("{").then_some(())?;
        let mut members = Map::new();
        while !self.takes("}") {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other.to_string(),
                Value::Array(_) | Value::Object(_) => return None,
            };
            self.takes(":").then_some(())?;
            members.insert(key, self.value(depth + 1)?);
            if !self.takes(",") {
                return self.takes("}").then_some(Value::Object(members));
            }
        }
        Some(Value::Object(members))
    }

    fn list(&mut self, depth: usize, open: &str, close: &str) -> Option<Value> {
        self.takes(open).then_some(())?;
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.value(depth + 1)?);
            if !self.takes(",") {
                return self.takes(close).then_some(Value::Array(items));
            }
        }
        Some(Value::Array(items))
    }

    /// A quoted text with Python's escapes.
    fn text(&mut self) -> Option<String> {
        let mut characters = self.rest.char_indices();
        let (_, quote) = characters.next()?;
        let mut text = String::new();
        while let Some((place, character)) = characters.next() {
            match character {
                '\\' => {
                    let (_, escape) = characters.next()?;
                    match escape {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        '\\' | '\'' | '"' => text.push(escape),
                        'x' => text.push(hexadecimal(&mut characters, 2)?),
                        'u' => text.push(hexadecimal(&mut characters, 4)?),
                        // Python keeps what it does not know.
                        other => text.extend(['\\', other]),
                    }
                }
                end if end == quote => {
                    self.rest = &self.rest[place + end.len_utf8()..];
                    return Some(text);
                }
                other => text.push(other),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let is_part = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '+' | '-')
        };
        let end = self
            .rest
            .find(|character| !is_part(character))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "None" | "null" => Value::Null,
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            number => number
                .parse::<i64>()
                .map(Value::from)
                .ok()
                .or_else(|| Number::from_f64(number.parse().ok()?).map(Value::Number))?,
        };
        self.rest = rest;
        Some(value)
    }
}

fn hexadecimal(characters: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + characters.next()?.1.to_digit(16)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_looks_as_python_writes_it() {
        let value = json!({"a": [null, true, 1, -0.5, "it's"], "b": {"c": "\"'\n\\\u{7}é"}});
        let text = encode(&value);
        assert_eq!(
            text,
            r#"{'a': [None, True, 1, -0.5, "it's"], 'b': {'c': '"\'\n\\\x07é'}}"#
        );
        assert_eq!(parse(&text), Some(value));
    }

    #[test]
    fn json_and_pythons_words_are_read() {
        for (text, value) in [
            (r#"{"a": [1, null]}"#, json!({"a": [1, null]})),
            (
                "{'a': None, \"b\": True, 'c': ('x', 2.5), }",
                json!({"a": null, "b": true, "c": ["x", 2.5]}),
            ),
            ("'it\\'s \\x41'", json!("it's A")),
            ("-7", json!(-7)),
            ("[]", json!([])),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn code_and_what_is_cut_off_are_refused() {
        for text in [
            "",
            "{'a': ",
            "{'a' 1}",
            "[1, 2",
            "__import__('os')",
            "{'a': f()}",
            "'abc",
            "nan",
            "1 2",
            &"[".repeat(100_000),
        ] {
            assert_eq!(parse(text), None, "{}", &text[..text.len().min(20)]);
        }
    }
}
