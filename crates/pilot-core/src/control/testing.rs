//! Small data for tests: a queue, a storage that the node mounts, a job.

use std::{collections::BTreeMap, time::Duration};

use ailurus_experiment::Profile;
use ailurus_model::{
    AttemptNr, ByteCount, DatasetName, EndpointName, InputFile, Job, Lfn, OutputFile, PandaId,
    Queue, QueueName, Scope, SourceLabel, StorageEndpoint, StorageProtocol, TaskId, Timestamp,
};

use crate::{
    PilotConfig,
    config::{Cleanup, Identity, NextJob, Purpose, Slots},
    input::Site,
};

pub(crate) fn config() -> PilotConfig {
    PilotConfig {
        purpose: Purpose::Serve,
        profile: Profile::built_in("generic").expect("built in"),
        queue: QueueName::new("Q"),
        source_label: SourceLabel::new("user"),
        version_tag: "PR".into(),
        job_requests_max: 2,
        job_failures_max: 5,
        slots: Slots::default(),
        job_request_pause: Duration::from_secs(60),
        lifetime: Duration::from_secs(324_000),
        resource_type: None,
        request: ailurus_model::RequestDetails::default(),
        next_job: NextJob::SameTask,
        script_urls: vec!["http://trf.example.org".into()],
        input_dir: None,
        input_places: Vec::new(),
        output_dir: None,
        data: crate::config::DataSettings::default(),
        cleanup: Cleanup::Remove,
        variables: BTreeMap::new(),
        log_stream: crate::payload::log_stream::StreamSettings::default(),
        identity: Identity::default(),
        start_time: Timestamp::from_millis(1_800_000_000_000),
        seed: [5; 16],
    }
}

pub(crate) fn site() -> Site {
    let endpoint = EndpointName::new("EP");
    let protocol = StorageProtocol {
        endpoint: "file://".into(),
        path: "/store".into(),
        id: None,
    };
    let activities = ["read_lan", "write_lan"].map(str::to_owned);
    let storage = StorageEndpoint {
        name: endpoint.clone(),
        site: "SITE".into(),
        kind: "DATADISK".into(),
        state: "ACTIVE".into(),
        is_deterministic: true,
        protocols: activities
            .clone()
            .map(|activity| (activity, vec![protocol.clone()]))
            .into(),
        options: ailurus_model::StorageOptions::default(),
    };
    Site {
        queue: Queue {
            site: "SITE".into(),
            storages: activities
                .map(|activity| (activity, vec![endpoint.clone()]))
                .into(),
            ..Queue::named("Q")
        },
        storages: BTreeMap::from([(endpoint, storage)]),
    }
}

pub(crate) fn job(number: u64) -> Job {
    Job {
        panda_id: PandaId::new(number),
        attempt_nr: AttemptNr::new(1),
        task_id: TaskId::new(77),
        jobset_id: 5,
        name: "test".into(),
        source_label: SourceLabel::new("user"),
        processing_type: String::new(),
        user: "me".into(),
        transformation: "http://trf.example.org/run.sh".into(),
        parameters: "-x 1".into(),
        release: String::new(),
        platform: String::new(),
        container_image: String::new(),
        core_count: 1,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        walltime: Duration::ZERO,
        resource_type: "SCORE".into(),
        priority: 0,
        inputs: vec![],
        outputs: vec![],
        log: Some(output_file("log.tgz")),
        looping_check: true,
        outputs_optional: vec![],
        transfer_type: String::new(),
        options: ailurus_model::JobOptions::default(),
    }
}

pub(crate) fn input_file(lfn: &str) -> InputFile {
    InputFile {
        lfn: Lfn::new(lfn),
        scope: Scope::new("user.alice"),
        guid: None,
        dataset: DatasetName::new("ds"),
        size: Some(ByteCount::from_bytes(10)),
        checksum: None,
        endpoint: EndpointName::new("EP"),
    }
}

pub(crate) fn output_file(lfn: &str) -> OutputFile {
    OutputFile {
        lfn: Lfn::new(lfn),
        scope: Scope::new("user.alice"),
        guid: None,
        dataset: DatasetName::new("ds"),
        endpoint: EndpointName::new("EP"),
    }
}
