//! `XRootD`, asked by `xrdcp` and `curl`.

use std::fs;

use ailurus_testkit::storage::{
    Certificates, XRootD, is_there,
    xrootd::{Access, Rights, Settings},
};
use tempfile::tempdir;

use crate::client::{bytes, must, run, status, text};

#[test]
fn what_xrdcp_stores_is_on_disk_with_its_checksum() {
    let place = tempdir().unwrap();
    let Some(store) = XRootD::start(&place.path().join("xrootd")).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    fs::write(&file, bytes(3_000_000)).unwrap();
    let url = store.url("spd/mc/a b.root");
    must(&["xrdcp", "--silent", text(&file), &url], &[]);
    let stored = store.dir().join("spd/mc/a b.root");
    assert!(fs::read(stored).unwrap() == bytes(3_000_000));
    let path = format!("{}/spd/mc/a b.root", store.export());
    let host = format!("root://{}", store.root_host());
    let said = must(&["xrdfs", &host, "query", "checksum", &path], &[]);
    assert!(said.starts_with("adler32 "), "{said}");
}

#[test]
fn http_reads_ranges_and_copies_between_two_servers() {
    let place = tempdir().unwrap();
    let Some(one) = XRootD::start(&place.path().join("one")).unwrap() else {
        return;
    };
    let Some(two) = XRootD::start(&place.path().join("two")).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    fs::write(&file, bytes(100_000)).unwrap();
    let (from, to) = (one.http_url("a"), two.http_url("b"));
    assert_eq!(status(&["--upload-file", text(&file), &from]), "200");
    assert_eq!(status(&["--range", "10-19", &from]), "206");
    let head = must(&["curl", "-sI", "-H", "Want-Digest: adler32", &from], &[]);
    assert!(head.contains("Digest: adler32="), "{head}");
    let source = format!("Source: {from}");
    let copy = ["--request", "COPY", "--header", &source];
    let credential = ["--header", "Credential: none", &to];
    let answer = status(&[&copy[..], &credential].concat());
    assert_eq!(answer, "201", "{}", two.log());
    assert!(fs::read(two.dir().join("b")).unwrap() == bytes(100_000));
}

#[test]
fn a_proxy_is_let_in_and_a_strangers_is_not() {
    let place = tempdir().unwrap();
    let Some(people) = Certificates::make(&place.path().join("people")).unwrap() else {
        return;
    };
    let strangers = Certificates::make(&place.path().join("strangers"));
    let strangers = strangers.unwrap().unwrap();
    let user = people.user("Some User").unwrap();
    let settings = Settings {
        access: Access::Proxies(&people),
        ..Settings::default()
    };
    let Some(store) = XRootD::start_with(&place.path().join("xrootd"), settings).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    fs::write(&file, bytes(1000)).unwrap();
    let proxy = people.proxy(&user).unwrap();
    let delegated = people.proxy_of(&proxy).unwrap();
    for (name, shown) in [("a", &proxy), ("b", &delegated)] {
        let words = ["xrdcp", "--silent", text(&file), &store.url(name)];
        must(&words, &people.environment(shown));
        assert!(fs::read(store.dir().join(name)).unwrap() == bytes(1000));
    }
    let other = strangers.user("Some User").unwrap();
    let stranger = strangers.proxy(&other).unwrap();
    let expired = people.expired_proxy(&user).unwrap();
    let late = people.proxy(&people.user("Late User").unwrap()).unwrap();
    for shown in [&stranger, &expired, &late] {
        let words = ["xrdcp", "--silent", text(&file), &store.url("c")];
        // The client believes the server in all cases; it is the server that refuses.
        let environment = people.environment(shown);
        assert!(!run(&words, &environment).status.success());
    }
    let words = ["xrdcp", "--silent", text(&file), &store.url("c")];
    let environment = [("X509_CERT_DIR", people.directory())];
    assert!(!run(&words, &environment).status.success());
    assert!(!store.dir().join("c").exists());
}

#[test]
fn https_lets_in_who_shows_a_certificate_or_a_proxy() {
    let place = tempdir().unwrap();
    let Some(people) = Certificates::make(&place.path().join("people")).unwrap() else {
        return;
    };
    let user = people.user("Some User").unwrap();
    let settings = Settings {
        access: Access::Proxies(&people),
        ..Settings::default()
    };
    let Some(store) = XRootD::start_with(&place.path().join("xrootd"), settings).unwrap() else {
        return;
    };
    let proxy = people.proxy(&user).unwrap();
    let file = place.path().join("input");
    fs::write(&file, bytes(1000)).unwrap();
    let believed = people.directory();
    let put = ["--capath", text(&believed), "--upload-file", text(&file)];
    for (certificate, key) in [(&user.certificate, &user.key), (&proxy.file, &proxy.file)] {
        let shown = ["--cert", text(certificate), "--key", text(key)];
        let url = store.http_url(&format!(
            "by-{}",
            certificate.file_name().unwrap().display()
        ));
        let answer = status(&[&put[..], &shown, &[&url]].concat());
        assert_eq!(answer, "200", "{}", store.log());
    }
    let strangers = Certificates::make(&place.path().join("strangers"));
    let stranger = strangers.unwrap().unwrap().user("Some User").unwrap();
    let shown = [
        "--cert",
        text(&stranger.certificate),
        "--key",
        text(&stranger.key),
    ];
    let url = store.http_url("by-stranger");
    let answer = status(&[&put[..], &shown, &[&url]].concat());
    assert!(answer != "200", "{answer}\n{}", store.log());
    let answer = status(&[&put[..], &[&url]].concat());
    assert!(answer != "200", "{answer}\n{}", store.log());
    assert!(!store.dir().join("by-stranger").exists());
}

#[test]
fn a_server_for_reading_stores_nothing() {
    let place = tempdir().unwrap();
    let settings = Settings {
        rights: Rights::ReadOnly,
        ..Settings::default()
    };
    let Some(store) = XRootD::start_with(&place.path().join("xrootd"), settings).unwrap() else {
        return;
    };
    fs::write(store.dir().join("a"), bytes(1000)).unwrap();
    let copy = place.path().join("copy");
    must(&["xrdcp", "--silent", &store.url("a"), text(&copy)], &[]);
    assert!(fs::read(&copy).unwrap() == bytes(1000));
    let words = ["xrdcp", "--silent", text(&copy), &store.url("b")];
    assert!(!run(&words, &[]).status.success());
    assert!(!store.dir().join("b").exists());
}

#[test]
fn a_full_server_says_so_and_what_fits_is_kept() {
    let place = tempdir().unwrap();
    let settings = Settings {
        space: Some(2_000_000),
        ..Settings::default()
    };
    let Some(store) = XRootD::start_with(&place.path().join("xrootd"), settings).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    for (length, fits) in [(1_000_000, true), (3_000_000, false)] {
        fs::write(&file, bytes(length)).unwrap();
        let url = store.url(&length.to_string());
        let said = run(&["xrdcp", "--silent", text(&file), &url], &[]);
        assert_eq!(said.status.success(), fits, "{said:?}");
        let message = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(fits || message.contains("no space left"), "{message}");
    }
    assert!(fs::read(store.dir().join("1000000")).unwrap() == bytes(1_000_000));
}

#[test]
fn a_server_ends_with_its_value_and_also_with_a_panic() {
    let place = tempdir().unwrap();
    let folder = place.path().join("xrootd");
    let Some(store) = XRootD::start(&folder).unwrap() else {
        return;
    };
    let process = format!("/proc/{}", store.id());
    assert!(fs::exists(&process).unwrap());
    let panicked = std::thread::spawn(move || {
        let _store = store;
        panic!("as a test does");
    });
    assert!(panicked.join().is_err());
    assert!(!fs::exists(&process).unwrap());
    assert!(is_there("xrootd") && !is_there("no-such-program"));
}
