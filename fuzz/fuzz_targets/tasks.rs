//! Gives any bytes to what reads task parameters, and to what is made of them: rules, ranges of
//! events, chunks, names and arguments. None may panic, hang or take much memory.

#![no_main]

use ailurus_jedi::{
    RefineSettings, RefinedTask, SplitRules, TaskParams,
    expand::{InputValue, JobValues, run_parameters},
    feed::{RangeRules, Ranges, made_contents},
    names::output_lfn,
    refine,
    retry_rules::RetryBook,
    split::{Access, JobLimits, Phase, QueueSize, Splitter},
};

/// Jobs that are made of one task at most: a task may ask for any number.
const JOBS: usize = 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(rules) = text.parse::<SplitRules>() {
        assert_eq!(rules.to_string().parse(), Ok(rules));
    }
    let _ = RetryBook::from_toml(text);
    let Ok(params) = TaskParams::from_text(text) else {
        return;
    };
    if let Ok(task) = refine(&params, &RefineSettings::default()) {
        let json = serde_json::to_string(&task).expect("a task is JSON");
        let read: RefinedTask = serde_json::from_str(&json).expect("it is read back");
        assert_eq!(read, task);
        make_jobs(&task);
    }
});

fn make_jobs(task: &RefinedTask) {
    let queue = QueueSize {
        scratch_bytes: 1 << 30,
        walltime_max_s: 86_400,
        cores: 1,
        core_power_milli: 10_000,
        access: Access::Copied,
    };
    let limits = JobLimits::for_task(task, &queue, Phase::Scouts);
    let Some(master) = task.master() else { return };
    let Ok(entries) = made_contents(task, master, 1) else {
        return;
    };
    let entries = entries.into_iter().take(1000);
    let ranges = Ranges::new(entries, RangeRules::of(task, master)).take(1000);
    for chunk in Splitter::new(ranges, Vec::new(), &limits).take(JOBS) {
        let lfns: Vec<(&str, String)> = task
            .outputs
            .iter()
            .map(|output| {
                (
                    output.stream.as_str(),
                    output_lfn(&output.lfn_template, 1, 1, ""),
                )
            })
            .collect();
        let input = InputValue {
            stream: master.stream.as_deref(),
            dataset: "d",
            files: chunk
                .master
                .iter()
                .map(|file| (file.lfn.as_str(), file.size))
                .collect(),
            are_physical: false,
        };
        let values = JobValues {
            task: Some(1),
            inputs: vec![input],
            outputs: lfns
                .iter()
                .map(|(stream, lfn)| (*stream, lfn.as_str()))
                .collect(),
            ..JobValues::default()
        };
        let _ = run_parameters(task, &values);
    }
}
