//! One door to every decoder of the crate, for fuzzing and for the test that no bytes panic.

use ailurus_model::{HarvesterId, PandaId, QueueName};

use crate::{
    Answer, Dialect, Fields, body, cloud_event, credential_call, event_ranges, get_job,
    harvester_call, harvester_files, job_file, job_spec, job_status, job_text, node_map, plain_job,
    python_literal, queue_data, resource_types, rucio, storage_data, system_call, task_file,
    update_bulk, update_job, worker_status, worker_text,
};

/// Gives the bytes to every decoder in both dialects and drops what they make of them.
///
/// It returns whatever the bytes are: a decoder that panics is a defect.
pub fn decode_anything(bytes: &[u8]) {
    let query = body::decode_query(&String::from_utf8_lossy(bytes));
    let form = body::decode_form(bytes);
    let json = body::decode_json(bytes).unwrap_or_default();
    for dialect in Dialect::ALL {
        for fields in [&query, &form, &json] {
            decode_requests(dialect, fields);
        }
        decode_answers(dialect, bytes);
    }
    for kind in [None, Some(body::JSON_TYPE), Some(body::FORM_TYPE)] {
        drop(body::decode_request(kind, bytes));
    }
    decode_deep(&json, bytes);
    drop(queue_data::decode(bytes, &QueueName::new("Q")));
    drop(queue_data::decode_all(bytes));
    drop(storage_data::decode(bytes));
    drop(job_file::decode(bytes));
    drop(plain_job::decode(bytes));
    drop(harvester_files::decode_ids(bytes));
    drop(harvester_files::shrink_job_report(
        &String::from_utf8_lossy(bytes),
    ));
    for kind in [cloud_event::STRUCTURED_TYPE, body::JSON_TYPE] {
        let header = |name: &str| (name == "content-type").then_some(kind);
        drop(cloud_event::decode(header, bytes));
    }
    decode_rucio(bytes);
    drop(task_file::parse(
        "fuzz.toml",
        &String::from_utf8_lossy(bytes),
    ));
}

/// What is within a field, or within a text.
fn decode_deep(json: &Fields, bytes: &[u8]) {
    drop(job_spec::decode_list(&String::from_utf8_lossy(bytes)));
    let Ok(value) = body::decode_value(bytes) else {
        return;
    };
    drop(python_literal::encode(&value));
    for version in [0, 1] {
        drop(event_ranges::decode_message(&value, version));
    }
    for (_, value) in json.iter() {
        for version in [0, 1] {
            drop(event_ranges::decode_message(value, version));
        }
    }
}

fn decode_rucio(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(rucio::auth::decode_answer(|_| Some(&text)));
    drop(rucio::refusal::decode(|_| Some(&text), bytes));
    drop(rucio::replicas::decode_answer(bytes, drop));
    drop(rucio::rse::decode_rse(bytes));
    drop(rucio::rse::decode_protocols(bytes));
    drop(rucio::rse::decode_attributes(bytes));
    drop(rucio::register::decode_not_declared(bytes));
    drop(rucio::dids::decode_state(bytes));
    drop(rucio::dids::decode_files(bytes));
}

fn decode_requests(dialect: Dialect, fields: &Fields) {
    drop(get_job::decode_request(dialect, fields));
    drop(job_text::decode(fields));
    drop(update_job::decode_request(dialect, fields));
    drop(update_bulk::decode_request(fields));
    drop(job_status::decode_request(dialect, fields));
    drop(worker_status::decode_request(dialect, fields));
    drop(node_map::decode_node(fields));
    drop(node_map::decode_gpus(fields));
    drop(worker_text::decode_request(fields));
    drop(worker_text::decode(&HarvesterId::new("h"), fields));
    drop(harvester_call::decode_heartbeat(fields));
    drop(harvester_call::decode_statistics(fields));
    drop(harvester_call::decode_commands_request(fields));
    drop(harvester_call::decode_acknowledgement(fields));
    drop(harvester_call::decode_worker_id_request(fields));
}

fn decode_answers(dialect: Dialect, bytes: &[u8]) {
    drop(Answer::parse(dialect, bytes).map(Answer::into_fields));
    drop(get_job::decode_answer(dialect, bytes));
    drop(update_job::decode_answer(dialect, bytes));
    drop(job_status::decode_answer(
        dialect,
        &[PandaId::new(1), PandaId::new(2)],
        bytes,
    ));
    drop(system_call::decode_is_alive(dialect, bytes));
    drop(system_call::decode_job_statistics(bytes));
    drop(credential_call::decode_answer(dialect, bytes));
    drop(resource_types::decode_answer(dialect, bytes));
    drop(node_map::decode_answer(bytes));
    drop(update_bulk::decode_answer(bytes));
    drop(worker_text::decode_answer(bytes));
    drop(harvester_call::decode_commands(bytes));
    drop(harvester_call::decode_worker_id(bytes));
}
