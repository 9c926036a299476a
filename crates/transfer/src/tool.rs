//! Which tool moves what.

use crate::{
    CopyRequest, Direction, TransferError, TransferReport, copy_local, error::Cause,
    toolbox::split_url,
};

/// A way to move files. PanDA queues name it (`copytools`), URLs imply it by their scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyTool {
    /// Copies between file systems that the node mounts.
    Local,
}

impl CopyTool {
    /// Every tool.
    pub const ALL: [Self; 1] = [Self::Local];

    /// Returns the names by which queues ask for it, the preferred one first.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["local", "mv"],
        }
    }

    /// Returns the URL schemes that it serves; the empty one stands for a plain path.
    #[must_use]
    pub const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["file", ""],
        }
    }

    /// Finds the tool of a name.
    ///
    /// # Errors
    ///
    /// [`Cause::UnknownTool`] with the names that there are.
    pub fn named(direction: Direction, name: &str) -> Result<Self, TransferError> {
        find(direction, name, Self::names)
    }

    /// Finds the tool for a URL or plain path.
    ///
    /// # Errors
    ///
    /// [`Cause::UnknownTool`] with the schemes that there are.
    pub fn for_url(direction: Direction, url: &str) -> Result<Self, TransferError> {
        find(
            direction,
            split_url(url).map_or("", |(scheme, _)| scheme),
            Self::schemes,
        )
    }

    /// Copies one file with this tool.
    ///
    /// # Errors
    ///
    /// As [`copy_local`].
    pub fn copy(
        self,
        request: &CopyRequest,
        stop: &std::sync::atomic::AtomicBool,
    ) -> Result<TransferReport, TransferError> {
        match self {
            Self::Local => copy_local(request, stop),
        }
    }
}

fn find(
    direction: Direction,
    wanted: &str,
    known: fn(CopyTool) -> &'static [&'static str],
) -> Result<CopyTool, TransferError> {
    CopyTool::ALL
        .into_iter()
        .find(|tool| known(*tool).contains(&wanted))
        .ok_or_else(|| {
            let known: Vec<&str> = CopyTool::ALL
                .into_iter()
                .flat_map(known)
                .map(|it| if it.is_empty() { "plain paths" } else { *it })
                .collect();
            let cause = Cause::UnknownTool {
                wanted: wanted.to_owned(),
                known: known.join(", "),
            };
            TransferError::new(direction, wanted, cause)
        })
}

#[cfg(test)]
mod tests {
    use ailurus_model::{ErrorCode, Retry};

    use super::*;

    #[test]
    fn an_unknown_scheme_is_named_with_those_there_are() {
        let error = CopyTool::for_url(Direction::StageIn, "root://eos.example.org//x")
            .expect_err("no such tool");
        assert_eq!(
            error.cause.to_string(),
            "no copy tool for `root`; there are: file, plain paths"
        );
        assert_eq!(error.code(), ErrorCode::UnknownCopyTool);
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn queues_may_ask_by_pilot_3s_name() {
        assert_eq!(
            CopyTool::named(Direction::StageIn, "mv").expect("known"),
            CopyTool::Local
        );
        let error = CopyTool::named(Direction::StageIn, "rucio").expect_err("no such tool");
        assert!(error.cause.to_string().contains("local, mv"), "{error}");
    }
}
