//! The real `xrdcp` with proxies, which a set-up script gives it.

use ailurus_model::ErrorCode;
use ailurus_testkit::storage::{
    certificates::{Certificates, Proxy},
    xrootd::{Access, Settings, XRootD},
};
use ailurus_transfer::Cause;

use super::*;

/// Writes a set-up script that shows a proxy.
fn setup(dir: &Path, certificates: &Certificates, proxy: &Proxy, name: &str) -> String {
    let lines = certificates
        .environment(proxy)
        .map(|(name, path)| format!("export {name}='{}'\n", path.display()));
    // What it prints must not come into the file.
    let text = format!(
        "echo hello; {} echo $1 > '{}/said'\n",
        lines.concat(),
        dir.display()
    );
    let path = dir.join(name);
    fs::write(&path, text).expect("space");
    format!("{} argument", path.display())
}

#[test]
fn a_proxy_opens_the_storage_and_a_bad_one_does_not() {
    let dir = tempfile::tempdir().expect("space");
    let made = Certificates::make(&dir.path().join("certificates")).expect("openssl works");
    let Some(certificates) = made else { return };
    let alice = certificates.user("Alice").expect("made");
    let settings = Settings {
        access: Access::Proxies(&certificates),
        ..Settings::default()
    };
    let folder = dir.path().join("server");
    let Some(server) = XRootD::start_with(&folder, settings).expect("starts") else {
        return;
    };
    let good = certificates.proxy(&alice).expect("made");
    let good = setup(dir.path(), &certificates, &good, "good.sh");
    let expired = certificates.expired_proxy(&alice).expect("made");
    let expired = setup(dir.path(), &certificates, &expired, "expired.sh");

    let (local, url) = (dir.path().join("a b"), server.url("deep/a b"));
    fs::write(&local, "content").expect("space");
    let output = transfer(Direction::StageOut, &url, &local);
    run(&tool("xrdcp", &good), &output).expect("goes");
    let said = fs::read_to_string(dir.path().join("said")).expect("the script ran");
    assert_eq!(said, "argument\n");

    let mut fetch = transfer(Direction::StageIn, &url, &dir.path().join("back"));
    fetch.checksum = Some(adler32(b"content"));
    run(&tool("xrdcp", &good), &fetch).expect("comes");
    assert_eq!(fs::read(&fetch.path).expect("there"), b"content");

    for (transfer, code) in [
        (&fetch, ErrorCode::StageInAuthenticationFailure),
        (&output, ErrorCode::StageOutAuthenticationFailure),
    ] {
        let error = run(&tool("xrdcp", &expired), transfer).expect_err("expired");
        assert!(
            matches!(error.cause, Cause::Denied { .. }),
            "{:?}",
            error.cause
        );
        assert_eq!(error.code(), code);
    }
}
