//! Programs that are described and not there on this machine, as stand-ins that misbehave.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use ailurus_model::{EndpointName, ErrorCode, Guid, Lfn, Scope};
use ailurus_transfer::{Cause, Impatience};

use super::{stand_in::StandIns, *};

const GUID: &str = "5f1b2c3d-0000-4000-8000-0123456789ab";

/// Text of a copy program and the codes that Pilot 3 gives it in stage-in and stage-out.
///
/// Source: Pilot 3, `pilot/copytool/common.py`, `resolve_common_transfer_errors`.
const TEXTS: [(&str, u16, u16); 19] = [
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
    ("it just failed", 1099, 1137),
];

fn fetch(stand_ins: &StandIns, url: &str, content: &[u8]) -> Transfer {
    stand_ins.write("storage/d/x", content);
    stand_ins.write("adler32", adler32(content).to_string().replace("ad:", ""));
    let mut fetch = transfer(Direction::StageIn, url, &stand_ins.path("job/x"));
    fetch.size = Some(size_of(content));
    fetch.checksum = Some(adler32(content));
    fetch.identity = identity("x");
    fetch
}

fn output(stand_ins: &StandIns, url: &str, content: &[u8]) -> Transfer {
    stand_ins.write("job/out", content);
    stand_ins.write("adler32", adler32(content).to_string().replace("ad:", ""));
    let mut output = transfer(Direction::StageOut, url, &stand_ins.path("job/out"));
    output.identity = identity("out");
    output
}

fn identity(lfn: &str) -> FileIdentity {
    FileIdentity {
        scope: Some(Scope::new("user.alice")),
        lfn: Some(Lfn::new(lfn)),
        guid: Some(Guid::new(GUID)),
        endpoint: Some(EndpointName::new("SPD_DISK")),
        space_token: Some("SPACE".to_owned()),
    }
}

fn assert_words(call: &[String], expected: &str) {
    assert_eq!(call.join(" "), expected);
}

fn cause(result: Result<TransferReport, TransferError>) -> (u16, Cause) {
    let error = result.expect_err("fails");
    (error.code().number(), error.cause)
}

#[test]
fn gfal_is_called_as_pilot_3_calls_it() {
    let stand_ins = StandIns::new();
    let gfal = tool("gfalcopy", &stand_ins.setup());
    assert_eq!(gfal.name(), "gfal", "Pilot 3 knows it by two names");
    let coming = fetch(&stand_ins, "davs://se.example.org/d/x", b"Wikipedia");
    run(&gfal, &coming).expect("comes");
    let calls = stand_ins.calls();
    let (head, target) = calls[0].split_at(calls[0].len() - 1);
    let expected = "gfal-copy --verbose -f -t 60 -K adler32:11e60398 davs://se.example.org/d/x";
    assert_words(head, expected);
    assert!(target[0].starts_with("file:///"), "{target:?}");
    assert_eq!(fs::read(&coming.path).expect("there"), b"Wikipedia");

    let going = output(&stand_ins, "davs://se.example.org/d/out", b"Wikipedia");
    let report = run(&gfal, &going).expect("goes");
    assert_eq!(report.checksum, adler32(b"Wikipedia"));
    let calls = stand_ins.calls();
    let (head, target) = calls[0].split_at(calls[0].len() - 1);
    let local = going.path.display();
    let expected = format!("gfal-copy --verbose -f -t 60 -K adler32:11e60398 file://{local}");
    assert_words(head, &expected);
    assert_words(&calls[1], &format!("gfal-stat {}", target[0]));
    assert_words(&calls[2], &format!("gfal-sum {} adler32", target[0]));
    assert_words(
        &calls[3],
        &format!("gfal-rename {} {}", target[0], going.url),
    );
    assert_eq!(
        names_in(&stand_ins.path("storage")).len(),
        2,
        "nothing is left over"
    );
}

#[test]
fn lsm_is_called_as_pilot_3_calls_it() {
    let stand_ins = StandIns::new();
    let lsm = tool("lsm", &stand_ins.setup());
    run(&lsm, &fetch(&stand_ins, "root://h/d/x", b"x")).expect("comes");
    assert_eq!(stand_ins.calls()[0][..2], ["lsm-get", "root://h/d/x"]);

    let mut going = output(&stand_ins, "root://h/d/out", b"Wikipedia");
    run(&lsm, &going).expect("goes");
    let expected = format!(
        "lsm-put --size 9 -t SPACE --checksum adler32:11e60398 --guid {GUID} {} root://h/d/out",
        going.path.display()
    );
    assert_words(&stand_ins.calls()[0], &expected);

    going.identity.space_token = None;
    let (code, why) = cause(run(&lsm, &going));
    assert_eq!(code, 1137);
    assert!(
        why.to_string().contains("`space_token` is not known"),
        "{why}"
    );
}

#[test]
fn the_rucio_client_is_asked_which_option_it_has() {
    for (help, option) in [("--rses RSES  x", "--rses"), ("--rse RSE", "--rse")] {
        let stand_ins = StandIns::new();
        stand_ins.write("help", help);
        let rucio = tool("objectstore", &stand_ins.setup());
        for _ in 0..2 {
            run(&rucio, &fetch(&stand_ins, "s3://h/d/x", b"x")).expect("comes");
        }
        let calls = stand_ins.calls();
        assert_eq!(calls.len(), 3, "it is asked once: {calls:?}");
        assert_eq!(
            calls[1][..5],
            ["rucio", "-v", "download", "--no-subdir", "--dir"]
        );
        let expected = [option, "SPD_DISK", "--pfn", "s3://h/d/x", "user.alice:x"];
        assert_eq!(calls[1][6..], expected);

        let going = output(&stand_ins, "s3://h/d/out", b"x");
        run(&rucio, &going).expect("goes");
        let expected = format!(
            "rucio -v upload --rse SPD_DISK --scope user.alice --guid {GUID} --no-register \
             --pfn s3://h/d/out {}",
            going.path.display()
        );
        assert_words(&stand_ins.calls()[0], &expected);
    }
}

#[test]
fn every_text_has_pilot_3s_code() {
    let stand_ins = StandIns::new();
    let lsm = tool("lsm", &stand_ins.setup());
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let going = output(&stand_ins, "root://h/d/out", b"x");
    for (text, stage_in, stage_out) in TEXTS {
        for program in ["lsm-get", "lsm-put"] {
            stand_ins.habit(program, &format!("fail '{text}' 3"));
        }
        let (code, why) = cause(run(&lsm, &coming));
        assert_eq!(code, stage_in, "`{text}`: {why}");
        let (code, why) = cause(run(&lsm, &going));
        assert_eq!(code, stage_out, "`{text}`: {why}");
    }
    assert!(!coming.path.exists());
}

#[test]
fn causes_tell_what_to_do_next() {
    let stand_ins = StandIns::new();
    let lsm = tool("lsm", &stand_ins.setup());
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let fails = |text: &str| {
        stand_ins.habit("lsm-get", &format!("fail '{text}'"));
        cause(run(&lsm, &coming)).1
    };
    assert!(matches!(fails("No such file or directory"), Cause::Missing));
    assert!(matches!(fails("Cannot authenticate"), Cause::Denied { .. }));
    assert!(matches!(
        fails("Network is unreachable"),
        Cause::Unreachable { .. }
    ));
    assert!(matches!(fails("SlowDown"), Cause::Busy { .. }));
    assert!(matches!(fails("No space left on device"), Cause::NoSpace));
    let said = fails("a\n\nb");
    assert_eq!(said.to_string(), "`lsm-get` failed: a; b");
}

#[test]
fn exit_codes_mean_something_too() {
    let stand_ins = StandIns::new();
    let gfal = tool("gfal", &stand_ins.setup());
    for exit_code in [62, 110] {
        stand_ins.habit(
            "gfal-copy",
            &format!("fail 'gfal-copy: whatever' {exit_code}"),
        );
        let coming = fetch(&stand_ins, "davs://h/d/x", b"x");
        assert_eq!(cause(run(&gfal, &coming)).0, 1151);
        let going = output(&stand_ins, "davs://h/d/out", b"x");
        assert_eq!(cause(run(&gfal, &going)).0, 1152);
    }
}

#[test]
fn a_program_that_dies_by_a_signal_is_named_with_it() {
    let stand_ins = StandIns::new();
    stand_ins.habit("lsm-get", "kill -SEGV $$");
    let lsm = tool("lsm", &stand_ins.setup());
    let (code, why) = cause(run(&lsm, &fetch(&stand_ins, "root://h/d/x", b"x")));
    assert_eq!(code, 1099);
    assert_eq!(why.to_string(), "`lsm-get` failed: ended by signal 11");
}

#[test]
fn a_program_that_is_not_there_lets_another_tool_try() {
    let stand_ins = StandIns::new();
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    for setup in ["", &stand_ins.setup()] {
        let _ = fs::remove_file(stand_ins.path("bin/lsm-get"));
        let (code, why) = cause(run(&tool("lsm", setup), &coming));
        assert!(matches!(why, Cause::ToolMissing { .. }), "{why:?}");
        assert_eq!(code, 1323);
    }
}

#[test]
fn half_a_file_is_no_success() {
    let stand_ins = StandIns::new();
    let content = bytes(1000);
    let half = "head -c 500 \"$from\" > \"$to\"; exit 0";
    for program in ["lsm-get", "gfal-copy"] {
        stand_ins.habit(program, half);
    }
    let coming = fetch(&stand_ins, "root://h/d/x", &content);
    let (code, why) = cause(run(&tool("lsm", &stand_ins.setup()), &coming));
    assert!(matches!(why, Cause::SizeMismatch { .. }), "{why:?}");
    assert_eq!(code, 1099);
    assert!(names_in(&stand_ins.path("job")).is_empty());

    let going = output(&stand_ins, "davs://h/d/out", &content);
    let (code, why) = cause(run(&tool("gfal", &stand_ins.setup()), &going));
    assert!(matches!(why, Cause::SizeMismatch { .. }), "{why:?}");
    assert_eq!(code, 1137);
    assert_eq!(
        names_in(&stand_ins.path("storage")).len(),
        1,
        "what was begun is removed"
    );
}

#[test]
fn a_storage_with_other_bytes_is_found_out() {
    let stand_ins = StandIns::new();
    let going = output(&stand_ins, "davs://h/d/out", b"content");
    stand_ins.write("adler32", "00000007");
    let (code, why) = cause(run(&tool("gfal", &stand_ins.setup()), &going));
    assert!(matches!(why, Cause::ChecksumMismatch { .. }), "{why:?}");
    assert_eq!(code, 1172);
    assert!(names_in(&stand_ins.path("storage")).is_empty());
}

#[test]
fn a_storage_without_checksums_is_believed_by_size() {
    let stand_ins = StandIns::new();
    let going = output(&stand_ins, "davs://h/d/out", b"content");
    stand_ins.write("no-sums", "");
    run(&tool("gfal", &stand_ins.setup()), &going).expect("goes");
}

#[test]
fn a_storage_that_does_not_replace_files_gets_the_new_one_all_the_same() {
    let stand_ins = StandIns::new();
    for content in [b"first".as_slice(), b"second"] {
        let going = output(&stand_ins, "davs://h/d/out", content);
        run(&tool("gfal", &stand_ins.setup()), &going).expect("goes");
        assert_eq!(
            fs::read(stand_ins.path("storage/d/out")).expect("there"),
            content
        );
    }
    assert_eq!(names_in(&stand_ins.path("storage")).len(), 1);
}

#[test]
fn directories_are_made_where_they_are_missed() {
    let stand_ins = StandIns::new();
    let going = output(&stand_ins, "davs://h/new/deep/out", b"content");
    run(&tool("gfal", &stand_ins.setup()), &going).expect("goes");
    assert_eq!(
        fs::read(stand_ins.path("storage/new/deep/out")).expect("there"),
        b"content"
    );
}

#[test]
fn names_of_all_kinds_go_and_come() {
    for (name, scheme) in [("gfal", "davs"), ("lsm", "root"), ("objectstore", "s3")] {
        let stand_ins = StandIns::new();
        stand_ins.write("help", "--rses RSES");
        let tool = tool(name, &stand_ins.setup());
        for lfn in ODD_NAMES {
            let failed = |error: TransferError| panic!("{name} `{lfn}`: {}", error.cause);
            let url = format!("{scheme}://h/d/{lfn}");
            let mut going = output(&stand_ins, &url, b"content");
            going.path = stand_ins.path("job").join(lfn);
            going.identity = identity(lfn);
            fs::write(&going.path, b"content").expect("space");
            run(&tool, &going).map_err(failed).expect("goes");
            let stored = stand_ins.path("storage/d").join(lfn);
            assert_eq!(fs::read(&stored).expect("there"), b"content");
            let coming = Transfer {
                direction: Direction::StageIn,
                checksum: Some(adler32(b"content")),
                ..going
            };
            fs::remove_file(&coming.path).expect("own");
            run(&tool, &coming).map_err(failed).expect("comes");
            assert_eq!(fs::read(&coming.path).expect("there"), b"content");
        }
    }
    assert!(!Path::new("evil").exists(), "a name was run");
}

#[test]
fn a_scope_is_never_an_option() {
    let stand_ins = StandIns::new();
    stand_ins.write("help", "");
    let mut coming = fetch(&stand_ins, "s3://h/d/x", b"x");
    coming.identity.scope = Some(Scope::new("--config=/evil"));
    let (_, why) = cause(run(&tool("objectstore", &stand_ins.setup()), &coming));
    assert!(why.to_string().contains("for an option"), "{why}");
}

#[test]
fn a_program_that_leaves_no_file_did_not_succeed() {
    let stand_ins = StandIns::new();
    stand_ins.habit("lsm-get", "exit 0");
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let (_, why) = cause(run(&tool("lsm", &stand_ins.setup()), &coming));
    assert!(matches!(why, Cause::NotTheFile { .. }), "{why:?}");
}

#[test]
fn a_link_is_not_the_file() {
    let stand_ins = StandIns::new();
    stand_ins.habit("lsm-get", "ln -s /etc/passwd \"$to\"; exit 0");
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let (_, why) = cause(run(&tool("lsm", &stand_ins.setup()), &coming));
    assert!(matches!(why, Cause::NotAFile), "{why:?}");
    assert!(names_in(&stand_ins.path("job")).is_empty());
}

#[test]
fn an_output_that_is_still_written_is_not_stored() {
    let stand_ins = StandIns::new();
    stand_ins.habit("gfal-copy", "echo more >> \"$from\"");
    let going = output(&stand_ins, "davs://h/d/out", b"content");
    let (code, why) = cause(run(&tool("gfal", &stand_ins.setup()), &going));
    assert!(matches!(why, Cause::Changed { .. }), "{why:?}");
    assert_eq!(code, 1137);
    assert!(names_in(&stand_ins.path("storage")).is_empty());
}

#[test]
fn a_program_that_hangs_is_given_up_with_all_that_it_started() {
    let stand_ins = StandIns::new();
    let hang = "sleep 600 & echo $! > \"$HERE/child\"; wait";
    for program in ["lsm-get", "lsm-put"] {
        stand_ins.habit(program, hang);
    }
    let lsm = tool("lsm", &stand_ins.setup());
    let patience = Patience {
        begin: Duration::from_secs(1),
        blind: Duration::from_secs(1),
        ..PATIENCE
    };
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let going = output(&stand_ins, "root://h/d/out", b"x");
    for transfer in [coming, going] {
        let transfer = Transfer {
            patience,
            ..transfer
        };
        let watch = Watch::new(Arc::new(AtomicBool::new(false)), patience);
        let error = lsm.transfer(&transfer, &watch).expect_err("hangs");
        let is_too_slow = matches!(
            error.cause,
            Cause::TooSlow(Impatience::NotBegun { .. } | Impatience::NotEnded { .. })
        );
        assert!(is_too_slow, "{:?}", error.cause);
        let codes = [ErrorCode::StageInTimeout, ErrorCode::StageOutTimeout];
        assert!(codes.contains(&error.code()));
        wait_until_gone(&stand_ins);
    }
}

#[test]
fn a_transfer_that_is_stopped_ends_the_program() {
    let stand_ins = StandIns::new();
    stand_ins.habit("lsm-get", "sleep 600 & echo $! > \"$HERE/child\"; wait");
    let coming = fetch(&stand_ins, "root://h/d/x", b"x");
    let watch = watch();
    let error = thread::scope(|scope| {
        let lsm = tool("lsm", &stand_ins.setup());
        let running = {
            let (coming, watch) = (&coming, &watch);
            scope.spawn(move || lsm.transfer(coming, watch))
        };
        let begin = Instant::now();
        while !stand_ins.path("child").exists() {
            assert!(begin.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        watch.stop().store(true, Ordering::Relaxed);
        running.join().expect("no panic").expect_err("stopped")
    });
    assert!(matches!(error.cause, Cause::Stopped), "{:?}", error.cause);
    wait_until_gone(&stand_ins);
    assert!(names_in(&stand_ins.path("job")).is_empty());
}

#[test]
fn a_growing_file_is_seen_to_move() {
    let stand_ins = StandIns::new();
    // It takes longer than the pace allows for a file that does not grow.
    let slowly = "i=0; while [ $i -lt 15 ]; do head -c 100 \"$from\" >> \"$to\"; sleep 0.2; \
                  i=$((i+1)); done; exit 0";
    stand_ins.habit("lsm-get", slowly);
    let mut coming = fetch(&stand_ins, "root://h/d/x", &bytes(100));
    (coming.size, coming.checksum) = (None, Some(adler32(&bytes(100).repeat(15))));
    let patience = Patience {
        stall: Duration::from_millis(2500),
        ..PATIENCE
    };
    let watch = Watch::new(Arc::new(AtomicBool::new(false)), patience);
    let lsm = tool("lsm", &stand_ins.setup());
    lsm.transfer(&coming, &watch).expect("slow, and alive");
    assert!(watch.moved() > ByteCount::ZERO);
}

#[test]
fn another_scheme_is_another_tools() {
    let stand_ins = StandIns::new();
    let coming = fetch(&stand_ins, "s3://h/d/x", b"x");
    let (code, why) = cause(run(&tool("lsm", &stand_ins.setup()), &coming));
    assert_eq!(code, 1323);
    assert_eq!(
        why.to_string(),
        "no copy tool for `s3`; there are: srm, gsiftp, root"
    );
}

/// Waits until the process whose number is in `child` is gone, and forgets it.
fn wait_until_gone(stand_ins: &StandIns) {
    let child = stand_ins.path("child");
    let pid = fs::read_to_string(&child).expect("written");
    let _ = fs::remove_file(&child);
    let begin = Instant::now();
    let stat = format!("/proc/{}/stat", pid.trim());
    while fs::read_to_string(&stat).is_ok_and(|it| !it.contains(") Z ")) {
        assert!(begin.elapsed() < Duration::from_secs(30), "it still runs");
        thread::yield_now();
    }
}
