//! `--check`: the packed pilot runs a whole job in trees with an old glibc, a new one, and none,
//! and finds its peers by DNS there.
//!
//! Each tree gets a network of its own, in which this program plays the DNS server and the web
//! server. The name service configuration asks for a module of the tree's own C library: one that
//! a program with another C library built in must not load.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use ailurus_testkit::{http::Answer, stand_in::HttpStandIn};
use anyhow::{Context as _, bail, ensure};

use crate::{shell, trees, trees::Tree};

use super::elf;

/// The hidden first option of the part that runs inside the network of its own.
pub(super) const INSIDE: &str = "__inside";

/// Largest pilot, in bytes: it travels to every worker. The goal is 6 MiB (`pilot.binary_mib`); what
/// is released carries its C library besides.
const PILOT_MAX_BYTES: u64 = 9 << 20;

/// Longest run of the one job, in seconds.
const RUN_LIMIT_S: &str = "120";

/// The name that only the DNS server inside knows.
const HOST: &str = "panda.test";

/// What the payload says.
const GREETING: &str = "hello from the payload";

/// Checks size and behaviour of a pilot and its tarball.
///
/// # Errors
///
/// The pilot is too large, or does not run its job in one of the trees.
pub(super) fn run(pilot: &Path, tarball: &Path) -> anyhow::Result<()> {
    if trees::provide_tools()? {
        run_in_trees(pilot, tarball)?;
    } else {
        eprintln!("   not tried on other systems");
    }
    let size = fs::metadata(pilot)?.len();
    ensure!(
        size <= PILOT_MAX_BYTES,
        "the pilot has {size} bytes, {PILOT_MAX_BYTES} at most"
    );
    eprintln!("   the pilot has {size} bytes of {PILOT_MAX_BYTES}");
    Ok(())
}

fn run_in_trees(pilot: &Path, tarball: &Path) -> anyhow::Result<()> {
    for (tree, launcher) in [
        (Tree::Bare, None),
        (Tree::Old, Some("python2")),
        (Tree::New, Some("python3")),
    ] {
        let path = match tree.provide() {
            Ok(path) => path,
            Err(error) => {
                eprintln!(
                    "   {}: not tried, for it cannot be made: {error:#}",
                    tree.name()
                );
                continue;
            }
        };
        let scratch = path.with_extension("work");
        prepare(&scratch, tarball)?;
        let launched = match launcher {
            Some(python) => vec![python.to_owned(), "pilot3/pilot.py".to_owned()],
            None => vec![format!(
                "pilot3/bin/ailurus-pilot-{}",
                elf::machine_of(pilot)?
            )],
        };
        let mut command = shell::command("bwrap");
        command.args(["--dev-bind", "/", "/", "--proc", "/proc"]);
        command.args(["--unshare-net", "--unshare-pid", "--die-with-parent"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--unshare-user", "--uid", "0", "--gid", "0"]);
        }
        // For port 53, and for the namespaces of the tree.
        command.args(["--cap-add", "ALL"]);
        command.arg(std::env::current_exe()?);
        command.args(["package", INSIDE]).arg(&path).arg(&scratch);
        shell::run(command.args(&launched))
            .with_context(|| format!("the pilot fails where there is {}", tree.name()))?;
        fs::remove_dir_all(&scratch)?;
        eprintln!("   {}: `{}` ran a job", tree.name(), launched.join(" "));
    }
    Ok(())
}

/// Makes an empty directory with the unpacked tarball.
fn prepare(scratch: &Path, tarball: &Path) -> anyhow::Result<()> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    fs::create_dir_all(scratch.join("storage"))?;
    let mut tar = shell::command("tar");
    shell::run(tar.arg("-xzf").arg(tarball).arg("-C").arg(scratch))
}

/// Runs one job in a tree; the network around must be empty.
///
/// # Errors
///
/// The pilot fails, or the job left no output.
pub(super) fn run_inside(words: &[String]) -> anyhow::Result<()> {
    let [tree, scratch, launched @ ..] = words else {
        bail!("`{INSIDE}` is for `package --check` only");
    };
    let scratch = PathBuf::from(scratch);
    serve_dns()?;
    let server = HttpStandIn::start(|request| {
        let body = match request.target() {
            "/queue.json" => QUEUE,
            "/storage.json" => STORAGE,
            "/hello.sh" => PAYLOAD,
            _ => return Some(Answer::new(404, "")),
        };
        Some(Answer::new(200, body))
    })?;
    let url = server.url().replace("127.0.0.1", HOST);
    let job = format!(
        "StatusCode=0&PandaID=1&transformation={url}/hello.sh&jobPars=payload\
         &outFiles=result.txt,log.tgz&logFile=log.tgz&scopeOut=test&scopeLog=test\
         &realDatasets=ds,ds&destinationDblock=ds,ds"
    );
    fs::write(scratch.join("pandaJobData.out"), job)?;
    fs::write(scratch.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    // The first module belongs to the tree's own C library.
    fs::write(scratch.join("nsswitch.conf"), "hosts: hesiod dns\n")?;
    let mut command = Command::new("timeout");
    command.args([RUN_LIMIT_S, "bwrap", "--ro-bind", tree, "/"]);
    for name in ["resolv.conf", "nsswitch.conf"] {
        command
            .arg("--ro-bind")
            .arg(scratch.join(name))
            .arg(format!("/etc/{name}"));
    }
    command.arg("--bind").arg(&scratch).arg("/place");
    command.args([
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/place",
    ]);
    command.args(["--unshare-pid", "--die-with-parent", "--clearenv"]);
    command
        .args(["--setenv", "PATH", "/usr/bin:/bin"])
        .args(launched);
    command.args([
        "-z",
        "-q",
        "TRIAL",
        "-j",
        "user",
        "--pilot-user",
        "generic",
        "-b",
        "-t",
    ]);
    command.args(["--queuedata-url", &format!("{url}/queue.json")]);
    command.args(["--storagedata-url", &format!("{url}/storage.json")]);
    command.args(["--baseurls", &url, "-a", "/place/run", "--cleanup", "False"]);
    let output = command.output().context("`timeout` cannot be started")?;
    let log = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the pilot ended with {}:\n{log}{complaint}",
        output.status
    );
    let stored = find(&scratch.join("storage"), "result.txt")
        .with_context(|| format!("the job stored nothing:\n{log}{complaint}"))?;
    let text = fs::read_to_string(stored)?;
    ensure!(text.trim() == GREETING, "the job's output says `{text}`");
    Ok(())
}

const QUEUE: &str = r#"{"nickname": "TRIAL", "state": "ACTIVE", "status": "online",
    "maxrss": 2000, "maxwdir": 10000, "acopytools": {"pr": ["mv"], "pw": ["mv"]},
    "astorages": {"read_lan": ["DISK"], "write_lan": ["DISK"]}}"#;

const STORAGE: &str = r#"{"DISK": {"name": "DISK", "state": "ACTIVE", "type": "DATADISK",
    "is_deterministic": true, "arprotocols": {
    "read_lan": [{"endpoint": "file://", "path": "/place/storage/"}],
    "write_lan": [{"endpoint": "file://", "path": "/place/storage/"}]}}}"#;

const PAYLOAD: &str = "#!/bin/sh\necho \"hello from the $1\" > result.txt\n";

/// Answers on port 53, as long as the process lives, that the one name is this machine.
fn serve_dns() -> anyhow::Result<()> {
    const PLAIN_ANSWER: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01";
    let socket = UdpSocket::bind("127.0.0.1:53").context("port 53 cannot be had")?;
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            let is_ours = answer.windows(11).any(|part| part == b"\x05panda\x04test");
            let is_for_ipv4 = answer.ends_with(b"\x00\x01\x00\x01");
            answer[2] |= 0x80;
            if !is_ours {
                answer[3] = 3;
            } else if is_for_ipv4 {
                answer[7] = 1;
                answer.extend(PLAIN_ANSWER);
            }
            drop(socket.send_to(&answer, peer));
        }
    });
    Ok(())
}

/// Finds a file by its name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (entry.file_name() == name).then_some(path)
        }
    })
}
