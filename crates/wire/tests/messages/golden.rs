//! Messages of the real components are understood, and ours are written as they expect them.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, ByteCount, Checksum, Command, HarvesterId, Job, JobRequest, JobStatus, JobUpdate,
    PandaId, Queue, QueueName, TaskId, Timestamp, UpdateAnswer, WorkerId, WorkerStatus,
    queue::QueueStatus,
};
use ailurus_wire::{
    Dialect, Fields, LegacyForm, body, get_job, get_job::JobsForm, harvester_call, job_file,
    job_text, queue_data, storage_data, update_bulk, update_job, worker_text,
};

use super::samples::sample;

fn fields(name: &str) -> Fields {
    let bytes = sample(name);
    if name.ends_with(".form") {
        body::decode_form(bytes.trim_ascii())
    } else {
        body::decode_json(bytes).expect("a JSON object")
    }
}

fn the_request() -> JobRequest {
    get_job::decode_request(Dialect::V1, &fields("v1/acquire_jobs.json")).expect("a request")
}

fn the_job() -> Job {
    job_text::decode(&fields("legacy/job.json")).expect("a job")
}

fn the_update() -> JobUpdate {
    update_job::decode_request(Dialect::V1, &fields("v1/update_job.json")).expect("an update")
}

#[test]
fn pilot_3_asks_for_a_job() {
    let request = the_request();
    assert_eq!(request.memory, ByteCount::from_mib(24_105));
    assert_eq!(request.worker_id, Some(WorkerId::new(42)));
    assert_eq!(request.task_id, Some(TaskId::new(77)));
    for name in ["pilot3/get_job.json", "pilot3/get_job.form"] {
        let mut read = get_job::decode_request(Dialect::Legacy, &fields(name)).expect(name);
        assert_eq!(read.details.cpu_mhz, Some(2596), "{name}");
        read.details.cpu_mhz = None;
        assert_eq!(read, request, "{name}");
    }
}

#[test]
fn we_ask_for_a_job_in_both_dialects() {
    for (dialect, name) in [
        (Dialect::Legacy, "legacy/get_job.json"),
        (Dialect::V1, "v1/acquire_jobs.json"),
    ] {
        let written = get_job::encode_request(dialect, &the_request());
        assert_eq!(written, fields(name), "{name}");
    }
}

#[test]
fn harvesters_job_files_are_the_same_job_in_both_of_its_formats() {
    let job = |name| {
        let mut offered = job_file::decode(sample(name)).expect(name);
        assert!(offered.broken.is_empty(), "{name}");
        offered.jobs.remove(0)
    };
    let read = job("harvester/HPCJobs.json");
    assert_eq!(read, job("harvester/pandaJobData.form"));
    assert_eq!(read.panda_id, PandaId::new(5_551_001));
    assert_eq!((read.core_count, read.attempt_nr.value()), (4, 2));
    assert_eq!(read.log.expect("a log").lfn.as_str(), "log.tgz");
}

#[test]
fn the_job_of_a_reference_server_is_read() {
    let job = the_job();
    assert_eq!(job.parameters, "-x 1 --opt \"a b\"");
    assert_eq!(job.inputs[0].checksum, Some(Checksum::Adler32(1)));
    assert_eq!((job.outputs.len(), job.release.as_str()), (1, ""));
    let log = job.log.as_ref().expect("a log");
    assert_eq!(
        (log.lfn.as_str(), log.dataset.as_str()),
        ("log1.job.log.tgz", "ds.log")
    );
    assert_eq!(job.walltime, Duration::from_secs(3600));
    for (dialect, name) in [
        (Dialect::Legacy, "pilot3/job.form"),
        (Dialect::Legacy, "legacy/job.json"),
        (Dialect::V1, "v1/jobs.json"),
        (Dialect::V1, "v1/jobs.reference.json"),
    ] {
        let mut offered = get_job::decode_answer(dialect, sample(name)).expect("an answer");
        assert!(offered.broken.is_empty(), "{name}: {:?}", offered.broken);
        if name == "v1/jobs.reference.json" {
            assert!(std::mem::take(&mut offered.jobs[0].options.is_debug));
        }
        assert_eq!(offered.jobs, std::slice::from_ref(&job), "{name}");
    }
}

#[test]
fn our_server_gives_jobs_in_both_dialects() {
    let jobs = [the_job()];
    for (form, name) in [
        (JobsForm::Flat, "legacy/job.json"),
        (JobsForm::V1, "v1/jobs.json"),
    ] {
        let bytes = get_job::encode_answer(form, &jobs).to_body(LegacyForm::Json);
        let written = body::decode_json(&bytes).expect("a JSON object");
        assert_eq!(written, fields(name), "{name}");
    }
}

#[test]
fn pilot_3_reports_a_start() {
    let name = "pilot3/update_job.starting.json";
    let update = update_job::decode_request(Dialect::Legacy, &fields(name)).expect("an update");
    assert_eq!(update.status, JobStatus::Starting);
    assert_eq!(
        update.start_time,
        Some(Timestamp::from_millis(1_795_376_921_000))
    );
    assert_eq!(
        (update.usage, update.pilot_error, update.metadata),
        (None, None, None)
    );
}

#[test]
fn pilot_3_reports_an_end() {
    let name = "pilot3/update_job.finished.json";
    let update = update_job::decode_request(Dialect::Legacy, &fields(name)).expect("an update");
    let usage = update.usage.expect("usage");
    assert_eq!(usage.max.rss, ByteCount::from_kib(2048));
    assert_eq!(usage.span, Duration::from_secs(100), "from the rates");
    assert_eq!(update.outputs[0].checksum, Checksum::Adler32(0x05a5_01a5));
    assert_eq!(
        update.timing.expect("timing").payload,
        Duration::from_secs(5)
    );
    assert_eq!(update, the_update());
}

#[test]
fn we_report_an_end_in_both_dialects() {
    for (dialect, name) in [
        (Dialect::Legacy, "legacy/update_job.json"),
        (Dialect::V1, "v1/update_job.json"),
    ] {
        let written = update_job::encode_request(dialect, &the_update());
        assert_eq!(written, fields(name), "{name}");
    }
}

#[test]
fn answers_to_updates_read_as_pilot_3_expects_them() {
    let body = |dialect, answer: &UpdateAnswer, form| {
        let bytes = update_job::encode_answer(dialect, answer).to_body(form);
        String::from_utf8(bytes).expect("text")
    };
    let nothing = UpdateAnswer::default();
    let kill = UpdateAnswer {
        commands: vec![Command::Debug(None), Command::ToBeKilled],
        ..UpdateAnswer::default()
    };
    for (dialect, form, answer, expected) in [
        (
            Dialect::Legacy,
            LegacyForm::Urlencoded,
            &nothing,
            "StatusCode=0&command=NULL",
        ),
        (
            Dialect::Legacy,
            LegacyForm::Urlencoded,
            &kill,
            "StatusCode=0&command=debug%2Ctobekilled",
        ),
        (
            Dialect::Legacy,
            LegacyForm::Json,
            &nothing,
            r#"{"StatusCode":0,"command":"NULL"}"#,
        ),
        (
            Dialect::V1,
            LegacyForm::Urlencoded,
            &nothing,
            r#"{"success":true,"message":"","data":{"StatusCode":0,"command":null}}"#,
        ),
    ] {
        assert_eq!(body(dialect, answer, form), expected);
    }
}

#[test]
fn an_update_without_job_or_with_a_wrong_state_is_answered_as_by_the_reference() {
    for (dialect, body, expected) in [
        (
            Dialect::Legacy,
            r#"{"jobId": "NULL", "state": "running"}"#,
            "StatusCode=0",
        ),
        (
            Dialect::Legacy,
            r#"{"jobId": "1", "state": "walking"}"#,
            "StatusCode=0",
        ),
        (
            Dialect::V1,
            r#"{"job_id": 1, "job_status": "walking"}"#,
            r#"{"success":false,"message":"Invalid job status: walking","data":{"StatusCode":50}}"#,
        ),
        (
            Dialect::V1,
            r#"{"job_id": "1", "job_status": "running"}"#,
            r#"{"success":false,"message":"Type error: 'job_id' must be of type int, got str.","data":null}"#,
        ),
    ] {
        let fields = body::decode_json(body.as_bytes()).expect("an object");
        let error = update_job::decode_request(dialect, &fields).expect_err("refused");
        let bytes = error.to_answer(dialect).to_body(LegacyForm::Urlencoded);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }
}

#[test]
fn texts_are_cut_to_what_panda_keeps() {
    let mut update = the_update();
    update.job_metrics = "m".repeat(update_job::METRICS_MAX + 1);
    update.stdout = format!("{}end", "s".repeat(update_job::STDOUT_MAX));
    update.pilot_log = "l".repeat(update_job::PILOT_LOG_MAX + 1);
    for dialect in Dialect::ALL {
        let fields = update_job::encode_request(dialect, &update);
        let read = update_job::decode_request(dialect, &fields).expect("own words");
        assert_eq!(read.job_metrics.len(), update_job::METRICS_MAX);
        assert_eq!(read.pilot_log.len(), update_job::PILOT_LOG_MAX);
        assert_eq!(read.stdout.len(), update_job::STDOUT_MAX);
        assert!(read.stdout.ends_with("end"));
    }
}

#[test]
fn harvester_reports_jobs_in_bulk() {
    let bulk = update_bulk::decode_request(&fields("harvester/update_jobs_bulk.json"));
    let bulk = bulk.expect("updates");
    let updates: Vec<_> = bulk.updates.into_iter().map(Result::unwrap).collect();
    assert_eq!(updates[1].panda_id, PandaId::new(1002));
    assert_eq!(updates[1].attempt_nr, Some(AttemptNr::new(2)));
    assert_eq!(updates[1].sub_status, "missed");
    assert_eq!(
        updates[1].pilot_error.as_ref().map(|error| error.code),
        Some(1008)
    );
    let answers = updates
        .iter()
        .map(|_| update_job::encode_answer(Dialect::V1, &UpdateAnswer::with(Command::ToBeKilled)));
    let bytes = update_bulk::encode_answer(&answers.collect::<Vec<_>>());
    let read = update_bulk::decode_answer(&bytes.to_body(LegacyForm::Json)).expect("answers");
    assert_eq!(read.len(), 2);
    assert!(
        read.into_iter()
            .all(|answer| answer.unwrap().has(&Command::ToBeKilled))
    );
}

#[test]
fn harvester_reports_itself_and_its_workers() {
    let workers = worker_text::decode_request(&fields("harvester/update_workers.json"));
    let worker = workers
        .expect("workers")
        .workers
        .remove(0)
        .expect("a worker");
    assert_eq!(worker.status, WorkerStatus::Finished);
    assert_eq!(worker.exit_code, Some(0));
    assert_eq!(worker.panda_ids, [PandaId::new(1001)]);
    let run = worker
        .end_time
        .expect("an end")
        .since(worker.start_time.expect("a start"));
    assert_eq!(run, Duration::from_millis(539_500));

    let heartbeat = harvester_call::decode_heartbeat(&fields("harvester/heartbeat.json"));
    let heartbeat = heartbeat.expect("a heartbeat");
    assert_eq!(heartbeat.harvester_id, HarvesterId::new("h1"));
    assert_eq!(heartbeat.version, "0.7.5");
    let written = harvester_call::encode_heartbeat(&heartbeat);
    assert_eq!(harvester_call::decode_heartbeat(&written), Ok(heartbeat));

    let name = "harvester/report_worker_statistics.json";
    let statistics = harvester_call::decode_statistics(&fields(name)).expect("statistics");
    assert_eq!(statistics.counts["managed"]["SCORE"]["running"], 3);
    let written = harvester_call::encode_statistics(&statistics);
    assert_eq!(harvester_call::decode_statistics(&written), Ok(statistics));
}

#[test]
fn harvester_gets_commands_and_acknowledges_them() {
    let request = harvester_call::CommandsRequest {
        harvester_id: HarvesterId::new("h1"),
        n_commands: 10,
    };
    let written = harvester_call::encode_commands_request(&request);
    assert_eq!(
        harvester_call::decode_commands_request(&written),
        Ok(request)
    );
    let commands = [harvester_call::HarvesterCommand {
        id: 3,
        command: "SET_N_WORKERS_JOBTYPE:Q".to_owned(),
        params: serde_json::json!({"managed": {"SCORE": 2}}),
        wants_acknowledgement: true,
        created: Some(Timestamp::from_millis(1_795_376_921_000)),
    }];
    let bytes = harvester_call::encode_commands(&commands).to_body(LegacyForm::Json);
    assert_eq!(
        harvester_call::decode_commands(&bytes).expect("commands"),
        commands
    );
    let written = harvester_call::encode_acknowledgement(&[3]);
    assert_eq!(
        harvester_call::decode_acknowledgement(&written),
        Ok(vec![3])
    );
    let bytes = harvester_call::encode_worker_id(WorkerId::new(9)).to_body(LegacyForm::Json);
    let id = harvester_call::decode_worker_id(&bytes).expect("a number");
    assert_eq!(id, WorkerId::new(9));
}

#[test]
fn the_smallest_queue_of_pilot_3_is_read() {
    let name = QueueName::new("Q");
    let bytes = sample("information/queue.minimal.json");
    let queue = queue_data::decode(bytes, &name).expect("a queue");
    assert_eq!(queue.time_floor, Duration::from_secs(600 * 60));
    assert_eq!(queue.copy_tools["pr"], ["mv"]);
    assert_eq!(queue.max_time, Duration::ZERO);
    assert!(!queue.has_cvmfs);
    assert_eq!(queue.memory_grace_percent, 100);
    // Every key of the sample is in what we write, so that Pilot 3 finds it.
    let written = Fields::from_value(queue_data::encode(&queue)).expect("an object");
    let sample = fields("information/queue.minimal.json");
    assert!(sample.iter().all(|(key, _)| written.has(key)));
}

#[test]
fn a_queue_of_cric_is_read_whatever_the_types_and_keys() {
    let bytes = sample("information/queues.cric.json");
    let queue = queue_data::decode(bytes, &QueueName::new("SPD_JINR")).expect("a queue");
    assert_eq!(queue.status, QueueStatus::Brokeroff);
    assert_eq!((queue.core_count, queue.site.as_str()), (8, "JINR-LCG2"));
    assert_eq!(queue.memory, ByteCount::from_mib(16_000));
    assert_eq!(
        (queue.max_input_size, queue.time_floor),
        (None, Duration::ZERO)
    );
    assert!(queue.has_cvmfs && queue.job_walltime_is_limit);
    assert_eq!(
        (queue.worker_queue_limit, queue.worker_limit),
        (Some(20), Some(200))
    );
    let endpoint = queue.output_endpoint().expect("an endpoint");
    assert_eq!(endpoint.as_str(), "JINR_EOS");
}

#[test]
fn a_queue_that_is_broken_or_missing_says_so() {
    let bytes = sample("information/queues.cric.json");
    let set = queue_data::decode_all(bytes).expect("queues");
    assert_eq!((set.queues.len(), set.broken.len()), (1, 1));
    let error = |name: &str, bytes: &[u8]| -> String {
        let error = queue_data::decode(bytes, &QueueName::new(name)).expect_err("no queue");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    assert!(error("SPD_BROKEN", bytes).contains("field `nickname` is `nothing`"));
    assert!(error("OTHER", bytes).contains("no queue `OTHER`"));
    assert!(error("Q", br#"{"error": "no such thing"}"#).contains("answered `no such thing`"));
}

#[test]
fn storage_data_of_cric_are_read() {
    let set = storage_data::decode(sample("information/ddmendpoints.json")).expect("storage");
    assert_eq!((set.endpoints.len(), set.broken.len()), (1, 1));
    let endpoint = set.endpoints.values().next().expect("an endpoint");
    assert!(endpoint.is_deterministic);
    let urls: Vec<_> = endpoint
        .protocols_for(&["read_wan", "read_lan"])
        .iter()
        .map(|protocol| protocol.url("a/b"))
        .collect();
    assert_eq!(
        urls,
        [
            "root://eos.example.org:1094//eos/spd/a/b",
            "file:///eos/spd/a/b"
        ]
    );
}

#[test]
fn a_queue_written_for_pilot_3_has_sane_grace() {
    let queue: Queue = queue_data::decode(
        sample("information/queue.minimal.json"),
        &QueueName::new("Q"),
    )
    .expect("a queue");
    let written = queue_data::encode(&queue);
    assert_eq!(written["params"]["pilot_rss_grace"], 100);
    assert_eq!(written["timefloor"], 600);
    assert_eq!(written["maxinputsize"], -1);
}
