//! What the built-in catalogue promises: it is complete, agrees with the registry of codes, finds
//! every one of its own examples, and the page made from it is up to date.

use std::sync::LazyLock;

use ailurus_diagnosis::{Action, Catalogue, Direction, Entry, ErrorSource, Scope, reference};
use ailurus_model::{ErrorCode, Retry};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

/// The ids of what is found in a text of the scope, best first.
fn scan(scope: Scope, line: &str) -> Vec<&'static str> {
    let found = match scope {
        Scope::Payload => CATALOGUE.scan(line.as_bytes(), 100),
        Scope::Transfer => CATALOGUE.scan_transfer(line.as_bytes(), 100),
        Scope::Worker => CATALOGUE.scan_worker(line.as_bytes(), 100),
    };
    found
        .into_iter()
        .map(|finding| finding.entry.id.as_str())
        .collect()
}

/// The entries that explain this code of the pilot.
fn entries_of(code: ErrorCode) -> Vec<&'static Entry> {
    let number = i64::from(code.number());
    let explains_it = |entry: &&Entry| {
        entry.explains.as_ref().is_some_and(|explains| {
            explains.source == ErrorSource::Pilot && explains.codes.contains(&number)
        })
    };
    CATALOGUE.entries().iter().filter(explains_it).collect()
}

#[test]
fn every_code_of_the_pilot_has_one_entry_that_agrees_with_the_registry() {
    for code in ErrorCode::ALL {
        let [entry] = entries_of(*code)[..] else {
            panic!("not one entry for {code}")
        };
        assert_eq!(entry.code, Some(*code), "{}", entry.id);
        assert_eq!(entry.blame, code.blame(), "{}", entry.id);
        let is_final = entry.action.retry() == Retry::Never;
        assert_eq!(
            is_final,
            code.retry() == Retry::Never,
            "{}: {}",
            entry.id,
            entry.action
        );
    }
}

#[test]
fn every_code_in_the_catalogue_is_in_the_registry() {
    for entry in CATALOGUE.entries() {
        let explained = entry
            .explains
            .iter()
            .filter(|it| it.source == ErrorSource::Pilot);
        for number in explained.flat_map(|it| &it.codes) {
            assert!(
                ErrorCode::from_number(*number).is_ok(),
                "{}: {number}",
                entry.id
            );
        }
    }
}

#[test]
fn an_entry_says_more_than_the_message_of_its_code() {
    for entry in CATALOGUE.entries() {
        let message = entry.code.map_or("", ErrorCode::message);
        assert_ne!(entry.cause.trim_end_matches('.'), message, "{}", entry.id);
        assert_ne!(entry.cause, entry.remedy, "{}", entry.id);
        for sentence in [&entry.cause, &entry.remedy] {
            assert!(
                sentence.split_whitespace().count() >= 3,
                "{}: {sentence}",
                entry.id
            );
        }
    }
}

#[test]
fn every_example_gives_its_own_entry_first() {
    for entry in CATALOGUE.entries() {
        let Some(scope) = entry.scope else { continue };
        assert!(!entry.examples.is_empty(), "{}", entry.id);
        for line in &entry.examples {
            let found = scan(scope, line);
            assert_eq!(
                found.first(),
                Some(&entry.id.as_str()),
                "`{line}` gives {found:?}"
            );
        }
    }
}

#[test]
fn no_counter_example_gives_its_entry() {
    for entry in CATALOGUE.entries() {
        let Some(scope) = entry.scope else { continue };
        for line in &entry.counter_examples {
            let found = scan(scope, line);
            assert!(
                !found.contains(&entry.id.as_str()),
                "`{line}` gives {found:?}"
            );
        }
    }
}

#[test]
fn harmless_lines_give_nothing() {
    for line in [
        "0 errors",
        "no error",
        "No errors found, 0 warnings",
        "Error count: 0",
        "Number of errors = 0, number of fatal errors = 0",
        "EventLoop INFO event 100 done",
        "set error level to FATAL",
        "timeout = 3600",
        "events/s: 12.5, memory: 512 MB, killed: 0",
        "TFile::Open(\"raw.root\") ok, 200 entries",
        "retries on time-outs: 3, timeout=20",
    ] {
        for scope in Scope::ALL {
            assert_eq!(scan(*scope, line), [""; 0], "{scope}: `{line}`");
        }
    }
}

/// Text of a transfer tool and the codes that Pilot 3 gives it in stage-in and stage-out.
///
/// Source: `pilot3: pilot/copytool/common.py`, `resolve_common_transfer_errors`.
const TRANSFERS_OF_PILOT_3: &[(&str, u16, u16)] = &[
    ("timeout", 1151, 1152),
    ("failed xrdadler32", 1171, 1172),
    ("adler32 1 does not match the checksum 2", 1171, 1172),
    ("md5 1 does not match the checksum 2", 1145, 1141),
    ("globus_xio: something", 1180, 1181),
    ("File exists", 1221, 1221),
    ("SRM_FILE_BUSY", 1221, 1221),
    ("file already exists", 1221, 1221),
    ("No such file or directory", 1331, 1103),
    ("query chksum is not supported", 1242, 1242),
    ("Unable to checksum", 1242, 1242),
    ("Could not establish context", 1163, 1163),
    ("No space left on device", 1098, 1333),
    ("service is not available at the moment", 1324, 1324),
    ("Network is unreachable", 1327, 1327),
    ("Run: [ERROR] Server responded with an error", 1362, 1362),
    ("Unable to locate credentials", 1364, 1364),
    ("service_unavailable", 1316, 1316),
    ("Cannot authenticate", 1338, 1383),
];

#[test]
fn the_transfer_texts_of_pilot_3_give_its_codes() {
    for (text, stage_in, stage_out) in TRANSFERS_OF_PILOT_3 {
        let code = |direction| {
            let found = CATALOGUE.classify_transfer(direction, text.as_bytes());
            found.map(|(_, code)| code.number())
        };
        assert_eq!(code(Direction::StageIn), Some(*stage_in), "`{text}`");
        assert_eq!(code(Direction::StageOut), Some(*stage_out), "`{text}`");
    }
    assert_eq!(
        CATALOGUE.classify_transfer(Direction::StageIn, b"all is well"),
        None
    );
}

#[test]
fn the_payload_texts_of_pilot_3_give_its_codes() {
    for (line, code) in [
        ("WARNING: Not mounting requested bind point: /eos", 1308),
        ("ERROR: No more available loop devices", 1307),
        ("ABORT: Failed to mount image", 1309),
        ("FATAL: error: while mounting", 1309),
        ("FATAL: container: Operation not permitted", 1306),
        ("ERROR: Failed to create user namespace", 1345),
        ("Apptainer is not installed", 1372),
        ("sh: x: command not found", 1346),
        ("x.py: error: unrecognized arguments: -x", 1349),
        ("FATAL out of memory: taking the application down", 1212),
        ("sh: ./setup.sh: No such file or directory", 1211),
        ("AtlasSetup(FATAL): Fatal exception", 1334),
        ("tar: No space left on device", 1098),
        ("prepare 5 database is locked", 1115),
        ("Error SQLiteStatement", 1115),
        ("ERROR: unable to fetch source tarball from web", 1335),
        ("Cannot find a valid frontier connection(s)", 1369),
        ("reco got a SIGSEGV signal", 1328),
    ] {
        let found = CATALOGUE.scan(line.as_bytes(), 1);
        let got = found.first().and_then(|finding| finding.entry.code);
        assert_eq!(got.map(ErrorCode::number), Some(code), "`{line}`");
    }
}

#[test]
fn a_truncated_root_file_is_read_from_another_replica() {
    let entry = CATALOGUE.entry("root-file-truncated").unwrap();
    assert_eq!(entry.code, Some(ErrorCode::PayloadExecutionFailure));
    assert_eq!(entry.action, Action::OtherReplica);
}

#[test]
fn the_committed_page_is_up_to_date() {
    let committed = include_str!("../../../docs/errors.md");
    assert!(
        committed == reference::render_reference(&CATALOGUE),
        "docs/errors.md differs from the catalogue: run `cargo xtask docs` and commit the page"
    );
}
