//! What task files become, and what each kind of mistake reads like.

use ailurus_model::Checksum;
use proptest::prelude::*;

use super::*;

const CHAIN: &str = r#"
chain = "spd-minbias-27gev"
user = "spd-production"
scope = "spd"

[[dataset]]
name = "spd.geometry"
[[dataset.file]]
lfn = "geo.root"
endpoint = "JINR_EOS"
size = "1 MiB"
checksum = "ad:0000001f"

[[task]]
name = "generation"
processing_type = "evgen"
label = "managed"
transformation = "http://127.0.0.1/generate.py"
parameters = "--seed {seed} --events {events} --output {output.gen}"
events = 20_000
events_per_job = 1000
cores = 2
memory = "1 GiB"
disk = "2 GiB"
walltime = "10m"
priority = 7
max_attempts = 5
queues = ["JINR"]
[[task.output]]
name = "gen"
dataset = "spd.mc.gen"
lfn = "gen_{seed}.root"

[[task]]
name = "simulation"
transformation = "simulate.py"
parameters = "{input.gen} {input.geometry}"
files_per_job = 1
[[task.input]]
name = "gen"
dataset = "spd.mc.gen"
[[task.input]]
name = "geometry"
dataset = "spd.geometry"
"#;

/// A file with one task that is right but for the lines given.
fn with_task(lines: &str) -> String {
    format!("scope = \"spd\"\n[[task]]\nname = \"a\"\ntransformation = \"a.py\"\n{lines}\n")
}

fn refused(text: &str) -> TaskFileError {
    parse("chain.toml", text).expect_err("the file is wrong")
}

#[test]
fn a_whole_chain_is_read() {
    let submission = parse("chain.toml", CHAIN).unwrap();
    let [generation, simulation] = submission.tasks.as_slice() else {
        panic!("two tasks")
    };
    assert_eq!(generation.chain, Some(ChainName::new("spd-minbias-27gev")));
    assert_eq!(generation.user, "spd-production");
    assert_eq!(
        generation.split,
        Split::Events {
            total: 20_000,
            per_job: 1000
        }
    );
    assert_eq!(
        generation.resources,
        Resources {
            cores: 2,
            memory: ByteCount::from_gib(1),
            disk: ByteCount::from_gib(2),
            walltime: Duration::from_secs(600),
        }
    );
    assert_eq!((generation.priority, generation.max_attempts), (7, 5));
    assert_eq!(generation.queues, [QueueName::new("JINR")]);
    assert_eq!(generation.outputs[0].lfn, "gen_{seed}.root");
    assert_eq!(simulation.split, Split::Files { per_job: 1 });
    assert_eq!(simulation.inputs[1].dataset.as_str(), "spd.geometry");
    let file = &submission.datasets[0].files[0];
    assert_eq!(file.size, Some(ByteCount::from_mib(1)));
    assert_eq!(file.checksum, Some(Checksum::Adler32(31)));
    assert_eq!(file.scope, Scope::new("spd"));
}

#[test]
fn the_example_that_people_copy_is_right() {
    let text = include_str!("../../../../examples/spd-production/chain.toml");
    let submission = parse("chain.toml", text).unwrap();
    assert_eq!(submission.tasks.len(), 4);
}

#[test]
fn what_is_left_out_gets_its_default() {
    let submission = parse("a.toml", &with_task("events = 1\nevents_per_job = 1")).unwrap();
    let task = &submission.tasks[0];
    assert_eq!(task.user, ANONYMOUS);
    assert_eq!(task.source_label, SourceLabel::default());
    assert_eq!(task.priority, DEFAULT_PRIORITY);
    assert_eq!(task.max_attempts, DEFAULT_MAX_ATTEMPTS);
    assert_eq!(task.resources.cores, 1);
    assert_eq!(task.chain, None);
}

#[test]
fn the_files_user_goes_before_the_callers() {
    let plain = with_task("events = 1\nevents_per_job = 1");
    let named = format!("user = \"bob\"\n{plain}");
    let user = |text: &str| {
        parse_for("a.toml", text, "alice").unwrap().tasks[0]
            .user
            .clone()
    };
    assert_eq!(user(&plain), "alice");
    assert_eq!(user(&named), "bob");
}

#[test]
fn all_files_in_one_job_needs_no_number() {
    let text = with_task("all_files = true\n[[task.input]]\nname = \"x\"\ndataset = \"d\"");
    let submission = parse("a.toml", &text).unwrap();
    assert_eq!(submission.tasks[0].split, Split::AllFiles);
}

#[test]
fn a_bad_value_names_file_line_entry_key_and_what_is_allowed() {
    let text = CHAIN.replace(
        "files_per_job = 1",
        "files_per_job = 1\nmemory = \"lots of it\"",
    );
    assert_eq!(
        refused(&text).to_string(),
        "chain.toml:39: task[1] \"simulation\": memory: \
         `lots of it` is not a size: write a number and a unit, for example `512 MiB` or `20 GiB`"
    );
}

#[test]
fn a_misspelt_key_is_refused_with_the_keys_that_exist() {
    let error = refused(&with_task("evnets = 5"));
    assert_eq!(
        (error.code(), error.line, error.path.as_str()),
        ("unknown-key", Some(5), "task[0] \"a\": evnets")
    );
    assert!(
        error.to_string().contains("events, events_per_job"),
        "{error}"
    );
}

#[test]
fn a_text_that_is_not_toml_is_refused_with_its_line() {
    let error = refused("scope = \"spd\"\n[[task\n");
    assert_eq!((error.code(), error.line), ("not-toml", Some(2)));
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let error = refused(&" ".repeat(MAX_FILE_BYTES + 1));
    assert_eq!((error.code(), error.line), ("file-too-large", None));
}

/// One line each: what stands in the task, the code, and what the message must hold.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, one line a mistake")]
fn every_mistake_in_a_task_has_its_code_and_says_what_to_write() {
    const INPUT: &str = "[[task.input]]\nname = \"x\"\ndataset = \"d\"";
    const OUTPUT: &str = "[[task.output]]\nname = \"x\"\ndataset = \"d\"\nlfn = \"f\"";
    let events = "events = 5\nevents_per_job = 5";
    let cases = [
        (String::new(), "no-split", "write `events` with"),
        (
            "events = 5".to_owned(),
            "missing-key",
            "events_per_job: missing, it must be a number",
        ),
        (
            "events = 0\nevents_per_job = 5".to_owned(),
            "bad-value",
            "`0` is not allowed: write 1 to",
        ),
        (
            format!("{events}\nall_files = true"),
            "several-splits",
            "events, all_files",
        ),
        (
            "files_per_job = 3".to_owned(),
            "split-needs-input",
            "[[task.input]]",
        ),
        (
            "all_files = true".to_owned(),
            "split-needs-input",
            "`all_files` needs",
        ),
        (
            format!("all_files = false\n{INPUT}"),
            "bad-value",
            "`true` or leave",
        ),
        (
            format!("all_files = 1\n{INPUT}"),
            "wrong-type",
            "`1` is a TOML integer",
        ),
        (
            format!("{events}\n{INPUT}"),
            "split-takes-no-input",
            "use `files_per_job`",
        ),
        (
            format!("{events}\nmemory = 5"),
            "wrong-type",
            "it must be a size with a unit",
        ),
        (
            format!("{events}\nwalltime = \"5\""),
            "unreadable-value",
            "`5` is not a duration",
        ),
        (
            format!("{events}\ncores = 1.5"),
            "wrong-type",
            "a whole number",
        ),
        (
            format!("{events}\ncores = 99999999999"),
            "bad-value",
            "write 1 to 4096",
        ),
        (
            format!("{events}\nqueues = \"JINR\""),
            "wrong-type",
            "a list of names",
        ),
        (
            format!("{events}\nqueues = [\"\"]"),
            "bad-value",
            "may be empty",
        ),
        (format!("{events}\nlabel = \"\""), "bad-value", "not empty"),
        (
            format!("{events}\noutput = 3"),
            "wrong-type",
            "double brackets",
        ),
        (
            format!("{events}\n{OUTPUT}\n{OUTPUT}"),
            "duplicate-name",
            "each output needs its own",
        ),
        (
            format!(
                "{events}\n{OUTPUT}\n{}",
                OUTPUT.replace("\"x\"", "\"y\"").replace("\"f\"", "\"g\"")
            ),
            "dataset-filled-twice",
            "`d` is filled by `a`",
        ),
        (
            format!("{events}\nparameters = \"{{output.y}}\"\n{OUTPUT}"),
            "unknown-placeholder",
            "`{output.y}` names nothing of this task, it has output.x",
        ),
        (
            format!("{events}\n{}", OUTPUT.replace("\"f\"", "\"../f\"")),
            "bad-value",
            "`../f` is not allowed: letters, digits",
        ),
        (
            format!("files_per_job = 1\n{INPUT}\n{OUTPUT}"),
            "read-before-written",
            "must come before",
        ),
    ];
    for (lines, code, words) in cases {
        let error = refused(&with_task(&lines));
        assert_eq!(error.code(), code, "{lines}\n{error}");
        assert!(error.to_string().contains(words), "{lines}\n{error}");
        assert!(error.line.is_some(), "{lines}\n{error}");
    }
}

/// The same for the file as a whole and its datasets.
#[test]
fn every_mistake_outside_of_tasks_has_its_code_too() {
    let task = "[[task]]\nname = \"a\"\ntransformation = \"t\"\nevents = 1\nevents_per_job = 1\n";
    let dataset = "[[dataset]]\nname = \"d\"\n";
    let file = "[[dataset.file]]\nlfn = \"f\"\nendpoint = \"E\"\n";
    let cases = [
        (
            "scope = \"spd\"".to_owned(),
            "nothing-to-submit",
            "[[task]]",
        ),
        (task.to_owned(), "missing-key", "scope: missing"),
        (
            format!("scope = \"a b\"\n{task}"),
            "bad-value",
            "`a b` is not allowed",
        ),
        (
            format!("scope = \"s\"\n{task}{task}"),
            "duplicate-name",
            "task[1] \"a\": name",
        ),
        (
            format!("scope = \"s\"\n{dataset}"),
            "missing-key",
            "[[dataset.file]]",
        ),
        (
            format!("scope = \"s\"\n{dataset}{file}{file}"),
            "duplicate-name",
            "file[1] \"f\": lfn",
        ),
        (
            format!("scope = \"s\"\n{dataset}{file}{dataset}{file}"),
            "duplicate-name",
            "each dataset needs its own",
        ),
        (
            format!("scope = \"s\"\n{dataset}{file}checksum = \"xyz\""),
            "unreadable-value",
            "`xyz` is not a checksum",
        ),
        (
            format!(
                "scope = \"s\"\n{dataset}{file}{task}[[task.output]]\nname=\"o\"\ndataset=\"d\"\nlfn=\"l\""
            ),
            "dataset-filled-twice",
            "`[[dataset]]` already",
        ),
        (
            "scope = \"s\"\n[task]\nname = \"a\"".to_owned(),
            "wrong-type",
            "double brackets",
        ),
    ];
    for (text, code, words) in cases {
        let error = refused(&text);
        assert_eq!(error.code(), code, "{text}\n{error}");
        assert!(error.to_string().contains(words), "{text}\n{error}");
    }
}

proptest! {
    #[test]
    fn reading_any_text_never_panics(text in ".*") {
        let _ = parse("a.toml", &text);
    }

    /// Cuts and repeats pieces of a real file, which reaches deeper than noise does.
    #[test]
    fn reading_a_damaged_file_never_panics(
        from in 0..CHAIN.len(),
        to in 0..CHAIN.len(),
        noise in "[\\PC\n\"\\[\\]{}=.]{0,12}",
    ) {
        let (from, to) = (from.min(to), from.max(to));
        let text = format!("{}{noise}{}", &CHAIN[..from], &CHAIN[to..]);
        let _ = parse("a.toml", &text);
    }
}
