//! Google's storage, as a store that checks its signatures.

use std::process::Command;

use ailurus_model::ErrorCode;
use ailurus_testkit::http::Request;
use ailurus_transfer::{Cause, S3Signer};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::{
    bucket::{Bucket, refusal},
    *,
};

const EMAIL: &str = "pilot@spd.example.org";

/// Makes the key of a service account; returns its file and the public key. None without
/// `openssl`.
fn account(dir: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let (key, public) = (dir.join("key.pem"), dir.join("public.der"));
    let openssl = |words: &[&str]| Command::new("openssl").args(words).output().ok();
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let bits = "rsa_keygen_bits:2048";
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        bits,
        "-out",
        &text(&key),
    ])?;
    let form = [
        "-RSAPublicKey_out",
        "-outform",
        "DER",
        "-out",
        &text(&public),
    ];
    openssl(&[&["rsa", "-in", &text(&key)], &form[..]].concat())?;
    let account = serde_json::json!({
        "type": "service_account",
        "client_email": EMAIL,
        "private_key": fs::read_to_string(&key).expect("made"),
    });
    let file = dir.join("account.json");
    fs::write(&file, account.to_string()).expect("space");
    Some((file, fs::read(public).expect("made")))
}

/// Does what Google's documentation says of the verification of a signed URL.
fn is_signed(request: &Request, public: &[u8]) -> bool {
    let method = request.head.split(' ').next().unwrap_or_default();
    let (path, query) = request.target().split_once('?').expect("signed");
    let (query, signature) = query.split_once("&X-Goog-Signature=").expect("signed");
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(known, value)| (known == name).then_some(value))
    };
    let date = value("X-Goog-Date").expect("dated");
    let scope = format!("{}/auto/storage/goog4_request", &date[..8]);
    let credential = format!("{EMAIL}/{scope}")
        .replace('@', "%40")
        .replace('/', "%2F");
    assert_eq!(value("X-Goog-Credential"), Some(credential.as_str()));
    let host = request.header("Host").expect("named");
    let mut sorted: Vec<&str> = query.split('&').collect();
    sorted.sort_unstable();
    let sorted = sorted.join("&");
    let canonical = format!("{method}\n{path}\n{sorted}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let digest = Sha256::digest(canonical.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}");
    let signature: Vec<u8> = (0..signature.len() / 2)
        .map(|nr| u8::from_str_radix(&signature[2 * nr..2 * nr + 2], 16).expect("digits"))
        .collect();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(text.as_bytes(), &signature)
        .is_ok()
}

fn gs(file: &Path, home: &str) -> S3Tool {
    let options = S3Options {
        home: home.to_owned(),
        part: ByteCount::from_bytes(1000),
        ..S3Options::for_google(S3Signer::ServiceAccount(file.to_owned()))
    };
    S3Tool::google(options, Budget::new(32 << 20), Budget::new(8)).expect("nothing is read")
}

#[test]
fn a_service_account_signs_all_that_google_is_asked() {
    let job = Job::new();
    let Some((file, public)) = account(job.0.path()) else {
        return;
    };
    let bucket = Bucket::with(move |request, _| {
        let is_good = is_signed(request, &public);
        (!is_good).then(|| Some(refusal(403, "SignatureDoesNotMatch")))
    });
    let gs = gs(&file, &bucket.endpoint());
    assert_eq!(gs.name(), "gs");
    for (name, content) in [("d/a b.log", bytes(500)), ("d/large", bytes(5500))] {
        let url = format!("gs://bucket/{name}");
        let report = run(&gs, &job.output(&url, &content)).expect("goes");
        assert_eq!(report.checksum, adler32(&content));
        let fetch = job.fetch(&url, &content);
        run(&gs, &fetch).expect("comes");
        assert!(fs::read(&fetch.path).expect("there") == content);
        let found = gs.look(&url, &watch()).expect("there");
        assert_eq!(found.size, Some(size_of(&content)));
        gs.remove(&url, &watch()).expect("removed");
    }
    let types: Vec<String> = bucket
        .requests()
        .iter()
        .filter_map(|request| request.header("Content-Type").map(str::to_owned))
        .collect();
    assert_eq!(types, ["text/plain", "application/octet-stream"]);
}

#[test]
fn another_key_is_not_taken() {
    let job = Job::new();
    let Some((file, _)) = account(job.0.path()) else {
        return;
    };
    let other = Job::new();
    let (_, public) = account(other.0.path()).expect("made");
    let bucket = Bucket::with(move |request, _| {
        let is_good = is_signed(request, &public);
        (!is_good).then(|| Some(refusal(403, "SignatureDoesNotMatch")))
    });
    let error = run(
        &gs(&file, &bucket.endpoint()),
        &job.output("gs://bucket/x", b"x"),
    );
    assert!(matches!(
        error.expect_err("refused").cause,
        Cause::Denied { .. }
    ));
}

#[test]
fn a_file_that_is_no_service_account_is_missing_credentials() {
    let job = Job::new();
    let file = job.0.path().join("account.json");
    for text in [
        "",
        "{}",
        r#"{"type": "authorized_user"}"#,
        r#"{"type": "service_account"}"#,
    ] {
        fs::write(&file, text).expect("space");
        let gs = gs(&file, "http://127.0.0.1:1");
        let error = run(&gs, &job.output("gs://bucket/x", b"x")).expect_err(text);
        assert_eq!(
            error.code(),
            ErrorCode::MissingCredentials,
            "{}",
            error.cause
        );
    }
}
