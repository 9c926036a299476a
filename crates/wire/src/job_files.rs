//! The files of a job as parallel lists joined by commas.
//!
//! Inputs are aligned over all lists. `outFiles` holds outputs and log in one order, and so do
//! the lists beside it, except `scopeOut`, which passes over the log. Names that are empty,
//! `NULL` or there already are passed over with all that belongs to them.
//!
//! Source: Pilot 3, `pilot/info/jobdata.py`, `prepare_infiles` and `prepare_outfiles`.

use std::collections::BTreeSet;

use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, Guid, InputFile, JobOptions, Lfn, OutputFile,
    Scope,
};

use crate::{
    fields::{FieldError, Fields, is_missing_text, whole_of_text},
    job_text::NULL,
};

const IN_FILES: &str = "inFiles";
const OUT_FILES: &str = "outFiles";
/// The lists whose length or parts an error can be about.
const LISTS: [&str; 7] = [
    "scopeIn",
    "fsize",
    "checksum",
    "ddmEndPointIn",
    "scopeOut",
    "realDatasets",
    "ddmEndPointOut",
];
/// Digits of a bare MD5, which the server sends where a file has no other checksum.
const MD5_DIGITS: usize = 32;

/// Says whether a field is one of the parallel lists.
pub(crate) fn is_list(field: &str) -> bool {
    LISTS.contains(&field)
}

/// Writes the lists of the inputs; `options` say what is more than a name.
pub(crate) fn encode_inputs(out: &mut Fields, files: &[InputFile], options: &JobOptions) {
    put_list(out, IN_FILES, files, |file| {
        match options.input_urls.get(&file.lfn) {
            Some(url) => url.clone(),
            None if options.archived_inputs.contains(&file.lfn) => format!("zip://{}", file.lfn),
            None => file.lfn.to_string(),
        }
    });
    put_list(out, "scopeIn", files, |file| file.scope.to_string());
    for name in ["realDatasetsIn", "prodDBlocks", "dispatchDblock"] {
        put_list(out, name, files, |file| or_null(file.dataset.as_str()));
    }
    put_list(out, "prodDBlockToken", files, |file| {
        or_null(
            options
                .storage_tokens
                .get(&file.lfn)
                .map_or("", String::as_str),
        )
    });
    put_list(out, "dispatchDBlockToken", files, |_| NULL.to_owned());
    put_list(out, "GUID", files, |file| {
        or_null(file.guid.as_ref().map_or("", Guid::as_str))
    });
    put_list(out, "fsize", files, |file| {
        let size = file.size.map(|size| size.as_bytes().to_string());
        size.unwrap_or_else(|| NULL.to_owned())
    });
    put_list(out, "checksum", files, |file| {
        match &file.checksum {
            Some(checksum @ (Checksum::Adler32(_) | Checksum::Md5(_))) => checksum.to_string(),
            // PanDA has no form for SHA-256.
            Some(Checksum::Sha256(_)) | None => NULL.to_owned(),
        }
    });
    put_list(out, "ddmEndPointIn", files, |file| {
        file.endpoint.to_string()
    });
}

/// Writes the lists of the outputs with the log behind them, and the log's own fields.
pub(crate) fn encode_outputs(
    out: &mut Fields,
    outputs: &[OutputFile],
    log: Option<&OutputFile>,
    options: &JobOptions,
) {
    let all: Vec<&OutputFile> = outputs.iter().chain(log).collect();
    put_list(out, OUT_FILES, &all, |file| file.lfn.to_string());
    for name in ["realDatasets", "destinationDblock"] {
        put_list(out, name, &all, |file| or_null(file.dataset.as_str()));
    }
    for name in [
        "destinationDBlockToken",
        "dispatchDBlockTokenForOut",
        "fileDestinationSE",
    ] {
        put_list(out, name, &all, |_| NULL.to_owned());
    }
    if options.is_event_service {
        put_list(out, "prodDBlockTokenForOutput", &all, |_| NULL.to_owned());
    }
    put_list(out, "ddmEndPointOut", &all, |file| {
        file.endpoint.to_string()
    });
    put_list(out, "scopeOut", outputs, |file| file.scope.to_string());
    out.put("logFile", log.map_or("", |log| log.lfn.as_str()));
    out.put("scopeLog", log.map_or("", |log| log.scope.as_str()));
    let guid = log.and_then(|log| log.guid.as_ref());
    out.put("logGUID", guid.map_or(NULL, Guid::as_str));
}

fn put_list<T>(out: &mut Fields, name: &str, files: &[T], part: impl Fn(&T) -> String) {
    let parts: Vec<String> = files.iter().map(part).collect();
    out.put(name, parts.join(","));
}

fn or_null(text: &str) -> String {
    let text = if text.is_empty() { NULL } else { text };
    text.to_owned()
}

/// Reads the inputs.
pub(crate) fn decode_inputs(fields: &Fields) -> Result<Vec<InputFile>, FieldError> {
    let names = List::of(fields, IN_FILES);
    let scopes = List::beside(&names, fields, "scopeIn")?;
    let sizes = List::beside(&names, fields, "fsize")?;
    let checksums = List::beside(&names, fields, "checksum")?;
    let endpoints = List::beside(&names, fields, "ddmEndPointIn")?;
    // What only names a file in traces is not worth a failed job.
    let guids = List::beside(&names, fields, "GUID").unwrap_or_default();
    let datasets = List::beside(&names, fields, "realDatasetsIn").unwrap_or_default();
    names
        .distinct()
        .map(|(index, lfn)| {
            Ok(InputFile {
                lfn: Lfn::new(InputName::of(lfn).lfn()),
                scope: scopes.scope(index, lfn)?,
                guid: guids.part(index).map(Guid::new),
                dataset: DatasetName::new(datasets.part(index).unwrap_or_default()),
                size: sizes.size(index)?,
                checksum: checksums.checksum(index)?,
                endpoint: EndpointName::new(endpoints.part(index).unwrap_or_default()),
            })
        })
        .collect()
}

/// What stands in the list of inputs: a name, or more than that.
///
/// Source: Pilot 3, `pilot/info/filespec.py`, `FileSpec.clean`.
pub(crate) enum InputName<'a> {
    /// A name.
    Plain(&'a str),
    /// The name of an archive that is to be unpacked, `zip://NAME`.
    Archive(&'a str),
    /// Where it lies, `gs://…/NAME`.
    Url(&'a str),
}

impl<'a> InputName<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        match text.strip_prefix("zip://") {
            Some(name) => Self::Archive(name),
            None if text.starts_with("gs://") => Self::Url(text),
            None => Self::Plain(text),
        }
    }

    /// The name of the file.
    pub(crate) fn lfn(&self) -> &'a str {
        match self {
            Self::Plain(name) | Self::Archive(name) => name,
            Self::Url(url) => url.rsplit('/').next().unwrap_or_default(),
        }
    }
}

/// Reads the outputs and the log.
pub(crate) fn decode_outputs(
    fields: &Fields,
) -> Result<(Vec<OutputFile>, Option<OutputFile>), FieldError> {
    let names = List::of(fields, OUT_FILES);
    let datasets = List::beside(&names, fields, "realDatasets")?;
    let endpoints = List::beside(&names, fields, "ddmEndPointOut")?;
    let scopes = List::of(fields, "scopeOut");
    let log_name = fields.text("logFile");
    let file = |index: usize, lfn: &str, scope| OutputFile {
        lfn: Lfn::new(lfn),
        scope,
        guid: None,
        dataset: DatasetName::new(datasets.part(index).unwrap_or_default()),
        endpoint: EndpointName::new(endpoints.part(index).unwrap_or_default()),
    };
    // `scopeOut` passes over the log.
    let mut scopes_before = 0;
    let places: Vec<usize> = names
        .parts
        .iter()
        .map(|name| {
            let place = scopes_before;
            scopes_before += usize::from(*name != log_name);
            place
        })
        .collect();
    let mut outputs = Vec::new();
    for (index, lfn) in names.distinct().filter(|(_, lfn)| *lfn != log_name) {
        let scope = scopes.scope(places[index], lfn)?;
        outputs.push(file(index, lfn, scope));
    }
    if log_name.is_empty() {
        return Ok((outputs, None));
    }
    let scope = fields.text("scopeLog");
    if scope.is_empty() {
        let allowed = format!("the scope of `{log_name}`");
        return Err(FieldError::new("scopeLog", None, allowed));
    }
    let index = names.parts.iter().position(|name| *name == log_name);
    let guid = Some(fields.text("logGUID")).filter(|guid| !guid.is_empty());
    let log = OutputFile {
        guid: guid.map(Guid::new),
        ..file(index.unwrap_or(usize::MAX), &log_name, Scope::new(scope))
    };
    Ok((outputs, Some(log)))
}

/// One list; empty if it is missing altogether.
#[derive(Debug, Default)]
struct List {
    field: &'static str,
    parts: Vec<String>,
}

impl List {
    fn of(fields: &Fields, field: &'static str) -> Self {
        let text = fields.text(field);
        let parts = match text.as_str() {
            "" => Vec::new(),
            text => text.split(',').map(|part| part.trim().to_owned()).collect(),
        };
        Self { field, parts }
    }

    /// A list that must be as long as the list of names, unless it is missing altogether.
    fn beside(names: &Self, fields: &Fields, field: &'static str) -> Result<Self, FieldError> {
        let list = Self::of(fields, field);
        let wanted = names.parts.len();
        if wanted == 0 || list.parts.is_empty() || list.parts.len() == wanted {
            return Ok(list);
        }
        let allowed = format!("a list of {wanted}, one for each of `{}`", names.field);
        Err(FieldError::new(field, fields.get(field), allowed))
    }

    /// The names that count, each once, with their places.
    fn distinct(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut seen = BTreeSet::new();
        self.parts
            .iter()
            .map(String::as_str)
            .enumerate()
            .filter(move |(_, name)| {
                !is_missing_text(name) && seen.insert(InputName::of(name).lfn())
            })
    }

    fn part(&self, index: usize) -> Option<&str> {
        let part = self.parts.get(index).map(String::as_str);
        part.filter(|part| !is_missing_text(part))
    }

    fn scope(&self, index: usize, lfn: &str) -> Result<Scope, FieldError> {
        self.part(index).map(Scope::new).ok_or_else(|| {
            let value = self.parts.get(index).map_or("nothing", String::as_str);
            FieldError::of_text(self.field, value, format!("the scope of `{lfn}`"))
        })
    }

    fn size(&self, index: usize) -> Result<Option<ByteCount>, FieldError> {
        let Some(part) = self.part(index) else {
            return Ok(None);
        };
        let bytes = whole_of_text(part).and_then(|bytes| u64::try_from(bytes).ok());
        let bytes =
            bytes.ok_or_else(|| FieldError::of_text(self.field, part, "a number of bytes"))?;
        // Zero is how PanDA says that it does not know.
        Ok(Some(ByteCount::from_bytes(bytes)).filter(|size| *size > ByteCount::ZERO))
    }

    fn checksum(&self, index: usize) -> Result<Option<Checksum>, FieldError> {
        let Some(part) = self.part(index) else {
            return Ok(None);
        };
        let parsed = if part.len() == MD5_DIGITS {
            format!("md:{part}").parse()
        } else {
            part.parse()
        };
        parsed.map(Some).map_err(|_| {
            let allowed = "`ad:` and 8 or `md:` and 32 hexadecimal digits";
            FieldError::of_text(self.field, part, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::from_value(value).expect("an object")
    }

    #[test]
    fn an_input_may_be_an_archive_or_have_its_own_url() {
        let message = fields(json!({"inFiles": "zip://a,gs://bucket/x/b", "scopeIn": "s,s"}));
        let inputs = decode_inputs(&message).expect("inputs");
        let names: Vec<&str> = inputs.iter().map(|file| file.lfn.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let options = crate::job_options::decode(&message, &inputs).expect("options");
        assert!(options.archived_inputs.contains(&Lfn::new("a")));
        assert_eq!(options.input_urls[&Lfn::new("b")], "gs://bucket/x/b");
        let mut written = Fields::new();
        encode_inputs(&mut written, &inputs, &options);
        assert_eq!(written.text(IN_FILES), "zip://a,gs://bucket/x/b");
    }

    #[test]
    fn a_duplicate_and_an_empty_name_are_passed_over_with_their_parts() {
        let message = fields(json!({
            "inFiles": "a,a,,NULL,b", "scopeIn": "s1,s2,s3,s4,s5", "fsize": "1,2,3,4,5",
        }));
        let inputs = decode_inputs(&message).expect("inputs");
        let seen: Vec<_> = inputs
            .iter()
            .map(|file| (file.lfn.as_str(), file.scope.as_str(), file.size))
            .collect();
        let size = |bytes| Some(ByteCount::from_bytes(bytes));
        assert_eq!(seen, [("a", "s1", size(1)), ("b", "s5", size(5))]);
    }

    #[test]
    fn the_log_may_stand_anywhere_among_the_outputs() {
        let message = fields(json!({
            "outFiles": "a,l,b", "scopeOut": "sa,sb", "realDatasets": "da,dl,db",
            "ddmEndPointOut": "ea,el,eb", "logFile": "l", "scopeLog": "sl", "logGUID": "G",
        }));
        let (outputs, log) = decode_outputs(&message).expect("outputs");
        let seen: Vec<_> = outputs
            .iter()
            .map(|file| {
                (
                    file.lfn.as_str(),
                    file.scope.as_str(),
                    file.dataset.as_str(),
                )
            })
            .collect();
        assert_eq!(seen, [("a", "sa", "da"), ("b", "sb", "db")]);
        let log = log.expect("a log");
        assert_eq!((log.dataset.as_str(), log.endpoint.as_str()), ("dl", "el"));
    }

    #[test]
    fn lists_of_unequal_length_are_refused_where_it_matters() {
        let message = fields(json!({"inFiles": "a,b", "scopeIn": "s,s", "fsize": "1,2,3"}));
        let error = decode_inputs(&message).expect_err("unequal");
        assert_eq!(
            error.to_string(),
            "field `fsize` is `1,2,3`: it must be a list of 2, one for each of `inFiles`"
        );
        let message = fields(json!({"inFiles": "a,b", "scopeIn": "s,s", "GUID": "G"}));
        let inputs = decode_inputs(&message).expect("inputs");
        assert!(inputs.iter().all(|file| file.guid.is_none()));
    }

    #[test]
    fn long_lists_take_no_longer_than_their_length() {
        let names: Vec<String> = (0..100_000).map(|nr| format!("o{nr}")).collect();
        let scopes = vec!["s"; names.len()].join(",");
        let message = fields(json!({"outFiles": names.join(","), "scopeOut": scopes}));
        let (outputs, _) = decode_outputs(&message).expect("outputs");
        assert_eq!(outputs.len(), names.len());
    }

    #[test]
    fn a_missing_scope_names_its_file() {
        let message = fields(json!({"inFiles": "a,b", "scopeIn": "s,"}));
        let error = decode_inputs(&message).expect_err("no scope");
        assert_eq!(
            error.to_string(),
            "field `scopeIn` is ``: it must be the scope of `b`"
        );
        let message = fields(json!({"outFiles": "o,l", "logFile": "l", "scopeLog": "s"}));
        let error = decode_outputs(&message).expect_err("no scope");
        assert!(error.to_string().contains("the scope of `o`"), "{error}");
    }

    #[test]
    fn a_bare_md5_is_taken_as_one() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let message = fields(json!({"inFiles": "a", "scopeIn": "s", "checksum": md5}));
        let inputs = decode_inputs(&message).expect("inputs");
        assert_eq!(inputs[0].checksum, Some(Checksum::Md5(md5.to_owned())));
    }
}
