//! A store that refuses, forgets, hangs up and lies.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use ailurus_model::ErrorCode;
use ailurus_testkit::http::{Answer, Request};
use ailurus_transfer::Cause;

use super::{
    bucket::{Bucket, Objects, refusal},
    *,
};

const PART: u64 = 1000;

fn s3() -> S3Tool {
    tool(options(keys("id", "secret"), PART))
}

fn is_part(request: &Request) -> bool {
    request.target().contains("partNumber=")
}

fn is_completion(request: &Request) -> bool {
    request.head.starts_with("POST") && request.target().contains("uploadId=")
}

/// Answers the first `n` requests that are meant with something else.
fn first<F>(
    n: u32,
    is_meant: fn(&Request) -> bool,
    instead: F,
) -> impl Fn(&Request, &mut Objects) -> Option<Option<Answer>> + Send + Sync
where
    F: Fn(&Request, &mut Objects) -> Option<Answer> + Send + Sync,
{
    let count = AtomicU32::new(0);
    move |request, objects| {
        let is_it = is_meant(request) && count.fetch_add(1, Ordering::Relaxed) < n;
        is_it.then(|| instead(request, objects))
    }
}

fn stored(bucket: &Bucket) -> Option<Vec<u8>> {
    bucket.objects().whole.get("/bucket/x").cloned()
}

#[test]
fn large_files_go_in_parts_and_nothing_is_left_over() {
    let bucket = Bucket::start();
    let content = bytes(10_500);
    let report = run(&s3(), &Job::new().output(&bucket.url("x"), &content)).expect("goes");
    assert_eq!(report.checksum, adler32(&content));
    assert!(stored(&bucket).is_some_and(|it| it == content));
    assert_eq!(bucket.n_requests("PUT", "partNumber="), 11);
    for request in bucket.requests() {
        assert!(
            request.target().contains("X-Amz-Signature="),
            "{}",
            request.head
        );
        assert!(request.header("Authorization").is_none());
    }
}

#[test]
fn parts_that_break_or_find_the_store_busy_are_sent_again() {
    for instead in [
        (|_, _| None) as fn(&Request, &mut Objects) -> Option<Answer>,
        |_, _| Some(refusal(503, "SlowDown").with_header("Retry-After", "0")),
        |_, _| Some(refusal(400, "BadDigest")),
        // Stored, and answered with the tag of something else.
        |_, _| Some(Answer::new(200, "").with_header("ETag", format!("\"{}\"", "0".repeat(32)))),
    ] {
        let bucket = Bucket::with(first(2, is_part, instead));
        let content = bytes(5000);
        run(&s3(), &Job::new().output(&bucket.url("x"), &content)).expect("goes");
        assert!(stored(&bucket).is_some_and(|it| it == content));
        assert_eq!(bucket.n_requests("PUT", "partNumber="), 7);
    }
}

#[test]
fn a_store_that_stays_busy_is_left_and_the_upload_given_up() {
    let always = |_: &Request, _: &mut Objects| {
        Some(refusal(503, "SlowDown").with_header("Retry-After", "0"))
    };
    let bucket = Bucket::with(first(u32::MAX, is_part, always));
    let error = run(&s3(), &Job::new().output(&bucket.url("x"), &bytes(5000))).expect_err("busy");
    assert!(
        matches!(error.cause, Cause::Busy { .. }),
        "{:?}",
        error.cause
    );
    assert_eq!(error.code(), ErrorCode::ServiceNotAvailable);
    assert_eq!(bucket.n_requests("DELETE", "uploadId="), 1, "it is aborted");
    assert!(!bucket.objects().is_begun && stored(&bucket).is_none());
}

#[test]
fn a_lost_answer_to_the_last_request_is_no_failure() {
    let complete = |request: &Request, objects: &mut Objects| {
        let path = request.target().split('?').next().unwrap_or_default();
        objects.complete(path);
        None
    };
    let bucket = Bucket::with(first(1, is_completion, complete));
    let content = bytes(5000);
    run(&s3(), &Job::new().output(&bucket.url("x"), &content)).expect("it is there");
    assert!(stored(&bucket).is_some_and(|it| it == content));
}

#[test]
fn an_error_behind_a_status_of_success_is_an_error() {
    let bucket = Bucket::with(first(u32::MAX, is_completion, |_, _| {
        Some(refusal(200, "InvalidPart"))
    }));
    let error = run(&s3(), &Job::new().output(&bucket.url("x"), &bytes(5000))).expect_err("no");
    assert!(
        error.cause.to_string().contains("InvalidPart"),
        "{}",
        error.cause
    );
    assert_eq!(bucket.n_requests("DELETE", "uploadId="), 1);
}

#[test]
fn an_object_that_is_not_what_was_sent_is_removed() {
    for content in [bytes(500), bytes(5000)] {
        // The store keeps less than it got.
        let cut = |request: &Request, objects: &mut Objects| {
            if request.head.starts_with("HEAD") {
                for kept in objects.whole.values_mut() {
                    kept.truncate(100);
                }
            }
            None
        };
        let bucket = Bucket::with(cut);
        let error = run(&s3(), &Job::new().output(&bucket.url("x"), &content)).expect_err("cut");
        assert!(
            matches!(error.cause, Cause::SizeMismatch { .. }),
            "{:?}",
            error.cause
        );
        assert!(stored(&bucket).is_none(), "a wrong object is left");
    }
}

#[test]
fn a_checksum_is_compared_before_anything_is_stored() {
    for content in [bytes(0), bytes(500), bytes(5000)] {
        let bucket = Bucket::start();
        let mut output = Job::new().output(&bucket.url("x"), &content);
        let job = Job::new();
        output.path = job.output("x", &content).path;
        output.checksum = Some(Checksum::Adler32(7));
        let error = run(&s3(), &output).expect_err("another checksum");
        assert_eq!(error.code(), ErrorCode::PutAdMismatch);
        assert!(stored(&bucket).is_none() && !bucket.objects().is_begun);
    }
}

#[test]
fn refusals_are_sorted() {
    for (status, code, wanted) in [
        (
            403,
            "SignatureDoesNotMatch",
            ErrorCode::StageOutAuthenticationFailure,
        ),
        (
            400,
            "ExpiredToken",
            ErrorCode::StageOutAuthenticationFailure,
        ),
        (
            403,
            "RequestTimeTooSkewed",
            ErrorCode::StageOutAuthenticationFailure,
        ),
        (403, "AccessDenied", ErrorCode::StageOutFailed),
        (404, "NoSuchBucket", ErrorCode::StageOutFailed),
        (403, "QuotaExceeded", ErrorCode::NoRemoteSpace),
        (507, "XMinioStorageFull", ErrorCode::NoRemoteSpace),
        (400, "EntityTooLarge", ErrorCode::StageOutFailed),
    ] {
        let refuse = move |_: &Request, _: &mut Objects| Some(Some(refusal(status, code)));
        let bucket = Bucket::with(refuse);
        let error = run(&s3(), &Job::new().output(&bucket.url("x"), b"x")).expect_err(code);
        assert_eq!(error.code(), wanted, "{code}: {}", error.cause);
    }
}

#[test]
fn a_store_that_is_down_is_unreachable() {
    let url = {
        let bucket = Bucket::start();
        bucket.url("x")
    };
    let job = Job::new();
    for transfer in [job.output(&url, b"x"), job.fetch(&url, b"x")] {
        let error = run(&s3(), &transfer).expect_err("nobody listens");
        assert!(
            matches!(error.cause, Cause::Unreachable { .. }),
            "{:?}",
            error.cause
        );
        assert!(
            !error.cause.to_string().contains("Signature"),
            "{}",
            error.cause
        );
    }
}

#[test]
fn an_upload_that_is_stopped_is_given_up() {
    let slow = |request: &Request, _: &mut Objects| {
        if is_part(request) {
            thread::sleep(Duration::from_millis(50));
        }
        None
    };
    let bucket = Bucket::with(slow);
    let job = Job::new();
    let output = job.output(&bucket.url("x"), &bytes(500_000));
    let (s3, watch) = (s3(), watch());
    let error = thread::scope(|scope| {
        let running = scope.spawn(|| s3.transfer(&output, &watch));
        let begin = Instant::now();
        while watch.moved() == ByteCount::ZERO {
            assert!(begin.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        watch.stop().store(true, Ordering::Relaxed);
        running.join().expect("no panic").expect_err("stopped")
    });
    assert!(matches!(error.cause, Cause::Stopped), "{:?}", error.cause);
    assert!(stored(&bucket).is_none() && !bucket.objects().is_begun);
}

#[test]
fn an_output_that_is_written_meanwhile_is_not_stored() {
    for length in [500, 5000] {
        let job = Job::new();
        let path = job.path("out");
        let grow = move |request: &Request, _: &mut Objects| {
            if request.head.starts_with("PUT") {
                let content = fs::read(&path).expect("own");
                fs::write(&path, [&content[..], b"more"].concat()).expect("space");
            }
            None
        };
        let bucket = Bucket::with(grow);
        let output = job.output(&bucket.url("x"), &bytes(length));
        let error = run(&s3(), &output).expect_err("it grows");
        assert!(
            matches!(error.cause, Cause::Changed { .. }),
            "{:?}",
            error.cause
        );
        assert!(stored(&bucket).is_none() && !bucket.objects().is_begun);
    }
}
