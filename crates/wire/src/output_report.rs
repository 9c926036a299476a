//! The output report of a final update: JSON text keyed by file name.
//!
//! Source: Pilot 3, `pilot/control/job.py`, `add_data_structure_ids` and
//! `pilot/util/filehandling.py`; PanDA server, `pandaserver/dataservice/adder_atlas_plugin.py`.

use ailurus_model::{ByteCount, Checksum, EndpointName, FileReport, Guid, Lfn};
use serde_json::{Map, Value, json};

use crate::fields::{FieldError, Fields, json_of};

/// The most files that one report may hold.
const FILES_MAX: usize = 10_000;

/// Writes the report. Files are ordered by name.
pub(crate) fn encode(files: &[FileReport]) -> String {
    let members: Map<String, Value> = files
        .iter()
        .map(|file| {
            let checksum = match &file.checksum {
                Checksum::Adler32(value) => Some(("adler32", format!("{value:08x}"))),
                Checksum::Md5(digits) => Some(("md5sum", digits.clone())),
                // PanDA has no form for it.
                Checksum::Sha256(_) => None,
            };
            let mut entry = json!({
                "guid": file.guid,
                "fsize": file.size.as_bytes(),
                "surl": file.surl,
                "endpoint": file.endpoint,
            });
            if let Some((key, digits)) = checksum {
                entry[key] = digits.into();
            }
            (file.lfn.to_string(), entry)
        })
        .collect();
    Value::Object(members).to_string()
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reported {
    /// Files with size and checksum.
    pub(crate) files: Vec<FileReport>,
    /// Files without: inputs that were not read, or outputs of no use.
    pub(crate) unmeasured: Vec<Lfn>,
}

/// Reads the report: JSON text, or an object as it is.
pub(crate) fn decode(field: &str, report: &Value) -> Result<Reported, FieldError> {
    let bad = || FieldError::new(field, Some(report), "a JSON object keyed by file name");
    let members = json_of(report).map_err(|_| bad())?;
    let members = Fields::from_value(members).map_err(|_| bad())?;
    if members.iter().count() > FILES_MAX {
        return Err(FieldError::new(
            field,
            Some(report),
            format!("a report of at most {FILES_MAX} files"),
        ));
    }
    let mut reported = Reported::default();
    for (lfn, entry) in members.iter() {
        match decode_file(&format!("{field}.{lfn}"), lfn, entry)? {
            Some(file) => reported.files.push(file),
            None => reported.unmeasured.push(Lfn::new(lfn)),
        }
    }
    Ok(reported)
}

/// Reads one file, nothing if its size or its checksum is missing.
fn decode_file(place: &str, lfn: &str, entry: &Value) -> Result<Option<FileReport>, FieldError> {
    let fields = Fields::from_value(entry.clone())
        .map_err(|_| FieldError::new(place, Some(entry), "an object"))?;
    let size = fields
        .whole_if_any("fsize")
        .or_else(|| fields.whole_if_any("bytes"));
    let checksum: Option<Checksum> = match (fields.get("adler32"), fields.get("md5sum")) {
        (Some(_), _) => format!("ad:{}", fields.text("adler32")).parse().ok(),
        (None, Some(_)) => format!("md:{}", fields.text("md5sum")).parse().ok(),
        (None, None) => None,
    };
    let Some((size, checksum)) = size.zip(checksum) else {
        return Ok(None);
    };
    let endpoint = match fields.get("endpoint") {
        // The server's own adder writes a list, of which the first has the file.
        Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or_default(),
        Some(Value::String(name)) => name,
        Some(_) | None => "",
    };
    Ok(Some(FileReport {
        lfn: Lfn::new(lfn),
        guid: Guid::new(fields.text("guid")),
        size: ByteCount::from_bytes(size),
        checksum,
        surl: fields.text("surl"),
        endpoint: EndpointName::new(endpoint),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_adler32_or_md5_and_one_endpoint_or_a_list() {
        let report = json!({
            "a": {"guid": "G", "fsize": 5, "adler32": "05a501a5", "surl": "file:///a", "endpoint": ["E"]},
            "b": {"bytes": "7", "md5sum": "d41d8cd98f00b204e9800998ecf8427e"},
        });
        let files = decode("xml", &json!(report.to_string()))
            .expect("a report")
            .files;
        assert_eq!(files[0].checksum, Checksum::Adler32(0x05a5_01a5));
        assert_eq!(files[0].endpoint.as_str(), "E");
        assert_eq!(files[1].size, ByteCount::from_bytes(7));
    }

    #[test]
    fn a_file_without_checksum_is_told_apart() {
        let report = json!({"a": {"guid": "G", "fsize": 5}, "b": {"adler32": "1"}});
        let reported = decode("xml", &report).expect("a report");
        assert_eq!(reported.files, []);
        assert_eq!(reported.unmeasured, [Lfn::new("a"), Lfn::new("b")]);
    }
}
