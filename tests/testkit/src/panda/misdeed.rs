//! What a server, or what stands before it, can do to a call instead of answering it.

use std::{io::Write as _, sync::LazyLock, time::Duration};

use flate2::{Compression, write::GzEncoder};

use crate::http::{Answer, Reply};

/// Size of a bomb once it is decompressed, in bytes; a thousandth of it goes over the wire.
const BOMB_BYTES: usize = 256 << 20;
/// Bytes that are compressed at once.
const CHUNK_BYTES: usize = 1 << 20;
/// What a proxy says in place of a server.
const PAGE: &str = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>";

/// One way to misbehave.
#[derive(Debug, Clone, PartialEq)]
pub enum Misdeed {
    /// None: an honest answer, between others.
    Honest,
    /// Closes the connection before it has acted.
    HangUp,
    /// Acts, and closes the connection without a word: the message will come twice.
    HangUpAfterActing,
    /// An HTTP status with an error page.
    Status(u16),
    /// A web page with status 200.
    Html,
    /// Status 200 and nothing.
    Empty,
    /// Acts, and sends the first half of the answer as if it were all.
    Truncated,
    /// Acts, and sends the first half of the answer under the length of the whole.
    TooShort,
    /// Acts, and says less length than there is.
    TooLong,
    /// Acts, and sends the answer byte by byte with such pauses.
    Drip(Duration),
    /// Is silent until the other side gives up.
    Silence,
    /// A quarter of a gibibyte of blanks, compressed.
    Bomb,
    /// Sends the client elsewhere.
    RedirectTo(String),
    /// Bytes that are no HTTP.
    Noise,
    /// Acts, and answers status 200 with this body.
    Body(String),
    /// Acts, and answers with this command.
    Command(String),
    /// Says with status 200 that it failed: 10 for a time-out, 30 for its database.
    StatusCode(i64),
}

impl Misdeed {
    /// Does what takes long before a pilot waits for it.
    pub(super) fn prepare(&self) {
        if *self == Self::Bomb {
            LazyLock::force(&BOMB);
        }
    }

    /// Whether the server has taken the message.
    pub(super) const fn acts(&self) -> bool {
        match self {
            Self::Honest
            | Self::HangUpAfterActing
            | Self::Truncated
            | Self::TooShort
            | Self::TooLong
            | Self::Drip(_)
            | Self::Body(_)
            | Self::Command(_) => true,
            Self::HangUp
            | Self::Status(_)
            | Self::Html
            | Self::Empty
            | Self::Silence
            | Self::Bomb
            | Self::RedirectTo(_)
            | Self::Noise
            | Self::StatusCode(_) => false,
        }
    }

    /// Whether the pilot must have understood that its message was taken.
    pub(super) const fn is_clear(&self) -> bool {
        matches!(self, Self::Honest | Self::Command(_))
    }

    /// The command in the answer, if there is one.
    pub(super) const fn command(&self) -> Option<&str> {
        if let Self::Command(text) = self {
            Some(text.as_str())
        } else {
            None
        }
    }

    /// What goes over the wire in place of the honest answer.
    pub(super) fn reply(&self, honest: Answer) -> Reply {
        let half = honest.body.len() / 2;
        match self {
            // Commands and failures are part of the honest answer already.
            Self::Honest | Self::Command(_) | Self::StatusCode(_) => Reply::Whole(honest),
            Self::HangUp | Self::HangUpAfterActing => Reply::HangUp,
            Self::Status(status) => Reply::Whole(Answer::new(*status, PAGE)),
            Self::Html => {
                Reply::Whole(Answer::new(200, PAGE).with_header("Content-Type", "text/html"))
            }
            Self::Empty => Reply::Whole(Answer::new(200, "")),
            Self::Truncated => Reply::Whole(Answer::new(200, &honest.body[..half])),
            Self::TooShort => {
                let cut = Answer::new(200, &honest.body[..half]);
                Reply::Raw(cut.to_bytes_claiming(honest.body.len()))
            }
            Self::TooLong => Reply::Raw(honest.to_bytes_claiming(half)),
            Self::Drip(pause) => Reply::Drip(honest.to_bytes(), *pause),
            Self::Silence => Reply::Silence,
            Self::Bomb => {
                let answer = Answer::new(200, BOMB.as_slice());
                let answer = answer.with_header("Content-Encoding", "gzip");
                Reply::Whole(answer.with_header("Content-Type", "application/json"))
            }
            Self::RedirectTo(url) => {
                Reply::Whole(Answer::new(302, "").with_header("Location", url.clone()))
            }
            Self::Noise => Reply::Raw(vec![0xff, 0x00, 0x16, 0x03, 0x01, b'\n', b'\n']),
            Self::Body(body) => Reply::Whole(Answer::new(200, body.as_str())),
        }
    }
}

static BOMB: LazyLock<Vec<u8>> = LazyLock::new(bomb);

fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let blanks = vec![b' '; CHUNK_BYTES];
    for _ in 0..BOMB_BYTES / CHUNK_BYTES {
        encoder.write_all(&blanks).expect("memory takes it");
    }
    encoder.finish().expect("memory takes it")
}
