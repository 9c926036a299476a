//! Jobs, queue data and answers that are made to harm: a coded error or right handling, no panic.

use ailurus_model::{ErrorCode, QueueName};
use ailurus_wire::{Dialect, Fields, body, get_job, job_text, queue_data, storage_data};
use serde_json::{Value, json};

use super::samples::sample;

/// Values of every JSON type, and texts that other programs stumble over.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!("-5"),
        json!("many"),
        json!("$(touch x); `id` | ../../etc/passwd"),
        json!("a\u{0}b"),
        json!("x".repeat(1 << 20)),
        json!(",,,,"),
        json!([[]]),
        json!(["a", 1, null]),
        json!({"a": {"b": []}}),
    ]
}

/// The sample's members, one after another replaced by each odd value.
fn distortions(sample: &Value) -> impl Iterator<Item = (String, Value)> + '_ {
    let members = sample.as_object().expect("an object");
    members.keys().flat_map(move |name| {
        odd_values().into_iter().map(move |odd| {
            let mut distorted = members.clone();
            distorted.insert(name.clone(), odd);
            (name.clone(), Value::Object(distorted))
        })
    })
}

fn the_job() -> Value {
    body::decode_value(sample("legacy/job.json")).expect("JSON")
}

fn decode(job: Value) -> Result<ailurus_model::Job, job_text::JobError> {
    job_text::decode(&Fields::from_value(job).expect("an object"))
}

#[test]
fn every_field_of_a_job_may_have_any_type() {
    for (name, job) in distortions(&the_job()) {
        if let Err(error) = decode(job) {
            assert!(
                matches!(
                    error.code(),
                    ErrorCode::ConversionFailure | ErrorCode::NotSameLength
                ),
                "{name}: {error:?}"
            );
            assert!(!error.source.field.is_empty(), "{name}");
        }
    }
}

#[test]
fn every_key_of_queue_and_storage_data_may_have_any_type() {
    let queue = body::decode_value(sample("information/queue.minimal.json")).expect("JSON");
    for (name, value) in distortions(&queue) {
        if let Err(error) = queue_data::decode(value.to_string().as_bytes(), &QueueName::new("Q")) {
            assert!(
                matches!(
                    error.code(),
                    ErrorCode::QueueData | ErrorCode::QueueDataNotOk
                ),
                "{name}: {error}"
            );
        }
    }
    let storages = body::decode_value(sample("information/ddmendpoints.json")).expect("JSON");
    for (_, endpoint) in storages.as_object().expect("an object") {
        for (_, value) in distortions(endpoint) {
            let text = json!({"EP": value}).to_string();
            let set = storage_data::decode(text.as_bytes()).expect("a map");
            assert_eq!(set.endpoints.len() + set.broken.len(), 1);
        }
    }
}

#[test]
fn shell_syntax_and_climbing_names_are_kept_as_they_are_for_the_checks_behind() {
    let mut job = the_job();
    job["jobPars"] = json!("; rm -rf / #");
    job["inFiles"] = json!("../../etc/passwd");
    job["outFiles"] = json!("/etc/x,log1.job.log.tgz");
    let job = decode(job).expect("a job");
    assert_eq!(job.parameters, "; rm -rf / #");
    assert_eq!(job.inputs[0].lfn.as_str(), "../../etc/passwd");
    assert_eq!(job.outputs[0].lfn.as_str(), "/etc/x");
}

#[test]
fn a_nul_byte_anywhere_fails_the_job_with_the_fields_name() {
    for name in [
        "inFiles",
        "outFiles",
        "jobPars",
        "transformation",
        "logFile",
    ] {
        let mut job = the_job();
        job[name] = json!("a\u{0}b");
        let error = decode(job).expect_err(name);
        assert_eq!(
            (error.source.field.as_str(), error.code()),
            (name, ErrorCode::ConversionFailure)
        );
        assert!(error.panda_id.is_some(), "{name}");
    }
}

#[test]
fn a_negative_size_of_an_input_fails_the_job_and_negative_needs_are_not_stated() {
    let mut job = the_job();
    job["fsize"] = json!("-10");
    let error = decode(job).expect_err("a size");
    assert_eq!(error.source.field, "fsize");
    let mut job = the_job();
    for name in ["minRamCount", "maxDiskCount", "maxWalltime", "maxCpuCount"] {
        job[name] = json!(-10);
    }
    let job = decode(job).expect("a job");
    assert!(job.walltime.is_zero() && job.memory.as_bytes() == 0);
}

#[test]
fn ten_thousand_files_and_a_megabyte_of_parameters_are_a_job() {
    let mut job = the_job();
    let list = |text: &dyn Fn(usize) -> String| -> Value {
        let parts: Vec<String> = (0..10_000).map(text).collect();
        json!(parts.join(","))
    };
    job["inFiles"] = list(&|nr| format!("in{nr}"));
    job["scopeIn"] = list(&|_| "s".into());
    for name in [
        "fsize",
        "checksum",
        "ddmEndPointIn",
        "GUID",
        "realDatasetsIn",
    ] {
        job[name] = json!("NULL");
    }
    for name in ["fsize", "checksum", "ddmEndPointIn"] {
        job[name] = list(&|_| "NULL".into());
    }
    job["jobPars"] = json!("x ".repeat(1 << 19));
    let job = decode(job).expect("a job");
    assert_eq!((job.inputs.len(), job.parameters.len()), (10_000, 1 << 20));
}

#[test]
fn what_other_servers_and_proxies_say_is_an_error_with_a_code() {
    let bomb = body::compress(&vec![b' '; body::BODY_MAX + 1]);
    let whole = body::compress(br#"{"success": true, "message": "", "data": null}"#);
    let answers: [&[u8]; 8] = [
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
        b"\0\0\0",
        b"[]",
        b"null",
        br#"{"success": true, "data": {"StatusCode": 0, "jobs": "#,
        &whole[..whole.len() - 9],
        &bomb,
    ];
    for dialect in Dialect::ALL {
        for bytes in answers {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
            let error = get_job::decode_answer(dialect, bytes).expect_err(&shown);
            assert!(
                matches!(
                    error.code(),
                    ErrorCode::CommunicationFailure | ErrorCode::ConversionFailure
                ),
                "{shown}: {error}"
            );
        }
    }
}

#[test]
fn of_several_jobs_the_sound_ones_are_kept_and_the_broken_ones_named() {
    let mut broken = the_job();
    broken["PandaID"] = json!(1002);
    broken["fsize"] = json!("many");
    let answer = json!({"success": true, "message": "", "data":
        {"StatusCode": 0, "jobs": [the_job(), broken, 7, the_job()]}});
    let bytes = answer.to_string().into_bytes();
    // One that is no object at all spoils the list: what else would be lost is not known.
    assert!(get_job::decode_answer(Dialect::V1, &bytes).is_err());
    let mut answer = answer;
    answer["data"]["jobs"]
        .as_array_mut()
        .expect("a list")
        .remove(2);
    let bytes = answer.to_string().into_bytes();
    let offered = get_job::decode_answer(Dialect::V1, &bytes).expect("an answer");
    assert_eq!((offered.jobs.len(), offered.broken.len()), (2, 1));
    assert_eq!(
        offered.broken[0].panda_id,
        Some(ailurus_model::PandaId::new(1002))
    );
}
