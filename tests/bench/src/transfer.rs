//! How fast files move: against the usual programs, in the same run and on the same files.
//!
//! Ours is always the whole program, `ailurus-pilot data get`, with size and checksum verified; the
//! others verify nothing unless their name says so. Runs of both take turns, so that what else the
//! machine does falls on both, and a ratio is taken of each pair.

mod cache;
mod large_file;
mod local;
mod memory;
mod program;
mod small_files;

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use ailurus_testkit::{
    place::{self, Profile},
    storage::XRootD,
};
use ailurus_transfer::checksum::{ChecksumKind, RunningChecksum};

use self::program::{Ran, pilot};
use crate::figure::{Better, Figure};

/// Size of the large file, in bytes.
const LARGE_BYTES: u64 = 2 << 30;
/// Bytes that are made at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The seed of all content: random, so that nothing on the way can make it smaller.
const SEED: u64 = 4;
/// Most memory of the pilot in any of the transfers, in MiB.
const RSS_GOAL_MIB: f64 = 64.0;

/// Measures transfers within this node, and with a storage if there is one.
///
/// # Errors
///
/// A program is missing or fails.
pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let folder = place::target().join("bench/transfer");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let large = Content::write(&folder.join("large"), LARGE_BYTES)?;
    let mut peaks = Vec::new();
    let mut figures = memory::measure();
    figures.push(cache::measure(&folder)?);
    figures.extend(local::measure(&folder, &large, &mut peaks)?);
    if let Some(store) = XRootD::start(&folder.join("xrootd"))? {
        figures.extend(small_files::measure(&folder, &store, &mut peaks)?);
        figures.extend(large_file::measure(&folder, &large, &store, &mut peaks)?);
    }
    // The most of all, not their median.
    let peak = peaks.into_iter().fold(0.0, f64::max);
    figures.push(Figure::new(
        "transfer.rss_mib",
        "MiB",
        Better::Smaller,
        RSS_GOAL_MIB,
        vec![peak],
    ));
    fs::remove_dir_all(&folder)?;
    Ok(figures)
}

/// A file that is moved, and what catalogues say of it.
struct Content {
    path: PathBuf,
    size: u64,
    /// As PanDA writes it.
    checksum: String,
}

impl Content {
    /// Writes random bytes.
    fn write(path: &Path, size: u64) -> anyhow::Result<Self> {
        let mut random = fastrand::Rng::with_seed(SEED ^ size);
        let mut sum = RunningChecksum::new(ChecksumKind::Adler32);
        let mut file = BufWriter::new(File::create(path)?);
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(size)?)];
        let mut left = size;
        while left > 0 {
            random.fill(&mut chunk);
            let length = chunk.len().min(usize::try_from(left)?);
            sum.update(&chunk[..length]);
            file.write_all(&chunk[..length])?;
            left -= u64::try_from(length)?;
        }
        file.flush()?;
        Ok(Self {
            path: path.to_owned(),
            size,
            checksum: sum.finish().to_string(),
        })
    }

    /// Gets it by our program.
    fn get(&self, url: &str, target: &Path, peaks: &mut Vec<f64>) -> anyhow::Result<Ran> {
        let _ = fs::remove_file(target);
        let size = self.size.to_string();
        let ran = pilot(Profile::Release)
            .args(["data", "get", url])
            .arg(target)
            .args(["--size", &size, "--checksum", &self.checksum])
            .run()?;
        peaks.push(ran.peak_mib);
        Ok(ran)
    }
}
