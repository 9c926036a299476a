//! Many small files over HTTP, against programs that are started for each.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use ailurus_testkit::{place::Profile, storage::XRootD};

use super::{
    Content,
    program::{Program, pilot},
};
use crate::figure::{Better, Figure};

/// Files in one run.
const FILES: usize = 1000;
/// Size of each, in bytes.
const BYTES: u64 = 64 << 10;
/// Runs.
const RUNS: usize = 3;
/// `xrdcp` is the slowest by far, and gets one file of so many.
const XRDCP_SHARE: usize = 10;
/// How many times as fast as the faster of both other programs it is to be.
const GOAL: f64 = 5.0;

/// Measures the fetching of all files.
pub(super) fn measure(
    folder: &Path,
    store: &XRootD,
    peaks: &mut Vec<f64>,
) -> anyhow::Result<Vec<Figure>> {
    let small = folder.join("small");
    let names: Vec<String> = (0..FILES).map(|nr| format!("small/{nr}")).collect();
    fs::create_dir_all(store.dir().join("small"))?;
    let mut list = String::new();
    for name in &names {
        let content = Content::write(&store.dir().join(name), BYTES)?;
        let (url, path) = (store.http_url(name), folder.join(name));
        let (size, checksum) = (content.size, content.checksum);
        list.push_str(&format!("{url}\t{}\t{size}\t{checksum}\n", path.display()));
    }
    let list_file = folder.join("small.list");
    fs::write(&list_file, list)?;
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        empty(&small)?;
        let ours = pilot(Profile::Release).args(["data", "get", "--list"]);
        let ours = ours.arg(&list_file).run()?;
        peaks.push(ours.peak_mib);
        empty(&small)?;
        let curl = one_by_one(&names, |name| {
            let curl = Program::new("curl").args(["--silent", "--fail", "--output"]);
            curl.arg(folder.join(name)).arg(store.http_url(name))
        })?;
        empty(&small)?;
        let xrdcp = one_by_one(&names[..FILES / XRDCP_SHARE], |name| {
            let xrdcp = Program::new("xrdcp").args(["--silent", &store.url(name)]);
            xrdcp.arg(folder.join(name))
        })?;
        let xrdcp = xrdcp * f64::from(u32::try_from(XRDCP_SHARE)?);
        ratios.push(curl.min(xrdcp) / ours.seconds);
    }
    let name = "transfer.http_small_vs_one_by_one";
    Ok(vec![Figure::new(name, "", Better::Larger, GOAL, ratios)])
}

fn empty(folder: &PathBuf) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir(folder)?;
    Ok(())
}

/// Runs a program for each file and returns the seconds of all.
fn one_by_one(names: &[String], program: impl Fn(&str) -> Program) -> anyhow::Result<f64> {
    let begin = Instant::now();
    for name in names {
        program(name).finish()?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
