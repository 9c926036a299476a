//! The node's cache: many jobs that want one sample at once, against one job alone.

use std::{fs, path::Path, sync::Arc, thread, time::Instant};

use ailurus_model::{ByteCount, Lfn, Scope};
use ailurus_transfer::{
    TransferReport,
    cache::{Cache, CacheConfig, Key, Link},
    checksum::{ChecksumKind, RunningChecksum},
};
use anyhow::{Context as _, bail};

use super::Content;
use crate::figure::{Better, Figure};

/// Jobs that want the sample.
const JOBS: u32 = 16;
/// Size of the sample, in bytes.
const BYTES: u64 = 256 << 20;
/// Runs.
const RUNS: usize = 3;

/// Measures how much longer all jobs together take than one whose sample is there already. Each has
/// a copy of its own.
pub(super) fn measure(folder: &Path) -> anyhow::Result<Figure> {
    let folder = folder.join("cache");
    fs::create_dir_all(&folder)?;
    let sample = Content::write(&folder.join("sample"), BYTES)?;
    let mut ratios = Vec::new();
    for run in 0..RUNS {
        let run = folder.join(run.to_string());
        ratios.push(ratio(&run, &sample.path)?);
        fs::remove_dir_all(&run)?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(Figure::new(
        "transfer.cache_16_jobs_vs_one",
        "times",
        Better::Smaller,
        f64::from(JOBS),
        ratios,
    ))
}

fn ratio(folder: &Path, sample: &Path) -> anyhow::Result<f64> {
    let content = fs::read(sample)?;
    let mut sum = RunningChecksum::new(ChecksumKind::Adler32);
    sum.update(&content);
    let checksum = sum.finish();
    let (lfn, size) = (Lfn::new("minbias.root"), ByteCount::from_bytes(BYTES));
    let key = Key::new(&Scope::new("spd"), &lfn, checksum.clone(), size);
    let n_fetched = std::sync::atomic::AtomicU32::new(0);
    let obtain = |job: u32| -> anyhow::Result<()> {
        // A cache of its own each, as processes have.
        let cache = Cache::open(CacheConfig {
            link: Link::Copy,
            ..CacheConfig::new(folder.join("cache"), ByteCount::from_bytes(4 * BYTES))
        })?;
        let start = Instant::now();
        let fetch = |path: &Path| {
            n_fetched.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            fs::write(path, &content).expect("the bench has space");
            Ok(TransferReport {
                size,
                checksum: checksum.clone(),
                also: Vec::new(),
                duration: start.elapsed(),
            })
        };
        let target = folder.join(format!("job{job}/minbias.root"));
        cache.obtain(&key, &target, &Arc::default(), fetch)?;
        Ok(())
    };
    let start = Instant::now();
    thread::scope(|scope| {
        let obtain = &obtain;
        let jobs: Vec<_> = (0..JOBS)
            .map(|job| scope.spawn(move || obtain(job)))
            .collect();
        let mut jobs = jobs.into_iter();
        jobs.try_for_each(|job| job.join().ok().context("a job panicked")?)
    })?;
    let all = start.elapsed();
    let start = Instant::now();
    obtain(JOBS)?;
    let one = start.elapsed();
    if n_fetched.into_inner() != 1 {
        bail!("the sample was fetched more than once");
    }
    Ok(all.as_secs_f64() / one.as_secs_f64())
}
