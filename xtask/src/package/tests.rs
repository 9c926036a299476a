//! What is released, made from stand-ins for the programs.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// The first bytes of a program for this machine number, and nothing more.
fn stub(folder: &Path, name: &str, machine: u16) -> PathBuf {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend(machine.to_le_bytes());
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_tarball_has_what_wrappers_look_for_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let pilots = [stub(folder.path(), "a", 62), stub(folder.path(), "b", 183)];
    let [one, two] = ["one", "two"].map(|it| folder.path().join(it));
    for out in [&one, &two] {
        fs::create_dir(out).unwrap();
        let files = pack_tarball(out, &pilots, 1_700_000_000).unwrap();
        write_checksums(out, &files).unwrap();
    }
    assert_eq!(
        fs::read(one.join("SHA256SUMS")).unwrap(),
        fs::read(two.join("SHA256SUMS")).unwrap()
    );
    let mut tar = shell::command("tar");
    shell::run(tar.arg("-xzf").arg(one.join(TARBALL)).arg("-C").arg(&two)).unwrap();
    let version = fs::read_to_string(two.join("pilot3/PILOTVERSION")).unwrap();
    assert_eq!(version, format!("ailurus-{VERSION}\n"));
    for name in [
        "pilot.py",
        "bin/ailurus-pilot-x86_64",
        "bin/ailurus-pilot-aarch64",
    ] {
        let file = fs::metadata(two.join("pilot3").join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o111, 0o111, "{name}");
    }
}

#[test]
fn what_is_no_program_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\necho this is long enough to be read\n").unwrap();
    let error = pack_tarball(folder.path(), &[script], 0).unwrap_err();
    assert!(error.to_string().contains("script"), "{error}");
}

#[test]
fn each_program_has_a_package_with_the_same_bytes_each_time() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `dpkg-deb`");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = stub(folder.path(), "program", 62);
    let build = |name: &str| {
        let out = folder.path().join(name);
        fs::create_dir(&out).unwrap();
        debian::build_packages(&out, 1_700_000_000, |_| Ok(program.clone())).unwrap()
    };
    let (one, two) = (build("one"), build("two"));
    assert_eq!(one.len(), place::PROGRAMS.len());
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(
            fs::read(one).unwrap(),
            fs::read(two).unwrap(),
            "{}",
            one.display()
        );
    }
    let server = one
        .iter()
        .find(|file| file.to_str().unwrap().contains("-server"));
    let output = Command::new("dpkg-deb")
        .arg("--contents")
        .arg(server.unwrap())
        .output()
        .unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    for name in [
        "usr/bin/ailurus-server",
        "etc/ailurus/queues.json",
        "ailurus-server.service",
    ] {
        assert!(list.contains(name), "`{name}` is missing in {list}");
    }
}

#[test]
fn unknown_options_and_missing_values_are_refused() {
    let refused = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Options::parse(&words).unwrap_err().to_string()
    };
    assert!(refused(&["--fast"]).contains("--fast"));
    assert!(refused(&["--out"]).contains("--out"));
}

/// The launcher beside a binary that tells what it was given.
fn unpacked(machine: &str, mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::copy(
        packaging().join("pilot3/pilot.py"),
        folder.path().join("pilot.py"),
    )
    .unwrap();
    let binary = folder.path().join(format!("bin/ailurus-pilot-{machine}"));
    fs::write(
        &binary,
        "#!/bin/sh\nprintf '%s|' $$ \"$@\"\nenv -u PWD -u _ -u SHLVL -u OLDPWD\n\
         grep SigIgn /proc/self/status\n",
    )
    .unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

fn launch(folder: &Path) -> std::process::Output {
    let mut command = Command::new("python3");
    command
        .arg(folder.join("pilot.py"))
        .args(["-q", "A B", "--x=$(id)", ""]);
    let path = std::env::var("PATH").unwrap();
    command
        .env_clear()
        .env("PATH", path)
        .env("GTAG", "x")
        .output()
        .unwrap()
}

#[test]
fn the_launcher_becomes_the_binary_with_all_arguments_and_a_clean_environment() {
    // The mode was lost on the way.
    let folder = unpacked(std::env::consts::ARCH, 0o644);
    let output = launch(folder.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("|-q|A B|--x=$(id)||"),
        "{text}{:?}",
        output.stderr
    );
    assert!(
        text.contains("GTAG=x") && !text.contains("LC_CTYPE"),
        "{text}"
    );
    let (_, ignored) = text.rsplit_once("SigIgn:").unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    let of_python = [13, 25].map(|signal| 1_u64 << (signal - 1));
    assert!(of_python.iter().all(|bit| ignored & bit == 0), "{text}");
}

#[test]
fn the_launcher_names_the_architecture_for_which_there_is_no_binary() {
    let folder = unpacked("vax", 0o755);
    let output = launch(folder.path());
    assert_eq!(output.status.code(), Some(65));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(std::env::consts::ARCH) && text.contains("vax"),
        "{text}"
    );
}
