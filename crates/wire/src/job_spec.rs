//! Jobs as lists: how clients submit single jobs, and how the server describes them.
//!
//! A submission is a JSON list with one list for each job: the values of [`ATTRIBUTES`] in their
//! order, then one list of files, each a list of the values of [`FILE_ATTRIBUTES`] and one more
//! that stands for nothing. Older clients send fewer values; the files are the last element all
//! the same. A description is an object with all names.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JobUtils.py`, `load_jobs_json`, and `JobSpec.py`.

use ailurus_model::{Attributes, FormValue, JobForm, Timestamp};
use serde_json::{Map, Value, json};

use crate::job_text::NULL;

/// The attributes of a job, in the order of lists.
pub const ATTRIBUTES: [&str; 126] = [
    "PandaID",
    "jobDefinitionID",
    "schedulerID",
    "pilotID",
    "creationTime",
    "creationHost",
    "modificationTime",
    "modificationHost",
    "AtlasRelease",
    "transformation",
    "homepackage",
    "prodSeriesLabel",
    "prodSourceLabel",
    "prodUserID",
    "assignedPriority",
    "currentPriority",
    "attemptNr",
    "maxAttempt",
    "jobStatus",
    "jobName",
    "maxCpuCount",
    "maxCpuUnit",
    "maxDiskCount",
    "maxDiskUnit",
    "ipConnectivity",
    "minRamCount",
    "minRamUnit",
    "startTime",
    "endTime",
    "cpuConsumptionTime",
    "cpuConsumptionUnit",
    "commandToPilot",
    "transExitCode",
    "pilotErrorCode",
    "pilotErrorDiag",
    "exeErrorCode",
    "exeErrorDiag",
    "supErrorCode",
    "supErrorDiag",
    "ddmErrorCode",
    "ddmErrorDiag",
    "brokerageErrorCode",
    "brokerageErrorDiag",
    "jobDispatcherErrorCode",
    "jobDispatcherErrorDiag",
    "taskBufferErrorCode",
    "taskBufferErrorDiag",
    "computingSite",
    "computingElement",
    "jobParameters",
    "metadata",
    "prodDBlock",
    "dispatchDBlock",
    "destinationDBlock",
    "destinationSE",
    "nEvents",
    "grid",
    "cloud",
    "cpuConversion",
    "sourceSite",
    "destinationSite",
    "transferType",
    "taskID",
    "cmtConfig",
    "stateChangeTime",
    "prodDBUpdateTime",
    "lockedby",
    "relocationFlag",
    "jobExecutionID",
    "VO",
    "pilotTiming",
    "workingGroup",
    "processingType",
    "prodUserName",
    "nInputFiles",
    "countryGroup",
    "batchID",
    "parentID",
    "specialHandling",
    "jobsetID",
    "coreCount",
    "nInputDataFiles",
    "inputFileType",
    "inputFileProject",
    "inputFileBytes",
    "nOutputDataFiles",
    "outputFileBytes",
    "jobMetrics",
    "workQueue_ID",
    "jediTaskID",
    "jobSubStatus",
    "actualCoreCount",
    "reqID",
    "maxRSS",
    "maxVMEM",
    "maxSWAP",
    "maxPSS",
    "avgRSS",
    "avgVMEM",
    "avgSWAP",
    "avgPSS",
    "maxWalltime",
    "nucleus",
    "eventService",
    "failedAttempt",
    "hs06sec",
    "gshare",
    "hs06",
    "totRCHAR",
    "totWCHAR",
    "totRBYTES",
    "totWBYTES",
    "rateRCHAR",
    "rateWCHAR",
    "rateRBYTES",
    "rateWBYTES",
    "resource_type",
    "diskIO",
    "memory_leak",
    "memory_leak_x2",
    "container_name",
    "job_label",
    "gco2_regional",
    "gco2_global",
    "cpu_architecture_level",
    "outputFileType",
];

/// The attributes of a file, in the order of lists.
pub const FILE_ATTRIBUTES: [&str; 22] = [
    "row_ID",
    "PandaID",
    "GUID",
    "lfn",
    "type",
    "dataset",
    "status",
    "prodDBlock",
    "prodDBlockToken",
    "dispatchDBlock",
    "dispatchDBlockToken",
    "destinationDBlock",
    "destinationDBlockToken",
    "destinationSE",
    "fsize",
    "md5sum",
    "checksum",
    "scope",
    "jediTaskID",
    "datasetID",
    "fileID",
    "attemptNr",
];

/// The name under which a description has its files.
const FILES: &str = "Files";
/// The key that marks a time in a submission.
const TIME_MARK: &str = "_datetime_object";
/// The key that marks a time in an answer.
const ANSWER_TIME_MARK: &str = "__datetime__";

/// Why a submission of jobs cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jobs cannot be read: {0}")]
pub struct JobListError(String);

/// Reads the text of a submission.
///
/// # Errors
///
/// [`JobListError`] if it is no list of lists of values.
pub fn decode_list(text: &str) -> Result<Vec<JobForm>, JobListError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| JobListError(format!("the text is no JSON: {error}")))?;
    let Value::Array(jobs) = value else {
        return Err(JobListError("the text is no list of jobs".to_owned()));
    };
    jobs.into_iter().enumerate().map(decode_job).collect()
}

fn decode_job((nr, job): (usize, Value)) -> Result<JobForm, JobListError> {
    let bad = |what: &str| JobListError(format!("job {nr} {what}"));
    let Value::Array(mut values) = job else {
        return Err(bad("is no list"));
    };
    let Some(Value::Array(files)) = values.pop() else {
        return Err(bad("does not end with the list of its files"));
    };
    if values.len() > ATTRIBUTES.len() {
        return Err(bad("has more values than a job has attributes"));
    }
    let attributes = decode_values(&ATTRIBUTES, values)
        .map_err(|name| bad(&format!("has an object or a list as `{name}`")))?;
    let files = files
        .into_iter()
        .map(|file| match file {
            Value::Array(mut values) => {
                // Behind the attributes stands the job that owns the file, which is nothing here.
                values.truncate(FILE_ATTRIBUTES.len());
                decode_values(&FILE_ATTRIBUTES, values)
                    .map_err(|name| bad(&format!("has a file with an object as `{name}`")))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => Err(bad("has a file that is no list")),
        })
        .collect::<Result<_, _>>()?;
    Ok(JobForm { attributes, files })
}

/// Reads values in the order of their names; the error is the name of one that is no value.
fn decode_values<'n>(names: &[&'n str], values: Vec<Value>) -> Result<Attributes, &'n str> {
    let mut attributes = Attributes::default();
    for (name, value) in names.iter().zip(values) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => attributes.put(name, i64::from(flag)),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => attributes.put(name, whole),
                None => attributes.put_some(name, number.as_f64()),
            },
            Value::String(text) if text == NULL => {}
            Value::String(text) => attributes.put(name, text),
            Value::Object(object) => {
                let time = object
                    .get(TIME_MARK)
                    .or_else(|| object.get(ANSWER_TIME_MARK));
                let time = time.and_then(Value::as_str).ok_or(*name)?;
                attributes.put_some(name, time_of(time));
            }
            Value::Array(_) => return Err(*name),
        }
    }
    Ok(attributes)
}

/// Reads a time with or without a fraction of its seconds.
fn time_of(text: &str) -> Option<Timestamp> {
    let whole = text.split('.').next().unwrap_or_default().replace('T', " ");
    Timestamp::from_panda_text(&whole).ok()
}

/// Writes a job as an object with all attributes and its files; what is not set is null.
#[must_use]
pub fn encode_description(form: &JobForm) -> Value {
    let mut members = encode_attributes(&ATTRIBUTES, &form.attributes);
    let files = form.files.iter();
    let files: Vec<Value> = files
        .map(|file| encode_attributes(&FILE_ATTRIBUTES, file).into())
        .collect();
    members.insert(FILES.to_owned(), files.into());
    members.into()
}

fn encode_attributes(names: &[&str], attributes: &Attributes) -> Map<String, Value> {
    names
        .iter()
        .map(|name| {
            let value = match attributes.get(name) {
                None => Value::Null,
                Some(FormValue::Int(value)) => json!(value),
                Some(FormValue::Real(value)) => json!(value),
                Some(FormValue::Text(text)) => json!(text),
                Some(FormValue::Time { time }) => {
                    json!({ANSWER_TIME_MARK: time.to_panda_text().replace(' ', "T")})
                }
            };
            ((*name).to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job of a client that knows only the first attributes.
    fn short(files: &Value) -> String {
        let mut values = vec![json!(NULL); 4];
        values.push(json!({TIME_MARK: "2026-01-31 10:00:00.123456"}));
        values.push(files.clone());
        json!([values]).to_string()
    }

    #[test]
    fn a_shorter_list_ends_with_its_files_too() {
        let file = json!([NULL, NULL, "G", "a.root", "output", NULL]);
        let jobs = decode_list(&short(&json!([file]))).expect("jobs");
        assert_eq!(jobs[0].files[0].text("lfn"), "a.root");
        assert_eq!(jobs[0].files[0].get("dataset"), None);
        let made = Timestamp::from_panda_text("2026-01-31 10:00:00").expect("a time");
        let expected = FormValue::Time { time: made };
        assert_eq!(jobs[0].attributes.get("creationTime"), Some(&expected));
    }

    #[test]
    fn what_is_no_list_of_jobs_is_refused_with_its_place() {
        for text in ["", "{}", "[5]", "[[]]", "[[1, 2]]", "[[[], []]]", "[[[5]]]"] {
            let error = decode_list(text).expect_err(text);
            assert!(error.to_string().contains("jobs cannot be read"), "{error}");
        }
        let mut too_long = vec![json!(1); ATTRIBUTES.len() + 1];
        too_long.push(json!([]));
        assert!(decode_list(&json!([too_long]).to_string()).is_err());
        assert!(decode_list(&short(&json!({}))).is_err());
    }

    #[test]
    fn a_description_has_every_attribute() {
        let mut form = JobForm::default();
        form.attributes.put("PandaID", 7_i64);
        form.files.push(Attributes::default());
        let described = encode_description(&form);
        let members = described.as_object().expect("an object");
        assert_eq!(members.len(), ATTRIBUTES.len() + 1);
        assert_eq!(described["PandaID"], 7);
        assert!(described["jobName"].is_null());
        let file = described["Files"][0].as_object().expect("an object");
        assert_eq!(file.len(), FILE_ATTRIBUTES.len());
    }
}
