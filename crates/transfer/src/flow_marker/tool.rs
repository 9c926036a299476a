//! A copy tool whose XRootD servers are told what their connections are for.

use std::sync::Arc;

use super::FlowIds;
use crate::{RemoteFile, Tool, Transfer, TransferError, TransferReport, Watch, toolbox::split_url};

/// The URL schemes of XRootD.
const SCHEMES: [&str; 4] = ["root", "roots", "xroot", "xroots"];

/// A copy tool that is given URLs with a flow id, where the storage is an XRootD server. The server
/// marks the connection, if it is configured to.
///
/// Source: XRootD, `XrdNetPMark`: the parameter `scitag.flow` of a URL.
#[derive(Debug)]
pub struct TaggingTool {
    tool: Arc<dyn Tool>,
    ids: FlowIds,
}

impl TaggingTool {
    /// Puts ids on the URLs of a tool.
    #[must_use]
    pub fn new(tool: Arc<dyn Tool>, ids: FlowIds) -> Self {
        Self { tool, ids }
    }
}

impl Tool for TaggingTool {
    fn name(&self) -> &str {
        self.tool.name()
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let scheme = split_url(&transfer.url).map_or("", |(scheme, _)| scheme);
        if !SCHEMES.contains(&scheme) {
            return self.tool.transfer(transfer, watch);
        }
        let tagged = Transfer {
            url: self.ids.of(transfer.direction).tag_url(&transfer.url),
            ..transfer.clone()
        };
        let moved = self.tool.transfer(&tagged, watch);
        // Errors name the place as the catalogue does.
        moved.map_err(|error| TransferError {
            place: error.place.replace(&tagged.url, &transfer.url),
            ..error
        })
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        self.tool.look(url, watch)
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        self.tool.remove(url, watch)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Mutex};

    use super::*;
    use crate::{
        Cause, Direction, Durability, FileIdentity, Patience, checksum::ChecksumKind,
        flow_marker::FlowId,
    };

    /// Keeps the URLs that it is given, and fails.
    #[derive(Debug, Default)]
    struct Failing(Mutex<Vec<String>>);

    impl Tool for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn transfer(
            &self,
            transfer: &Transfer,
            _: &Watch,
        ) -> Result<TransferReport, TransferError> {
            self.0.lock().expect("free").push(transfer.url.clone());
            Err(TransferError::new(
                transfer.direction,
                &transfer.url,
                Cause::Missing,
            ))
        }

        fn look(&self, _: &str, _: &Watch) -> Result<RemoteFile, TransferError> {
            Ok(RemoteFile::default())
        }

        fn remove(&self, _: &str, _: &Watch) -> Result<(), TransferError> {
            Ok(())
        }
    }

    #[test]
    fn only_xrootd_is_told_and_errors_name_the_catalogues_place() {
        let id = |activity| FlowId::new(3, activity).expect("in range");
        let ids = FlowIds {
            input: id(1),
            output: id(2),
        };
        let tool = Arc::new(Failing::default());
        let tagging = TaggingTool::new(tool.clone(), ids);
        let watch = Watch::new(Arc::default(), Patience::default());
        for (url, direction) in [
            ("root://eos//a", Direction::StageIn),
            ("root://eos//a", Direction::StageOut),
            ("davs://eos/a", Direction::StageIn),
            ("/data/a", Direction::StageIn),
        ] {
            let transfer = Transfer {
                direction,
                url: url.to_owned(),
                path: PathBuf::from("a"),
                size: None,
                checksum: None,
                kind: ChecksumKind::Adler32,
                also: Vec::new(),
                durability: Durability::Relaxed,
                patience: Patience::default(),
                identity: FileIdentity::default(),
            };
            let error = tagging.transfer(&transfer, &watch).expect_err("missing");
            assert_eq!(error.place, url);
        }
        assert_eq!(
            *tool.0.lock().expect("free"),
            [
                "root://eos//a?scitag.flow=193",
                "root://eos//a?scitag.flow=194",
                "davs://eos/a",
                "/data/a"
            ]
        );
    }
}
