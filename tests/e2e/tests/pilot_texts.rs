//! What people and wrappers see before a pilot does anything: help, version, refusals.
//!
//! The words may change; what they must say may not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use ailurus_testkit::place::{self, Profile};

/// Options of Pilot 3, as wrappers and Harvester spell them.
///
/// Source: Pilot 3, `arguments.py`.
const OPTIONS_OF_PILOT_3: [&str; 68] = [
    "-a",
    "--workdir",
    "--cleanup",
    "-i",
    "--versiontag",
    "-z",
    "--noserverupdate",
    "--pilot-user",
    "--no-pilot-log",
    "-d",
    "--debug",
    "--redirect-stdout",
    "-j",
    "--joblabel",
    "-v",
    "--getjobrequests",
    "-x",
    "--getjobfailures",
    "--country-group",
    "--working-group",
    "--allow-other-country",
    "--allow-same-user",
    "--job-type",
    "--resource-type",
    "-w",
    "--workflow",
    "-l",
    "--lifetime",
    "-L",
    "--leasetime",
    "-q",
    "--queue",
    "-r",
    "--resource",
    "-s",
    "--site",
    "-b",
    "--nocvmfs",
    "--stageout-attempts",
    "-t",
    "--noproxyverification",
    "-u",
    "--verifypayloadproxy",
    "-y",
    "--notokenrenewal",
    "--cacert",
    "--capath",
    "--url",
    "-p",
    "--port",
    "--queuedata-url",
    "--storagedata-url",
    "-k",
    "--noworkerpilotstatusupdate",
    "--subscribe-to-msgsvc",
    "--use-https",
    "-g",
    "--baseurls",
    "--use-realtime-logging",
    "--realtime-logging-server",
    "--realtime-logname",
    "--use-rucio-traces",
    "--rucio-host",
    "--harvester-workdir",
    "--harvester-datadir",
    "--input-dir",
    "--output-dir",
    "--pod",
];
/// Exit codes that wrappers and Harvester know.
const EXIT_CODES: [&str; 9] = ["0", "2", "66", "69", "71", "77", "79", "81", "130"];
/// The widest line that a terminal shows well.
const WIDTH_MAX: usize = 200;

fn run(words: &[&str]) -> Output {
    Command::new(place::program("ailurus-pilot", Profile::Dev))
        .args(words)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_help_names_every_option_of_pilot_3_and_what_each_does() {
    for word in ["-h", "--help"] {
        let output = run(&[word]);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let help = stdout(&output);
        let words: Vec<&str> = help.split([' ', ',', '\n']).collect();
        for option in OPTIONS_OF_PILOT_3 {
            assert!(words.contains(&option), "{option} in {word}");
        }
        let lines: Vec<&str> = help.lines().collect();
        for (nr, line) in lines.iter().enumerate() {
            assert!(line.chars().count() <= WIDTH_MAX, "`{line}` is too wide");
            if !line.trim_start().starts_with('-') {
                continue;
            }
            // The text stands behind two blanks, or on the next line.
            let behind = line.trim_start().split_once("  ");
            let text = behind.map_or_else(|| lines[nr + 1], |(_, text)| text);
            let text = text
                .trim_start()
                .trim_start_matches(|it: char| !it.is_alphabetic());
            assert!(!text.is_empty(), "`{line}` says nothing");
        }
    }
}

#[test]
fn the_help_says_what_exit_codes_mean_and_shows_a_whole_command() {
    let help = stdout(&run(&["--help"]));
    let (_, codes) = help.split_once("Exit codes").unwrap();
    let numbers: Vec<&str> = codes.split(|it: char| !it.is_ascii_digit()).collect();
    for code in EXIT_CODES {
        assert!(numbers.contains(&code), "exit code {code}");
    }
    let example = help
        .lines()
        .find(|line| line.trim_start().starts_with("ailurus-pilot -q"));
    for option in ["-j ", "--pilot-user ", "--url ", "-a "] {
        assert!(example.unwrap().contains(option), "{option}");
    }
}

#[test]
fn the_version_is_one_line_with_name_and_number() {
    for word in ["-V", "--version"] {
        let output = run(&[word]);
        assert_eq!(output.status.code(), Some(0));
        let wanted = format!("ailurus-pilot {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(stdout(&output), wanted);
    }
}

#[test]
fn what_is_not_understood_is_named_and_ends_with_two() {
    let cases: [(&[&str], &str); 5] = [
        (&["-q", "Q", "--no-such-option"], "--no-such-option"),
        (&["-q", "Q", "-v", "many"], "many"),
        (&["-q", "Q", "--cleanup", "perhaps"], "perhaps"),
        (&["-q", "Q", "--heartbeat", "1"], "--heartbeat"),
        (
            &["-q", "Q", "--pilot-user", "no_such_profile"],
            "no_such_profile",
        ),
    ];
    for (words, named) in cases {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &stdout(&output);
        assert!(said.contains(named), "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
