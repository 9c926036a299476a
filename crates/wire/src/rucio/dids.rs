//! The files of a dataset or of a container (`GET /dids/SCOPE/NAME/files`, one JSON object a line),
//! and whether more may come (`GET /dids/SCOPE/NAME`).
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/dids.py`, `Files`, `DIDs`.

use ailurus_model::{ByteCount, Checksum, Guid, Lfn, Scope};
use serde_json::Value;

use super::{RucioAnswerError, refusal::Refusal};
use crate::fields::{FieldError, Fields};

/// One file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidFile {
    /// Its scope.
    pub scope: Scope,
    /// Its name.
    pub name: Lfn,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its Adler-32, if known.
    pub adler32: Option<Checksum>,
    /// Its globally unique id, if known.
    pub guid: Option<Guid>,
    /// How many events it has, if known.
    pub n_events: Option<u64>,
}

/// Whether a dataset or a container may get more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DidState {
    /// It may.
    Open,
    /// It has all that it will have.
    Closed,
}

/// Reads a description and says whether more may come.
///
/// # Errors
///
/// [`RucioAnswerError`] if it describes nothing.
pub fn decode_state(bytes: &[u8]) -> Result<DidState, RucioAnswerError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| RucioAnswerError::not_json(bytes))?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    if value.get("name").and_then(Value::as_str).is_none() {
        return Err(FieldError::new("name", None, "a name").into());
    }
    Ok(match value.get("open") {
        Some(Value::Bool(true)) => DidState::Open,
        _ => DidState::Closed,
    })
}

/// Reads an answer and returns its files in the server's order.
///
/// # Errors
///
/// [`RucioAnswerError`] at the first line that is no file.
pub fn decode_files(bytes: &[u8]) -> Result<Vec<DidFile>, RucioAnswerError> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    lines.map(decode_line).collect()
}

fn decode_line(line: &[u8]) -> Result<DidFile, RucioAnswerError> {
    let value: Value =
        serde_json::from_slice(line).map_err(|_| RucioAnswerError::not_json(line))?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    let fields = Fields::from_value(value).map_err(|_| RucioAnswerError::not_json(line))?;
    let must = |name: &str| match fields.text(name) {
        text if text.is_empty() => Err(FieldError::new(name, None, "a name")),
        text => Ok(text),
    };
    let adler32 = fields.text("adler32");
    let guid = fields.text("guid");
    Ok(DidFile {
        scope: Scope::new(must("scope")?),
        name: Lfn::new(must("name")?),
        size: fields.whole_if_any("bytes").map(ByteCount::from_bytes),
        adler32: format!("ad:{}", adler32.trim()).parse().ok(),
        guid: (!guid.is_empty()).then(|| Guid::new(with_dashes(&guid))),
        n_events: fields.whole_if_any("events"),
    })
}

/// Rucio keeps the bare 32 digits of an id.
fn with_dashes(guid: &str) -> String {
    let is_bare = guid.len() == 32 && guid.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_bare {
        return guid.to_owned();
    }
    let (a, rest) = guid.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_line_by_line() {
        let answer = concat!(
            r#"{"scope": "spd", "name": "a.root", "bytes": 10, "adler32": "0000001f","#,
            r#" "guid": "0123456789abcdef0123456789abcdef", "events": 5}"#,
            "\n",
            r#"{"scope": "spd", "name": "b.root", "bytes": null, "adler32": null,"#,
            r#" "guid": null, "events": null}"#,
            "\n"
        );
        let files = decode_files(answer.as_bytes()).expect("two files");
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].size, Some(ByteCount::from_bytes(10)));
        assert_eq!(files[0].adler32, Some(Checksum::Adler32(31)));
        assert_eq!(files[0].n_events, Some(5));
        let guid = Guid::new("01234567-89AB-CDEF-0123-456789ABCDEF");
        assert_eq!(files[0].guid, Some(guid));
        assert_eq!((files[1].size, &files[1].guid), (None, &None));
    }

    #[test]
    fn a_dataset_is_open_only_if_it_says_so() {
        let of = |open: &str| decode_state(format!(r#"{{"name": "d"{open}}}"#).as_bytes());
        assert_eq!(of(r#", "open": true"#), Ok(DidState::Open));
        for closed in [r#", "open": false"#, r#", "open": null"#, ""] {
            assert_eq!(of(closed), Ok(DidState::Closed), "{closed}");
        }
        assert!(decode_state(b"{}").is_err());
        assert!(decode_state(b"<html>").is_err());
    }

    #[test]
    fn what_is_no_list_of_files_is_an_error() {
        assert!(decode_files(b"<html>").is_err());
        assert!(decode_files(br#"{"scope": "spd"}"#).is_err());
        assert_eq!(decode_files(b"\n"), Ok(Vec::new()));
    }
}
