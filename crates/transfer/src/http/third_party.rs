//! Copies between two storages, without the bytes passing here: WebDAV COPY as the grid uses it.
//!
//! One of the storages is asked; it fetches from the other (*pull*) or sends to it (*push*), and
//! tells its progress in performance markers. Source: the WLCG's HTTP third-party copy documents.

use ailurus_http::{Answer, HttpError, Secret};

use super::{
    HttpTool,
    answer::Action,
    macaroon::Activity,
    place::Place,
    session::{Ask, Session},
};
use crate::{Cause, Direction, TransferError, Watch};

/// Longest line of a marker, in bytes.
const LINE_MAX_BYTES: usize = 16 << 10;

/// Which of the storages is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The target fetches.
    #[default]
    Pull,
    /// The source sends.
    Push,
}

/// A copy from one storage to another.
#[derive(Debug, Clone)]
pub struct ThirdPartyCopy {
    /// URL of the source.
    pub from: String,
    /// URL of the target. A file that is there is replaced.
    pub to: String,
    /// Which of them is asked.
    pub mode: Mode,
    /// The `Authorization` with which the asked storage goes to the other one, if it needs one.
    pub other_authorization: Option<Secret>,
}

impl HttpTool {
    /// Has one storage copy a file to or from another. Progress and patience are those of `watch`.
    ///
    /// The copy is not verified here: [`Tool::look`](crate::Tool::look) tells what is at the
    /// target.
    ///
    /// # Errors
    ///
    /// [`TransferError`] about the storage that is asked.
    pub fn third_party_copy(
        &self,
        copy: &ThirdPartyCopy,
        watch: &Watch,
    ) -> Result<(), TransferError> {
        let direction = match copy.mode {
            Mode::Pull => Direction::StageIn,
            Mode::Push => Direction::StageOut,
        };
        let from = Place::read(direction, &copy.from)?;
        let to = Place::read(direction, &copy.to)?;
        let (asked, other, name) = match copy.mode {
            Mode::Pull => (&to, &from, "Source"),
            Mode::Push => (&from, &to, "Destination"),
        };
        let session = Session::new(self.shared(), direction, watch);
        let other_url = other.url();
        let mut headers = vec![
            (name, other_url.as_str()),
            ("Credential", "none"),
            ("Overwrite", "T"),
            ("RequireChecksumVerification", "false"),
        ];
        if let Some(authorization) = &copy.other_authorization {
            headers.push(("TransferHeaderAuthorization", authorization.reveal()));
        }
        let ask = Ask {
            headers: &headers,
            limit: session.head_limit(),
            ..Ask::plain("COPY", Activity::Upload)
        };
        let answer = session.ask(asked, ask)?;
        match answer.status {
            202 => follow(&session, asked, answer),
            // Some storages answer at once and stream markers all the same.
            200..=299 => match follow(&session, asked, answer) {
                Err(error) if is_silent(&error) => Ok(()),
                result => result,
            },
            _ => Err(session.refused(asked, answer, Action::Write)),
        }
    }
}

/// The reason of an answer that ends without a word about the outcome.
const NO_WORD: &str = "the storage's report ended without an outcome";

fn is_silent(error: &TransferError) -> bool {
    matches!(&error.cause, Cause::Broken { why } if why == NO_WORD)
}

/// Reads the markers up to the outcome.
fn follow(session: &Session<'_>, place: &Place, mut answer: Answer) -> Result<(), TransferError> {
    let mut report = Report::default();
    let mut room = [0; 4096];
    loop {
        session.wait.allow(session.watch.wait());
        let check = || session.watch.check(session.direction, &place.shown());
        let length = match answer.read(&mut room) {
            Ok(length) => length,
            Err(HttpError::TimedOut { .. }) => {
                check()?;
                continue;
            }
            Err(error) => {
                return Err(session.silence(place, &error, session.watch.elapsed()));
            }
        };
        let before = report.moved();
        let outcome = report.take_in(&room[..length], length == 0);
        let moved = report.moved().saturating_sub(before);
        session
            .watch
            .add(usize::try_from(moved).unwrap_or(usize::MAX));
        match outcome {
            Some(Ok(())) => {
                answer.drain();
                return Ok(());
            }
            Some(Err(why)) => return Err(session.error(place, cause_of_failure(&why))),
            None if length == 0 => {
                let why = NO_WORD.to_owned();
                return Err(session.error(place, Cause::Broken { why }));
            }
            None => check()?,
        }
    }
}

/// Sorts the words of a storage about the other one.
fn cause_of_failure(why: &str) -> Cause {
    let lower = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|it| lower.contains(it));
    let why = why.to_owned();
    if says(&["no space", "quota", " 507"]) {
        Cause::NoSpace
    } else if says(&["no such file", "not found", " 404"]) {
        Cause::Missing
    } else if says(&["unauthorized", " 401", " 403", "forbidden", "permission"]) {
        Cause::Denied { why }
    } else if says(&["checksum"]) {
        Cause::NotTheFile { why }
    } else {
        Cause::Refused { why }
    }
}

/// What the markers have told so far.
#[derive(Debug, Default)]
struct Report {
    line: Vec<u8>,
    /// Bytes by stripe; a marker tells of one.
    stripes: std::collections::BTreeMap<u64, u64>,
    stripe: u64,
}

impl Report {
    fn moved(&self) -> u64 {
        self.stripes.values().sum()
    }

    /// Reads further bytes. Returns the outcome once it is told.
    fn take_in(&mut self, bytes: &[u8], is_end: bool) -> Option<Result<(), String>> {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LINE_MAX_BYTES {
                    self.line.push(byte);
                }
                continue;
            }
            if let Some(outcome) = self.end_line() {
                return Some(outcome);
            }
        }
        if is_end { self.end_line() } else { None }
    }

    fn end_line(&mut self) -> Option<Result<(), String>> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.trim();
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("success") {
            return Some(Ok(()));
        }
        if lower.starts_with("failure") || lower.starts_with("aborted") {
            let why = line.split_once(':').map_or(line, |(_, why)| why.trim());
            return Some(Err(why.chars().filter(|it| !it.is_control()).collect()));
        }
        let (name, value) = lower.split_once(':')?;
        let value = value.trim().parse().ok()?;
        match name.trim() {
            "stripe index" => self.stripe = value,
            "stripe bytes transferred" => {
                let moved = self.stripes.entry(self.stripe).or_default();
                *moved = value.max(*moved);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKERS: &str = "Perf Marker\n    Timestamp: 1537788010\n    Stripe Index: 0\n    \
        Stripe Bytes Transferred: 238745\n    Total Stripe Count: 2\nEnd\nPerf Marker\n\
        Stripe Index: 1\r\nStripe Bytes Transferred: 5\r\nEnd\n";

    #[test]
    fn markers_tell_progress_and_the_last_line_the_outcome() {
        let mut report = Report::default();
        assert_eq!(report.take_in(MARKERS.as_bytes(), false), None);
        assert_eq!(report.moved(), 238_750);
        assert_eq!(report.take_in(b"success: Created", false), None);
        assert_eq!(report.take_in(b"", true), Some(Ok(())));
        let mut report = Report::default();
        let failure = report.take_in(b"failure: rejected GET: 404 Not Found\n", false);
        let why = failure.expect("an outcome").expect_err("a failure");
        assert!(matches!(cause_of_failure(&why), Cause::Missing));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let mut report = Report::default();
            if report.take_in(&bytes[..cut], false).is_none() {
                let _ = report.take_in(&bytes[cut..], true);
            }
        }
    }
}
