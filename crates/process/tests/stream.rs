//! Programs that move data: through pipes, of any size, and never longer than their caller.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ailurus_process::{
    CommandEnd, DataStream, Happened, RunningStream, StartError, StreamCommand, StreamEnd,
};

const LIMIT: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(50);

fn shell(script: &str, data: DataStream) -> StreamCommand {
    StreamCommand {
        argv: ["sh", "-c", script].map(Into::into).to_vec(),
        env: BTreeMap::new(),
        env_removed: BTreeSet::new(),
        cwd: None,
        data,
        said_max_bytes: 1000,
    }
}

fn read_all(mut running: RunningStream) -> (Vec<u8>, StreamEnd) {
    let (begin, mut all, mut chunk) = (Instant::now(), Vec::new(), vec![0; 70_000]);
    while running.wait(TICK).expect("watched") != Happened::Ended {
        let length = running.read(&mut chunk).expect("readable");
        all.extend_from_slice(&chunk[..length]);
        assert!(begin.elapsed() < LIMIT);
    }
    (all, running.finish().expect("reaped"))
}

#[test]
fn data_come_whole_and_apart_from_what_is_said() {
    let script = "head -c 3000000 /dev/zero; echo bad >&2; exit 3";
    let running = shell(script, DataStream::FromProgram)
        .start()
        .expect("starts");
    let (data, end) = read_all(running);
    assert_eq!(data.len(), 3_000_000);
    assert_eq!(end.stderr, b"bad\n");
    assert_eq!(end.end, CommandEnd::Exited(3));
}

#[test]
fn data_are_taken_whole() {
    let mut running = shell("wc -c", DataStream::ToProgram)
        .start()
        .expect("starts");
    let data = vec![7; 3_000_001];
    let mut sent = 0;
    while running.wait(TICK).expect("watched") != Happened::Ended {
        sent += running.write(&data[sent..]);
        if sent == data.len() {
            running.close();
        }
    }
    let end = running.finish().expect("reaped");
    assert_eq!(String::from_utf8_lossy(&end.stdout).trim(), "3000001");
}

#[test]
fn a_program_that_takes_nothing_ends_by_itself() {
    let mut running = shell("echo no >&2; exit 9", DataStream::ToProgram)
        .start()
        .expect("starts");
    let begin = Instant::now();
    while running.wait(TICK).expect("watched") != Happened::Ended {
        running.write(&[0; 100_000]);
        assert!(begin.elapsed() < LIMIT);
    }
    assert_eq!(running.finish().expect("reaped").end, CommandEnd::Exited(9));
}

#[test]
fn of_endless_talk_the_end_is_kept() {
    let script = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; echo last";
    let running = shell(script, DataStream::None).start().expect("starts");
    let (_, end) = read_all(running);
    assert!(end.stdout.ends_with(b"line 4999\nlast\n"));
    assert_eq!(end.stdout.len(), 1000);
}

#[test]
fn what_is_dropped_is_killed_with_its_group() {
    let dir = tempfile::tempdir().expect("space");
    let mut command = shell("sleep 600 & echo $! > child; wait", DataStream::None);
    command.cwd = Some(dir.path().to_owned());
    let running = command.start().expect("starts");
    let child = number_in(&dir.path().join("child"));
    drop(running);
    wait_until_gone(&child);
}

#[test]
fn it_dies_with_the_thread_that_started_it() {
    let dir = tempfile::tempdir().expect("space");
    let mut command = shell("echo $$ > self; exec sleep 600", DataStream::None);
    command.cwd = Some(dir.path().to_owned());
    let starter = std::thread::spawn(move || std::mem::forget(command.start().expect("starts")));
    starter.join().expect("no panic");
    // It may not even have come to write its number.
    let begin = Instant::now();
    let own = dir.path().to_owned();
    while has_process_in(&own) {
        assert!(begin.elapsed() < LIMIT, "it still runs");
        std::thread::yield_now();
    }
}

#[test]
fn variables_are_set_and_taken_away() {
    let mut command = shell("echo ${PATH:+set} $NEW", DataStream::None);
    command.argv[0] = "/bin/sh".into();
    command.env.insert("NEW".into(), "a b".into());
    command.env_removed.insert("PATH".into());
    let (_, end) = read_all(command.start().expect("starts"));
    assert!(end.stdout.ends_with(b"a b\n"), "{end:?}");
}

#[test]
fn a_missing_program_is_told_from_one_that_fails() {
    let mut command = shell("", DataStream::None);
    command.argv[0] = "no-such-program".into();
    let error = command.start().expect_err("missing");
    assert!(matches!(error, StartError::NotFound { .. }), "{error}");
}

fn number_in(path: &Path) -> String {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().to_owned();
        }
        assert!(
            begin.elapsed() < LIMIT,
            "nothing is in `{}`",
            path.display()
        );
        std::thread::yield_now();
    }
}

fn wait_until_gone(pid: &str) {
    let begin = Instant::now();
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| !it.contains(") Z ")) {
        assert!(begin.elapsed() < LIMIT, "process {pid} is still there");
        std::thread::yield_now();
    }
}

fn has_process_in(dir: &Path) -> bool {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    entries
        .into_iter()
        .any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir))
}
