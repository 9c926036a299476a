//! Requests about one object, and what answers mean.

use std::{
    io::Read,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ailurus_http::{Answer, Content, Exchange, HttpError, Secret, Wait, retry_after};
use ailurus_model::{ByteCount, Checksum, ErrorCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use rusty_s3::Method;

use super::{S3Tool, place::ObjectPlace, sign::SignError};
use crate::{BadPlaceReason, Cause, Direction, Impatience, RemoteFile, TransferError, Watch};

/// Most tries of a request whose connection breaks.
const ASKINGS_MAX: u32 = 3;

/// Longest wait for an answer to a request that moves no file.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Longest wait for cleaning up after a failure.
const CLEANING_LIMIT: Duration = Duration::from_secs(15);

/// Most bytes of an answer that are read: a description of an error, or of an upload.
const SAID_MAX_BYTES: usize = 16 << 10;

/// Most characters of a message that are told on.
const WHY_MAX_CHARS: usize = 200;

/// Codes that say that the keys are not taken.
const DENIED: [&str; 11] = [
    "AccountProblem",
    "NotSignedUp",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidSecurity",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    "AuthenticationRequired",
    "AuthorizationHeaderMalformed",
];

/// Codes that ask for patience.
const BUSY: [&str; 6] = [
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "OperationAborted",
    "TooManyRequests",
];

/// Codes that say that there is no room.
const FULL: [&str; 4] = [
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "InsufficientStorage",
];

/// Requests about one object. Each thread has its own.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    pub(super) tool: &'a S3Tool,
    pub(super) direction: Direction,
    pub(super) place: &'a ObjectPlace,
    pub(super) watch: &'a Watch,
    pub(super) wait: Arc<Wait>,
}

/// What an object store tells of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    pub(super) size: Option<ByteCount>,
    /// Without its quotes.
    pub(super) etag: String,
    /// The MD5 of the content, if it is told for sure.
    pub(super) md5: Option<String>,
}

impl Found {
    pub(super) fn to_remote_file(&self) -> RemoteFile {
        RemoteFile {
            size: self.size,
            checksum: self.md5.clone().map(Checksum::Md5),
        }
    }
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        tool: &'a S3Tool,
        direction: Direction,
        place: &'a ObjectPlace,
        watch: &'a Watch,
    ) -> Self {
        Self {
            tool,
            direction,
            place,
            watch,
            wait: Wait::new(Arc::clone(watch.stop()), ANSWER_LIMIT),
        }
    }

    /// The same for another thread.
    pub(super) fn another(&self) -> Self {
        Self::new(self.tool, self.direction, self.place, self.watch)
    }

    /// The same for cleaning up, which goes on after a stop and has to be short.
    pub(super) fn for_cleaning(&self) -> Self {
        Self {
            wait: Wait::new(Arc::new(AtomicBool::new(false)), CLEANING_LIMIT),
            ..*self
        }
    }

    /// Signs a request.
    pub(super) fn sign(
        &self,
        method: Method,
        query: &[(&str, &str)],
    ) -> Result<Secret, TransferError> {
        let signer = &self.tool.options.signer;
        signer
            .sign(method, self.place, query, Timestamp::now())
            .map_err(|error| {
                self.error(match error {
                    SignError::NoPlace => Cause::BadPlace(BadPlaceReason::NoUrl),
                    SignError::NoKeys(why) => Cause::ToolFailed {
                        program: self.tool.name.to_owned(),
                        code: ErrorCode::MissingCredentials,
                        said: format!("Unable to locate credentials: {why}"),
                    },
                })
            })
    }

    /// Sends a request and returns its answer if it is one of success.
    pub(super) fn ask(
        &self,
        method: Method,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        content: Content<'_>,
    ) -> Result<Answer, TransferError> {
        let url = self.sign(method, query)?;
        let content = match content {
            Content::Empty => Content::Empty,
            Content::Bytes(bytes) => Content::Bytes(bytes),
            Content::Stream { length, reader } => {
                let reader: &mut dyn Read = &mut *reader;
                Content::Stream { length, reader }
            }
        };
        let exchange = Exchange {
            method: method.to_str(),
            url: url.reveal(),
            headers,
            authorization: None,
            content,
        };
        let sent = self.tool.exchanger.send(exchange, &self.wait);
        let answer = sent.map_err(|error| self.error(silence(&error)))?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(self.error(self.cause_of(answer)))
    }

    /// Sends a request without content that moves no file.
    pub(super) fn ask_shortly(
        &self,
        method: Method,
        query: &[(&str, &str)],
    ) -> Result<Answer, TransferError> {
        self.wait.allow(self.wait_limit());
        self.ask(method, query, &[], Content::Empty)
    }

    /// Asks about the object.
    pub(super) fn look(&self) -> Result<Found, TransferError> {
        let error = match unbroken(|| self.ask_shortly(Method::Head, &[])) {
            Ok(answer) => return Ok(Found::of(&answer)),
            Err(error) => error,
        };
        // An answer without a body says little.
        if matches!(
            error.cause,
            Cause::NoPermission { .. } | Cause::Refused { .. }
        ) && let Some(cause) = self.why_not()
        {
            return Err(self.error(cause));
        }
        Err(error)
    }

    /// Removes the object; one that is not there is no error.
    pub(super) fn delete(&self) -> Result<(), TransferError> {
        match unbroken(|| self.ask_shortly(Method::Delete, &[])) {
            Ok(answer) => {
                answer.drain();
                Ok(())
            }
            Err(error) if matches!(error.cause, Cause::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for one byte, to be told why the object cannot be had. None if it can.
    pub(super) fn why_not(&self) -> Option<Cause> {
        self.wait.allow(self.wait_limit());
        let range = [("Range", "bytes=0-0")];
        match self.ask(Method::Get, &[], &range, Content::Empty) {
            Ok(answer) => {
                answer.drain();
                None
            }
            Err(error) => Some(error.cause),
        }
    }

    fn wait_limit(&self) -> Duration {
        // Cleaning up has been given its time.
        if self.wait.is_stopped() || self.watch.is_stopped() {
            self.wait.left()
        } else {
            ANSWER_LIMIT
        }
    }

    /// Sorts an answer that is no success.
    fn cause_of(&self, mut answer: Answer) -> Cause {
        let status = answer.status;
        let pause = answer.header("Retry-After").map(str::to_owned);
        let body = answer.text(SAID_MAX_BYTES);
        let code = element(&body, "Code").unwrap_or_default();
        let message = element(&body, "Message").unwrap_or_default();
        let words = format!("status {status} {code} {message}");
        let why: String = words.trim().chars().take(WHY_MAX_CHARS).collect();
        let is = |codes: &[&str]| codes.contains(&code);
        if is(&DENIED) || status == 401 {
            return Cause::Denied { why };
        }
        if is(&FULL) || status == 507 {
            return Cause::NoSpace;
        }
        if is(&BUSY) || matches!(status, 408 | 429 | 500 | 502..=504) {
            let now = Duration::from_secs(u64::try_from(Timestamp::now().as_second()).unwrap_or(0));
            let retry_after = pause.and_then(|text| retry_after(&text, now));
            return Cause::Busy { why, retry_after };
        }
        match (status, code) {
            (_, "NoSuchBucket") => Cause::Refused {
                why: format!("there is no bucket `{}`", self.place.bucket),
            },
            // The bytes did not come as they were sent.
            (_, "BadDigest" | "IncompleteBody") => Cause::Broken { why },
            (_, "NoSuchKey") => Cause::Missing,
            (404, "") if self.direction == Direction::StageIn => Cause::Missing,
            (403, _) => Cause::NoPermission {
                action: match self.direction {
                    Direction::StageIn => "read",
                    Direction::StageOut => "write",
                },
            },
            _ => Cause::Refused { why },
        }
    }

    pub(super) fn error(&self, cause: Cause) -> TransferError {
        TransferError::new(self.direction, self.place.shown(), cause)
    }
}

impl Found {
    /// Reads the head of an answer.
    pub(super) fn of(answer: &Answer) -> Self {
        let etag = answer.header("ETag").unwrap_or_default();
        let etag = etag.trim().trim_matches('"').to_ascii_lowercase();
        // With keys of the storage's own the tag is that of the encrypted bytes.
        let is_encrypted = answer
            .header("x-amz-server-side-encryption")
            .is_some_and(|it| it != "AES256")
            || answer
                .header("x-amz-server-side-encryption-customer-algorithm")
                .is_some();
        let is_google = answer.header("x-goog-hash").is_some();
        let of_tag = (!is_encrypted && !is_google && is_md5(&etag)).then(|| etag.clone());
        let of_google = || {
            let mut hashes = answer.headers("x-goog-hash").flat_map(|it| it.split(','));
            let text = hashes.find_map(|hash| hash.trim().strip_prefix("md5="))?;
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            (bytes.len() == 16).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        Self {
            size: answer.content_length().map(ByteCount::from_bytes),
            etag,
            md5: of_tag.or_else(of_google),
        }
    }
}

pub(super) fn is_md5(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the text of the first element of a name in a short XML answer.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// Reads the body of an answer that is a short text.
pub(super) fn text_of(mut answer: Answer) -> String {
    answer.text(SAID_MAX_BYTES)
}

/// Sorts a request without an answer. Its URL, which is a secret, is not told.
pub(super) fn silence(error: &HttpError) -> Cause {
    let why = || {
        let mut source = std::error::Error::source(error);
        let mut text = "no answer".to_owned();
        while let Some(reason) = source {
            text = reason.to_string();
            source = reason.source();
        }
        text
    };
    match error {
        HttpError::GivenUp { .. } => Cause::Stopped,
        HttpError::BadUrl { .. } => Cause::BadPlace(BadPlaceReason::NoUrl),
        HttpError::CannotConnect { .. } | HttpError::TlsRefused { .. } => {
            Cause::Unreachable { why: why() }
        }
        HttpError::TimedOut { .. } if !error.may_have_arrived() => {
            Cause::Unreachable { why: why() }
        }
        HttpError::TimedOut { .. } => Cause::TooSlow(Impatience::NotBegun {
            limit: ANSWER_LIMIT,
        }),
        HttpError::Broken { .. } => Cause::Broken { why: why() },
        HttpError::NoToken { .. }
        | HttpError::TooLarge { .. }
        | HttpError::BadRequest { .. }
        | HttpError::BadRedirect { .. }
        | HttpError::File { .. } => Cause::Refused { why: why() },
    }
}

/// Asks again what does no harm twice, if the connection breaks: the server may have closed one that
/// was kept open.
fn unbroken<T>(ask: impl Fn() -> Result<T, TransferError>) -> Result<T, TransferError> {
    for _ in 1..ASKINGS_MAX {
        match ask() {
            Err(error) if matches!(error.cause, Cause::Broken { .. }) => {}
            result => return result,
        }
    }
    ask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_nonsense_is_not() {
        let xml = "<?xml?><Error><Code>SlowDown</Code><Message> wait </Message></Error>";
        assert_eq!(element(xml, "Code"), Some("SlowDown"));
        assert_eq!(element(xml, "Message"), Some("wait"));
        assert_eq!(element("<Code>", "Code"), None);
        assert_eq!(element("</Code><Code>", "Code"), None);
    }
}
