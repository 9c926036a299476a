//! Maps of task parameters as `prun` of panda-client 2.2.0 makes them, all the way to the arguments
//! of jobs. The maps in `testdata/prun.jsonl` were made by its own code.

use std::collections::BTreeMap;

use ailurus_jedi::{
    InputKind, RefineSettings, RefinedTask, Rule, TaskParams, build,
    expand::{EventNumbers, InputValue, JobValues, merge_parameters, run_parameters, with_steps},
    feed::{RangeRules, Ranges, made_contents, select},
    names::output_lfn,
    refine,
    split::{Access, Chunk, Content, JobLimits, Phase, QueueSize, Secondary, Splitter},
};

const TASK: u64 = 12;
const QUEUE: QueueSize = QueueSize {
    scratch_bytes: 100 << 30,
    walltime_max_s: 86_400,
    cores: 1,
    core_power_milli: 10_000,
    access: Access::Copied,
};

fn task(name: &str) -> RefinedTask {
    for line in include_str!("../testdata/prun.jsonl").lines() {
        let mut entry: serde_json::Value = serde_json::from_str(line).expect("a map");
        if entry["name"] == name {
            let params = TaskParams::from_value(entry["map"].take()).expect("an object");
            let settings = RefineSettings {
                user: "Ivan".to_owned(),
                ..RefineSettings::default()
            };
            return refine(&params, &settings).expect("a good map");
        }
    }
    panic!("no map `{name}`");
}

/// What each stream of a task reads, with `count` files in each dataset.
fn contents(task: &RefinedTask, count: usize) -> Vec<Vec<Content>> {
    let of_stream = |stream: &ailurus_jedi::InputStream| {
        let files = match stream.kind {
            InputKind::Dataset => {
                let names = stream.datasets.iter().flat_map(|dataset| {
                    let set = dataset.replace(':', ".");
                    (0..count).map(move |at| format!("{set}.minbias.{at:03}.root"))
                });
                let files = names.map(|lfn| Content {
                    lfn,
                    size: 1 << 30,
                    ..Content::default()
                });
                select(files.collect(), stream, 0).expect("entries")
            }
            InputKind::Pseudo
            | InputKind::Sequence
            | InputKind::PhysicalNames
            | InputKind::RandomSeed => made_contents(task, stream, 0).expect("entries"),
        };
        Ranges::new(files.into_iter(), RangeRules::of(task, stream)).collect()
    };
    task.inputs.iter().map(of_stream).collect()
}

/// The chunks of all jobs, with the streams' contents.
fn chunks(task: &RefinedTask, count: usize) -> (Vec<Vec<Content>>, Vec<Chunk>) {
    let contents = contents(task, count);
    let limits = JobLimits::for_task(task, &QUEUE, Phase::Bulk);
    let secondaries = task.secondaries().zip(&contents[1..]);
    let secondaries = secondaries
        .map(|(stream, files)| Secondary::new(stream, files, 0))
        .collect();
    let chunks = Splitter::new(contents[0].clone().into_iter(), secondaries, &limits).collect();
    (contents, chunks)
}

/// The arguments of the first job of each task.
fn arguments(task: &RefinedTask, contents: &[Vec<Content>], chunk: &Chunk, serial: u64) -> String {
    let written = task.written_streams();
    let outputs: BTreeMap<&str, String> = written
        .iter()
        .map(|(stream, (_, template))| (*stream, output_lfn(template, TASK, serial, "")))
        .collect();
    let mut inputs = vec![(&task.inputs[0], chunk.master.iter().collect::<Vec<_>>())];
    for (at, stream) in task.secondaries().enumerate() {
        let files = chunk.secondaries[at]
            .iter()
            .map(|place| &contents[at + 1][*place]);
        inputs.push((stream, files.collect()));
    }
    let values = JobValues {
        task: Some(TASK),
        inputs: inputs
            .iter()
            .map(|(stream, files)| InputValue {
                stream: stream.stream.as_deref(),
                dataset: stream.datasets.first().map_or("", String::as_str),
                files: files
                    .iter()
                    .map(|file| (file.lfn.as_str(), file.size))
                    .collect(),
                are_physical: stream.kind == InputKind::PhysicalNames,
            })
            .collect(),
        outputs: outputs
            .iter()
            .map(|(stream, lfn)| (*stream, lfn.as_str()))
            .collect(),
        serial,
        events: EventNumbers::of(&chunk.master),
        attempt: 1,
        extra: vec![("LIB", "lib.tgz".to_owned())],
        ..JobValues::default()
    };
    run_parameters(task, &values).expect("all inputs").text
}

fn first_arguments(name: &str) -> String {
    let task = task(name);
    let (contents, chunks) = chunks(&task, 4);
    arguments(&task, &contents, &chunks[0], 1)
}

const START: &str = "-j \"\" --sourceURL https://localhost:1 -r . ";

#[test]
fn jobs_without_input_get_running_numbers() {
    let task = task("no-input");
    let (contents, chunks) = chunks(&task, 0);
    let texts: Vec<String> = (1..)
        .zip(&chunks)
        .map(|(serial, chunk)| arguments(&task, &contents, chunk, serial))
        .collect();
    let expected = |serial, number| {
        format!(
            "{START}-a None -o \"{{'x.root': 'user.ivan.12._{serial:06}.x.root'}}\" -p \"sim.sh%20{number}%20%3E%20x.root\""
        )
    };
    assert_eq!(texts, [expected(1, 6), expected(2, 7), expected(3, 8)]);
}

#[test]
fn events_of_a_job_are_told() {
    let task = task("no-input-events");
    let (contents, chunks) = chunks(&task, 0);
    assert_eq!(chunks.len(), 10);
    let text = arguments(&task, &contents, &chunks[2], 3);
    assert!(text.ends_with("-p \"sim%20200%20100%20201\""), "{text}");
}

#[test]
fn input_files_are_listed_for_the_payload() {
    let task = task("input");
    assert_eq!(task.sites.excluded, ["BAD*"]);
    assert_eq!(task.rules.files_per_job(), Some(5));
    assert_eq!(task.amount.files, Some(50));
    assert_eq!(
        first_arguments("input"),
        format!(
            "{START}-a None -o \"{{'o.root': 'user.ivan.12._000001.o.root'}}\" -i \"['spd.run1.hits.minbias.000.root', \
             'spd.run1.hits.minbias.001.root', 'spd.run1.hits.minbias.002.root', 'spd.run1.hits.minbias.003.root']\" \
             -p \"reco%20%25IN\""
        )
    );
}

#[test]
fn a_build_comes_first_and_its_archive_is_named() {
    let task = task("input-build");
    assert!(task.rules.is_set(Rule::UseBuild));
    assert_eq!(task.rules.bytes_per_job(), None);
    assert_eq!(task.inputs[0].datasets, ["spd:run1.hits", "spd:run2.hits"]);
    let spec = task.build.as_ref().unwrap();
    assert_eq!(spec.label, "panda");
    assert!(spec.transformation.ends_with("/trf/user/buildGen-00-00-01"));
    let text = build::parameters(spec, "l.lib.tgz", task.payload.source_url.as_deref());
    assert_eq!(
        text,
        "-i  -o l.lib.tgz --sourceURL https://localhost:1 -r . "
    );
    assert!(first_arguments("input-build").contains(" -l lib.tgz "));
}

#[test]
fn outputs_wait_for_their_merge_under_another_name() {
    let task = task("merge");
    let text = first_arguments("merge");
    assert!(
        text.contains(
            "{'o.root': 'panda.um.user.ivan.12._000001.o.root', 'h.root': 'panda.um.user.ivan."
        ),
        "{text}"
    );
    let merge = task.merge.as_ref().unwrap();
    let logs = vec![("panda.um.l1", 5), ("panda.um.l2", 7)];
    let input = |stream, files| InputValue {
        stream: Some(stream),
        dataset: "d",
        files,
        are_physical: false,
    };
    let values = JobValues {
        task: Some(TASK),
        inputs: vec![
            input("LOG0", logs),
            input("OUTPUT0", vec![("panda.um.o1", 1), ("panda.um.o2", 2)]),
            input("OUTPUT1", vec![("panda.um.h1", 1)]),
        ],
        outputs: vec![("LOG0", "l"), ("OUTPUT0", "o"), ("OUTPUT1", "h")],
        serial: 1,
        ..JobValues::default()
    };
    assert_eq!(
        merge_parameters(&task, merge, &values).unwrap().text,
        "-r . -a None --sourceURL https://localhost:1 panda.um.o2,panda.um.o1:o panda.um.h1:h  panda.um.l2,panda.um.l1:l "
    );
}

#[test]
fn secondary_files_are_told_by_their_stream() {
    let task = task("secondary");
    let secondary = task.secondaries().next().unwrap();
    assert_eq!(secondary.stream.as_deref(), Some("MB"));
    assert_eq!(secondary.files_per_job, Some(2));
    assert!(secondary.is_reusable);
    let text = first_arguments("secondary");
    assert!(
        text.ends_with("'MB': ['spd.minbias.000.root', 'spd.minbias.001.root']}\""),
        "{text}"
    );
}

#[test]
fn a_container_runs_in_steps() {
    let task = task("container");
    assert_eq!(
        task.payload.container.as_deref(),
        Some("docker://spd/root:6")
    );
    assert_eq!((task.resources.cores, task.resources.ram_mb), (8, 3000));
    assert!(task.resources.ram_unit.is_per_core());
    assert_eq!(task.rules.walltime_max_s(), Some(5 * 3600));
    let steps = task.payload.steps.as_ref().unwrap();
    let text = with_steps("-x", steps, "https://server/run");
    assert!(
        text.contains(r#""preprocess":{"args":"--preprocess -x","command":"https://server/run"}"#),
        "{text}"
    );
}

#[test]
fn physical_names_go_to_jobs_in_order() {
    let task = task("pfn-list");
    let (contents, chunks) = chunks(&task, 0);
    assert_eq!(
        chunks
            .iter()
            .map(|chunk| chunk.master.len())
            .collect::<Vec<_>>(),
        [2, 1]
    );
    let text = arguments(&task, &contents, &chunks[1], 2);
    assert!(text.contains("-i \"['root://se//a/f3.root']\""), "{text}");
}

#[test]
fn files_are_cut_into_ranges_of_events() {
    let task = task("event-split");
    assert_eq!(task.attempts.per_file, 5);
    let (contents, chunks) = chunks(&task, 2);
    assert_eq!(chunks.len(), 20);
    let text = arguments(&task, &contents, &chunks[13], 14);
    assert!(
        text.contains("-i \"['spd.run1.hits.minbias.001.root']\""),
        "{text}"
    );
    assert!(text.ends_with("-p \"reco%20%25IN%20300\""), "{text}");
}
