//! How fast ROOT files are checked: files as the payloads of the example write them, and larger.
//!
//! The page cache is warm, so that the check is measured and not the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use ailurus_format::Depth;
use ailurus_testkit::{place, python};
use ailurus_transfer::{FormatCheck, StopSwitch, check_file};
use anyhow::{Context as _, ensure};

use crate::figure::{Better, Figure};

/// Runs of each figure.
const RUNS: usize = 7;
/// Goal where only the structure is looked at, in milliseconds.
const STRUCTURE_GOAL_MS: f64 = 5.0;
/// Goal where every basket is checked, in GB/s.
const BASKETS_GOAL_GB_S: f64 = 1.0;
const BYTES_IN_GB: f64 = 1e9;
/// Entries of the tree, each of 44 bytes: two counters and eight numbers.
const N_ENTRIES: u64 = 4_000_000;
const ENTRY_BYTES: u64 = 44;
/// Writes a tree of numbers with the precision that detectors have, in baskets of 250,000.
const WRITE: &str = r#"
import sys
import numpy as np, uproot
path, method, n_entries = sys.argv[1], sys.argv[2], int(sys.argv[3])
methods = {"none": None, "lz4": uproot.LZ4(1), "zlib": uproot.ZLIB(1), "zstd": uproot.ZSTD(1)}
n = 250_000
random = np.random.default_rng(7)
columns = {"event": np.arange(n, dtype=np.int64), "n_hits": random.poisson(9, n).astype(np.int32)}
for name in ("px", "py", "pz", "x", "y", "z", "time", "energy"):
    values = random.normal(size=n).astype(np.float32)
    columns[name] = (values.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)
with uproot.recreate(path, compression=methods[method]) as file:
    types = {name: column.dtype for name, column in columns.items()}
    tree = file.mktree("hits", types, initial_basket_capacity=64)
    for _ in range(n_entries // n):
        tree.extend(columns)
"#;

/// Measures the check of the structure, and of all baskets by method of compression.
///
/// # Errors
///
/// The files cannot be written, or are not found to be good.
pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let folder = place::target().join("bench/root-check");
    fs::create_dir_all(&folder)
        .with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let figures = measure_in(&folder);
    // A failure leaves files that the next run replaces.
    let _ = fs::remove_dir_all(&folder);
    figures
}

fn measure_in(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let lz4 = write(folder, "lz4")?;
    let zlib = write(folder, "zlib")?;
    let zstd = write(folder, "zstd")?;
    let file_gb = gb(fs::metadata(&lz4)?.len());
    let unpacked_gb = gb(N_ENTRIES * ENTRY_BYTES);
    let n_cores = thread::available_parallelism().map_or(1, usize::from);
    let mut structure: Vec<f64> = seconds(&zlib, Depth::Structure, 1)?;
    for seconds in &mut structure {
        *seconds *= 1e3;
    }
    let rate = |path: &Path, n_threads: usize, gb: f64| -> anyhow::Result<Vec<f64>> {
        let runs = seconds(path, Depth::Baskets, n_threads)?;
        Ok(runs.into_iter().map(|seconds| gb / seconds).collect())
    };
    let by_unpacking = |name, path: &Path| -> anyhow::Result<Figure> {
        let runs = rate(path, n_cores, unpacked_gb)?;
        Ok(Figure::without_goal(name, "GB/s unp.", runs))
    };
    Ok(vec![
        Figure::new(
            "root_check.structure_ms",
            "ms",
            Better::Smaller,
            STRUCTURE_GOAL_MS,
            structure,
        ),
        Figure::new(
            "root_check.baskets_gb_s",
            "GB/s",
            Better::Larger,
            BASKETS_GOAL_GB_S,
            rate(&lz4, 1, file_gb)?,
        ),
        by_unpacking("root_check.zlib_gb_s", &zlib)?,
        by_unpacking("root_check.zstd_gb_s", &zstd)?,
    ])
}

#[expect(
    clippy::cast_precision_loss,
    reason = "files are far smaller than what a float holds exactly"
)]
fn gb(n_bytes: u64) -> f64 {
    n_bytes as f64 / BYTES_IN_GB
}

/// Checks a file several times, and returns the seconds that each check took.
fn seconds(path: &Path, depth: Depth, n_threads: usize) -> anyhow::Result<Vec<f64>> {
    let check = FormatCheck {
        format: None,
        depth,
        n_threads,
        stop: StopSwitch::new(),
    };
    let mut runs = Vec::new();
    // The first one warms the page cache.
    for nr in 0..=RUNS {
        let begin = Instant::now();
        let verdict = check_file(path, &check)?;
        let took = begin.elapsed().as_secs_f64();
        ensure!(verdict.is_good(), "{:?}", verdict.findings);
        ensure!(
            verdict.entries() == Some(N_ENTRIES),
            "{:?}",
            verdict.contents
        );
        if nr > 0 {
            runs.push(took);
        }
    }
    Ok(runs)
}

fn write(folder: &Path, method: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{method}.root"));
    let python = python::prepare()?.join("bin/python");
    let output = Command::new(python)
        .args(["-c", WRITE])
        .arg(&path)
        .args([method, &N_ENTRIES.to_string()])
        .output()
        .context("Python cannot be started")?;
    ensure!(
        output.status.success(),
        "`{}` cannot be written: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(path)
}
