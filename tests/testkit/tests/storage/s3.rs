//! The S3 server, asked by `curl`, which signs requests as Amazon wants it (version 4).

use std::fs;

use ailurus_testkit::storage::S3;
use tempfile::tempdir;

use crate::client::{bytes, must, status, text};

#[test]
fn signed_requests_are_served_and_wrong_or_missing_signatures_are_not() {
    let place = tempdir().unwrap();
    let Some(store) = S3::start(&place.path().join("s3"), &["spd"]).unwrap() else {
        return;
    };
    let file = place.path().join("input");
    fs::write(&file, bytes(1_000_000)).unwrap();
    let sign = format!("aws:amz:{}:s3", S3::REGION);
    let put = |secret: &str, name: &str| {
        let user = format!("{}:{secret}", S3::ACCESS_KEY);
        let url = format!("{}/spd/{name}", store.endpoint());
        let hash = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
        let words = ["--aws-sigv4", &sign, "--user", &user, "--header", hash];
        status(&[&words[..], &["--upload-file", text(&file), &url]].concat())
    };
    assert_eq!(put(S3::SECRET_KEY, "a/b"), "200", "{}", store.log());
    assert!(fs::read(store.dir().join("spd/a/b")).unwrap() == bytes(1_000_000));
    assert_eq!(put("another secret", "c"), "403");
    let url = format!("{}/spd/d", store.endpoint());
    assert_eq!(status(&["--upload-file", text(&file), &url]), "403");
    assert!(!store.dir().join("spd/c").exists() && !store.dir().join("spd/d").exists());

    let user = format!("{}:{}", S3::ACCESS_KEY, S3::SECRET_KEY);
    let hash = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
    let words = [
        "curl",
        "-sS",
        "--aws-sigv4",
        &sign,
        "--user",
        &user,
        "-H",
        hash,
    ];
    let start = format!("{}/spd/e?uploads=", store.endpoint());
    let words = [&words[..], &["--request", "POST", &start]].concat();
    let said = must(&words, &[]);
    assert!(said.contains("<UploadId>"), "{said}");
}
