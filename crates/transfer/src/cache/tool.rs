//! A copy tool behind the cache.

use std::sync::Arc;

use super::{Cache, How, Key};
use crate::{Direction, RemoteFile, Tool, Transfer, TransferError, TransferReport, Watch};

/// A copy tool whose inputs go through a cache. Files of which the catalogue does not know name,
/// size and checksum, and outputs, go by it.
///
/// A file from the cache has no further checksums ([`Transfer::also`]).
#[derive(Debug)]
pub struct CachedTool {
    tool: Arc<dyn Tool>,
    cache: Arc<Cache>,
}

impl CachedTool {
    /// Puts a tool behind a cache.
    #[must_use]
    pub fn new(tool: Arc<dyn Tool>, cache: Arc<Cache>) -> Self {
        Self { tool, cache }
    }
}

impl Key {
    /// Makes the key of a transfer; none if the file is an output or its catalogue does not know
    /// enough of it.
    #[must_use]
    pub fn of(transfer: &Transfer) -> Option<Self> {
        if transfer.direction != Direction::StageIn {
            return None;
        }
        Some(Self::new(
            transfer.identity.scope.as_ref()?,
            transfer.identity.lfn.as_ref()?,
            transfer.checksum.clone()?,
            transfer.size?,
        ))
    }
}

impl Tool for CachedTool {
    fn name(&self) -> &str {
        self.tool.name()
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let Some(key) = Key::of(transfer) else {
            return self.tool.transfer(transfer, watch);
        };
        let fetch = |path: &std::path::Path| {
            // The wait for other pilots was not this storage's.
            watch.begin_again();
            let transfer = Transfer {
                path: path.to_owned(),
                ..transfer.clone()
            };
            self.tool.transfer(&transfer, watch)
        };
        let obtained = self
            .cache
            .obtain(&key, &transfer.path, watch.stop(), fetch)?;
        if obtained.how == How::Hit {
            tracing::info!("`{key}` comes from the cache");
        }
        Ok(obtained.report)
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        self.tool.look(url, watch)
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        self.tool.remove(url, watch)
    }
}
