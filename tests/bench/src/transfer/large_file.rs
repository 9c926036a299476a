//! One large file from XRootD, against its own client.

use std::{fs, path::Path};

use ailurus_testkit::storage::XRootD;

use super::{Content, program::Program};
use crate::figure::{Better, Figure};

/// Runs of each.
const RUNS: usize = 5;
/// Most of the time of `xrdcp` that it may take.
const GOAL: f64 = 1.0;

/// Measures the fetching of the file by `root://`, and by HTTP from the same server.
pub(super) fn measure(
    folder: &Path,
    large: &Content,
    store: &XRootD,
    peaks: &mut Vec<f64>,
) -> anyhow::Result<Vec<Figure>> {
    fs::hard_link(&large.path, store.dir().join("large"))?;
    let target = folder.join("copy");
    let (mut of_root, mut of_http) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let root = large.get(&store.url("large"), &target, peaks)?.seconds;
        let http = large.get(&store.http_url("large"), &target, peaks)?.seconds;
        fs::remove_file(&target)?;
        let xrdcp = Program::new("xrdcp").args(["--silent", &store.url("large")]);
        let xrdcp = xrdcp.arg(&target).run()?.seconds;
        fs::remove_file(&target)?;
        of_root.push(root / xrdcp);
        of_http.push(http / xrdcp);
    }
    let figure = |name, values| Figure::new(name, "", Better::Smaller, GOAL, values);
    Ok(vec![
        figure("transfer.xrootd_vs_xrdcp", of_root),
        figure("transfer.xrootd_http_vs_xrdcp", of_http),
    ])
}
