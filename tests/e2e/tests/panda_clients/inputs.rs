//! What `prun` says about inputs and outputs, run to the end: which files a job reads, and what the
//! user gets.

use std::fs;

use anyhow::bail;

use crate::site::{LABEL, QUEUE, Site};

/// Most runs of the pilot for one task: builds and merges come in runs of their own.
const RUNS_MAX: usize = 12;

/// Runs our pilot until a task is done.
fn finish(site: &Site, task: u64) -> anyhow::Result<()> {
    for _ in 0..RUNS_MAX {
        site.wait_for(task, &["running", "scouting", "done", "failed", "finished"])?;
        site.run_pilot(LABEL)?;
        match site.status(task)?.as_str() {
            "done" => return Ok(()),
            ended @ ("failed" | "finished" | "aborted" | "broken") => {
                bail!("it is `{ended}`: {:#}", site.failures()?)
            }
            _ => {}
        }
    }
    site.wait_for(task, &["done"]).map(drop)
}

/// Submits a task and runs it to its end.
fn done(site: &Site, name: &str, command: &str, options: &[&str]) -> u64 {
    let task = site.submit(name, command, options).unwrap();
    finish(site, task).unwrap_or_else(|error| panic!("task {task}, `{name}`: {error:#}"));
    task
}

/// Makes the dataset `user.jdoe.NAME_out.txt/` of so many files, each with its own number from 1.
fn source(site: &Site, name: &str, n_files: usize) -> String {
    let n = n_files.to_string();
    let options = ["--outputs", "out.txt", "--nJobs", &n];
    done(site, name, "echo %RNDM:0 > out.txt", &options);
    format!("user.jdoe.{name}_out.txt/")
}

/// The names of a task's outputs without the folders, sorted.
fn names(site: &Site, task: u64, ending: &str) -> Vec<String> {
    let own = format!(".{task}.");
    let stored = site.stored(ending).unwrap().into_iter();
    let mut found: Vec<String> = stored
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| name.contains(&own))
        .collect();
    found.sort();
    found
}

/// The options of a task that reads a dataset.
fn reading<'a>(dataset: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["--inDS", dataset, "--notExpandInDS"][..], options].concat()
}

/// Adds up the numbers of comma-joined files.
const SUM: &str = "cat $(echo %IN | tr , ' ') | sort | tr '\\n' ' ' > sum.txt";

#[test]
fn the_files_that_are_named_are_read_and_no_others() {
    let site = Site::start(&[]).unwrap();
    let dataset = source(&site, "few", 4);
    let read = |name: &str, options: &[&str]| {
        let more = reading(&dataset, &["--outputs", "sum.txt"]);
        let task = done(&site, name, SUM, &[&more[..], options].concat());
        site.outputs(task, "sum.txt").unwrap()
    };
    let one = read("two", &["--nFiles", "2", "--nFilesPerJob", "1"]);
    assert_eq!(one, ["1 ", "2 "]);
    let skipped = read("skip", &["--nSkipFiles", "3"]);
    assert_eq!(skipped, ["4 "]);
    let matched = read(
        "match",
        &["--match", "*_00000[23].*", "--nFilesPerJob", "2"],
    );
    assert_eq!(matched, ["2 3 "]);
    let not = read("not", &["--antiMatch", "*_000001.*", "--nFilesPerJob", "3"]);
    assert_eq!(not, ["2 3 4 "]);
    let mut stored = site.stored("out.txt").unwrap().into_iter();
    let (file, _) = stored.find(|(_, text)| text == "3\n").unwrap();
    let file = file.file_name().unwrap().to_string_lossy().into_owned();
    fs::write(site.user.work().join("list.txt"), format!("{file}\n")).unwrap();
    let listed = read("listed", &["--inputFileList", "list.txt"]);
    assert_eq!(listed, ["3 "]);
}

#[test]
fn secondary_datasets_go_along_with_the_first() {
    let site = Site::start(&[]).unwrap();
    let first = source(&site, "main", 2);
    let second = source(&site, "side", 4);
    let command = "cat $(echo %IN %SEC | tr , ' ') | tr '\\n' ' ' > sum.txt";
    let side = format!("SEC:2:{second}");
    let main = reading(&first, &["--nFilesPerJob", "1"]);
    let options = [
        "--secondaryDSs",
        &side,
        "--notExpandSecDSs",
        "--outputs",
        "sum.txt",
    ];
    let task = done(&site, "both", command, &[&main[..], &options].concat());
    assert_eq!(site.outputs(task, "sum.txt").unwrap(), ["1 1 2 ", "2 3 4 "]);
    // One file that all jobs read.
    let side = format!("SEC:1:{second}");
    let again = ["--reusableSecondary", "SEC"];
    let options = [
        "--secondaryDSs",
        &side,
        "--notExpandSecDSs",
        "--outputs",
        "sum.txt",
    ];
    let options = [&main[..], &options, &again].concat();
    let task = done(&site, "reused", command, &options);
    assert_eq!(site.outputs(task, "sum.txt").unwrap().len(), 2);
}

#[test]
fn events_cut_tasks_with_and_without_input() {
    let site = Site::start(&[]).unwrap();
    let command = "echo %SKIPEVENTS %MAXEVENTS > out.txt";
    let options = [
        "--nEvents",
        "5",
        "--nEventsPerJob",
        "2",
        "--outputs",
        "out.txt",
    ];
    let task = done(&site, "generated", "echo %MAXEVENTS > out.txt", &options);
    assert_eq!(
        site.outputs(task, "out.txt").unwrap(),
        ["1\n", "2\n", "2\n"]
    );
    let dataset = source(&site, "events", 2);
    let options = reading(
        &dataset,
        &[
            "--nEventsPerFile",
            "10",
            "--nEventsPerJob",
            "5",
            "--outputs",
            "out.txt",
        ],
    );
    let task = done(&site, "ranges", command, &options);
    let ranges = site.outputs(task, "out.txt").unwrap();
    assert_eq!(ranges, ["0 5\n", "0 5\n", "5 5\n", "5 5\n"]);
}

#[test]
fn outputs_are_merged_as_the_user_says_or_packed() {
    let mut site = Site::start(&[]).unwrap();
    site.configure("[tasks]\nmerge_interval = \"1s\"\n")
        .unwrap();
    let dataset = source(&site, "parts", 3);
    let options = reading(
        &dataset,
        &[
            "--nFilesPerJob",
            "1",
            "--outputs",
            "sum.txt",
            "--mergeOutput",
            "--mergeScript",
            "sh join.sh %OUT %IN",
        ],
    );
    let join = "cat $(echo $2 | tr , ' ') | sort > $1\n";
    fs::write(site.user.work().join("join.sh"), join).unwrap();
    let task = done(&site, "merged", SUM, &options);
    let merged = format!("user.jdoe.{task}._000001.sum.txt");
    let stored = site.stored("sum.txt").unwrap();
    let whole: Vec<_> = stored
        .iter()
        .filter(|(_, text)| text.contains("1 2 3"))
        .collect();
    assert_eq!(whole.len(), 1, "{merged}: {stored:?}");
    // Without a script what is not of ROOT is packed.
    let options = reading(
        &dataset,
        &[
            "--nFilesPerJob",
            "1",
            "--outputs",
            "part.txt",
            "--mergeOutput",
            "--mergeLog",
        ],
    );
    let task = done(&site, "packed", "cat %IN > part.txt", &options);
    assert!(!names(&site, task, "part.txt").is_empty());
}

#[test]
fn several_tasks_are_submitted_at_once() {
    let site = Site::start(&[]).unwrap();
    let (first, second) = (source(&site, "a", 1), source(&site, "b", 2));
    let list = format!(
        r#"[{{"inDS": "{first}", "outDS": "user.jdoe.bulk.a"}},
            {{"inDS": "{second}", "outDS": "user.jdoe.bulk.b"}}]"#
    );
    fs::write(site.user.work().join("bulk.json"), list).unwrap();
    let arguments = [
        "--noBuild",
        "--exec",
        SUM,
        "--inOutDsJson",
        "bulk.json",
        "--notExpandInDS",
        "--nFilesPerJob",
        "2",
        "--outputs",
        "sum.txt",
        "--vo",
        "spd",
        "--site",
        QUEUE,
    ];
    let first = site.prun(&arguments).unwrap();
    for task in [first, first + 1] {
        finish(&site, task).unwrap();
    }
    assert_eq!(site.outputs(first, "sum.txt").unwrap(), ["1 "]);
    assert_eq!(site.outputs(first + 1, "sum.txt").unwrap(), ["1 2 "]);
}

#[test]
fn outputs_may_be_missing_and_are_named_as_the_user_says() {
    let site = Site::start(&[]).unwrap();
    let dataset = source(&site, "named", 1);
    let options = reading(
        &dataset,
        &[
            "--outputs",
            "SUM:sum.txt,extra.txt",
            "--allowNoOutput",
            "extra.txt",
            "--addNthFieldOfInDSToLFN",
            "3",
        ],
    );
    let task = done(&site, "missing", SUM, &options);
    let stored = site.stored("sum.txt").unwrap();
    let own: Vec<String> = stored
        .iter()
        .map(|(path, _)| path.to_string_lossy().into_owned())
        .filter(|path| path.contains(&task.to_string()))
        .collect();
    assert_eq!(own.len(), 1, "{stored:?}");
    assert!(own[0].contains("named_out"), "{own:?}");
    assert!(site.stored("extra.txt").unwrap().is_empty());
    let shown = site
        .user
        .python(&format!(
            "from pandaclient import Client\n\
             print(Client.get_files_in_datasets({task}, 'output'))"
        ))
        .unwrap();
    assert!(shown.contains("user.jdoe.missing_SUM."), "{shown}");
}

#[test]
fn a_task_reads_files_by_their_places_and_options_from_a_file() {
    let site = Site::start(&[]).unwrap();
    let place = site.user.work().join("far.txt");
    fs::write(&place, "far\n").unwrap();
    fs::write(site.user.work().join("places.txt"), place.to_str().unwrap()).unwrap();
    let options = r#"{"exec": "cat %IN > out.txt", "pfnList": "places.txt", "outputs": "out.txt",
        "outDS": "user.jdoe.places", "vo": "spd", "site": "NORTH", "noBuild": true}"#;
    fs::write(site.user.work().join("options.json"), options).unwrap();
    let task = site.prun(&["--loadJson", "options.json"]).unwrap();
    finish(&site, task).unwrap();
    assert_eq!(site.outputs(task, "out.txt").unwrap(), ["far\n"]);
}

#[test]
fn a_child_starts_with_the_first_files_of_its_parent() {
    let site = Site::start(&[]).unwrap();
    let options = ["--outputs", "out.txt", "--nJobs", "2"];
    let parent = site.submit("parent", "echo %RNDM:0 > out.txt", &options);
    let parent = parent.unwrap();
    let id = parent.to_string();
    let options = [
        "--inDS",
        "user.jdoe.parent_out.txt/",
        "--parentTaskID",
        &id,
        "--nFilesPerJob",
        "1",
        "--outputs",
        "sum.txt",
    ];
    let child = site.submit("child", SUM, &options).unwrap();
    finish(&site, parent).unwrap();
    finish(&site, child).unwrap();
    assert_eq!(site.outputs(child, "sum.txt").unwrap(), ["1 ", "2 "]);
}
