//! Stand-ins for copy programs: a shell script under many names that keeps files in a directory,
//! writes down what it was told, and can be told to misbehave.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

/// What the script does. `$HERE` is put before it.
const SCRIPT: &str = r#"
name=${0##*/}
for word in "$name" "$@"; do printf '%s\037' "$word"; done >> "$HERE/calls"
printf '\036' >> "$HERE/calls"
place() {
  case $1 in
    file://*) found=${1#file://};;
    *://*) found=${1#*://}; found=$HERE/storage/${found#*/};;
    *) found=$1;;
  esac
}
copy() {
  place "$1"; from=$found; place "$2"; to=$found
  [ -e "$HERE/habit.$name" ] && . "$HERE/habit.$name"
  cp -- "$from" "$to" || exit 1
}
fail() { echo "$1" >&2; exit "${2:-1}"; }
nr=$#; last=; before=
for word; do before=$last; last=$word; done
case $name in
  gfal-copy|lsm-get|lsm-put) copy "$before" "$last";;
  gfal-stat) place "$last"; [ -e "$found" ] || fail "gfal-stat error: 2 (No such file or directory)" 2
    printf "  File: '%s'\n  Size: %s\tregular file\n" "$last" "$(stat -c %s -- "$found")";;
  gfal-sum) [ -e "$HERE/no-sums" ] && fail "query chksum is not supported"
    place "$before"; [ "$last" = adler32 ] || exit 9
    printf '%s %s\n' "$before" "$(cat "$HERE/adler32")";;
  gfal-rm) place "$last"; rm -- "$found" 2>/dev/null || fail "gfal-rm: No such file or directory" 2;;
  gfal-mkdir) place "$last"; mkdir -p -- "$found";;
  gfal-rename) place "$before"; from=$found; place "$last"
    [ -e "$found" ] && fail "gfal-rename error: 17 (File exists)" 17; mv -- "$from" "$found";;
  rucio)
    case " $* " in
      *" -h "*) cat "$HERE/help"; exit 0;;
      *" download "*) dir= pfn=
        for word; do case $flag in --dir) dir=$word;; --pfn) pfn=$word;; esac; flag=$word; done
        copy "$pfn" "$dir/${last#*:}";;
      *" upload "*) for word; do [ "$flag" = --pfn ] && pfn=$word; flag=$word; done
        copy "$last" "$pfn";;
    esac;;
esac
"#;

/// Names under which the script can be called.
const NAMES: [&str; 9] = [
    "gfal-copy",
    "gfal-stat",
    "gfal-sum",
    "gfal-rm",
    "gfal-mkdir",
    "gfal-rename",
    "lsm-get",
    "lsm-put",
    "rucio",
];

/// Programs in a directory of their own, and the storage that they keep.
pub(super) struct StandIns {
    pub(super) dir: TempDir,
}

impl StandIns {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("space");
        let here = dir.path();
        for folder in ["bin", "storage/d", "job"] {
            fs::create_dir_all(here.join(folder)).expect("space");
        }
        let script = format!("#!/bin/sh\nHERE='{}'\n{SCRIPT}", here.display());
        let program = here.join("bin/program");
        fs::write(&program, script).expect("space");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own");
        for name in NAMES {
            std::os::unix::fs::symlink(&program, here.join("bin").join(name)).expect("space");
        }
        let setup = format!("PATH='{}/bin':$PATH\n", here.display());
        fs::write(here.join("setup.sh"), setup).expect("space");
        Self { dir }
    }

    /// Returns what queue data would have as the set-up of the tools.
    pub(super) fn setup(&self) -> String {
        self.path("setup.sh").display().to_string()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("space");
    }

    /// Has a program do something before it copies: a piece of shell that knows `$from` and `$to`.
    pub(super) fn habit(&self, program: &str, shell: &str) {
        self.write(&format!("habit.{program}"), shell);
    }

    /// Returns every call since the last time, program first.
    pub(super) fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let words = |call: &str| {
            let words = call.split_terminator('\u{1f}');
            words.map(str::to_owned).collect()
        };
        text.split_terminator('\u{1e}').map(words).collect()
    }
}
