//! A file of this node as the body of a request: [`Upload`].

use std::{
    io::{self, Read},
    time::Duration,
};

use ailurus_model::ByteCount;

use super::{
    place::Place,
    session::{ANSWER_LIMIT, Restart, Session},
};
use crate::{
    Transfer, TransferError,
    checksum::RunningChecksums,
    flow_marker::{MarkedFlow, Usage},
    local::source::Source,
};

/// Slowest speed at which a storage may settle a file after its last byte, in bytes a second.
const SETTLE_BYTES_PER_SEC: u64 = 20 << 20;

/// A file as the body of a request, summed up on its way.
pub(crate) struct Upload<'a> {
    session: &'a Session<'a>,
    source: &'a Source,
    transfer: &'a Transfer,
    place: &'a Place,
    /// Bytes that were read, and so sent or about to be.
    pub(crate) sent: u64,
    pub(crate) sums: RunningChecksums,
    /// Why reading had to end.
    pub(crate) failed: Option<TransferError>,
    /// Tells networks about it, once its bytes go.
    flow: Option<MarkedFlow>,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        session: &'a Session<'a>,
        source: &'a Source,
        transfer: &'a Transfer,
        place: &'a Place,
    ) -> Self {
        Self {
            session,
            source,
            transfer,
            place,
            sent: 0,
            sums: transfer.begin_checksums(),
            failed: None,
            flow: None,
        }
    }

    fn next(&mut self, room: &mut [u8]) -> Result<usize, TransferError> {
        let watch = self.session.watch;
        // What was read before has gone out by now.
        watch.check(self.session.direction, &self.place.shown())?;
        let left = self.length().saturating_sub(self.sent);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
        self.source.read(&mut room[..length], self.sent)?;
        self.sums.update(&room[..length]);
        self.sent += u64::try_from(length).unwrap_or(u64::MAX);
        watch.add(length);
        if self.flow.is_none() {
            self.flow = self.session.mark();
        }
        if let Some(flow) = &mut self.flow {
            flow.goes_on(Usage {
                sent: ByteCount::from_bytes(self.sent),
                ..Usage::default()
            });
        }
        let limit = if self.sent == self.length() {
            // The storage may still have to bring the bytes to where they belong.
            let secs = self.length() / SETTLE_BYTES_PER_SEC;
            ANSWER_LIMIT + Duration::from_secs(secs)
        } else {
            watch.wait()
        };
        self.session.wait.allow(limit);
        Ok(length)
    }
}

impl Read for Upload<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.next(room).map_err(|error| {
            let text = error.cause.to_string();
            self.failed = Some(error);
            io::Error::other(text)
        })
    }
}

impl Restart for Upload<'_> {
    fn length(&self) -> u64 {
        self.source.size().as_bytes()
    }

    fn is_begun(&self) -> bool {
        self.sent > 0
    }

    fn restart(&mut self) {
        self.flow = None;
        self.sent = 0;
        self.sums = self.transfer.begin_checksums();
    }
}
