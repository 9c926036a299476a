//! A job as a person writes it for `ailurus-pilot once` and `ailurus-pilot function`: JSON with
//! only what matters for one run, all but `transformation` optional.
//!
//! It is turned into PanDA's own fields and read as these, so that both forms obey one decoder.

use std::time::Duration;

use ailurus_model::{ByteCount, Checksum, Job, units::parse_duration};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    body::{self, BodyError},
    fields::{FieldError, Fields},
    get_job::OfferedJobs,
    job_file::{self, JobFileError},
    job_text::{self, JobError},
};

/// The scope of files that name none. It is never looked up: such files lie in directories.
const SCOPE: &str = "local";

/// One job in the plain form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlainJob {
    id: u64,
    attempt: u32,
    task: u64,
    name: String,
    transformation: String,
    parameters: Parameters,
    inputs: Vec<PlainFile>,
    outputs: Vec<PlainFile>,
    optional_outputs: Vec<String>,
    log: String,
    cores: u32,
    memory: String,
    disk: String,
    walltime: String,
    image: String,
    release: String,
    platform: String,
    source_label: String,
    looping_check: bool,
}

impl Default for PlainJob {
    fn default() -> Self {
        Self {
            id: 1,
            attempt: 1,
            task: 0,
            name: String::new(),
            transformation: String::new(),
            parameters: Parameters::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            optional_outputs: Vec::new(),
            log: String::new(),
            cores: 1,
            memory: String::new(),
            disk: String::new(),
            walltime: String::new(),
            image: String::new(),
            release: String::new(),
            platform: String::new(),
            source_label: "user".into(),
            looping_check: true,
        }
    }
}

/// Arguments: one text that is split as a shell would, or word by word.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`parameters` must be a text or a list of texts")]
enum Parameters {
    Text(String),
    Words(Vec<String>),
}

impl Default for Parameters {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// A file: its name, or more about it.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a file must be a name, or an object with `name` and, as far as known, `size`, `checksum`, `scope`, `endpoint`, `dataset`, `guid`"
)]
enum PlainFile {
    Name(String),
    Described(Described),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    checksum: Option<Checksum>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    dataset: String,
    #[serde(default)]
    guid: String,
}

impl PlainFile {
    fn described(self) -> Described {
        match self {
            Self::Described(file) => file,
            Self::Name(name) => Described {
                name,
                size: None,
                checksum: None,
                scope: String::new(),
                endpoint: String::new(),
                dataset: String::new(),
                guid: String::new(),
            },
        }
    }
}

/// A job that somebody gave by hand cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenJobError {
    /// It is in none of the forms of job definition files.
    #[error(transparent)]
    File(#[from] JobFileError),
    /// It is in the plain form, but makes no sense.
    #[error("the job makes no sense")]
    Plain(#[source] serde_json::Error),
    /// One of its fields makes no sense.
    #[error("the job makes no sense")]
    Field(#[from] FieldError),
    /// It is not one job.
    #[error("{n_jobs} jobs are given: exactly one is run")]
    Count {
        /// How many.
        n_jobs: usize,
    },
}

/// Reads exactly one job, in the plain form or in one of those of [`crate::job_file`].
///
/// A job of PanDA that cannot be run is returned as such, because its server may want to know.
///
/// # Errors
///
/// [`GivenJobError`].
pub fn decode(bytes: &[u8]) -> Result<Result<Job, JobError>, GivenJobError> {
    if let Some(value) = plain_form(bytes)? {
        let job: PlainJob = serde_json::from_value(value).map_err(GivenJobError::Plain)?;
        return job_text::decode(&to_fields(job)?).map_or_else(
            |error| Err(GivenJobError::Field(error.source)),
            |job| Ok(Ok(job)),
        );
    }
    let OfferedJobs { jobs, broken } = job_file::decode(bytes)?;
    let n_jobs = jobs.len() + broken.len();
    let mut all = jobs.into_iter().map(Ok).chain(broken.into_iter().map(Err));
    match (all.next(), all.next()) {
        (Some(Err(error)), None) if error.panda_id.is_none() => {
            Err(GivenJobError::Field(error.source))
        }
        (Some(job), None) => Ok(job),
        (None, _) | (Some(_), Some(_)) => Err(GivenJobError::Count { n_jobs }),
    }
}

/// Returns the value if it is in the plain form: an object that names a transformation, and
/// neither a job's number in PanDA's spelling nor an answer's status.
fn plain_form(bytes: &[u8]) -> Result<Option<Value>, GivenJobError> {
    if !body::decompress(bytes)
        .map_err(JobFileError::Body)?
        .trim_ascii()
        .starts_with(b"{")
    {
        return Ok(None);
    }
    let value = body::decode_value(bytes).map_err(JobFileError::Body)?;
    let Value::Object(members) = &value else {
        return Err(JobFileError::Body(BodyError::NotAnObject).into());
    };
    let has = |name: &str| members.contains_key(name);
    let is_pandas = has("PandaID") || has("StatusCode") || has("success");
    let is_keyed = !members.is_empty() && members.values().all(Value::is_object);
    Ok((!is_pandas && !is_keyed).then_some(value))
}

fn to_fields(job: PlainJob) -> Result<Fields, FieldError> {
    if job.transformation.trim().is_empty() {
        let allowed = "the payload: a path, a URL, the name of an input or of a program";
        return Err(FieldError::new("transformation", None, allowed));
    }
    let mut out = Fields::new();
    out.put("PandaID", job.id);
    out.put("attemptNr", job.attempt);
    out.put("taskID", job.task);
    for (name, text) in [
        ("jobName", job.name),
        ("transformation", job.transformation),
        ("jobPars", parameters_text(job.parameters)?),
        ("container_name", job.image),
        ("swRelease", job.release),
        ("cmtConfig", job.platform),
        ("prodSourceLabel", job.source_label),
        ("allowNoOutput", job.optional_outputs.join(",")),
    ] {
        out.put(name, text);
    }
    out.put("coreCount", job.cores);
    out.put("minRamCount", size("memory", &job.memory)?.as_mib());
    out.put("maxDiskCount", size("disk", &job.disk)?.as_mib());
    out.put("maxWalltime", walltime(&job.walltime)?.as_secs());
    out.put("loopingCheck", job.looping_check);
    put_inputs(&mut out, job.inputs)?;
    put_outputs(&mut out, job.outputs, job.log)?;
    Ok(out)
}

fn put_inputs(out: &mut Fields, files: Vec<PlainFile>) -> Result<(), FieldError> {
    let files = described("inputs", files)?;
    put_list(out, "inFiles", &files, |file| file.name.clone());
    put_common(out, &files, ["scopeIn", "realDatasetsIn", "ddmEndPointIn"]);
    put_list(out, "GUID", &files, |file| or_null(&file.guid));
    put_list(out, "fsize", &files, |file| {
        or_null(&file.size.map(|size| size.to_string()).unwrap_or_default())
    });
    put_list(out, "checksum", &files, |file| {
        let checksum = file.checksum.as_ref().map(Checksum::to_string);
        or_null(&checksum.unwrap_or_default())
    });
    Ok(())
}

fn put_outputs(out: &mut Fields, files: Vec<PlainFile>, log: String) -> Result<(), FieldError> {
    let mut files = described("outputs", files)?;
    put_list(out, "scopeOut", &files, scope_of);
    if !log.is_empty() {
        files.extend(described("log", vec![PlainFile::Name(log.clone())])?);
        out.put("logFile", log);
        out.put("scopeLog", SCOPE);
    }
    put_list(out, "outFiles", &files, |file| file.name.clone());
    put_common(out, &files, ["", "realDatasets", "ddmEndPointOut"]);
    Ok(())
}

/// Writes scopes, datasets and endpoints under these names.
fn put_common(out: &mut Fields, files: &[Described], [scope, dataset, endpoint]: [&str; 3]) {
    if !scope.is_empty() {
        put_list(out, scope, files, scope_of);
    }
    put_list(out, dataset, files, |file| or_null(&file.dataset));
    put_list(out, endpoint, files, |file| or_null(&file.endpoint));
}

fn scope_of(file: &Described) -> String {
    let scope = if file.scope.is_empty() {
        SCOPE
    } else {
        &file.scope
    };
    scope.to_owned()
}

fn or_null(text: &str) -> String {
    let text = if text.is_empty() {
        job_text::NULL
    } else {
        text
    };
    text.to_owned()
}

fn put_list(
    out: &mut Fields,
    name: &str,
    files: &[Described],
    part: impl Fn(&Described) -> String,
) {
    let parts: Vec<String> = files.iter().map(part).collect();
    out.put(name, parts.join(","));
}

/// PanDA joins names by commas and trims them, so none may have such.
fn described(field: &str, files: Vec<PlainFile>) -> Result<Vec<Described>, FieldError> {
    let checked = |file: PlainFile| {
        let file = file.described();
        let texts = [&file.name, &file.scope, &file.dataset, &file.endpoint];
        let is_clean = |text: &String| !text.contains(',') && text.trim().len() == text.len();
        if file.name.is_empty() || !texts.into_iter().all(is_clean) {
            let allowed = "a file with a name, and without commas or outer blanks";
            return Err(FieldError::of_text(field, &file.name, allowed));
        }
        Ok(file)
    };
    files.into_iter().map(checked).collect()
}

fn size(field: &str, text: &str) -> Result<ByteCount, FieldError> {
    if text.is_empty() {
        return Ok(ByteCount::ZERO);
    }
    let wrong = || FieldError::of_text(field, text, "a size, for example `2 GiB`");
    text.parse().map_err(|_| wrong())
}

fn walltime(text: &str) -> Result<Duration, FieldError> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let wrong = |_| FieldError::of_text("walltime", text, "a duration, for example `2h 30m`");
    parse_duration(text).map_err(wrong)
}

/// Writes words so that they are split into the same words again.
fn parameters_text(parameters: Parameters) -> Result<String, FieldError> {
    let words = match parameters {
        Parameters::Text(text) => return Ok(text),
        Parameters::Words(words) => words,
    };
    if let Some(word) = words.iter().find(|word| word.contains('\0')) {
        return Err(FieldError::of_text("parameters", word, "without NUL bytes"));
    }
    let quoted = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    Ok(quoted.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> Job {
        decode(text.as_bytes()).expect("one job").expect("sound")
    }

    fn refusal(text: &str) -> String {
        let error = decode(text.as_bytes()).expect_err(text);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    }

    #[test]
    fn only_the_transformation_is_needed() {
        let job = job(r#"{"transformation": "/bin/true"}"#);
        assert_eq!(job.transformation, "/bin/true");
        assert_eq!((job.panda_id.value(), job.core_count), (1, 1));
        assert!(job.log.is_none() && job.inputs.is_empty() && job.looping_check);
    }

    #[test]
    fn every_field_of_the_plain_form_is_read() {
        let job = job(
            r#"{"id": 7, "attempt": 2, "task": 3, "transformation": "run.sh",
            "parameters": ["a b", "it's", ""], "log": "l.tgz", "cores": 4, "memory": "2 GiB",
            "walltime": "1h", "image": "i.sif", "outputs": ["o", {"name": "p", "scope": "s"}],
            "inputs": ["run.sh", {"name": "d", "size": 5, "checksum": "ad:00000001"}],
            "optional_outputs": ["p"], "looping_check": false}"#,
        );
        assert_eq!(job.parameters, r"'a b' 'it'\''s' ''");
        assert_eq!(job.memory, ByteCount::from_gib(2));
        assert_eq!(job.walltime, Duration::from_secs(3600));
        assert_eq!(job.inputs[1].size, Some(ByteCount::from_bytes(5)));
        assert_eq!(job.inputs[1].checksum, Some(Checksum::Adler32(1)));
        assert_eq!(job.inputs[0].checksum, None);
        assert_eq!((job.outputs.len(), job.outputs[1].scope.as_str()), (2, "s"));
        assert_eq!(job.log.expect("a log").lfn.as_str(), "l.tgz");
        assert!(!job.looping_check);
    }

    #[test]
    fn pandas_forms_are_taken_too() {
        assert_eq!(job("PandaID=12&jobPars=x").panda_id.value(), 12);
        assert_eq!(job(r#"{"12": {}}"#).panda_id.value(), 12);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refusal(r#"{"transformation": "x", "core": 1}"#).contains("`core`"));
        assert!(refusal(r#"{"parameters": "x"}"#).contains("`transformation`"));
        assert!(refusal(r#"{"transformation": "x", "memory": "much"}"#).contains("`memory`"));
        assert!(refusal(r#"{"transformation": "x", "outputs": ["a,b"]}"#).contains("`a,b`"));
        assert!(refusal(r#"{"transformation": "x", "inputs": [{"nam": 1}]}"#).contains("`name`"));
        assert!(refusal(r#"{"1": {}, "2": {}}"#).contains("2 jobs"));
        assert!(refusal(r#"{"transformation": "#).contains("JSON"));
        assert!(refusal("{}").contains("`transformation`"));
        assert!(refusal("").contains("no job"));
        assert!(refusal("PandaID=").contains("PandaID"));
    }

    #[test]
    fn a_job_of_panda_that_makes_no_sense_keeps_its_number() {
        let broken = decode(br#"{"PandaID": 5, "coreCount": "many"}"#).expect("one job");
        let number = broken.expect_err("broken").panda_id;
        assert_eq!(number.map(ailurus_model::PandaId::value), Some(5));
    }
}
