//! Which rule decides about a failed job, and what its action changes.

use std::collections::BTreeMap;

use super::{
    effects::{
        FailedInput, FailedRam, RamChange, increase_memory, increase_memory_xtimes, reduce_input,
    },
    *,
};
use crate::{SplitRules, TaskResources, resources::RamUnit};

const JOB: FailedJob<'_> = FailedJob {
    architecture: "el9",
    release: "R-1",
    work_queue: Some(3),
};
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn book(text: &str) -> RetryBook {
    RetryBook::from_toml(text).expect("good rules")
}

fn pilot(code: i64, diag: &str) -> JobError<'_> {
    JobError {
        source: ErrorSource::Pilot,
        code,
        diag,
    }
}

fn rule(id: &str, rest: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nsource = \"pilotErrorCode\"\ncode = 7\n{rest}\n")
}

fn chosen(book: &RetryBook, diag: &str) -> Vec<String> {
    book.decide(&[pilot(7, diag)], &JOB, NOW)
        .into_iter()
        .map(|decision| decision.rule)
        .collect()
}

#[test]
fn the_rules_of_a_server_without_a_file_are_none() {
    assert_eq!(book(DEFAULT_RULES).decide(&[pilot(7, "x")], &JOB, NOW), []);
}

#[test]
fn patterns_begin_at_the_start_and_span_lines() {
    let book = book(&rule("a", "action = \"no_retry\"\ndiag = \"lost.*disk\""));
    assert_eq!(chosen(&book, "lost the\ndisk"), ["a"]);
    assert!(chosen(&book, "it lost the disk").is_empty());
}

#[test]
fn the_stricter_rule_about_attempts_wins_then_the_one_with_fewer() {
    let limit = |id: &str, attempts: u32, rest: &str| {
        rule(
            id,
            &format!("action = \"limit_retry\"\nmax_attempt = {attempts}\n{rest}"),
        )
    };
    let narrow = format!(
        "{}{}",
        limit("wide", 2, ""),
        limit("narrow", 7, "release = \"R-1\"")
    );
    assert_eq!(chosen(&book(&narrow), ""), ["narrow"]);
    let other = format!(
        "{}{}",
        limit("wide", 2, ""),
        limit("narrow", 7, "release = \"R-2\"")
    );
    assert_eq!(chosen(&book(&other), ""), ["wide"]);
    let equal = format!(
        "{}{}{}",
        limit("five", 5, ""),
        limit("two", 2, ""),
        limit("nine", 9, "")
    );
    assert_eq!(chosen(&book(&equal), ""), ["two"]);
}

#[test]
fn one_action_of_each_kind_is_taken() {
    let text = [
        rule("less", "action = \"reduce_input_per_job\""),
        rule("more", "action = \"increase_memory\""),
        rule("again", "action = \"increase_memory\""),
        rule("stop", "action = \"no_retry\"\nwork_queue = 3"),
        rule(
            "old",
            "action = \"increase_cputime\"\nexpires = \"2020-01-01 00:00:00\"",
        ),
    ];
    assert_eq!(chosen(&book(&text.concat()), ""), ["more", "less", "stop"]);
}

#[test]
fn only_the_first_error_with_a_rule_counts() {
    let book = book(&format!(
        "{}{}",
        rule("seven", "action = \"no_retry\"\nis_active = false"),
        "[[rule]]\nid = \"exit\"\nsource = \"transExitCode\"\ncode = 1\naction = \"no_retry\"\n"
    ));
    let errors = [
        pilot(8, ""),
        pilot(7, ""),
        JobError {
            source: ErrorSource::ExitCode,
            code: 1,
            diag: "",
        },
    ];
    let decisions = book.decide(&errors, &JOB, NOW);
    let expected = Decision {
        rule: "seven".to_owned(),
        action: RetryAction::NoRetry,
        is_active: false,
    };
    assert_eq!(decisions, [expected]);
}

#[test]
fn failures_of_the_system_are_told_apart() {
    let book = book(
        "[[class]]\nid = \"c\"\nsource = \"ddmErrorCode\"\ncode = 200\ndiag = \"time\"\nclass = \"system\"\n",
    );
    let error = JobError {
        source: ErrorSource::Data,
        code: 200,
        diag: "timed out",
    };
    assert_eq!(
        book.classify(&[pilot(1, ""), error]).map(|rule| rule.class),
        Some(ErrorClass::System)
    );
    assert_eq!(book.classify(&[pilot(200, "timed out")]), None);
}

#[test]
fn wrong_rules_are_refused_by_name() {
    let bad = RetryBook::from_toml(&rule("a", "action = \"no_retry\"\ndiag = \"(\""))
        .expect_err("a bracket");
    assert!(
        bad.to_string()
            .starts_with("`diag` of retry rule `a` is no pattern"),
        "{bad}"
    );
    let bad = RetryBook::from_toml(&rule("a", "action = \"no_retry\"\nexpires = \"soon\""))
        .expect_err("no time");
    assert!(bad.to_string().contains("`soon`"), "{bad}");
    assert!(RetryBook::from_toml(&rule("a", "action = \"limit_retry\"")).is_err());
    assert!(RetryBook::from_toml(&rule("a", "action = \"dance\"")).is_err());
}

fn needs(ram_mb: u64, ram_unit: RamUnit) -> TaskResources {
    TaskResources {
        ram_mb,
        ram_unit,
        ..TaskResources::default()
    }
}

#[test]
fn memory_goes_up_by_steps_for_the_files_or_for_the_task() {
    let task = needs(2000, RamUnit::MbPerCore);
    let few = BTreeMap::from([(0, 90), (3000, 10)]);
    let many = BTreeMap::from([(0, 50), (3000, 50)]);
    let job = FailedRam {
        asked_mb: 14_400,
        cores: 8,
    };
    assert_eq!(increase_memory(&task, job, &few), RamChange::Files(3000));
    assert_eq!(increase_memory(&task, job, &many), RamChange::Task(3000));
    let fixed = needs(2000, RamUnit::MbPerCoreFixed);
    assert_eq!(increase_memory(&fixed, job, &many), RamChange::Files(3000));
    let largest = FailedRam {
        asked_mb: 57_600,
        cores: 8,
    };
    assert_eq!(increase_memory(&task, largest, &few), RamChange::None);
    let raised = needs(6000, RamUnit::MbPerCore);
    assert_eq!(increase_memory(&raised, job, &few), RamChange::None);
}

#[test]
fn memory_goes_up_by_the_tasks_own_factor() {
    let task = needs(2000, RamUnit::MbPerCore);
    let rules: SplitRules = "RY=3000,RZ=4000".parse().expect("rules");
    let files = BTreeMap::from([(0, 10)]);
    let once = FailedRam {
        asked_mb: 1800,
        cores: 1,
    };
    assert_eq!(
        increase_memory_xtimes(&task, &rules, once, &files),
        RamChange::Files(3000)
    );
    let twice = FailedRam {
        asked_mb: 2700,
        cores: 1,
    };
    assert_eq!(
        increase_memory_xtimes(&task, &rules, twice, &files),
        RamChange::Files(4000)
    );
    assert_eq!(
        increase_memory_xtimes(&task, &SplitRules::default(), once, &files),
        RamChange::None
    );
}

#[test]
fn input_is_halved_quartered_and_made_least() {
    let reduce = |rules: &str, attempt| {
        let rules: SplitRules = rules.parse().expect("rules");
        let job = FailedInput {
            attempt,
            bytes: 40 << 30,
            files: 20,
        };
        reduce_input(&rules, job, [2, 4, 7], &["nFilesPerJob".to_owned()])
            .map(|rules| rules.to_string())
    };
    assert_eq!(reduce("", 1), None);
    let halved = reduce("", 2).expect("a change");
    assert_eq!(halved, "RM=NG:40|MF:20,NG=20,MF=10");
    assert_eq!(reduce(&halved, 3), None);
    assert_eq!(
        reduce(&halved, 5).as_deref(),
        Some("RM=NG:40|MF:20,NG=10,MF=5")
    );
    assert_eq!(
        reduce(&halved, 9).as_deref(),
        Some("RM=NG:40|MF:20,NG=1,MF=1")
    );
    assert_eq!(reduce("NF=3", 9), None);
}
