//! Apache, asked by `curl`.

use std::fs;

use ailurus_testkit::storage::{Apache, Certificates, apache::Access};
use tempfile::tempdir;

use crate::client::{bytes, status, text};

#[test]
fn what_is_put_moved_and_removed_is_so_on_disk() {
    let place = tempdir().unwrap();
    let Some(store) = Apache::start(&place.path().join("apache")).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    fs::write(&file, bytes(1_000_000)).unwrap();
    let put = ["--upload-file", text(&file)];
    let below = store.url("spd/a");
    let answer = status(&[&put[..], &[&below]].concat());
    assert!(["403", "404", "409"].contains(&answer.as_str()), "{answer}");
    assert_eq!(status(&["--request", "MKCOL", &store.url("spd")]), "201");
    assert_eq!(status(&["--request", "MKCOL", &store.url("spd")]), "405");
    assert_eq!(status(&[&put[..], &[&below]].concat()), "201");
    assert_eq!(status(&["--range", "10-19", &below]), "206");
    let to = format!("Destination: {}", store.url("spd/b"));
    let words = ["--request", "MOVE", "--header", &to, &below];
    assert_eq!(status(&words), "201", "{}", store.log());
    assert!(fs::read(store.dir().join("spd/b")).unwrap() == bytes(1_000_000));
    assert!(!store.dir().join("spd/a").exists());
    assert_eq!(status(&["--request", "DELETE", &store.url("spd/b")]), "204");
    assert!(!store.dir().join("spd/b").exists());
}

#[test]
fn a_token_or_a_certificate_is_asked_for() {
    let place = tempdir().unwrap();
    let Some(people) = Certificates::make(&place.path().join("people")).unwrap() else {
        return;
    };
    let folder = place.path().join("token");
    let Some(store) = Apache::start_with(&folder, Access::Token("secret")).unwrap() else {
        return;
    };
    fs::write(store.dir().join("a"), "x").unwrap();
    let url = store.url("a");
    let with = |token: &str| status(&["--header", &format!("Authorization: Bearer {token}"), &url]);
    assert_eq!(
        (with("secret"), with("other")),
        ("200".into(), "403".into())
    );

    let folder = place.path().join("certificates");
    let access = Access::ClientCertificates(&people);
    let store = Apache::start_with(&folder, access).unwrap().unwrap();
    fs::write(store.dir().join("a"), "x").unwrap();
    let user = people.user("Some User").unwrap();
    let (authority, url) = (people.authority(), store.url("a"));
    let believe = ["--cacert", text(&authority), &url];
    let show = ["--cert", text(&user.certificate), "--key", text(&user.key)];
    assert_eq!(status(&[&believe[..], &show].concat()), "200");
    assert_eq!(status(&believe), "000");

    let folder = place.path().join("https");
    let store = Apache::start_with(&folder, Access::Https(&people)).unwrap();
    let store = store.unwrap();
    fs::write(store.dir().join("a"), "x").unwrap();
    let (authority, url) = (people.authority(), store.url("a"));
    assert_eq!(status(&["--cacert", text(&authority), &url]), "200");
    assert_eq!(status(&[&url]), "000");
}
