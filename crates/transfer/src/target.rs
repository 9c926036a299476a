//! This node's side of a stage-in whose bytes come over a network: [`Target`], which several
//! threads may fill.

use std::{io, os::unix::fs::FileExt as _};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::{Transfer, TransferError, Watch, incoming::Incoming};

/// Smallest file whose space is reserved before its bytes come. For smaller ones it costs more
/// than it tells.
const RESERVE_MIN_BYTES: u64 = 1 << 20;

/// A file in the making. Dropping it leaves the target as it was.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    incoming: Incoming<'a>,
    transfer: &'a Transfer,
}

impl<'a> Target<'a> {
    /// Makes the file's directory, and the file under a hidden name.
    pub(crate) fn begin(transfer: &'a Transfer) -> Result<Self, TransferError> {
        Ok(Self {
            incoming: Incoming::begin(transfer)?,
            transfer,
        })
    }

    /// Reserves space, so that a full disk shows before the bytes come. File systems that cannot
    /// do so show it later.
    pub(crate) fn reserve(&self, size: u64) -> Result<(), TransferError> {
        if size < RESERVE_MIN_BYTES {
            return Ok(());
        }
        match fallocate(
            self.incoming.open_file(),
            FallocateFlags::KEEP_SIZE,
            0,
            size,
        ) {
            Err(errno @ (Errno::NOSPC | Errno::FBIG | Errno::DQUOT)) => {
                Err(self.failed(errno.into()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes bytes at an offset.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TransferError> {
        let written = self.incoming.open_file().write_all_at(bytes, offset);
        written.map_err(|error| self.failed(error))
    }

    /// Gives the verified file its name, unless the transfer was given up meanwhile.
    pub(crate) fn settle(self, watch: &Watch) -> Result<(), TransferError> {
        self.incoming.settle(watch)
    }

    fn failed(&self, error: io::Error) -> TransferError {
        TransferError::of_writing(self.transfer.direction, &self.transfer.path, error)
    }
}
