//! An emulated machine with control groups of version 2, as worker nodes have them.
//!
//! A test program runs in it as an ordinary user whose group was delegated to it, as HTCondor and
//! systemd do. Kernel and emulator come from Debian; the machine boots, tests and goes off within
//! seconds. Emulated code is slow: it shows behaviour, not figures.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ailurus_testkit::place::{self, Profile};
use anyhow::{Context as _, bail};

use crate::{shell, trees};

/// Programs that are needed, and Debian's packages that have them.
const TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
];

/// Debian's package that names the latest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Longest life of the machine, in seconds.
const LIFE_MAX_SECS: &str = "300";

/// What the machine says when all tests have passed.
const GOOD_END: &str = "tests ended with 0";

/// The tests that control groups make a difference to: a package, its test program, the name of
/// that in the machine, and parts of the names of its tests.
const TESTS: [(&str, &str, &str, &str); 2] = [
    (
        "ailurus-process",
        "payload",
        "/bin/process-tests",
        "memory processes control_groups cpu nothing_asked bomb daemon killed leftovers",
    ),
    (
        "ailurus-e2e",
        "hostile_payloads",
        "/bin/pilot-tests",
        "memory_without_end fork_bomb forks_twice --test-threads=1",
    ),
];

/// Where the tests look for what cargo has built. Not where this checkout has it: that may be below a
/// place that the machine mounts something over.
const TARGET: &str = "/target";

/// The first program of the machine; `TESTS` stands for the commands that run the tests.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /etc /usr/bin
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
cd /sys/fs/cgroup
echo "+memory +cpu +pids +cpuset" > cgroup.subtree_control
mkdir slot
chown 1000:1000 slot slot/cgroup.procs slot/cgroup.threads slot/cgroup.subtree_control
echo 'job:x:1000:1000::/tmp:/bin/sh' > /etc/passwd
echo 'job:x:1000:' > /etc/group
cd /tmp
sh -c 'echo $$ > /sys/fs/cgroup/slot/cgroup.procs
 exec su job -s /bin/sh -c "export AILURUS_CONTROL_GROUPS=2; TESTS"'
echo "tests ended with $?"
poweroff -f
"#;

/// Runs the tests of payloads and of the pilot with its payloads in the machine.
///
/// # Errors
///
/// A test fails, or the machine cannot be made although its parts can be had.
pub(crate) fn test_control_groups() -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") || !trees::provide_packages(TOOLS)? {
        eprintln!("   left out: no emulated machine can be had here");
        return Ok(());
    }
    let Some(kernel) = provide_kernel()? else {
        eprintln!("   left out: no kernel for the emulated machine can be had here");
        return Ok(());
    };
    let root = machines().join("root");
    make_root(&root)?;
    let said = boot(&kernel, &pack(&root)?)?;
    if !said.contains(GOOD_END) {
        bail!("tests failed in the emulated machine, which said:\n{said}");
    }
    let n_tests = said
        .lines()
        .filter(|line| line.starts_with("test ") && !line.contains("result"))
        .count();
    eprintln!("   {n_tests} tests passed in the emulated machine");
    Ok(())
}

fn machines() -> PathBuf {
    place::target().join("machine")
}

/// Returns a kernel, which is fetched once; none if Debian cannot be asked.
fn provide_kernel() -> anyhow::Result<Option<PathBuf>> {
    let dir = machines().join("kernel");
    if let Some(kernel) = find_kernel(&dir) {
        return Ok(Some(kernel));
    }
    fs::create_dir_all(&dir)?;
    let depends = shell::command("apt-cache")
        .args(["depends", KERNEL])
        .output();
    let depends = depends.map(|output| output.stdout).unwrap_or_default();
    let depends = String::from_utf8_lossy(&depends);
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image"));
    let Some(package) = package else {
        return Ok(None);
    };
    eprintln!("   fetching {package}");
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]);
    shell::run(download.current_dir(&dir).stdout(Stdio::null()))?;
    let archive = fs::read_dir(&dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|it| it == "deb"))
        .context("the downloaded package is not there")?;
    let mut unpack = Command::new("dpkg-deb");
    shell::run(unpack.arg("--extract").arg(archive).arg(&dir))?;
    Ok(find_kernel(&dir))
}

fn find_kernel(dir: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(dir.join("boot")).ok()?.flatten();
    let is_kernel = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinuz"))
    };
    files.map(|entry| entry.path()).find(is_kernel)
}

/// Builds tests and returns their program.
fn test_program(package: &str, test: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-run", "--quiet", "--package", package]);
    cargo.args(["--test", test, "--message-format", "json"]);
    let output = cargo.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(output.stdout).context("cargo speaks UTF-8")?;
    let programs = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = programs.filter_map(|it| Some(it["executable"].as_str()?.into()));
    programs.next().context("cargo has built no test program")
}

/// Makes the file tree of the machine: busybox, the tests, the pilot where they look for it, and the
/// libraries that they need.
fn make_root(root: &Path) -> anyhow::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::create_dir_all(root.join("bin"))?;
    symlink("bin", root.join("sbin"))?;
    let mut find = Command::new("sh");
    let found = find.args(["-c", "command -v busybox"]).output()?;
    let busybox = String::from_utf8(found.stdout).context("paths are UTF-8")?;
    copy(Path::new(busybox.trim()), root, Path::new("/bin/busybox"))?;
    let mut commands = vec![format!("export CARGO_TARGET_DIR={TARGET}")];
    for (package, test, name, options) in TESTS {
        let program = test_program(package, test)?;
        copy(&program, root, Path::new(name))?;
        copy_libraries(&program, root)?;
        commands.push(format!("{name} {options}"));
    }
    shell::build(&["ailurus-pilot"], Profile::Dev)?;
    let pilot = place::program("ailurus-pilot", Profile::Dev);
    let inside = Path::new(TARGET).join(pilot.strip_prefix(place::target())?);
    copy(&pilot, root, &inside)?;
    copy_libraries(&pilot, root)?;
    let init = root.join("init");
    fs::write(&init, INIT.replace("TESTS", &commands.join(" && ")))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn copy_libraries(program: &Path, root: &Path) -> anyhow::Result<()> {
    let libraries = Command::new("ldd").arg(program).output()?;
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
        if word.starts_with('/') {
            copy(Path::new(word), root, Path::new(word))?;
        }
    }
    Ok(())
}

/// Copies a file to a place in the machine.
fn copy(file: &Path, root: &Path, inside: &Path) -> anyhow::Result<()> {
    let copy = root.join(inside.strip_prefix("/")?);
    fs::create_dir_all(copy.parent().context("a file lies in a folder")?)?;
    fs::copy(file, copy).with_context(|| format!("`{}` cannot be copied", file.display()))?;
    Ok(())
}

fn pack(root: &Path) -> anyhow::Result<PathBuf> {
    let archive = machines().join("root.cpio");
    let script = "find . | cpio --create --format=newc --quiet > \"$0\"";
    let mut pack = Command::new("sh");
    pack.arg("-c").arg(script).arg(&archive).current_dir(root);
    shell::run(&mut pack)?;
    Ok(archive)
}

/// Runs the machine to its end, and returns what it said.
fn boot(kernel: &Path, root: &Path) -> anyhow::Result<String> {
    let mut machine = Command::new("timeout");
    machine.args([LIFE_MAX_SECS, "qemu-system-x86_64"]);
    machine.args([
        "-M",
        "q35,accel=tcg",
        "-cpu",
        "max",
        "-m",
        "768",
        "-smp",
        "2",
    ]);
    machine.args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"]);
    machine.arg(kernel).arg("-initrd").arg(root);
    machine.args([
        "-append",
        "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
    ]);
    let output = machine.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // The console ends its lines as terminals do.
    Ok(said.replace('\r', ""))
}
