//! Jobs with a container image, in real containers: bubblewrap by a profile's own entry, and
//! Apptainer by the built-in one, as an ordinary user in a Debian 13 tree
//! (`target/trees/debian13`, made by `cargo xtask test`).
//!
//! The image is a directory with a static busybox and nothing else, so whatever a payload finds
//! besides the job's directory is the image's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use ailurus_e2e::{
    LIMIT, all_command_lines,
    lone_pilot::{Ended, Stage},
    path_text,
};
use ailurus_testkit::{panda::sample, place, wait::wait_for};
use rustix::process::Signal;
use serde_json::json;

/// What the image says that it is.
const IMAGE_NAME: &str = "image of the test";

/// What busybox is called by in the image.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "env", "head", "pwd", "setsid", "sleep", "tr",
];

/// Bubblewrap, as a profile may describe any container program.
const PROFILE: &str = r#"
name = "boxed"
description = "Runs scripts in a directory tree by bubblewrap."

[payload]
container = "bubblewrap"
environment = { THREADS = "{cores}" }

[[payload.commands]]
transformation = "*"
command = ["./{script}", "{arguments}"]

[containers.bubblewrap]
programs = ["bwrap"]
arguments = ["--unshare-pid", "--die-with-parent", "--ro-bind", "{image}", "/", "--proc", "/proc", "--dev", "/dev", "--bind", "{directory}", "/srv", "--chdir", "/srv", "{options}", "--"]
"#;

/// The same profile with Apptainer, as every profile knows it.
const PROFILE_OF_APPTAINER: &str = r#"
name = "boxed"
description = "Runs scripts in Apptainer."

[payload]
environment = { THREADS = "{cores}" }

[[payload.commands]]
transformation = "*"
command = ["./{script}", "{arguments}"]
"#;

/// Makes a tree the root of one process and becomes an ordinary user there:
/// `enter TREE STAGE PILOT ARGUMENTS...`. The network stays, and so does the process number, so
/// that signals reach the pilot.
const ENTER: &str = r#"
set -e
tree=$1 stage=$2 pilot=$3
shift 3
mount --bind "$tree" "$tree"
mount -t tmpfs none "$tree/tmp"
mount -t tmpfs none "$tree/place"
mkdir -p "$tree$stage" "$tree/place/old"
touch "$tree/place/ailurus-pilot"
chmod 1777 "$tree/tmp"
mount --bind "$stage" "$tree$stage"
mount --bind "$pilot" "$tree/place/ailurus-pilot"
mount --rbind /dev "$tree/dev"
mount --rbind /proc "$tree/proc"
mount --rbind /sys "$tree/sys"
launch=$PWD
cd "$tree"
PATH=$PATH:/usr/sbin:/sbin pivot_root . place/old
umount -l /place/old
cd "$launch"
exec setpriv --reuid=65534 --regid=65534 --clear-groups /place/ailurus-pilot "$@"
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Bubblewrap,
    Apptainer,
}

/// Every container program that this machine can have; it says which it cannot.
fn runtimes() -> Vec<Runtime> {
    let mut found = vec![Runtime::Bubblewrap, Runtime::Apptainer];
    found.retain(|runtime| {
        let why_not = runtime.obstacle();
        if let Some(why_not) = &why_not {
            eprintln!("skipped: {runtime:?}: {why_not}");
        }
        why_not.is_none()
    });
    found
}

impl Runtime {
    fn obstacle(self) -> Option<String> {
        let succeeds = |words: &[&str]| {
            let output = Command::new(words[0]).args(&words[1..]).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !succeeds(&["/bin/busybox", "true"])
            || !succeeds(&["bwrap", "--ro-bind", "/", "/", "true"])
        {
            return Some("no `bwrap` or no `/bin/busybox` that runs".to_owned());
        }
        if self == Self::Bubblewrap {
            return None;
        }
        let tree = place::target().join("trees/debian13");
        if !tree.join("usr/bin/apptainer").exists() {
            return Some(format!(
                "no Apptainer in `{}`: run `cargo xtask test`",
                tree.display()
            ));
        }
        let may_enter = succeeds(&["unshare", "--mount", "--propagation", "private", "true"]);
        (!may_enter).then(|| "only root may enter another tree".to_owned())
    }

    /// A stage whose pilot runs jobs in containers by this program.
    fn stage(self) -> Stage {
        let mut stage = Stage::new().unwrap();
        let profile = match self {
            Self::Bubblewrap => PROFILE,
            Self::Apptainer => PROFILE_OF_APPTAINER,
        };
        fs::write(stage.path("home/boxed.toml"), profile).unwrap();
        make_image(&stage.path("image"));
        stage.forget_changes().unwrap();
        let profiles = stage.path("home");
        let stage_root = stage.path(".");
        if self == Self::Apptainer {
            // Another user works here.
            open_to_all(&stage_root);
            let tree = place::target().join("trees/debian13");
            let root = stage_root.canonicalize().unwrap();
            stage.launcher = [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
            ]
            .into_iter()
            .chain([
                "enter",
                path_text(&tree).unwrap(),
                path_text(&root).unwrap(),
            ])
            .map(str::to_owned)
            .collect();
        }
        stage.with_options(&[
            "--pilot-user",
            "boxed",
            "--profile-path",
            path_text(&profiles).unwrap(),
            "--sample-interval",
            "100ms",
        ])
    }
}

/// Lets everybody write in a folder and all folders below it.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            open_to_all(&entry.path());
        }
    }
}

/// Makes a directory that is a whole system: a busybox.
fn make_image(image: &Path) {
    for folder in ["bin", "etc", "srv", "proc", "dev", "tmp", "sys", "var/tmp"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    fs::write(image.join("etc/image-name"), IMAGE_NAME).unwrap();
}

/// Offers a job in the stage's image and runs a pilot for it.
fn run(stage: &Stage, script: &str) -> Ended {
    let mut job = stage.job(1, script);
    job["container_name"] = json!(path_text(&stage.path("image")).unwrap());
    stage
        .add_input(&mut job, "in.dat", b"input of the job\n")
        .unwrap();
    sample::add_outputs(&mut job, &["out.dat"]);
    open_to_all(&stage.path("store"));
    stage.panda.offer(job);
    stage.run().unwrap()
}

#[test]
fn a_payload_sees_its_image_its_directory_and_its_variables() {
    for runtime in runtimes() {
        let stage = runtime.stage();
        let script = "#!/bin/sh\n\
            { cat /etc/image-name; echo; pwd; cat in.dat; echo \"$PANDAID $THREADS\"; } > out.dat\n";
        let ended = run(&stage, script);
        let end = stage.end_of(1).unwrap();
        assert_eq!(
            end.status, "finished",
            "{runtime:?}: {:#} {}",
            end.fields, ended.log
        );
        let text = fs::read_to_string(stage.stored("out.dat").unwrap()).unwrap();
        let expected = format!("{IMAGE_NAME}\n/srv\ninput of the job\n1 1\n");
        assert_eq!(text, expected, "{runtime:?}");
    }
}

#[test]
fn exit_codes_and_signals_of_a_payload_come_through() {
    for runtime in runtimes() {
        for (script, code) in [("#!/bin/sh\nexit 7\n", 7), ("#!/bin/sh\nkill -9 $$\n", 137)] {
            let stage = runtime.stage();
            let ended = run(&stage, script);
            let end = stage.end_of(1).unwrap();
            assert_eq!(end.status, "failed", "{runtime:?}: {}", ended.log);
            let reported = end.whole("trans_exit_code", "transExitCode");
            assert_eq!(reported, Some(code), "{runtime:?}: {}", ended.log);
        }
    }
}

#[test]
fn a_payload_that_takes_too_much_memory_is_ended_in_its_container() {
    for runtime in runtimes() {
        let stage = runtime.stage();
        stage.set_queue(&[("maxrss", json!(60))]);
        // A shell that holds 400 MB in a variable.
        let script = "#!/bin/sh\nx=$(head -c 400000000 /dev/zero | tr '\\0' a)\nsleep 97531\n";
        let ended = run(&stage, script);
        let end = stage.end_of(1).unwrap();
        let code = end.pilot_error_code();
        assert!(
            [1235, 1212].contains(&code),
            "{runtime:?}: {code}: {}",
            ended.log
        );
    }
}

#[test]
fn a_kill_reaches_every_process_in_the_container() {
    for (runtime, seconds) in runtimes().into_iter().zip(["86421", "86422"]) {
        let stage = runtime.stage().with_options(&["--kill-grace", "200ms"]);
        // One that left the session, one that hears no SIGTERM, and the shell itself.
        let script = format!(
            "#!/bin/sh\nsetsid sleep {seconds} &\n(trap '' TERM; sleep {seconds}) &\n\
             sleep {seconds}\n"
        );
        let mut job = stage.job(1, &script);
        job["container_name"] = json!(path_text(&stage.path("image")).unwrap());
        stage.panda.offer(job);
        let pilot = stage.start().unwrap();
        let sleepers = || -> anyhow::Result<usize> {
            let lines = all_command_lines()?;
            let is_ours = |words: &&Vec<String>| words.iter().any(|word| word == seconds);
            Ok(lines.iter().filter(is_ours).count())
        };
        wait_for("three sleeping processes", LIMIT, || {
            Ok((sleepers()? == 3).then_some(()))
        })
        .unwrap();
        pilot.signal(Signal::TERM).unwrap();
        let ended = pilot.end().unwrap();
        assert_eq!(ended.code(), 143, "{runtime:?}: {}", ended.log);
        assert_eq!(
            stage.end_of(1).unwrap().pilot_error_code(),
            1201,
            "{runtime:?}"
        );
        wait_for("the end of the sleeping processes", LIMIT, || {
            Ok((sleepers()? == 0).then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn an_image_that_is_not_there_fails_the_job_by_its_name() {
    for runtime in runtimes() {
        let stage = runtime.stage();
        fs::rename(stage.path("image"), stage.path("elsewhere")).unwrap();
        let ended = run(&stage, "#!/bin/sh\ntrue\n");
        let end = stage.end_of(1).unwrap();
        assert_eq!(end.pilot_error_code(), 1360, "{runtime:?}: {}", ended.log);
        assert!(
            end.pilot_error_diag().contains("/image"),
            "{}",
            end.pilot_error_diag()
        );
    }
}

#[test]
fn a_node_without_the_container_program_fails_the_job_with_its_code() {
    let stage = Stage::new().unwrap();
    fs::create_dir_all(stage.path("image")).unwrap();
    let path = stage.path("tmp");
    let stage = stage.with_environment(&[("PATH", path_text(&path).unwrap())]);
    let ended = run(&stage, "#!/bin/sh\ntrue\n");
    assert_eq!(
        stage.end_of(1).unwrap().pilot_error_code(),
        1372,
        "{}",
        ended.log
    );
}
