//! Gives an entry to a job: verified, whole or not at all.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::{Key, Link};
use crate::{
    Budget, Direction, Durability, FileIdentity, Local, Patience, Placement, Tool, Transfer,
    TransferError, TransferReport, Watch, checksum::ChecksumKind,
};

/// Bytes of all buffers of the copies that are made at the same time.
const BUFFER_BYTES: u64 = 8 << 20;

/// Further threads that large copies may take at the same time.
const HELPERS: u64 = 1;

/// Gives entries to jobs.
#[derive(Debug)]
pub(super) struct Placer(Local);

impl Placer {
    pub(super) fn new(link: Link) -> Self {
        let placement = match link {
            Link::Copy => Placement::Copy,
            Link::Hard => Placement::HardLink,
        };
        let buffers = Budget::new(BUFFER_BYTES);
        Self(Local::new(placement, buffers, Budget::new(HELPERS)))
    }

    /// Gives the file `data`, whose path is text, to a job as `target`.
    ///
    /// # Errors
    ///
    /// [`TransferError`]: the data are not those of the key, the target cannot be written, and so
    /// on.
    pub(super) fn place(
        &self,
        data: &Path,
        target: &Path,
        key: &Key,
        stop: &Arc<AtomicBool>,
    ) -> Result<TransferReport, TransferError> {
        let transfer = Transfer {
            direction: Direction::StageIn,
            url: data.display().to_string(),
            path: target.to_owned(),
            size: Some(key.size()),
            checksum: Some(key.checksum().clone()),
            kind: ChecksumKind::of(key.checksum()),
            also: Vec::new(),
            durability: Durability::Relaxed,
            patience: Patience::default(),
            identity: FileIdentity::default(),
        };
        let watch = Watch::new(stop.clone(), transfer.patience);
        self.0.transfer(&transfer, &watch)
    }
}
