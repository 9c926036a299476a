//! The whole table of Pilot 3's options, as `arguments.py` of 3.11 has them.

use clap::CommandFactory as _;

use super::{values::*, *};

/// What an option takes.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// Any text, of which this is one.
    Text(&'static str),
    /// A whole number.
    Int,
    /// Yes or no.
    Bool,
    /// One of some words, of which this is one.
    Word(&'static str),
}
use Takes::{Bool, Int, Nothing, Text, Word};

/// Long name, short name if there is one, value.
const OPTIONS_OF_PILOT_3: &[(&str, &str, Takes)] = &[
    ("--pilot-user", "", Text("spd")),
    ("--workdir", "-a", Text("w")),
    ("--cleanup", "", Bool),
    ("--versiontag", "-i", Text("RC")),
    ("--noserverupdate", "-z", Nothing),
    ("--no-pilot-log", "", Nothing),
    ("--debug", "-d", Nothing),
    ("--redirect-stdout", "", Text("/dev/null")),
    ("--joblabel", "-j", Text("managed")),
    ("--getjobrequests", "-v", Int),
    ("--getjobfailures", "-x", Int),
    ("--country-group", "", Text("ru")),
    ("--working-group", "", Text("spd")),
    ("--allow-other-country", "", Bool),
    ("--allow-same-user", "", Bool),
    ("--job-type", "", Text("simul")),
    ("--workflow", "-w", Word("generic_hpc")),
    ("--lifetime", "-l", Int),
    ("--leasetime", "-L", Int),
    ("--queue", "-q", Text("Q")),
    ("--resource", "-r", Text("R")),
    ("--site", "-s", Text("S")),
    ("--resource-type", "", Word("MCORE_HIMEM")),
    ("--nocvmfs", "-b", Nothing),
    ("--stageout-attempts", "", Int),
    ("--harvester-workdir", "", Text("d")),
    ("--harvester-datadir", "", Text("d")),
    ("--harvester-eventstatusdump", "", Text("f")),
    ("--harvester-workerattributes", "", Text("f")),
    ("--harvester-submit-mode", "", Text("PUSH")),
    ("--input-dir", "", Text("d")),
    ("--input-destination-dir", "", Text("d")),
    ("--output-dir", "", Text("d")),
    ("--hpc-resource", "", Text("nersc")),
    ("--hpc-mode", "", Text("manytoone")),
    ("--es-executor-type", "", Text("raythena")),
    ("--pod", "", Nothing),
    ("--noproxyverification", "-t", Nothing),
    ("--verifypayloadproxy", "-u", Nothing),
    ("--notokenrenewal", "-y", Nothing),
    ("--cacert", "", Text("/p")),
    ("--capath", "", Text("/d")),
    ("--url", "", Text("https://p")),
    ("--port", "-p", Int),
    ("--queuedata-url", "", Text("http://x/{pandaqueue}.json")),
    ("--storagedata-url", "", Text("http://x/y.json")),
    ("--noworkerpilotstatusupdate", "-k", Nothing),
    ("--subscribe-to-msgsvc", "", Nothing),
    ("--use-https", "", Bool),
    ("--baseurls", "-g", Text("http://a,http://b")),
    ("--use-realtime-logging", "", Nothing),
    (
        "--realtime-logging-server",
        "",
        Text("logserver=loki;http://x:80"),
    ),
    ("--realtime-logname", "", Text("n")),
    ("--use-rucio-traces", "", Bool),
    ("--rucio-host", "", Text("h")),
];

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    let line = ["pilot.py", "-q", "Q"].iter().chain(words);
    Args::try_parse_from(line.copied())
}

#[test]
fn the_options_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn every_option_of_pilot_3_is_taken_in_both_of_its_spellings() {
    for (long, short, takes) in OPTIONS_OF_PILOT_3 {
        for name in [long, short].into_iter().filter(|name| !name.is_empty()) {
            let values: &[&str] = match takes {
                Nothing => &[],
                Text(value) | Word(value) => &[value],
                Int => &["17"],
                Bool => &["Yes"],
            };
            let words: Vec<&str> = [*name].into_iter().chain(values.iter().copied()).collect();
            parse(&words).unwrap_or_else(|error| panic!("{name}: {error}"));
            if let ([value], true) = (values, name.starts_with("--")) {
                let joined = format!("{name}={value}");
                parse(&[&joined]).unwrap_or_else(|error| panic!("{joined}: {error}"));
            }
        }
    }
}

#[test]
fn what_pilot_3_refuses_is_a_usage_error() {
    for (long, _, takes) in OPTIONS_OF_PILOT_3 {
        let refused = match takes {
            Nothing | Text(_) => continue,
            Int => "many",
            Bool => "maybe",
            Word(_) => "no-such-word",
        };
        let error = parse(&[long, refused]).expect_err(long);
        assert_eq!(error.exit_code(), 2, "{long}");
    }
    let error = parse(&["--no-such-option"]).expect_err("unknown");
    assert_eq!(error.exit_code(), 2);
    let error = Args::try_parse_from(["pilot.py"]).expect_err("no queue");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn help_names_every_option_and_says_which_have_no_effect() {
    let help = Args::command().render_long_help().to_string();
    for (long, short, _) in OPTIONS_OF_PILOT_3 {
        assert!(help.contains(long) && help.contains(short), "{long}");
    }
    assert!(help.contains("Accepted without effect"), "{help}");
}

#[test]
fn defaults_are_those_of_pilot_3() {
    let args = parse(&[]).expect("understood");
    let jobs = args.jobs;
    assert_eq!(
        (jobs.job_label.as_str(), jobs.version_tag.as_str()),
        ("ptest", "PR")
    );
    assert_eq!(
        (jobs.lifetime, jobs.job_requests, jobs.job_failures),
        (324_000, 2, 5)
    );
    assert!(jobs.allow_same_user && !jobs.allow_other_country);
    assert_eq!((args.server.url.as_str(), args.server.port), ("", 25443));
    assert!(args.directories.cleanup && !args.directories.debug);
    assert!(!args.credentials.no_proxy_verification && !args.credentials.no_token_renewal);
}

#[test]
fn a_long_option_may_be_cut_as_in_pilot_3() {
    let args = parse(&["--jobl", "managed", "--noworker"]).expect("understood");
    assert_eq!(args.jobs.job_label, "managed");
    assert!(args.server.no_worker_status);
}

#[test]
fn a_command_line_of_the_wrapper_is_understood() {
    let line = "pilot.py -q Q -i PR -j managed --pilot-user spd -v 1 -x 3 -l 3600 -t -u -d -b \
        -w generic -r x -s y -k --url https://p -p 25443 -g http://a,http://b --cleanup False \
        --use-https True --use-rucio-traces false --harvester-submit-mode PULL -a work \
        --resource-type= --country-group";
    let words = line.split_whitespace().chain([""]);
    let args = Args::try_parse_from(words).expect("understood");
    assert!(!args.directories.cleanup && args.directories.debug);
    assert!(args.server.no_worker_status && args.credentials.no_proxy_verification);
    let jobs = args.jobs;
    assert_eq!(
        (jobs.job_requests, jobs.job_failures, jobs.lifetime),
        (1, 3, 3600)
    );
}

#[test]
fn of_an_option_that_is_given_twice_the_last_one_counts() {
    let line = "pilot.py -q Q -j managed -r x -v 1 -j user -r y -v 3 -d -d";
    let args = Args::try_parse_from(line.split_whitespace()).expect("understood");
    assert_eq!(
        (args.jobs.job_label.as_str(), args.jobs.job_requests),
        ("user", 3)
    );
}

#[test]
fn a_period_that_keeps_a_core_busy_is_refused() {
    assert!(period("0s").is_err());
    assert_eq!(period("1s"), Ok(Duration::from_secs(1)));
}

#[test]
fn values_are_read_as_in_pilot_3() {
    assert_eq!(bool_text("Yes"), Ok(true));
    assert_eq!(bool_text("0"), Ok(false));
    assert!(bool_text("maybe").is_err());
    assert_eq!(count("-1"), Ok(0));
    assert!(count("1.5").is_err());
    for text in ["", "SCORE", "MCORE", "SCORE_HIMEM", "MCORE_X"] {
        assert!(resource_type(text).is_ok(), "{text}");
    }
    for text in ["score", "SCOREX", "ANY"] {
        assert!(resource_type(text).is_err(), "{text}");
    }
}
