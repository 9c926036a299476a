//! What is written in a dialect is read as the same value.

use ailurus_model::HarvesterId;
use ailurus_wire::{
    Dialect, Fields, LegacyForm, body,
    get_job::{self, JobsForm, OfferedJobs},
    job_file, queue_data, storage_data, update_bulk, update_job, worker_text,
};
use proptest::{collection::vec, prelude::*};

use super::generators;

/// The ways in which a request reaches a server, each as the server reads it.
fn as_received(dialect: Dialect, fields: &Fields) -> Vec<Fields> {
    let json = body::encode_json(fields);
    let read = |kind, bytes: &[u8]| body::decode_request(Some(kind), bytes).expect("own words");
    let mut received = vec![
        read(body::JSON_TYPE, &json),
        read(body::JSON_TYPE, &body::compress(&json)),
    ];
    match dialect {
        Dialect::Legacy => {
            received.push(read(body::FORM_TYPE, body::encode_form(fields).as_bytes()));
        }
        Dialect::V1 => {}
    }
    received
}

proptest! {
    #[test]
    fn job_requests_survive_both_dialects(request in generators::job_request()) {
        for dialect in Dialect::ALL {
            let fields = get_job::encode_request(dialect, &request);
            for received in as_received(dialect, &fields) {
                let read = get_job::decode_request(dialect, &received);
                prop_assert_eq!(read, Ok(request.clone()));
            }
        }
    }

    #[test]
    fn jobs_survive_every_form_of_answer(jobs in vec(generators::job(), 1..3)) {
        for form in [JobsForm::Flat, JobsForm::List, JobsForm::V1] {
            let (dialect, expected) = match form {
                JobsForm::Flat => (Dialect::Legacy, &jobs[..1]),
                JobsForm::List => (Dialect::Legacy, &jobs[..]),
                JobsForm::V1 => (Dialect::V1, &jobs[..]),
            };
            for encoding in LegacyForm::ALL {
                let bytes = get_job::encode_answer(form, &jobs).to_body(encoding);
                let read = get_job::decode_answer(dialect, &bytes).expect("own words");
                let expected = OfferedJobs { jobs: expected.to_vec(), broken: Vec::new() };
                prop_assert_eq!(read, expected);
            }
        }
    }

    #[test]
    fn jobs_survive_their_file(job in generators::job()) {
        let read = job_file::decode(&job_file::encode(&job)).expect("own words").jobs.remove(0);
        prop_assert_eq!(read, job);
    }

    #[test]
    fn updates_survive_both_dialects(update in generators::job_update()) {
        for dialect in Dialect::ALL {
            let fields = update_job::encode_request(dialect, &update);
            for received in as_received(dialect, &fields) {
                let read = update_job::decode_request(dialect, &received);
                prop_assert_eq!(read, Ok(update.clone()));
            }
        }
    }

    #[test]
    fn answers_to_updates_survive_both_dialects(answer in generators::update_answer()) {
        for dialect in Dialect::ALL {
            for encoding in LegacyForm::ALL {
                let bytes = update_job::encode_answer(dialect, &answer).to_body(encoding);
                let read = update_job::decode_answer(dialect, &bytes).expect("own words");
                prop_assert_eq!(&read, &answer);
            }
        }
    }

    #[test]
    fn updates_survive_together(updates in vec(generators::job_update(), 0..3)) {
        let harvester = HarvesterId::new("h");
        let fields = update_bulk::encode_request(&harvester, &updates);
        let read = update_bulk::decode_request(&fields).expect("own words");
        let read: Result<Vec<_>, _> = read.updates.into_iter().collect();
        let mut read = read.expect("own words");
        for update in &mut read {
            prop_assert_eq!(update.harvester_id.take(), Some(harvester.clone()));
        }
        prop_assert_eq!(read, updates);
    }

    #[test]
    fn queues_survive_alone_and_together(queue in generators::queue()) {
        let alone = queue_data::encode(&queue).to_string();
        let read = queue_data::decode(alone.as_bytes(), &queue.name).expect("own words");
        prop_assert_eq!(&read, &queue);
        let together = queue_data::encode_all([&queue]).to_string();
        let read = queue_data::decode(together.as_bytes(), &queue.name).expect("own words");
        prop_assert_eq!(&read, &queue);
        let set = queue_data::decode_all(together.as_bytes()).expect("own words");
        prop_assert_eq!(set.queues.get(&queue.name), Some(&queue));
    }

    #[test]
    fn endpoints_survive(endpoint in generators::endpoint()) {
        let text = storage_data::encode([&endpoint]).to_string();
        let set = storage_data::decode(text.as_bytes()).expect("own words");
        prop_assert!(set.broken.is_empty());
        prop_assert_eq!(set.endpoints.get(&endpoint.name), Some(&endpoint));
    }

    #[test]
    fn workers_survive(workers in vec(generators::worker("h"), 0..3)) {
        let fields = worker_text::encode_request(&HarvesterId::new("h"), &workers);
        for received in as_received(Dialect::V1, &fields) {
            let update = worker_text::decode_request(&received).expect("own words");
            let read: Result<Vec<_>, _> = update.workers.into_iter().collect();
            prop_assert_eq!(read, Ok(workers.clone()));
        }
    }
}
