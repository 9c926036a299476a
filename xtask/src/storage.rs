//! Makes sure of the storage servers that tests start: XRootD and Apache from Debian, and an S3
//! server that is built once below the target folder.
//!
//! Where one cannot be had, a message says so, and the tests that want it go without.

use ailurus_testkit::storage::{self, s3};

use crate::{shell, trees};

/// What an `XRootD` server and its clients need: programs, and Debian's packages that have them.
const XROOTD: &[(&str, &str)] = &[
    ("xrootd", "xrootd-server"),
    ("xrdcp", "xrootd-client"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
];

/// What other storage needs. Apache's package comes without the service.
const OTHERS: &[(&str, &str)] = &[("apache2", "apache2-bin"), ("curl", "curl")];

/// What messages and metrics are tested with.
const MONITORING: &[(&str, &str)] = &[
    ("java", "default-jre-headless"),
    ("activemq", "activemq"),
    ("promtool", "prometheus"),
];

/// The other database of the server; Debian puts its programs beside the path.
const POSTGRESQL: &[(&str, &str)] = &[
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("setpriv", "util-linux"),
];

/// Provides what is missing.
///
/// # Errors
///
/// Debian has the packages, but they cannot be installed.
pub(crate) fn provide() -> anyhow::Result<()> {
    provide_xrootd()?;
    trees::provide_packages(OTHERS)?;
    trees::provide_packages(MONITORING)?;
    trees::provide_packages(POSTGRESQL)?;
    if has_s3() {
        return Ok(());
    }
    // Checked signatures want some speed, but none that takes long to compile.
    let options = [
        "--features",
        "binary",
        "--config",
        "profile.release.opt-level=1",
    ];
    if let Err(error) = shell::install(s3::PROGRAM, s3::VERSION, &options) {
        eprintln!("   no S3 server: {error:#}");
    }
    Ok(())
}

/// Says whether everything is there, so that no test may go without.
pub(crate) fn is_complete() -> bool {
    let mut programs = XROOTD
        .iter()
        .chain(OTHERS)
        .chain(MONITORING)
        .chain(POSTGRESQL);
    has_s3() && programs.all(|(name, _)| storage::is_there(name))
}

/// Provides `XRootD` alone; says no if the machine cannot have it.
///
/// # Errors
///
/// As [`provide`].
pub(crate) fn provide_xrootd() -> anyhow::Result<bool> {
    trees::provide_packages(XROOTD)
}

fn has_s3() -> bool {
    s3::tools().join(s3::PROGRAM).is_file() || storage::is_there(s3::PROGRAM)
}
