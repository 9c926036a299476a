//! The golden samples, built into the test.

macro_rules! samples {
    ($($name:literal),* $(,)?) => {
        /// Every sample with its name below `testdata/`.
        pub(crate) const ALL: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../testdata/", $name)))),*];
    };
}

samples! {
    "harvester/HPCJobs.json",
    "harvester/heartbeat.json",
    "harvester/pandaJobData.form",
    "harvester/report_worker_statistics.json",
    "harvester/update_jobs_bulk.json",
    "harvester/update_workers.json",
    "information/ddmendpoints.json",
    "information/queue.minimal.json",
    "information/queues.cric.json",
    "legacy/get_job.json",
    "legacy/job.json",
    "legacy/update_job.json",
    "pilot3/get_job.form",
    "pilot3/get_job.json",
    "pilot3/job.form",
    "pilot3/update_job.finished.json",
    "pilot3/update_job.starting.json",
    "rucio/add_replicas.json",
    "rucio/attributes.json",
    "rucio/list_replicas.json",
    "rucio/not_declared.json",
    "rucio/protocols.json",
    "rucio/refusal.json",
    "rucio/replicas.ndjson",
    "rucio/rse.json",
    "rucio/trace.json",
    "v1/acquire_jobs.json",
    "v1/jobs.json",
    "v1/jobs.reference.json",
    "v1/update_job.json",
}

/// Returns a sample by its name.
pub(crate) fn sample(name: &str) -> &'static [u8] {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
        .unwrap_or_else(|| panic!("no sample `{name}`"))
}
