//! The authority, judged by `openssl`.

use ailurus_testkit::storage::Certificates;
use tempfile::tempdir;

use crate::client::{must, run, text};

#[test]
fn openssl_believes_hosts_users_and_proxies_and_no_expired_ones() {
    let place = tempdir().unwrap();
    let Some(people) = Certificates::make(place.path()).unwrap() else {
        return;
    };
    let user = people.user("Some User").unwrap();
    let proxy = people.proxy(&user).unwrap();
    let second = people.proxy_of(&proxy).unwrap();
    let expired = people.expired_proxy(&user).unwrap();
    let directory = people.directory();
    let verify = ["openssl", "verify", "-CApath", text(&directory)];
    for certificate in [&people.host().certificate, &user.certificate] {
        must(&[&verify[..], &[text(certificate)]].concat(), &[]);
    }
    let says = |proxy: &ailurus_testkit::storage::certificates::Proxy| {
        let file = text(&proxy.file);
        let words = ["-allow_proxy_certs", "-untrusted", file, file];
        run(&[&verify[..], &words].concat(), &[])
    };
    for good in [&proxy, &second] {
        let said = says(good);
        assert!(said.status.success(), "{said:?}");
    }
    let said = says(&expired);
    let message = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(message.contains("expired"), "{said:?}");
}
