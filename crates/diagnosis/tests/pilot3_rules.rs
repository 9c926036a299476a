//! Each rule by which Pilot 3 explains a payload's end, against the catalogue.
//!
//! Source: Pilot 3, `pilot/common/errorcodes.py`, `resolve_transform_error`, and
//! `pilot/user/atlas/diagnose.py`. Rules that report an exit code as something else than it is are
//! kept here as what they are not: 2 is no time-out of a set-up, 3 no remote file.

use ailurus_diagnosis::Catalogue;
use ailurus_model::ErrorCode;

/// Text of a payload's output, and Pilot 3's code for it.
const TEXT_RULES: [(&str, u16); 20] = [
    ("WARNING: Not mounting requested bind point: /srv", 1308),
    ("ERROR  : No more available loop devices", 1307),
    ("ABORT  : Failed to mount image in (read only)", 1309),
    (
        "FATAL: container creation failed: error: while mounting image",
        1309,
    ),
    (
        "FATAL: container creation failed: mount proc error: Operation not permitted",
        1306,
    ),
    (
        "ERROR  : Failed to create user namespace: user namespace disabled",
        1345,
    ),
    ("Failed invoking the NEWUSER namespace runtime", 1345),
    ("Singularity is not installed", 1372),
    ("Apptainer is not installed", 1372),
    ("SL5 is unsupported", 1347),
    ("run.py: error: unrecognized arguments: -x", 1349),
    ("FATAL out of memory: taking the application down", 1212),
    (
        "terminate called after throwing an instance of 'std::bad_alloc'",
        1212,
    ),
    ("what():  St9bad_alloc", 1212),
    ("sh: /sw/setup.sh: No such file or directory", 1211),
    ("AtlasSetup(FATAL): Fatal exception", 1334),
    ("cp: error writing 'x': No space left on device", 1098),
    ("prepare 5 database is locked", 1115),
    ("Error SQLiteStatement", 1115),
    ("ERROR: unable to fetch source tarball from web", 1335),
];

#[test]
fn each_text_rule_of_pilot_3_is_in_the_catalogue() {
    let catalogue = Catalogue::built_in();
    let mut wrong = Vec::new();
    for (text, code) in TEXT_RULES {
        let found = catalogue.scan(text.as_bytes(), 1);
        let found = found.first().and_then(|finding| finding.entry.code);
        let found = found.map(ErrorCode::number);
        // Running out of memory by `bad_alloc` has a code of its own.
        let is_right = found == Some(code) || (code == 1212 && found == Some(1223));
        if !is_right {
            wrong.push(format!("`{text}`: {found:?} and not {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn exit_codes_are_explained_as_what_they_are() {
    let catalogue = Catalogue::built_in();
    let code = |exit: i64| {
        let entry = catalogue.explain_exit(exit)?;
        entry.code.map(ErrorCode::number)
    };
    assert_eq!(code(2), Some(1305), "not 1378, a time-out of the set-up");
    assert_eq!(code(3), None, "not 1368, a remote file");
    assert_eq!(code(146), Some(1246));
    assert_eq!(code(251), Some(1315));
    assert_eq!(code(127), Some(1346));
    assert_eq!(code(0), None);
}
