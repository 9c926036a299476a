//! A copy within the node, against `cp` and against Python.

use std::{fs, path::Path};

use super::{Content, program::Program};
use crate::figure::{Better, Figure};

/// Runs of each.
const RUNS: usize = 9;
/// Most of the time of `cp` that a verified copy may take.
const CP_GOAL: f64 = 1.15;
/// How many times as fast as Python it is to be.
const PYTHON_GOAL: f64 = 5.0;

/// Copies, then sums up what was copied, as Pilot 3 does: mapped, 8 KiB at a time.
///
/// Source: Pilot 3, `pilot/util/filehandling.py`, `calculate_adler32_checksum`.
const PYTHON: &str = "\
import mmap, shutil, sys, zlib
source, target, checksum = sys.argv[1:]
shutil.copyfile(source, target)
value = 1
with open(target, 'rb') as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for block in iter(lambda: mapped.read(8192), b''):
        value = zlib.adler32(block, value)
assert 'ad:%08x' % value == checksum
";

/// Measures copies of a file that is in memory already.
pub(super) fn measure(
    folder: &Path,
    large: &Content,
    peaks: &mut Vec<f64>,
) -> anyhow::Result<Vec<Figure>> {
    let url = format!("file://{}", large.path.display());
    let target = folder.join("copy");
    let (mut of_cp, mut of_python) = (Vec::new(), Vec::new());
    large.get(&url, &target, peaks)?;
    for _ in 0..RUNS {
        let ours = large.get(&url, &target, peaks)?.seconds;
        fs::remove_file(&target)?;
        let cp = Program::new("cp").arg("--reflink=never");
        let cp = cp.arg(&large.path).arg(&target).run()?.seconds;
        fs::remove_file(&target)?;
        let python = Program::new("python3").args(["-c", PYTHON]);
        let python = python.arg(&large.path).arg(&target).arg(&large.checksum);
        let python = python.run()?.seconds;
        fs::remove_file(&target)?;
        of_cp.push(ours / cp);
        of_python.push(python / ours);
    }
    Ok(vec![
        Figure::new("transfer.local_vs_cp", "", Better::Smaller, CP_GOAL, of_cp),
        Figure::new(
            "transfer.local_vs_python",
            "",
            Better::Larger,
            PYTHON_GOAL,
            of_python,
        ),
    ])
}
